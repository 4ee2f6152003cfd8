"""Importance of covariates: loss of R2 on held-out samples when one covariate is permuted.

All steps and scales of a band are permuted together (grouped permutation, Breiman 2001; Au et
al. 2022, doi:10.1007/s10618-022-00840-5), because one month of a band nearly equals the month
before. Correlated bands share their importance: the figure measures what this model loses
without the band, not what soil depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

Predict = Callable[[Rows, str | None, Rows], Array]
"""``predict(rows, band, donors)``: predictions of rows, (n,), transformed units, with all
values of a band from the donors; with the rows' own values if ``band`` is None."""

REPEATS = 5  # permutations of each band and fold, averaged: a single draw is noisy


@dataclass(frozen=True)
class Importance:
    """Loss of R2 on held-out samples without each band, over the folds."""

    mean: Mapping[str, float]
    sd: Mapping[str, float]  # over folds, n - 1
    repeats: int  # permutations in each fold

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands, the most important first."""
        return tuple(sorted(self.mean, key=lambda band: -self.mean[band]))

    def weights(self, names: Sequence[str]) -> Array:
        """Return the importance of each feature's band, mean 1; `names` is ``MapSpec.features``.

        A negative loss is noise and counts as 0. Without any importance all weights are 1, so
        that the area of applicability still has a distance.
        """
        positive = np.array([max(self.mean[name], 0.0) for name in names])
        return np.asarray(positive / positive.mean() if positive.any() else np.ones(len(names)))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"mean": dict(self.mean), "sd": dict(self.sd), "repeats": self.repeats}


def permuted_importance(
    fit: Callable[[Rows, int], Predict],
    folds: SiteFolds,
    truth: Array,
    bands: Sequence[str],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Importance:
    """Measure the importance of each band; ``fit(train_rows, seed)`` gives a :data:`Predict`."""

    def squared_error(prediction: Array, expected: Array) -> float:
        return float(((prediction - expected) ** 2).mean())

    rng, losses = np.random.default_rng(seed), []
    for number, (train, test) in enumerate(folds.rounds()):
        predict = fit(train, seed + 1000 * number)
        baseline = squared_error(predict(test, None, test), truth[test])
        # all bands get the same permutations: their differences are not noise of the draw
        orders = [rng.permutation(test) for _ in range(repeats)]
        losses.append(
            [
                np.mean([squared_error(predict(test, band, o), truth[test]) for o in orders])
                - baseline
                for band in bands
            ]
        )
    # the variance of all truths, not of a fold's: a fold of one landscape has little variance
    # of its own, and its R2 would not compare with others
    share = np.array(losses) / truth.var()
    mean, sd = share.mean(axis=0), share.std(axis=0, ddof=1)
    return Importance(
        dict(zip(bands, mean.tolist(), strict=True)),
        dict(zip(bands, sd.tolist(), strict=True)),
        repeats,
    )


def with_features(
    model: Callable[[NDArray[np.float32]], Array], x: NDArray[np.float32], names: Sequence[str]
) -> Predict:
    """Build a :data:`Predict` from a model of centre-pixel features, (n, f) to (n,).

    `x` has the features of all samples, `names` the band of each (``MapSpec.features``).
    """

    def predict(rows: Rows, band: str | None, donors: Rows) -> Array:
        permuted = np.array([name == band for name in names])
        return model(np.where(permuted, x[donors], x[rows]))

    return predict
