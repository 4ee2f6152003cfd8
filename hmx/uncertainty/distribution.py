"""Predictive distributions as arrays: quantiles in, means, quantiles and ranks out.

A distribution is given at each pixel by the values of its quantile function at fixed
probabilities (*knots*); it is linear between them and flat beyond the outermost, and
neighbouring knots of one value are a point mass. Every function works pixel by pixel.

Quantiles ascend with their probability to the bit, whichever others are computed with them:
each is made by steps that never descend, such as sums of rounded numbers, and an interpolation
that rounding could take beyond its end stops there. So intervals never cross, and wider ones
contain narrower ones. A mean never lies outside the outermost knots; it can lie outside the ends
of a narrow interval, where the distribution is skewed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def settle(
    values: Floats,
    origin: Floats,
    *,
    tolerance: float,
    valid_range: tuple[float | None, float | None] | None = None,
) -> Floats:
    """Snap values near no change, or near a bound, to it, which gives both a point mass.

    Most of a map of human modification is exactly 0 or stays exactly as it was. A knot within
    `tolerance` (half a step of the data, native units) of the origin (y, x) or of a bound of the
    target becomes that value; a knot within twice the tolerance is drawn closer, so that nothing
    jumps. Other values, (..., q, y, x), ascending over q like the result, keep their bits.
    """
    xp = namespace(values)
    origin = alike(origin, values)
    low, high = valid_range or (None, None)
    if (low, high) != (None, None):
        values = values * 1  # a copy of its own, which the bounds change
        _draw_to_bound(values, origin, low, tolerance, upper=False)
        _draw_to_bound(values, origin, high, tolerance, upper=True)
        xp.clip(values, low, high, out=values)
    # Distances from the origin become 0 up to the tolerance, climb twice as fast up to twice of
    # it, and are kept beyond. Minima and maxima are several times as fast as any choice by pixel.
    drawn, reach = values - origin, 2 * tolerance
    above = drawn - reach
    above += values  # a value at least `reach` above the origin does not descend here, to the bit
    xp.maximum(above, origin, out=above)
    xp.minimum(above, values, out=above)
    drawn += reach
    drawn += values
    xp.minimum(drawn, origin, out=drawn)
    return xp.maximum(drawn, above, out=drawn)  # type: ignore[no-any-return]


def _draw_to_bound(
    values: Floats, origin: Floats, bound: float | None, tolerance: float, *, upper: bool
) -> None:
    """Draw values on the inner side of a bound to it, in place; not where the origin is there."""
    if bound is None:
        return
    xp = namespace(values)
    reach = xp.full_like(origin, 2 * tolerance)
    reach[origin == bound] = 0
    knots = range(values.shape[-3])
    for knot in reversed(knots) if upper else knots:  # from the outermost knot inwards
        plane = values[..., knot, :, :]
        drawn = plane - bound
        # knots ascend, so that all others are at least as far away as the first one that is
        if xp is np and _is_far(drawn, 2 * tolerance, upper=upper):
            return
        if upper:
            drawn += reach
            drawn += plane
            xp.clip(drawn, None, bound, out=drawn)
            xp.maximum(plane, drawn, out=plane)
        else:
            drawn -= reach
            drawn += plane
            xp.clip(drawn, bound, None, out=drawn)
            xp.minimum(plane, drawn, out=plane)


def _is_far(offsets: Floats, reach: float, *, upper: bool) -> bool:
    """Return True if no value is nearer to a bound than ``reach``; False with one that is NaN."""
    if upper:
        return bool(offsets.max() <= -offsets.dtype.type(reach))
    return bool(offsets.min() >= offsets.dtype.type(reach))


def namespace(values: Any) -> Any:
    """Return the library of an array: NumPy, or torch for a tensor, whose device then computes.

    What both libraries have under one name is written once here, with ``out=`` where an array
    can be used again.
    """
    return np if isinstance(values, np.ndarray | np.generic) else sys.modules["torch"]


def alike(values: Floats, other: Floats) -> Floats:
    """Return values in the type, and on the device, of others."""
    xp = namespace(other)
    if xp is np:
        return np.asarray(values, other.dtype)
    return xp.as_tensor(values).to(other)  # type: ignore[no-any-return]


def shares(knots: Sequence[float]) -> Floats:
    """Return each knot's weight in the mean, (q,), summing to 1."""
    edges = np.concatenate([[0.0], (np.array(knots[1:]) + np.array(knots[:-1])) / 2, [1.0]])
    return np.asarray(np.diff(edges))


def mean(values: Floats, knots: Sequence[float]) -> Floats:
    """Integrate quantile functions: (..., q, y, x) to (..., y, x), within the outermost knots."""
    xp, weights = namespace(values), shares(knots).tolist()
    whole = values[..., 0, :, :] * weights[0]
    part = xp.empty_like(whole)
    for knot, weight in enumerate(weights[1:], start=1):
        xp.multiply(values[..., knot, :, :], weight, out=part)
        whole += part
    # the mean of equal values is not always that value, but rounded once more
    xp.maximum(whole, values[..., 0, :, :], out=whole)
    return xp.minimum(whole, values[..., -1, :, :], out=whole)  # type: ignore[no-any-return]


def quantile(
    values: Floats, knots: Sequence[float], probability: float, *, stretch: float = 0.0
) -> Floats:
    """Read quantile functions (..., q, y, x) at one probability: (..., y, x), native units.

    Probabilities below 0 and above 1 come from a calibration: they lie beyond the outermost knots,
    by `stretch` native units for each whole 1.
    """
    at = ascend(probability, knots, np.arange(float(len(knots))))
    first = max(0, min(int(at), len(knots) - 2))
    following = min(first + 1, len(knots) - 1)  # the distribution of one number has one knot
    inside = between(values[..., first, :, :], values[..., following, :, :], at - first)
    beyond = min(probability, 0.0) + max(probability - 1.0, 0.0)
    # values that are not stretched keep their bits
    return inside + float(beyond * stretch) if beyond else inside


def ascend(x: float, xs: Sequence[float] | Floats, ys: Floats) -> float:
    """Interpolate ascending `ys` at `x`, flat beyond the ends; never descends as `x` ascends."""
    following = min(int(np.searchsorted(xs, x, side="right")), len(ys) - 1)
    return min(float(np.interp(x, xs, ys)), float(ys[following]))


def between(low: Floats, high: Floats, part: float) -> Floats:
    """Interpolate between two knots; never descends as the part ascends from 0 to 1.

    A share below 1 takes off at least as much as the difference was rounded up by, so that no
    result exceeds the upper knot.
    """
    share = float(np.float32(part)) if low.dtype.itemsize == 4 else float(part)
    if share <= 0:
        return low * 1
    if share >= 1:  # low + (high - low) may be another number
        return high * 1
    inside = high - low
    inside *= share
    inside += low
    return inside


def shifted_knots(knots: Sequence[float], by: float) -> tuple[np.ndarray, np.ndarray]:
    """Find where quantile functions are read after a shift: lower knots and shares, (q,) each.

    A shift of `by` moves all probabilities by so many standard deviations on the scale of a normal
    distribution: the new quantile for p is the old one for ``F(F^-1(p) + by)``, with F the normal
    distribution function. So point masses keep their value, the order of quantiles stays, and
    mean, quantiles and exceedances move together. Beyond the outermost knots quantiles are flat.
    """
    normal = NormalDist()
    moved = [normal.cdf(normal.inv_cdf(knot) + by) for knot in knots]
    at = np.interp(moved, knots, np.arange(len(knots)))
    first = np.minimum(at.astype(int), len(knots) - 2)
    return first, at - first


def shift(values: Floats, knots: Sequence[float], by: float) -> Floats:
    """Shift quantile functions (q, ...); see :func:`shifted_knots`."""
    if not by:
        return values
    reading = zip(*shifted_knots(knots, by), strict=True)
    read = [between(values[at], values[at + 1], part) for at, part in reading]
    return namespace(values).stack(read)  # type: ignore[no-any-return]


def rank(
    values: Floats, knots: Sequence[float], truth: Floats, draw: Floats, *, stretch: float = 0.0
) -> Floats:
    """Find the probability at which quantile functions (q, ...) reach the truth (...).

    The probability integral transform, made uniform inside point masses (Czado et al. 2009,
    doi:10.1111/j.1541-0420.2009.01191.x); the inverse of :func:`quantile`. `draw`, between 0 and 1,
    places the truth inside a point mass. With a `stretch` of 0 truths beyond the knots rank 0 or 1.
    """
    edges = np.concatenate([[0.0], knots, [1.0]])
    # flat beyond the outermost knots: all their outer probability is a point mass there
    padded = np.concatenate([values[:1], values, values[-1:]])
    below = _climb(padded, edges, truth, strict=True)
    upto = _climb(padded, edges, truth, strict=False)
    ranks = below + (upto - below) * draw
    if not stretch:
        return np.asarray(ranks)
    over, under = truth - values[-1], truth - values[0]
    ranks = np.where(over > 0, 1 + over / stretch, ranks)
    return np.asarray(np.where(under < 0, under / stretch, ranks))


def _climb(padded: Floats, edges: Floats, truth: Floats, *, strict: bool) -> Floats:
    """Sum the probability of the pieces below the truth, or up to it."""
    total = np.zeros(truth.shape)
    for low, high, start, stop in zip(padded, padded[1:], edges, edges[1:], strict=False):
        rise = high - low
        part = np.clip((truth - low) / np.where(rise > 0, rise, 1), 0, 1)
        flat = low < truth if strict else low <= truth
        total += (stop - start) * np.where(rise > 0, part, flat)
    return total


def exceedance(values: Floats, knots: Sequence[float], threshold: float) -> Floats:
    """Compute the probability of more than a threshold: (q, ...) to (...)."""
    level = np.full(values.shape[1:], threshold, values.dtype)
    edges = np.concatenate([[0.0], knots, [1.0]])
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.asarray(1 - _climb(padded, edges, level, strict=False)).astype(values.dtype)
