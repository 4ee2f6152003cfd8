"""Laws of the intervals of a map."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from hmx.errors import BadArgument, NotEnoughData
from hmx.scores import interval_scores
from hmx.uncertainty.calibration import PROBABILITIES
from hmx.uncertainty.conformal import Conformal

World = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def world(n: int = 4000, seed: int = 0, *, honest: bool = True) -> World:
    """Errors skewed to the right, larger where the prediction is, by a spread that is told."""
    draw = np.random.default_rng(seed)
    center = draw.normal(1.3, 0.5, n)
    spread = draw.uniform(0.1, 0.6, n)
    scale = spread * (1 + (center > 1.8))
    truth = center + scale * (draw.gamma(2.0, 1.0, n) - 1.7)
    told = spread if honest else draw.permutation(spread)
    return center, told, truth, np.arange(n) // 20


def fit(*arrays: np.ndarray) -> Conformal:
    return Conformal.fit(*arrays)


@pytest.mark.parametrize("level", [50, 80, 90])
@pytest.mark.parametrize("honest", [True, False])
def test_shares_come_true_in_both_tails(level: int, honest: bool) -> None:
    learnt = fit(*world(honest=honest))
    center, spread, truth, _ = world(20_000, 1, honest=honest)
    found = interval_scores(truth, *learnt.interval(center, spread, level), level=level)
    assert found["picp"] == pytest.approx(level / 100, abs=0.02)
    assert found["qcp_lower"] == pytest.approx((1 - level / 100) / 2, abs=0.015)


def test_shares_come_true_where_predictions_are_high_and_where_they_are_low() -> None:
    learnt = fit(*world())
    center, spread, truth, _ = world(20_000, 1)
    lower, upper = learnt.interval(center, spread, 90)
    inside = (truth >= lower) & (truth <= upper)
    high = center > np.quantile(center, 0.9)
    assert inside[high].mean() == pytest.approx(0.9, abs=0.04)  # errors double there
    assert inside[~high].mean() == pytest.approx(0.9, abs=0.03)


def test_a_spread_is_believed_if_it_is_honest_and_not_if_it_is_noise() -> None:
    assert fit(*world()).trust >= 0.8
    assert fit(*world(honest=False)).trust <= 0.25


def test_an_honest_spread_gives_a_better_score_than_a_plain_interval() -> None:
    center, spread, truth, groups = world()
    plain = fit(center, np.zeros_like(spread), truth, groups)
    assert (plain.trust, plain.typical) == (0.0, 1.0)
    fresh, told, true, _ = world(20_000, 1)
    ours, theirs = (
        interval_scores(true, *learnt.interval(fresh, s, 90), level=90)["score"]
        for learnt, s in ((fit(center, spread, truth, groups), told), (plain, 0 * told))
    )
    assert ours < 0.93 * theirs


def test_intervals_never_cross_and_lie_inside_each_other() -> None:
    learnt = fit(*world())
    center, spread, *_ = world(500, 2)
    bounds = [learnt.interval(center, spread, level) for level in (95, 90, 80, 50, 1)]
    for (low, high), (inner_low, inner_high) in itertools.pairwise(bounds):
        assert (low <= inner_low).all()
        assert (inner_low <= inner_high).all()
        assert (inner_high <= high).all()


def test_a_map_of_intervals_has_no_steps() -> None:
    learnt = fit(*world())
    center = np.linspace(-1, 4, 5001)
    low, high = learnt.interval(center, np.full(5001, 0.3), 90)
    assert np.abs(np.diff(low)).max() < 0.01
    assert np.abs(np.diff(high)).max() < 0.01


def test_maps_keep_their_shape_precision_and_gaps() -> None:
    learnt = fit(*world())
    center = np.full((3, 4), 1.3, np.float32)
    center[0, 0] = np.nan
    low, high = learnt.interval(center, np.full((3, 4), 0.3, np.float32), 80)
    assert low.shape == high.shape == (3, 4)
    assert low.dtype == high.dtype == np.float32
    assert np.isnan(low).sum() == np.isnan(high).sum() == 1


def test_few_residuals_are_not_cut_into_strata() -> None:
    few = fit(*world(150))
    assert few.count == 150
    assert (few.table == few.table[0]).all()
    assert not (fit(*world()).table[0] == fit(*world()).table[-1]).all()


def test_one_group_cannot_judge_a_spread() -> None:
    center, spread, truth, groups = world()
    assert fit(center, spread, truth, 0 * groups).trust == 0


def test_json_values_give_the_same_intervals() -> None:
    learnt = fit(*world())
    again = Conformal.from_dict(json.loads(json.dumps(learnt.as_dict())))
    center, spread, *_ = world(50, 3)
    for one, two in zip(
        learnt.interval(center, spread, 90), again.interval(center, spread, 90), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_a_model_without_calibration_says_so() -> None:
    with pytest.raises(
        BadArgument, match=r"no calibration, .* holds samples out for one, or leave out level"
    ):
        Conformal().interval(np.zeros(3), np.zeros(3), 90)


def test_a_level_beyond_the_calibration_is_refused() -> None:
    learnt = fit(*world(150))
    learnt.interval(np.zeros(1), np.ones(1), 98)
    with pytest.raises(BadArgument, match=r"level=99 is beyond .* 150 residuals.* level=98 or"):
        learnt.interval(np.zeros(1), np.ones(1), 99)
    with pytest.raises(BadArgument, match=r"Ask for level=99 or less"):
        fit(*world()).interval(np.zeros(1), np.ones(1), 99.9)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(NotEnoughData, match="19 held-out samples are too few"):
        fit(*world(19))


def test_a_rank_is_the_probability_whose_quantile_is_the_truth() -> None:
    learnt = fit(*world())
    center, spread, _, _ = world(300, 2)
    for p in (0.003, 0.05, 0.5, 0.81, 0.99):
        truth = learnt.quantile(center, spread, p)
        np.testing.assert_allclose(learnt.rank(center, spread, truth), p, atol=1e-9)
    far = np.full(300, 1e6)
    np.testing.assert_allclose(learnt.rank(center, spread, center + far), 0.999)
    np.testing.assert_allclose(learnt.rank(center, spread, center - far), 0.001)


def test_ranks_of_new_truths_are_uniform() -> None:
    center, spread, truth, _ = world(20_000, 1)
    ranks = fit(*world()).rank(center, spread, truth)
    for p in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (ranks < p).mean() == pytest.approx(p, abs=0.02)


def test_a_rank_inside_a_point_mass_is_its_middle() -> None:
    flat = Conformal(np.zeros((1, len(PROBABILITIES))), (0.0,), count=50)
    zero = np.zeros(3)
    np.testing.assert_allclose(flat.rank(zero, zero, zero), 0.5)


def test_quantiles_beyond_the_residuals_are_refused_with_the_nearest() -> None:
    learnt = fit(*world(60))
    learnt.require_supported([0.1, 0.5])
    with pytest.raises(BadArgument, match=r"quantiles=0\.001 .* 60 residuals.* Ask for 0\.0164"):
        learnt.require_supported([0.001])
    assert (learnt.within(0.001), learnt.within(0.999)) == (1 / 61, 60 / 61)
