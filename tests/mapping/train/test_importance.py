"""Laws of the importance of covariates."""

from __future__ import annotations

from typing import Any

import numpy as np

from hmx.mapping.evaluate.baselines import centre_of, features
from hmx.mapping.forest import fit_forest
from hmx.mapping.train.importance import Importance, Predict, permuted_importance, with_features
from tests.make.soils import BANDS, STATIC, make_soils

SOILS = make_soils()
EVERY = (*BANDS, *STATIC)


def forest(train: Any, seed: int) -> Predict:
    x = features(centre_of(SOILS.raw), train, SOILS.spec)
    grown = fit_forest(x[train], SOILS.truth[train], seed, trees=30)
    return with_features(grown.predict, x, SOILS.spec.features)


def test_bands_that_matter_come_first_and_others_matter_nothing() -> None:
    found = permuted_importance(forest, SOILS.blocks(), SOILS.truth, EVERY, seed=1)
    assert found.bands[:2] == ("lst", "elevation")
    assert found.mean["lst"] > 0.5 > found.mean["elevation"] > 0.05
    assert max(abs(found.mean[band]) for band in ("nir", "noise")) < 0.03
    assert all(sd > 0 for sd in found.sd.values())


def test_all_steps_of_a_band_are_taken_from_others_together() -> None:
    x, names = features(centre_of(SOILS.raw), np.arange(9), SOILS.spec), SOILS.spec.features
    seen = []
    predict = with_features(lambda rows: seen.append(rows) or rows[:, 0], x, names)
    predict(np.array([0, 1]), "lst", np.array([1, 0]))
    taken = np.array(names) == "lst"
    assert taken.sum() == 3
    np.testing.assert_array_equal(seen[0][:, taken], x[[1, 0]][:, taken])
    np.testing.assert_array_equal(seen[0][:, ~taken], x[[0, 1]][:, ~taken])


def test_weights_follow_the_bands_and_are_never_negative() -> None:
    found = Importance({"lst": 0.3, "nir": -0.1, "elevation": 0.1}, {}, 5)
    weights = found.weights(["lst", "nir", "lst", "elevation"])
    np.testing.assert_allclose(weights, np.array([0.3, 0, 0.3, 0.1]) / 0.175)
    nothing = Importance({"lst": -0.1}, {}, 5)
    np.testing.assert_array_equal(nothing.weights(["lst", "lst"]), [1, 1])
