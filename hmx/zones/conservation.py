"""Conservation: what becomes of land of little modification, by zone.

The index is cut into classes; by default below .1 (low modification, the limit of Kennedy et al.
2019, doi:10.1111/gcb.14549), from .1 to .4, and from .4. Each draw moves each pixel from the class
of the last map to that of the forecast, so areas of transitions add up to those of classes in
every draw, and zones to their groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from hmx.errors import BadArgument
from hmx.independent import independent
from hmx.zones.spread import ZoneIntervals, area_step, levels_of, mark
from hmx.zones.sums import ZoneTotals
from hmx.zones.table import KM2, LIMITS, areas_above, coords_of, texts

TARGET_SHARE = 30.0  # percent: the 30 % of Target 3 of the Kunming-Montreal framework (2022)


def class_labels(edges: Sequence[float]) -> list[str]:
    """Name the classes between edges: ``< 0.1``, ``0.1-0.4``, ``>= 0.4``."""
    between = [f"{mark(a)}-{mark(b)}" for a, b in pairwise(edges)]
    return [f"< {mark(edges[0])}", *between, f">= {mark(edges[-1])}"]


@independent
def conservation_table(
    totals: ZoneTotals,
    *,
    times: xr.DataArray,
    level: float | Sequence[float] = (95,),
    target_share: float = TARGET_SHARE,
    target: str = "hm",
    units: str | None = "1",
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Make the conservation table of zones from draws with transitions between classes.

    `level` are central intervals, percent; `target_share` is the percent of a zone that should stay
    in the lowest class; other arguments are those of :func:`hmx.zones.table.zone_table`.

    The Dataset has dimensions ``zone`` and ``time``, of areas in km2 with ``_lo_95`` and ``_hi_95``
    ...: ``transition_area`` (from_class, to_class); ``class_area``, ``class_change`` (net),
    ``class_lost`` and ``class_gained`` (class); ``area_rising`` and ``area_falling`` (move);
    ``area_above`` and ``area_above_change`` (threshold) if the totals have thresholds. Besides
    ``low_share`` (percent of the zone in the lowest class), ``p_below_target``, ``p_mean_rises``
    and ``p_mean_falls``. At the origin: ``class_area_origin``, ``low_share_origin``. Rows without
    data are NaN.
    """
    if not totals.measures.classes:
        raise BadArgument(
            "these totals have no transitions between classes: they were added up for another "
            "table. Add them up again with table='conservation'."
        )
    if not 0 < target_share < 100:
        raise BadArgument(
            f"target_share={target_share:g}: a share of a zone is a percentage between 0 and 100. "
            f"Try target_share={TARGET_SHARE:g}."
        )
    intervals = ZoneIntervals(levels_of(level), totals.area > 0)
    labels = class_labels(totals.measures.classes)
    of_target = {"units": units} if units else {}
    found: dict[str, Any] = {
        **_classes(totals, intervals),
        **_share(totals, intervals, target_share),
        **_directions(totals, intervals, target),
    }
    if totals.measures.above:
        found |= areas_above(totals, intervals, target)
    names = ("class", "from_class", "to_class")
    coords = coords_of(totals, times) | {name: (name, texts(labels)) for name in names}
    title = {"long_name": "least change since the origin", **of_target}
    coords["move"] = ("move", list(totals.measures.moves), title)
    if totals.measures.above:
        coords["threshold"] = ("threshold", list(totals.measures.above), of_target)
    about = {
        "title": f"conservation table of zones: {target}",
        **dict(attrs or {}),
        "target": target,
        "classes": list(totals.measures.classes),
        "low_modification": labels[0],
        "target_share": target_share,
        "limits": LIMITS,
    }
    return xr.Dataset(found, coords, about)


def _classes(totals: ZoneTotals, intervals: ZoneIntervals) -> dict[str, Any]:
    """Return areas of transitions and of classes."""
    moved = totals.transition  # (z, h, n, from, to)
    after, before = moved.sum(axis=3), totals.origin_class[:, None, None]
    left = moved * ~np.eye(moved.shape[-1], dtype=bool)  # without what stays
    whole, origin = totals.area[:, None, None], totals.origin_class[:, None]
    fine = area_step(whole)
    km2 = {"units": KM2}

    def areas(name: str, draws: np.ndarray, title: str, low: Any = 0, high: Any = whole) -> Any:
        about = {"long_name": title, **km2}
        limits = (low, high)
        return intervals.of(name, draws, dims=("class",), step=fine, limits=limits, attrs=about)

    return {
        **intervals.of(
            "transition_area",
            moved,
            dims=("from_class", "to_class"),
            step=fine[..., None],
            limits=(0, origin[..., None]),
            attrs={"long_name": "area that goes from a class to a class", **km2},
        ),
        **areas("class_area", after, "area of the class"),
        **areas("class_change", after - before, "net change of the class", -origin, whole - origin),
        **areas("class_lost", left.sum(axis=4), "area that leaves the class", high=origin),
        **areas(
            "class_gained", left.sum(axis=3), "area that enters the class", high=whole - origin
        ),
        "class_area_origin": (
            ("zone", "class"),
            intervals.masked(totals.origin_class),
            {"long_name": "area of the class at the origin", **km2},
        ),
    }


def _share(totals: ZoneTotals, intervals: ZoneIntervals, target_share: float) -> dict[str, Any]:
    """Return the share of the lowest class, and the probability that it is below the target."""
    area = np.where(intervals.known, totals.area, np.nan)
    draws = 100 * totals.transition[..., 0].sum(axis=3) / area[:, None, None]
    title = {"long_name": "share of the zone in the lowest class", "units": "percent"}
    at_origin = {**title, "long_name": f"{title['long_name']} at the origin"}
    below = f"less than {mark(target_share)} % of the zone is in the lowest class"
    return {
        # a two-thousandth of the zone, as for areas
        **intervals.of("low_share", draws, step=0.05, limits=(0, 100), attrs=title),
        "low_share_origin": (("zone",), 100 * totals.origin_class[:, 0] / area, at_origin),
        **intervals.share("p_below_target", draws < target_share, below),
    }


def _directions(totals: ZoneTotals, intervals: ZoneIntervals, target: str) -> dict[str, Any]:
    """Return the areas that rise and fall, and the probability that the mean does."""
    found: dict[str, Any] = {}
    whole = totals.area[:, None, None]
    for name, draws in (("rising", totals.risen), ("falling", totals.fallen)):
        title = f"area in which {target} is {name} by more than that since the origin"
        found |= intervals.of(
            f"area_{name}",
            draws,
            dims=("move",),
            step=area_step(whole),
            limits=(0, whole),
            attrs={"long_name": title, "units": KM2},
        )
    change = totals.value - totals.origin[:, None, None]
    for verb, share in (("rises", change > 0), ("falls", change < 0)):
        title = f"the mean of {target} over the zone {verb}"
        found |= intervals.share(f"p_mean_{verb}", share, title)
    return found
