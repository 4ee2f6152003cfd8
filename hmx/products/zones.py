"""Zones: totals of zones of a result, whichever job made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from hmx.engine.recall import Recalled
from hmx.forecast import zonal as of_forecasts
from hmx.progress import Progress
from hmx.settings import parse
from hmx.zones.options import ZonalOptions
from hmx.zones.run import ZonalRun, add_up
from hmx.zones.sums import ZoneTotals
from hmx.zones.tables import Origin, table_of


def checked_zonal(
    found: Recalled,
    zones: Any,
    options: ZonalOptions,
    *,
    folder: str | None = None,
    progress: Progress = Progress(),
) -> tuple[ZonalRun, Origin]:
    """Check zones and options against the run of a result; large layers are kept in ``folder``."""
    if found.run.job == "forecast":
        check = of_forecasts.checked_zonal
    else:
        from hmx.mapping.zonal import checked_zonal as check  # loads what a forecast does not need
    return check(found, zones, options, folder=folder, progress=progress)


def make_table(
    zonal: ZonalRun, totals: ZoneTotals, options: ZonalOptions, origin: Origin
) -> xr.Dataset:
    """Return the table that was asked for."""
    if zonal.run.job == "forecast":
        return table_of(zonal, totals, options, origin)
    from hmx.mapping.zonal import make_table as with_stocks

    return with_stocks(zonal, totals, options, origin)


def add_up_zones(
    found: Recalled, zones: Any, options: Mapping[str, Any], progress: Progress
) -> xr.Dataset:
    """Add up a result over zones."""
    chosen = parse(ZonalOptions, options)
    checked, origin = checked_zonal(found, zones, chosen, progress=progress)
    return make_table(
        checked, add_up(checked, check=found.check, progress=progress), chosen, origin
    )
