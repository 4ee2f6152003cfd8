"""Baselines of the map job: predictors that a network must beat on the same folds.

All of them see the values of the centre pixel at every step: the mean of the training samples,
ridge regression (Hoerl and Kennard 1970) and gradient boosting (histogram-based, Ke et al. 2017)
through scikit-learn, and the regressions of a map (:mod:`hmx.mapping.forest`,
:mod:`hmx.mapping.process`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from hmx.mapping.evaluate.rounds import Array, Estimates, FitPredict, Rows
from hmx.mapping.forest import TREES, fit_forest
from hmx.mapping.inputs import RawWindows, centre, fit_band_scaler, scaled
from hmx.mapping.process import GaussianProcess
from hmx.mapping.spec import MapSpec, parts_of

Features = NDArray[np.float32]

_ALPHAS = np.logspace(-1, 5, 13)  # penalties, chosen by leave-one-out on the training rows
# small leaves and few features per split: samples are hundreds, features are correlated months
_BOOSTING = {
    "max_iter": 150, "learning_rate": 0.06, "max_leaf_nodes": 15, "min_samples_leaf": 10,
    "l2_regularization": 1.0, "max_features": 0.3, "early_stopping": False,
}  # fmt: skip


def null_rows(
    raw: RawWindows, truth: Array, spec: MapSpec, *, trees: int = TREES, threads: int = 1
) -> dict[str, FitPredict]:
    """Build the baselines of a scorecard.

    ``forest``, ``boosting``, ``linear``, ``mean``, and ``gaussian_process`` if the map blends it.

    Each fits its scales and itself on the training rows alone. `truth` is in transformed units.
    """
    known: dict[bytes, Features] = {}  # by training rows: all baselines of a fold share them

    def forest(x: Features, y: Array, new: Features, seed: int) -> Estimates:
        mean, spread = fit_forest(x, y, seed, trees=trees, threads=threads).moments(new)
        return Estimates(mean[None], spread)

    def process(x: Features, y: Array, new: Features, seed: int) -> Estimates:
        return Estimates(GaussianProcess.fit(x, y, seed).predict(new)[None])

    def boosting(x: Features, y: Array, new: Features, seed: int) -> Estimates:
        model = HistGradientBoostingRegressor(random_state=seed, **_BOOSTING).fit(x, y)
        return Estimates(model.predict(new)[None])

    def linear(x: Features, y: Array, new: Features, _seed: int) -> Estimates:
        # leave-one-out of an ill-conditioned matrix needs double precision
        model = RidgeCV(alphas=_ALPHAS).fit(x.astype(np.float64), y)
        return Estimates(model.predict(new.astype(np.float64))[None])

    def mean(_x: Features, y: Array, new: Features, _seed: int) -> Estimates:
        return Estimates(np.full((1, len(new)), y.mean()))

    def of_rows(predict: Callable[[Features, Array, Features, int], Estimates]) -> FitPredict:
        def fit_predict(train: Rows, test: Rows, seed: int) -> Estimates:
            x = known.get(train.tobytes())
            if x is None:
                x = known[train.tobytes()] = features(raw, train, spec)
            return predict(x[train], truth[train], x[test], seed)

        return fit_predict

    fits = {"forest": forest, "boosting": boosting, "linear": linear, "mean": mean}
    if "gaussian_process" in parts_of(spec.regression):
        fits["gaussian_process"] = process
    return {name: of_rows(predict) for name, predict in fits.items()}


def centre_of(raw: RawWindows) -> RawWindows:
    """Cut windows down to their centre pixel, (.., 1, 1)."""
    at = raw.dynamic.shape[-1] // 2
    one = (..., slice(at, at + 1), slice(at, at + 1))
    return RawWindows(raw.dynamic[one], raw.static[one])


def features(raw: RawWindows, train: Rows, spec: MapSpec) -> Features:
    """Scale the centre values by the windows of the training rows, as a map does: (n, f), float32.

    The order is that of ``MapSpec.features``; missing values are 0, the mean.
    """
    return centre(scaled(centre_of(raw), spec, fit_band_scaler(raw, train, spec)))
