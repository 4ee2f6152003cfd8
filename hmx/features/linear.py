"""The ridge baseline's parts: neighbourhood features, additive fit.

:class:`NormalEquations` of two sets of pixels add to those of their union, so
a cube too large for memory can be fitted block by block: sum, then solve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from hmx.errors import NotEnoughData

Floats = NDArray[np.floating[Any]]
Array = NDArray[np.float64]

RADII = (1, 3, 10, 30)


def features(
    history: Floats, *, static: Floats | None = None, radii: Sequence[int] = RADII
) -> Array:
    """Describe each pixel by its state, its change and its surroundings: (feature, y, x), float64.

    `history` is (time, y, x), units of the target, oldest first, ending at the origin, NaN where
    missing; `static` (layer, y, x) is appended unchanged. The features are the origin, changes
    between steps; for each radius (px, half-width of a square) the means of the origin, of the last
    change and of its absolute value; static layers. NaN where nothing is known.
    """
    steps = np.asarray(history, dtype=np.float64)
    changes = np.diff(steps, axis=0)
    layers_with_means = [steps[-1], *changes[-1:], *np.abs(changes[-1:])]
    means = [box_mean(layer, radius) for radius in radii for layer in layers_with_means]
    layers = () if static is None else np.asarray(static, dtype=np.float64)
    return np.stack([steps[-1], *changes, *means, *layers])


def box_mean(layer: Floats, radius: int) -> Array:
    """Average the known pixels of the square around each pixel of (y, x); NaN without any.

    The square has ``2 * radius + 1`` pixels a side; pixels beyond the edge are missing.
    :mod:`hmx.features.boxes` explains why there are three means of a square.
    """
    size = 2 * radius + 1
    known = np.isfinite(layer)
    share = uniform_filter(known.astype(np.float64), size, mode="constant")
    total = uniform_filter(np.where(known, layer, 0.0).astype(np.float64), size, mode="constant")
    some = share > 0.5 / size**2  # running sums leave a residue where the share is exactly 0
    return np.where(some, total / np.where(some, share, 1.0), np.nan)


def count_features(history: int, radii: Sequence[int]) -> int:
    """Count the features of :func:`features` without static layers, for `history` steps."""
    return history + len(radii) * (3 if history > 1 else 1)


@dataclass(frozen=True)
class NormalEquations:
    """The sums of a least-squares fit, one set per lead; states add to the state of the union."""

    # (lead, feature + 2, feature + 2): sums of products of the columns (1, features, change)
    gram: Array

    @classmethod
    def zero(cls, leads: int, features: int) -> NormalEquations:
        """Return the empty state for so many leads and features."""
        return cls(np.zeros((leads, features + 2, features + 2)))

    @classmethod
    def of(cls, features: Array, changes: Array) -> NormalEquations:
        """Sum over the pixels with known features (feature, ...) and change (lead, ...).

        The change is target minus origin, units of the target; NaN is missing, also a whole lead.
        """
        x = features.reshape(len(features), -1)
        grams = []
        for change in changes.reshape(len(changes), -1):
            known = np.isfinite(change) & np.isfinite(x).all(axis=0)
            columns = np.vstack([np.ones(known.sum()), x[:, known], change[known]])
            grams.append(columns @ columns.T)
        return cls(np.stack(grams))

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Join two states into the state of the union of their pixels."""
        return NormalEquations(self.gram + other.gram)

    def solve(self, penalty: float) -> tuple[Array, Array, Array]:
        """Solve for the coefficients of standardised features, with a free intercept.

        Ridge regression (Hoerl and Kennard, 1970). The penalty is added to the diagonal of the sums
        of squares of the standardised features, so it counts as that many pixels. Returns mean and
        scale of the features, (lead, feature), and coefficients (lead, 1 + feature), intercept
        first, units of the target. Raises :class:`NotEnoughData` if a lead has no pixel.
        """
        for lead, gram in enumerate(self.gram):
            if not gram[0, 0]:
                raise NotEnoughData(
                    f"lead number {lead + 1} of {len(self.gram)} has no pixel to learn from: its "
                    "targets must lie inside the cube. Ask for earlier origins or fewer leads."
                )
        means, scales, weights = zip(*(_solve(gram, penalty) for gram in self.gram), strict=True)
        return np.stack(means), np.stack(scales), np.stack(weights)


def _solve(gram: Array, penalty: float) -> tuple[Array, Array, Array]:
    """Solve one lead; means and scales (feature,), weights (1 + feature,)."""
    count, mean = gram[0, 0], gram[0, 1:] / gram[0, 0]
    covariance = gram[1:, 1:] / count - np.outer(mean, mean)
    variance = np.diag(covariance)[:-1]
    # The variance of a constant column is rounding: unscaled and uncorrelated, its weight is 0.
    varies = variance > 1e-12 * np.diag(gram)[1:-1] / count
    scale = np.sqrt(np.where(varies, variance, 1.0))
    corr = covariance[:-1, :-1] / np.outer(scale, scale) * np.outer(varies, varies)
    cross = covariance[:-1, -1] / scale * varies
    slopes = np.linalg.lstsq(corr + penalty / count * np.eye(len(scale)), cross, rcond=None)[0]
    return mean[:-1], scale, np.concatenate([mean[-1:], slopes])
