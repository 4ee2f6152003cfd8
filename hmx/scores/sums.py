"""Sums: what all scores that add up share, and the registry of the metrics of a scorecard.

A metric of a scorecard is one class in one file of this package: a state of sums with ``zero``,
``+`` and ``figures()``, made from pixels by ``measure``:

    @metric("sign")
    @dataclass(frozen=True, slots=True)
    class SignAgreement(CellMetric):
        weight: float = 0.0
        agreed: float = 0.0

        @classmethod
        def measure(cls, pixels, settings):
            same = np.sign(pixels.mean - pixels.origin) == np.sign(pixels.truth - pixels.origin)
            return cls(float(pixels.weight.sum()), float(pixels.weight[same].sum()))

        def figures(self):
            return {"sign_agreement": self.agreed / self.weight if self.weight else math.nan}

It is then in every cell, tally, JSON file and CSV file. States contain sums, never means, so a
raster can be scored tile by tile, in any order and on any worker.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument
from hmx.plugins import import_files

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Kind = Literal["uniform", "gaussian"]

_METRICS: dict[str, type[CellMetric]] = {}  # by key, in the order of JSON files


class Sums:
    """A frozen dataclass of numbers that adds up field by field.

    Called without arguments, the class is the empty state; ``+`` joins two. Order and grouping
    of pieces change nothing but the rounding of float64.
    """

    __slots__ = ()

    @classmethod
    def zero(cls) -> Self:
        """Return the empty state, the start of a sum."""
        return cls()

    def __add__(self, other: Self) -> Self:
        """Join two states into the state of the union of their pixels."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Restore the state from the values of :meth:`as_dict`."""
        return cls(**facts)


@dataclass(frozen=True)
class Settings:
    """What is measured; only cells of equal settings may be added."""

    intervals: tuple[float, ...] = (50.0, 80.0, 95.0)  # levels of the central intervals
    # A change is an event if its size is greater. The default is a hundredth of the default
    # range; at 0 every trace of forecast change would be an event
    threshold: float = 0.01
    data_range: float = 1.0  # span of possible values, for SSIM
    kind: Kind = "uniform"  # window of the SSIM; see :func:`hmx.scores.ssim_map`


@dataclass(frozen=True)
class ScoredPixels:
    """What a metric may use of each pixel that counts, arrays (n,) without gaps."""

    truth: Array  # truth, last map known to the forecaster, central estimate, median
    origin: Array
    mean: Array
    median: Array
    crps: Array | None  # of the distribution; None for a point forecast
    pit: Array  # probability of the truth, at random within a point mass
    ends: Mapping[float, tuple[Array, Array]]  # central intervals by level, % (lower, upper)
    ssim: Array  # SSIM of the pixel's surroundings
    weight: Array  # for example cell areas in m2

    def take(self, index: NDArray[np.intp]) -> ScoredPixels:
        """Return some of the pixels."""
        names = ("truth", "origin", "mean", "median", "pit", "ssim", "weight")
        arrays: dict[str, Any] = {name: getattr(self, name).take(index) for name in names}
        ends = {n: (low.take(index), high.take(index)) for n, (low, high) in self.ends.items()}
        crps = None if self.crps is None else self.crps.take(index)
        return replace(self, **arrays, crps=crps, ends=ends)


class CellMetric(Sums):
    """A state of sums that a scorecard has for each forecaster, lead and stratum."""

    __slots__ = ()
    key: ClassVar[str]  # in JSON files
    rank: ClassVar[int]  # position in JSON files and CSV files; those of one rank follow by key
    last: ClassVar[bool]  # whether its figures come after all others, as the many of a histogram do

    @classmethod
    @abstractmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> Self:
        """Sum over pixels."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return the finished figures by name; NaN where there is none."""


M = TypeVar("M", bound=CellMetric)


def metric(key: str, *, rank: int = 100, last: bool = False) -> Callable[[type[M]], type[M]]:
    """Register a class as a metric of scorecards.

    Parameters
    ----------
    key : str
        In JSON files.
    rank : int
        Position in files; default: after those of hmx.
    last : bool
        Whether its figures come after all others.

    Raises
    ------
    BadArgument
        If the key is taken.
    """

    def register(kind: type[M]) -> type[M]:
        other = _METRICS.get(key)
        if other is not None and other.__qualname__ != kind.__qualname__:
            raise BadArgument(
                f"metric {key!r} is registered by {other.__module__} already: each has a key of "
                "its own. Choose another."
            )
        kind.key, kind.rank, kind.last = key, rank, last
        _METRICS[key] = kind
        ordered = sorted(_METRICS.values(), key=lambda one: (one.rank, one.key))
        _METRICS.clear()
        _METRICS.update({one.key: one for one in ordered})
        return kind

    return register


def metrics() -> Mapping[str, type[CellMetric]]:
    """Return all metrics by key, in the order of JSON files."""
    import_files(__package__)
    return _METRICS


def spread_weights(weight: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Spread weights over all pixels without copying them, float64; 1 without weights.

    NaN counts nothing, like 0. A negative or infinite weight is a `BadArgument`.
    """
    weights: NDArray[Any] = np.asarray(1.0 if weight is None else weight, dtype=np.float64)
    if (weights < 0).any() or np.isinf(weights).any():
        raise BadArgument(
            f"weight reaches from {np.nanmin(weights)} to {np.nanmax(weights)}: weights are finite "
            "and not negative. Pass cell areas, or 0 to leave a pixel out."
        )
    return np.broadcast_to(weights, shape)


def pick(keep: Mask, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Take the pixels kept of each array; nothing is copied if all are."""
    return arrays if keep.all() else tuple(values[keep] for values in arrays)
