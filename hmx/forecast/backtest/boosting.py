"""Gradient boosting on neighbourhood features: a baseline with a distribution.

Histogram-based trees (Ke et al. 2017; scikit-learn) learn the change from the
features of :mod:`hmx.features.linear`: one model of the mean and one of each
of a few quantiles (Koenker and Bassett 1978), per lead, from a bounded sample in
which half of the pixels have changed, each with the weight that makes up for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Array = NDArray[np.float64]

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
_DIGITS = 9  # of the data range: below lies the rounding of running sums, which trees would see
_KEPT = 25_000  # pixels of each half of a lead's sample
_FEWEST = 50
_BINS = 255  # classes of a feature: all that trees of this kind tell apart
_TREES: Mapping[str, Any] = {"max_iter": 60, "learning_rate": 0.1, "early_stopping": False}


@dataclass(frozen=True)
class Boosting:
    """Trees that predict change, by lead.

    Attributes
    ----------
    leads : tuple of int
        Leads it was fitted for.
    levels : tuple of float
        Probabilities of the quantiles.
    span : float, units of the target
        Range of the target, by which features are rounded.
    edges : tuple of tuple of array
        For each lead and feature, where its classes end.
    means : tuple of estimators
        One for each lead.
    quantiles : tuple of tuple of estimators
        For each lead, one for each level.
    """

    leads: tuple[int, ...]
    levels: tuple[float, ...]
    span: float
    edges: tuple[tuple[Array, ...], ...] = field(repr=False)
    means: tuple[Any, ...] = field(repr=False)
    quantiles: tuple[tuple[Any, ...], ...] = field(repr=False)

    def predict(self, x: Array, origin: Floats, lead: int) -> tuple[Floats, Floats]:
        """Forecast one lead.

        Parameters
        ----------
        x : array (feature, y, x)
            From :func:`hmx.features.linear.features`; NaN is missing.
        origin : array (y, x), units of the target
            NaN is missing, also in the result.
        lead : int
            One it was fitted for.

        Returns
        -------
        mean : array (y, x), units of the target
        knots : array (level, y, x), units of the target
            Ascending.
        """
        index, known = self.leads.index(lead), np.isfinite(origin)
        rows = classes(rounded(x[:, known].T, self.span), self.edges[index])
        mean = np.full(origin.shape, np.nan)
        knots = np.full((len(self.levels), *origin.shape), np.nan)
        if len(rows):
            mean[known] = origin[known] + self.means[index].predict(rows)
            ahead = [model.predict(rows) for model in self.quantiles[index]]
            knots[:, known] = origin[known] + np.sort(ahead, axis=0)
        return mean, knots


class Sampler:
    """Draws a bounded sample of pixels for each lead, half of them changed.

    Parameters
    ----------
    leads : sequence of int
        Leads to sample for.
    seed : int
        Of the draw.
    kept : int
        Pixels of each half, at most.
    """

    def __init__(self, leads: Sequence[int], *, seed: int, kept: int = _KEPT):
        self.leads, self.kept = tuple(leads), kept
        self._draw = np.random.default_rng([seed, 7])
        self._halves = {(lead, moved): _Half(kept) for lead in leads for moved in (False, True)}

    def see(self, x: Array, changes: Array) -> None:
        """Show a window.

        Parameters
        ----------
        x : array (feature, y, x)
            Features.
        changes : array (lead, y, x), units of the target
            Target minus origin, NaN where it is missing or not to be learnt from.
        """
        for lead, change in zip(self.leads, changes, strict=True):
            for moved in (False, True):
                there = np.isfinite(change) & ((change != 0) == moved)
                order = self._draw.random(int(there.sum()))
                self._halves[lead, moved].add(x[:, there].T, change[there], order)

    def fit(self, *, seed: int, span: float, levels: Sequence[float] = LEVELS) -> Boosting | None:
        """Fit trees to what was drawn; leads with next to nothing are left out.

        Parameters
        ----------
        seed : int
            Of the trees.
        span : float, units of the target
            Range of the target.
        levels : sequence of float
            Probabilities of the quantiles.

        Returns
        -------
        Boosting or None
            ``None`` if no lead has enough pixels.
        """
        fitted = [
            (lead, *_fit(rows, seed=seed, span=span, levels=levels))
            for lead in self.leads
            if (rows := self._joined(lead)) is not None
        ]
        if not fitted:
            return None
        leads, edges, means, quantiles = zip(*fitted, strict=True)
        return Boosting(leads, tuple(levels), span, edges, means, quantiles)

    def _joined(self, lead: int) -> tuple[Array, Array, Array] | None:
        """Join both halves: features (n, f), changes (n,), weights (n,)."""
        halves = [self._halves[lead, moved].taken() for moved in (False, True)]
        if sum(len(y) for _, y, _ in halves) < _FEWEST:
            return None
        parts = zip(*(half for half in halves if len(half[1])), strict=True)
        x, y, weight = (np.concatenate(part) for part in parts)
        return x, y, weight


class _Half:
    """A uniform sample of what it was shown, of bounded size."""

    def __init__(self, kept: int):
        self._kept, self._seen = kept, 0
        self._x: list[Array] = []
        self._y: list[Array] = []
        self._order: list[Array] = []

    def add(self, x: Array, y: Array, order: Array) -> None:
        """Take what the order of a draw puts first."""
        self._seen += len(y)
        few = np.argsort(order, kind="stable")[: self._kept]
        for held, new in ((self._x, x), (self._y, y), (self._order, order)):
            held.append(np.asarray(new[few]))
        if sum(map(len, self._y)) > 4 * self._kept:
            self._thin()

    def _thin(self) -> None:
        x, y, order = map(np.concatenate, (self._x, self._y, self._order))
        best = np.argsort(order, kind="stable")[: self._kept]
        self._x, self._y, self._order = [x[best]], [y[best]], [order[best]]

    def taken(self) -> tuple[Array, Array, Array]:
        """Return features (n, f), changes (n,) and what each counts (n,)."""
        if not self._y:
            return np.zeros((0, 0)), np.zeros(0), np.zeros(0)
        self._thin()
        y = self._y[0]
        return self._x[0], y, np.full(len(y), self._seen / max(1, len(y)))


def rounded(x: Array, span: float) -> Array:
    """Round features to what is more than the rounding of sums.

    Parameters
    ----------
    x : array
        Features, units of the target or others.
    span : float
        Range of the target.
    """
    return np.asarray(np.round(x / span, _DIGITS))


def classes(x: Array, edges: Sequence[Array]) -> Array:
    """Tell by number which class each feature falls into; NaN stays.

    Trees of scikit-learn find classes by themselves, but from weighted samples at a
    hundred times the cost.

    Parameters
    ----------
    x : array (n, feature)
        Rounded features.
    edges : sequence of array
        For each feature, where its classes end, ascending.
    """
    found = np.empty(x.shape)
    for column, (values, ends) in enumerate(zip(x.T, edges, strict=True)):
        found[:, column] = np.where(np.isnan(values), np.nan, np.searchsorted(ends, values))
    return found


def _edges(values: Array) -> Array:
    """Split a feature into classes of about as many pixels each."""
    known = values[np.isfinite(values)]
    if not known.size:
        return np.zeros(0)
    return np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS, method="lower"))


def _fit(
    rows: tuple[Array, Array, Array], *, seed: int, span: float, levels: Sequence[float]
) -> tuple[tuple[Array, ...], Any, tuple[Any, ...]]:
    """Fit one lead: classes of features, the model of the mean, those of the quantiles."""
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees  # takes a second to load

    x, y, weight = rows
    x, weight = rounded(x, span), weight / weight.mean()
    edges = tuple(_edges(column) for column in x.T)
    numbers, common = classes(x, edges), {**_TREES, "random_state": seed, "max_bins": _BINS}
    models = [Trees(loss="squared_error", **common)]
    models += [Trees(loss="quantile", quantile=level, **common) for level in levels]
    for model in models:
        model.fit(numbers, y, sample_weight=weight)
    return edges, models[0], tuple(models[1:])
