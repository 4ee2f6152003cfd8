"""Calibration: which probability of the network's is which probability in truth.

On blocks kept for it, each truth is ranked in its predictive distribution. If a share
p of the ranks lies below t(p), the quantile that is asked for at p is read at t(p):
split-conformal prediction on ranks (Chernozhukov et al. 2021,
doi:10.1073/pnas.2107794118). Ranks inside a point mass are drawn uniformly, so that
ties (most of a map stays exactly as it was) neither feign coverage nor hide its lack;
truths beyond the outermost knots are ranked below 0 or above 1, in units of the usual
change, so that tails can be widened by adding, as in conformalised quantile
regression (Romano et al. 2019, arXiv:1905.03222).

Before that, distributions far from past change are damped, or not. Next to nothing happens
there, and how seldom changes from map to map more than anything else does: where the last
map known says that persistence scores better than what a network spreads there, the
forecast is persistence, at that distance and beyond.

Ranks are learnt for each lead and for strata of the distance to past change, and
interpolated between strata, so maps have no contours. Pixels of one block err alike:
where blocks disagree more among themselves than together with p, there is nothing to
correct, and t(p) is drawn towards p (empirical Bayes, as in James & Stein 1961).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmx.errors import BadArgument
from hmx.uncertainty.distribution import Floats, quantile

# Probabilities at which ranks are kept: dense, and denser in the tails.
PROBABILITIES = np.unique(
    np.round(np.concatenate([[0.001, 0.0025], np.arange(0.005, 0.9951, 0.005),
                             [0.9975, 0.999]]), 4)
)  # fmt: skip
FEWEST = 200  # ranks below which a stratum is a guess, and the whole lead is taken
_NODES = (0.0, 3.0, 10.0)  # px from past change: strata at it, near it and far from it


def strata(cap: float | None) -> tuple[float, ...]:
    """Choose the strata: distances to past change, px.

    Parameters
    ----------
    cap : float, optional
        Largest distance that is known; ``None`` where none is.
    """
    if cap is None:
        return (0.0,)
    return (*(node for node in _NODES[:-1] if node < cap), min(_NODES[-1], float(cap)))


def memberships(distance: Floats | None, nodes: Sequence[float]) -> list[Floats | float]:
    """Weigh strata by distance, linear between them in its logarithm; they sum to 1.

    Parameters
    ----------
    distance : ndarray, optional
        To past change, px, any shape; ``None`` where it is not known.
    nodes : sequence of float
        Distances of the strata, px, ascending.
    """
    if distance is None or len(nodes) == 1:
        return [1.0, *(0.0 for _ in nodes[1:])]
    at = np.interp(np.log1p(distance), np.log1p(nodes), np.arange(len(nodes)))
    at = at.astype(distance.dtype)
    return [np.clip(1 - np.abs(at - node), 0, 1) for node in range(len(nodes))]


@dataclass(frozen=True)
class Calibration:
    """Ranks at each lead that had truth; empty when nothing was kept for it.

    Parameters
    ----------
    ranks : tuple of ndarray
        For each lead, the rank below which a share :data:`PROBABILITIES` of the
        truths lay, (strata, p).
    counts : tuple of ndarray
        Ranks that each was learnt from, (strata,).
    nodes : tuple of float
        Distances of the strata, px.
    stretch : tuple of float
        What a whole rank beyond the outermost knots is, per lead, native units.
    far : float
        Share of the residual from the origin that is kept in the farthest stratum.
    """

    ranks: tuple[np.ndarray, ...] = ()
    counts: tuple[np.ndarray, ...] = ()
    nodes: tuple[float, ...] = (0.0,)
    stretch: tuple[float, ...] = ()
    far: float = 1.0

    @property
    def leads(self) -> int:
        """Leads that are calibrated, from 1 up."""
        return len(self.ranks)

    def damp(self, values: Floats, origin: Floats, distance: Floats | None) -> Floats:
        """Draw distributions far from past change towards persistence, in place.

        Parameters
        ----------
        values : ndarray
            Knots of all leads, native units, (h, q, y, x).
        origin : ndarray
            Last observed state, (y, x).
        distance : ndarray, optional
            To past change, px, (y, x).
        """
        if self.far == 1 or distance is None:
            return values
        share = 1 - (1 - self.far) * np.asarray(memberships(distance, self.nodes)[-1])
        share = share.astype(values.dtype)
        for lead in values:
            np.copyto(lead, origin + share * (lead - origin), where=share < 1)
        return values

    def quantile(
        self,
        values: Floats,
        knots: Sequence[float],
        distance: Floats | None,
        *,
        lead: int,
        probability: float,
    ) -> Floats:
        """Compute a calibrated quantile.

        Parameters
        ----------
        values : ndarray
            Knots, native units, (q, y, x).
        knots : sequence of float
            Their probabilities.
        distance : ndarray, optional
            To past change, px, (y, x).
        lead : int
            1 and up; beyond the last calibrated lead its ranks are used.
        probability : float
            Between 0 and 1.

        Returns
        -------
        ndarray
            Native units, (y, x); not clipped to a valid range.
        """
        self.require()
        known = min(lead, self.leads) - 1
        first: Floats | None = None
        total: Floats | float = 0.0
        for weight, ranks in zip(memberships(distance, self.nodes), self.ranks[known], strict=True):
            at = float(np.interp(probability, PROBABILITIES, ranks))
            found = quantile(values, knots, at, stretch=self.stretch[known])
            if first is None:
                first = total = found
            elif not isinstance(weight, float):
                total = total + weight * (found - first)  # where all agree, they agree exactly
        return np.asarray(total, values.dtype)

    def probability(self, rank: Floats, distance: Floats | None, *, lead: int) -> Floats:
        """Turn ranks in predictive distributions into calibrated probabilities.

        The inverse of :meth:`quantile`; without a calibration, the ranks themselves.

        Parameters
        ----------
        rank : ndarray
            (y, x).
        distance : ndarray, optional
            To past change, px, (y, x).
        lead : int
            1 and up.
        """
        if not self.ranks:
            return rank
        total: Floats | float = 0.0
        tables = self.ranks[min(lead, self.leads) - 1]
        for weight, ranks in zip(memberships(distance, self.nodes), tables, strict=True):
            steady = np.maximum.accumulate(ranks)
            total = total + weight * np.interp(rank, steady, PROBABILITIES, left=0, right=1)
        return np.asarray(total, rank.dtype)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "ranks": [table.tolist() for table in self.ranks],
            "counts": [counts.tolist() for counts in self.counts],
            "nodes": list(self.nodes),
            "stretch": list(self.stretch),
            "far": self.far,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Build one from JSON values."""
        return cls(
            tuple(np.array(table) for table in raw["ranks"]),
            tuple(np.array(counts) for counts in raw["counts"]),
            tuple(raw["nodes"]),
            tuple(raw["stretch"]),
            float(raw["far"]),
        )

    def require(self) -> None:
        """Raise unless there is something to build intervals from."""
        if not self.ranks:
            raise BadArgument(
                "this model has no calibration, so it cannot give intervals or quantiles. "
                "Train it with calibration=0.1, or leave out level= and quantiles=."
            )


def fit_ranks(
    ranks: Sequence[np.ndarray],
    distances: Sequence[np.ndarray | None],
    *,
    nodes: Sequence[float],
    stretch: Sequence[float],
    blocks: Sequence[np.ndarray] | None = None,
    far: float = 1.0,
) -> Calibration:
    """Learn a calibration from ranks of held-out truths.

    Parameters
    ----------
    ranks : sequence of ndarray
        For each lead, :func:`hmx.uncertainty.distribution.rank` of its truths, (n,).
    distances : sequence of ndarray
        To past change, px, (n,) each.
    nodes : sequence of float
        Distances of the strata, px.
    stretch : sequence of float
        As the ranks were computed with, per lead.
    blocks : sequence of ndarray, optional
        Number of the block that each rank is from, (n,) each. Default: all ranks are
        independent.
    far : float
        Share of the residual that was kept in the farthest stratum.

    Returns
    -------
    Calibration
        Of the leads, from 1 up, that have enough truths. A share p is read at rank
        p (n + 1), the finite-sample correction of split-conformal prediction.
    """
    enough = [len(lead) >= FEWEST for lead in ranks]
    leads = enough.index(False) if False in enough else len(enough)
    found = [
        _fit_lead(ranks[lead], distances[lead], nodes, None if blocks is None else blocks[lead])
        for lead in range(leads)
    ]
    return Calibration(
        ranks=tuple(table for table, _ in found),
        counts=tuple(counts for _, counts in found),
        nodes=tuple(nodes),
        stretch=tuple(stretch[:leads]),
        far=far,
    )


def _fit_lead(
    ranks: np.ndarray,
    distance: np.ndarray | None,
    nodes: Sequence[float],
    blocks: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit all strata of a lead: ranks (strata, p) and counts (strata,)."""
    order = np.argsort(ranks, kind="stable")
    ranks = ranks[order]
    near = None if distance is None else distance[order]
    weights = [np.broadcast_to(w, ranks.shape) for w in memberships(near, nodes)]
    counts = np.array([float(weight.sum()) for weight in weights])
    pooled = np.ones(ranks.shape)
    used = [w if count >= FEWEST else pooled for w, count in zip(weights, counts, strict=True)]
    table = [_weighted(ranks, weight) for weight in used]
    if blocks is not None:
        table = [
            _trusted(found, ranks, weight, blocks[order])
            for found, weight in zip(table, used, strict=True)
        ]
    return np.stack(table), counts


def _trusted(
    found: np.ndarray, ranks: np.ndarray, weight: np.ndarray, blocks: np.ndarray
) -> np.ndarray:
    """Draw ranks towards their probabilities, as far as blocks disagree about them.

    What blocks say of the share of truths below each decile has a variance; that of
    its mean is what chance alone would make of it. Few blocks know little of their own
    variance either: its inverse is on average n / (n - 2) times too large, n being the
    blocks of equal size they are worth, less one. Three or fewer are never believed.
    """
    deciles = np.arange(0.1, 0.95, 0.1)
    below, sizes = [], []
    for block in np.unique(blocks):
        at = blocks == block
        size = float(weight[at].sum())
        if size > 0:
            hits = ranks[at][:, None] <= deciles
            below.append((weight[at][:, None] * hits).sum(0) / size)
            sizes.append(size)
    share = np.array(sizes) / sum(sizes)
    off = np.array(below) - deciles
    mean = (share[:, None] * off).sum(0)
    signal, degrees = float((mean**2).sum()), 1 / float((share**2).sum()) - 1
    if degrees <= 2 or not signal:
        return PROBABILITIES.copy()
    chance = (share[:, None] ** 2 * (off - mean) ** 2).sum(0) / (1 - (share**2).sum())
    trust = max(0.0, 1 - degrees / (degrees - 2) * float(chance.sum()) / signal)
    return np.asarray(PROBABILITIES + trust * (found - PROBABILITIES))


def _weighted(ranks: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Read weighted quantiles of sorted ranks, with the correction of n to n + 1."""
    upto = np.cumsum(weight, dtype="float64")
    return np.asarray(np.interp(PROBABILITIES * (upto[-1] + 1), upto, ranks))
