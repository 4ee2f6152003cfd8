"""Scores of a map as text: the tables that a terminal shows, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from textwrap import fill
from typing import Protocol

from hmx.mapping.checks import CheckSheet
from hmx.mapping.evaluate.rounds import PLAIN
from hmx.mapping.evaluate.weighting import WEIGHTED, TaskWeights
from hmx.mapping.train.importance import Importance
from hmx.report.page import TextTable
from hmx.scores.card import TEXT_WIDTH, SampleCard, number, text_table
from hmx.splits.report import FoldReport

_HEADS = {
    "r2": "R2", "r2_corr": "r2", "rmse": "RMSE", "mae": "MAE", "bias": "bias", "ccc": "CCC",
    "rpiq": "RPIQ",
}  # fmt: skip


Rows = tuple[str, list[str], list[list[str]]]  # title, head, rows of a table
_LEGEND = (
    "below, above: truths beyond the bounds; score: Gneiting and Raftery (2007), lower is "
    "better; top: share inside in the highest tenth of the truths, which no method can "
    "promise, and of the predictions"
)

_MEAN = "mean"
_WORDS = {
    "linear": "linear regression",
    "boosting": "gradient boosting",
    "mean": "the mean",
    "gaussian_process": "the Gaussian process",
}


class ReportedCard(SampleCard, Protocol):
    """A scorecard of samples with what a map adds to it."""

    @property
    def distances(self) -> FoldReport | None:
        """Distances that each way of folding tests."""

    @property
    def importance(self) -> Importance | None:
        """Importance of the covariates."""

    @property
    def weighted(self) -> TaskWeights | None:
        """Weights of all held-out predictions that make them like the map's."""

    def checks(self) -> CheckSheet:
        """Check the held-out errors as rules for soil carbon ask."""


def as_text(card: ReportedCard, *, verdict: bool = True) -> str:
    """Write a scorecard as text: verdict, scores, bands of the truth, intervals, facts."""
    blocks = [[fill(card.verdict, TEXT_WIDTH)]] if verdict else []
    blocks += [_scores(card, split) for split in _splits(card)]
    if card.distances:
        blocks.append([fill(card.distances.sentence, TEXT_WIDTH)])
    blocks += [_bands(card), _intervals(card)]
    if found := card.importance:
        rows = [[band, f"{found.mean[band]:.3f} ± {found.sd[band]:.3f}"] for band in found.bands]
        title = "Importance: loss of R2 when a band is permuted, by fold"
        blocks.append(text_table(title, ["", "loss"], rows))
    blocks.append(card.checks().lines(TEXT_WIDTH))
    blocks.append([f"{name}: {value}" for name, value in card.facts.items()])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def tables(card: ReportedCard) -> list[TextTable]:
    """Return scores against every baseline by way of folding, bands and intervals."""
    found = []
    for split in _splits(card):
        title, head, rows = _score_rows(card, split)
        found.append(TextTable(title, head, rows))
    (title, head, rows), (about, heads, lines) = _band_rows(card), _interval_rows(card)
    return [*found, TextTable(title, head, rows), TextTable(about, heads, lines, note=_LEGEND)]


def _splits(card: ReportedCard) -> list[str]:
    """Return the ways of folding, then all of them weighted to the map."""
    return [*card.splits, *([WEIGHTED] if card.weighted is not None else [])]


def _scores(card: ReportedCard, split: str) -> list[str]:
    """Lay out the scores of all forecasters on one way of folding."""
    return text_table(*_score_rows(card, split))


def _score_rows(card: ReportedCard, split: str) -> Rows:
    """Return title, head and rows of the scores on one way of folding."""
    rows = []
    for name in card.forecasters:
        r2, *others = (number(card.value(metric, name, split=split)) for metric in _HEADS)
        runs = card.value("r2_sd", name, split=split)
        spread = f"{runs:.3f}" if math.isfinite(runs) else ""
        less = card.differences.get((split, name))
        difference = f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})" if less else ""
        rows.append([name, r2, spread, *others, difference])
    count = f"{card.value('n', split=split):,.0f}"
    title = f"Scores of {card.scale} on {split}, {count} samples, each held out once"
    if split == WEIGHTED:
        title = (
            f"Scores of {card.scale} on {split}, {count} predictions that are worth "
            f"{card.value('n_effective', split=split):,.0f} samples of equal weight"
        )
    first, *heads = _HEADS.values()
    return title, ["", first, "± runs", *heads, f"R2 of {card.model} less this"], rows


def _bands(card: ReportedCard) -> list[str]:
    """Lay out the model's errors by band of the truth."""
    return text_table(*_band_rows(card))


def _band_rows(card: ReportedCard) -> Rows:
    """Return title, head and rows of the errors by band."""
    strata = [key[3] for key in card.table if key[:3] == (card.main, card.model, card.scale)]
    rows = [
        [
            stratum.removeprefix("truth "),
            f"{card.value('from', stratum=stratum):.2f} to {card.value('to', stratum=stratum):.2f}",
            f"{card.value('n', stratum=stratum):,.0f}",
            # no R2: a band has little variance left to explain
            *(number(card.value(metric, stratum=stratum)) for metric in ("rmse", "mae", "bias")),
        ]
        for stratum in strata
        if stratum.startswith("truth ")
    ]
    title = f"{card.model} by band of the truth, on {card.main}"
    return title, ["quantiles", card.scale, "n", "RMSE", "MAE", "bias"], rows


def _intervals(card: ReportedCard) -> list[str]:
    """Lay out coverage and width of the prediction intervals."""
    title, head, rows = _interval_rows(card)
    return [*text_table(title, head, rows), fill(_LEGEND, TEXT_WIDTH)] if rows else []


def _interval_rows(card: ReportedCard) -> Rows:
    """Return title, head and rows of coverage and width."""
    rows = [
        [f"{name}, {level:g} %", *_interval(card, name, f"{level:g}")]
        for name in card.forecasters
        for level in card.levels
        if math.isfinite(card.value(f"picp_{level:g}", name))
    ]
    head = ["", "inside", "by fold", "below", "above", "width", "score", "top", "top predicted"]
    title = f"Prediction intervals on {card.main}, learnt from {card.calibration}"
    return title, head, rows


def _interval(card: ReportedCard, name: str, level: str) -> Iterator[str]:
    """Yield the cells of one forecaster and level."""

    def share(metric: str, stratum: str = "all") -> float:
        return 100 * card.value(f"{metric}_{level}", name, stratum=stratum)

    yield f"{share('picp'):.1f} %"
    low, high = (100 * card.value(f"picp_{level}_{end}_fold", name) for end in ("least", "most"))
    yield f"{low:.0f}-{high:.0f} %"
    yield f"{share('qcp_lower'):.1f} %"
    yield f"{100 - share('qcp_upper'):.1f} %"
    yield from (number(card.value(f"{metric}_{level}", name)) for metric in ("width", "score"))
    yield from (f"{share('picp', stratum):.0f} %" for stratum in ("top", "top predicted"))


def verdict(card: SampleCard) -> str:
    """Return a sentence on whether to use the model or the best of all others.

    R2 in transformed units on the main folds decides. The model and the best of the others are
    compared in a paired bootstrap of the groups that the folds were made of: a difference whose
    95 % interval contains zero counts as none.
    """
    ours = card.value("r2")
    scope = f"on {card.main} (R2 of {card.scale}, {card.value('n'):,.0f} held-out samples)"
    # The mean is what R2 compares with: its own R2 is about 0. The blend without kriging is the
    # model itself, less a step
    others = [name for name in card.rivals if name not in (_MEAN, PLAIN)]
    best = max(others, key=lambda name: card.value("r2", name), default=None)
    top = -1.0 if best is None else card.value("r2", best)
    if max(ours, top) <= 0:
        return (
            f"USE THE MEAN, NOT THE MODEL: {card.model} explains nothing {scope}: R2 {ours:.3f}"
            f"{'' if best is None else f', and nor does any other, of which {best} has {top:.3f}'}."
        )
    if best is None:
        return f"Use {card.model}: R2 {ours:.3f} {scope}."
    name = _WORDS.get(best, best)
    difference = card.difference(best)
    numbers = (
        f"R2 {ours:.3f}, {difference.value:+.3f} against {top:.3f} of {name}, the best of the "
        f"others ({difference.level:g} % interval {difference.low:+.3f} to "
        f"{difference.high:+.3f}, drawing {difference.groups:,} groups) {scope}"
    )
    if ours <= 0 or (difference.sure and difference.value < 0):
        return f"USE {name.upper()}, NOT THE MODEL: {card.model} has {numbers}."
    if not difference.sure:
        return f"Use {card.model} or {name}, which do not differ for sure: {numbers}."
    return f"Use {card.model}: {numbers}."
