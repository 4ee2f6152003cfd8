"""The verdict: one sentence on whether to use the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from hmx.scores.card import LeadCard
from hmx.scores.zones import BOUNDS, DRAWS, REGION, ZoneCell

Outcome = Literal["gain", "none", "loss"]
Choice = Literal["model", "reference", "intervals", "centre"]

MARGIN = 0.005  # skill within half a percent of 0 is not a gain, unless its spread decides
MEASURES = ("rmse", "crps")
_SPEAKING = ("zones", "30 px", "10 px", "cells")  # sizes of zones, the most telling first
_ENOUGH = 10  # zones: a share of fewer is no share
_MOSTLY = 0.5  # share of the area from which on medians say nothing about change
_SLACK = 5  # percent by which a share may fall short: zones are few and alike


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
