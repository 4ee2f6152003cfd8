"""Gradient boosting on neighbourhood features: a baseline with a distribution.

Histogram-based trees (Ke et al. 2017; scikit-learn) learn the change from the features of
:mod:`hmx.features.linear`: one model of the mean and one of each of a few quantiles (Koenker and
Bassett 1978, doi:10.2307/1913643), per lead. They learn from a bounded sample in which half of
the pixels have changed, each with the weight that makes up for it: in a uniform sample of a
raster that hardly changes, the trees would see next to no change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hmx.features.linear import RADII, features
from hmx.forecast.backtest.baselines.registry import (
    Array,
    Baseline,
    BaselineSetup,
    Floats,
    baseline,
)
from hmx.scores import Prediction

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)  # ends of the 50 (nearly), 80, 95 % intervals
_DIGITS = 9  # of the data range: below is the rounding of running sums, which trees would learn
_KEPT = 25_000  # pixels of each half of a lead's sample: more gains little and costs minutes
_FEWEST = 50  # pixels to fit a lead to
_BINS = 255  # classes of a feature: the most that trees of this kind distinguish
_TREES: Mapping[str, Any] = {"max_iter": 60, "learning_rate": 0.1, "early_stopping": False}


@baseline("gradient boosting", halo=max(RADII), rank=4)
class GradientBoosting(Baseline):
    """Trees that predict mean and quantiles of the change."""

    def __init__(self, past: BaselineSetup):
        super().__init__(past)
        self.sampler: Sampler | None = Sampler(past.learnable, seed=past.seed)
        self.trees: Boosting | None = None

    def learn_changes(self, features: Array, changes: Array) -> None:
        """Draw pixels from an origin of a window."""
        if self.sampler is not None:
            self.sampler.add(features, changes)

    def finish(self) -> bool:
        """Fit the trees and drop the sample, which need not travel to the workers."""
        if self.sampler is not None:
            self.trees = self.sampler.fit(seed=self.past.seed, span=self.past.span)
        self.sampler = None
        return self.trees is not None

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Forecast mean and quantiles of the leads that were fitted."""
        trees = self.trees
        assert trees is not None
        x = features(history, static=static)
        ahead = [trees.predict(x, history[-1], lead) for lead in trees.leads]
        low, high = self.past.valid_range or (-np.inf, np.inf)
        mean, knots = (np.clip(np.stack(part), low, high) for part in zip(*ahead, strict=True))
        kept = np.result_type(history, np.float32)
        return Prediction(mean.astype(kept), knots.astype(kept), trees.levels, trees.leads)


@dataclass(frozen=True)
class Boosting:
    """Fitted trees for each lead."""

    leads: tuple[int, ...]  # leads it was fitted for
    levels: tuple[float, ...]  # probabilities of the quantiles
    span: float  # range of the target, by which features are rounded
    # For each lead and feature, the upper ends of its classes
    edges: tuple[tuple[Array, ...], ...] = field(repr=False)
    means: tuple[Any, ...] = field(repr=False)  # one for each lead
    quantiles: tuple[tuple[Any, ...], ...] = field(repr=False)  # for each lead, one for each level

    def predict(self, x: Array, origin: Floats, lead: int) -> tuple[Floats, Floats]:
        """Forecast one lead from features (f, y, x): mean (y, x), ascending quantiles (q, y, x)."""
        index, known = self.leads.index(lead), np.isfinite(origin)
        rows = classes(rounded(x[:, known].T, self.span), self.edges[index])
        mean = np.full(origin.shape, np.nan)
        knots = np.full((len(self.levels), *origin.shape), np.nan)
        if len(rows):  # scikit-learn refuses an empty sample
            mean[known] = origin[known] + self.means[index].predict(rows)
            ahead = [model.predict(rows) for model in self.quantiles[index]]
            # quantiles that are fitted one by one may cross
            knots[:, known] = origin[known] + np.sort(ahead, axis=0)
        return mean, knots


class Sampler:
    """Draws a bounded sample of pixels for each lead, half of them changed."""

    def __init__(self, leads: Sequence[int], *, seed: int, kept: int = _KEPT):
        self.leads, self.kept = tuple(leads), kept
        self._draw = np.random.default_rng([seed, 7])
        self._halves = {(lead, moved): _Half(kept) for lead in leads for moved in (False, True)}

    def add(self, x: Array, changes: Array) -> None:
        """Draw from features (f, y, x) and changes (lead, y, x); NaN is not drawn."""
        for lead, change in zip(self.leads, changes, strict=True):
            for moved in (False, True):
                chosen = np.isfinite(change) & ((change != 0) == moved)
                order = self._draw.random(int(chosen.sum()))
                self._halves[lead, moved].add(x[:, chosen].T, change[chosen], order)

    def fit(self, *, seed: int, span: float, levels: Sequence[float] = LEVELS) -> Boosting | None:
        """Fit trees to the sample; leads with next to nothing are left out, None without any."""
        fitted = [
            (lead, *_fit(rows, seed=seed, span=span, levels=levels))
            for lead in self.leads
            if (rows := self.sample(lead)) is not None
        ]
        if not fitted:
            return None
        leads, edges, means, quantiles = zip(*fitted, strict=True)
        return Boosting(leads, tuple(levels), span, edges, means, quantiles)

    def sample(self, lead: int) -> tuple[Array, Array, Array] | None:
        """Return features (n, f), changes (n,) and weights (n,) of a lead, if there are enough."""
        halves = [self._halves[lead, moved].rows() for moved in (False, True)]
        if sum(len(y) for _, y, _ in halves) < _FEWEST:
            return None
        parts = zip(*(half for half in halves if len(half[1])), strict=True)
        x, y, weight = (np.concatenate(part) for part in parts)
        return x, y, weight


class _Half:
    """A uniform sample of bounded size from rows that come in pieces.

    Every row draws a number; the sample is the rows with the smallest. Rows that a piece has too
    many of are dropped at once, the rest when the store is four times too large: sorting after
    every piece would cost more than the trees.
    """

    def __init__(self, kept: int):
        self._kept, self._count = kept, 0
        self._x: list[Array] = []
        self._y: list[Array] = []
        self._order: list[Array] = []

    def add(self, x: Array, y: Array, order: Array) -> None:
        """Add rows (n, f), (n,) with their drawn numbers (n,)."""
        self._count += len(y)
        first = np.argsort(order, kind="stable")[: self._kept]
        for rows, new in ((self._x, x), (self._y, y), (self._order, order)):
            rows.append(np.asarray(new[first]))
        if sum(map(len, self._y)) > 4 * self._kept:
            self._thin()

    def _thin(self) -> None:
        x, y, order = map(np.concatenate, (self._x, self._y, self._order))
        first = np.argsort(order, kind="stable")[: self._kept]
        self._x, self._y, self._order = [x[first]], [y[first]], [order[first]]

    def rows(self) -> tuple[Array, Array, Array]:
        """Return features (n, f), changes (n,) and the pixels that each stands for (n,)."""
        if not self._y:
            return np.zeros((0, 0)), np.zeros(0), np.zeros(0)
        self._thin()
        y = self._y[0]
        return self._x[0], y, np.full(len(y), self._count / max(1, len(y)))


def rounded(x: Array, span: float) -> Array:
    """Round features to nine digits of the target's range."""
    return np.asarray(np.round(x / span, _DIGITS))


def classes(x: Array, edges: Sequence[Array]) -> Array:
    """Return the class number of each feature (n, f); NaN stays.

    Trees of scikit-learn find classes by themselves, but from weighted samples at a hundred
    times the cost.
    """
    numbers = np.empty(x.shape)
    for column, (values, ends) in enumerate(zip(x.T, edges, strict=True)):
        numbers[:, column] = np.where(np.isnan(values), np.nan, np.searchsorted(ends, values))
    return numbers


def _fit(
    rows: tuple[Array, Array, Array], *, seed: int, span: float, levels: Sequence[float]
) -> tuple[tuple[Array, ...], Any, tuple[Any, ...]]:
    """Fit one lead: classes of features, the model of the mean, those of the quantiles."""
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees  # takes a second to load

    x, y, weight = rows
    x, weight = rounded(x, span), weight / weight.mean()
    edges = []
    for column in x.T:
        known = column[np.isfinite(column)]
        # classes of about as many pixels each; ends are values that occur
        ends = np.quantile(known, np.arange(1, _BINS) / _BINS, method="lower") if known.size else []
        edges.append(np.unique(np.asarray(ends, dtype=np.float64)))
    numbers, common = classes(x, edges), {**_TREES, "random_state": seed, "max_bins": _BINS}
    models = [Trees(loss="squared_error", **common)]
    models += [Trees(loss="quantile", quantile=level, **common) for level in levels]
    for model in models:
        model.fit(numbers, y, sample_weight=weight)
    return tuple(edges), models[0], tuple(models[1:])
