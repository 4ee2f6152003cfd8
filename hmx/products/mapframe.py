"""Map frame: the axes, units and scale that every drawn map has."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes

from hmx.cube.grid import Grid, crs_name


def stretch(grid: Grid) -> float:
    """Return the height of a unit of y in units of x: true to scale at the middle."""
    (width, height), (dx, dy) = grid.pixel_size_m, grid.resolution
    return (height / dy) / (width / dx)


def dress(axis: Axes, grid: Grid) -> None:
    """Label the axes of a map in units of its CRS, and draw its scale.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn on in coordinates of the grid.
    grid : Grid
        Of the whole map.
    """
    across, up = ("longitude", "latitude") if grid.crs.is_geographic else ("easting", "northing")
    unit = grid.crs.axis_info[0].unit_name if grid.crs.axis_info else "m"
    axis.set_xlabel(f"{across} ({unit}), {crs_name(grid.crs)}", fontsize=8)
    axis.set_ylabel(f"{up} ({unit})", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.ticklabel_format(style="plain", useOffset=False)
    axis.locator_params(nbins=5)
    _scale(axis, grid)


def _scale(axis: Axes, grid: Grid) -> None:
    """Draw a bar of a round length on the ground, as it is at the middle of the map."""
    across = grid.shape[1] * grid.pixel_size_m[0]
    power = 10.0 ** math.floor(math.log10(across / 4))
    length = max(n * power for n in (1, 2, 5) if n * power <= across / 4)
    share = length / across
    left, base = 0.97 - share, 0.035
    look: dict[str, Any] = {"transform": axis.transAxes, "clip_on": False}
    axis.plot([left, left + share], [base, base], color="white", lw=5, **look)
    axis.plot([left, left + share], [base, base], color="black", lw=2, **look)
    text = f"{length:.0f} m" if length < 1000 else f"{length / 1000:,.0f} km"
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    at = (left + share / 2, base + 0.02)
    axis.text(*at, text, ha="center", va="bottom", fontsize=7, bbox=box, **look)
