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
    low, high = valid_range or (None, None)
    if low is not None:
        drawn = _draw_in(values, low, tolerance, where=origin != low)
        values = np.maximum(drawn, values.dtype.type(low))
    if high is not None:
        drawn = _draw_in(values, high, tolerance, where=origin != high)
        values = np.minimum(drawn, values.dtype.type(high))
    return _draw_in(values, origin, tolerance)


def _draw_in(values: Floats, anchor: Floats | float, tolerance: float, where: Any = True) -> Floats:
    """Map distances from an anchor: 0 up to the tolerance, linear to twice of it, then kept."""
    anchor = np.asarray(anchor, values.dtype)
    off = values - anchor
    size = np.abs(off)
    drawn = size - values.dtype.type(tolerance)
    drawn *= 2  # in place from here: maps of many knots are large
    np.clip(drawn, 0, size, out=drawn)
    moved = (drawn < size) & where
    np.copysign(drawn, off, out=drawn)
    drawn += anchor
    return np.where(moved, drawn, values)


def shares(knots: Sequence[float]) -> Floats:
    """Return each knot's weight in the mean, (q,), summing to 1."""
    edges = np.concatenate([[0.0], (np.array(knots[1:]) + np.array(knots[:-1])) / 2, [1.0]])
    return np.asarray(np.diff(edges))


def mean(values: Floats, knots: Sequence[float]) -> Floats:
    """Integrate quantile functions: (..., q, y, x) to (..., y, x), within the outermost knots."""
    weight = shares(knots).astype(values.dtype)
    whole = np.asarray(np.einsum("...qyx,q->...yx", values, weight))
    # the mean of equal values is not always that value, but rounded once more
    return np.clip(whole, values[..., 0, :, :], values[..., -1, :, :], out=whole)


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
    return np.asarray(inside + values.dtype.type(beyond * stretch)) if beyond else inside


def ascend(x: float, xs: Sequence[float] | Floats, ys: Floats) -> float:
    """Interpolate ascending `ys` at `x`, flat beyond the ends; never descends as `x` ascends."""
    following = min(int(np.searchsorted(xs, x, side="right")), len(ys) - 1)
    return min(float(np.interp(x, xs, ys)), float(ys[following]))


def between(low: Floats, high: Floats, part: float) -> Floats:
    """Interpolate between two knots; never descends as the part ascends from 0 to 1.

    A share below 1 takes off at least as much as the difference was rounded up by, so that no
    result exceeds the upper knot.
    """
    share = low.dtype.type(part)
    if share <= 0:
        return low.copy()
    if share >= 1:  # low + (high - low) may be another number
        return high.copy()
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
    return np.stack([between(values[at], values[at + 1], part) for at, part in reading])


def rank(
    values: Floats,
    knots: Sequence[float],
    truth: Floats,
    draw: Floats,
    *,
    stretch: float = 0.0,
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


def mixture(members: Sequence[Floats], knots: Sequence[float], *, points: int = 64) -> Floats:
    """Mix distributions, (..., q, y, x) each with the same knots, with equal weight.

    `points` equally probable values stand for each member.
    """
    if len(members) == 1:  # the points would round a single distribution
        return members[0]
    if len(knots) == 1:  # members of one number each: their mean has the least squared error
        return np.asarray(np.mean(members, axis=0))
    probable = (np.arange(points) + 0.5) / points
    drawn = [quantile(member, knots, p) for member in members for p in probable]
    ordered = np.sort(np.stack(drawn, axis=-3), axis=-3)
    at = np.clip(np.array(knots) * len(drawn) - 0.5, 0, len(drawn) - 1)
    first = np.minimum(at.astype(int), len(drawn) - 2)
    part = (at - first).astype(ordered.dtype)[:, None, None]
    low, high = ordered[..., first, :, :], ordered[..., first + 1, :, :]
    return np.asarray(np.minimum(low + (high - low) * part, high))  # where a part is rounded to 1
