"""Conformal: prediction intervals of a map, from held-out residuals.

Predictions by models that trained on neither a sample nor its surroundings show how wrong the
map is where nobody sampled. Residuals are divided by the model's own uncertainty, the spread
(normalised conformal prediction, Papadopoulos et al. 2002, doi:10.1007/3-540-36755-1_29;
Lei et al. 2018, doi:10.1080/01621459.2017.1307116), and their quantiles are read back at each
pixel. Three things distinguish these intervals from plain ones:

- both tails are fitted separately, as errors of a long-tailed quantity are not symmetric;
- they are fitted in strata of the prediction (Mondrian conformal prediction, Vovk et al.
  2005, section 4.5), interpolated between them so that maps have no contours;
- the spread is trusted only as far as it improves intervals: the share of it that gives the
  best interval score (Gneiting and Raftery 2007) on left-out groups is used, and the rest is
  the same everywhere. A spread without information leaves the plain interval.

Coverage is promised over places like the calibration's, and approximately in each stratum of
the *prediction*. It is not promised among places where the *truth* is large: nobody knows
these places beforehand, and a regression shrinks them to the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument, NotEnoughData
from hmx.scores import interval_scores
from hmx.uncertainty.calibration import PROBABILITIES
from hmx.uncertainty.distribution import ascend

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

TRUST = (0.0, 0.25, 0.5, 0.65, 0.8, 0.9)  # candidates; 1 would give width 0 at spread 0
LEVELS = (50, 80, 90)  # percent, whose interval scores choose the trust
FEWEST = 200  # residuals; a smaller stratum uses those of all strata
LEAST = 20  # residuals; with fewer, hardly one lies outside a 90 % interval
_STRATA = (0.05, 0.25, 0.5, 0.75, 0.95)  # centres of the strata: quantiles of the prediction
_PARTS = 5  # parts of the groups, left out in turn


@dataclass(frozen=True, eq=False)
class Conformal:
    """Quantiles of held-out residuals; empty without a calibration."""

    # (strata, p): residual, in units of the mixed spread, below which a share PROBABILITIES lay
    table: Array = field(default_factory=lambda: np.empty((0, 0)))
    nodes: tuple[float, ...] = ()  # centres of the strata: predictions, ascending
    trust: float = 0.0  # share of the spread in the scale of residuals, 0 to 1
    typical: float = 1.0  # mean spread of the calibration: the rest of the scale
    count: int = 0  # residuals of the smallest stratum

    def __post_init__(self) -> None:
        """Let quantiles ascend: those of older models may descend by rounding."""
        object.__setattr__(self, "table", np.maximum.accumulate(self.table, axis=-1))

    @classmethod
    def fit(cls, center: Array, spread: Array, truth: Array, groups: NDArray[Any]) -> Conformal:
        """Build the quantiles from out-of-fold predictions, all (n,), finite, transformed units.

        `center` is the prediction, `spread` its uncertainty (0 and up), `truth` the measured value,
        `groups` the block or site that was left out together. Raises :class:`NotEnoughData` with
        fewer than 20 truths.
        """
        center, spread, truth = (np.asarray(a, np.float64) for a in (center, spread, truth))
        if len(truth) < LEAST:
            raise NotEnoughData(
                f"{len(truth)} held-out samples are too few for prediction intervals, which "
                f"take {LEAST}. Add samples, or keep more of them for the calibration."
            )
        part = np.unique(groups, return_inverse=True)[1] % _PARTS
        if len(np.unique(part)) < 2:  # nothing to leave out, so the spread earns no trust
            return cls._learn(center, spread, truth, trust=0.0)

        def score(trust: float) -> float:
            return _left_out_score(cls, (center, spread, truth), part, trust)

        return cls._learn(center, spread, truth, trust=min(TRUST, key=score))

    @classmethod
    def _learn(cls, center: Array, spread: Array, truth: Array, *, trust: float) -> Conformal:
        """Build the quantiles with a given trust."""
        nodes = tuple(sorted(set(np.quantile(center, _STRATA).tolist())))
        scale = cls(nodes=nodes, trust=trust, typical=float(spread.mean()) or 1.0)
        residual = (truth - center) / scale._scale(spread)
        order = np.argsort(residual, kind="stable")
        residual, weights = residual[order], scale._memberships(center[order])
        everyone = np.ones(len(residual))
        used = [np.asarray(w) if w.sum() >= FEWEST else everyone for w in weights]
        table = np.stack([_quantiles(residual, weight) for weight in used])
        return replace(scale, table=table, count=int(min(weight.sum() for weight in used)))

    def interval(self, center: Floats, spread: Floats, level: float) -> tuple[Floats, Floats]:
        """Compute a central interval of `level` percent: lower and upper, transformed units.

        The ends never cross, also between levels. Raises :class:`BadArgument` without a
        calibration, or if it has too few residuals for the level.
        """
        self.require()
        # n residuals have no quantile beyond 1 / (n + 1)
        tail = (1 - level / 100) / 2
        if tail < (lowest := self.within(0)) - 1e-9:
            most = int(100 * (1 - 2 * lowest))
            raise BadArgument(
                f"level={level:g} is beyond a calibration of {self.count} residuals, of which next "
                f"to none lie outside. Ask for level={most} or less, or train on more samples."
            )
        return self.quantile(center, spread, tail), self.quantile(center, spread, 1 - tail)

    def quantile(self, center: Floats, spread: Floats, probability: float) -> Floats:
        """Compute a quantile of the predictive distribution, transformed units; NaN stays NaN.

        It ascends with the probability to the bit: weights and scale are not negative, and rounded
        sums and products never descend.
        """
        self.require()
        at = [ascend(probability, PROBABILITIES, row) for row in self.table]
        shift = sum(w * q for w, q in zip(self._memberships(center), at, strict=True))
        return np.asarray(center + shift * self._scale(spread), center.dtype)

    def require_supported(self, probabilities: Sequence[float]) -> None:
        """Raise :class:`BadArgument` for a quantile beyond all residuals."""
        for p in probabilities:
            if abs(p - (nearest := self.within(p))) > 1e-9:
                raise BadArgument(
                    f"quantiles={p:g} is beyond a calibration of {self.count} residuals, of which "
                    f"next to none lie outside. Ask for {nearest:.4f}, or train on more samples."
                )

    def within(self, probability: float) -> float:
        """Return the nearest probability whose quantile the residuals support."""
        lowest = max(1 / (self.count + 1), float(PROBABILITIES[0]))
        return min(max(probability, lowest), 1 - lowest)

    def rank(self, center: Array, spread: Array, truth: Array) -> Array:
        """Return the probability below each truth, (n,): the inverse of :meth:`quantile`.

        The middle of a point mass; the outermost probabilities of the table beyond it.
        """
        self.require()
        residual = (truth - center) / self._scale(spread)
        rows = np.stack(self._memberships(center), axis=-1) @ self.table
        below = [np.interp(r, row, PROBABILITIES) for r, row in zip(residual, rows, strict=True)]
        # the other way round, ties are read at their other end
        above = [
            np.interp(-r, -row[::-1], PROBABILITIES) for r, row in zip(residual, rows, strict=True)
        ]
        return np.asarray((np.array(below) + 1 - np.array(above)) / 2)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "table": self.table.tolist(),
            "nodes": list(self.nodes),
            "trust": self.trust,
            "typical": self.typical,
            "count": self.count,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Conformal:
        """Build a calibration from JSON values."""
        rest = {name: raw[name] for name in ("trust", "typical", "count")}
        return cls(np.array(raw["table"]), tuple(raw["nodes"]), **rest)

    def require(self) -> None:
        """Raise :class:`BadArgument` if there is no calibration."""
        if not self.count:
            raise BadArgument(
                "this model has no calibration, so it cannot give intervals. Train it anew, which "
                "holds samples out for one, or leave out level=."
            )

    def _scale(self, spread: Floats) -> Floats:
        """Mix the spread with the typical spread, by trust."""
        return self.trust * spread + (1 - self.trust) * self.typical

    def _memberships(self, center: Floats) -> list[Floats]:
        """Weigh the strata, linear between their nodes; the weights sum to 1."""
        at = np.interp(center, self.nodes, np.arange(len(self.nodes)))
        return [np.clip(1 - np.abs(at - node), 0, 1) for node in range(len(self.nodes))]


def _quantiles(residual: Array, weight: Floats) -> Array:
    """Read weighted quantiles of sorted residuals, with the correction of n to n + 1."""
    upto = np.cumsum(weight)
    return np.asarray(np.interp(PROBABILITIES * (upto[-1] + 1), upto, residual))


def _left_out_score(
    kind: type[Conformal], known: tuple[Array, Array, Array], part: NDArray[Any], trust: float
) -> float:
    """Score intervals on parts that were left out of the fit."""
    total = 0.0
    for number in np.unique(part):
        out = part == number
        learnt = kind._learn(*(array[~out] for array in known), trust=trust)
        center, spread, truth = (array[out] for array in known)
        for level in LEVELS:
            tail = (1 - level / 100) / 2
            bounds = (learnt.quantile(center, spread, p) for p in (tail, 1 - tail))
            total += out.sum() * interval_scores(truth, *bounds, level=level)["score"]
    return total
