"""Calibration: from a central estimate to a predictive distribution.

On blocks kept for it, the errors of the forecast are sorted by how much change is
forecast and scaled by lead (a pixel that is forecast to stay errs otherwise than
one on a frontier); the sorted errors *are* the predictive distribution of the
residual, as in split-conformal prediction (Vovk et al. 2005; Lei et al. 2018,
doi:10.1080/01621459.2017.1307116), here signed and therefore asymmetric.
Between strata the distribution is interpolated, so maps have no contours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hmx.errors import BadArgument

# Levels at which error quantiles are kept: dense, and denser in the tails.
PROBABILITIES = np.unique(
    np.round(np.concatenate([[0.0005, 0.001, 0.0025], np.arange(0.005, 0.9951, 0.005),
                             [0.9975, 0.999, 0.9995]]), 4)
)  # fmt: skip


@dataclass(frozen=True)
class LeadCalibration:
    """Errors at one lead.

    Parameters
    ----------
    centres : ndarray
        Median forecast change of each stratum, native units, ascending, shape (k,).
    quantiles : ndarray
        Error quantiles (truth minus forecast) of each stratum at
        :data:`PROBABILITIES`, native units, shape (k, p).
    n : int
        Pixels it was learnt from.
    """

    centres: np.ndarray
    quantiles: np.ndarray
    n: int


@dataclass(frozen=True)
class Calibration:
    """Errors at each lead that had truth; empty when nothing was kept for it."""

    leads: tuple[LeadCalibration, ...] = ()

    def quantile(
        self, forecast: np.ndarray, origin: np.ndarray, *, lead: int, probability: float
    ) -> np.ndarray:
        """Compute a quantile of the predictive distribution.

        Parameters
        ----------
        forecast, origin : ndarray
            Central estimate and last observed state, native units, any one shape.
        lead : int
            1 and up. Beyond the last calibrated lead, its errors are widened by
            the square root of the ratio of leads, as a random walk's are.
        probability : float
            Between 0 and 1.

        Returns
        -------
        ndarray
            Native units, shape of ``forecast``; not clipped to a valid range.
        """
        self.require()
        known = self.leads[min(lead, len(self.leads)) - 1]
        errors = np.array([np.interp(probability, PROBABILITIES, q) for q in known.quantiles])
        widen = np.sqrt(max(1.0, lead / len(self.leads)))
        size = np.abs(forecast - origin)
        shift = widen * np.interp(size, known.centres, errors)
        return np.asarray(forecast + shift.astype(forecast.dtype))

    def require(self) -> None:
        """Raise unless there is something to build intervals from."""
        if not self.leads:
            raise BadArgument(
                "this model has no calibration, so it cannot give intervals or quantiles. "
                "Train it with calibration=0.1, or leave out level= and quantiles=."
            )


def fit_leads(
    errors: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> tuple[LeadCalibration, ...]:
    """Learn all leads together: one shape, and a size of its own for each.

    Far leads have few origins with truth, and pixels of one block err alike, so
    tails learnt from a far lead alone are a matter of luck. Errors and changes are
    therefore pooled in units of their lead's root mean square; a lead's errors
    are never taken for smaller than those of the lead before.

    Parameters
    ----------
    errors, changes : sequence of ndarray
        As in :func:`fit_lead`, for lead 1, 2, ...
    """
    sizes = [_rms(error) for error in errors]
    steps = [_rms(change) for change in changes]
    pooled = fit_lead(
        np.concatenate([error / size for error, size in zip(errors, sizes, strict=True)]),
        np.concatenate([change / step for change, step in zip(changes, steps, strict=True)]),
    )
    grown = np.maximum.accumulate(sizes)
    return tuple(
        LeadCalibration(pooled.centres * step, pooled.quantiles * size, len(error))
        for error, step, size in zip(errors, steps, grown, strict=True)
    )


def _rms(values: np.ndarray) -> float:
    """Root mean square, or 1 where all is 0: a unit to divide by."""
    return float(np.sqrt(np.mean(np.square(values, dtype="float64")))) or 1.0


def fit_lead(errors: np.ndarray, change: np.ndarray, *, strata: int = 32) -> LeadCalibration:
    """Learn the errors of one lead.

    Parameters
    ----------
    errors : ndarray
        Truth minus forecast, native units, shape (n,).
    change : ndarray
        Absolute forecast change from the origin, native units, shape (n,).
    strata : int
        Most strata; each holds at least 200 pixels and a sixth of those with
        larger changes than the strata below, because the large changes are few
        and matter most. (With halves, errors that grow with change were covered
        up to 5 points too often: a wide stratum holds unlike errors.)

    Returns
    -------
    LeadCalibration
        With the finite-sample correction of split-conformal prediction: the
        probability p is read at rank p (n + 1).
    """
    order = np.argsort(change, kind="stable")
    errors, change = errors[order], change[order]
    bounds = _bounds(len(errors), strata)
    centres = np.array([np.median(change[slice(*ends)]) for ends in pairwise(bounds)])
    # strata that share a median (often a change of exactly 0) are one stratum
    centres, first = np.unique(centres, return_index=True)
    cuts = [*np.array(bounds)[first], len(errors)]
    table = np.stack([_quantiles(errors[slice(*ends)]) for ends in pairwise(cuts)])
    return LeadCalibration(centres, table, len(errors))


def _bounds(n: int, strata: int, fewest: int = 200) -> list[int]:
    """Cut n sorted pixels so that each stratum has a sixth of what is left."""
    bounds = [0]
    while len(bounds) < strata and n - bounds[-1] >= 2 * fewest:
        bounds.append(bounds[-1] + max(fewest, (n - bounds[-1]) // 6))
    return [*bounds, n]


def _quantiles(errors: np.ndarray) -> np.ndarray:
    ranks = PROBABILITIES * (len(errors) + 1) - 1
    return np.asarray(np.interp(ranks, np.arange(len(errors)), np.sort(errors)))
