"""Predictive distributions as arrays: knots in, whatever is asked for out.

A distribution is given at each pixel by the values of its quantile function at fixed
probabilities (*knots*); it is linear between them and flat beyond the outermost, and
neighbouring knots of one value are a point mass. All here is pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Give what is as good as no change, or a bound, its point mass.

    Most of a map of human modification is exactly 0 or stays exactly as it was. A
    knot within ``tolerance`` of the origin or of a bound becomes that value; one
    within twice the tolerance is drawn nearer, so that nothing jumps. Others are kept
    to the bit.

    Parameters
    ----------
    values : ndarray
        Knots, native units, (..., q, y, x), ascending over q; so is the result.
    origin : ndarray
        Last observed state, (y, x).
    tolerance : float
        Half a step of the data, native units.
    valid_range : tuple of float, optional
        Bounds of the target; values are kept inside.
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
    drawn *= 2
    np.clip(drawn, 0, size, out=drawn)
    moved = (drawn < size) & where
    np.copysign(drawn, off, out=drawn)
    drawn += anchor
    return np.where(moved, drawn, values)


def shares(knots: Sequence[float]) -> Floats:
    """Return what each knot counts for in the mean, (q,), summing to 1."""
    edges = np.concatenate([[0.0], (np.array(knots[1:]) + np.array(knots[:-1])) / 2, [1.0]])
    return np.asarray(np.diff(edges))


def mean(values: Floats, knots: Sequence[float]) -> Floats:
    """Integrate quantile functions: (..., q, y, x) to (..., y, x), native units."""
    weight = shares(knots).astype(values.dtype)
    return np.asarray(np.einsum("...qyx,q->...yx", values, weight))


def quantile(
    values: Floats, knots: Sequence[float], probability: float, *, stretch: float = 0.0
) -> Floats:
    """Read quantile functions at one probability.

    Parameters
    ----------
    values : ndarray
        Knots, native units, (..., q, y, x).
    knots : sequence of float
        Their probabilities, (q,).
    probability : float
        A probability; below 0 and above 1 lies what a calibration has found to lie
        beyond the outermost knots, ``stretch`` further for each whole 1.
    stretch : float
        Native units.

    Returns
    -------
    ndarray
        Native units, (..., y, x).
    """
    at = float(np.interp(probability, knots, np.arange(len(knots))))
    first = min(int(at), len(knots) - 2)
    low, high = values[..., first, :, :], values[..., first + 1, :, :]
    found = low + (high - low) * values.dtype.type(at - first)
    beyond = min(probability, 0.0) + max(probability - 1.0, 0.0)
    return np.asarray(found + values.dtype.type(beyond * stretch)) if beyond else found


def rank(
    values: Floats,
    knots: Sequence[float],
    truth: Floats,
    draw: Floats,
    *,
    stretch: float = 0.0,
) -> Floats:
    """Find the probability at which a quantile function reaches the truth.

    The probability integral transform, made uniform inside point masses (Czado et
    al. 2009, doi:10.1111/j.1541-0420.2009.01191.x); the inverse of :func:`quantile`.

    Parameters
    ----------
    values : ndarray
        Knots, native units, (q, ...), ascending over q.
    knots : sequence of float
        Their probabilities, (q,).
    truth : ndarray
        Native units, (...).
    draw : ndarray
        Where in a point mass the truth is taken to lie, between 0 and 1, (...).
    stretch : float
        As in :func:`quantile`; 0 ranks what lies beyond the knots as 0 or 1.
    """
    edges = np.concatenate([[0.0], knots, [1.0]])
    padded = np.concatenate([values[:1], values, values[-1:]])
    below = _climb(padded, edges, truth, strict=True)
    upto = _climb(padded, edges, truth, strict=False)
    found = below + (upto - below) * draw
    if not stretch:
        return np.asarray(found)
    over, under = truth - values[-1], truth - values[0]
    found = np.where(over > 0, 1 + over / stretch, found)
    return np.asarray(np.where(under < 0, under / stretch, found))


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
    """Mix distributions with equal weight.

    Parameters
    ----------
    members : sequence of ndarray
        Knots of each member, native units, (..., q, y, x).
    knots : sequence of float
        Their probabilities, and those of the result, (q,).
    points : int
        Equally probable values that stand for each member.

    Returns
    -------
    ndarray
        Knots of the mixture, (..., q, y, x).
    """
    if len(members) == 1:
        return members[0]
    probable = (np.arange(points) + 0.5) / points
    drawn = [quantile(member, knots, p) for member in members for p in probable]
    ordered = np.sort(np.stack(drawn, axis=-3), axis=-3)
    at = np.clip(np.array(knots) * len(drawn) - 0.5, 0, len(drawn) - 1)
    first = np.minimum(at.astype(int), len(drawn) - 2)
    part = (at - first).astype(ordered.dtype)[:, None, None]
    low, high = ordered[..., first, :, :], ordered[..., first + 1, :, :]
    return np.asarray(low + (high - low) * part)
