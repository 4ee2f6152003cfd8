"""Laws of the scores of points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from hmx.errors import BadArgument, NotEnoughData
from hmx.scores import (
    SCORES,
    band_scores,
    bands_of,
    interval_scores,
    paired_bootstrap,
    regression_scores,
)

TRUTH = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
GUESS = np.array([1.5, 2.0, 2.5, 5.0, 7.0])


def noisy(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.gamma(2.0, 1.5, n)
    return truth, truth + draw.normal(0, 0.5, n), truth + draw.normal(0.1, 1.0, n)


def test_scores_are_those_of_scikit_learn() -> None:
    truth, guess, _ = noisy()
    found = regression_scores(truth, guess)
    assert found["r2"] == pytest.approx(r2_score(truth, guess), abs=1e-12)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(truth, guess), abs=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, guess), abs=1e-12)
    assert found["r2_corr"] == pytest.approx(np.corrcoef(truth, guess)[0, 1] ** 2, abs=1e-12)


def test_scores_are_those_computed_by_hand() -> None:
    found = regression_scores(TRUTH, GUESS)
    # errors .5 0 -.5 1 -3; truths: mean 4, squares about it 50, quartiles 2 and 4
    assert found["n"] == 5
    assert found["bias"] == pytest.approx(-2 / 5)
    assert found["rmse"] == pytest.approx(math.sqrt(10.5 / 5))
    assert found["mae"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(1 - 10.5 / 50)
    assert found["rpiq"] == pytest.approx(2 / math.sqrt(10.5 / 5))
    # predictions: mean 3.6, squares about it 21.7; products 31
    assert found["r2_corr"] == pytest.approx(31**2 / (50 * 21.7))
    assert found["ccc"] == pytest.approx(2 * 31 / (50 + 21.7 + 5 * 0.4**2))


def test_concordance_falls_with_bias_and_slope_which_correlation_forgives() -> None:
    truth, *_ = noisy()
    off = regression_scores(truth, 0.5 * truth + 3)
    assert off["r2_corr"] == pytest.approx(1)
    assert off["ccc"] < 0.7
    assert off["r2"] < 0.7


def test_the_mean_predictor_explains_nothing() -> None:
    found = regression_scores(TRUTH, np.full(5, 4.0))
    assert (found["r2"], found["ccc"]) == (0, 0)
    assert math.isnan(found["r2_corr"])


def test_missing_points_are_left_out() -> None:
    truth, guess = np.append(TRUTH, [math.nan, 1.0]), np.append(GUESS, [1.0, math.nan])
    assert regression_scores(truth, guess) == regression_scores(TRUTH, GUESS)
    assert math.isnan(regression_scores([], [])["rmse"])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(BadArgument, match="points are compared one by one"):
        regression_scores(TRUTH, GUESS[:3])


def test_bands_hold_every_point_once_and_show_shrinkage() -> None:
    truth, *_ = noisy()
    shrunk = truth.mean() + 0.5 * (truth - truth.mean())
    found = band_scores(truth, shrunk)
    assert sum(band["n"] for band in found) == len(truth)
    assert [band["share_from"] for band in found] == [0, 0.25, 0.5, 0.75, 0.9]
    assert found[0]["bias"] > 0 > found[-1]["bias"]
    assert found[-1]["n"] == np.sum(bands_of(truth) == 4) == len(truth) // 10


def test_a_truth_on_an_edge_lies_in_one_band() -> None:
    assert bands_of([0.0, 0.0, 1.0, 1.0], (0, 0.5, 1)).tolist() == [0, 0, 1, 1]
    assert bands_of([1.0, 2.0, 3.0], (0, 0.5, 1)).tolist() == [0, 1, 1]


def test_interval_scores_are_those_computed_by_hand() -> None:
    truth, lower, upper = np.array([0.0, 1.0, 5.0, 2.0]), np.full(4, 0.5), np.full(4, 2.0)
    found = interval_scores(truth, lower, upper, level=80)
    assert found["picp"] == 0.5  # on a bound is inside
    assert (found["qcp_lower"], found["qcp_upper"]) == (0.25, 0.75)
    assert found["width"] == 1.5
    assert found["score"] == pytest.approx(1.5 + (2 / 0.2) * (0.5 + 3.0) / 4)


def test_the_interval_score_is_least_for_the_true_quantiles() -> None:
    truth = np.random.default_rng(0).normal(size=20_000)

    def score(half: float) -> float:
        return interval_scores(truth, *np.full((2, 20_000), [[-half], [half]]), level=90)["score"]

    assert score(1.645) < min(score(1.4), score(1.9))


def test_bootstrap_finds_the_better_predictor_and_no_difference_between_equals() -> None:
    truth, good, poor = noisy()
    sites = np.arange(400) // 4
    better = paired_bootstrap(truth, good, poor, sites, draws=400)
    assert better.sure
    assert 0 < better.low < better.value < better.high
    assert better.value == pytest.approx(SCORES["r2"](truth, good) - SCORES["r2"](truth, poor))
    assert better.groups == 100
    same = paired_bootstrap(truth, good, good, sites, draws=50)
    assert (same.low, same.value, same.high, same.sure) == (0, 0, 0, False)


def test_sums_over_groups_give_the_r2_of_the_points_that_are_drawn() -> None:
    truth, good, poor = (values + 1000 for values in noisy())
    sites = np.arange(400) // 4
    truth[sites == 3] = truth[12]
    found = paired_bootstrap(truth, good, poor, sites, draws=60, seed=5, level=100)
    draw, gains = np.random.default_rng(5), []
    for _ in range(60):
        rows = np.concatenate(
            [np.flatnonzero(sites == one) for one in draw.integers(100, size=100)]
        )
        gains.append(SCORES["r2"](truth[rows], good[rows]) - SCORES["r2"](truth[rows], poor[rows]))
    assert (found.low, found.high) == pytest.approx((min(gains), max(gains)), rel=1e-9)


def test_draws_of_one_truth_alone_have_no_r2() -> None:
    truth = np.repeat([0.3, 0.9], 5)
    guess, other = truth + np.linspace(0, 0.1, 10), truth - 0.2
    found = paired_bootstrap(truth, guess, other, np.repeat([0, 1], 5), draws=200)
    assert found.low == found.high == pytest.approx(found.value)  # both groups were drawn


def test_bootstrap_draws_whole_groups() -> None:
    draw = np.random.default_rng(1)
    sites = np.repeat(np.arange(20), 50)
    truth = draw.normal(size=1000)
    first = truth + np.repeat(draw.normal(size=20), 50)  # a site errs as one
    second = truth + draw.normal(size=1000)
    by_site = paired_bootstrap(truth, first, second, sites, metric="rmse", draws=300)
    by_point = paired_bootstrap(truth, first, second, np.arange(1000), metric="rmse", draws=300)
    assert by_site.high - by_site.low > 2 * (by_point.high - by_point.low)


def test_bootstrap_is_the_same_for_the_same_seed() -> None:
    truth, good, poor = noisy()
    one, two, other = (
        paired_bootstrap(truth, good, poor, np.arange(400), draws=50, seed=s) for s in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_bootstrap_refuses_unknown_metrics_and_single_groups() -> None:
    with pytest.raises(BadArgument, match=r"metric='rmsee' is not a score .* mean 'rmse'\?"):
        paired_bootstrap(TRUTH, GUESS, GUESS, np.arange(5), metric="rmsee")
    with pytest.raises(NotEnoughData, match="all 5 points are of one group"):
        paired_bootstrap(TRUTH, GUESS, GUESS, np.zeros(5))
