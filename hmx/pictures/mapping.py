"""Pictures of a map's scorecard: scatter, residual map, bands of the truth, intervals.

All show the folds that decide the verdict, in native units. Every function returns a
figure that is known to no backend and shown nowhere. The colour maps *viridis* and *RdBu* suit
colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from hmx.pictures import style
from hmx.scores import regression_scores
from hmx.scores.card import Array, SampleCard

_NAMED = {"r2": "R2", "rmse": "RMSE", "ccc": "CCC"}  # figures in the title of a scatter
_BENT = 2.0  # largest slope of a transform over its median one, from which ticks are 1, 2, 5 ...
_SHOWN = 5  # forecasters drawn besides the model, at most: as many as there are colours left


class _Native:
    """A scorecard whose samples and figures are in native units."""

    def __init__(self, card: SampleCard):
        self._card = card
        units = card.facts.get("units")
        self.label = style.with_units(str(card.facts.get("target") or "values"), units)
        scales = {key[2] for key in card.table}
        self._scale = "native" if "native" in scales else card.scale
        self.truth = card.native(card.truth)

    def center(self, name: str) -> Array:
        return self._card.native(self._card.center(name))

    def bounds(self, name: str, level: float) -> tuple[Array, Array]:
        low, high = self._card.bounds(name)[level]
        return self._card.native(low), self._card.native(high)

    def value(self, metric: str, name: str, stratum: str = "all") -> float:
        return self._card.value(metric, name, scale=self._scale, stratum=stratum)


def draw_scatter(card: SampleCard) -> style.Figure:
    """Draw held-out predictions of model and reference against truths with the 1:1 line.

    Axes are on the scale of the transform, with native values at the ticks.
    """
    native, centers = _Native(card), {}
    for name in dict.fromkeys([card.model, card.reference]):
        found = {metric: native.value(metric, name) for metric in _NAMED}
        other = f"R2 of {card.scale} {card.value('r2', name):.3f}"
        centers[f"{_titled(name, found)}\n{other}"] = card.center(name)
    return scatter(
        card.truth,
        centers,
        scale=native.label,
        heading=f"Held-out samples, {card.main}",
        native=card.native,
    )


def scatter(
    truth: Array,
    centers: Mapping[str, Array],
    *,
    scale: str,
    heading: str,
    native: Callable[[Array], Array] | None = None,
) -> style.Figure:
    """Draw predictions by title, (n,) each, against truths, (n,), with the 1:1 line.

    Ticks of transformed values have the labels of `native` ones.
    """
    figure = style.Figure(figsize=(4.6 * len(centers) + 0.9, 4.9), layout="constrained")
    axes = figure.subplots(1, len(centers), squeeze=False, sharex=True, sharey=True)[0]
    everything = np.concatenate([truth, *centers.values()])
    low, high = float(everything.min()), float(everything.max())
    drawn: Any = None
    for axis, (title, center) in zip(axes, centers.items(), strict=True):
        # counts in hexagons: thousands of points would hide each other
        drawn = axis.hexbin(
            center, truth, gridsize=45, extent=(low, high, low, high), mincnt=1, norm=LogNorm(),
            cmap="viridis",
        )  # fmt: skip
        axis.plot([low, high], [low, high], color=style.REFERENCE, linewidth=1.2, label="1:1")
        bins = _tenths(center)
        means = [(center[bins == i].mean(), truth[bins == i].mean()) for i in np.unique(bins)]
        axis.plot(
            *zip(*means, strict=True), color=style.COLOURS[1], marker="o", markersize=4,
            linewidth=1.4, label="mean truth by tenth of the predictions",
        )  # fmt: skip
        axis.set(title=title, xlabel=f"predicted {scale}", aspect="equal")
        if native is not None:
            at, labels = _native_ticks(native, low, high)
            axis.set_xticks(at, labels)
            axis.set_yticks(at, labels)
    axes[0].set(ylabel=f"measured {scale}")
    style.finish_axes(*axes)
    figure.colorbar(drawn, ax=list(axes), label="samples", shrink=0.8)
    style.legend_below(figure, axes[0], columns=2)
    figure.suptitle(heading)
    return figure


def draw_residuals(card: SampleCard) -> style.Figure:
    """Draw the model's residuals as a map; colours end at the 95 % quantile of their size."""
    native = _Native(card)
    title = f"{card.model} - measured {native.label}, {card.main}"
    residual = native.center(card.model) - native.truth
    return residual_map(card.lonlat, residual, scale=native.label, title=title)


def residual_map(lonlat: Array, residual: Array, *, scale: str, title: str) -> style.Figure:
    """Draw residuals, (n,), at longitude and latitude, degrees, (n, 2)."""
    lon, lat = lonlat.T
    span = float(np.quantile(np.abs(residual), 0.95)) or 1.0
    # a degree of longitude is shorter by the cosine of the latitude
    stretch = 1 / math.cos(math.radians(float(lat.mean())))
    shape = float(np.clip(np.ptp(lat) * stretch / (np.ptp(lon) or 1.0), 0.4, 1.4))
    figure = style.Figure(figsize=(8.0, 6.2 * shape + 1.0), layout="constrained")
    axis = figure.subplots()
    order = np.argsort(np.abs(residual))  # the worst on top
    drawn = axis.scatter(
        lon[order], lat[order], c=residual[order], s=9, cmap="RdBu", vmin=-span, vmax=span,
        edgecolors="0.3", linewidths=0.15,
    )  # fmt: skip
    axis.set(aspect=stretch, xlabel="longitude (°)", ylabel="latitude (°)", facecolor="0.93")
    axis.set_title(title)
    axis.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(drawn, ax=axis, extend="both", shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(f"predicted - measured {scale} (red: too low, blue: too high)")
    return figure


def draw_held_out(
    truth: Array, predicted: Array, lonlat: Array, *, name: str, units: str | None
) -> dict[str, style.Figure]:
    """Draw scatter and residuals of the samples that a training held out, native units."""
    scale = style.with_units(name, units)
    heading = "Samples held out in the folds of the training"
    centers = {_titled("model", regression_scores(truth, predicted)): predicted}
    return {
        "scatter": scatter(truth, centers, scale=scale, heading=heading),
        "residuals": residual_map(lonlat, predicted - truth, scale=scale, title=heading),
    }


def _titled(name: str, figures: Mapping[str, float]) -> str:
    """Write a name above its figures."""
    return f"{name}\n{', '.join(f'{head} {figures[m]:.3f}' for m, head in _NAMED.items())}"


def draw_bands(card: SampleCard) -> style.Figure:
    """Draw bias and RMSE of each forecaster in bands of the truth."""
    native = _Native(card)
    figure = style.Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    single = [n for n in card.forecasters if not math.isnan(card.value("r2_corr", n))]
    names = [card.model, *(n for n in single if n != card.model)][: 1 + _SHOWN]
    strata = dict.fromkeys(key[3] for key in card.table if key[3].startswith("truth "))
    for axis, metric in zip(axes, ("bias", "rmse"), strict=True):
        # members of an ensemble are scored as a whole: they have no bands
        drawn = [n for n in names if not math.isnan(native.value(metric, n, min(strata)))]
        for number, name in enumerate(drawn):
            values = [native.value(metric, name, stratum) for stratum in strata]
            axis.plot(
                range(len(strata)), values, label=name, color=style.COLOURS[number],
                marker=style.MARKERS[number], linewidth=2.4 if name == card.model else 1.2,
            )  # fmt: skip
        labels = [stratum.removeprefix("truth ").removesuffix(" %") for stratum in strata]
        axis.set_xticks(range(len(strata)), labels)
        axis.set(xlabel="quantiles of the truth (%)", ylabel=native.label)
    axes[0].axhline(0, color=style.REFERENCE, linewidth=1.2)
    axes[0].set_title("Bias: predicted - measured")
    axes[1].set_title("RMSE")
    axes[1].set_ylim(bottom=0)
    style.finish_axes(*axes)
    style.legend_below(figure, axes[0], columns=6)
    figure.suptitle(f"By band of the truth, {card.main}")
    return figure


def draw_intervals(card: SampleCard) -> style.Figure:
    """Draw the coverage of prediction intervals: in all, by fold, in the highest tenths.

    The right panel shows mean bounds and coverage by tenth of the predictions, at the highest
    level. If the model has no intervals, the first forecaster that has some is drawn.
    """
    figure = style.Figure(figsize=(9.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    first, candidates = f"picp_{card.levels[0]:g}", (card.model, *card.forecasters)
    name = next(n for n in candidates if math.isfinite(card.value(first, n)))
    levels = np.array(card.levels)

    def shares(stratum: str) -> list[float]:
        return [100 * card.value(f"picp_{n:g}", name, stratum=stratum) for n in levels]

    every = np.array(shares("all"))
    ends = [
        [100 * card.value(f"picp_{n:g}_{end}_fold", name) for n in levels]
        for end in ("least", "most")
    ]
    left.plot([0, 100], [0, 100], color=style.REFERENCE, linewidth=1.2, label="promised")
    left.errorbar(
        levels, every, yerr=np.abs(np.array(ends) - every), color=style.COLOURS[0], marker="o",
        linestyle="none", capsize=4, label="all samples (bars: least and most of a fold)",
    )  # fmt: skip
    strata = (("top predicted", "highest tenth of predictions"), ("top", "highest tenth of truths"))
    for number, (stratum, label) in enumerate(strata, 1):
        left.plot(
            levels, shares(stratum), color=style.COLOURS[number], marker=style.MARKERS[number],
            linestyle="none", label=label,
        )  # fmt: skip
    left.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title="Truths inside the interval")
    left.set(xlabel="level (%)", ylabel="inside (%)")
    _by_tenth(right, card, name, float(levels.max()))
    style.finish_axes(left, right)
    style.legend_below(figure, left, columns=2)
    figure.suptitle(f"Prediction intervals of {name}, {card.main}")
    return figure


def _by_tenth(axis: Any, card: SampleCard, name: str, level: float) -> None:
    """Draw mean bounds and coverage by tenth of the predictions."""
    native = _Native(card)
    truth, center = native.truth, native.center(name)
    lower, upper = native.bounds(name, level)
    tenth = _tenths(center)
    inside = (truth >= lower) & (truth <= upper)
    known = np.unique(tenth)  # ties in the predictions leave some tenths empty
    means = [[float(v[tenth == i].mean()) for i in known] for v in (lower, center, upper)]
    axis.fill_between(
        known + 1, means[0], means[2], color=style.COLOURS[5], alpha=0.5, linewidth=0,
        label=f"mean {level:g} % interval (above: % of truths inside)",
    )  # fmt: skip
    axis.plot(known + 1, means[1], color=style.COLOURS[0], marker="o", label="mean prediction")
    for number, top in zip(known, means[2], strict=True):
        share = f"{100 * inside[tenth == number].mean():.0f}"
        axis.annotate(share, (number + 1, top), xytext=(0, 3), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    axis.set(title="Intervals by tenth of the predictions")
    axis.set(xlabel="tenth of the predictions", ylabel=native.label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(y=0.1)
    axis.legend(loc="upper left", frameon=False, fontsize=8)


def _native_ticks(
    native: Callable[[Array], Array], low: float, high: float
) -> tuple[list[float], list[str]]:
    """Return where round native values lie between two transformed ones, and their labels."""
    grid = np.linspace(low, high, 1025)
    values = native(grid)
    slope = np.diff(values)
    if slope.max() < _BENT * max(float(np.median(slope)), 1e-300):
        found = MaxNLocator(6).tick_values(values[0], values[-1])
    else:
        found = [0.0, *(float(n * 10.0**at) for at in range(-6, 9) for n in (1, 2, 5))]
    wanted = np.sort([value for value in found if values[0] <= value <= values[-1]])
    kept: list[tuple[float, float]] = []
    for value, at in zip(wanted, np.interp(wanted, values, grid), strict=True):
        if not kept or at - kept[-1][1] >= (high - low) / 12:
            kept.append((float(value), float(at)))
    return [at for _, at in kept], [f"{value:g}" for value, _ in kept]


def _tenths(center: np.ndarray) -> np.ndarray:
    """Return the tenth of the predictions, 0 to 9, that each prediction lies in, (n,)."""
    edges = np.quantile(center, np.linspace(0, 1, 11))
    return np.clip(np.searchsorted(edges, center, side="right") - 1, 0, 9)


def draw_selection(
    tried: Sequence[tuple[int, float]],
    path: Sequence[tuple[int, str, float, float]],
    *,
    everything: float,
    chosen: tuple[int, float],
    importance: Sequence[tuple[str, float, float]],
    title: str,
) -> style.Figure:
    """Draw R2 of sets (size, R2), the path (size, added, R2, standard error), and importances."""
    high = max(4.4, 0.26 * len(importance) + 1.6)
    figure = style.Figure(figsize=(11.0, high), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    left.scatter(*zip(*tried, strict=True), color="0.75", s=12, label="sets that were tried")
    sizes, added, scores, errors = zip(*path, strict=True)
    left.errorbar(
        sizes, scores, yerr=errors, color=style.COLOURS[0], marker="o", capsize=3,
        label="best set of each size (bars: standard error to the best)",
    )  # fmt: skip
    left.axhline(everything, color=style.REFERENCE, linewidth=1.2, label="all covariates")
    left.plot(*chosen, color=style.COLOURS[1], marker="o", markersize=11, fillstyle="none",
              linestyle="none", markeredgewidth=2, label="chosen")  # fmt: skip
    plus = ["", *["+ "] * (len(path) - 1)]
    labels = [f"{size}\n{sign}{name}" for size, sign, name in zip(sizes, plus, added, strict=True)]
    left.set_xticks(sizes, labels, rotation=0 if len(sizes) < 5 else 60, fontsize=8)
    left.set(ylabel="R2 on held-out samples", xlabel="covariates")
    # sets that are far worse would flatten the path
    low, top = min(scores), max(*scores, everything)
    left.set_ylim(low - 0.6 * max(top - low, 0.05), top + 0.25 * max(top - low, 0.05))
    names, losses, spreads = zip(*importance[::-1], strict=True)
    right.barh(
        names, losses, xerr=spreads, color=style.COLOURS[5], ecolor=style.REFERENCE, capsize=2
    )
    right.set(xlabel="loss of R2 when permuted (bars: sd of the folds)", title="Importance")
    style.finish_axes(left, right)
    style.legend_below(figure, left, columns=2)
    figure.suptitle(title)
    return figure
