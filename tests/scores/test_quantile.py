"""Laws of distributions given by knots."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hmx.errors import BadArgument
from hmx.scores import crps, pit, quantile_at, uniforms
from hmx.windows import Span, Window

LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
VALUE = st.integers(-8, 8).map(lambda n: n / 4)  # coarse, so that ties and point masses happen
KNOTS = st.lists(VALUE, min_size=5, max_size=5).map(sorted).map(np.array)
DENSE = (np.arange(100_000) + 0.5) / 100_000


def function(knots):
    """The quantile function at dense probabilities, by numpy's own interpolation."""
    return np.interp(DENSE, LEVELS, knots)


@given(VALUE, KNOTS)
def test_crps_is_twice_the_integral_of_the_pinball_loss(truth, knots):
    error = truth - function(knots)
    pinball = np.mean(error * (DENSE - (error < 0)))
    assert float(crps(truth, knots, LEVELS)) == pytest.approx(2 * pinball, abs=1e-4)


@given(VALUE, VALUE)
def test_crps_of_a_point_mass_is_the_absolute_error(truth, point):
    assert float(crps(truth, np.full(5, point), LEVELS)) == pytest.approx(abs(truth - point))
    assert float(crps(truth, [point], [0.3])) == abs(truth - point)


def test_crps_of_a_dense_normal_is_the_formula_of_gneiting_and_raftery():
    levels = np.linspace(0.0005, 0.9995, 1000)
    y = np.array([-2.0, 0.1, 1.5])
    knots = np.repeat(stats.norm.ppf(levels)[:, None], 3, axis=1)
    known = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / math.sqrt(math.pi)
    assert crps(y, knots, levels) == pytest.approx(known, abs=1e-4)


@given(KNOTS)
def test_expected_crps_is_least_for_the_true_distribution(knots):
    drawn = function(knots)[::97]
    other = np.sort(knots + np.array([0.3, -0.2, 0.5, 0.0, 1.0]))

    def expected(forecast):
        return crps(drawn, np.repeat(forecast[:, None], drawn.size, axis=1), LEVELS).mean()

    assert expected(knots) < expected(other) + 2e-3


@given(KNOTS, KNOTS)
def test_pixels_do_not_see_each_other(one, two):
    both = np.stack([one, two], axis=1)
    assert crps([0.5, -1.0], both, LEVELS).tolist() == [
        float(crps(0.5, one, LEVELS)),
        float(crps(-1.0, two, LEVELS)),
    ]


def test_crps_of_more_than_a_block_equals_that_of_its_pieces():
    rng = np.random.default_rng(0)
    knots = np.sort(rng.normal(size=(5, 130, 140)).astype("float32"), axis=0)
    truth = rng.normal(size=(130, 140)).astype("float32")
    whole = crps(truth, knots, LEVELS)
    assert whole.shape == (130, 140)
    assert whole.dtype == np.float64
    for row in range(130):
        np.testing.assert_array_equal(whole[row], crps(truth[row], knots[:, row], LEVELS))


@given(KNOTS, st.floats(0, 1))
def test_quantiles_are_interpolated_and_flat_in_the_tails(knots, p):
    found = float(quantile_at(knots, LEVELS, p))
    assert found == pytest.approx(float(np.interp(p, LEVELS, knots)), abs=1e-12)


@given(VALUE, KNOTS)
def test_pit_lies_between_the_probabilities_below_and_up_to_the_truth(truth, knots):
    low, high = (float(pit(truth, knots, LEVELS, v)) for v in (0.0, 1.0))
    assert low == pytest.approx((function(knots) < truth - 1e-9).mean(), abs=1e-4)
    assert high == pytest.approx((function(knots) < truth + 1e-9).mean(), abs=1e-4)
    assert float(pit(truth, knots, LEVELS, 0.25)) == pytest.approx(low + 0.25 * (high - low))


@pytest.mark.parametrize("knots", [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [-1, 0, 1, 2, 3]])
def test_pit_of_a_calibrated_forecast_is_uniform_even_with_point_masses(knots):
    rng = np.random.default_rng(1)
    truth = np.interp(rng.random(20_000), LEVELS, knots)
    field = np.repeat(np.array(knots, dtype=float)[:, None], truth.size, axis=1)
    found = pit(truth, field, LEVELS, rng.random(truth.size))
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_what_is_missing_stays_missing():
    knots = np.tile([[0.0], [1.0]], (1, 3))
    knots[1, 2] = np.nan
    truth = [0.5, np.nan, 0.5]
    for found in (
        crps(truth, knots, [0.1, 0.9]),
        pit(truth, knots, [0.1, 0.9], 0.5),
    ):
        assert np.isnan(found).tolist() == [False, True, True]
    assert np.isnan([crps(np.nan, [0.0], [0.5]), pit(np.nan, [0.0], [0.5], 0.5)]).all()


def test_float32_is_summed_in_float64():
    knots = np.array([[1e8], [1e8 + 8]], dtype="float32")
    assert float(crps(np.float32([0.0]), knots, [0.25, 0.75])[0]) == pytest.approx(
        float(crps([0.0], [[1e8], [1e8 + 8]], [0.25, 0.75])[0]), rel=1e-15
    )


@given(st.integers(-5, 5), st.integers(0, 5), st.integers(0, 9))
def test_draws_belong_to_the_pixel_whatever_the_window(top, left, seed):
    whole = uniforms(Window(Span(-5, 12), Span(0, 12)), seed=seed)
    part = Window(Span(top, top + 4), Span(left, left + 6))
    here = whole[top + 5 : top + 9, left : left + 6]
    np.testing.assert_array_equal(uniforms(part, seed=seed), here)


def test_draws_are_uniform_and_differ_between_seeds():
    one, two = (uniforms(Window.of((200, 200)), seed=seed) for seed in (1, 2))
    assert stats.kstest(one.ravel(), "uniform").pvalue > 1e-3
    for other in (two, np.roll(one, 1, axis=0), np.roll(one, 1, axis=1)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("levels", [[], [0.5, 0.5], [0.9, 0.1], [0.0, 0.5], [0.5, 1.0], [[0.5]]])
def test_levels_ascend_between_0_and_1(levels):
    with pytest.raises(BadArgument, match=r"ascend between 0 and 1.*Try levels="):
        quantile_at([0.0, 1.0], levels, 0.5)


def test_knots_have_the_levels_first():
    with pytest.raises(BadArgument, match=r"knots \(3, 2\) do not fit.*Pass knots of .*\(2, 3\)"):
        crps(np.zeros(3), np.zeros((3, 2)), [0.1, 0.9])


def test_knots_that_descend_are_refused():
    with pytest.raises(BadArgument, match=r"descend by 0\.5.*np\.sort"):
        crps([0.0], [[0.0], [1.0], [0.5]], [0.1, 0.5, 0.9])


def test_a_probability_lies_between_0_and_1():
    with pytest.raises(BadArgument, match=r"p=95 is not a probability"):
        quantile_at([0.0, 1.0], [0.1, 0.9], 95)
