"""Scores as text: the table that a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from hmx.forecast.backtest.strata import MEANINGS

if TYPE_CHECKING:
    from hmx.forecast.backtest.scorecard import Scorecard

_WIDTH = 96  # columns of a line of prose
_SKILLS = ("rmse_skill", "mae_skill", "crps_skill")


def as_text(card: Scorecard, *, verdict: bool = True) -> str:
    """Write a scorecard as text: verdict, scores, calibration, strata, facts.

    Parameters
    ----------
    card : Scorecard
        Pooled figures are shown, with the spread of the model's skills.
    verdict : bool
        Whether the verdict comes first; not where it is told apart.

    Returns
    -------
    str
        Lines, the last without a line break.
    """
    units = card.facts.get("units")
    blocks = [
        [fill(card.verdict, _WIDTH)] if verdict else [],
        _table(
            f"Scores, {_pooled(len(card.tallies))}"
            + (f" (errors in {units})" if units and units != "1" else ""),
            ["", "forecaster", "n", "RMSE", "MAE", "bias", "CRPS", "SSIM", "F1"]
            + [f"{name.split('_')[0].upper()} skill" for name in _SKILLS],
            list(_scores(card)),
        ),
        _table(
            f"Calibration of {card.model}: share of truths inside, and mean width",
            ["", *(f"{level} %" for level in _levels(card))],
            [[card.lead_name(n), *_calibration(card, n)] for n in card.scored],
        ),
    ]
    if len(card.strata) > 1:
        header = [
            "",
            "stratum",
            "n",
            "RMSE",
            *(f"{s.split('_')[0].upper()} skill" for s in _SKILLS),
        ]
        blocks.append(_table(f"{card.model} by stratum", header, list(_strata(card))))
        blocks[-1] += list(_notes(card))
    blocks.append([f"{name}: {value}" for name, value in card.facts.items()])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _pooled(count: int) -> str:
    return f"pooled over {count} folds and origins" if count > 1 else "of one fold and origin"


def _scores(card: Scorecard) -> Iterator[list[str]]:
    for lead in card.leads:
        label = card.lead_name(lead)
        if lead not in card.scored:
            yield [label, "no held-out truth: uncalibrated"]
            continue
        for name in card.forecasters:
            found = card.table[name, lead, "all", "all"]
            if found["n"]:
                errors = [_error(found[k]) for k in ("rmse", "mae", "bias", "crps")]
                shares = [_number(found[k], ".3f") for k in ("ssim", "f1")]
                skills = [_skill(card, k, name, lead) for k in _SKILLS]
                yield [label, name, f"{int(found['n']):,}", *errors, *shares, *skills]
                label = ""


def _calibration(card: Scorecard, lead: int) -> Iterator[str]:
    found = card.table[card.model, lead, "all", "all"]
    for level in _levels(card):
        share, width = found[f"coverage_{level}"], found[f"width_{level}"]
        yield f"{_number(100 * share, '.1f')} % ({_error(width)})"


def _strata(card: Scorecard) -> Iterator[list[str]]:
    for lead in card.scored:
        label = card.lead_name(lead)
        for stratum in card.strata:
            found = card.table[card.model, lead, stratum, "all"]
            skills = [_skill(card, k, card.model, lead, stratum) for k in _SKILLS]
            yield [label, stratum, f"{int(found['n']):,}", _error(found["rmse"]), *skills]
            label = ""


def _notes(card: Scorecard) -> Iterator[str]:
    """Say what the names of strata mean, and why a skill is left out."""
    if told := [MEANINGS[name] for name in card.strata if name in MEANINGS]:
        yield fill("; ".join(told), _WIDTH)
    skills = [
        card.value(metric, card.model, lead, stratum=stratum)
        for metric in _SKILLS
        for lead in card.scored
        for stratum in card.strata
    ]
    if -math.inf in skills:
        yield f"-: {card.reference} makes no error there, so there is no skill to be had"


def _skill(card: Scorecard, metric: str, name: str, lead: int, stratum: str = "all") -> str:
    """Write a skill in percent; for the model, with its spread."""
    value = card.value(metric, name, lead, stratum=stratum)
    if name == card.reference or not math.isfinite(value):
        return "-"
    spread = card.value(metric, name, lead, stratum=stratum, split="sd")
    known = name == card.model and math.isfinite(spread)
    return f"{100 * value:+.1f} %" + (f" ± {100 * spread:.1f}" if known else "")


def _levels(card: Scorecard) -> list[str]:
    """Levels of the intervals, as they are written in names of figures."""
    names = [name for found in card.table.values() for name in found]
    return [n.removeprefix("coverage_") for n in dict.fromkeys(names) if n.startswith("coverage_")]


def _error(value: float) -> str:
    return _number(value, ".4g")


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out columns, the first two to the left and numbers to the right."""
    full = [row for row in (header, *rows) if len(row) == len(header)]
    widths = [max(len(row[i]) for row in full) for i in range(len(header))]
    left = 2 if "n" in header else 1

    def line(row: Sequence[str]) -> str:
        cells = (
            text.ljust(width) if i < left or len(row) < len(header) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=False))
        )
        return "  ".join(cells).rstrip()

    return [title, *(line(row) for row in (header, *rows))] if rows else []
