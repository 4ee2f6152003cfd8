"""Laws of the Gaussian process that is kept as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

import hmx.mapping.process as module
from hmx.errors import BadArgument, BundleError
from hmx.mapping.forest import fit_forest
from hmx.mapping.process import GaussianProcess, Regressions

Pair = tuple[np.ndarray, np.ndarray]


def world(n: int = 250, seed: int = 0) -> Pair:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 4))
    return x, 5 + np.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.3 * draw.normal(size=n)


def likelihood(x: np.ndarray, y: np.ndarray, process: GaussianProcess) -> float:
    """Log marginal likelihood by scikit-learn, at the likeliest variance of the process."""
    kernel = Matern(process.scale, nu=0.5)
    total = kernel(x) + process.noise * np.eye(len(x))
    variance = y @ np.linalg.solve(total, y) / len(y)
    fitted = GaussianProcessRegressor(
        ConstantKernel(variance) * kernel, alpha=process.noise * variance, optimizer=None
    ).fit(x, y)
    return float(fitted.log_marginal_likelihood_value_)


def test_it_predicts_what_scikit_learn_predicts() -> None:
    x, y = world()
    ours, fresh = GaussianProcess.fit(x, y, 0), world(2000, 1)[0]
    kernel = Matern(ours.scale, nu=0.5)
    theirs = GaussianProcessRegressor(kernel, alpha=ours.noise, optimizer=None).fit(x, y - y.mean())
    wanted = theirs.predict(fresh) + y.mean()
    np.testing.assert_allclose(ours.predict(fresh), wanted, rtol=1e-9)
    assert wanted.std() > 0.3


def test_length_and_noise_are_the_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, noises = (0.5, 1.0, 4.0), (0.1, 0.5, 3.0)
    monkeypatch.setattr(module, "_LENGTHS", np.array(lengths))
    monkeypatch.setattr(module, "_NOISES", np.array(noises))
    x, y = world()
    found = GaussianProcess.fit(x, y, 0)
    best = likelihood(x, y - y.mean(), found)
    for length in lengths:
        for noise in noises:
            other = GaussianProcess(x, y, 0.0, length * 2, noise)  # 4 features: sqrt(4)
            assert likelihood(x, y - y.mean(), other) <= best + 1e-6
    other_unit = GaussianProcess.fit(x, 100 * y, 0)
    assert (other_unit.scale, other_unit.noise) == (found.scale, found.noise)


def test_beyond_some_thousand_samples_a_part_of_them_are_centres(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = world(300)
    exact = GaussianProcess.fit(x, y, 0)
    monkeypatch.setattr(module, "CENTRES", 120)
    monkeypatch.setattr(module, "_ROWS", 64)
    found, fresh = GaussianProcess.fit(x, y, 0), world(500, 1)[0]
    assert found.centres.shape == (120, 4)

    def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-cdist(one, other) / found.scale))

    cross, within = covariance(x, found.centres), covariance(found.centres, found.centres)
    system = cross.T @ cross + found.noise * within  # Rasmussen and Williams 2006, eq. 8.14
    weights = np.linalg.solve(system, cross.T @ (y - y.mean()))
    wanted = covariance(fresh, found.centres) @ weights + y.mean()
    np.testing.assert_allclose(found.predict(fresh), wanted, atol=1e-4)
    assert np.corrcoef(found.predict(fresh), exact.predict(fresh))[0, 1] > 0.95


def test_a_pixel_does_not_depend_on_its_neighbours_and_a_seed_decides_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CENTRES", 120)  # with all samples no draw decides anything
    x, y = world()
    one, again = (GaussianProcess.fit(x, y, 0) for _ in range(2))
    rows = np.concatenate([world(1500, 1)[0], x]).astype("float32")
    whole = one.predict(rows)
    np.testing.assert_array_equal(whole, again.predict(rows))
    parts = [one.predict(rows[at : at + 7]) for at in range(0, len(rows), 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-7)
    assert whole.dtype == np.float64


@pytest.mark.parametrize("centres", [4096, 150])
def test_equal_samples_with_unlike_values_are_learnt_by_their_mean(
    monkeypatch: pytest.MonkeyPatch, centres: int
) -> None:
    monkeypatch.setattr(module, "CENTRES", centres)
    x = np.repeat(world(100)[0], 2, axis=0)
    y = np.tile([1.0, 3.0], 100)
    np.testing.assert_allclose(GaussianProcess.fit(x, y, 0).predict(x), 2.0, atol=1e-6)


def test_saved_arrays_give_the_same_process() -> None:
    made = GaussianProcess.fit(*world(), 0)
    again, rows = GaussianProcess.from_arrays(made.arrays()), world(100, 2)[0]
    np.testing.assert_array_equal(made.predict(rows), again.predict(rows))
    with pytest.raises(BadArgument, match=r"features \(3, 5\) do not fit .* of 4 features"):
        made.predict(np.zeros((3, 5)))


@pytest.mark.parametrize("name", ["centres", "weights", "numbers", "gone"])
def test_damaged_arrays_are_refused(name: str) -> None:
    made = GaussianProcess.fit(*world(50), 0).arrays()
    arrays = {key: array.copy() for key, array in made.items()}
    if name == "gone":
        del arrays["numbers"]
    elif name == "numbers":
        arrays[name][1] = -1
    else:
        arrays[name][0] = np.nan
    with pytest.raises(BundleError, match="the Gaussian process of this model is damaged"):
        GaussianProcess.from_arrays(arrays)


def test_both_regressions_have_their_mean_and_the_spread_of_the_forest() -> None:
    x, y = world()
    forest, process = fit_forest(x, y, 0, trees=5), GaussianProcess.fit(x, y, 0)
    rows = world(50, 3)[0]
    both, alone = Regressions(forest, process).moments(rows), Regressions(forest).moments(rows)
    np.testing.assert_array_equal(both[0], (forest.predict(rows) + process.predict(rows)) / 2)
    np.testing.assert_array_equal(both[1], forest.moments(rows)[1])
    np.testing.assert_array_equal(alone[0], forest.predict(rows))
