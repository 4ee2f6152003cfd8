"""Calibration as sums: coverage of intervals, histogram of the PIT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hmx.errors import BadArgument
from hmx.scores.sums import (
    Array,
    CellMetric,
    ScoredPixels,
    Settings,
    Sums,
    metric,
    pick,
    spread_weights,
)

BINS = 20  # of the PIT, each 5 % of probability wide


@dataclass(frozen=True, slots=True)
class Coverage(Sums):
    """Sums for one central interval: how often it contains the truth, width, interval score.

    Examples
    --------
    >>> half = Coverage.of([1.0, 5.0], [0.0, 0.0], [2.0, 2.0], pit=[0.5, 0.99], level=80)
    >>> half.share, half.width, round(half.interval_score, 3)
    (0.5, 2.0, 17.0)
    """

    weight: float = 0.0  # sum over the pixels counted
    held: float = 0.0  # sum over the pixels whose truth is inside
    wide: float = 0.0  # weighted sums of the width and of the interval score
    penalised: float = 0.0

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        lower: ArrayLike,
        upper: ArrayLike,
        *,
        pit: ArrayLike,
        level: float,
        weight: ArrayLike | None = None,
    ) -> Coverage:
        """Count truths inside the central interval of a level, %; NaN is left out.

        A truth is inside if its randomised PIT is at most ``level / 2`` away from one half.
        Closed intervals would count every tie: where half of the pixels never change, an
        interval that ends at "no change" would seem to contain far more than its level promises.
        The interval score is that of Gneiting and Raftery (2007, eq. 43).
        """
        if not 0 < level < 100:
            raise BadArgument(
                f"level={level}: a level is a percentage between 0 and 100. Try level=80."
            )
        miss = 1 - level / 100
        y, low, high, z = (np.asarray(a, dtype=np.float64) for a in (truth, lower, upper, pit))
        weights = spread_weights(weight, y.shape)
        with np.errstate(invalid="ignore"):  # infinite less infinite is not finite either
            keep = (weights > 0) & np.isfinite(y + low + high + z)
        y, low, high, z, w = pick(keep, y, low, high, z, weights)
        width = high - low
        outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
        return cls(
            weight=float(w.sum()),
            held=float(w[np.abs(z - 0.5) <= 0.5 - miss / 2].sum()),
            wide=float((w * width).sum()),
            penalised=float((w * (width + 2 / miss * outside)).sum()),
        )

    @property
    def share(self) -> float:
        """Weighted share of truths inside, 0 to 1."""
        return self._mean(self.held)

    @property
    def width(self) -> float:
        """Mean width, in units of the target."""
        return self._mean(self.wide)

    @property
    def interval_score(self) -> float:
        """Mean interval score, in units of the target; smaller is better."""
        return self._mean(self.penalised)

    def _mean(self, total: float) -> float:
        return total / self.weight if self.weight else math.nan


@metric("coverage", rank=1)
@dataclass(frozen=True, slots=True)
class CoverageByLevel(CellMetric):
    """The coverage of each central interval, by level, %."""

    levels: Mapping[float, Coverage] = field(default_factory=dict)

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> CoverageByLevel:
        """Count truths inside each interval."""
        y, z, w = pixels.truth, pixels.pit, pixels.weight
        return cls(
            {
                level: Coverage.of(y, low, high, pit=z, level=level, weight=w)
                for level, (low, high) in pixels.ends.items()
            }
        )

    def __add__(self, other: CoverageByLevel) -> CoverageByLevel:
        """Join two states, level by level."""
        none, levels = Coverage(), sorted({*self.levels, *other.levels})
        return CoverageByLevel(
            {n: self.levels.get(n, none) + other.levels.get(n, none) for n in levels}
        )

    def figures(self) -> dict[str, float]:
        """Return share, width and score of each interval."""
        found: dict[str, float] = {}
        for level, interval in self.levels.items():
            found[f"coverage_{level:g}"] = interval.share
            found[f"width_{level:g}"] = interval.width
            found[f"interval_score_{level:g}"] = interval.interval_score
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, by level as text."""
        return {repr(float(level)): found.as_dict() for level, found in self.levels.items()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> CoverageByLevel:
        """Restore the state from the values of :meth:`as_dict`."""
        return cls({float(level): Coverage.from_dict(value) for level, value in facts.items()})


@metric("pit", rank=2, last=True)
@dataclass(frozen=True, slots=True)
class PitHistogram(CellMetric):
    """Weight of the PIT in 20 bins of equal width, from PIT 0 to 1.

    A calibrated forecast fills all bins alike. A U means that intervals are too narrow, a hump
    that they are too wide, a slope that there is a bias.
    """

    weights: tuple[float, ...] = field(default=(0.0,) * BINS)

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> PitHistogram:
        """Sort the PIT of pixels into bins."""
        return cls.of(pixels.pit, weight=pixels.weight)

    @classmethod
    def of(cls, pit: ArrayLike, *, weight: ArrayLike | None = None) -> PitHistogram:
        """Sort PIT values within [0, 1] into bins; 1 counts in the last, NaN is left out."""
        values = np.asarray(pit, dtype=np.float64)
        weights = spread_weights(weight, values.shape)
        keep = np.isfinite(values) & (weights > 0)
        values, weights = (kept.ravel() for kept in pick(keep, values, weights))
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        counted = np.bincount(bins, weights=weights, minlength=BINS)
        return cls(tuple(counted.tolist()))

    def __add__(self, other: PitHistogram) -> PitHistogram:
        """Join two states, bin by bin."""
        pairs = zip(self.weights, other.weights, strict=True)
        return PitHistogram(tuple(ours + theirs for ours, theirs in pairs))

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return {"weights": list(self.weights)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> PitHistogram:
        """Restore the state from the values of :meth:`as_dict`."""
        return cls(tuple(facts["weights"]))

    @property
    def shares(self) -> Array:
        """Share of each bin, shape (20,); 0.05 each if calibrated, NaN if empty."""
        total = sum(self.weights)
        return np.array(self.weights) / total if total else np.full(BINS, np.nan)

    def figures(self) -> dict[str, float]:
        """Return the share of each bin."""
        return {f"pit_{i:02d}": float(share) for i, share in enumerate(self.shares)}
