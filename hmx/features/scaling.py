"""Scaling: what the network sees instead of native units, and how it got there.

Values enter as z-scores; changes enter, and leave, divided by the root mean
square of the change over one step, so a network's output of 1 is an ordinary
change whatever the units. Statistics are additive, are taken from training
blocks and training years only, and live in the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hmx.errors import NotEnoughData

_SAME = 1e-3  # of an ordinary change
_STEPS = 2000  # more values than this between bounds are not steps
_DRAWN = 20_000  # values that steps are looked for in, of each block
_ROUNDING = 1e-12  # of the squared mean: float64 sums of float32 values are no better


@dataclass(frozen=True)
class Moments:
    """Sums that add up: pixels, values and squares, NaN left out."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Sum up an array of any shape."""
        kept = values[np.isfinite(values)].astype("float64")
        return cls(kept.size, float(kept.sum()), float(np.square(kept).sum()))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean, or 0 of nothing."""
        return self.total / self.n if self.n else 0.0

    @property
    def rms(self) -> float:
        """Root mean square, or 0 of nothing."""
        return float(np.sqrt(self.squares / self.n)) if self.n else 0.0

    @property
    def std(self) -> float:
        """Standard deviation, or 0 of nothing and of what differs by rounding alone."""
        variance = self.squares / self.n - self.mean**2 if self.n else 0.0
        return float(np.sqrt(variance)) if variance > _ROUNDING * self.mean**2 else 0.0


@dataclass(frozen=True)
class Scaler:
    """Statistics of the training data.

    Parameters
    ----------
    mean, std : mapping of str to float
        Per variable, native units; ``std`` is 1 where a variable is constant.
    change : tuple of float
        Root mean square change of the target over 1, 2, ... h steps, native
        units; leads without truth repeat the last known one.
    step : float
        Smallest difference between two values of the target, native units; 0 where
        it is not stored in steps.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]
    change: tuple[float, ...]
    step: float = 0.0

    @property
    def tolerance(self) -> float:
        """Return by how much a value may be off and still be the same, native units."""
        return max(self.step / 2, _SAME * self.change[0])

    def apply(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return z-scores of a variable, NaN kept."""
        return (values - self.mean[name]) / self.std[name]

    def invert(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return native units from z-scores."""
        return values * self.std[name] + self.mean[name]


def fit_scaler(blocks: Iterable[Mapping[str, np.ndarray]], target: str, h: int) -> Scaler:
    """Fit a scaler out of core, block by block.

    Parameters
    ----------
    blocks : iterable of mapping
        Cleaned arrays (missing = NaN) per variable; the target and dynamic
        covariates are (time, y, x), static ones (y, x). Together they hold the
        training pixels, each once, and nothing else.
    target : str
        Variable whose changes are measured.
    h : int
        Largest lead.

    Raises
    ------
    NotEnoughData
        If the target has no valid pixel, or never two in consecutive steps.
    """
    values: dict[str, Moments] = {}
    changes = [Moments()] * h
    distinct = np.zeros(0)
    for block in blocks:
        for name, array in block.items():
            values[name] = values.get(name, Moments()) + Moments.of(array)
        series = block[target]
        if len(distinct) <= _STEPS:
            distinct = np.union1d(distinct, _sample(series))
        for lead in range(1, min(h, len(series) - 1) + 1):
            changes[lead - 1] += Moments.of(series[lead:] - series[:-lead])
    if not values or not values[target].n or not changes[0].n:
        raise NotEnoughData(
            f"{target!r} has no valid pixel to learn from in the training blocks and years. "
            "Check its nodata value, scale and valid_range."
        )
    return Scaler(
        mean={name: moments.mean for name, moments in values.items()},
        std={name: moments.std or 1.0 for name, moments in values.items()},
        change=_fill([moments.rms for moments in changes], values[target].std or 1.0),
        step=_step(distinct),
    )


def _sample(series: np.ndarray) -> np.ndarray:
    """Take some known values from all over an array."""
    known = series[np.isfinite(series)].astype("float64")
    return np.asarray(known[:: max(1, known.size // _DRAWN)])


def _step(distinct: np.ndarray) -> float:
    """Find the step that values are stored in, or 0."""
    if not 2 <= len(distinct) <= _STEPS:
        return 0.0
    return float(np.median(np.diff(distinct)))


def _fill(changes: list[float], fallback: float) -> tuple[float, ...]:
    """Give leads without truth the change of the lead before."""
    filled: list[float] = []
    for change in changes:
        filled.append(change or (filled[-1] if filled else fallback))
    return tuple(filled)
