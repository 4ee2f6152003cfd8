"""Panel: the forecasts of a trained model next to the truth, one row per lead.

Columns are what was observed, the forecast, the difference and the interval width. Colours keep
their meaning for colour-blind readers: viridis for the state, purple to orange
for the difference, magma for widths. A pixel without truth has a hatched grey
that none of them holds, so it is never taken for a value, least of all for 0. Truth that the
model was trained on is pale, and counts in no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.pictures.style import Figure, scale_bar, with_units
from hmx.scores import Score

Map = NDArray[np.floating[Any]]
Array = NDArray[np.float64]

NO_TRUTH = "0.62"  # grey, hatched: the pixel may have a forecast, but nothing to hold it against
NO_FORECAST = "0.78"  # paler grey, plain
_PALE = 0.25  # share of the colour that is left where the model has seen the truth
_HATCH, _HATCH_COLOUR = "//////", "0.40"
_MOST_PIXELS = 480  # rows or columns drawn; larger maps are averaged in blocks
_WIDTH = 12.0  # inches: 1,200 px at the 100 dots per inch of a saved panel
_LABEL = 0.82  # width of the row labels, in widths of a map
_COLOURS = {"state": "viridis", "difference": "PuOr_r", "width": "magma"}


@dataclass(frozen=True, eq=False)
class PanelRow:
    """Hold the maps of one lead."""

    lead: int  # steps ahead, from 1
    label: str  # what the row is called, such as ``"2010 (+5 years)"``
    # What came, the central estimate and the ends of the interval; NaN is missing. Where there is
    # no truth at all, ``truth`` is all NaN (y, x)
    truth: Map
    forecast: Map
    lower: Map
    upper: Map
    origin: Map  # last observed state: persistence's forecast (y, x)
    valid: int  # pixels that were scored, at full resolution
    skill: float | None = None  # RMSE skill against persistence: 0: none, 1: perfect
    # RMSE of forecast and origin. Worked out from the maps, all pixels alike, when not given
    rmse: float | None = None
    persistence: float | None = None
    # whether the model has not seen the truth of a pixel (y, x); None: it has seen all of it, or
    # the maps do not show it
    unseen: NDArray[np.bool_] | None = None
    note: str = ""  # further line of the label

    @property
    def errors(self) -> tuple[float, float]:
        """RMSE of the forecast and of persistence, on pixels that have both; NaN without any."""
        counted = np.isfinite(self.forecast) & np.isfinite(self.origin)
        counted = counted if self.unseen is None else counted & self.unseen
        both = np.where(counted, self.truth, np.nan)
        ours = Score.of(both, self.forecast).rmse if self.rmse is None else self.rmse
        still = self.persistence
        return ours, Score.of(both, self.origin).rmse if still is None else still

    @property
    def text(self) -> str:
        """Write the row's name, its count of valid pixels and its errors."""
        lines = [self.label, f"{self.valid:,} valid pixel{'s' * (self.valid != 1)}"]
        ours, still = self.errors
        if self.valid and np.isfinite(ours):
            lines += [f"RMSE {ours:.3g}", f"persistence {still:.3g}"]
        if self.valid and self.skill is not None and np.isfinite(self.skill):
            lines.append(f"skill {100 * self.skill:+.1f} %")
        if self.note:
            lines.append(self.note)
        return "\n".join(lines)


def draw_panel(
    rows: Sequence[PanelRow],
    *,
    target: str,
    units: str | None = None,
    valid_range: tuple[float, float] | None = None,
    title: str = "",
    level: float | None = None,
    ground: float | None = None,
) -> Figure:
    """Draw what was observed, the forecast, their difference and the interval width by lead.

    State and forecast share one scale over all rows, as do the differences
    (forecast - observed, symmetric about 0) and the widths. A scale covers all
    but the most extreme half per cent at either end, and its bar is pointed
    where values lie beyond it. ``ground``, the width of the maps in metres, gives a scale bar.
    """
    shape = _one_shape(rows)
    pictures = [_pictures(row) for row in rows]
    scales = _scales(pictures, valid_range)
    figure, grid = _sheet(len(rows), shape, title)
    width = "interval width" if level is None else f"width of {level:g} % interval"
    heads = ("observed", "forecast", "forecast - observed", width)
    for number, (row, maps) in enumerate(zip(rows, pictures, strict=True)):
        _name(figure.add_subplot(grid[number, 0]), row.text)
        for column, head in enumerate(heads):
            axis = figure.add_subplot(grid[number, column + 1])
            _draw(axis, maps, column, scales)
            if number == 0:
                axis.set_title(head, fontsize=11)
            if number == column == 0 and ground is not None:
                scale_bar(axis, ground)
    words = [with_units(word, units) for word in (target, "difference", "width")]
    _bars(figure, grid, pictures, scales, words)
    return figure


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Maps of one row as drawn: blocks averaged, (y, x) each."""

    truth: Array
    forecast: Array
    difference: Array
    width: Array
    seen: NDArray[np.bool_]  # truth that the model was trained on

    @property
    def columns(self) -> tuple[tuple[str, Array], ...]:
        """Kind of scale and values, by column."""
        state = (("state", self.truth), ("state", self.forecast))
        return (*state, ("difference", self.difference), ("width", self.width))


def _one_shape(rows: Sequence[PanelRow]) -> tuple[int, int]:
    if not rows:
        raise BadArgument("a panel has no rows: it draws one for each lead. Pass a PanelRow each.")
    first = rows[0].truth.shape
    for row in rows:
        for name in ("truth", "forecast", "lower", "upper", "origin"):
            shape = getattr(row, name).shape
            if len(shape) != 2 or shape != first:
                raise BadArgument(
                    f"{name} at lead {row.lead} has shape {shape} and the panel {first}: "
                    "all maps of a panel are (y, x) on one grid. Cut the same window of all."
                )
    return first[0], first[1]


def _pictures(row: PanelRow) -> _Pictures:
    """Subtract at full resolution, then average."""
    truth, forecast = (np.asarray(m, dtype=np.float64) for m in (row.truth, row.forecast))
    width = np.asarray(row.upper, dtype=np.float64) - np.asarray(row.lower, dtype=np.float64)
    seen = np.zeros(truth.shape) if row.unseen is None else 1.0 - row.unseen
    return _Pictures(
        truth=block_mean(truth),
        forecast=block_mean(forecast),
        difference=block_mean(forecast - truth),
        width=block_mean(width),
        seen=block_mean(seen) > 0.5,
    )


def block_mean(values: Map, most: int = _MOST_PIXELS) -> Array:
    """Average a map in square blocks until it is small enough to draw."""
    side = max(1, -(-max(values.shape) // most))
    rows, columns = (np.arange(0, n, side) for n in values.shape)
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    total = np.add.reduceat(np.add.reduceat(filled, rows, axis=0), columns, axis=1)
    count = np.add.reduceat(np.add.reduceat(known.astype(np.float64), rows, 0), columns, 1)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _scales(
    pictures: Sequence[_Pictures], valid_range: tuple[float, float] | None
) -> dict[str, Normalize]:
    """Choose one scale for each kind of map."""
    seen: dict[str, list[Array]] = {}
    for kind, values in (pair for maps in pictures for pair in maps.columns):
        seen.setdefault(kind, []).append(values[np.isfinite(values)])
    flat = {kind: np.concatenate(parts) for kind, parts in seen.items()}
    low, high = _quantiles(flat["state"], 0.005, 0.995)
    if valid_range is not None:
        low, high = (float(np.clip(v, *valid_range)) for v in (low, high))
    span = _quantiles(np.abs(flat["difference"]), 0.99)[0]
    widest = _quantiles(flat["width"], 0.995)[0]
    return {
        "state": Normalize(low, high if high > low else low + (abs(low) or 1.0)),
        "difference": Normalize(-(span or 1.0), span or 1.0),
        "width": Normalize(0.0, widest if widest > 0 else 1.0),
    }


def _quantiles(values: Array, *shares: float) -> tuple[float, ...]:
    return tuple(float(np.quantile(values, s)) if values.size else 0.0 for s in shares)


def _sheet(rows: int, shape: tuple[int, int], title: str) -> tuple[Figure, Any]:
    """Lay out rows of a label and four maps, and a thin row for the bars."""
    width = _WIDTH / (_LABEL + 4.2)
    height = width * float(np.clip(shape[0] / shape[1], 0.45, 1.6))
    figure = Figure(
        figsize=(_WIDTH, rows * (height + 0.12) + 1.15 + 0.35 * bool(title)),
        layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05),
    )
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    grid = figure.add_gridspec(
        rows + 1, 5, width_ratios=[_LABEL, 1, 1, 1, 1], height_ratios=[*[height] * rows, 0.14]
    )
    return figure, grid


def _name(axis: Axes, text: str) -> None:
    """Write a row's label: its name in bold, the rest below."""
    axis.set_axis_off()
    head, _, rest = text.partition("\n")
    axis.text(0.0, 0.53, head, transform=axis.transAxes, weight="bold", fontsize=11, va="bottom")
    axis.text(0.0, 0.47, rest, transform=axis.transAxes, fontsize=10, va="top", linespacing=1.35)


def _draw(axis: Axes, maps: _Pictures, column: int, scales: dict[str, Normalize]) -> None:
    """Draw one map; what is transparent shows the ground below it."""
    kind, values = maps.columns[column]
    axis.set(xticks=[], yticks=[])
    if needs_truth := column in (0, 2):
        axis.patch.set(facecolor=NO_TRUTH, hatch=_HATCH, edgecolor=_HATCH_COLOUR, linewidth=0)
    picture = np.asarray(colormaps[_COLOURS[kind]](scales[kind](np.nan_to_num(values))))
    picture[np.isnan(values)] = to_rgba(NO_FORECAST)
    if needs_truth:
        picture[maps.seen, :3] = 1 - _PALE * (1 - picture[maps.seen, :3])
        picture[np.isnan(maps.truth)] = 0.0  # transparent
    axis.imshow(picture, interpolation="nearest")


def _bars(
    figure: Figure,
    grid: Any,
    pictures: Sequence[_Pictures],
    scales: dict[str, Normalize],
    words: Sequence[str],
) -> None:
    """Put a bar under the columns of each scale, and a legend of the greys."""
    cells = {"state": grid[-1, 1:3], "difference": grid[-1, 3], "width": grid[-1, 4]}
    for (kind, cell), label in zip(cells.items(), words, strict=True):
        values = np.concatenate([v.ravel() for m in pictures for k, v in m.columns if k == kind])
        bar = figure.colorbar(
            ScalarMappable(scales[kind], _COLOURS[kind]),
            cax=figure.add_subplot(cell),
            orientation="horizontal",
            extend=_extend(values, scales[kind]),
        )
        bar.set_label(fill(label, 60 if kind == "state" else 28), fontsize=10)
        bar.ax.tick_params(labelsize=9)
        bar.ax.locator_params(nbins=7 if kind == "state" else 4)
    legend = _greys(pictures)
    if legend:
        key = figure.add_subplot(grid[-1, 0])
        key.set_axis_off()
        key.legend(handles=legend, loc="center left", frameon=False, fontsize=10, borderpad=0)


def _extend(values: Array, scale: Normalize) -> Any:
    """Return at which ends values lie beyond the scale, as Matplotlib names them."""
    low, high = float(scale.vmin or 0.0), float(scale.vmax or 0.0)
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def _greys(pictures: Sequence[_Pictures]) -> list[Patch]:
    found = []
    if any(np.isnan(maps.truth).any() for maps in pictures):
        hatched = Patch(facecolor=NO_TRUTH, edgecolor=_HATCH_COLOUR, hatch=_HATCH, linewidth=0)
        hatched.set_label("no truth")
        found.append(hatched)
    if any(np.isnan(maps.forecast).any() for maps in pictures):
        found.append(Patch(facecolor=NO_FORECAST, label="no forecast"))
    if any(maps.seen.any() for maps in pictures):
        found.append(Patch(facecolor="0.95", edgecolor="0.5", label="pale: trained on"))
    return found
