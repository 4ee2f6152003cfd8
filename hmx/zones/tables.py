"""Tables: from checked options to zone totals, and from totals to a Dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from hmx.engine.order import Request, Run
from hmx.progress import Progress
from hmx.provenance import provenance
from hmx.uncertainty.joint.dependence import LEVELS, Dependence
from hmx.zones.conservation import conservation_table
from hmx.zones.features import groups_of
from hmx.zones.layer import read_zones
from hmx.zones.options import ZonalOptions
from hmx.zones.run import ZonalRun
from hmx.zones.sums import ZoneTotals
from hmx.zones.table import about_intervals, zone_table


@dataclass(frozen=True)
class Origin:
    """What is predicted, and when."""

    times: xr.DataArray  # (time,), with lead and forecast_reference_time
    target: str
    units: str | None
    step: float | None  # of the data, native units
    valid_range: tuple[float | None, float | None] | None


def zonal_run(
    run: Run[Request],
    dependence: Dependence,
    zones: Any,
    options: ZonalOptions,
    *,
    folder: str | None = None,
    progress: Progress = Progress(),
) -> ZonalRun:
    """Read zones, and check all that totals need; large layers are kept in ``folder``."""
    cube = run.cube
    layer = read_zones(zones, cube.grid, id=options.id, flips=cube.outer.flips, folder=folder)
    for line in layer.notes:
        progress.note(f"zonal: {line}")
    groups = None if options.by is None else groups_of(layer.properties, options.by)
    members = {} if groups is None else dict(zip(groups.names, groups.members, strict=True))
    asked, measures = run.with_quantiles(LEVELS), options.measures
    return ZonalRun(asked, layer, members, measures, dependence, options.draws, options.seed)


def table_of(
    zonal: ZonalRun, totals: ZoneTotals, options: ZonalOptions, origin: Origin
) -> xr.Dataset:
    """Return the table that was asked for."""
    attrs: dict[str, Any] = {
        "intervals": about_intervals(
            zonal.draws, zonal.seed, zonal.dependence, level=options.level
        ),
        "hmx_provenance": provenance(**zonal.facts()),
    }
    if origin.valid_range is not None:
        attrs["valid_range"] = origin.valid_range
    shared: dict[str, Any] = {
        "times": origin.times, "level": options.level, "target": origin.target,
        "units": origin.units, "attrs": attrs,
    }  # fmt: skip
    if options.table == "conservation":
        return conservation_table(totals, target_share=options.target_share, **shared)
    return zone_table(totals, grows=options.grows, step=origin.step, **shared)
