"""Style: colours, markers, axes and scale bars that all pictures and maps share.

Colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; line
styles and markers repeat the distinction for prints in grey. Missing data has a grey of its
own that no value has.

Figures of hmx are known to no backend, so that drawing thousands of them leaks nothing and no
window opens. The price was that a notebook printed ``<Figure size 640x480 with 4 Axes>``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import xarray as xr
from matplotlib import figure
from matplotlib.axes import Axes

from hmx.cube.grid import Grid, crs_name

_DPI = 96  # of a screen

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
REFERENCE = "0.35"  # grey of the line that series are compared with
MISSING = "0.72"  # grey of pixels without data


class Figure(figure.Figure):
    """A figure that is the last value of a cell is drawn below it."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=_DPI)
        return target.getvalue()


def series_style(number: int) -> dict[str, Any]:
    """Return colour, marker and line of the n-th series."""
    turn = number % len(COLOURS)
    # The line style shifts after each round of colours, so 49 series differ in the pair.
    line = LINES[(number + number // len(COLOURS)) % len(LINES)]
    return {"color": COLOURS[turn], "marker": MARKERS[turn], "linestyle": line}


def finish_axes(*axes: Any, axis: str = "both") -> None:
    """Add a pale grid behind the data and remove the upper and right frame."""
    for each in axes:
        each.grid(axis=axis, color="0.88", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, axis: Any, *, columns: int | None = None) -> None:
    """Put the legend of an axis under the figure, at most six entries a row by default."""
    handles, labels = axis.get_legend_handles_labels()
    columns = min(len(labels), 6) if columns is None else columns
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def with_units(name: str, units: str | None) -> str:
    """Write a name with its units; a number without units has ``1`` or None."""
    return f"{name} ({units})" if units and units != "1" else name


def shift(number: int, of: int, room: float) -> float:
    """Return the offset of the n-th of several series that share a position."""
    return room * ((number + 0.5) / of - 0.5) if of > 1 else 0.0


def finite_or(values: Sequence[float], other: float) -> list[float]:
    """Replace values that are not finite: NaN hides a point, 0 an error bar."""
    return [value if math.isfinite(value) else other for value in values]


def scale_bar(axis: Axes, ground: float) -> None:
    """Draw a round length on a map that is ``ground`` metres wide at its middle."""
    # at most a quarter of the map
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
