"""Fit: the dependence of errors, in closed form, from forecasts whose truth is known.

Forecasts of past origins give, for square blocks of 5 to 80 px, what the squared error of a block's
mean was, and what it is expected to be if pixels depend on each other by given weights:

    V_b(w) = mean over blocks of sum_m sum_d S_m(d) rho(d)^m + R

with the Hermite coefficients of all pixels (:mod:`.hermite`), the sums ``S_m(d)`` of their products
over all pairs of a block that are d apart, and the rest R, which is independent. No draw is needed.
The weights are those that minimise

    sum over origins and b of t [log(A V_b / E_b) - c]^2 + .02 |x - x0|^2

E being the mean squared error, and x the logarithms of nugget and weights (up to a constant), x0
those of the prior. ``t = .05 / (.05 + k)``, with ``k = sum e^4 / (sum e^2)^2``, is small where the
squared error of a size is that of one block. Two terms take away a bias that distributions with
long tails bring: weights would be a third too small on worlds of known law.

- ``A`` is the variance of all pixels after the origin's shift over that before it. Where more
  happened than expected, all errors are larger, and few origins seldom include such a one.
- ``c = (k - 1 / n) / 2 + .1 (1 + 1 / N)``: the logarithm of a mean is on average half its variance
  below the logarithm of the expectation. The first part of this variance is that of n blocks, the
  second that of origins, which differ by more than their shift. How far N origins are off as a
  whole adds as much, divided by N: intervals have to contain it.

Of these weights N origins are believed to the share ``N^2 / (N^2 + 12)``, and for the rest the
weights of the lead before, which more origins teach, or the prior: all blocks of an origin share
its error, which its own weights ascribe to the long ranges. On a series with one origin the
interval score of zones was .63 of added bounds with these weights alone, and .47 with a thirteenth
of them, at the same coverage.

The shift itself stays in the errors: without it, intervals of zones were too narrow on past series.

Distances are pixels. Where pixels are not square, or become narrower towards the poles, those are
the pixels as they are, and the geometric mean of the central one is what ranges are scaled by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.optimize import brentq, minimize

from hmx.uncertainty.distribution import Floats
from hmx.uncertainty.joint import hermite
from hmx.uncertainty.joint.dependence import (
    LEVELS,
    PRIOR_REGION,
    PRIOR_WEIGHTS,
    RANGES,
    LeadDependence,
)

Array = NDArray[np.float64]

SIDES = (5, 10, 20, 40, 80)  # px, of blocks; each divides the last
STRIP = SIDES[-1]  # px: windows start at multiples of it, so that blocks are whole
_PIECE = 1 << 18  # pixels transformed at a time, so that their spectra fit in a cache
_KNOWN = 0.5  # share of a block's pixels with a truth; emptier blocks are left out
_CALM = 0.05  # k of twenty equal blocks: their size counts half
_DOUBT = 12.0  # square of the number of origins whose weights count as much as the prior
_PULL = 0.02  # of the prior on each logarithm
_ORIGINS = 2  # origins that the prior of the region's share is worth
_FAR = 3.0  # standard deviations: the largest shift of a region
_MOST_SHIFT = 1.0  # of these, with which the activity of an origin is explained
_LEVEL = 0.1  # half the variance of log E between origins of one law, with A; in worlds .2
_MOST_REGION = 0.5  # more would leave less to the pixels than to a common cause


@dataclass
class BlockSums:
    """Sums over the blocks of one side."""

    lags: Array  # (m, classes of distance): products of coefficients of pairs of pixels
    rest: float = 0.0
    count: int = 0
    squares: float = 0.0  # of errors of block means, and their fourth powers
    fourths: float = 0.0

    @classmethod
    def zero(cls, side: int) -> BlockSums:
        """Return empty sums."""
        return cls(np.zeros((hermite.ORDERS, len(_distances(side)[0]))))

    def add(self, side: int, known: Array, parts: tuple[Array, Array, Array]) -> None:
        """Add the blocks of a strip whose height is a multiple of the side.

        ``known`` is 1 where there is a truth, (y, x). ``parts`` are 0 elsewhere: error (y, x),
        coefficients (m, y, x) and rest (y, x).
        """
        rows, columns = (size // side for size in known.shape)
        error, a, rest = (_blocks(part, side) for part in parts)
        number = _blocks(known, side).sum(axis=(-1, -2))  # (row, column) of blocks
        used = number >= max(1, _KNOWN * side**2)
        if rows * columns == 0 or not used.any():
            return
        number = number[used]
        errors = error[used].sum(axis=(-1, -2)) / number
        self.count += len(number)
        self.squares += float(np.square(errors).sum())
        self.fourths += float((errors**4).sum())
        self.rest += float((rest[used].sum(axis=(-1, -2)) / number**2).sum())
        classes, of_lag = _distances(side)
        for m in range(hermite.ORDERS):
            alone = a[m][used]
            open_ = alone.any(axis=(-1, -2))  # a block of pixels without spread adds nothing
            if open_.any():
                scaled = (alone[open_] / number[open_, None, None]).astype("float32")
                power = np.zeros((2 * side, side + 1))
                for part in np.array_split(scaled, -(-scaled.size // _PIECE)):
                    spectrum = rfft2(part, (2 * side, 2 * side))
                    power += (spectrum.real**2 + spectrum.imag**2).sum(axis=0, dtype="float64")
                summed = irfft2(power, (2 * side, 2 * side))
                self.lags[m] += np.bincount(of_lag, summed.ravel(), len(classes))


@dataclass
class OriginSums:
    """Sums over the windows of one origin at one lead; memory does not grow with the raster."""

    blocks: dict[int, BlockSums] = field(
        default_factory=lambda: {side: BlockSums.zero(side) for side in SIDES}
    )
    quantiles: Array = field(default_factory=lambda: np.zeros(len(LEVELS)))  # totals over pixels
    pairs: Array = field(default_factory=lambda: np.zeros((len(LEVELS), len(LEVELS))))
    truth: float = 0.0

    def add(
        self, quantiles: NDArray[np.floating], truth: NDArray[np.floating], valid: NDArray[np.bool_]
    ) -> None:
        """Add a window: calibrated quantiles at ``LEVELS`` (level, y, x), and what came (y, x).

        Only `valid` pixels (y, x) count; the others may be NaN.
        """
        for top in range(0, valid.shape[0], STRIP):
            rows = slice(top, top + STRIP)
            known = valid[rows]
            curves = np.where(known, quantiles[:, rows], 0.0).astype("float64")
            seen = np.where(known, truth[rows], 0.0).astype("float64")
            mean, a, rest = hermite.expansion(curves)
            for side, sums in self.blocks.items():
                sums.add(side, known.astype("float64"), (seen - mean, a, rest))
            self.quantiles += curves.sum(axis=(-1, -2))
            self.pairs += hermite.products(curves)
            self.truth += float(seen.sum())

    @property
    def shift(self) -> float:
        """The shift of all normal numbers with which the expected total is the one that came."""

        def missing(by: float) -> float:
            return hermite.shifted_mean(self.quantiles, by) - self.truth

        if missing(_FAR) <= 0 or missing(-_FAR) >= 0:
            return float(np.copysign(_FAR, -missing(0.0))) if missing(0.0) else 0.0
        return float(brentq(missing, -_FAR, _FAR, xtol=1e-6))

    @property
    def activity(self) -> float:
        """The variance of all pixels after the origin's shift over that before it."""
        before = hermite.shifted_variance(self.pairs, 0.0)
        by = min(max(self.shift, -_MOST_SHIFT), _MOST_SHIFT)
        return hermite.shifted_variance(self.pairs, by) / before if before > 0 else 1.0


@dataclass
class DependenceFit:
    """Gathers forecasts of past origins, and fits the dependence of each lead."""

    sums: dict[int, dict[int, OriginSums]] = field(default_factory=dict)  # by lead and origin

    def add(
        self, lead: int, origin: int, quantiles: Floats, truth: Floats, valid: NDArray[np.bool_]
    ) -> None:
        """Add a window of an origin at a lead, which counts from 1; see :meth:`OriginSums.add`.

        Its first pixel lies at multiples of 80 px of the raster.
        """
        if valid.any():
            self.sums.setdefault(lead, {}).setdefault(origin, OriginSums()).add(
                quantiles, truth, valid
            )

    def fit(self) -> tuple[LeadDependence, ...]:
        """Fit the leads from 1 up that have an origin; none, if lead 1 has none."""
        found: list[LeadDependence] = []
        while (origins := self.sums.get(len(found) + 1)) is not None:
            before = found[-1].weights if found else PRIOR_WEIGHTS
            found.append(fit_lead([origins[origin] for origin in sorted(origins)], before))
        return tuple(found)


def fit_lead(
    origins: Sequence[OriginSums], before: Sequence[float] = PRIOR_WEIGHTS
) -> LeadDependence:
    """Fit the dependence of one lead; ``before`` has the weights that few origins leave."""
    level = _LEVEL * (1 + 1 / len(origins))
    terms = [
        _Term.of(side, sums, activity, level)
        for origin, activity in zip(origins, [o.activity for o in origins], strict=True)
        for side, sums in origin.blocks.items()
        if sums.squares > 0 and (sums.rest > 0 or sums.lags.any())
    ]
    start = np.log([1 - sum(PRIOR_WEIGHTS), *PRIOR_WEIGHTS])

    def loss(x: Array) -> tuple[float, Array]:
        weights = _softmax(x)
        value, slope = _PULL * float(np.square(x - start).sum()), np.zeros(len(x))
        for term in terms:
            off, by_weight = term.misfit(weights)
            off -= term.low
            value += term.trust * off**2
            slope += 2 * term.trust * off * by_weight
        # from weights to their logarithms
        chained = weights * (slope - weights @ slope)
        return value, chained + 2 * _PULL * (x - start)

    fitted = _softmax(minimize(loss, start, jac=True, method="L-BFGS-B").x)
    left = np.array([1 - sum(before), *before])
    trust = len(origins) ** 2 / (len(origins) ** 2 + _DOUBT)
    weights = left + trust * (fitted - left)
    shifts = [origin.shift for origin in origins]
    return LeadDependence(
        # rounded down, so that they never sum to more than 1
        weights=tuple(float(np.floor(weight * 1e4) / 1e4) for weight in weights[1:]),
        region=round(region_of(shifts), 4),
        origins=len(origins),
        shifts=tuple(round(shift, 3) for shift in shifts),
        ratios={
            str(side): round(ratio, 3)
            for side in SIDES
            if (ratio := _ratio([term for term in terms if term.side == side], weights)) is not None
        },
    )


def region_of(shifts: Sequence[float]) -> float:
    """Return the share of the whole region: the mean square of shifts and of a prior's two.

    It is not below the prior. Networks and totals were fitted to these very origins, so their
    shifts are smaller than those of years to come.
    """
    total = _ORIGINS * PRIOR_REGION + float(np.square(shifts).sum())
    return min(_MOST_REGION, max(PRIOR_REGION, total / (_ORIGINS + len(shifts))))


def expected(sums: BlockSums, side: int, weights: Sequence[float]) -> float:
    """Compute the expected squared error of block means, with nugget and five weights."""
    return _Term.of(side, sums).value(np.asarray(weights, "float64"))[0]


@dataclass(frozen=True)
class _Term:
    """One term of the objective: the blocks of one side and origin."""

    side: int
    lags: Array  # (m, classes), mean over blocks, of an origin as active as this one
    rest: float
    error: float  # mean squared error of block means
    trust: float
    low: float  # how far the logarithm of the error lies below that of its expectation

    @classmethod
    def of(cls, side: int, sums: BlockSums, activity: float = 1.0, level: float = 0.0) -> _Term:
        """Divide sums by the number of blocks."""
        count = max(1, sums.count)
        alone = sums.fourths / sums.squares**2 if sums.squares else 1.0
        return cls(
            side,
            sums.lags * (activity / count),
            sums.rest * (activity / count),
            sums.squares / count,
            _CALM / (_CALM + alone),
            max(0.0, alone - 1 / count) / 2 + level,
        )

    def value(self, weights: Array) -> tuple[float, Array]:
        """Compute V and its derivatives by the weights, (6,)."""
        basis = _kernels(self.side)  # (6, classes)
        rho = weights @ basis
        total, slope, power = self.rest, np.zeros(len(rho)), np.ones(len(rho))
        for m, summed in enumerate(self.lags, start=1):
            slope += m * summed * power
            power = power * rho
            total += float(summed @ power)
        return total, basis @ slope

    def misfit(self, weights: Array) -> tuple[float, Array]:
        """Compute log V / E and its derivatives by the weights."""
        value, slope = self.value(weights)
        return float(np.log(value / self.error)), slope / value


def _ratio(terms: Sequence[_Term], weights: Array) -> float | None:
    """Return the mean ratio of expected to observed squared errors of a side."""
    if not terms:
        return None
    return float(np.exp(np.mean([term.misfit(weights)[0] for term in terms])))


def _softmax(x: Array) -> Array:
    grown = np.exp(x - x.max())
    return np.asarray(grown / grown.sum())


def _blocks(plane: Array, side: int) -> Array:
    """Cut (..., y, x) into whole blocks, (..., rows, columns, side, side); the rim is left out."""
    rows, columns = plane.shape[-2] // side, plane.shape[-1] // side
    whole = plane[..., : rows * side, : columns * side]
    cut = whole.reshape(*plane.shape[:-2], rows, side, columns, side)
    return np.asarray(np.moveaxis(cut, -3, -2))


@lru_cache(maxsize=len(SIDES))
def _distances(side: int) -> tuple[Array, NDArray[np.intp]]:
    """Return the squared distances of pairs in a block, and the class of each lag of its FFT."""
    lag = np.minimum(np.arange(2 * side), 2 * side - np.arange(2 * side))
    squared = (lag[:, None] ** 2 + lag**2).ravel()
    classes, of_lag = np.unique(squared, return_inverse=True)
    return classes.astype("float64"), of_lag.ravel()


@lru_cache(maxsize=len(SIDES))
def _kernels(side: int) -> Array:
    """Return the correlation of nugget and five fields by class of distance, (6, classes)."""
    squared = _distances(side)[0]
    smooth = [np.exp(-squared / (4 * sigma**2)) for sigma in RANGES]
    return np.stack([(squared == 0).astype("float64"), *smooth])
