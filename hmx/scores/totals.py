"""Totals as sums: the change that was expected of a whole map, and the change that came."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hmx.scores.sums import CellMetric, ScoredPixels, Settings, metric


@metric("unmoved", rank=6)
@dataclass(frozen=True, slots=True)
class UnmovedMedian(CellMetric):
    """Weight of the pixels whose median forecast equals the last map, and of all.

    Examples
    --------
    >>> UnmovedMedian(weight=4.0, same=3.0).figures()
    {'median_unmoved': 0.75}
    """

    weight: float = 0.0
    same: float = 0.0

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> UnmovedMedian:
        """Compare medians with the last map, which a point mass of "no change" equals exactly."""
        same = pixels.weight[pixels.median == pixels.origin]
        return cls(float(pixels.weight.sum()), float(same.sum()))

    def figures(self) -> dict[str, float]:
        """Return the share."""
        return {"median_unmoved": self.same / self.weight if self.weight else math.nan}


@metric("totals", rank=5)
@dataclass(frozen=True, slots=True)
class TotalChange(CellMetric):
    """Weighted sums of the change from the origin, in the forecast and in truth.

    Examples
    --------
    >>> total = TotalChange(weight=4.0, expected=0.8, observed=1.0)
    >>> total.figures()["expected_change"], total.figures()["observed_change"]
    (0.2, 0.25)
    >>> total.ratio
    0.8
    """

    weight: float = 0.0
    expected: float = 0.0
    observed: float = 0.0

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> TotalChange:
        """Sum both changes."""
        weight, origin = pixels.weight, pixels.origin
        ahead, came = pixels.mean - origin, pixels.truth - origin
        return cls(float(weight.sum()), float(weight @ ahead), float(weight @ came))

    @property
    def ratio(self) -> float:
        """Expected over observed total; NaN where nothing changed."""
        return self.expected / self.observed if self.observed else math.nan

    def figures(self) -> dict[str, float]:
        """Return the mean changes, units of the target."""
        if not self.weight:
            return {"expected_change": math.nan, "observed_change": math.nan}
        return {
            "expected_change": self.expected / self.weight,
            "observed_change": self.observed / self.weight,
        }
