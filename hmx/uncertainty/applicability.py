"""Applicability: where a map lies within the range of its samples.

A model's scores hold where the land is like the land it was trained and tested on. The
dissimilarity index (DI) of a pixel is the distance to the nearest training sample, in
the space of the features, over the mean distance among training samples; the area of
applicability ends at the largest DI that cross-validation has tested, without outliers
(Meyer and Pebesma 2021, doi:10.1111/2041-210X.13650). Features are standardised and
weighted by importance, so a band that does not matter does not exclude land.

Samples are cut into blocks, by halving along the axis on which they spread most, of their first
principal axes. The distance from a point to the box of a block, along these axes, is at most that
to any sample in it. So most blocks are too far away to look into, and the others cost one product
of matrices that fits the cache. Bands of a landscape are correlated: with 75 of them and 20,000
samples, 4 to 9 % of the distances are computed. Where no block can be left out, as in pure noise,
it is still no slower than all distances at once, which leave the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from hmx.errors import BadArgument, NotEnoughData, broken_part

_BLOCK = 256  # samples of a block: of 75 features, 150 kB in float64, which fits the L2 cache
_AXES = 4  # as many as halve often: more bound little better and cost more
_POINTS = 4096  # that are looked up at once
_BOUNDS = 1 << 20  # numbers of the bounds of all blocks for some points: 8 MB

_ENDS = (np.min, np.max)
Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
_CHUNK = 16_384  # rows scaled at once: 75 features of them are 10 MB
_PAIRED = 4000  # samples of the mean distance: 8 million pairs, 64 MB


@dataclass(frozen=True, eq=False)
class Nearest:
    """Samples in blocks, ready for look-ups."""

    samples: np.ndarray  # (n, f), in the order given
    mean: Array  # (f,), taken off before squares, whose digits would be lost
    axes: Array  # (f, a): principal axes
    numbers: list[np.ndarray]  # of the samples of each block
    factors: list[Array]  # (f, block): centred samples of each block, times -2
    squares: list[Array]  # (block,): their squared lengths
    low: Array  # (blocks, a): corners of the boxes, along the axes
    high: Array

    @classmethod
    def of(cls, samples: Floats) -> Nearest:
        """Cut samples (n, f) into blocks."""
        mean = samples.mean(axis=0, dtype=np.float64)
        centred = samples - mean
        # eigh sorts upwards
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :_AXES]
        along = centred @ axes
        numbers, parts = [], [np.arange(len(samples))]
        while parts:
            part = parts.pop()
            if len(part) <= _BLOCK:
                numbers.append(part)
                continue
            widest, half = np.ptp(along[part], axis=0).argmax(), len(part) // 2
            order = np.argpartition(along[part, widest], half)
            parts += [part[order[:half]], part[order[half:]]]
        low, high = (np.stack([end(along[part], axis=0) for part in numbers]) for end in _ENDS)
        factors = [np.ascontiguousarray(-2 * centred[part].T) for part in numbers]
        squares = [np.einsum("nf,nf->n", centred[part], centred[part]) for part in numbers]
        return cls(samples, mean, axes, numbers, factors, squares, low, high)

    def distances(self, points: Floats) -> Array:
        """Compute the distance of points (m, f) to the nearest sample, (m,)."""
        found = np.empty(len(points))
        step = max(1, min(_POINTS, _BOUNDS // len(self.numbers)))
        for at in range(0, len(points), step):
            some = points[at : at + step].astype(np.float64)
            # computed anew, because the difference of large squares has lost its digits
            apart = some - self.samples[self._which(some - self.mean)]
            found[at : at + step] = np.sqrt(np.einsum("nf,nf->n", apart, apart))
        return found

    def _which(self, centred: Array) -> np.ndarray:
        """Return the number of the sample nearest to each centred point, (m,)."""
        bounds, own = self._bounds(centred), np.einsum("nf,nf->n", centred, centred)
        best, which = np.full(len(centred), np.inf), np.zeros(len(centred), np.intp)

        def look(block: int, rows: np.ndarray) -> None:
            squares = centred[rows] @ self.factors[block]
            squares += self.squares[block]
            nearest = squares.argmin(axis=1)
            square = squares[np.arange(len(rows)), nearest] + own[rows]
            closer = square < best[rows]
            best[rows[closer]] = square[closer]
            which[rows[closer]] = self.numbers[block][nearest[closer]]

        # the block of the least bound first: what is found there rules most others out
        first = bounds.argmin(axis=0)
        for block in np.unique(first):
            look(block, np.flatnonzero(first == block))
        bounds[first, np.arange(len(first))] = np.inf
        for block in np.minimum(bounds, best).mean(axis=1).argsort():
            rows = np.flatnonzero(bounds[block] < best)
            if len(rows):
                look(block, rows)
        return which

    def _bounds(self, centred: Array) -> Array:
        """Bound the squared distance from each point to each block from below, (blocks, m)."""
        found = np.zeros((len(self.numbers), len(centred)))
        for axis, at in enumerate((centred @ self.axes).T):
            gap = np.maximum(self.low[:, axis, None] - at, at - self.high[:, axis, None])
            np.maximum(gap, 0, out=gap)
            gap *= gap
            found += gap
        return found


@dataclass(frozen=True, eq=False)
class Applicability:
    """Training samples in feature space, and the distance up to which scores hold."""

    samples: np.ndarray  # float32, (n, f): distinct samples, standardised and weighted
    mean: Array  # (f,)
    factor: Array  # (f,), importance over standard deviation: z = (x - mean) * factor
    typical: float  # mean distance among training samples
    threshold: float  # largest DI inside the area

    @classmethod
    def fit(
        cls, features: Floats, folds: NDArray[Any], weights: Floats | None = None
    ) -> Applicability:
        """Build the area from the finite features (n, f) of training samples.

        `folds` is the fold of the cross-validation of each sample, (n,); `weights` the importance
        of each feature, (f,), negative counts as 0 (default: equal weights). Raises
        :class:`NotEnoughData` if all samples are of one fold, or do not differ.
        """
        x = np.asarray(features, np.float64)
        weights = np.ones(x.shape[1]) if weights is None else np.maximum(weights, 0)
        spread = x.std(axis=0)  # 0 of a constant feature, which separates nothing
        factor = np.where(spread > 0, weights / np.where(spread > 0, spread, 1.0), 0.0)
        mean = x.mean(axis=0)
        z = ((x - mean) * factor).astype(np.float32)
        numbers = np.unique(folds)
        draw = np.random.default_rng(0).permutation(len(z))[:_PAIRED]
        typical = (
            float(scipy.spatial.distance.pdist(z[draw].astype(np.float64)).mean())
            if len(z) > 1
            else 0.0
        )
        if len(numbers) < 2 or not typical:
            raise NotEnoughData(
                f"{len(z)} samples in {len(numbers)} fold(s) do not define an area "
                "of applicability: it takes two folds, and features that differ. Add samples, or "
                "folds=."
            )
        tested = np.empty(len(z))
        for number in numbers:
            out = folds == number
            tested[out] = Nearest.of(z[~out]).distances(z[out]) / typical
        # the upper whisker of a box plot: one outlying sample must not open the area to all land
        low, high = np.quantile(tested, [0.25, 0.75])
        threshold = float(tested[tested <= high + 1.5 * (high - low)].max())
        return cls(np.unique(z, axis=0), mean, factor, typical, threshold)

    def __call__(self, features: Floats) -> NDArray[np.float32]:
        """Compute the dissimilarity index of features (n, f) or (f, y, x): (n,) or (y, x).

        It is 0 at a training sample, up to `threshold` inside the area, NaN where a feature is
        missing. Raises :class:`BadArgument` if the number of features differs.
        """
        x = features.reshape(len(features), -1).T if features.ndim == 3 else features
        if x.shape[1] != len(self.mean):
            raise BadArgument(
                f"features {features.shape} do not fit this area of applicability, which has "
                f"{len(self.mean)}. Pass (n, features) or (features, y, x) in their order."
            )
        index = np.full(len(x), np.nan, np.float32)
        known = np.flatnonzero(np.isfinite(x).all(axis=1))
        for at in range(0, len(known), _CHUNK):
            rows = known[at : at + _CHUNK]
            z = ((x[rows] - self.mean) * self.factor).astype(np.float32)
            index[rows] = self._nearest.distances(z) / self.typical
        return index.reshape(features.shape[1:]) if features.ndim == 3 else index

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        numbers = np.array([self.typical, self.threshold])
        return {
            "samples": self.samples, "mean": self.mean, "factor": self.factor, "numbers": numbers,
        }  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Applicability:
        """Build an area from :meth:`arrays`; raise :class:`BundleError` if they are damaged."""
        try:
            typical, threshold = (float(number) for number in arrays["numbers"])
            samples, mean, factor = (arrays[name] for name in ("samples", "mean", "factor"))
            # numbers from a file: all shapes and ranges are checked before any arithmetic
            sound = samples.ndim == 2 and samples.shape[1:] == mean.shape == factor.shape
            known = (samples, mean, factor, np.array([typical, threshold]))
            sound = sound and all(a.dtype.kind == "f" and np.isfinite(a).all() for a in known)
            sound = sound and len(samples) > 0 and typical > 0 and threshold >= 0
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise broken_part("area of applicability")
        return cls(samples, mean, factor, typical, threshold)

    def require_features(self, count: int) -> None:
        """Raise :class:`BundleError` unless the area has `count` features."""
        if len(self.mean) != count:
            have = f"{len(self.mean)} features"
            raise broken_part("area of applicability", f"has {have}, and its bands make {count}")

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest.of(self.samples)
