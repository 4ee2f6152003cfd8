"""Distributions given by knots: their CRPS, mean, quantiles and PIT.

The predictive distribution of a pixel is a quantile function: `knots`, shape
(q, ...), are its values at the probabilities `levels`, shape (q,), joined by
straight lines and flat beyond both ends. So the first knot holds a point mass
of ``levels[0]``, the last one of ``1 - levels[-1]``, and equal neighbouring
knots hold a mass of the difference of their levels: "no change" can have a
probability of its own. Arithmetic is float64, a cache-sized block of pixels at
a time, whatever the precision of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument
from hmx.windows import Window

Array = NDArray[np.float64]
_BLOCK = 1 << 13  # pixels; a dozen rows of so many float64 fit a core's cache
_TINY = float(np.finfo(np.float64).tiny)


def crps(truth: ArrayLike, knots: ArrayLike, levels: ArrayLike) -> Array:
    """Score each pixel's distribution by its CRPS, in closed form.

    The continuous ranked probability score (Gneiting and Raftery, 2007, eq.
    20) is the integral of ``(F(x) - 1{x >= y})**2`` over x, which equals twice
    the integral of the pinball loss over probability (Laio and Tamea, 2007).
    Where F rises linearly from p to r over a width w of which b lies above the
    truth, the integral is ``w (p² + p r + r²)/3 + b (1 - 2 r) + (r - p) b²/w``.

    Shapes: ``knots`` (q, ...), ``levels`` (q,).

    Examples
    --------
    >>> float(crps(3.0, [1.0, 1.0, 1.0], [0.1, 0.5, 0.9]))
    2.0
    """
    p = _levels(levels)

    def block(y: Array, z: _Rows) -> Array:
        low = z(0)
        above = np.maximum(low - y, 0.0)  # how far the knot lies above the truth
        total = above.copy()  # the flat lower tail: F = 0 below the first knot
        for i, (start, stop) in enumerate(pairwise(p), start=1):
            high = z(i)
            width = _ascending(high - low)
            over = np.maximum(high - y, 0.0)
            part = np.minimum(over - above, width)  # b: rounding may not make it wider
            total += width * ((start * start + start * stop + stop * stop) / 3)
            total += part * (1 - 2 * stop)
            part *= part
            part /= np.maximum(width, _TINY)
            part *= stop - start
            total += part
            low, above = high, over
        return np.asarray(total + np.maximum(y - low, 0.0))

    return _by_block(block, truth, knots, p)


def quantile_at(knots: ArrayLike, levels: ArrayLike, p: float) -> Array:
    """Read each pixel's quantile function at one probability."""
    known = _levels(levels)
    if not 0 <= p <= 1:
        raise BadArgument(f"p={p} is not a probability: it lies between 0 and 1. Try p=0.95.")
    share = np.array([np.interp(p, known, unit) for unit in np.eye(known.size)])
    return _combine(share, knots)


def pit(truth: ArrayLike, knots: ArrayLike, levels: ArrayLike, uniform: ArrayLike) -> Array:
    """Transform each truth to its probability, at random within a point mass.

    The probability integral transform is uniform on (0, 1) if the forecast is
    calibrated. Where the truth meets a point mass it lies anywhere between
    ``P(Y < y)`` and ``P(Y <= y)`` (Czado, Gneiting and Held, 2009).
    """
    p = _levels(levels)
    truth = np.asarray(truth)
    draws = np.broadcast_to(np.asarray(uniform, dtype=np.float64), truth.shape)
    return _by_block(lambda y, z, v: _pit_block(y, z, p, v), truth, knots, p, draws)


def uniforms(window: Window, *, seed: int = 0) -> Array:
    """Draw from U(0, 1) for each pixel, by its place in the raster.

    A pixel has the same draw in whatever window it is asked for, so scores do
    not depend on tiles (counters through SplitMix64; Steele et al., 2014).
    """
    rows = np.arange(window.y.start, window.y.stop, dtype=np.int64).view(np.uint64)[:, None]
    cols = np.arange(window.x.start, window.x.stop, dtype=np.int64).view(np.uint64)[None, :]
    counter = (rows << np.uint64(32)) ^ (cols & np.uint64(0xFFFFFFFF))
    mixed = _mix(_mix(counter) ^ _mix(np.array([seed], dtype=np.int64).view(np.uint64)))
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers; arithmetic goes round."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


class _Rows:
    """The knots of a block of pixels, one row (n,) at a time, in float64."""

    def __init__(self, knots: NDArray[Any], part: slice) -> None:
        self.knots, self.part = knots, part

    def __call__(self, index: int) -> Array:
        return self.knots[index, self.part].astype(np.float64)


def _pit_block(y: Array, z: _Rows, p: Array, v: Array | float) -> Array:
    """Give P(Y < y) + v P(Y = y) of a block."""
    low = z(0)
    total = p[0] * _step(y, low, v)
    for i, (start, stop) in enumerate(pairwise(p), start=1):
        high = z(i)
        width = _ascending(high - low)
        rise = np.clip((y - low) / np.maximum(width, _TINY), 0.0, 1.0)
        mass = width == 0
        if mass.any():
            rise[mass] = _step(y, low, v)[mass]
        total += (stop - start) * rise
        low = high
    total += (1 - p[-1]) * _step(y, low, v)
    total += 0.0 * y  # missing truth stays missing
    return np.asarray(np.clip(total, 0.0, 1.0))  # the levels' differences round


def _step(y: Array, knot: Array, v: Array | float) -> Array:
    """Rise from 0 to 1 at a knot; at the knot itself, to v."""
    return np.asarray((y > knot) + v * (y == knot) + 0.0 * knot)


def _by_block(
    work: Callable[..., Array], truth: ArrayLike, knots: ArrayLike, p: Array, *others: Array
) -> Array:
    """Run block by block: memory beyond the result does not grow with the pixels."""
    truth, knots = np.asarray(truth), np.asarray(knots)
    _check(truth.shape, knots.shape, p.size)
    flat = [np.reshape(values, -1) for values in (truth, *others)]
    rows, found = knots.reshape(p.size, -1), np.empty(truth.size)
    for start in range(0, truth.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        y, *rest = (values[part].astype(np.float64) for values in flat)
        with np.errstate(invalid="ignore", over="ignore"):
            found[part] = work(y, _Rows(rows, part), *rest)
    return found.reshape(truth.shape)


def _combine(share: Array, knots: ArrayLike) -> Array:
    """Add up the knots, each times its share (q,); shares of 0 are not read."""
    knots = np.asarray(knots)
    _check(knots.shape[1:], knots.shape, share.size)
    total = np.zeros(knots.shape[1:])
    for part, values in zip(share, knots, strict=True):
        if part:
            total += part * values.astype(np.float64)
    return total


def _ascending(width: Array) -> Array:
    if (width < 0).any():
        raise BadArgument(
            f"knots descend by {-np.nanmin(width):g}: quantiles ascend with their levels. "
            "Sort them: knots = np.sort(knots, axis=0)."
        )
    return width


def _levels(levels: ArrayLike | Sequence[float]) -> Array:
    p = np.asarray(levels, dtype=np.float64)
    if p.ndim != 1 or not p.size or p[0] <= 0 or p[-1] >= 1 or (np.diff(p) <= 0).any():
        raise BadArgument(
            f"levels={p.tolist()}: they ascend between 0 and 1, both left out. "
            "Try levels=[0.05, 0.25, 0.5, 0.75, 0.95]."
        )
    return p


def _check(truth: tuple[int, ...], knots: tuple[int, ...], levels: int) -> None:
    if knots != (levels, *truth):
        raise BadArgument(
            f"knots {knots} do not fit truth {truth} and {levels} levels: the first axis runs "
            f"over the levels, the rest over the pixels. Pass knots of shape {(levels, *truth)}."
        )
