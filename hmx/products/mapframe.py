"""Map frame: the grey, labels, axes and scale bar of every drawn map.

Colours keep their meaning for colour-blind readers, and missing data has a grey of its own that
no value has.
"""

from __future__ import annotations

import math
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from hmx.cube.grid import Grid, crs_name

MISSING = "0.72"  # grey of pixels without data


def label_of(values: xr.DataArray) -> str:
    """Return the name of a map with its units."""
    units = values.attrs.get("units")
    return f"{values.name} ({units})" if units and units != "1" else str(values.name)


def widest_level(result: xr.Dataset, target: str) -> str | None:
    """Return the largest level, percent, with both interval ends of the target, if any."""
    marks = [str(name).removeprefix(f"{target}_lo_") for name in result.data_vars]
    levels = [mark for mark in marks if f"{target}_hi_{mark}" in result]
    return max(levels, key=float, default=None)


def stretch(grid: Grid) -> float:
    """Return the height of a unit of y in units of x: true to scale at the middle."""
    (width, height), (dx, dy) = grid.pixel_size_m, grid.resolution
    return (height / dy) / (width / dx)


def style_axes(axis: Axes, grid: Grid) -> None:
    """Label the axes of a map of `grid` in units of its CRS, and draw a scale bar."""
    across, up = ("longitude", "latitude") if grid.crs.is_geographic else ("easting", "northing")
    unit = grid.crs.axis_info[0].unit_name if grid.crs.axis_info else "m"
    axis.set_xlabel(f"{across} ({unit}), {crs_name(grid.crs)}", fontsize=8)
    axis.set_ylabel(f"{up} ({unit})", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.ticklabel_format(style="plain", useOffset=False)
    axis.locator_params(nbins=5)
    # a round length on the ground, at most a quarter of the map, valid at its middle
    ground = grid.shape[1] * grid.pixel_size_m[0]
    power = 10.0 ** math.floor(math.log10(ground / 4))
    length = max(n * power for n in (1, 2, 5) if n * power <= ground / 4)
    share = length / ground
    left, base = 0.97 - share, 0.035
    look: dict[str, Any] = {"transform": axis.transAxes, "clip_on": False}
    # black on a wider white line: legible on dark and on bright maps
    axis.plot([left, left + share], [base, base], color="white", lw=5, **look)
    axis.plot([left, left + share], [base, base], color="black", lw=2, **look)
    text = f"{length:.0f} m" if length < 1000 else f"{length / 1000:,.0f} km"
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    at = (left + share / 2, base + 0.02)
    axis.text(*at, text, ha="center", va="bottom", fontsize=7, bbox=box, **look)
