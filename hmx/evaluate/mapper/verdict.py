"""The verdict on a map: one sentence that says what to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmx.evaluate.mapper.scorecard import MapScorecard


def verdict(card: MapScorecard) -> str:
    """Say whether to use the model, the reference, or the mean.

    Judged by R2 in transformed units on the first way of folding, against the
    reference in a paired bootstrap of what the folds were dealt of: a difference whose
    95 % interval holds zero is none.

    Parameters
    ----------
    card : MapScorecard
        The scores.

    Returns
    -------
    str
        One sentence, loud where the model loses.
    """
    ours, theirs = (card.value("r2", name) for name in (card.model, card.reference))
    where = f"on {card.main} (R2 of {card.scale}, {card.value('n'):,.0f} held-out samples)"
    if ours <= 0:
        return f"USE THE MEAN, NOT THE MODEL: {card.model} explains nothing {where}: R2 {ours:.3f}."
    if card.model == card.reference:
        return f"Use {card.model}: R2 {ours:.3f} {where}."
    found = card.difference(card.reference)
    told = (
        f"R2 {ours:.3f}, {found.value:+.3f} against {theirs:.3f} of {card.reference} "
        f"({found.level:g} % interval {found.low:+.3f} to {found.high:+.3f}, "
        f"drawing {found.groups:,} groups) {where}"
    )
    if not found.sure:
        return f"Use {card.model} or {card.reference}, which do not differ for sure: {told}."
    if found.value > 0:
        return f"Use {card.model}: {told}."
    return f"USE {card.reference.upper()}, NOT THE MODEL: {card.model} has {told}."
