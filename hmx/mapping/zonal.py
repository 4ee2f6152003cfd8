"""Zonal: means and stocks of zones of a map, with intervals that hold for the sums."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import xarray as xr

from hmx.cube.cube import Cubelike, Region
from hmx.engine.recall import Recalled, recall
from hmx.errors import BadArgument, NotTrained
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.order import MapRun
from hmx.mapping.result import require_one_depth
from hmx.mapping.target import limits_of
from hmx.progress import Progress
from hmx.settings import Numbers, parse
from hmx.uncertainty.joint.dependence import Dependence
from hmx.zones.options import ZonalOptions
from hmx.zones.run import ZonalRun, add_up
from hmx.zones.spread import ZoneIntervals, levels_of
from hmx.zones.sums import ZoneTotals
from hmx.zones.table import about_intervals
from hmx.zones.tables import Origin, table_of, zonal_run

STOCKS = ("t/ha", "Mg/ha", "kg/ha", "kg/m2", "g/m2")  # units whose sums over an area are tonnes
_MASS = {"t": 1.0, "Mg": 1.0, "kg": 1e-3, "g": 1e-6}  # tonnes
_PER_KM2 = {"ha": 100.0, "m2": 1e6}
_STOCK = re.compile(r"(t|Mg|kg|g) ?(?:S?O?C)? ?(?:(?:/|per) ?(ha|m2)|(ha-1|m-2))")
_LIMITS = (
    "Intervals hold for land like that of the samples: look at the share unlike them. They do not "
    "cover an error that all samples share, such as that of a laboratory, or zones less than "
    "about ten pixels across."
)


class SoilZoning(TypedDict, total=False):
    """Further keyword options of the zones of a map; see :class:`ZonalOptions`."""

    above: Numbers | float
    draws: int
    seed: int
    by: str | None
    id: str | None


@independent
def zonal(
    obj: Cubelike,
    zones: Any,
    *,
    level: Sequence[float] | float = (90,),
    model: MapBundle | str | Path | None = None,
    time: int | str | None = None,
    region: Region = None,
    device: str = "auto",
    progress: Progress = Progress(),
    **options: Unpack[SoilZoning],
) -> xr.Dataset:
    """Add up a map over zones, with intervals that hold for the sums.

    Errors of neighbouring pixels depend on each other, so pixels cannot be added as if
    they were independent. Here the map is drawn many times: each pixel from its own predictive
    distribution (the one of its intervals), all pixels together with the dependence that the
    errors at held-out samples had, and each draw is added up.

    Parameters
    ----------
    obj : Dataset
        A map, as it was made or as it was opened from its store; or a cube, with ``model``.
    zones : path, GeoDataFrame, GeoJSON or array
        Polygons in any CRS, or whole numbers on the grid of the cube.
    level : float or sequence of float
        Central intervals, percent.
    model, time, region, device
        Of a cube: as in :func:`hmx.mapping.api.soc_map`.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.soc``, else nowhere.
    **options
        ``above=[50]`` (thresholds, native units), ``draws=200``, ``seed=0``,
        ``by="country"``, ``id="name"``: fields of
        :class:`hmx.zones.options.ZonalOptions`.

    Returns
    -------
    Dataset
        Dimensions ``zone`` and ``time`` (one date). ``soc``: mean over the zone, weighted with
        true area, of the predictive distributions, with ``soc_lo_90``, ``soc_hi_90``;
        ``soc_total``, tonnes, with intervals, if the unit is a stock (t/ha, Mg/ha, kg/ha, kg/m2 or
        g/m2, also as t C ha-1); ``soc_estimate``: the mean of the map's own estimates, which
        lies lower where the target was learnt on a logarithm; ``area_above`` (threshold, km2).
        Coordinates: ``kind`` (zone, group or all), ``area_km2``, ``missing`` (share of the zone's
        area without data), ``unlike`` (share of its area with data that lies outside the area of
        applicability, so is unlike the samples).

    Raises
    ------
    NotTrained
        Of a cube without ``model``.
    BadArgument, GridMismatch, SourceError
        If options or zones do not fit, the model has no calibration, or the model and cube of
        a map cannot be found.

    Examples
    --------
    >>> soil = ds.soc.map(model="models/soc", level=90)  # doctest: +SKIP
    >>> table = soil.soc.zonal("farms.gpkg", level=90)  # doctest: +SKIP
    >>> table[["soc", "soc_total"]].to_dataframe()  # doctest: +SKIP
    """
    chosen = parse(ZonalOptions, {"level": level, **options})
    found = recalled(obj, model=model, time=time, region=region, device=device)
    checked, origin = checked_zonal(found, zones, chosen, progress=progress)
    totals = add_up(checked, check=found.check, progress=progress)
    return make_table(checked, totals, chosen, origin)


def recalled(
    obj: Cubelike,
    *,
    model: MapBundle | str | Path | None,
    time: int | str | None,
    region: Region,
    device: str = "auto",
) -> Recalled:
    """Return the run of a map, or check one of a cube and a model."""
    if not isinstance(obj, xr.Dataset) or "hmx_provenance" not in obj.attrs:
        if model is None:
            raise NotTrained(
                "this object is a cube that has not trained a mapper. Pass one: "
                "ds.soc.zonal(zones, model='models/soc'), or call zonal on a map: "
                "soil = ds.soc.map(...); soil.soc.zonal(zones)."
            )
        options = {"device": device, **({} if time is None else {"time": time})}
        return Recalled(MapRun.check(obj, model, options, region=region))
    for name, value in (("model", model), ("time", time), ("region", region)):
        if value is not None:
            raise BadArgument(
                f"{name}= belongs to the map, and this object is one. Make it with {name}=, or "
                f"leave {name}= out."
            )
    return recall(obj, "map")


def checked_zonal(
    found: Recalled,
    zones: Any,
    options: ZonalOptions,
    *,
    folder: str | None = None,
    progress: Progress = Progress(),
) -> tuple[ZonalRun, Origin]:
    """Check zones and options against the run of a map."""
    run = found.run
    assert isinstance(run, MapRun)
    if options.table != "zones":
        raise BadArgument(
            f"table={options.table!r} compares with a map before, and a map of samples has none. "
            "Leave out table=."
        )
    require_one_depth(run.request.depths, "a total")
    units = run.bundle.spec.units
    if tonnes_per_km2(units) is None:
        progress.note(
            f"zonal: {units or 'no unit'} is not a stock per area ({', '.join(STOCKS)}), so there "
            "are means and no totals"
        )
    dependence, note = dependence_of(run.bundle)
    run.report("zonal", progress, note)
    checked = zonal_run(run, dependence, zones, options, folder=folder, progress=progress)
    return checked, origin_of(run)


def dependence_of(bundle: MapBundle) -> tuple[Dependence, str | None]:
    """Return the dependence of a mapper's errors, or the prior and a line that states it."""
    if bundle.dependence is not None:
        return bundle.dependence, None
    return Dependence.prior(math.sqrt(math.prod(bundle.spec.pixel_size_m)), phi=0.0), (
        "the model has no fitted dependence of errors, so the ranges over which they vary "
        "together are assumed; train it again to fit them"
    )


def origin_of(run: MapRun) -> Origin:
    """Describe what a map predicts, and of which date."""
    spec, template = run.bundle.spec, run.template()
    time = run.cube.outer.names.get("time", "time")
    if run.cube.climatology:
        times = xr.DataArray(np.array(["all years"]), dims="time")
    else:
        times = template[time].reset_coords(drop=True).expand_dims("time").rename("time")
        times = times.assign_coords(time=("time", times.values, times.attrs))
    low, high = spec.valid_range or limits_of(run.bundle.target.transform)
    return Origin(times, spec.target, spec.units, None, (low, high))


def make_table(
    zonal: ZonalRun, totals: ZoneTotals, options: ZonalOptions, origin: Origin
) -> xr.Dataset:
    """Return means of zones, totals of stocks, and the share of each zone like the samples."""
    run = zonal.run
    assert isinstance(run, MapRun)
    drawn = by_draws(totals)
    table, target = table_of(zonal, drawn, options, origin), origin.target
    known = totals.area > 0
    spread = ZoneIntervals(levels_of(options.level), known)
    area = np.where(known, totals.area, np.nan)[:, None]
    of_target = {} if origin.units is None else {"units": origin.units}
    if (factor := tonnes_per_km2(origin.units)) is not None:
        named = {"long_name": f"total of {target} over the zone's area with data", "units": "t"}
        # a total has no bounds but those of the mean times the area
        limits = tuple(None if e is None else e * area * factor for e in origin.valid_range or ())
        found = spread.of(
            f"{target}_total",
            drawn.value * factor,
            drawn.expected * factor,
            limits=limits if len(limits) == 2 else (None, None),
            attrs=named,
        )
        table = table.assign({name: xr.Variable(*parts) for name, parts in found.items()})
    title = f"mean over the zone of the map's estimates of {target}"
    estimate = spread.masked(totals.expected / area), {"long_name": title, **of_target}
    table[f"{target}_estimate"] = (("zone", "time"), *estimate)
    if any(end is None or not math.isfinite(end) for end in origin.valid_range or ()):
        del table.attrs["valid_range"]  # JSON has no number for infinity
    table.attrs["intervals"] = _about(zonal, run.bundle, options)
    table.attrs["limits"] = _LIMITS
    return table


def by_draws(totals: ZoneTotals) -> ZoneTotals:
    """Expect the mean of the draws: a map of logarithms estimates medians, whose sum is less."""
    return replace(totals, expected=totals.value.mean(axis=2))


def add_stocks(
    table: xr.Dataset, a: ZoneTotals, b: ZoneTotals, options: ZonalOptions, origin: Origin
) -> xr.Dataset:
    """Add the difference of stocks to a table of the differences of two maps, `a` minus `b`."""
    factor, target = tonnes_per_km2(origin.units), origin.target
    if factor is None:
        return table
    known = (a.area > 0) & (b.area > 0)
    # of the area with data at both dates, so that a cloud does not count as a loss of carbon
    area = np.where(known, np.minimum(a.area, b.area), np.nan)[:, None, None]
    rise = (a.value / area_of(a) - b.value / area_of(b)) * area * factor
    title = f"total of {target} over the zone's area with data in both, a minus b"
    found = ZoneIntervals(levels_of(options.level), known).of(
        f"{target}_total_difference", rise, attrs={"long_name": title, "units": "t"}
    )
    return table.assign({name: xr.Variable(*parts) for name, parts in found.items()})


def area_of(totals: ZoneTotals) -> np.ndarray:
    """Return the area of each zone with data, (z, 1, 1) km2; NaN if there is none."""
    return np.asarray(np.where(totals.area > 0, totals.area, np.nan)[:, None, None])


def tonnes_per_km2(units: str | None) -> float | None:
    """Return how many tonnes per km2 one of a unit is; None if it is not a mass per area."""
    text = (units or "").replace("tonnes", "t").replace("**", "")
    # signs and powers of Unicode, as attributes of rasters and tables have them
    text = text.translate(str.maketrans("\u2212⁻¹²·.", "--12  ", "^"))
    found = _STOCK.fullmatch(" ".join(text.split()).replace(" / ", "/").replace(" -", "-"))
    if found is None:
        return None
    mass, per, power = found.groups()
    return _MASS[mass] * _PER_KM2[per or {"ha-1": "ha", "m-2": "m2"}[power]]


def _about(zonal: ZonalRun, bundle: MapBundle, options: ZonalOptions) -> str:
    """Describe where the intervals come from."""
    if bundle.dependence is None:
        source = "is assumed (the prior of hmx, measured elsewhere)"
    else:
        facts = bundle.training.get("correlogram", {})
        source = f"was fitted to the errors at {facts.get('samples', 'the')} held-out samples"
    first, _, rest = about_intervals(zonal.draws, zonal.seed, None, level=options.level).partition(
        ". "
    )
    text = f"{first.rstrip('.')}. How errors of neighbouring pixels vary together {source}."
    return f"{text} {rest}".strip()
