"""Laws of the additive scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.scores import Score, skill

NAN = float("nan")
VALUES = st.floats(-1e3, 1e3, width=32) | st.just(NAN)
PIXELS = st.lists(st.tuples(VALUES, VALUES, st.floats(0, 10, width=32)), max_size=30)


def score(pixels):
    truth, forecast, weight = np.array(pixels, dtype=float).reshape(-1, 3).T
    return Score.of(truth, forecast, weight=weight)


def figures(state):
    return state.count, state.weight, state.bias, state.mae, state.rmse


@given(PIXELS, PIXELS, PIXELS)
def test_scores_of_pieces_add_up_to_the_score_of_the_whole(a, b, c):
    pieces = sum((score(a), score(b), score(c)), Score.zero())
    whole = score(a + b + c)
    assert figures(pieces) == pytest.approx(figures(whole), rel=1e-9, abs=1e-9, nan_ok=True)


@given(PIXELS)
def test_the_empty_state_changes_nothing(pixels):
    assert score(pixels) + Score.zero() == score(pixels)


def test_figures_equal_their_textbook_formulas():
    rng = np.random.default_rng(0)
    truth, forecast, weight = rng.normal(size=(3, 4, 5))
    weight = np.abs(weight)
    error = forecast - truth
    found = Score.of(truth, forecast, weight=weight)
    assert found.count == 20
    assert found.weight == pytest.approx(weight.sum())
    assert found.bias == pytest.approx(np.average(error, weights=weight))
    assert found.mae == pytest.approx(np.average(np.abs(error), weights=weight))
    assert found.rmse == pytest.approx(np.average(error**2, weights=weight) ** 0.5)


def test_bias_is_positive_when_the_forecast_is_too_high():
    assert Score.of([0.2, 0.2], [0.5, 0.7]).bias == pytest.approx(0.4)


@pytest.mark.parametrize("missing", [NAN, math.inf, -math.inf])
def test_missing_truth_is_never_counted_as_zero(missing):
    assert Score.of([1.0, missing], [2.0, 5.0]) == Score.of([1.0], [2.0])


def test_missing_forecast_is_left_out():
    assert Score.of([1.0, 4.0], [2.0, NAN]) == Score.of([1.0], [2.0])


@pytest.mark.parametrize("nothing", [0.0, NAN])
def test_pixels_without_weight_are_left_out(nothing):
    assert Score.of([1.0, 4.0], [2.0, 9.0], weight=[3.0, nothing]) == Score.of(
        [1.0], [2.0], weight=[3.0]
    )


def test_weights_are_broadcast_along_the_rows():
    truth, forecast = np.zeros((2, 3)), np.array([[1.0] * 3, [3.0] * 3])
    assert Score.of(truth, forecast, weight=np.array([[3.0], [1.0]])).mae == pytest.approx(1.5)


def test_sums_of_float32_are_kept_in_float64():
    truth = np.zeros(3, dtype=np.float32)
    found = Score.of(truth, np.array([1e8, 1.0, 1.0], dtype=np.float32))
    assert found.absolute == 1e8 + 2


def test_errors_of_unsigned_integers_do_not_wrap():
    found = Score.of(np.array([5], dtype=np.uint8), np.array([3], dtype=np.uint8))
    assert (found.bias, found.mae) == (-2, 2)


@pytest.mark.parametrize("empty", [Score.zero(), Score.of([], []), Score.of([NAN], [1.0])])
def test_an_empty_state_is_nan_without_a_warning(empty):
    assert empty.count == 0
    assert empty.weight == 0
    assert all(math.isnan(v) for v in (empty.bias, empty.mae, empty.rmse, skill(empty, empty)))


@given(PIXELS)
def test_skill_of_the_reference_against_itself_is_zero(pixels):
    state = score([*pixels, (0.0, 1.0, 1.0)])
    assert skill(state, state) == 0
    assert skill(state, state, measure="mae") == 0


def test_skill_is_one_minus_the_ratio_of_errors():
    truth = [0.0, 0.0]
    ours, theirs = Score.of(truth, [1.0, 1.0]), Score.of(truth, [1.0, 7.0])
    assert skill(ours, theirs) == pytest.approx(1 - 1 / 5)
    assert skill(ours, theirs, measure="mae") == pytest.approx(1 - 1 / 4)
    assert skill(theirs, ours) == pytest.approx(-4)


def test_skill_of_a_perfect_forecast_is_one():
    assert skill(Score.of([1.0], [1.0]), Score.of([1.0], [3.0])) == 1


def test_skill_against_a_perfect_reference_is_zero_or_minus_infinity():
    perfect, wrong = Score.of([1.0], [1.0]), Score.of([1.0], [3.0])
    assert skill(perfect, perfect) == 0
    assert skill(wrong, perfect) == -math.inf


def test_skill_refuses_scores_of_different_pixels():
    with pytest.raises(BadArgument, match=r"1 pixels and reference 2.*Mask both"):
        skill(Score.of([1.0], [1.0]), Score.of([1.0, 2.0], [1.0, 1.0]))


def test_score_refuses_shapes_that_differ():
    with pytest.raises(BadArgument, match=r"\(2,\) and forecast \(1,\) differ in shape"):
        Score.of([1.0, 2.0], [1.0])


@pytest.mark.parametrize("bad", [-1.0, math.inf])
def test_score_refuses_weights_that_are_negative_or_infinite(bad):
    with pytest.raises(BadArgument, match="weights are finite and not negative"):
        Score.of([1.0, 2.0], [1.0, 1.0], weight=[1.0, bad])
