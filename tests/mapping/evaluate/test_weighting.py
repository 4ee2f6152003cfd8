"""Laws of weights: held-out predictions stand for the pixels of a map."""

from __future__ import annotations

import numpy as np
import pytest

from hmx.mapping.evaluate.weighting import TaskWeights
from hmx.scores import SCORES, regression_scores


def shares(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    found = np.histogram(values, [-np.inf, *edges, np.inf], weights=weights)[0]
    return found / found.sum()


def test_weighted_predictions_are_distributed_like_the_map() -> None:
    draw = np.random.default_rng(0)
    tasks = {"distance": draw.gamma(1, 1, 3000), "height": draw.normal(0, 1, 3000)}
    height = draw.normal(0.7, 0.8, 5000)
    pixels = {"distance": draw.gamma(2, 0.8, 5000) + 0.2 * np.abs(height), "height": height}
    found = TaskWeights.of(tasks, pixels, np.arange(3000))
    for name, values in pixels.items():
        edges = np.quantile(values, np.arange(1, 10) / 10)
        before, after = (shares(tasks[name], edges, w) for w in (None, found.weights))
        np.testing.assert_allclose(after, 0.1, atol=1e-4)
        assert np.abs(before - 0.1).max() > 0.05
    assert 300 < found.effective < 2000
    assert found.beyond < 0.01


def test_the_score_of_weighted_predictions_is_that_of_the_map() -> None:
    """The error grows with distance, and samples are tested nearer than the map is."""
    draw = np.random.default_rng(1)
    off = []
    for _ in range(20):
        near, far = draw.uniform(0, 1, 2000) ** 2, draw.uniform(0, 1, 20_000)
        error, true = (draw.normal(0, 0.2 + d) for d in (near, far))
        found = TaskWeights.of({"distance": near}, {"distance": far}, np.arange(2000))
        weighted = np.sqrt(np.average(error**2, weights=found.weights))
        rmse = np.sqrt((true**2).mean())
        off.append((weighted / rmse - 1, np.sqrt((error**2).mean()) / rmse - 1))
    assert np.mean(off, axis=0)[0] == pytest.approx(0, abs=0.02)
    assert np.mean(off, axis=0)[1] < -0.1


def test_predictions_of_one_sample_count_once() -> None:
    one = TaskWeights.of({"d": np.arange(100.0)}, {"d": np.arange(100.0)}, np.arange(100))
    two = TaskWeights.of(
        {"d": np.tile(np.arange(100.0), 2)}, {"d": np.arange(100.0)}, np.tile(np.arange(100), 2)
    )
    assert one.effective == pytest.approx(100, rel=0.02)
    assert two.effective == pytest.approx(one.effective, rel=0.02)


def test_land_beyond_all_predictions_is_counted() -> None:
    tasks, pixels = {"d": np.linspace(0, 1, 200)}, {"d": np.linspace(0, 4, 400)}
    assert TaskWeights.of(tasks, pixels, np.arange(200)).beyond == pytest.approx(0.75, abs=0.01)


def test_equal_weights_give_the_plain_scores() -> None:
    draw = np.random.default_rng(2)
    truth = draw.normal(size=200)
    guess = truth + draw.normal(0.1, 0.5, 200)
    plain, same = regression_scores(truth, guess), regression_scores(truth, guess, np.full(200, 3))
    for name in SCORES:
        assert same[name] == pytest.approx(plain[name], rel=0.03 if name == "rpiq" else 1e-12)
    # a weight of 2 is the sample twice
    weights = draw.integers(1, 4, 200)
    rows = np.repeat(np.arange(200), weights)
    twice, heavy = (
        regression_scores(truth[rows], guess[rows]),
        regression_scores(truth, guess, weights),
    )
    for name in SCORES:
        assert heavy[name] == pytest.approx(twice[name], rel=0.03 if name == "rpiq" else 1e-12)
