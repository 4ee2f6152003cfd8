"""Fields of known correlation, and maps of distributions, to fit and score dependence on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, next_fast_len
from scipy.special import gammaincinv, ndtr

from hmx.uncertainty.joint.dependence import LEVELS, RANGES

Array = NDArray[np.float64]
Correlation = Callable[[Array], Array]  # of squared distances, px2


def in_family(weights: Sequence[float]) -> Correlation:
    """The correlation of a nugget and the five smooth fields, with weights of the five."""
    ranges = zip(weights, RANGES, strict=True)
    parts = [(1 - sum(weights), 1e-6), *((w, sigma) for w, sigma in ranges if w)]
    return lambda squared: sum(
        (w * np.exp(-squared / (4 * sigma**2)) for w, sigma in parts), np.zeros_like(squared)
    )


def exponential(length: float, nugget: float) -> Correlation:
    """A nugget, and an exponential part, which no sum of Gaussian ones equals."""
    return lambda squared: np.where(
        squared > 0, (1 - nugget) * np.exp(-np.sqrt(squared) / length), 1.0
    )


def normal_field(
    draw: np.random.Generator, shape: tuple[int, int], correlation: Correlation
) -> Array:
    """Standard normal numbers with a correlation, (y, x), by embedding in a larger torus."""
    side = next_fast_len(max(shape) + 360)
    lag = np.minimum(np.arange(side), side - np.arange(side)).astype("float64")
    spectrum = np.maximum(fft2(correlation(lag[:, None] ** 2 + lag**2)).real, 0)
    spectrum *= side**2 / spectrum.sum()  # what was cut off would leave a variance below 1
    noise = draw.standard_normal((side, side)) + 1j * draw.standard_normal((side, side))
    found = fft2(noise * np.sqrt(spectrum)).real / side
    return np.asarray(found[: shape[0], : shape[1]])


def growing_quantiles(draw: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Quantiles at ``LEVELS`` of a map where few pixels change, and some by much, (level, y, x).

    As in human modification between two maps: calm forests, and frontiers where a pixel grows
    with a probability of up to a third.
    """
    smooth = in_family((0.0, 0.2, 0.4, 0.4, 0.0))
    active = normal_field(draw, shape, smooth)
    chance = 0.35 * ndtr(1.6 * active - 1.6) + 0.002
    size = 0.04 * np.exp(0.8 * normal_field(draw, shape, smooth))
    levels = np.array(LEVELS)[:, None, None]
    above = np.clip((levels - (1 - chance)) / chance, 0, 1 - 1e-6)
    jump = gammaincinv(0.8, above) * size / 0.8
    stir = 0.002 * (levels - 0.5) * ndtr(active)
    start = 0.3 * ndtr(active)
    return np.clip(start + jump + stir, 0.0, 1.0)


def read_quantiles(quantiles: Array, z: Array) -> Array:
    """Read quantile functions, (level, y, x), at normal numbers, (y, x)."""
    at = np.interp(ndtr(z), LEVELS, np.arange(float(len(LEVELS))))
    first = np.minimum(at.astype(int), len(LEVELS) - 2)[None]
    low, high = (np.take_along_axis(quantiles, first + step, axis=0)[0] for step in (0, 1))
    return np.asarray(low + (high - low) * (at - first[0]))
