"""Figure: a figure of matplotlib that shows itself in a notebook, without pyplot.

Figures of hmx are known to no backend, so that drawing thousands of them leaks nothing and no
window opens. The price was that a notebook printed ``<Figure size 640x480 with 4 Axes>``.
"""

from __future__ import annotations

import io

from matplotlib import figure

_DPI = 96  # of a screen


class Figure(figure.Figure):
    """A figure that is the last value of a cell is drawn below it."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=_DPI)
        return target.getvalue()
