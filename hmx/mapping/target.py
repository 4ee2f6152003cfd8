"""Targets: the transform of the quantity before a mapper, and back.

Soil carbon and similar quantities are skewed: most values are small and few are large. On a
logarithm, errors of small and large values are alike. The exponential of the estimate is the
median of the likely values, which lies below their mean; where sums must be right, the *ratio*
corrects them (Snowdon 1991, doi:10.1139/x91-101). The ratio comes from predictions of samples
that the network did not train on: on training samples it would correct the fit, not the bias.

A network sees z-scores whatever the transform, as its learning rate, its decay and the bend of the
Huber loss are numbers without a unit: on plain g/kg they would mean something else than on %. For
the same reason ``log1p`` adds 1 not to the value but to a multiple of its order of magnitude. So
the same samples in another unit make the same map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hmx.errors import BadArgument, NotEnoughData
from hmx.mapping.options import TargetTransform
from hmx.points.suspects import require_learnable

if TYPE_CHECKING:
    from hmx.points.table import Points

_STEP = 2.0**-40  # of a logarithm: far below what float32 resolves, far above errors of exp


@dataclass(frozen=True)
class TargetScaler:
    """Transform and scale of the target."""

    transform: TargetTransform = "none"
    mean: float = 0.0  # of the transformed training values
    std: float = 1.0
    # factor on back-transformed values: sum of truths over sum of predictions on inner folds
    ratio: float = 1.0
    unit: float = 1.0  # of log1p: log(1 + value / unit)

    def named(self, target: str) -> str:
        """Name the transformed target, such as ``log1p(soc / 10)``."""
        if self.transform == "none":
            return target
        return f"{self.transform}({target}{'' if self.unit == 1 else f' / {self.unit:g}'})"


def fit_target(values: np.ndarray, transform: TargetTransform) -> TargetScaler:
    """Fit a transform to the target of the training samples, native units, (n,).

    All make z-scores: ``none`` and ``normalize`` of the values, ``log`` of their logarithm,
    ``log1p`` of the logarithm of 1 + value / unit (:func:`unit_of`). Raises :class:`BadArgument`
    for a value without a logarithm, :class:`NotEnoughData` without values.
    """
    if not len(values):
        raise NotEnoughData("there is no training sample to fit the target's scale to. Add points.")
    plain = plain_target(values, transform)
    raw = _transformed(values, plain)
    return replace(plain, mean=float(raw.mean()), std=float(raw.std()) or 1.0)


def plain_target(values: np.ndarray, transform: TargetTransform) -> TargetScaler:
    """Return a transform to logarithms or values, not to z-scores."""
    return TargetScaler(transform, unit=unit_of(values) if transform == "log1p" else 1.0)


def unit_of(values: np.ndarray) -> float:
    """Return the order of magnitude of the positive values: a power of ten.

    It is at most their median, and more than a tenth of it. A power of ten keeps the logarithm
    readable (of 1 + g/kg / 10), and makes g/kg and % alike.
    """
    positive = np.asarray(values, "float64")[np.asarray(values) > 0]
    return float(10.0 ** math.floor(np.log10(np.median(positive)))) if len(positive) else 1.0


def require_target(
    values: np.ndarray, rows: np.ndarray, points: Points, transform: TargetTransform
) -> None:
    """Refuse a constant target, and values, (n,), of these rows that have no logarithm."""
    bound, names = bound_of(plain_target(values, transform)), (points.target, points.names)
    require_learnable(values, rows, *names, transform=transform, bound=bound)


def forward(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn native units into the network's; raise :class:`BadArgument` without a logarithm."""
    values = np.asarray(values, "float64")
    return (_transformed(values, scaler) - scaler.mean) / scaler.std


def inverse(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn the network's units into native ones: the exact inverse, for quantiles too."""
    raw = np.asarray(values, "float64") * scaler.std + scaler.mean
    back = {"log": np.exp, "log1p": np.expm1}.get(scaler.transform)
    # No exponential is guaranteed to ascend between neighbouring floats. Between multiples of
    # _STEP it does, so that the ends of intervals cannot cross
    return raw if back is None else np.asarray(back(np.round(raw / _STEP) * _STEP) * scaler.unit)


def central(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn the network's central estimate into native units, times the ratio."""
    return inverse(values, scaler) * scaler.ratio


def limits_of(transform: TargetTransform) -> tuple[float, float]:
    """Return the bounds of a quantity without a declared valid range.

    A logarithm is taken of quantities that cannot be negative. log1p reaches below 0, but its
    purpose are zeros: estimates and intervals below 0 are cut there.
    """
    return (0.0, np.inf) if transform in ("log", "log1p") else (-np.inf, np.inf)


def bounded(
    values: np.ndarray,
    scaler: TargetScaler,
    *,
    truth: np.ndarray,
    valid_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Turn estimates or interval ends into native units, cut at the bounds of the target.

    `values` and the measured `truth` are in the scaler's units. A truth beyond a bound moves it:
    a cut there would count as an error of the model.
    """
    low, high = valid_range or limits_of(scaler.transform)
    known = inverse(truth, scaler)
    ends = min(low, float(known.min())), max(high, float(known.max()))
    return np.asarray(np.clip(inverse(values, scaler), *ends))


def ratio_of(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Divide the sum of truths by the sum of out-of-fold predictions, native units, (n,)."""
    total = float(np.sum(predicted))
    return float(np.sum(truth)) / total if total > 0 else 1.0


def error_of(
    values: np.ndarray, scaler: TargetScaler, *, sigma: float, relative: float
) -> np.ndarray:
    """Compute the standard error of measurements in native units, (n,), in the network's units.

    A measurement has a constant error `sigma` and an error `relative` to its size:
    ``sqrt(sigma^2 + (relative * value)^2)`` (Rocke & Lorenzato 1995,
    doi:10.1080/00401706.1995.10484302). The slope of the transform converts the unit.
    """
    values = np.asarray(values, "float64")
    slope = {"log": values, "log1p": scaler.unit + values}.get(scaler.transform, 1.0)
    return np.sqrt(sigma**2 + (relative * values) ** 2) / (slope * scaler.std)


def bound_of(scaler: TargetScaler) -> float:
    """Return the number that all values of a transform exceed, native units."""
    return {"log": 0.0, "log1p": -scaler.unit}.get(scaler.transform, -math.inf)


def _transformed(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    transform, bound = scaler.transform, bound_of(scaler)
    values = np.asarray(values, "float64")
    if transform not in ("log", "log1p"):
        return values
    lowest = float(values.min(initial=np.inf))
    if lowest <= bound:
        first = (
            "Where it stands for missing or cannot be, pass missing or valid_range=[0, ...] of the "
            "points; where it is true, train"
        )
        # zeros are common and true; other values without a logarithm are usually codes
        other = (
            "Train with transform='log1p'" if lowest == 0 else f"{first} with transform='normalize'"
        )
        raise BadArgument(
            f"transform={transform!r} of the value {lowest:g}: it takes values above {bound:g}. "
            f"{other}."
        )
    return np.asarray(np.log(values) if transform == "log" else np.log1p(values / scaler.unit))
