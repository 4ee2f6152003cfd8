"""Importance of covariates: how much worse held-out samples are told without one.

All steps and scales of a band are taken from other samples together (grouped
permutation, Breiman 2001; Au et al. 2022, doi:10.1007/s10618-022-00840-5), as a month of
a band is nearly the month before. Bands that say the same share their importance, or
cover for each other: what is measured is what this model loses, not what soil depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.mapping.inputs import Windows
from hmx.mapping.spec import MapSpec
from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

Predict = Callable[[Rows, str | None, Rows], Array]
"""``predict(rows, band, donors)``: predictions of rows, (n,), transformed units, with all
values of a band taken from the donors; of the rows as they are if ``band`` is None."""

REPEATS = 5


@dataclass(frozen=True)
class Importance:
    """How much of the variance a model no longer explains without a band.

    Parameters
    ----------
    mean, sd : mapping of str to float
        By band: loss of R2 on held-out samples, its mean and standard deviation over
        folds.
    repeats : int
        Permutations in each fold.
    """

    mean: Mapping[str, float]
    sd: Mapping[str, float]
    repeats: int

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands, the most important first."""
        return tuple(sorted(self.mean, key=lambda band: -self.mean[band]))

    def weights(self, names: Sequence[str]) -> Array:
        """Give each feature the importance of its band, at least 0.

        Parameters
        ----------
        names : sequence of str
            Band of each feature: ``MapSpec.features``.

        Returns
        -------
        ndarray, (f,)
            Mean 1, as weights of :meth:`hmx.uncertainty.applicability.Applicability.fit`; all 1 if
            nothing matters.
        """
        found = np.array([max(self.mean[name], 0.0) for name in names])
        return np.asarray(found / found.mean() if found.any() else np.ones(len(names)))

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
    """Measure the importance of each band on held-out folds.

    Parameters
    ----------
    fit : callable
        ``fit(train_rows, seed)`` gives a :data:`Predict`.
    folds : SiteFolds
        Rounds.
    truth : ndarray, (n,)
        Transformed units.
    bands : sequence of str
        Covariates.
    repeats, seed : int
        Of the permutations.

    Returns
    -------
    Importance
        Losses of squared error over the variance of all truths, so folds compare.
    """
    draw, lost = np.random.default_rng(seed), []
    for number, (train, test) in enumerate(folds.rounds()):
        predict = fit(train, seed + 1000 * number)
        whole = _squared(predict(test, None, test), truth[test])
        orders = [draw.permutation(test) for _ in range(repeats)]
        lost.append(
            [
                np.mean([_squared(predict(test, band, o), truth[test]) for o in orders]) - whole
                for band in bands
            ]
        )
    share = np.array(lost) / truth.var()
    mean, sd = share.mean(axis=0), share.std(axis=0, ddof=1)
    return Importance(
        dict(zip(bands, mean.tolist(), strict=True)),
        dict(zip(bands, sd.tolist(), strict=True)),
        repeats,
    )


def with_features(
    model: Callable[[NDArray[np.float32]], Array], x: NDArray[np.float32], names: Sequence[str]
) -> Predict:
    """Build a :data:`Predict` of a model of the centre pixel's values.

    Parameters
    ----------
    model : callable
        (n, f) to (n,).
    x : ndarray, (n, f)
        Of all samples.
    names : sequence of str
        Band of each feature: ``MapSpec.features``.
    """

    def predict(rows: Rows, band: str | None, donors: Rows) -> Array:
        taken = np.array([name == band for name in names])
        return model(np.where(taken, x[donors], x[rows]))

    return predict


def with_windows(model: Callable[[Windows], Array], windows: Windows, spec: MapSpec) -> Predict:
    """Build a :data:`Predict` of a model of windows.

    Parameters
    ----------
    model : callable
        Windows to (n,).
    windows : Windows
        Of all samples, scaled.
    spec : MapSpec
        Names of the bands.
    """
    scales = 1 + len(spec.network.coarse)
    dynamic, static = (
        np.array([*(names * scales), *((None,) if names else ())])  # the last: what is known
        for names in (spec.dynamic, spec.static)
    )

    def predict(rows: Rows, band: str | None, donors: Rows) -> Array:
        here, there = windows.at(rows), windows.at(donors)
        if band is not None:
            here.dynamic[:, :, dynamic == band] = there.dynamic[:, :, dynamic == band]
            here.static[:, static == band] = there.static[:, static == band]
        return model(here)

    return predict


def _squared(prediction: Array, truth: Array) -> float:
    return float(((prediction - truth) ** 2).mean())
