"""Calibration: from the probabilities of the network to true probabilities.

On blocks reserved for it, each truth is ranked in its predictive distribution. If a share
p of the ranks lies below t(p), the quantile for p is read at t(p): split-conformal prediction
on ranks (Chernozhukov et al. 2021, doi:10.1073/pnas.2107794118). Ranks inside a point mass are
drawn uniformly, so that ties (most of a map stays exactly as it was) neither feign coverage nor
hide its lack. Truths beyond the outermost knots are ranked below 0 or above 1, in units of the
usual change, so that tails can be widened by adding, as in conformalised quantile
regression (Romano et al. 2019, arXiv:1905.03222).

Before that, distributions far from past change are damped, or not. Almost nothing happens
there, and the frequency of change varies from map to map more than anything else does. If
persistence scores better there on the last known map than the network's spread, the forecast
is persistence, at that distance and beyond.

Ranks are fitted for each lead and for strata of the distance to past change, and
interpolated between strata, so maps have no contours. Pixels of one block have similar errors:
if blocks disagree among themselves more than they together disagree with p, there is nothing
to correct, and t(p) is shrunk towards p (empirical Bayes, as in James & Stein 1961). The same goes
for forecast origins: what one step lacked the next may have too much of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.uncertainty.agreement import trust_of
from hmx.uncertainty.distribution import Floats, alike, ascend, namespace, quantile, shift

# Probabilities at which ranks are kept: dense, and denser in the tails.
PROBABILITIES = np.unique(
    np.round(np.concatenate([[0.001, 0.0025], np.arange(0.005, 0.9951, 0.005),
                             [0.9975, 0.999]]), 4)
)  # fmt: skip
FEWEST = 200  # ranks; a smaller stratum uses those of the whole lead
_NODES = (0.0, 3.0, 10.0)  # px from past change: on it, in its surroundings, far from it


def strata(cap: float | None) -> tuple[float, ...]:
    """Choose the strata: distances to past change, px, up to `cap`; one without distances."""
    if cap is None:
        return (0.0,)
    return (*(node for node in _NODES[:-1] if node < cap), min(_NODES[-1], float(cap)))


def memberships(distance: Floats | None, nodes: Sequence[float]) -> list[Floats | float]:
    """Weigh strata by distance (px, any shape), linear between nodes in its logarithm; sum 1.

    Without a distance all weight is on the first stratum.
    """
    if distance is None or len(nodes) == 1:
        return [1.0, *(0.0 for _ in nodes[1:])]
    at = np.interp(np.log1p(distance), np.log1p(nodes), np.arange(len(nodes)))
    at = at.astype(distance.dtype)
    return [np.clip(1 - np.abs(at - node), 0, 1) for node in range(len(nodes))]


@dataclass(frozen=True)
class Strata:
    """The two strata that each pixel lies between, and the share of the second."""

    past: tuple[NDArray[np.bool_], ...]  # pixels beyond each node that is not an end
    share: Floats  # of the farther stratum, 0 to 1

    @classmethod
    def of(
        cls, distance: Floats | Strata | None, nodes: Sequence[float], dtype: np.dtype[Any]
    ) -> Strata | None:
        """Locate pixels between nodes as :func:`memberships` does; None for one stratum."""
        if distance is None or isinstance(distance, Strata) or len(nodes) == 1:
            return distance if isinstance(distance, Strata) else None
        at = np.interp(np.log1p(distance), np.log1p(nodes), np.arange(len(nodes))).astype(dtype)
        share = at - np.minimum(np.floor(at), len(nodes) - 2)
        return cls(tuple(at >= node for node in range(1, len(nodes) - 1)), share)

    @cached_property
    def nearer(self) -> NDArray[np.intp]:
        """Number of the nearer stratum of each pixel."""
        return np.asarray(sum(self.past, start=np.zeros(self.share.shape, np.intp)))

    def at(self, pixels: tuple[NDArray[np.intp], ...]) -> Strata:
        """Choose pixels by their rows and columns."""
        return Strata(tuple(past[pixels] for past in self.past), self.share[pixels])

    def beside(self, values: Floats) -> Strata:
        """Return the same strata on the device of an array."""
        xp = namespace(values)
        if xp is np:
            return self
        past = (xp.as_tensor(beyond, device=values.device) for beyond in self.past)
        return Strata(tuple(past), alike(self.share, values))

    def mix(self, values: Sequence[Floats]) -> Floats:
        """Average the values of all strata, each (y, x), by the shares; ascends as they ascend.

        A product with a share, a sum and a bound never descend when rounded. A difference does:
        ``near + share * (far - near)`` can fall while ``near`` rises.
        """
        xp, near, far = namespace(self.share), values[0], values[1]
        for past, own, following in zip(self.past, values[1:-1], values[2:], strict=True):
            near, far = xp.where(past, own, near), xp.where(past, following, far)
        mixed = (1 - self.share) * near
        mixed += self.share * far
        # where both strata agree, the result has their bits
        xp.maximum(mixed, xp.minimum(near, far), out=mixed)
        return xp.minimum(mixed, xp.maximum(near, far), out=mixed)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Calibration:
    """Ranks at each lead that had truth; empty without a calibration."""

    # per lead, (strata, p): rank below which a share PROBABILITIES of the truths lay
    ranks: tuple[np.ndarray, ...] = ()
    counts: tuple[np.ndarray, ...] = ()  # per lead, (strata,): ranks of the fit
    nodes: tuple[float, ...] = (0.0,)  # distances of the strata, px
    stretch: tuple[float, ...] = ()  # per lead: a whole rank beyond the knots, native units
    far: float = 1.0  # share of the residual that stays in the farthest stratum
    shift: tuple[float, ...] = ()  # per lead: see :func:`hmx.uncertainty.distribution.shift`

    def __post_init__(self) -> None:
        """Let ranks ascend: those of older models may descend by rounding."""
        steady = tuple(np.maximum.accumulate(table, axis=-1) for table in self.ranks)
        object.__setattr__(self, "ranks", steady)

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """Tables that are made from the ranks once, for all bands of all windows."""
        return {}

    @property
    def leads(self) -> int:
        """Number of calibrated leads, from 1 up."""
        return len(self.ranks)

    def adjust(
        self, values: Floats, knots: Sequence[float], origin: Floats, distance: Floats | None
    ) -> Floats:
        """Shift the distributions of each lead, and damp those far from past change.

        Values are the knots of all leads (h, q, y, x), the origin is (y, x), the distance px. A
        lead beyond the last known shift has that shift.
        """
        for lead, ahead in enumerate(values if self.shift else ()):
            by = self.shift[min(lead, len(self.shift) - 1)]
            if by:
                ahead[...] = shift(ahead, knots, by)
        return self.damp(values, origin, distance)

    def damp(self, values: Floats, origin: Floats, distance: Floats | None) -> Floats:
        """Shrink distributions far from past change towards persistence, in place.

        Values are the knots of all leads (h, q, y, x), the origin is (y, x), the distance px.
        """
        if self.far == 1 or distance is None:
            return values
        share = alike(
            1 - (1 - self.far) * np.asarray(memberships(distance, self.nodes)[-1]), values
        )
        origin, kept = alike(origin, values), share == 1
        if kept.all():
            return values
        for lead in values:
            drawn = lead - origin
            drawn *= share
            drawn += origin
            # where nothing is damped, bits are kept
            lead[...] = namespace(values).where(kept, lead, drawn) if kept.any() else drawn
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
        """Compute one of :meth:`quantiles`, (y, x)."""
        asked = [probability]
        found: Floats = self.quantiles(values, knots, distance, lead=lead, probabilities=asked)[0]
        return found

    def quantiles(
        self,
        values: Floats,
        knots: Sequence[float],
        distance: Floats | Strata | None,
        *,
        lead: int,
        probabilities: Sequence[float],
    ) -> Floats:
        """Compute calibrated quantiles of knots (q, y, x): (n, y, x), native units, not clipped.

        `distance` is that to past change, px, or the strata found from it. A lead beyond the last
        calibrated one uses its ranks.
        Each quantile ascends with its probability to the bit, whatever the others are.
        """
        self.require()
        known = min(lead, self.leads) - 1
        strata = Strata.of(distance, self.nodes, values.dtype)
        found = []
        for probability in probabilities:
            ranks = (ascend(probability, PROBABILITIES, r) for r in self.ranks[known])
            read = (quantile(values, knots, r, stretch=self.stretch[known]) for r in ranks)
            found.append(next(read) if strata is None else strata.mix(list(read)))
        return namespace(values).stack(found)  # type: ignore[no-any-return]

    def probability(self, rank: Floats, distance: Floats | None, *, lead: int) -> Floats:
        """Turn ranks (y, x) in predictive distributions into calibrated probabilities.

        The inverse of :meth:`quantile`; without a calibration, the ranks themselves.
        """
        if not self.ranks:
            return rank
        total: Floats | float = 0.0
        tables = self.ranks[min(lead, self.leads) - 1]
        for weight, ranks in zip(memberships(distance, self.nodes), tables, strict=True):
            total = total + weight * np.interp(rank, ranks, PROBABILITIES, left=0, right=1)
        return np.asarray(total, rank.dtype)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        found: dict[str, Any] = {
            "ranks": [table.tolist() for table in self.ranks],
            "counts": [counts.tolist() for counts in self.counts],
            "nodes": list(self.nodes),
            "stretch": list(self.stretch),
            "far": self.far,
        }
        # left out where there is none: the digest of an older bundle stays as it was
        return found | ({"shift": list(self.shift)} if self.shift else {})

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Build a calibration from JSON values."""
        return cls(
            tuple(np.array(table) for table in raw["ranks"]),
            tuple(np.array(counts) for counts in raw["counts"]),
            tuple(raw["nodes"]),
            tuple(raw["stretch"]),
            float(raw["far"]),
            tuple(raw.get("shift", ())),
        )

    def require(self) -> None:
        """Raise :class:`BadArgument` if there is no calibration."""
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
    origins: Sequence[np.ndarray] | None = None,
    far: float = 1.0,
) -> Calibration:
    """Fit a calibration to ranks of held-out truths, for each lead an array (n,).

    `distances` are those to past change, px; `nodes` the distances of the strata; `stretch` as for
    the ranks, per lead; `blocks` the number of each rank's block (default: all ranks are
    independent), and `origins` that of its forecast origin (default: all alike); `far` the share
    of the residual that is used in the farthest stratum. The result has the leads from 1 up with
    enough truths. A share p is read at rank p (n + 1), the finite-sample correction of
    split-conformal prediction.
    """
    enough = [len(lead) >= FEWEST for lead in ranks]
    leads = enough.index(False) if False in enough else len(enough)
    fits = [
        _fit_lead(
            ranks[lead],
            distances[lead],
            nodes,
            None if blocks is None else blocks[lead],
            None if origins is None else origins[lead],
        )
        for lead in range(leads)
    ]
    return Calibration(
        ranks=tuple(table for table, _ in fits),
        counts=tuple(counts for _, counts in fits),
        nodes=tuple(nodes),
        stretch=tuple(stretch[:leads]),
        far=far,
    )


def _fit_lead(
    ranks: np.ndarray,
    distance: np.ndarray | None,
    nodes: Sequence[float],
    blocks: np.ndarray | None,
    origins: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit all strata of a lead: ranks (strata, p) and counts (strata,)."""
    order = np.argsort(ranks, kind="stable")
    ranks = ranks[order]
    ordered = None if distance is None else distance[order]
    weights = [np.broadcast_to(w, ranks.shape) for w in memberships(ordered, nodes)]
    counts = np.array([float(weight.sum()) for weight in weights])
    pooled = np.ones(ranks.shape)
    used = [w if count >= FEWEST else pooled for w, count in zip(weights, counts, strict=True)]
    upto = [np.cumsum(weight, dtype="float64") for weight in used]
    # weighted quantiles of sorted ranks, with the correction of n to n + 1
    table = [np.interp(PROBABILITIES * (each[-1] + 1), each, ranks) for each in upto]
    if blocks is not None:
        steps = None if origins is None else origins[order]
        table = [
            _trusted(own, ranks, weight, blocks[order], steps)
            for own, weight in zip(table, used, strict=True)
        ]
    return np.stack(table), counts


def _trusted(
    table: np.ndarray,
    ranks: np.ndarray,
    weight: np.ndarray,
    blocks: np.ndarray,
    origins: np.ndarray | None,
) -> np.ndarray:
    """Shrink ranks towards their probabilities, as far as blocks and origins disagree about them.

    The shares of truths below each decile vary between blocks; the variance of their mean is the
    part that chance alone explains. Few blocks estimate their own variance badly: its inverse is on
    average n / (n - 2) times too large, n being the equivalent number of equal blocks, less one.
    Three or fewer blocks are never trusted. All blocks of an origin share its step, so
    the sum over origins counts as far as they agree, too.
    """
    off, sizes = _off_deciles(ranks, weight, blocks)
    share = sizes / sizes.sum()
    mean = share @ off
    signal, degrees = float(mean @ mean), 1 / float(share @ share) - 1
    if degrees <= 2 or not signal:
        return PROBABILITIES.copy()
    chance = share**2 @ (off - mean) ** 2 / (1 - share @ share)
    trust = max(0.0, 1 - degrees / (degrees - 2) * float(chance.sum()) / signal)
    if origins is not None:
        off, _ = _off_deciles(ranks, weight, origins)
        mean = off.mean(axis=0)
        power = float(mean @ mean)
        # of each origin, how much of the common correction it asks for
        trust *= trust_of(off @ mean / power) if power else 0.0
    return np.asarray(PROBABILITIES + trust * (table - PROBABILITIES))


def _off_deciles(
    ranks: np.ndarray, weight: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each group's shares below deciles are off, (groups, 9), and its weight."""
    deciles = np.arange(0.1, 0.95, 0.1)
    off, sizes = [], []
    for group in np.unique(groups):
        at = groups == group
        size = float(weight[at].sum())
        if size > 0:
            hits = ranks[at][:, None] <= deciles
            off.append((weight[at][:, None] * hits).sum(0) / size - deciles)
            sizes.append(size)
    return np.array(off), np.array(sizes)
