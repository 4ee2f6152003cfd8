"""Strata: parts of a raster that are scored apart, each found from its window alone.

How near a pixel is to past change is told by the history up to the origin, whatever
the model; how much it truly changed, by the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from hmx.features.context import past_change

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

CAP = 30  # px: from here on a pixel is far from past change
_NEAR = 3  # px
_SMALL = 0.05  # of the range of values: a change up to this is small
_SAME = 1e-6  # of the range: what float32 makes of no change
MEANINGS = {
    "near": f"near: up to {_NEAR} px from past change",
    "middle": "middle: farther",
    "far": f"far: {CAP} px and more",
    "unchanged": "unchanged: truly the same",
    "small": f"small: a true change of up to {100 * _SMALL:g} % of the range",
    "large": "large: of more",
}


def by_distance(history: Floats) -> dict[str, Mask]:
    """Sort pixels by their distance to past change.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Steps up to the origin, with :data:`CAP` true pixels around the pixels
        wanted; NaN is missing, and what is missing has not changed.

    Returns
    -------
    dict of str to array (y, x), bool
        ``near`` (up to 3 px), ``middle`` and ``far`` (:data:`CAP` px and more).
    """
    moved = past_change(history).total > 0
    away = np.full(moved.shape, float(CAP))
    if moved.any():
        away = np.minimum(distance_transform_edt(~moved), CAP)
    near, far = away <= _NEAR, away >= CAP
    return {"near": near, "middle": ~near & ~far, "far": far}


def by_change(truth: Floats, origin: Floats, span: float) -> dict[str, Mask]:
    """Sort pixels by the size of what truly changed.

    Parameters
    ----------
    truth, origin : array (y, x), units of the target
        NaN is missing, and belongs nowhere.
    span : float, units of the target
        Range of possible values.

    Returns
    -------
    dict of str to array (y, x), bool
        ``unchanged``, ``small`` (up to 5 % of the range) and ``large``.
    """
    size = np.abs(truth - origin) / span
    return {
        "unchanged": size <= _SAME,
        "small": (size > _SAME) & (size <= _SMALL),
        "large": size > _SMALL,
    }


def cut(
    masks: Mapping[str, Mask], place: tuple[slice, slice], core: tuple[slice, slice]
) -> dict[str, Mask]:
    """Cut masks to a window, and drop those that hold nothing of its core.

    Parameters
    ----------
    masks : mapping of str to array (y, x), bool
        Strata.
    place : tuple of slice
        The window.
    core : tuple of slice
        Its core, in pixels of the window.
    """
    parts = {name: mask[place] for name, mask in masks.items()}
    return {name: part for name, part in parts.items() if part[core].any()}
