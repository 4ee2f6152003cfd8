"""Events as sums: whether change was forecast where it happened."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hmx.scores.sums import CellMetric, ScoredPixels, Settings, metric, pick, spread_weights


@metric("events", rank=4)
@dataclass(frozen=True, slots=True)
class Events(CellMetric):
    """Contingency table of change above a threshold.

    Examples
    --------
    >>> table = Events.of([0.5, 0.0, 0.3], [0.0, 0.0, 0.0], [0.4, 0.2, 0.0], threshold=0.1)
    >>> table.precision, table.recall, table.f1
    (0.5, 0.5, 0.5)
    """

    # Weight of the pixels that change in the forecast and in truth, only in the forecast, only in
    # truth, and in neither
    hits: float = 0.0
    false_alarms: float = 0.0
    misses: float = 0.0
    correct_negatives: float = 0.0

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> Events:
        """Count the pixels that change."""
        truth, origin, mean = pixels.truth, pixels.origin, pixels.mean
        return cls.of(truth, origin, mean, threshold=settings.threshold, weight=pixels.weight)

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        origin: ArrayLike,
        forecast: ArrayLike,
        *,
        threshold: float,
        weight: ArrayLike | None = None,
    ) -> Events:
        """Count the pixels that leave the origin, up or down, by more than a threshold.

        Arrays have one shape and the units of the target; a pixel missing from any is left out.
        """
        y, start, ahead = (np.asarray(a, dtype=np.float64) for a in (truth, origin, forecast))
        weights = spread_weights(weight, y.shape)
        keep = np.isfinite(y) & np.isfinite(start) & np.isfinite(ahead) & (weights > 0)
        y, start, ahead, w = (kept.ravel() for kept in pick(keep, y, start, ahead, weights))
        happened = np.abs(y - start) > threshold
        foreseen = np.abs(ahead - start) > threshold
        # one number for each cell of the table: 0 neither, 1 miss, 2 false alarm, 3 hit
        cells = np.bincount(2 * foreseen + happened, weights=w, minlength=4)
        negatives, misses, alarms, hits = cells.tolist()
        return cls(hits, alarms, misses, negatives)

    @property
    def precision(self) -> float:
        """Share of forecast events that happened; NaN if none was forecast."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of events that were forecast; NaN if none happened."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN without any event."""
        return _ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    def figures(self) -> dict[str, float]:
        """Return precision, recall and F1."""
        return {name: getattr(self, name) for name in ("precision", "recall", "f1")}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
