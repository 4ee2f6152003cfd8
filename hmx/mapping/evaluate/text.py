"""Scores of a map as text: the tables that a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmx.mapping.evaluate.scorecard import MapScorecard

_WIDTH = 96  # columns of a line of prose
_HEADS = {
    "r2": "R2", "r2_corr": "r2", "rmse": "RMSE", "mae": "MAE", "bias": "bias", "ccc": "CCC",
    "rpiq": "RPIQ",
}  # fmt: skip


def as_text(card: MapScorecard, *, verdict: bool = True) -> str:
    """Write a scorecard as text: verdict, scores, bands of the truth, intervals, facts.

    Parameters
    ----------
    card : MapScorecard
        The scores.
    verdict : bool
        Whether the verdict comes first; not where it is told apart.

    Returns
    -------
    str
        Lines, the last without a line break.
    """
    blocks = [[fill(card.verdict, _WIDTH)]] if verdict else []
    blocks += [_scores(card, split) for split in card.splits]
    if card.report:
        blocks.append([fill(card.report.sentence, _WIDTH)])
    blocks += [_bands(card), _intervals(card), _importance(card)]
    blocks.append([f"{name}: {value}" for name, value in card.facts.items()])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _scores(card: MapScorecard, split: str) -> list[str]:
    rows = []
    for name in card.forecasters:
        known = {metric: card.value(metric, name, split=split) for metric in _HEADS}
        r2, *others = map(_number, known.values())
        runs = card.value("r2_sd", name, split=split)
        told = f"{runs:.3f}" if math.isfinite(runs) else ""
        rows.append([name, r2, told, *others, *_difference(card, split, name)])
    count = f"{card.value('n', split=split):,.0f}"
    title = f"Scores of {card.scale} on {split}, {count} samples, each held out once"
    first, *heads = _HEADS.values()
    return table(title, ["", first, "± runs", *heads, f"R2 of {card.model} less this"], rows)


def _difference(card: MapScorecard, split: str, name: str) -> Iterator[str]:
    found = card.differences.get((split, name))
    yield f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})" if found else ""


def _bands(card: MapScorecard) -> list[str]:
    strata = [key[3] for key in card.table if key[:3] == (card.main, card.model, card.scale)]
    rows = [
        [
            stratum.removeprefix("truth "),
            f"{card.value('from', stratum=stratum):.2f} to {card.value('to', stratum=stratum):.2f}",
            f"{card.value('n', stratum=stratum):,.0f}",
            *(_number(card.value(metric, stratum=stratum)) for metric in ("rmse", "mae", "bias")),
        ]
        for stratum in strata
        if stratum.startswith("truth ")
    ]
    title = f"{card.model} by band of the truth, on {card.main}"
    return table(title, ["quantiles", card.scale, "n", "RMSE", "MAE", "bias"], rows)


def _intervals(card: MapScorecard) -> list[str]:
    rows = [
        [f"{name}, {level:g} %", *_interval(card, name, f"{level:g}")]
        for name in card.forecasters
        for level in card.levels
        if math.isfinite(card.value(f"picp_{level:g}", name))
    ]
    head = ["", "inside", "by fold", "below", "above", "width", "score", "top", "top predicted"]
    title = f"Prediction intervals on {card.main}, learnt from {card.splits[card.main].calibration}"
    told = (
        "below, above: truths beyond the bounds; score: Gneiting and Raftery (2007), lower is "
        "better; top: share inside in the highest tenth of the truths, which no method can "
        "promise, and of the predictions"
    )
    return [*table(title, head, rows), fill(told, _WIDTH)] if rows else []


def _interval(card: MapScorecard, name: str, level: str) -> Iterator[str]:
    def share(metric: str, stratum: str = "all") -> float:
        return 100 * card.value(f"{metric}_{level}", name, stratum=stratum)

    yield f"{share('picp'):.1f} %"
    least, most = (100 * card.value(f"picp_{level}_{end}_fold", name) for end in ("least", "most"))
    yield f"{least:.0f}-{most:.0f} %"
    yield f"{share('qcp_lower'):.1f} %"
    yield f"{100 - share('qcp_upper'):.1f} %"
    yield from (_number(card.value(f"{metric}_{level}", name)) for metric in ("width", "score"))
    yield from (f"{share('picp', stratum):.0f} %" for stratum in ("top", "top predicted"))


def _importance(card: MapScorecard) -> list[str]:
    found = card.importance
    if found is None:
        return []
    rows = [[band, f"{found.mean[band]:.3f} ± {found.sd[band]:.3f}"] for band in found.bands]
    return table("Importance: loss of R2 when a band is permuted, by fold", ["", "loss"], rows)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out columns, the first to the left and numbers to the right.

    Parameters
    ----------
    title : str
        The first line.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        Cells.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = (
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )
    return [title, *lines]
