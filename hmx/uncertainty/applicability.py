"""Applicability: where a map asks for what its samples have shown.

A model's scores hold where the land is like the land it was trained and tested on. The
dissimilarity index (DI) of a pixel is the distance to the nearest training sample, in
the space of the features, over the mean distance among training samples; the area of
applicability ends at the largest DI that cross-validation has tested, outliers left out
(Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650). Features are standardised and
weighted by importance, so a band that does not matter does not exclude land.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from hmx.errors import BadArgument, BundleError, NotEnoughData

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

_CHUNK = 2048  # rows compared at once: 2,048 x 4,000 distances are 32 MB
_PAIRED = 4000  # samples whose pairs tell the mean distance


@dataclass(frozen=True, eq=False)
class Applicability:
    """Training samples in feature space, and how far from them scores hold.

    Parameters
    ----------
    samples : ndarray of float32, (n, f)
        Training samples, each once, standardised and weighted.
    mean, factor : ndarray of float64, (f,)
        What features are standardised with: (x - mean) * factor, which is importance
        over standard deviation.
    typical : float
        Mean distance among training samples.
    threshold : float
        Largest DI inside the area of applicability.
    """

    samples: np.ndarray
    mean: Array
    factor: Array
    typical: float
    threshold: float

    @classmethod
    def fit(
        cls, features: Floats, folds: NDArray[Any], weights: Floats | None = None
    ) -> Applicability:
        """Learn from training samples.

        Parameters
        ----------
        features : ndarray, (n, f)
            Finite.
        folds : ndarray of int, (n,)
            Fold of the cross-validation that each was tested in.
        weights : ndarray, (f,), optional
            Importance; negative counts as 0. Default: all the same.

        Raises
        ------
        NotEnoughData
            If all are of one fold, or of no difference.
        """
        x = np.asarray(features, np.float64)
        weights = np.ones(x.shape[1]) if weights is None else np.maximum(weights, 0)
        spread = x.std(axis=0)
        factor = np.where(spread > 0, weights / np.where(spread > 0, spread, 1.0), 0.0)
        mean = x.mean(axis=0)
        z = ((x - mean) * factor).astype(np.float32)
        numbers = np.unique(folds)
        draw = np.random.default_rng(0).permutation(len(z))[:_PAIRED]
        typical = float(pdist(z[draw].astype(np.float64)).mean()) if len(z) > 1 else 0.0
        if len(numbers) < 2 or not typical:
            raise NotEnoughData(
                f"{len(z)} samples in {len(numbers)} fold(s) do not tell how far a map may go: "
                "it takes two folds, and features that differ. Add samples, or folds=."
            )
        tested = np.empty(len(z))
        for number in numbers:
            out = folds == number
            tested[out] = _nearest(z[out], z[~out]) / typical
        return cls(np.unique(z, axis=0), mean, factor, typical, _whisker(tested))

    def __call__(self, features: Floats) -> NDArray[np.float32]:
        """Compute the dissimilarity index.

        Parameters
        ----------
        features : ndarray, (n, f) or (f, y, x)
            In the order of training; NaN is missing, also in the result.

        Returns
        -------
        ndarray of float32, (n,) or (y, x)
            0 at a training sample; inside the area of applicability up to `threshold`.

        Raises
        ------
        BadArgument
            If the number of features is another.
        """
        x = features.reshape(len(features), -1).T if features.ndim == 3 else features
        if x.shape[1] != len(self.mean):
            raise BadArgument(
                f"features {features.shape} do not fit this area of applicability, which has "
                f"{len(self.mean)}. Pass (n, features) or (features, y, x) in their order."
            )
        found = np.full(len(x), np.nan, np.float32)
        known = np.flatnonzero(np.isfinite(x).all(axis=1))
        for at in range(0, len(known), _CHUNK):
            rows = known[at : at + _CHUNK]
            z = ((x[rows] - self.mean) * self.factor).astype(np.float32)
            found[rows] = _nearest(z, self.samples, self._squares) / self.typical
        return found.reshape(features.shape[1:]) if features.ndim == 3 else found

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all it is made of, by name."""
        numbers = np.array([self.typical, self.threshold])
        return {
            "samples": self.samples, "mean": self.mean, "factor": self.factor, "numbers": numbers,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Applicability:
        """Build one from :meth:`arrays`.

        Raises
        ------
        BundleError
            If arrays are missing or do not fit together.
        """
        try:
            typical, threshold = (float(number) for number in arrays["numbers"])
            samples, mean, factor = (arrays[name] for name in ("samples", "mean", "factor"))
            sound = samples.ndim == 2 and samples.shape[1:] == mean.shape == factor.shape
            known = (samples, mean, factor, np.array([typical, threshold]))
            sound = sound and all(a.dtype.kind == "f" and np.isfinite(a).all() for a in known)
            sound = sound and len(samples) > 0 and typical > 0 and threshold >= 0
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise BundleError(
                "the area of applicability of this model is damaged: its arrays do not fit "
                "together. Copy the bundle anew, or train again."
            )
        return cls(samples, mean, factor, typical, threshold)

    def require_features(self, count: int) -> None:
        """Raise :class:`BundleError` unless it compares so many features."""
        if len(self.mean) != count:
            raise BundleError(
                f"the area of applicability of this model has {len(self.mean)} features, and its "
                f"bands make {count}. Copy the bundle anew, or train again."
            )

    @cached_property
    def _squares(self) -> np.ndarray:
        return _squares(self.samples)


def _nearest(z: np.ndarray, samples: np.ndarray, squares: np.ndarray | None = None) -> Array:
    """Find the distance to the nearest sample, (n,).

    A product of matrices in float32 finds which; its distance is computed anew, as the
    difference of large squares would have lost it.
    """
    squares = _squares(samples) if squares is None else squares
    found = np.empty(len(z))
    for at in range(0, len(z), _CHUNK):
        part = z[at : at + _CHUNK]
        which = (part @ (-2 * samples.T) + squares).argmin(axis=1)
        apart = part.astype(np.float64) - samples[which]
        found[at : at + _CHUNK] = np.sqrt((apart**2).sum(axis=1))
    return found


def _squares(samples: np.ndarray) -> np.ndarray:
    return np.asarray((samples**2).sum(axis=1))


def _whisker(values: Array) -> float:
    """Find the largest value within 1.5 interquartile ranges of the upper quartile."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(values[values <= high + 1.5 * (high - low)].max())
