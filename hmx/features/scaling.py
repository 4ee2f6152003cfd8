"""Scaling: from native units to those of the network.

Values enter as z-scores; changes enter, and leave, divided by the root mean
square of the change over one step, so a network's output of 1 is an ordinary
change whatever the units. Statistics are additive, come from training
blocks and training years only, and are stored in the bundle.

Population or GDP spans orders of magnitude; z-scores suit its logarithm, not its values.
Transforms come before scaling, have no fitted parameters, and are stored as a plain mapping
of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument, NotEnoughData, did_you_mean, missing_variable

Transform = Literal["none", "log"]

LEAST_SIZE = 0.1  # of the usual change: a step where nothing moved counts as no change, not as 1
_SAME = 1e-3  # share of an ordinary change below which values count as equal
_STEPS = 2000  # distinct values; a target with more is not stored in steps
_DRAWN = 20_000  # values of each block among which steps are searched
_ROUNDING = 1e-12  # of the squared mean: float64 sums of float32 values are no better


def check_transforms(transforms: Mapping[str, str]) -> dict[str, Transform]:
    """Drop ``"none"`` from transforms by variable; refuse an unknown transform."""
    known = get_args(Transform)
    checked: dict[str, Transform] = {}
    for name, transform in transforms.items():
        if transform not in known:
            raise BadArgument(
                f"transform {transform!r} of {name!r} is not one of: {', '.join(known)}."
                + (did_you_mean(transform, known) or " Pass 'log' or leave it out.")
            )
        if transform == "log":
            checked[name] = "log"
    return checked


def apply_transforms(
    arrays: Mapping[str, np.ndarray], transforms: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Transform variables, each by its own rule.

    ``"log"`` is ``log(1 + x)``, natural: 0 stays 0, so places without people or income need no
    special case, and for large values it is the logarithm. It is computed in float64 and returned
    in the variable's own floating type (float32 for integers); NaN stays NaN. Raises
    :class:`MissingVariable` for an absent variable, :class:`BadArgument` for an unknown transform
    or a negative value.
    """
    checked = check_transforms(transforms)
    for name in transforms:
        if name not in arrays:
            raise missing_variable(name, arrays, where="the covariates")
    return {n: _logarithm(n, a) if n in checked else a for n, a in arrays.items()}


def _logarithm(name: str, values: np.ndarray) -> np.ndarray:
    """Return log(1 + x); refuse negative values."""
    values = np.asarray(values)
    negative = values[values < 0]
    if negative.size:
        raise BadArgument(
            f"{name!r} has {negative.size} value{'s' if negative.size > 1 else ''} below 0 (lowest "
            f"{negative.min():g}), and a logarithm is for counts and amounts from 0. If that is "
            f"nodata, declare it in the catalog (nodata: {negative.min():g}); else write "
            f"transform: none for {name!r}."
        )
    kind = values.dtype if values.dtype.kind == "f" else np.dtype("float32")
    logarithm: np.ndarray = np.log1p(values, dtype="float64")
    return logarithm.astype(kind)


@dataclass(frozen=True)
class Moments:
    """Sums that add up: pixels, values and squares, NaN left out."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Sum an array of any shape."""
        kept = values[np.isfinite(values)].astype("float64")
        return cls(kept.size, float(kept.sum()), float(np.square(kept).sum()))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean, or 0 without values."""
        return self.total / self.n if self.n else 0.0

    @property
    def rms(self) -> float:
        """Root mean square, or 0 without values."""
        return float(np.sqrt(self.squares / self.n)) if self.n else 0.0

    @property
    def std(self) -> float:
        """Standard deviation, or 0 without values and where values differ by rounding alone."""
        variance = self.squares / self.n - self.mean**2 if self.n else 0.0
        return float(np.sqrt(variance)) if variance > _ROUNDING * self.mean**2 else 0.0


@dataclass(frozen=True)
class Scaler:
    """Statistics of the training data, native units."""

    mean: Mapping[str, float]
    std: Mapping[str, float]  # 1 where a variable is constant
    # root mean square change of the target over 1, 2, ... h steps; a lead without truth repeats
    # the change of the lead before
    change: tuple[float, ...]
    step: float = 0.0  # smallest difference between two values of the target; 0: not in steps

    @property
    def tolerance(self) -> float:
        """Return the largest difference between equal values, native units."""
        return max(self.step / 2, _SAME * self.change[0])

    def apply(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return z-scores of a variable; NaN stays NaN."""
        return (values - self.mean[name]) / self.std[name]


def fit_scaler(
    blocks: Iterable[Mapping[str, np.ndarray]], target: str, h: int
) -> tuple[Scaler, NDArray[np.float64]]:
    """Fit a scaler out of core, block by block, with the changes of the target up to lead `h`.

    A block has cleaned arrays (missing = NaN) per variable: the target and dynamic covariates
    (time, y, x), static ones (y, x). The blocks together hold each training pixel once. Raises
    :class:`NotEnoughData` if the target has no valid pixel, or never two in consecutive steps.

    The second result has the root mean square change from each step over 1 ... h steps,
    (time, lead), native units: not less than a tenth of the usual one, which also stands where
    there is no truth.
    """
    values: dict[str, Moments] = {}
    changes: dict[tuple[int, int], Moments] = {}  # by the step they begin with, and lead
    distinct = np.zeros(0)
    for block in blocks:
        for name, array in block.items():
            values[name] = values.get(name, Moments()) + Moments.of(array)
        series = block[target]
        if len(distinct) <= _STEPS:
            # some known values from all over the block: steps show in any sample
            known = series[np.isfinite(series)].astype("float64")
            distinct = np.union1d(distinct, known[:: max(1, known.size // _DRAWN)])
        for lead in range(1, min(h, len(series) - 1) + 1):
            for start in range(len(series) - lead):
                found = Moments.of(series[start + lead] - series[start])
                changes[start, lead] = changes.get((start, lead), Moments()) + found
    pooled = [Moments()] * h
    for (_, lead), moments in changes.items():
        pooled[lead - 1] += moments
    if not values or not values[target].n or not pooled[0].n:
        raise NotEnoughData(
            f"{target!r} has no valid pixel to learn from in the training blocks and years. "
            "Check its nodata value, scale and valid_range."
        )
    filled: list[float] = []
    for moments in pooled:
        filled.append(moments.rms or (filled[-1] if filled else values[target].std or 1.0))
    # the median, because a value that the sample missed makes some differences too large
    steps = 2 <= len(distinct) <= _STEPS
    scaler = Scaler(
        mean={name: moments.mean for name, moments in values.items()},
        std={name: moments.std or 1.0 for name, moments in values.items()},
        change=tuple(filled),
        step=float(np.median(np.diff(distinct))) if steps else 0.0,
    )
    return scaler, _sizes(changes, filled)


def _sizes(changes: Mapping[tuple[int, int], Moments], usual: list[float]) -> NDArray[np.float64]:
    """Return the root mean square change from each step over each lead, (time, lead)."""
    sizes = np.tile(usual, (1 + max(start for start, _ in changes), 1))
    for (start, lead), moments in changes.items():
        if moments.n:
            sizes[start, lead - 1] = max(moments.rms, LEAST_SIZE * usual[lead - 1])
    return sizes
