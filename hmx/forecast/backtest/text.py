"""Scores as text: the table that a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from textwrap import fill

from hmx.forecast.backtest.strata import MEANINGS
from hmx.report.sections import TextTable
from hmx.scores.card import TEXT_WIDTH, LeadCard, number, text_table
from hmx.scores.zones import METHODS

_SKILLS = ("rmse_skill", "mae_skill", "crps_skill")
_ZONE_NOTE = (
    "A truth within half a thousandth of the range counts as inside. /: interval score of the "
    "widest level over that of independent pixels, of summed pixel bounds, and of the number of "
    "effective pixels that past errors of zones suggest; below 1 joint draws are better"
)
_HEADS = [f"{name.split('_')[0].upper()} skill" for name in _SKILLS]


def as_text(card: LeadCard, *, verdict: bool = True) -> str:
    """Write a scorecard as text: verdict, scores, calibration, strata, facts."""
    units, count = card.facts.get("units"), len(card.tallies)
    title = "Scores, " + (
        f"pooled over {count} folds and origins" if count > 1 else "of one fold and origin"
    )
    title += f" (errors in {units})" if units and units != "1" else ""
    levels = _levels_of(card)
    blocks = [
        [fill(card.verdict, TEXT_WIDTH)] if verdict else [],
        [fill(card.median_sentence, TEXT_WIDTH)] if verdict and card.median_sentence else [],
        [fill(card.zone_verdict, TEXT_WIDTH)] if verdict and card.zone_verdict else [],
        text_table(
            title,
            ["", "forecaster", "n", "RMSE", "MAE", "bias", "CRPS", "SSIM", "F1", *_HEADS],
            list(_scores(card)),
            left=2,
        ),
        text_table(
            f"Calibration of {card.model}: share of truths inside, and mean width",
            ["", *(f"{level} %" for level in levels)],
            [[card.lead_name(n), *_calibration(card, n, levels)] for n in card.scored],
        ),
    ]
    blocks.append(
        text_table(
            f"Total change from the last map: expected by {card.model} and observed, mean per area",
            ["", "expected", "observed", "expected / observed"],
            [[card.lead_name(n), *_totals(card, n)] for n in card.scored],
        )
    )
    if card.whole_zones.cells:
        blocks.append([*_zone_table(card), fill(_ZONE_NOTE, TEXT_WIDTH)])
    if len(card.strata) > 1:
        header = ["", "stratum", "n", "RMSE", *_HEADS]
        table = text_table(f"{card.model} by stratum", header, list(_strata(card)), left=2)
        blocks.append([*table, *_notes(card)])
    blocks.append([f"{name}: {value}" for name, value in card.facts.items()])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def tables(card: LeadCard) -> list[TextTable]:
    """Return skills against every baseline by lead and stratum, calibration, and scores."""
    rivals = card.forecasters[1:]
    found = []
    for measure in ("crps", "rmse"):
        rows = [
            [
                card.lead_name(lead),
                stratum,
                *(_against(card, measure, other, lead, stratum) for other in rivals),
            ]
            for lead in card.scored
            for stratum in card.strata
        ]
        title = f"{measure.upper()} skill of {card.model} against each baseline, above 0 is better"
        found.append(TextTable(title, ["lead", "stratum", *rivals], rows, left=2))
    found[-1] = replace(found[-1], note=" ".join(f"{line}." for line in _notes(card)))
    levels = _levels_of(card)
    rows = [[card.lead_name(n), *_calibration(card, n, levels)] for n in card.scored]
    title = f"Calibration of {card.model}: share of truths inside, and mean width"
    found.append(TextTable(title, ["lead", *(f"{level} %" for level in levels)], rows))
    heads = ["lead", "forecaster", "n", "RMSE", "MAE", "bias", "CRPS", "SSIM", "F1", *_HEADS]
    found.append(TextTable("Scores of all forecasters", heads, list(_scores(card)), left=2))
    return found


def _against(card: LeadCard, measure: str, other: str, lead: int, stratum: str) -> str:
    """Write the model's skill against one baseline."""
    metric = f"{measure}_skill" + ("" if other == card.reference else f"_vs_{other}")
    value = card.value(metric, card.model, lead, stratum=stratum)
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "-"


def _levels_of(card: LeadCard) -> list[str]:
    """Return the levels of intervals as the names of figures have them: 80, 97.5."""
    names = dict.fromkeys(name for figures in card.table.values() for name in figures)
    return [n.removeprefix("coverage_") for n in names if n.startswith("coverage_")]


def _scores(card: LeadCard) -> Iterator[list[str]]:
    """Yield a row for each lead and forecaster; the lead is written once."""
    for lead in card.leads:
        label = card.lead_name(lead)
        if lead not in card.scored:
            yield [label, "no held-out truth: uncalibrated"]
            continue
        for name in card.forecasters:
            figures = card.table[name, lead, "all", "all"]
            if figures["n"]:
                errors = [number(figures[k], ".4g") for k in ("rmse", "mae", "bias", "crps")]
                shares = [number(figures[k]) for k in ("ssim", "f1")]
                skills = [_skill(card, k, name, lead) for k in _SKILLS]
                yield [label, name, f"{int(figures['n']):,}", *errors, *shares, *skills]
                label = ""


def _calibration(card: LeadCard, lead: int, levels: list[str]) -> Iterator[str]:
    figures = card.table[card.model, lead, "all", "all"]
    for level in levels:
        share, width = figures[f"coverage_{level}"], figures[f"width_{level}"]
        yield f"{number(100 * share, '.1f')} % ({number(width, '.4g')})"


def _totals(card: LeadCard, lead: int) -> Iterator[str]:
    figures = card.table[card.model, lead, "all", "all"]
    # files of older releases have no totals
    names = ("expected_change", "observed_change")
    expected, observed = (figures.get(name, math.nan) for name in names)
    yield from (number(expected, "+.4g"), number(observed, "+.4g"))
    yield f"{100 * expected / observed:.0f} %" if observed and math.isfinite(observed) else "-"


def _zone_table(card: LeadCard) -> list[str]:
    """Lay out the scores of zones: a row for each lead and size, a column for each level."""
    levels = sorted(
        {level for cell in card.whole_zones.cells.values() for _, level in cell.intervals}
    )
    rows = []
    for lead in card.scored:
        label = card.lead_name(lead)
        for size in card.whole_zones.sizes:
            found = card.whole_zones[size, lead].figures()
            if not found["zones"]:
                continue
            shares = [f"{number(100 * found[f'coverage_{level:g}'], '.0f')} %" for level in levels]
            last = f"{levels[-1]:g}"
            ratios = [number(found[f"score_over_{m}_{last}"], ".2f") for m in METHODS[1:]]
            changes = [number(found[f"{name}_change"], "+.4g") for name in ("expected", "observed")]
            sizes = [f"{int(found['zones']):,}", number(found["area_km2"], ".3g")]
            rows.append([label, size, *sizes, *shares, *ratios, *changes])
            label = ""
    heads = [f"in {level:g} %" for level in levels] + [f"/ {method}" for method in METHODS[1:]]
    title = (
        f"Zones: share of means inside their intervals by {card.model}, interval score over others'"
    )
    header = ["", "zones", "n", "km2", *heads, "expected", "observed"]
    return text_table(title, header, rows, left=2)


def _strata(card: LeadCard) -> Iterator[list[str]]:
    """Yield a row of the model for each lead and stratum; the lead is written once."""
    for lead in card.scored:
        label = card.lead_name(lead)
        for stratum in card.strata:
            figures = card.table[card.model, lead, stratum, "all"]
            skills = [_skill(card, k, card.model, lead, stratum) for k in _SKILLS]
            count, error = f"{int(figures['n']):,}", number(figures["rmse"], ".4g")
            yield [label, stratum, count, error, *skills]
            label = ""


def _notes(card: LeadCard) -> Iterator[str]:
    """Yield the meanings of strata, and the reason for a skill that is left out."""
    if meanings := [MEANINGS[name] for name in card.strata if name in MEANINGS]:
        yield fill("; ".join(meanings), TEXT_WIDTH)
    skills = [
        card.value(metric, card.model, lead, stratum=stratum)
        for metric in _SKILLS
        for lead in card.scored
        for stratum in card.strata
    ]
    # minus infinity: 1 - error / 0, and the tables show a dash for it
    if -math.inf in skills:
        yield f"-: {card.reference} makes no error there, so there is no skill to be had"


def _skill(card: LeadCard, metric: str, name: str, lead: int, stratum: str = "all") -> str:
    """Write a skill in percent; for the model, with its spread."""
    value = card.value(metric, name, lead, stratum=stratum)
    if name == card.reference or not math.isfinite(value):
        return "-"
    spread = card.value(metric, name, lead, stratum=stratum, split="sd")
    known = name == card.model and math.isfinite(spread)
    return f"{100 * value:+.1f} %" + (f" ± {100 * spread:.1f}" if known else "")
