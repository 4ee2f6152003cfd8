"""Table: means, areas and changes of zones with intervals, as a Dataset (zone, time)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.independent import independent
from hmx.uncertainty.joint.dependence import Dependence
from hmx.zones.options import ZonalOptions
from hmx.zones.spread import PER_ZONE, Array, ZoneIntervals, area_step, levels_of, mark
from hmx.zones.sums import ZoneTotals

KM2 = "km2"
# What no interval covers; every report has this sentence
LIMITS = (
    "Intervals do not cover kinds of change that the past maps do not show, errors of the maps "
    "themselves, or zones less than about ten pixels across."
)


@independent
def zone_table(
    totals: ZoneTotals,
    *,
    times: xr.DataArray,
    level: float | Sequence[float] = (95,),
    grows: Sequence[float] = (0,),
    step: float | None = None,
    target: str = "hm",
    units: str | None = "1",
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Make the table of zones from what their draws add up to.

    `times` (time,) has the coordinates ``lead`` and ``forecast_reference_time``, as ``fc["time"]``.
    `level` are central intervals, percent; `grows` growths, percent of the zone, 0 for any, whose
    probability ``p_grows`` gives. The ends of intervals are rounded outward to half a `step` of the
    data, native units. Of `attrs`, ``valid_range`` bounds the intervals of the mean.

    The Dataset has dimensions ``zone`` and ``time``, with areas also ``threshold`` and with
    probabilities ``growth``: ``hm`` (mean, weighted with area), ``hm_change`` since the origin,
    ``area_above`` and ``area_above_change`` (km2), each with ``_lo_95`` and ``_hi_95`` ...;
    ``p_grows``; ``hm_origin`` and ``area_above_origin``. Coordinates: ``kind`` (zone, group or
    all), ``area_km2``, ``missing`` (share of a zone's area without data), ``unlike`` (share unlike
    what the model was trained on, where that is recorded), ``lead`` and
    ``forecast_reference_time``. Rows without data are NaN. A map without an origin has no changes.
    """
    if step is not None and not step > 0:
        raise BadArgument(f"step={step:g}: the step of the data is positive. Pass None without it.")
    given = dict(attrs or {})
    known = totals.area > 0
    intervals = ZoneIntervals(levels_of(level), known)
    area = np.where(known, totals.area, np.nan)[:, None]
    mean = totals.value / area[..., None]
    half = None if step is None else step / 2
    of_target = {"units": units} if units else {}
    found = intervals.of(
        target,
        mean,
        totals.expected / area,
        step=half,
        limits=tuple(given.get("valid_range", (None, None))),
        attrs={"long_name": f"mean of {target} over the zone", **of_target},
    )
    if dated := bool(np.isfinite(totals.origin).any()):  # a map has no step to compare with
        origin = totals.origin[:, None] / area
        found |= intervals.of(
            f"{target}_change",
            mean - origin[..., None],
            totals.expected / area - origin,
            step=half,
            attrs={"long_name": f"change of the mean of {target} since the origin", **of_target},
        )
        title = {"long_name": f"mean of {target} over the zone at the origin", **of_target}
        found[f"{target}_origin"] = (("zone",), intervals.masked(origin[:, 0]), title)
    coords = coords_of(totals, times)
    if totals.measures.above:
        found |= areas_above(totals, intervals, target, dated=dated)
        coords["threshold"] = ("threshold", list(totals.measures.above), of_target)
        if grows and dated:
            found |= _growth(totals, intervals, grows, target)
            coords["growth"] = ("growth", list(grows), {"units": "percent of the zone"})
    about = {"title": f"zones: {target}", **given, "target": target}
    about |= {"rounding": _rounding(half, units), "limits": LIMITS}
    return xr.Dataset(found, coords, about)


def areas_above(
    totals: ZoneTotals, intervals: ZoneIntervals, target: str, *, dated: bool = True
) -> dict[str, Any]:
    """Return the areas above each threshold, and their changes if there is an origin."""
    before = totals.origin_above
    above = {"long_name": f"area with {target} above the threshold", "units": KM2}
    whole = totals.area[:, None, None]
    fine = area_step(whole)
    found: dict[str, Any] = intervals.of(
        "area_above", totals.above, dims=("threshold",), step=fine, limits=(0, whole), attrs=above
    )
    if not dated:
        return found
    found |= intervals.of(
        "area_above_change",
        totals.above - before[:, None, None],
        dims=("threshold",),
        step=fine,
        limits=(-before[:, None], whole - before[:, None]),
        attrs={**above, "long_name": f"change of the {above['long_name']} since the origin"},
    )
    title = {**above, "long_name": f"{above['long_name']} at the origin"}
    found["area_above_origin"] = (("zone", "threshold"), intervals.masked(before), title)
    return found


def _growth(
    totals: ZoneTotals, intervals: ZoneIntervals, grows: Sequence[float], target: str
) -> dict[str, Any]:
    """Return the share of draws in which the area above grows by more than a share of the zone."""
    for growth in grows:
        if not -100 <= growth <= 100:
            raise BadArgument(
                f"grows={growth:g}: a growth is a percentage of the zone, from -100 to 100. "
                "Try grows=1."
            )
    change = (totals.above - totals.origin_above[:, None, None])[..., None]
    least = totals.area[:, None, None, None, None] * np.asarray(grows, "float64") / 100
    title = f"the area with {target} above the threshold grows by more than that"
    return intervals.share("p_grows", change > least, title, dims=("threshold", "growth"))


def coords_of(totals: ZoneTotals, times: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates of rows and times."""
    whole = totals.area + totals.missing
    coords: dict[str, Any] = {
        "zone": ("zone", texts(totals.names)),
        "kind": ("zone", texts(totals.kinds), {"long_name": "zone, group of zones or all"}),
        "area_km2": ("zone", whole, {"long_name": "area of the zone on the map", "units": KM2}),
        "missing": (
            "zone",
            _share(totals.missing, whole),
            {"long_name": "share of the zone's area without data", "units": "1"},
        ),
        "time": ("time", times.values, dict(times.attrs)),
    }
    if totals.unlike is not None:
        title = {"long_name": "share of the area with data unlike the training", "units": "1"}
        coords["unlike"] = ("zone", _share(totals.unlike, totals.area), title)
    for name in ("lead", "forecast_reference_time"):
        if name in times.coords:
            coords[name] = (times[name].dims, times[name].values, dict(times[name].attrs))
    return coords


def _share(part: Array, whole: Array) -> Array:
    """Divide areas of zones; NaN where there is none."""
    shares: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares


def texts(names: Sequence[str]) -> NDArray[np.object_]:
    """Return names as an array that every store can write: Zarr has no texts of fixed length."""
    return np.array([str(name) for name in names], dtype=object)


def _rounding(half: float | None, units: str | None) -> str:
    suffix = f" {units}" if units not in (None, "1") else ""
    ends = f"to {half:g}{suffix} (half a step of the data)" if half else "nowhere"
    areas = f"those of areas to a round number of at most 1/{PER_ZONE} of the zone"
    return f"ends of intervals are rounded outward: those of means {ends}, {areas}"


def about_intervals(
    draws: int, seed: int, dependence: Dependence | None, *, level: float | Sequence[float] = ()
) -> str:
    """Describe in one or two sentences where the intervals of zones come from.

    Without a `dependence`, nothing is written of how the errors of pixels vary together; fewer
    draws than the tails of a `level`, percent, need are reported.
    """
    parts = [f"Intervals are quantiles over {draws} joint draws (seed {seed})."]
    if dependence is not None:
        counts = sorted({lead.origins for lead in dependence.leads})
        if dependence.is_prior:
            parts.append(
                "How errors of neighbouring pixels vary together is assumed (the prior of hmx, "
                "measured elsewhere): this model has no past forecast to fit it on."
            )
        else:
            span = mark(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            many = "s" * (counts[-1] != 1)
            parts.append(
                "How errors of neighbouring pixels vary together was fitted on past forecasts; "
                f"the spread of the whole region rests on {span} origin{many}."
            )
        if times := dependence.unexplained:
            parts.append(
                f"Past squared errors of zones were up to {times:.0f} times those that the fit "
                "expects: the model's means are biased, and these intervals are too narrow."
            )
    if thin := [each for each in levels_of(level) if draws * (100 - each) < 200]:
        parts.append(
            f"{draws} draws are few for an interval of {mark(thin[-1])} %: its ends are the "
            f"extreme draws. Take {round(200 / (100 - thin[-1])):,} draws or more."
        )
    return " ".join(parts)


def difference_table(
    a: ZoneTotals,
    b: ZoneTotals,
    options: ZonalOptions,
    *,
    times: xr.DataArray,
    target: str,
    units: str | None,
    step: float | None,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return the differences of two totals, draw by draw, as a table (zone, time)."""
    known = (a.area > 0) & (b.area > 0)
    spread = ZoneIntervals(options.level, known)
    area = [np.where(known, side.area, np.nan)[:, None] for side in (a, b)]
    mean = a.value / area[0][..., None] - b.value / area[1][..., None]
    of_target = {"units": units} if units else {}
    found: dict[str, Any] = spread.of(
        f"{target}_difference",
        mean,
        a.expected / area[0] - b.expected / area[1],
        step=None if step is None else step / 2,
        attrs={"long_name": f"mean of {target} over the zone, a minus b", **of_target},
    )
    found |= spread.share("p_greater", mean > 0, f"the mean of {target} is greater in a")
    coords = coords_of(a, times)
    missing = coords.pop("missing")
    gone = _share(b.missing, b.area + b.missing)
    coords |= {"missing_a": missing, "missing_b": ("zone", gone, missing[2])}
    if options.above:
        more = a.above - b.above
        found |= spread.of(
            "area_above_difference",
            more,
            dims=("threshold",),
            attrs={"long_name": f"area with {target} above the threshold, a minus b", "units": KM2},
        )
        title = f"the area with {target} above the threshold is greater in a"
        found |= spread.share("p_greater_above", more > 0, title, dims=("threshold",))
        coords["threshold"] = ("threshold", list(options.above), of_target)
    return xr.Dataset(found, coords, attrs)
