"""Unmoved medians as sums: the share of pixels whose median forecast is the last map."""

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
