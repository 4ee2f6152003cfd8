"""Scores of predictions at points: agreement, bands of the truth, intervals, differences.

============================  ===============================================
:data:`SCORES`                each figure as a function of truth and prediction
:func:`regression_scores`     all of them
:func:`band_scores`           the same for bands of the truth, such as its top decile
:func:`interval_scores`       coverage, width and score of a prediction interval
:func:`paired_bootstrap`      whether one predictor is better than another
============================  ===============================================

Points are few, so these take whole arrays and do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument, NotEnoughData, did_you_mean

Array = NDArray[np.float64]
Figures = dict[str, float]

BANDS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # quantiles of the truth that bands lie between


def r2(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute 1 - SSE / SST: 0 for the mean of the truths, negative for worse."""
    if weights is not None:
        spread = _variance(truth, weights)
        return 1 - rmse(truth, prediction, weights) ** 2 / spread if spread else math.nan
    total = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((prediction - truth) ** 2).sum()) / total if total else math.nan


def r2_corr(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the squared correlation, which forgives bias and a wrong slope."""
    spread = _variance(truth, weights) * _variance(prediction, weights)
    return _covariance(truth, prediction, weights) ** 2 / spread if spread else math.nan


def rmse(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the root of the mean squared error."""
    return math.sqrt(_mean((prediction - truth) ** 2, weights))


def mae(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the mean absolute error."""
    return _mean(np.abs(prediction - truth), weights)


def bias(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the mean of prediction - truth."""
    return _mean(prediction - truth, weights)


def ccc(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the concordance correlation coefficient of Lin (1989).

    Moments are divided by n, as in the paper (doi:10.2307/2532051): 1 on the 1:1
    line alone, 0 for a constant prediction.
    """
    apart = (_mean(truth, weights) - _mean(prediction, weights)) ** 2
    total = _variance(truth, weights) + _variance(prediction, weights) + apart
    return 2 * _covariance(truth, prediction, weights) / total if total else math.nan


def rpiq(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    """Compute the interquartile range of the truths over the RMSE.

    Bellon-Maurel et al. (2010), doi:10.1016/j.trac.2010.05.006. Unlike a ratio to the
    standard deviation it does not reward a long tail.
    """
    if weights is None:
        low, high = np.quantile(truth, [0.25, 0.75])
    else:
        order = np.argsort(truth)
        upto = np.cumsum(weights[order])
        low, high = truth[order][np.searchsorted(upto, np.array([0.25, 0.75]) * upto[-1])]
    error = rmse(truth, prediction, weights)
    return float(high - low) / error if error else math.inf


SCORES: Mapping[str, Callable[..., float]] = {
    "r2": r2, "r2_corr": r2_corr, "rmse": rmse, "mae": mae, "bias": bias, "ccc": ccc, "rpiq": rpiq,
}  # fmt: skip


def regression_scores(
    truth: ArrayLike, prediction: ArrayLike, weights: ArrayLike | None = None
) -> Figures:
    """Score predictions at points, by default of equal weight.

    Shapes: ``truth``, ``prediction`` and ``weights`` (n,).

    Examples
    --------
    >>> found = regression_scores([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    >>> found["r2"], round(found["bias"], 3)
    (0.5, 0.333)
    """
    truth, prediction = _pair(truth, prediction)
    known = np.isfinite(truth) & np.isfinite(prediction)
    weight = None if weights is None else _pair(truth, weights)[1][known]
    truth, prediction = truth[known], prediction[known]
    found = {
        name: f(truth, prediction, weight) if known.any() else math.nan
        for name, f in SCORES.items()
    }
    return {"n": float(len(truth)), **found}


def bands_of(truth: ArrayLike, shares: Sequence[float] = BANDS) -> NDArray[np.intp]:
    """Find the quantile band that each truth lies in, from 0."""
    truth = np.asarray(truth, dtype=np.float64)
    edges = np.quantile(truth, shares[1:-1])
    return np.asarray(np.searchsorted(edges, truth, side="right"))


def band_scores(
    truth: ArrayLike, prediction: ArrayLike, *, shares: Sequence[float] = BANDS
) -> list[Figures]:
    """Score predictions in bands of the truth.

    Within a band R2 and its like mean little, as the band takes the variance away: look
    at bias and RMSE. A predictor that shrinks to the mean is biased up in the lowest
    band and down in the highest.
    """
    truth, prediction = _pair(truth, prediction)
    band, edges = bands_of(truth, shares), np.quantile(truth, shares)
    return [
        {"share_from": shares[i], "share_to": shares[i + 1]}
        | {"from": float(edges[i]), "to": float(edges[i + 1])}
        | regression_scores(truth[band == i], prediction[band == i])
        for i in range(len(shares) - 1)
    ]


def interval_scores(
    truth: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float
) -> Figures:
    """Score a central prediction interval."""
    truth, lower = _pair(truth, lower)
    truth, upper = _pair(truth, upper)
    alpha = 1 - level / 100
    below, above = np.maximum(lower - truth, 0), np.maximum(truth - upper, 0)
    return {
        "picp": float(((truth >= lower) & (truth <= upper)).mean()),
        "qcp_lower": float((truth < lower).mean()),
        "qcp_upper": float((truth <= upper).mean()),
        "width": float((upper - lower).mean()),
        "score": float((upper - lower + 2 / alpha * (below + above)).mean()),
    }


@dataclass(frozen=True)
class Difference:
    """By how much the first of two predictors has more of a figure."""

    metric: str  # one of :data:`SCORES`
    value: float  # first minus second, over all points
    low: float  # bounds of the central interval of the bootstrap
    high: float
    level: float  # of that interval, percent
    groups: int  # what was drawn: sites, or blocks

    @property
    def sure(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    metric: str = "r2",
    level: float = 95,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two predictors on the same points, drawing whole sites or blocks.

    Points of one group err alike, so groups are drawn with replacement, and both
    predictors are scored on each draw (cluster bootstrap, Davison and Hinkley 1997,
    section 3.8).
    """
    if metric not in SCORES:
        raise BadArgument(
            f"metric={metric!r} is not a score of points (has: {', '.join(SCORES)})."
            f"{did_you_mean(metric, SCORES)}"
        )
    truth, first = _pair(truth, first)
    truth, second = _pair(truth, second)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise NotEnoughData(
            f"all {len(truth)} points are of one group, and a bootstrap draws groups. "
            "Pass the site or block of each point."
        )
    score, draw, count = SCORES[metric], np.random.default_rng(seed), len(names)
    times = (np.bincount(draw.integers(count, size=count), minlength=count) for _ in range(draws))
    if metric == "r2" and np.isfinite([truth, first, second]).all():
        found = _r2_gains(truth, first, second, group, times)
    else:
        everything = np.arange(len(truth))
        found = []
        for drawn in times:
            rows = np.repeat(everything, drawn[group])
            found.append(score(truth[rows], first[rows]) - score(truth[rows], second[rows]))
    low, high = np.nanquantile(found, [0.5 - level / 200, 0.5 + level / 200])
    whole = score(truth, first) - score(truth, second)
    return Difference(metric, whole, float(low), float(high), level, len(names))


def _r2_gains(
    truth: Array,
    first: Array,
    second: Array,
    group: NDArray[np.intp],
    times: Iterable[NDArray[np.intp]],
) -> list[float]:
    """Compute by how much R2 differs if each group counts some times, from sums over groups."""
    off = truth - truth.mean()  # so that squares lose no digits to a large mean
    squared = [(one - truth) ** 2 for one in (second, first)]
    columns = (np.ones_like(off), off, off**2, squared[0] - squared[1])
    sums = np.stack([np.bincount(group, column) for column in columns])
    found = []
    for drawn in times:
        n, total, squares, gain = (float(part) for part in sums @ drawn)
        spread = squares - total**2 / n
        # what rounding leaves of truths that are all the same is no spread
        found.append(gain / spread if spread > 1e-12 * squares else math.nan)
    return found


def _mean(values: Array, weights: Array | None) -> float:
    return float(np.average(values, weights=weights))


def _variance(values: Array, weights: Array | None = None) -> float:
    return _mean((values - _mean(values, weights)) ** 2, weights)


def _covariance(truth: Array, prediction: Array, weights: Array | None = None) -> float:
    apart = truth - _mean(truth, weights)
    return _mean(apart * (prediction - _mean(prediction, weights)), weights)


def _pair(truth: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    """Take two arrays (n,) as float64."""
    first, second = np.asarray(truth, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise BadArgument(
            f"truth {first.shape} and what is compared with it {second.shape} differ in shape: "
            "points are compared one by one. Pass arrays of the same points."
        )
    return first, second
