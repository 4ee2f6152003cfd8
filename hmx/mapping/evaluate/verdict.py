"""The verdict on a map: one sentence on what to use."""

from __future__ import annotations

from hmx.mapping.evaluate.rounds import PLAIN
from hmx.scores.card import SampleCard

_MEAN = "mean"
_WORDS = {"linear": "linear regression", "boosting": "gradient boosting", "mean": "the mean"}


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
