"""Picture of a selection of covariates: R2 by size of the set, and the importance of each."""

from __future__ import annotations

from collections.abc import Sequence

from hmx.pictures.figure import Figure
from hmx.pictures.style import COLOURS, REFERENCE, finish_axes, legend_below


def draw_selection(
    tried: Sequence[tuple[int, float]],
    path: Sequence[tuple[int, str, float, float]],
    *,
    everything: float,
    chosen: tuple[int, float],
    importance: Sequence[tuple[str, float, float]],
    title: str,
) -> Figure:
    """Draw R2 of sets (size, R2), the path (size, added, R2, standard error), and importances."""
    high = max(4.4, 0.26 * len(importance) + 1.6)
    figure = Figure(figsize=(11.0, high), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    left.scatter(*zip(*tried, strict=True), color="0.75", s=12, label="sets that were tried")
    sizes, added, scores, errors = zip(*path, strict=True)
    left.errorbar(
        sizes, scores, yerr=errors, color=COLOURS[0], marker="o", capsize=3,
        label="best set of each size (bars: standard error to the best)",
    )  # fmt: skip
    left.axhline(everything, color=REFERENCE, linewidth=1.2, label="all covariates")
    left.plot(*chosen, color=COLOURS[1], marker="o", markersize=11, fillstyle="none",
              linestyle="none", markeredgewidth=2, label="chosen")  # fmt: skip
    plus = ["", *["+ "] * (len(path) - 1)]
    labels = [f"{size}\n{sign}{name}" for size, sign, name in zip(sizes, plus, added, strict=True)]
    left.set_xticks(sizes, labels, rotation=0 if len(sizes) < 5 else 60, fontsize=8)
    left.set(ylabel="R2 on held-out samples", xlabel="covariates")
    # sets that are far worse would flatten the path
    low, top = min(scores), max(*scores, everything)
    left.set_ylim(low - 0.6 * max(top - low, 0.05), top + 0.25 * max(top - low, 0.05))
    names, losses, spreads = zip(*importance[::-1], strict=True)
    right.barh(names, losses, xerr=spreads, color=COLOURS[5], ecolor=REFERENCE, capsize=2)
    right.set(xlabel="loss of R2 when permuted (bars: sd of the folds)", title="Importance")
    finish_axes(left, right)
    legend_below(figure, left, columns=2)
    figure.suptitle(title)
    return figure
