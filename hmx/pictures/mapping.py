"""Pictures of a map's scorecard: scatter, residual map, bands of the truth, intervals.

Colours are those of Okabe and Ito (2008) and the maps *viridis* and *RdBu*, which
colour-blind readers can tell apart; markers say the same once more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hmx.pictures.backtest import COLOURS

if TYPE_CHECKING:
    from hmx.mapping.evaluate.scorecard import MapScorecard

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINE = "0.35"  # grey of the 1:1 line and of nominal shares
_SHOWN = 5  # forecasters drawn beside the model, at most


def draw_scatter(card: MapScorecard) -> Figure:
    """Draw held-out predictions against truths with the 1:1 line.

    Parameters
    ----------
    card : MapScorecard
        Model and reference, on the folds judged by, transformed units.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    names = list(dict.fromkeys([card.model, card.reference]))
    figure = Figure(figsize=(4.6 * len(names) + 0.9, 4.9), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    truth = card.splits[card.main].truth
    centers = [card.center(name) for name in names]
    everything = np.concatenate([truth, *centers])
    low, high = float(everything.min()), float(everything.max())
    drawn: Any = None
    for axis, name, center in zip(axes, names, centers, strict=True):
        drawn = axis.hexbin(
            center, truth, gridsize=45, extent=(low, high, low, high), mincnt=1, norm=LogNorm(),
            cmap="viridis",
        )  # fmt: skip
        axis.plot([low, high], [low, high], color=_LINE, linewidth=1.2, label="1:1")
        edges = np.quantile(center, np.linspace(0, 1, 11))
        bins = np.clip(np.searchsorted(edges, center, side="right") - 1, 0, 9)
        means = [(center[bins == i].mean(), truth[bins == i].mean()) for i in np.unique(bins)]
        axis.plot(
            *zip(*means, strict=True), color=COLOURS[1], marker="o", markersize=4,
            linewidth=1.4, label="mean truth by tenth of the predictions",
        )  # fmt: skip
        figures = ", ".join(
            f"{head} {card.value(metric, name):.3f}"
            for head, metric in (("R2", "r2"), ("RMSE", "rmse"), ("CCC", "ccc"))
        )
        axis.set(title=f"{name}\n{figures}", xlabel=f"predicted {card.scale}", aspect="equal")
    axes[0].set(ylabel=f"measured {card.scale}")
    _finish(*axes)
    figure.colorbar(drawn, ax=list(axes), label="samples", shrink=0.8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(f"Held-out samples, {card.main}")
    return figure


def draw_residuals(card: MapScorecard) -> Figure:
    """Draw where the model predicts too little and where too much.

    Parameters
    ----------
    card : MapScorecard
        Residuals of the model on the folds judged by; colours end at the 95 % quantile
        of their size.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    played = card.splits[card.main]
    lon, lat = played.folds.places.lonlat.T
    residual = card.center(card.model) - played.truth
    span = float(np.quantile(np.abs(residual), 0.95)) or 1.0
    stretch = 1 / math.cos(math.radians(float(lat.mean())))
    shape = float(np.clip(np.ptp(lat) * stretch / (np.ptp(lon) or 1.0), 0.4, 1.4))
    figure = Figure(figsize=(8.0, 6.2 * shape + 1.0), layout="constrained")
    axis = figure.subplots()
    order = np.argsort(np.abs(residual))  # the worst on top
    drawn = axis.scatter(
        lon[order], lat[order], c=residual[order], s=9, cmap="RdBu", vmin=-span, vmax=span,
        edgecolors="0.3", linewidths=0.15,
    )  # fmt: skip
    axis.set(aspect=stretch, xlabel="longitude (°)", ylabel="latitude (°)", facecolor="0.93")
    axis.set_title(f"{card.model} - measured {card.scale}, {card.main}")
    axis.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(drawn, ax=axis, extend="both", shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(f"predicted - measured {card.scale} (red: too low, blue: too high)")
    return figure


def draw_bands(card: MapScorecard) -> Figure:
    """Draw bias and RMSE of each forecaster in bands of the truth.

    Parameters
    ----------
    card : MapScorecard
        On the folds judged by, transformed units.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    single = [n for n in card.forecasters if not math.isnan(card.value("r2_corr", n))]
    names = [card.model, *(n for n in single if n != card.model)][: 1 + _SHOWN]
    strata = dict.fromkeys(key[3] for key in card.table if key[3].startswith("truth "))
    for axis, metric in zip(axes, ("bias", "rmse"), strict=True):
        drawn = [n for n in names if not math.isnan(card.value(metric, n, stratum=min(strata)))]
        for number, name in enumerate(drawn):
            values = [card.value(metric, name, stratum=stratum) for stratum in strata]
            axis.plot(
                range(len(strata)), values, label=name, color=COLOURS[number],
                marker=_MARKERS[number], linewidth=2.4 if name == card.model else 1.2,
            )  # fmt: skip
        labels = [stratum.removeprefix("truth ").removesuffix(" %") for stratum in strata]
        axis.set_xticks(range(len(strata)), labels)
        axis.set(xlabel="quantiles of the truth (%)", ylabel=card.scale)
    axes[0].axhline(0, color=_LINE, linewidth=1.2)
    axes[0].set_title("Bias: predicted - measured")
    axes[1].set_title("RMSE")
    axes[1].set_ylim(bottom=0)
    _finish(*axes)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(f"By band of the truth, {card.main}")
    return figure


def draw_intervals(card: MapScorecard) -> Figure:
    """Draw whether prediction intervals hold the truths they promise.

    Parameters
    ----------
    card : MapScorecard
        Shares inside over all samples, by fold and in the highest tenths, of the model;
        and by tenth of the predictions at the highest level.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend.
    """
    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    name = _with_bounds(card)
    levels = np.array(card.levels)

    def shares(stratum: str) -> list[float]:
        return [100 * card.value(f"picp_{n:g}", name, stratum=stratum) for n in levels]

    every = np.array(shares("all"))
    ends = [
        [100 * card.value(f"picp_{n:g}_{end}_fold", name) for n in levels]
        for end in ("least", "most")
    ]
    left.plot([0, 100], [0, 100], color=_LINE, linewidth=1.2, label="promised")
    left.errorbar(
        levels, every, yerr=np.abs(np.array(ends) - every), color=COLOURS[0], marker="o",
        linestyle="none", capsize=4, label="all samples (bars: least and most of a fold)",
    )  # fmt: skip
    strata = (("top predicted", "highest tenth of predictions"), ("top", "highest tenth of truths"))
    for number, (stratum, label) in enumerate(strata, 1):
        left.plot(
            levels, shares(stratum), color=COLOURS[number], marker=_MARKERS[number],
            linestyle="none", label=label,
        )  # fmt: skip
    left.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title="Truths inside the interval")
    left.set(xlabel="level (%)", ylabel="inside (%)")
    _by_tenth(right, card, name, float(levels.max()))
    _finish(left, right)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2,
                  frameon=False)  # fmt: skip
    figure.suptitle(f"Prediction intervals of {name}, {card.main}")
    return figure


def _with_bounds(card: MapScorecard) -> str:
    """Choose the model, or whatever has intervals."""
    level = f"picp_{card.levels[0]:g}"
    names = (card.model, *card.forecasters)
    return next(name for name in names if math.isfinite(card.value(level, name)))


def _by_tenth(axis: Any, card: MapScorecard, name: str, level: float) -> None:
    """Draw mean bounds and truths by tenth of the predictions."""
    played, center = card.splits[card.main], card.center(name)
    lower, upper = card.bounds(name)[level]
    edges = np.quantile(center, np.linspace(0, 1, 11))
    tenth = np.clip(np.searchsorted(edges, center, side="right") - 1, 0, 9)
    inside = (played.truth >= lower) & (played.truth <= upper)
    places = np.unique(tenth)
    means = [[float(v[tenth == i].mean()) for i in places] for v in (lower, center, upper)]
    axis.fill_between(
        places + 1, means[0], means[2], color=COLOURS[5], alpha=0.5, linewidth=0,
        label=f"mean {level:g} % interval (above: % of truths inside)",
    )  # fmt: skip
    axis.plot(places + 1, means[1], color=COLOURS[0], marker="o", label="mean prediction")
    for place, top in zip(places, means[2], strict=True):
        share = f"{100 * inside[tenth == place].mean():.0f}"
        axis.annotate(share, (place + 1, top), xytext=(0, 3), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    axis.set(title="Intervals by tenth of the predictions")
    axis.set(xlabel="tenth of the predictions", ylabel=card.scale)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(y=0.1)
    axis.legend(loc="upper left", frameon=False, fontsize=8)


def _finish(*axes: Any) -> None:
    for each in axes:
        each.grid(color="0.88", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
