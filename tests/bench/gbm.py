"""Gradient boosting on neighbourhood features: a strong baseline for distributions.

One boosted forest for the mean and one for each quantile, per lead, of the change since
the origin; on the features of the ridge baseline (:func:`hmx.features.linear.features`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from hmx.features.linear import features
from hmx.scores import Prediction
from tests.bench.forecasts import ascend

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Boosted:
    """Forests per lead; made by :func:`fit_boosted`."""

    leads: tuple[int, ...]
    history: int
    means: tuple[HistGradientBoostingRegressor, ...]
    quantiles: tuple[tuple[HistGradientBoostingRegressor, ...], ...]

    def predict(
        self, history: Floats, *, static: Floats | None = None, bounds: tuple[float, float]
    ) -> Prediction:
        """Forecast all leads from the end of a history, within bounds.

        Parameters
        ----------
        history : array (time, y, x), units of the target
            Oldest step first; NaN is missing.
        static : array (layer, y, x), optional
            As in the fit.
        bounds : (float, float)
            Of the target.
        """
        origin = history[-1]
        x = features(history[-self.history :], static=static)
        flat = x.reshape(len(x), -1).T.astype("float32")

        def ahead(forest: HistGradientBoostingRegressor) -> Floats:
            change = forest.predict(flat).reshape(origin.shape)
            return np.asarray(np.clip(origin + change, *bounds).astype(origin.dtype))

        means = np.stack([ahead(forest) for forest in self.means])
        rows = [np.stack([ahead(forest) for forest in forests]) for forests in self.quantiles]
        knots = ascend(np.sort(np.stack(rows), axis=1), origin)
        return Prediction(means, knots, LEVELS, self.leads)


def fit_boosted(
    cube: Floats,
    origins: Sequence[int],
    *,
    leads: Sequence[int],
    static: Floats | None = None,
    history: int = 3,
    learnable: NDArray[np.bool_] | None = None,
    most: int = 100_000,
    trees: int = 100,
    seed: int = 0,
) -> Boosted:
    """Fit forests to pixels drawn from all origins.

    Parameters
    ----------
    cube : array (time, y, x), units of the target
        What may be known; NaN is missing.
    origins : sequence of int
        Steps to learn from; a lead takes those whose target lies in the cube.
    leads : sequence of int
        Steps ahead.
    static : array (layer, y, x), optional
        Layers without time.
    history : int
        Steps looked at, the origin included.
    learnable : array (y, x), bool, optional
        Pixels whose change may be learned from; history may be seen everywhere.
    most : int
        Pixels per lead.
    trees : int
        Of each forest.
    seed : int
        Draws the pixels.
    """
    draw = np.random.default_rng(seed)
    where = np.ones(cube.shape[1:], bool) if learnable is None else learnable
    means, quantiles = [], []
    for lead in leads:
        x, y = _pixels(cube, origins, lead, static, history, where, most, draw)
        how = {"max_iter": trees, "early_stopping": False, "random_state": seed}
        means.append(HistGradientBoostingRegressor(**how).fit(x, y))
        forests = (
            HistGradientBoostingRegressor(loss="quantile", quantile=level, **how)
            for level in LEVELS
        )
        quantiles.append(tuple(forest.fit(x, y) for forest in forests))
    return Boosted(tuple(leads), history, tuple(means), tuple(quantiles))


def _pixels(
    cube: Floats,
    origins: Sequence[int],
    lead: int,
    static: Floats | None,
    history: int,
    where: NDArray[np.bool_],
    most: int,
    draw: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Draw pixels: features (n, feature) and changes (n,)."""
    usable = [origin for origin in origins if origin + lead < len(cube)]
    x, y = [], []
    for origin in usable:
        change = (cube[origin + lead].astype("float64") - cube[origin]).ravel()
        known = np.flatnonzero(np.isfinite(change) & where.ravel())
        kept = draw.choice(known, min(len(known), most // len(usable)), replace=False)
        seen = features(cube[origin - history + 1 : origin + 1], static=static)
        x.append(seen.reshape(len(seen), -1)[:, kept].T.astype("float32"))
        y.append(change[kept])
    return np.concatenate(x), np.concatenate(y)
