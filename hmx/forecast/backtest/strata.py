"""Strata: parts of a raster that are scored separately, each computed from its window alone.

The distance of a pixel to past change follows from the history up to the origin, whatever the
model; the size of its true change from the truth.
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

CAP = 30  # px: from here on a pixel is far from past change; also a halo that tiles can afford
_NEAR = 3  # px: one 7 x 7 window of SSIM
_SMALL = 0.05  # of the range of values: a larger change is one that people see on the map
_SAME = 1e-6  # of the range: float32 rounds by less
MEANINGS = {
    "near": f"near: up to {_NEAR} px from past change",
    "middle": "middle: farther",
    "far": f"far: {CAP} px and more",
    "unchanged": "unchanged: truly the same",
    "small": f"small: a true change of up to {100 * _SMALL:g} % of the range",
    "large": "large: of more",
}


def by_distance(history: Floats) -> dict[str, Mask]:
    """Mark the pixels near, at a middle distance and far from past change, (y, x) each.

    The history (time, y, x) needs :data:`CAP` true pixels around the pixels wanted. A missing
    pixel has not changed.
    """
    moved = past_change(history).total > 0
    distance = np.full(moved.shape, float(CAP))
    if moved.any():  # the transform of a mask without targets is undefined
        distance = np.minimum(distance_transform_edt(~moved), CAP)
    near, far = distance <= _NEAR, distance >= CAP
    return {"near": near, "middle": ~near & ~far, "far": far}


def by_change(truth: Floats, origin: Floats, span: float) -> dict[str, Mask]:
    """Mark pixels whose true change is zero, small or large, (y, x) each; missing ones nowhere."""
    size = np.abs(truth - origin) / span
    return {
        "unchanged": size <= _SAME,
        "small": (size > _SAME) & (size <= _SMALL),
        "large": size > _SMALL,
    }


def cut(
    masks: Mapping[str, Mask], window: tuple[slice, slice], core: tuple[slice, slice]
) -> dict[str, Mask]:
    """Cut masks to a window, and drop those that mark nothing in its core."""
    parts = {name: mask[window] for name, mask in masks.items()}
    return {name: part for name, part in parts.items() if part[core].any()}
