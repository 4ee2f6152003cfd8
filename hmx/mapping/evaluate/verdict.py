"""The verdict on a map: one sentence that says what to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmx.mapping.evaluate.scorecard import MapScorecard

_MEAN = "mean"
_WORDS = {"linear": "linear regression", "boosting": "gradient boosting", "mean": "the mean"}


def verdict(card: MapScorecard) -> str:
    """Say whether to use the model or the best of all others in its table.

    Judged by R2 in transformed units on the first way of folding, against the best of the
    others in a paired bootstrap of what the folds were dealt of: a difference whose 95 %
    interval holds zero is none.

    Parameters
    ----------
    card : MapScorecard
        The scores.

    Returns
    -------
    str
        One sentence, loud where the model loses.
    """
    ours = card.value("r2")
    where = f"on {card.main} (R2 of {card.scale}, {card.value('n'):,.0f} held-out samples)"
    others = [name for name in card.rivals if name != _MEAN]
    best = max(others, key=lambda name: card.value("r2", name), default=None)
    top = -1.0 if best is None else card.value("r2", best)
    if max(ours, top) <= 0:
        return (
            f"USE THE MEAN, NOT THE MODEL: {card.model} explains nothing {where}: R2 {ours:.3f}"
            f"{'' if best is None else f', and nor does any other, of which {best} has {top:.3f}'}."
        )
    if best is None:
        return f"Use {card.model}: R2 {ours:.3f} {where}."
    name = _WORDS.get(best, best)
    found = card.difference(best)
    numbers = (
        f"R2 {ours:.3f}, {found.value:+.3f} against {top:.3f} of {name}, the best of the others "
        f"({found.level:g} % interval {found.low:+.3f} to {found.high:+.3f}, "
        f"drawing {found.groups:,} groups) {where}"
    )
    if ours <= 0 or (found.sure and found.value < 0):
        return f"USE {name.upper()}, NOT THE MODEL: {card.model} has {numbers}."
    if not found.sure:
        return f"Use {card.model} or {name}, which do not differ for sure: {numbers}."
    return f"Use {card.model}: {numbers}."
