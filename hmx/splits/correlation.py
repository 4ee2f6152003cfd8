"""Correlation: how far the residuals of persistence know of each other.

Held-out blocks are only as independent as they are wide against the distance
over which residuals correlate (Roberts et al. 2017, doi:10.1111/ecog.02881;
Ploton et al. 2020, doi:10.1038/s41467-020-18321-y). Persistence forecasts the
last state, so its residual is the change over one step.

What is summed is an empirical variogram: half the squared difference of pairs,
by distance. It needs no mean, and sums of windows add up to those of a raster.
All pairs of a window come from Fourier transforms of the field and of its mask
(Marcotte 1996, doi:10.1016/S0098-3004(96)00026-X), so gaps cost nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from hmx.cube.cube import CHUNK, Cube
from hmx.cube.read import read
from hmx.cube.steps import LearnUntil
from hmx.errors import NotEnoughData
from hmx.windows import Span, TileGrid

Array = NDArray[np.float64]

_BLOCK = 3  # lengths per block
_SHAPES = (1, 2)  # exponents of a structure: exponential and Gaussian
_SIZES = 30  # lengths of structures
_SIDE = 2 * CHUNK  # of a window, px
_CHANGES = 8  # latest changes looked at
_FEWEST = 200  # pairs, below which a distance is not looked at
_CLASSES = 4  # of distance, with pairs
_STRUCTURE = 0.05  # share of the variance, below which all counts as noise


@dataclass(frozen=True)
class Correlation:
    """How far a residual field correlates."""

    # e-folding distance: where the correlation of what is not noise has fallen to 1/e; 0 where
    # all is noise
    length_m: float
    # Practical range: where it has fallen to 5 %. Three lengths if the decay is exponential, more
    # if there is structure of several sizes
    range_m: float
    pixel_m: float  # shorter side of the central pixel
    noise: float  # share of the variance that no neighbour explains (the nugget), 0 to 1
    largest_m: float  # largest distance looked at

    @property
    def length_px(self) -> float:
        """The length in shorter sides of the central pixel, px."""
        return self.length_m / self.pixel_m

    @property
    def block_m(self) -> float:
        """Suggested side of a block: three lengths, or the range if that is longer, m."""
        return max(_BLOCK * max(self.length_m, self.pixel_m), self.range_m)

    @property
    def block_px(self) -> int:
        """Suggested side of a block: three lengths, or the range if that is longer, px."""
        return math.ceil(self.block_m / self.pixel_m - 1e-6)

    @property
    def reached(self) -> bool:
        """Whether the range lies well within the distances looked at."""
        return self.range_m < 0.9 * self.largest_m

    def __str__(self) -> str:
        if not self.length_m:
            return "none: neighbouring residuals know nothing of each other"
        least = "" if self.reached else f", or more: looked up to {self.largest_m / 1e3:.3g} km"
        return (
            f"{self.length_m / 1e3:.3g} km ({self.length_px:.1f} px) to 1/e, "
            f"{self.range_m / 1e3:.3g} km to 5 %{least}; {self.noise:.0%} of the variance is noise"
        )


@dataclass(frozen=True)
class Variogram:
    """Sums over pairs of pixels, by distance; ``+`` joins the pairs of two fields."""

    width: float  # class ``i`` holds distances that round to ``(i + 1) * width``
    # Number of pairs, sum of their distances (m) and of half their squared differences (units of
    # the field squared) (classes,)
    pairs: Array
    distance: Array
    squares: Array

    @classmethod
    def of(
        cls,
        field: ArrayLike,
        pixel_size_m: tuple[float, float],
        *,
        classes: int,
        width: float | None = None,
    ) -> Variogram:
        """Sum over all pairs of a field that are near enough."""
        field = np.asarray(field, dtype="float64")
        dx, dy = pixel_size_m
        width = width or min(dx, dy)
        mask = np.isfinite(field)
        if not mask.any():
            return cls(width, *np.zeros((3, classes)))
        values = np.where(mask, field - field[mask].mean(), 0.0)
        far = (classes + 0.5) * width
        lags = [min(n - 1, int(far / d)) for n, d in zip(field.shape, (dy, dx), strict=True)]
        size = [scipy.fft.next_fast_len(n + lag) for n, lag in zip(field.shape, lags, strict=True)]
        known, first, second = (scipy.fft.rfft2(a, s=size) for a in (mask, values, values**2))
        pairs = scipy.fft.irfft2(np.abs(known) ** 2, s=size)
        half = scipy.fft.irfft2((known.conj() * second).real - np.abs(first) ** 2, s=size)
        rows, cols = np.arange(-lags[0], lags[0] + 1), np.arange(lags[1] + 1)
        lag = np.hypot(rows[:, None] * dy, cols[None, :] * dx)
        once = (cols[None, :] > 0) | (rows[:, None] > 0)  # each pair in one direction
        index = np.maximum(np.rint(lag / width).astype(int), 1) - 1
        keep = once & (index < classes)
        count = np.rint(pairs[np.ix_(rows, cols)][keep])
        sums = (count, count * lag[keep], half[np.ix_(rows, cols)][keep])
        totals = np.stack([np.bincount(index[keep], w, minlength=classes) for w in sums])
        return cls(width, *totals.astype("float64"))

    def __add__(self, other: Variogram) -> Variogram:
        """Join two states of the same classes."""
        return Variogram(
            self.width,
            self.pairs + other.pairs,
            self.distance + other.distance,
            self.squares + other.squares,
        )

    def fit(self, pixel_m: float) -> Correlation:
        """Fit noise and structure, and read the correlation length off.

        Change has structure of several sizes (a field, a district), so the model
        is ``noise`` plus a sum, with weights >= 0, of exponential and Gaussian
        structures, from a pixel wide to as wide as what was looked at (nested
        structures: Journel and Huijbregts 1978), fitted by weighted least squares
        (Cressie 1985, doi:10.1007/BF01032109). What correlates over less than a
        pixel counts as noise.
        """
        keep = self.pairs >= _FEWEST
        distance, half = (a[keep] / self.pairs[keep] for a in (self.distance, self.squares))
        # Rounding of the transforms leaves a trace where nothing varies.
        if keep.sum() < _CLASSES or half.max() <= 1e-20:
            raise NotEnoughData(
                f"a correlation length cannot be estimated from {int(self.pairs.sum())} pairs of "
                "pixels that are too few or do not differ: it takes a residual that varies over "
                "some dozens of pixels. Choose a block yourself: train(block=48)."
            )
        largest = float(distance[-1])
        ends = [max(1.01 * pixel_m, largest / math.log(20) ** (1 / shape)) for shape in _SHAPES]
        sizes = np.stack([np.geomspace(pixel_m, end, _SIZES) for end in ends])
        weight = np.sqrt(self.pairs[keep]) / np.maximum(half, 1e-3 * half.max())
        rise = 1 - _correlations(distance, sizes)
        model = np.concatenate([np.ones((len(distance), 1)), rise], axis=1)
        parts, _ = nnls(model * weight[:, None], half * weight)
        noise, sills = float(parts[0]), parts[1:]
        if sills.sum() <= _STRUCTURE * parts.sum():
            return Correlation(0.0, 0.0, pixel_m, 1.0, largest)
        length, reach = (_falls_to(share, sills, sizes) for share in (math.exp(-1), 0.05))
        return Correlation(length, reach, pixel_m, noise / float(parts.sum()), largest)


def _correlations(distance: Array, sizes: Array) -> Array:
    """Compute the correlation of each structure, (distance, shape x size)."""
    rows = [
        np.exp(-((distance[:, None] / row) ** shape))
        for shape, row in zip(_SHAPES, sizes, strict=True)
    ]
    return np.concatenate(rows, axis=1)


def _falls_to(share: float, sills: Array, sizes: Array) -> float:
    """Find the distance at which the correlation of the structures falls to a share."""
    distance = np.geomspace(sizes.min() / 4, 4 * sizes.max(), 4000)
    rho = _correlations(distance, sizes) @ sills
    return float(distance[np.argmax(rho < share * sills.sum())])


def lag_classes(rows: int, columns: int, pixel_size_m: tuple[float, float]) -> int:
    """Count the classes of distance up to half the shorter side of a field."""
    ground = min(rows * pixel_size_m[1], columns * pixel_size_m[0])
    return max(1, int(ground / 2 / min(pixel_size_m)))


def residual_correlation(
    cube: Cube, *, holdout: LearnUntil | None = None, windows: int = 12, seed: int = 0
) -> Correlation:
    """Estimate the correlation length of the residuals of persistence."""
    steps = (holdout or LearnUntil()).seen(cube.data["time"])
    steps = Span(max(steps.start, steps.stop - _CHANGES - 1), steps.stop)
    rows, columns = (-(-n // -(-n // _SIDE)) for n in cube.grid.shape)
    classes = lag_classes(rows, columns, cube.grid.pixel_size_m)
    pixel = min(cube.grid.pixel_size_m)
    total, found = Variogram(pixel, *np.zeros((3, classes))), 0
    target = Cube(cube.data[[cube.target]], cube.target, (), (), cube.outer)
    cores = [tile.core for tile in TileGrid(cube.grid.shape, (rows, columns), halo=0)]
    for index in np.random.default_rng(seed).permutation(len(cores)):
        if found == windows:
            break
        window = cores[index]
        series = read(target, window, steps, target.rules)[cube.target]
        changes = np.diff(series.astype("float64"), axis=0)  # (steps - 1, y, x)
        found += bool(np.isfinite(changes).any())
        size = cube.grid.crop(window).pixel_size_m
        for change in changes:
            total += Variogram.of(change, size, classes=classes, width=pixel)
    return total.fit(pixel)
