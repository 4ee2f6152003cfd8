"""Targets: what the quantity goes through before a mapper, and back.

Soil carbon and its like are skewed: most values are small and few are large. On a
logarithm errors are about alike. Going back through the exponential gives the median
of what is likely, which lies below its mean; where sums must be right, the *ratio*
puts them right (Snowdon 1991, doi:10.1139/x91-101). It comes from predictions of samples
that the network has not seen, or it would correct what training has already fitted.
"""

from __future__ import annotations

import numpy as np

from hmx.errors import BadArgument, NotEnoughData
from hmx.mapping.options import TargetTransform
from hmx.mapping.spec import TargetScaler


def fit_target(values: np.ndarray, transform: TargetTransform) -> TargetScaler:
    """Fit a transform to training values.

    Parameters
    ----------
    values : ndarray, (n,)
        Target of the training samples, native units, and of no others.
    transform : {"none", "log", "log1p", "normalize"}
        ``none`` leaves values as they are; ``normalize`` turns them into z-scores, the
        others their logarithm, or that of 1 more.

    Raises
    ------
    BadArgument
        If a value has no logarithm.
    NotEnoughData
        If there is no value.
    """
    if not len(values):
        raise NotEnoughData("there is no training sample to fit the target's scale to. Add points.")
    if transform == "none":
        return TargetScaler("none")
    raw = _raw(np.asarray(values, "float64"), transform)
    return TargetScaler(transform, float(raw.mean()), float(raw.std()) or 1.0)


def forward(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn native units into the network's.

    Parameters
    ----------
    values : ndarray
        Native units.
    scaler : TargetScaler
        From :func:`fit_target`.

    Raises
    ------
    BadArgument
        If a value has no logarithm.
    """
    return (_raw(np.asarray(values, "float64"), scaler.transform) - scaler.mean) / scaler.std


def inverse(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn the network's units into native ones: the exact inverse, for quantiles too.

    Parameters
    ----------
    values : ndarray
        From the network.
    scaler : TargetScaler
        From :func:`fit_target`.
    """
    raw = np.asarray(values, "float64") * scaler.std + scaler.mean
    back = {"log": np.exp, "log1p": np.expm1}.get(scaler.transform)
    return raw if back is None else np.asarray(back(raw))


def central(values: np.ndarray, scaler: TargetScaler) -> np.ndarray:
    """Turn the network's central estimate into native units, bias corrected.

    That is :func:`inverse` times the scaler's ratio.
    """
    return inverse(values, scaler) * scaler.ratio


def limits_of(transform: TargetTransform) -> tuple[float, float]:
    """Return the bounds of a quantity whose valid range nobody declared.

    A logarithm is taken of quantities that cannot be negative. That of 1 more goes down to
    -1, but is used for the sake of zeros: estimates and intervals below 0 are cut there.

    Parameters
    ----------
    transform : {"none", "log", "log1p", "normalize"}
        What the target goes through.
    """
    return (0.0, np.inf) if transform in ("log", "log1p") else (-np.inf, np.inf)


def bounded(values: np.ndarray, scaler: TargetScaler, *, truth: np.ndarray) -> np.ndarray:
    """Turn the network's units into native ones, no lower than truths or the bound can be.

    Parameters
    ----------
    values : ndarray
        Estimates or ends of intervals, in the scaler's units.
    scaler : TargetScaler
        From :func:`fit_target`.
    truth : ndarray
        Measured values, in the scaler's units.
    """
    floor = min(limits_of(scaler.transform)[0], float(inverse(truth, scaler).min()))
    return np.asarray(np.maximum(inverse(values, scaler), floor))


def ratio_of(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the sum of truths over the sum of predictions.

    Parameters
    ----------
    truth, predicted : ndarray, (n,)
        Native units; predictions of samples that were not trained on, back-transformed.
    """
    total = float(np.sum(predicted))
    return float(np.sum(truth)) / total if total > 0 else 1.0


def error_of(
    values: np.ndarray, scaler: TargetScaler, *, sigma: float, relative: float
) -> np.ndarray:
    """Compute the standard error of measurements, in the network's units.

    A measurement has an error of its own that does not depend on its size, and one that
    is a share of it: ``sqrt(sigma^2 + (relative * value)^2)`` (Rocke & Lorenzato 1995,
    doi:10.1080/00401706.1995.10484302). The slope of the transform carries it over.

    Parameters
    ----------
    values : ndarray, (n,)
        Native units.
    scaler : TargetScaler
        From :func:`fit_target`.
    sigma : float
        Standard error near 0, native units.
    relative : float
        Standard error of a large value, as a share of it.
    """
    values = np.asarray(values, "float64")
    slope = {"log": values, "log1p": 1 + values}.get(scaler.transform, 1.0)
    return np.sqrt(sigma**2 + (relative * values) ** 2) / (slope * scaler.std)


def _raw(values: np.ndarray, transform: TargetTransform) -> np.ndarray:
    if transform not in ("log", "log1p"):
        return values
    least, bound = float(values.min(initial=np.inf)), 0 if transform == "log" else -1
    if least <= bound:
        first = (
            "Where it stands for missing or cannot be, pass missing or valid_range=[0, ...] of the "
            "points; where it is true, train"
        )
        other = (
            "Train with transform='log1p'" if least == 0 else f"{first} with transform='normalize'"
        )
        raise BadArgument(
            f"transform={transform!r} of the value {least:g}: it takes values above {bound}. "
            f"{other}."
        )
    return np.asarray(np.log(values) if transform == "log" else np.log1p(values))
