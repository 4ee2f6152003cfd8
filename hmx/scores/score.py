"""Additive scores: the state of two pieces, added, is the state of the whole.

A :class:`Score` holds sums, never means, so a raster can be scored tile by
tile, in any order and on any worker. Finished figures are properties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hmx.errors import BadArgument
from hmx.scores.sums import Array, Sums, pick, spread_weights

Measure = Literal["rmse", "mae", "crps"]


@dataclass(frozen=True, slots=True)
class Score(Sums):
    """Hold the sums that bias, MAE, RMSE and CRPS are made of.

    ``Score()`` is the empty state, and ``+`` joins two states. Figures of an
    empty state are NaN.

    Attributes
    ----------
    count : int
        Pixels scored: truth and forecast finite, weight above 0.
    weight : float, units of the weights
        Sum of the weights; equals `count` without weights.
    error, absolute : float, weight x units of the target
        Weighted sums of ``forecast - truth`` and of its absolute value.
    squared : float, weight x units of the target squared
        Weighted sum of ``(forecast - truth) ** 2``.
    ranked : float, weight x units of the target
        Weighted sum of the CRPS.

    Examples
    --------
    >>> west = Score.of([0.0, 1.0], [0.0, 3.0])
    >>> east = Score.of([float("nan"), 0.0], [9.0, 2.0])
    >>> (west + east).count, round((west + east).mae, 3)
    (3, 1.333)
    """

    count: int = 0
    weight: float = 0.0
    error: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    ranked: float = 0.0

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        forecast: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        crps: ArrayLike | None = None,
    ) -> Score:
        """Score the pixels where truth and forecast are both finite.

        Parameters
        ----------
        truth, forecast : array_like, any shape, units of the target
            Equal shapes. A pixel missing from either is left out.
        weight : array_like, broadcastable to `truth`, >= 0, optional
            For example cell areas in m2. Pixels of weight 0 or NaN are left out.
        crps : array_like, shape of `truth`, units of the target, optional
            CRPS of each pixel's distribution (:func:`hmx.scores.crps`). Without
            it the forecast is a point mass, whose CRPS is the absolute error.

        Returns
        -------
        Score
            Sums in float64, whatever the precision of the input.

        Raises
        ------
        BadArgument
            If the shapes differ or a weight is negative or infinite.
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
        return cls._sums(error, weights, ranked[0] if ranked else None)

    @classmethod
    def _sums(cls, error: Array, weight: Array, crps: Array | None) -> Score:
        """Sum over the pixels kept, arrays (n,)."""
        absolute = np.abs(error)
        return cls(
            count=error.size,
            weight=float(weight.sum()),
            error=float((weight * error).sum()),
            absolute=float((weight * absolute).sum()),
            squared=float((weight * error**2).sum()),
            ranked=float((weight * (absolute if crps is None else crps)).sum()),
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

    def _mean(self, total: float) -> float:
        return total / self.weight if self.count else math.nan


def skill(score: Score, reference: Score, *, measure: Measure = "rmse") -> float:
    """Tell by how much a score beats a reference: 1 - error / error_ref.

    Parameters
    ----------
    score, reference : Score
        Scores of two forecasts of the same pixels.
    measure : {'rmse', 'mae', 'crps'}
        The error compared.

    Returns
    -------
    float, <= 1
        1 for a perfect forecast, 0 for one as good as the reference, negative
        for a worse one, NaN without pixels (Murphy, 1988, on the MSE). Against
        a perfect reference it is 0 or minus infinity.

    Raises
    ------
    BadArgument
        If the two scores count different numbers of pixels.
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
