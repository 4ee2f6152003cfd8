"""Statistics: what GDAL and QGIS would otherwise read a whole file for, summed square by square."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 100_000  # pixels of a layer that its colours are chosen by
_MOST_VALUES = 256  # that flags may have


@dataclass
class Statistics:
    """Minimum, maximum, mean and spread of a layer, and a sample of its pixels."""

    shape: tuple[int, int]  # of the whole layer
    nodata: float | None = None
    count: int = 0
    total: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    low: float = math.inf
    high: float = -math.inf
    values: set[int] = field(default_factory=set)  # of flags
    _sample: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def stride(self) -> int:
        """Every n-th row and column of the layer is in the sample, whatever the squares."""
        return max(1, math.ceil(math.sqrt(self.shape[0] * self.shape[1] / _SAMPLE)))

    def add(self, square: NDArray[np.generic], row: int, column: int) -> None:
        """Add a square, whose first pixel is at this row and column."""
        self.total += square.size
        real = square.dtype.kind == "f"
        valid = np.isfinite(square) if real else np.ones(square.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            valid &= square != self.nodata
        known = square[valid].astype("float64")
        if not known.size:
            return
        if not real and len(self.values) <= _MOST_VALUES:
            self.values |= set(np.unique(square[valid]).astype(int).tolist())
        self._merge(known)
        thin = tuple(slice(-first % self.stride, None, self.stride) for first in (row, column))
        self._sample.append(square[thin][valid[thin]].astype("float64"))

    def _merge(self, known: NDArray[np.float64]) -> None:
        """Add up moments as Chan, Golub & LeVeque (1983, doi:10.2307/2683386) do."""
        count, mean = known.size, float(known.mean())
        away, both = mean - self.mean, self.count + known.size
        self.squares += float(((known - mean) ** 2).sum()) + away**2 * self.count * count / both
        self.mean += away * count / both
        self.count = both
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    @property
    def sample(self) -> NDArray[np.float64]:
        """Pixels with data, on a regular grid over the layer."""
        return np.concatenate(self._sample) if self._sample else np.empty(0)

    @property
    def deviation(self) -> float:
        """Standard deviation over all pixels with data, as GDAL has it."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def valid_percent(self) -> float:
        """Share of pixels with data."""
        return 100 * self.count / max(1, self.total)

    def tags(self) -> dict[str, str]:
        """Return the tags by which GDAL knows statistics of a band."""
        if not self.count:
            return {"STATISTICS_VALID_PERCENT": "0"}
        return {
            "STATISTICS_MINIMUM": repr(self.low),
            "STATISTICS_MAXIMUM": repr(self.high),
            "STATISTICS_MEAN": repr(self.mean),
            "STATISTICS_STDDEV": repr(self.deviation),
            "STATISTICS_VALID_PERCENT": f"{self.valid_percent:.4g}",
        }
