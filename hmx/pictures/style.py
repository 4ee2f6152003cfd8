"""Style: colours, markers and axes that all pictures share.

Colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; line
styles and markers repeat the distinction for prints in grey.

Figures of hmx are known to no backend, so that drawing thousands of them leaks nothing and no
window opens. The price was that a notebook printed ``<Figure size 640x480 with 4 Axes>``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib.axes import Axes

_DPI = 96  # of a screen

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
REFERENCE = "0.35"  # grey of the line that series are compared with


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
