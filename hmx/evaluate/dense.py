"""Dense: a model's calibrated distribution at many levels, as it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.bundle import Bundle
from hmx.calibration import PROBABILITIES, memberships
from hmx.distribution import quantile

Floats = NDArray[np.floating[Any]]

_STEPS = np.arange(0.01, 0.995, 0.01)
_TAILS = (0.0025, 0.005, 0.995, 0.9975)
_ROUNDING = 1e-6  # of the range of values: as near as this to the origin is the origin


def levels_of(intervals: Sequence[float]) -> tuple[float, ...]:
    """List the probabilities at which a calibrated distribution is scored.

    Parameters
    ----------
    intervals : sequence of float, %
        Central intervals, whose ends are among them.

    Returns
    -------
    tuple of float
        Each hundredth, the tails, and the ends.
    """
    tails = [(1 - level / 100) / 2 for level in intervals]
    ends = [*tails, *(1 - tail for tail in tails)]
    inside = [p for p in (*_STEPS, *_TAILS, *ends) if 0 < p < 1]
    return tuple(float(p) for p in np.unique(np.round(inside, 6)))


def calibrated_knots(
    bundle: Bundle,
    knots: Floats,
    origin: Floats,
    distance: Floats | None,
    *,
    lead: int,
    levels: Sequence[float],
    span: float,
) -> tuple[Floats, tuple[float, ...]]:
    """Read a lead's calibrated distribution at dense levels.

    Parameters
    ----------
    bundle : Bundle
        Brings the calibration; without one, the network's own knots come back.
    knots : array (q, y, x), units of the target
        Settled knots of the network.
    origin : array (y, x), units of the target
        Point masses on it are exact, also after strata are mixed in float32.
    distance : array (y, x), px, optional
        To past change.
    lead : int
        1 and up.
    levels : sequence of float
        Probabilities.
    span : float, units of the target
        Range of the target.

    Returns
    -------
    values : array (level, y, x), units of the target
        Ascending.
    levels : tuple of float
        Their probabilities.
    """
    found, spec = bundle.calibration, bundle.spec
    own = spec.network.knots
    if not found.leads:
        return np.maximum.accumulate(knots, axis=0), tuple(own)
    known = min(lead, found.leads) - 1
    near = memberships(distance, found.nodes)
    weighed = [(w, r) for w, r in zip(near, found.ranks[known], strict=True) if np.any(w)]
    values = np.empty((len(levels), *origin.shape), knots.dtype)
    for row, p in zip(values, levels, strict=True):
        row[:] = sum(
            w * quantile(knots, own, _at(p, ranks), stretch=found.stretch[known])
            for w, ranks in weighed
        )
    low, high = spec.valid_range or (None, None)
    if low is not None or high is not None:
        np.clip(values, low, high, out=values)
    same = np.abs(values - origin) <= _ROUNDING * span
    values = np.where(same, origin, values)
    return np.maximum.accumulate(values, axis=0), tuple(levels)


def _at(p: float, ranks: Floats) -> float:
    return float(np.interp(p, PROBABILITIES, ranks))
