"""Folds: which spatial block plays which role, decided by integers alone.

Blocks are square cells of the cube's own grid. A :class:`Split` knows the role
of each of them and of each pixel; :func:`deal` makes one, and :class:`Folds`
as many as it takes to test on every block once.
"""

from hmx.splits.blocks import (
    BLOCK,
    CALIBRATION,
    ROLES,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    Folds,
    Split,
    block_side,
    choose_block,
    deal,
    interior,
)

__all__ = [
    "BLOCK", "CALIBRATION", "ROLES", "TEST", "TRAIN", "UNUSED", "VALIDATION", "Folds", "Split",
    "block_side", "choose_block", "deal", "interior",
]  # fmt: skip
