"""Additive scores: the state of two pieces, added, is the state of the whole.

A :class:`Score` holds sums, never means, so a raster can be scored tile by
tile, in any order and on any worker. Finished figures are properties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument

Measure = Literal["rmse", "mae"]


@dataclass(frozen=True, slots=True)
class Score:
    """Hold the sums that bias, MAE and RMSE are made of.

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

    @classmethod
    def zero(cls) -> Score:
        """Return the empty state, the start of a sum."""
        return cls()

    @classmethod
    def of(cls, truth: ArrayLike, forecast: ArrayLike, *, weight: ArrayLike | None = None) -> Score:
        """Score the pixels where truth and forecast are both finite.

        Parameters
        ----------
        truth, forecast : array_like, any shape, units of the target
            Equal shapes. A pixel missing from either is left out.
        weight : array_like, broadcastable to `truth`, >= 0, optional
            For example cell areas in m2. Pixels of weight 0 or NaN are left out.

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
        weights = _weights(weight, truth.shape)
        keep = np.isfinite(truth) & np.isfinite(forecast) & (weights > 0)
        error = forecast[keep].astype(np.float64) - truth[keep].astype(np.float64)
        return cls._sums(error, weights[keep])

    @classmethod
    def _sums(cls, error: NDArray[np.float64], weight: NDArray[np.float64]) -> Score:
        """Sum the errors (n,) of the pixels kept."""
        return cls(
            count=error.size,
            weight=float(weight.sum()),
            error=float((weight * error).sum()),
            absolute=float((weight * np.abs(error)).sum()),
            squared=float((weight * error**2).sum()),
        )

    def __add__(self, other: Score) -> Score:
        """Join two states into the state of the union of their pixels."""
        return Score(
            count=self.count + other.count,
            weight=self.weight + other.weight,
            error=self.error + other.error,
            absolute=self.absolute + other.absolute,
            squared=self.squared + other.squared,
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

    def _mean(self, total: float) -> float:
        return total / self.weight if self.count else math.nan


def skill(score: Score, reference: Score, *, measure: Measure = "rmse") -> float:
    """Tell by how much a score beats a reference: 1 - error / error_ref.

    Parameters
    ----------
    score, reference : Score
        Scores of two forecasts of the same pixels.
    measure : {'rmse', 'mae'}
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


def _weights(weight: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Spread the weights over all pixels without copying them."""
    weights: NDArray[Any] = np.asarray(1.0 if weight is None else weight, dtype=np.float64)
    if (weights < 0).any() or np.isinf(weights).any():
        raise BadArgument(
            f"weight reaches from {np.nanmin(weights)} to {np.nanmax(weights)}: weights are finite "
            "and not negative. Pass cell areas, or 0 to leave a pixel out."
        )
    return np.broadcast_to(weights, shape)
