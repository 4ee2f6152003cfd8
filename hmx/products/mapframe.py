"""Map frame: the grey, labels, axes and scale bar of every drawn map.

Colours keep their meaning for colour-blind readers, and missing data has a grey of its own that
no value has.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes

from hmx.cube.grid import Grid, crs_name
from hmx.pictures.style import scale_bar, with_units

MISSING = "0.72"  # grey of pixels without data


def label_of(values: xr.DataArray) -> str:
    """Return the long name of a map, or its name, with its units."""
    name = values.attrs.get("long_name") or values.name
    return with_units(str(name), values.attrs.get("units"))


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
    scale_bar(axis, width_m(grid))


def width_m(grid: Grid) -> float:
    """Return the width of a grid on the ground, metres, at its middle."""
    return grid.shape[1] * grid.pixel_size_m[0]
