"""Laws of the forest that is kept as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from hmx.errors import BadArgument, BundleError
from hmx.mapping.forest import Forest, fit_forest, from_sklearn


def world(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 6))
    noise = draw.normal(size=n) * np.where(x[:, 1] > 0, 1.0, 0.1)
    return x, 0.5 * (x[:, 0] > 0) + 0.3 * x[:, 2] + noise


@pytest.fixture(scope="module")
def forest() -> Forest:
    return fit_forest(*world(), 0, trees=40)


@pytest.mark.parametrize("options", [{}, {"min_samples_leaf": 3, "max_features": 0.3}])
def test_it_predicts_what_scikit_learn_predicts_bit_by_bit(options: dict[str, Any]) -> None:
    x, y = world()
    grown = RandomForestRegressor(20, random_state=1, **options).fit(x, y)
    kept = Forest.from_arrays(from_sklearn(grown).arrays())
    fresh = np.concatenate([world(5000, 1)[0], x])  # training rows lie closest to thresholds
    np.testing.assert_array_equal(kept.predict(fresh), grown.predict(fresh))


def test_threads_change_no_bit() -> None:
    one, three = (fit_forest(*world(), 0, trees=10, threads=n).arrays() for n in (1, 3))
    for name, array in one.items():
        np.testing.assert_array_equal(array, three[name])


def test_rows_on_a_threshold_go_the_same_way() -> None:
    x = np.array([[0.1], [0.2], [0.30000001], [0.4]], np.float32)
    y = np.arange(4.0)
    grown = RandomForestRegressor(30, random_state=0).fit(x, y)
    edges = np.concatenate([tree.tree_.threshold for tree in grown.estimators_])
    near = edges.astype(np.float32)
    around = [near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))]
    rows = np.concatenate(around)[:, None]
    np.testing.assert_array_equal(from_sklearn(grown).predict(rows), grown.predict(rows))


def test_saved_arrays_give_the_same_forest(forest: Forest) -> None:
    arrays = {name: array.copy() for name, array in forest.arrays().items()}
    assert all(array.dtype != object for array in arrays.values())
    again, rows = Forest.from_arrays(arrays), world(300, 2)[0]
    for one, two in zip(forest.moments(rows), again.moments(rows), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_node_takes_few_bytes(forest: Forest) -> None:
    size = sum(array.nbytes for array in forest.arrays().values())
    assert size / len(forest.feature) < 17  # 64 and a value in scikit-learn


def test_the_spread_is_large_where_the_target_varies(forest: Forest) -> None:
    rows = world(1000, 3)[0]
    mean, spread = forest.moments(rows)
    assert mean.shape == spread.shape == (1000,)
    loud, still = spread[rows[:, 1] > 0.3].mean(), spread[rows[:, 1] < -0.3].mean()
    assert loud > 1.5 * still > 0


def test_the_spread_is_that_of_the_leaves_and_among_them() -> None:
    x, y = world()
    grown = RandomForestRegressor(10, min_samples_leaf=20, random_state=1).fit(x, y)
    rows = world(200, 5)[0].astype(np.float32)
    leaves = [(tree.tree_, tree.apply(rows)) for tree in grown.estimators_]
    means = np.array([tree.value[at, 0, 0] for tree, at in leaves])
    within = np.array([tree.impurity[at] for tree, at in leaves])
    spread = np.sqrt(within.mean(axis=0) + means.var(axis=0))
    np.testing.assert_allclose(from_sklearn(grown).moments(rows)[1], spread, rtol=1e-5)


def test_a_seed_grows_the_same_forest() -> None:
    one, two, other = (fit_forest(*world(100), seed, trees=3) for seed in (0, 0, 1))
    rows = world(50, 4)[0]
    np.testing.assert_array_equal(one.predict(rows), two.predict(rows))
    assert not np.array_equal(one.predict(rows), other.predict(rows))


def test_another_number_of_features_is_refused(forest: Forest) -> None:
    with pytest.raises(BadArgument, match=r"features \(3, 5\) do not fit .* splits by 6"):
        forest.predict(np.zeros((3, 5)))


@pytest.mark.parametrize("name", ["roots", "feature", "right", "value", "threshold", "gone"])
def test_damaged_arrays_are_refused_before_they_are_walked(forest: Forest, name: str) -> None:
    arrays = {key: array.copy() for key, array in forest.arrays().items()}
    if name == "gone":
        del arrays["variance"]
    elif name in ("value", "threshold"):
        arrays[name] = arrays[name][:-1]
    elif name == "feature":
        arrays[name][0] = 77
    elif name == "right":
        arrays[name][0] = 10**6
    else:
        arrays[name][-1] += 5
    with pytest.raises(BundleError, match="the forest of this model is damaged"):
        Forest.from_arrays(arrays)
