"""Scores as text: the tables that a terminal shows, and the verdict in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from textwrap import fill
from typing import Literal

from hmx.forecast.backtest.strata import MEANINGS
from hmx.report.page import TextTable
from hmx.scores.card import TEXT_WIDTH, number, text_table
from hmx.scores.leads import LeadCard
from hmx.scores.zones import BOUNDS, DRAWS, METHODS, REGION, ZoneCell

_SKILLS = ("rmse_skill", "mae_skill", "crps_skill")
_ZONE_NOTE = (
    "A truth within half a thousandth of the range counts as inside. /: interval score of the "
    "widest level over that of independent pixels, of summed pixel bounds, and of the number of "
    "effective pixels that past errors of zones suggest; below 1 joint draws are better"
)
_HEADS = [f"{name.split('_')[0].upper()} skill" for name in _SKILLS]

Outcome = Literal["gain", "none", "loss"]
Choice = Literal["model", "reference", "intervals", "centre"]
MARGIN = 0.005  # skill within half a percent of 0 is not a gain, unless its spread decides
MEASURES = ("rmse", "crps")
_SPEAKING = ("zones", "30 px", "10 px", "cells")  # sizes of zones, the most telling first
_ENOUGH = 10  # zones: a share of fewer means little
_MOSTLY = 0.5  # share of the area from which on medians show no change
_SLACK = 5  # percent by which a share may fall short: zones are few and alike


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


def verdict(card: LeadCard) -> str:
    """Return a sentence on whether to use the model or the reference, lead by lead.

    A skill is not a gain if its spread over folds and origins, one standard deviation, reaches
    zero; with one fold and origin, if it lies within 0.5 % of zero. The model is preferred at a
    lead if it gains in RMSE and does not lose in CRPS. A gain in CRPS alone is not a reason to
    publish its map: any honest spread beats a point forecast such as persistence.
    """
    leads = [card.lead_name(lead) for lead in card.uncalibrated]
    if not card.scored:
        return "NO VERDICT: no lead has held-out truth."
    unknown = f"; without held-out truth, and so uncalibrated: {listed(leads)}" if leads else ""
    counts = sorted(card.whole[card.model, lead, "all"].score.count for lead in card.scored)
    few, many_pixels = f"{counts[0]:,}", f"{counts[-1]:,}"
    pixels = few if few == many_pixels else f"{few} to {many_pixels}"
    chosen = {lead: choose(card, lead) for lead in card.scored}
    tail = f", on {pixels} held-out pixels{_better_baselines(card)}{unknown}."
    ref, skills = card.reference, "; ".join(_skills(card, lead) for lead in card.scored)
    many = len(card.scored)
    if {*chosen.values()} == {"model"}:
        over = f"over {many} leads" if many > 1 else "at the one lead scored"
        return f"Use the model: {over} it beats {ref} (skill {skills}){tail}"
    if {*chosen.values()} == {"reference"}:
        gain = f"at none of {many} leads" if many > 1 else "at the one lead scored it does not"
        gain += " does it gain" if many > 1 else " gain"
        return f"USE {ref.upper()}, NOT THE MODEL: {gain} on {ref} (skill {skills}){tail}"
    if {*chosen.values()} <= {"reference", "intervals"}:
        names = listed(card.lead_name(lead) for lead in chosen if chosen[lead] == "intervals")
        return (
            f"USE {ref.upper()}, NOT THE MODEL, AS THE MAP: at no lead is its central estimate "
            f"better; only its intervals are worth having, at {names} (skill {skills}){tail}"
        )
    return f"{_by_lead(card, chosen)} (skill {skills}){tail}"


def zone_verdict(card: LeadCard) -> str | None:
    """Return a sentence on the intervals of zones, over all leads; ``None`` if none were scored.

    Of several sizes it is about the first of :data:`_SPEAKING` that has enough zones.
    """
    tally, cells = card.whole_zones, {}
    for size in tally.sizes:
        parts = {n: tally[size, n] for n in card.scored if tally[size, n].zones}
        cells[size] = (sum(parts.values(), ZoneCell()), parts)
    known = [s for s in _SPEAKING if s in cells and cells[s][0].zones >= _ENOUGH]
    known += sorted(cells, key=lambda size: -cells[size][0].zones)
    if not known:
        return None
    whole, parts = cells[known[0]]
    levels = sorted(level for method, level in whole.intervals if method == DRAWS)
    if not levels:
        return None
    level = min(levels, key=lambda found: abs(found - 95))
    held = {lead: part.intervals[DRAWS, level].tolerant for lead, part in parts.items()}
    ours, bounds = whole.intervals[DRAWS, level], whole.intervals[BOUNDS, level]
    area = f"{whole.area / whole.zones / 1e6:.3g} km2"
    what = {REGION: f"the whole region ({area})", "zones": f"the zones (about {area} each)"}
    by_lead = "; ".join(
        f"{card.lead_name(lead)}: {100 * share:.0f} %" for lead, share in held.items()
    )
    name = what.get(known[0], f"{area} zones")
    text = (
        f"{level:g} % intervals of {name} held {100 * ours.tolerant:.0f} % of what came "
        f"({by_lead}; {whole.zones:,} zones over all leads)"
    )
    if bounds.interval_score:
        ratio = ours.interval_score / bounds.interval_score
        text += f", with {ratio:.2f} times the interval score of summed bounds"
    narrow = 100 * ours.tolerant < level - _SLACK
    return text + ("; TOTALS ARE LESS SURE THAN THEIR INTERVALS." if narrow else ".")


def median_sentence(card: LeadCard) -> str | None:
    """Return a sentence if the median is the last map on most of the area; ``None`` otherwise."""
    shares = {n: card.value("median_unmoved", card.model, n) for n in card.scored}
    # NaN where files of older releases have none
    if not shares or not min(shares.values()) >= _MOSTLY:
        return None
    low, high = (f"{100 * share:.0f}" for share in (min(shares.values()), max(shares.values())))
    return (
        f"The median equals the last map on {low if low == high else f'{low} to {high}'} % of the "
        "held-out area; that is what this history supports. Look at P(> t): forecast(exceed=[0.1])."
    )


def choose(card: LeadCard, lead: int) -> Choice:
    """Choose what to use at a lead with held-out truth.

    ``intervals`` and ``centre`` stand for the model, but only for its intervals (CRPS) or only
    for its central estimate (RMSE).
    """
    centre, ranked = (outcome(card, measure, lead) for measure in MEASURES)
    if centre == "gain":
        return "centre" if ranked == "loss" else "model"
    return "intervals" if ranked == "gain" else "reference"


def outcome(card: LeadCard, measure: str, lead: int) -> Outcome:
    """Classify a skill as a gain, none worth the name, or a loss."""
    skill = card.value(f"{measure}_skill", card.model, lead)
    spread = card.value(f"{measure}_skill", card.model, lead, split="sd")
    known = not math.isnan(spread)
    sure = abs(skill) > spread if known else abs(skill) > MARGIN  # False if skill is NaN
    if not sure:
        return "none"
    return "gain" if skill > 0 else "loss"


def percent(skill: float, spread: float = math.nan) -> str:
    """Write a skill with its sign, and its spread if known, in percent."""
    # Below 10 % a decimal counts; above it suggests a precision that no score has.
    digits = 1 if min(abs(skill), spread if math.isfinite(spread) else 1) < 0.0995 else 0
    text = f"{100 * skill:+.{digits}f}"
    return text + (f" ± {100 * spread:.{digits}f} %" if math.isfinite(spread) else " %")


def listed(items: Iterable[str]) -> str:
    """Join words as in a sentence."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def _skills(card: LeadCard, lead: int) -> str:
    """Write both skills of the model at a lead."""
    parts = []
    for measure in MEASURES:
        metric = f"{measure}_skill"
        skill = card.value(metric, card.model, lead)
        spread = card.value(metric, card.model, lead, split="sd")
        parts.append(f"{measure.upper()} {percent(skill, spread)}")
    return f"at {card.lead_name(lead)}: {', '.join(parts)}"


def _by_lead(card: LeadCard, chosen: dict[int, Choice]) -> str:
    """Name the leads of each choice, the model's first."""
    ref = card.reference.upper()
    texts: dict[Choice, str] = {
        "model": "the model at {}",
        "centre": "at {} the model only for its central estimate, NOT ITS INTERVALS",
        "intervals": f"at {{}} the model only for its intervals, but {ref} as central estimate",
        "reference": f"{ref} at {{}}",
    }
    parts = []
    for choice, text in texts.items():
        if leads := [card.lead_name(lead) for lead, what in chosen.items() if what == choice]:
            parts.append(text.format(listed(leads)))
    return "Use " + ", but ".join(parts)


def _better_baselines(card: LeadCard) -> str:
    """Name the other baselines that beat the model, by how much, and at which leads."""
    beaten = []
    for other in card.forecasters[2:]:
        parts = []
        for measure in MEASURES:
            metric = f"{measure}_skill_vs_{other}"
            skills = {n: card.value(metric, card.model, n) for n in card.scored}
            worse = [
                f"{-100 * skill:.1f} % at {card.lead_name(lead)}"
                for lead, skill in skills.items()
                if skill < -MARGIN
            ]
            parts += [f"{measure.upper()} by {listed(worse)}"] if worse else []
        beaten += [f"{other} beats the model ({', '.join(parts)})"] if parts else []
    return f"; but {listed(beaten)}" if beaten else ""
