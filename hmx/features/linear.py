"""The parts of the ridge baseline: neighbourhood features, additive fit.

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
    """Describe each pixel by its state, its change and its surroundings.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Past steps, oldest first, ending at the origin; NaN is missing.
    static : array (layer, y, x), optional
        Layers without time, appended as they are.
    radii : sequence of int, px
        Half-widths of the square neighbourhoods.

    Returns
    -------
    array (feature, y, x), float64
        Origin, changes between steps; for each radius the neighbourhood means
        of the origin, of the last change and of its absolute value; static
        layers. NaN where nothing is known.
    """
    steps = np.asarray(history, dtype=np.float64)
    changes = np.diff(steps, axis=0)
    near = [steps[-1], *changes[-1:], *np.abs(changes[-1:])]
    means = [box_mean(layer, radius) for radius in radii for layer in near]
    layers = () if static is None else np.asarray(static, dtype=np.float64)
    return np.stack([steps[-1], *changes, *means, *layers])


def box_mean(layer: Floats, radius: int) -> Array:
    """Average the known pixels of the square around each pixel.

    Parameters
    ----------
    layer : array (y, x)
        NaN is missing; so is all beyond the edge.
    radius : int, px
        Half-width: the square has ``2 * radius + 1`` pixels a side.

    Returns
    -------
    array (y, x), float64, units of the layer
        NaN where the square holds no known pixel.
    """
    size = 2 * radius + 1
    known = np.isfinite(layer)
    share = uniform_filter(known.astype(np.float64), size, mode="constant")
    total = uniform_filter(np.where(known, layer, 0.0).astype(np.float64), size, mode="constant")
    some = share > 0.5 / size**2  # running sums leave a residue where the share is exactly 0
    return np.where(some, total / np.where(some, share, 1.0), np.nan)


def count_features(history: int, radii: Sequence[int]) -> int:
    """Count the features that come without static layers.

    Parameters
    ----------
    history : int
        Steps looked at, the origin included.
    radii : sequence of int, px
        Half-widths of the square neighbourhoods.

    Returns
    -------
    int
        Length of :func:`features` without static layers.
    """
    return history + len(radii) * (3 if history > 1 else 1)


@dataclass(frozen=True)
class NormalEquations:
    """Hold the sums of a least-squares fit, one set per lead.

    States of two sets of pixels add to the state of their union.

    Attributes
    ----------
    gram : array (lead, feature + 2, feature + 2), float64
        Sums of products of the columns ``(1, features, change)``.
    """

    gram: Array

    @classmethod
    def zero(cls, leads: int, features: int) -> NormalEquations:
        """Return the empty state for so many leads and features."""
        return cls(np.zeros((leads, features + 2, features + 2)))

    @classmethod
    def of(cls, features: Array, changes: Array) -> NormalEquations:
        """Sum over the pixels where all features and the change are known.

        Parameters
        ----------
        features : array (feature, ...)
            Predictors; NaN is missing.
        changes : array (lead, ...), units of the target
            Target minus origin; NaN is missing, also a whole lead.

        Returns
        -------
        NormalEquations
            The sums.
        """
        x = features.reshape(len(features), -1)
        return cls(np.stack([_gram(x, change.ravel()) for change in changes]))

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """Join two states into the state of the union of their pixels."""
        return NormalEquations(self.gram + other.gram)

    def solve(self, penalty: float) -> tuple[Array, Array, Array]:
        """Solve for the coefficients of standardised features.

        Ridge regression (Hoerl and Kennard, 1970) with a free intercept.

        Parameters
        ----------
        penalty : float, >= 0
            Added to the diagonal of the sums of squares of the standardised
            features, so it counts as that many pixels.

        Returns
        -------
        mean, scale : array (lead, feature)
            What the features are standardised with.
        coefficients : array (lead, 1 + feature), units of the target
            Intercept first.

        Raises
        ------
        NotEnoughData
            If a lead has no pixel to learn from.
        """
        for lead, gram in enumerate(self.gram):
            if not gram[0, 0]:
                raise NotEnoughData(
                    f"lead number {lead + 1} of {len(self.gram)} has no pixel to learn from: its "
                    "targets must lie inside the cube. Ask for earlier origins or fewer leads."
                )
        means, scales, weights = zip(*(_solve(gram, penalty) for gram in self.gram), strict=True)
        return np.stack(means), np.stack(scales), np.stack(weights)


def _gram(x: Array, change: Array) -> Array:
    """Sum the products of the columns 1, features and change over known pixels."""
    keep = np.isfinite(change) & np.isfinite(x).all(axis=0)
    columns = np.vstack([np.ones(keep.sum()), x[:, keep], change[keep]])
    return np.asarray(columns @ columns.T)


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
