"""Errors as sums: bias, MAE, RMSE and CRPS, and the skill that compares two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hmx.errors import BadArgument
from hmx.scores.sums import CellMetric, ScoredPixels, Settings, metric, pick, spread_weights

Measure = Literal["rmse", "mae", "crps"]


@metric("score", rank=0)
@dataclass(frozen=True, slots=True)
class Score(CellMetric):
    """Sums of bias, MAE, RMSE and CRPS.

    ``Score()`` is the empty state, and ``+`` joins two states. Figures of an
    empty state are NaN.

    Examples
    --------
    >>> west = Score.of([0.0, 1.0], [0.0, 3.0])
    >>> east = Score.of([float("nan"), 0.0], [9.0, 2.0])
    >>> (west + east).count, round((west + east).mae, 3)
    (3, 1.333)
    """

    count: int = 0  # pixels scored: truth and forecast finite, weight above 0
    weight: float = 0.0  # sum of the weights; equals `count` without weights
    error: float = 0.0  # weighted sums of ``forecast - truth`` and of its absolute value
    absolute: float = 0.0
    squared: float = 0.0  # weighted sum of ``(forecast - truth) ** 2``
    ranked: float = 0.0  # weighted sum of the CRPS

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> Score:
        """Score the pixels."""
        return cls.of(pixels.truth, pixels.mean, weight=pixels.weight, crps=pixels.crps)

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        forecast: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        crps: ArrayLike | None = None,
    ) -> Score:
        """Score the pixels where truth and forecast are both finite, in float64.

        Pixels of weight 0 or NaN are left out. `crps` is that of each pixel's distribution
        (:func:`hmx.scores.crps`); without it the forecast is a point mass, whose CRPS is the
        absolute error.
        """
        truth, forecast = np.asarray(truth), np.asarray(forecast)
        if truth.shape != forecast.shape:
            raise BadArgument(
                f"truth {truth.shape} and forecast {forecast.shape} differ in shape: "
                "a score compares pixel with pixel. Select the same steps and window of both."
            )
        weights = spread_weights(weight, truth.shape)
        keep = np.isfinite(truth) & np.isfinite(forecast) & (weights > 0)
        extra = () if crps is None else (np.asarray(crps),)
        truth, forecast, weights, *ranked = pick(keep, truth, forecast, weights, *extra)
        error = forecast.astype(np.float64) - truth.astype(np.float64)
        absolute = np.abs(error)
        return cls(
            count=error.size,
            weight=float(weights.sum()),
            error=float((weights * error).sum()),
            absolute=float((weights * absolute).sum()),
            squared=float((weights * error**2).sum()),
            ranked=float((weights * (ranked[0] if ranked else absolute)).sum()),
        )

    @property
    def bias(self) -> float:
        """Mean of forecast - truth, in units of the target."""
        return self._mean(self.error)

    @property
    def mae(self) -> float:
        """Mean absolute error, in units of the target."""
        return self._mean(self.absolute)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error, in units of the target."""
        return math.sqrt(self._mean(self.squared))

    @property
    def crps(self) -> float:
        """Mean continuous ranked probability score, in units of the target."""
        return self._mean(self.ranked)

    def figures(self) -> dict[str, float]:
        """Return count, weight and mean errors."""
        errors = {name: getattr(self, name) for name in ("mae", "rmse", "bias", "crps")}
        return {"n": self.count, "weight": self.weight, **errors}

    def _mean(self, total: float) -> float:
        return total / self.weight if self.count else math.nan


def skill(score: Score, reference: Score, *, measure: Measure = "rmse") -> float:
    """Compute 1 - error / error of the reference, on the same pixels (Murphy, 1988, on MSE).

    1 is perfect, 0 as good as the reference, negative worse, NaN without pixels. Against a perfect
    reference it is 0 or minus infinity.
    """
    if score.count != reference.count:
        raise BadArgument(
            f"score has {score.count} pixels and reference {reference.count}: a skill compares "
            "the same pixels. Mask both forecasts alike before Score.of."
        )
    ours, theirs = getattr(score, measure), getattr(reference, measure)
    if ours == theirs:
        return 0.0
    return 1.0 - ours / theirs if theirs else -math.inf
