"""Holding out: what a mapper says of samples that it has not seen.

Folds of the samples are held out in turn, each in whole groups (sites or blocks). What
networks and forest say of them, mixed as on the map, tells how wrong a map is where
nobody has sampled: prediction intervals, scores, the importance of the bands and the
area of applicability are learnt from it, and from nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmx.mapping.forest import Forest, fit_forest
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import TargetScaler
from hmx.mapping.target import forward
from hmx.mapping.train.importance import Importance, Predict, permuted_importance, with_features
from hmx.mapping.train.learning import cross_fit
from hmx.mapping.train.recipe import Prepared
from hmx.mapping.window import Estimate, mixed
from hmx.progress import Progress
from hmx.splits.site_folds import SiteFolds


@dataclass(frozen=True)
class OutOfFold:
    """What is said of each sample by those that have not seen it.

    Parameters
    ----------
    folds : SiteFolds
        The rounds.
    estimate : Estimate
        Centre and spread, (n,), scaled transformed units.
    importance : Importance
        Of the bands, to a forest.
    """

    folds: SiteFolds
    estimate: Estimate
    importance: Importance


def hold_out(
    prepared: Prepared,
    features: np.ndarray,
    target: TargetScaler,
    fit: MapTrainOptions,
    folds: SiteFolds,
    *,
    progress: Progress = Progress(),
) -> OutOfFold:
    """Fit anew without each fold, and say what the map would have said there.

    Parameters
    ----------
    prepared : Prepared
        Samples and what lies around them.
    features : ndarray, (n, f)
        Values of the samples' own pixels.
    target : TargetScaler
        In whose units estimates are wanted.
    fit : MapTrainOptions
        As the mapper itself is fitted.
    folds : SiteFolds
        What is held out in turn.
    progress : callable
        Told (folds done, folds, text).
    """
    spec, values, raw = prepared.spec, prepared.values, prepared.raw
    truth = forward(values, target)
    forests: dict[int, Forest] = {}
    center, spread = np.empty(len(values)), np.empty(len(values))
    parts = cross_fit(
        raw, values, folds.rounds(), spec=spec, fit=fit, groups=folds.group, target=target
    )
    for number, (train, test, said) in enumerate(parts):
        forest = fit_forest(features[train], truth[train], fit.seed)
        forests[fit.seed + 1000 * number] = forest
        members = said.transpose(0, 2, 1)  # (members, q, n), as pixels come
        found = mixed(members, spec, forest if spec.blend else None, features[test].T)
        center[test], spread[test] = found.center, found.spread
        progress.step(number + 1, len(folds), f"holding out: fold {number + 1} of {len(folds)}")

    def grown(train: np.ndarray, seed: int) -> Predict:
        """Take the forest that was grown on these samples."""
        return with_features(forests[seed].predict, features, spec.features)

    bands = dict.fromkeys(spec.features)
    importance = permuted_importance(grown, folds, truth, tuple(bands), seed=fit.seed)
    return OutOfFold(folds, Estimate(center, spread), importance)
