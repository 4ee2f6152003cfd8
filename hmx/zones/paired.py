"""Paired: the table of the difference between two totals of the same zones and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hmx.zones.options import ZonalOptions
from hmx.zones.spread import ZoneIntervals
from hmx.zones.sums import ZoneTotals
from hmx.zones.table import KM2, coords_of


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
    found["p_greater"] = (
        ("zone", "time"),
        spread.masked((mean > 0).mean(axis=2)),
        {"long_name": f"probability that the mean of {target} is greater in a", "units": "1"},
    )
    coords = coords_of(a, times)
    missing = coords.pop("missing")
    whole = b.area + b.missing
    gone = np.divide(b.missing, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    coords |= {"missing_a": missing, "missing_b": ("zone", gone, missing[2])}
    if options.above:
        more = a.above - b.above
        found |= spread.of(
            "area_above_difference",
            more,
            dims=("threshold",),
            attrs={
                "long_name": f"area with {target} above the threshold, a minus b",
                "units": KM2,
            },
        )
        title = f"probability that the area with {target} above the threshold is greater in a"
        found["p_greater_above"] = (
            ("zone", "time", "threshold"),
            spread.masked((more > 0).mean(axis=2)),
            {"long_name": title, "units": "1"},
        )
        coords["threshold"] = ("threshold", list(options.above), of_target)
    return xr.Dataset(found, coords, attrs)
