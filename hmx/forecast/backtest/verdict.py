"""The verdict: one sentence that says whether to use the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hmx.forecast.backtest.scorecard import Scorecard

Outcome = Literal["gain", "none", "loss"]
Choice = Literal["model", "reference", "intervals", "centre"]

MARGIN = 0.005  # skill within half a percent of 0 is no gain, unless its spread says otherwise
MEASURES = ("rmse", "crps")


def verdict(card: Scorecard) -> str:
    """Say whether to use the model or the reference.

    A skill counts as no gain if its spread over folds and origins, one standard
    deviation, reaches zero; where there is only one, if it lies within 0.5 % of zero.
    At a lead the model is preferred if it gains in RMSE and does not lose in CRPS. A
    gain in CRPS alone is no reason to publish its map: any honest spread beats the
    point that persistence is.

    Parameters
    ----------
    card : Scorecard
        Judged over all pixels, lead by lead.

    Returns
    -------
    str
        One sentence, loud where the reference wins.
    """
    if not card.scored:
        return f"NO VERDICT: no lead has held-out truth{_unknown(card)}."
    chosen = {lead: choose(card, lead) for lead in card.scored}
    tail = f", on {_pixels(card)} held-out pixels{_beaten(card)}{_unknown(card)}."
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
        where = listed(card.lead_name(lead) for lead in chosen if chosen[lead] == "intervals")
        return (
            f"USE {ref.upper()}, NOT THE MODEL, AS THE MAP: at no lead is its central estimate "
            f"better; only its intervals are worth having, at {where} (skill {skills}){tail}"
        )
    return f"{_by_lead(card, chosen)} (skill {skills}){tail}"


def choose(card: Scorecard, lead: int) -> Choice:
    """Choose what to use at a lead.

    Parameters
    ----------
    card : Scorecard
        The scores.
    lead : int
        One with held-out truth.

    Returns
    -------
    {'model', 'reference', 'intervals', 'centre'}
        The last two: the model, but only for its intervals (CRPS) or only for
        its central estimate (RMSE).
    """
    centre, ranked = (outcome(card, measure, lead) for measure in MEASURES)
    if centre == "gain":
        return "centre" if ranked == "loss" else "model"
    return "intervals" if ranked == "gain" else "reference"


def outcome(card: Scorecard, measure: str, lead: int) -> Outcome:
    """Judge a skill: a gain, none worth the name, or a loss."""
    skill = card.value(f"{measure}_skill", card.model, lead)
    spread = card.value(f"{measure}_skill", card.model, lead, split="sd")
    known = not math.isnan(spread)
    sure = abs(skill) > spread if known else abs(skill) > MARGIN  # False if skill is NaN
    if not sure:
        return "none"
    return "gain" if skill > 0 else "loss"


def percent(skill: float, spread: float = math.nan) -> str:
    """Write a skill with its sign, and its spread if known, in percent."""
    digits = 1 if min(abs(skill), spread if math.isfinite(spread) else 1) < 0.0995 else 0
    text = f"{100 * skill:+.{digits}f}"
    return text + (f" ± {100 * spread:.{digits}f} %" if math.isfinite(spread) else " %")


def listed(items: Iterable[str]) -> str:
    """Join words as in a sentence."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def _skills(card: Scorecard, lead: int) -> str:
    parts = [
        f"{measure.upper()} "
        + percent(
            card.value(f"{measure}_skill", card.model, lead),
            card.value(f"{measure}_skill", card.model, lead, split="sd"),
        )
        for measure in MEASURES
    ]
    return f"at {card.lead_name(lead)}: {', '.join(parts)}"


def _by_lead(card: Scorecard, chosen: dict[int, Choice]) -> str:
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


def _beaten(card: Scorecard) -> str:
    """Name the other baselines that beat the model, and where."""
    told = [
        f"{other} beats the model ({text})"
        for other in card.forecasters[2:]
        if (text := _worse(card, other))
    ]
    return f"; but {listed(told)}" if told else ""


def _worse(card: Scorecard, other: str) -> str:
    """Write by how much of another's error the model's is larger, and where."""
    parts = []
    for measure in MEASURES:
        skills = {n: card.value(f"{measure}_skill_vs_{other}", card.model, n) for n in card.scored}
        where = [
            f"{-100 * skill:.1f} % at {card.lead_name(lead)}"
            for lead, skill in skills.items()
            if skill < -MARGIN
        ]
        parts += [f"{measure.upper()} by {listed(where)}"] if where else []
    return ", ".join(parts)


def _unknown(card: Scorecard) -> str:
    leads = [card.lead_name(lead) for lead in card.uncalibrated]
    if not leads or not card.scored:
        return ""
    return f"; without held-out truth, and so uncalibrated: {listed(leads)}"


def _pixels(card: Scorecard) -> str:
    counts = sorted(_counts(card))
    few, many = f"{counts[0]:,}", f"{counts[-1]:,}"
    return few if few == many else f"{few} to {many}"


def _counts(card: Scorecard) -> Sequence[int]:
    return [card.whole[card.model, lead, "all"].score.count for lead in card.scored]
