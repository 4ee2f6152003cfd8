"""Exceed: the probability of more than a threshold, as the exact inverse of calibrated quantiles.

A calibrated quantile is linear in its probability between *bends*: the probabilities of the
rank tables, and those at which a stratum reaches a knot. So the threshold is searched among
the quantiles at the bends, pixel by pixel, and interpolated between two of them. Averages of
the strata's probabilities would not do: strata are averaged by value, not by probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.uncertainty.calibration import PROBABILITIES, Calibration, Strata
from hmx.uncertainty.distribution import Floats, ascend
from hmx.uncertainty.distribution import exceedance as plain_exceedance

_PIECE = 16_384  # pixels searched at a time, so that all their numbers fit in a cache


def exceedance(
    calibration: Calibration,
    values: Floats,
    knots: Sequence[float],
    distance: Floats | Strata | None,
    *,
    lead: int,
    threshold: float,
) -> Floats:
    """Compute the probability of more than a threshold: knots (q, y, x) to (y, x).

    Without a calibration, that of the knots themselves. NaN stays NaN.
    """
    if not calibration.leads:
        return plain_exceedance(values, knots, threshold)
    known = min(lead, calibration.leads) - 1
    key = ("curves", known, tuple(knots), np.dtype(values.dtype).str)
    if key not in calibration.derived:
        corners = [0.0, *knots, 1.0]
        reached = [np.interp(corners, ranks, PROBABILITIES) for ranks in calibration.ranks[known]]
        # probabilities between which the quantiles of all strata are linear
        own = np.unique(np.concatenate([PROBABILITIES, *reached]))
        calibration.derived[key] = _Curves.of(calibration, known, own, knots, values.dtype)
    curves: _Curves = calibration.derived[key]
    bends = curves.bends
    low, high = calibration.quantiles(
        values, knots, distance, lead=lead, probabilities=[bends[0], bends[-1]]
    )
    found: Floats = (low > threshold).astype(values.dtype)  # beyond the outermost, nothing is left
    open_ = (low <= threshold) & (threshold < high)  # elsewhere nothing is to be searched
    strata = Strata.of(distance, calibration.nodes, values.dtype)
    rows, columns = np.nonzero(open_)
    for start in range(0, len(rows), _PIECE):
        at = rows[start : start + _PIECE], columns[start : start + _PIECE]
        part = None if strata is None else strata.at(at)
        found[at] = 1 - curves.reach(
            np.ascontiguousarray(values[:, *at].T), part, values.dtype.type(threshold)
        )
    return np.where(np.isnan(low), low, found)


@dataclass(frozen=True)
class _Curves:
    """Where each stratum reads the knots at each bend, (strata * bends,)."""

    bends: NDArray[np.float64]
    first: NDArray[np.intp]  # the knot before
    part: Floats  # of the way to the next one
    beyond: Floats  # native units beyond the outermost knot
    # by the number of knots up to the threshold: the bends between which all strata reach it
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        known: int,
        bends: NDArray[np.float64],
        knots: Sequence[float],
        dtype: np.dtype[Any],
    ) -> _Curves:
        """Read the rank tables of a lead at the bends."""
        tables = calibration.ranks[known]
        ranks = np.array([ascend(p, PROBABILITIES, table) for table in tables for p in bends])
        at = np.interp(ranks, knots, np.arange(len(knots)))
        first = np.clip(at.astype(np.intp), 0, max(0, len(knots) - 2))
        beyond = np.minimum(ranks, 0) + np.maximum(ranks - 1, 0)
        stretched = (beyond * calibration.stretch[known]).astype(dtype)
        by_stratum = at.reshape(len(tables), -1)
        lowest, highest = by_stratum.min(axis=0), by_stratum.max(axis=0)
        counts = np.arange(1, len(knots))
        starts = np.searchsorted(highest, counts - 1, side="right") - 1
        stops = np.searchsorted(lowest, counts, side="left")
        last = len(bends) - 1
        return cls(
            bends, first, (at - first).astype(dtype), stretched,
            starts=np.concatenate([[0], starts.clip(0, last - 1), [0]]),
            stops=np.concatenate([[last], stops.clip(1, last), [last]]),
        )  # fmt: skip

    def reach(
        self, values: Floats, strata: Strata | None, threshold: np.floating[Any]
    ) -> NDArray[np.float64]:
        """Search the probability at which pixels, (n, q), reach a threshold that lies inside."""
        count = (values <= threshold).sum(axis=1)
        start, stop = self.starts[count], self.stops[count]
        while np.any(stop - start > 1):
            middle = (start + stop) // 2
            below = self.read(values, strata, middle) <= threshold
            start, stop = np.where(below, middle, start), np.where(below, stop, middle)
        low, high = (self.read(values, strata, bend) for bend in (start, start + 1))
        rise = np.where(high > low, high - low, 1)
        share = np.clip((threshold - low) / rise, 0, 1)
        return np.asarray(self.bends[start] + share * (self.bends[start + 1] - self.bends[start]))

    def read(self, values: Floats, strata: Strata | None, bend: NDArray[np.intp]) -> Floats:
        """Compute the quantile of each pixel at a bend of its own."""
        if strata is None:
            return self.own(values, bend)
        at = strata.nearer * len(self.bends) + bend
        own, following = self.own(values, at), self.own(values, at + len(self.bends))
        return np.asarray((1 - strata.share) * own + strata.share * following)

    def own(self, values: Floats, at: NDArray[np.intp]) -> Floats:
        """Compute the quantile of one stratum of each pixel, which ``at`` finds in the tables."""
        pixels, knots = values.shape
        first = self.first.take(at) + np.arange(0, pixels * knots, knots)
        flat = values.reshape(-1)
        low = flat.take(first)
        inside = (flat.take(first + (knots > 1)) - low) * self.part.take(at)
        return np.asarray(low + inside + self.beyond.take(at))
