"""Rungs: how far a linear forecast of change goes beyond "no change", learnt from past steps.

Three forecasts of the next step, each with more to go wrong than the one before:

1. *no change*;
2. a *damped trend*: the last change of the pixel times one factor between -1 and 1;
3. a *regression*: ridge on all input channels, drawn toward the damped trend, not toward nothing.

The anchor of a network is a mixture ``trend * (2) + regression * (3)``, with weights >= 0 whose sum
is at most 1; the rest is (1). The weights come from stacking (Breiman 1996,
doi:10.1007/BF00117832): each past origin is forecast by rungs that were fitted on the others, and
the weights are those that would have served all of them best. Two corrections follow.

- A rung that was fitted on n - 1 origins has an error n / (n - 1) times as large as one fitted on
  all n. If sum s of the weights is what such an error leaves of 1, all n origins
  leave ``s / (s + (1 - s) (n - 1) / n)``.
- The weights are trusted less where the origins disagree about the gain
  (:mod:`hmx.uncertainty.agreement`), and not at all where the mean gain is a loss. A single origin
  is trusted by one half.

Steps differ in size more than in kind, so everything is free of scale: channels of change are
in units of the root mean square change of the step before the origin, truths in units
of their own step, and each origin counts alike. A forecast has the size of the step before its
origin, or the usual one if that is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmx.features.linear import Array, NormalEquations
from hmx.features.scaling import LEAST_SIZE
from hmx.uncertainty.agreement import trust_of

PENALTY = 0.01  # of the pixels
_MOST_SIZE = 2.0  # for each step of a lead: a far lead with few truths cannot run away


@dataclass(frozen=True)
class Mixture:
    """What past steps taught about how far to follow the rungs.

    ``gains`` are the shares of the squared change that the mixture explains at each origin when it
    is forecast by the others, oldest first; none with a single origin.
    """

    trend: float  # weight of the damped trend
    regression: float  # weight of the regression
    gains: tuple[float, ...] = ()
    trust: float = 1.0

    @property
    def total(self) -> float:
        """Share of the change that is forecast at all."""
        return self.trend + self.regression


@dataclass(frozen=True)
class Rungs:
    """Rungs 2 and 3, fitted on some origins: coefficients (intercept first) free of scale."""

    damping: float
    trend: Array  # (1 + channels,)
    regression: Array  # (1 + channels,)
    usual: float  # root mean square change of a usual step

    def mixed(self, mixture: Mixture) -> Array:
        """Return the coefficients of a mixture."""
        return mixture.trend * self.trend + mixture.regression * self.regression


class Origins:
    """The sums of past origins, free of scale, and what rungs learn from them.

    Parameters
    ----------
    sums : sequence of NormalEquations
        Of each origin, oldest first, with one set per lead: channels as the network sees them,
        changes in usual changes. A lead without truth has no pixel.
    last_change : int
        Number of the channel that is the pixel's change in the step before the origin.
    changes : array of bool (channels,)
        True for channels in units of change.
    """

    def __init__(self, sums: Sequence[NormalEquations], *, last_change: int, changes: np.ndarray):
        grams = [one.gram / np.maximum(one.gram[:, :1, :1], 1) for one in sums]
        self.leads, self.last_change, self.changes = len(grams[0]), last_change, changes
        at = 1 + last_change
        before = np.sqrt([gram[0, at, at] for gram in grams])
        after = np.sqrt([gram[0, -1, -1] for gram in grams])
        least = LEAST_SIZE * _usual(after)
        self.before, self.after = np.maximum(before, least), np.maximum(after, least)
        # the step after the last origin is the one before the forecasts of tomorrow
        self.latest = float(self.after[-1])
        self.grams: list[Array] = []  # none where nothing ever changed: there is no unit then
        if least:
            units = map(self._units, self.before, self.after)
            both = zip(grams, units, strict=True)
            self.grams = [gram * np.outer(unit, unit) for gram, unit in both]
        self.known = [[bool(lead[0, 0]) for lead in one.gram] for one in sums]

    def __len__(self) -> int:
        return len(self.known)

    @property
    def still(self) -> bool:
        """Return True if nothing ever changed."""
        return not self.grams

    def _units(self, before: float, after: float) -> Array:
        """Return the factors of the columns (1, channels, change) of an origin."""
        return np.concatenate([[1.0], np.where(self.changes, 1 / before, 1.0), [1 / after]])

    def factors(self, before: float, usual: float) -> Array:
        """Return the factors that turn coefficients free of scale into those of raw channels."""
        size = min(before, usual)
        return size * np.concatenate([[1.0], np.where(self.changes, 1 / before, 1.0)])

    def rungs(self, without: int | None = None) -> Rungs:
        """Fit the rungs on all origins, or on all but one."""
        kept = [index for index in range(len(self)) if index != without]
        total = np.mean([self.grams[index][0] for index in kept], axis=0)
        at = 1 + self.last_change
        power = total[at, at]
        damping = float(np.clip(total[at, -1] / power, -1, 1)) if power > 0 else 0.0
        trend = np.zeros(len(total) - 1)
        trend[at] = damping
        # the regression is that of the truth less the damped trend, so a penalty pulls toward it
        left = np.eye(len(total))
        left[at, -1] = -damping
        rest = NormalEquations((left.T @ total @ left)[None])
        mean, scale, weights = (part[0] for part in rest.solve(PENALTY))
        slopes = weights[1:] / scale
        intercept = weights[0] - float(slopes @ mean)
        regression = trend + np.concatenate([[intercept], slopes])
        return Rungs(damping, trend, regression, _usual(self.after[kept]))

    def mixture(self) -> Mixture:
        """Choose the weights of the rungs by stacking."""
        n = len(self)
        if self.still:
            return Mixture(0.0, 0.0)
        if n == 1:  # nobody has checked a regression; see the module for the half
            half = trust_of([1.0])
            return Mixture(half, 0.0, trust=half)
        products, goals = [], []
        for index in range(n):
            rungs, gram = self.rungs(without=index), self.grams[index][0]
            size = min(self.before[index], rungs.usual) / self.after[index]
            columns = size * np.stack([rungs.trend, rungs.regression])
            products.append(columns @ gram[:-1, :-1] @ columns.T)
            goals.append(columns @ gram[:-1, -1])
        best = _weights(np.mean(products, axis=0), np.mean(goals, axis=0))
        gains = np.array(
            [
                float(2 * goal @ best - best @ product @ best)
                for goal, product in zip(goals, products, strict=True)
            ]
        )
        total = best.sum()
        if total > 0:
            best = best / (total + (1 - total) * (n - 1) / n)
        trust = trust_of(gains) if gains.mean() > 0 else 0.0
        trend, regression = (float(weight) for weight in trust * best)
        return Mixture(trend, regression, tuple(gains.tolist()), trust)

    def lead_sizes(self, mixture: Mixture) -> Array:
        """Fit the change over each lead as a multiple of the mixture's change over one, (h,).

        Each origin is forecast by the others. How far a mixture falls short of the truth at one
        step is caution, and it stays at every lead. A lead with k truths moves from the size of
        the lead before it by k / (k + 1) of the way.
        """
        sizes, first = [1.0], self._best_multiple(mixture, 0)
        for lead in range(1, self.leads):
            size, known = sizes[-1], sum(leads[lead] for leads in self.known)
            best = self._best_multiple(mixture, lead)
            if best is not None and first:
                grown = min(max(best / first, 0.0), _MOST_SIZE * (lead + 1))
                size += (grown - size) * known / (known + 1)
            sizes.append(size)
        return np.array(sizes)

    def _best_multiple(self, mixture: Mixture, lead: int) -> float | None:
        """Return the factor that would have served best at a lead, each origin left out in turn."""
        goal = power = 0.0
        for index in range(len(self)):
            if self.known[index][lead]:
                rungs = self.rungs(without=index if len(self) > 1 else None)
                gram = self.grams[index][lead]
                column = min(self.before[index], rungs.usual) / self.after[index]
                column = column * rungs.mixed(mixture)
                share = gram[-1, -1] or 1.0  # so that each origin counts alike
                goal += float(column @ gram[:-1, -1]) / share
                power += float(column @ gram[:-1, :-1] @ column) / share
        return goal / power if power > 0 and goal > 0 else None


def _usual(sizes: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sizes))))


def _weights(product: Array, goal: Array) -> Array:
    """Minimise ``w product w - 2 goal w`` over two weights >= 0 whose sum is at most 1."""
    # with two weights the corners, the edges and the inside can all be looked at
    found: list[np.ndarray] = [np.zeros(2)]
    for index in range(2):
        if product[index, index] > 0:
            edge = np.zeros(2)
            edge[index] = np.clip(goal[index] / product[index, index], 0, 1)
            found.append(edge)
    bend = product[0, 0] - 2 * product[0, 1] + product[1, 1]
    if bend > 0:
        first = (product[1, 1] - product[0, 1] + goal[0] - goal[1]) / bend
        first = float(np.clip(first, 0, 1))
        found.append(np.array([first, 1 - first]))
    inside = np.linalg.lstsq(product, goal, rcond=None)[0]
    if (inside >= 0).all() and inside.sum() <= 1:
        found.append(inside)
    return min(found, key=lambda w: float(w @ product @ w - 2 * goal @ w))
