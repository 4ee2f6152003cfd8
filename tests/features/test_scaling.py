"""Laws of the scaler: sums that add, and a way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmx.errors import NotEnoughData
from hmx.features.scaling import Moments, fit_scaler

VALUES = st.floats(-1e4, 1e4, width=32) | st.sampled_from([np.nan, np.inf])
ARRAYS = hnp.arrays("float32", st.integers(0, 40), elements=VALUES)
NAN = float("nan")


def figures(moments):
    return moments.n, moments.mean, moments.rms


@given(ARRAYS, ARRAYS, ARRAYS)
def test_moments_of_pieces_add_up_to_the_moments_of_the_whole(a, b, c):
    pieces = sum((Moments.of(a), Moments.of(b), Moments.of(c)), Moments())
    whole = Moments.of(np.concatenate([c, a, b]))
    assert figures(pieces) == pytest.approx(figures(whole), rel=1e-9, abs=1e-9)


@given(ARRAYS)
def test_moments_equal_their_textbook_formulas(values):
    kept = values[np.isfinite(values)].astype("float64")
    found = Moments.of(values)
    assert found.n == kept.size
    if kept.size:
        assert found.mean == pytest.approx(kept.mean(), abs=1e-6)
        assert found.rms == pytest.approx(np.sqrt((kept**2).mean()))
        assert found.std == pytest.approx(kept.std(), rel=1e-3, abs=1e-5 * found.rms)


def test_moments_of_nothing_are_zero():
    assert (Moments().mean, Moments().std, Moments().rms) == (0, 0, 0)
    assert Moments.of(np.array([NAN, np.inf])) == Moments()


def blocks(seed, shape=(5, 12, 9)):
    """One cube, whole and cut into three."""
    rng = np.random.default_rng(seed)
    hm = rng.random(shape).astype("float32").cumsum(0)
    hm[rng.random(shape) < 0.2] = NAN
    whole = {"hm": hm, "elevation": rng.normal(500, 200, shape[1:]).astype("float32")}
    cuts = [slice(0, 2), slice(2, 9), slice(9, 12)]
    return whole, [{name: array[..., cut, :] for name, array in whole.items()} for cut in cuts]


@given(st.integers(0, 50), st.integers(1, 6))
def test_a_fit_on_blocks_is_the_fit_on_the_whole(seed, h):
    whole, parts = blocks(seed)
    one, many = fit_scaler([whole], "hm", h)[0], fit_scaler(parts, "hm", h)[0]
    assert one.change == pytest.approx(many.change)
    for name in whole:
        assert one.mean[name] == pytest.approx(many.mean[name])
        assert one.std[name] == pytest.approx(many.std[name])


def test_a_fit_measures_mean_spread_and_change():
    whole, _ = blocks(1)
    hm = whole["hm"].astype("float64")
    scaler = fit_scaler([whole], "hm", 3)[0]
    assert scaler.mean["hm"] == pytest.approx(np.nanmean(hm))
    assert scaler.std["elevation"] == pytest.approx(whole["elevation"].std(), rel=1e-5)
    expected = [np.sqrt(np.nanmean((hm[lead:] - hm[:-lead]) ** 2)) for lead in (1, 2, 3)]
    assert scaler.change == pytest.approx(expected, rel=1e-6)


NUMBERS = st.floats(-1e3, 1e3)


def test_applied_training_data_has_mean_0_and_spread_1():
    whole, _ = blocks(2)
    scaler = fit_scaler([whole], "hm", 1)[0]
    for name, values in whole.items():
        scaled = scaler.apply(name, values)
        assert scaled.dtype == "float32"
        assert (np.isnan(scaled) == np.isnan(values)).all()
        assert np.nanmean(scaled) == pytest.approx(0, abs=1e-5)
        assert np.nanstd(scaled) == pytest.approx(1, rel=1e-5)


def test_leads_without_truth_repeat_the_last_change():
    series = np.array([0.0, 1.0, 4.0]).reshape(3, 1, 1)
    scaler = fit_scaler([{"hm": series}], "hm", 5)[0]
    assert scaler.change == pytest.approx([np.sqrt(5), 4, 4, 4, 4])


def test_each_step_has_its_usual_change_and_not_less_than_a_tenth_of_that_of_all():
    series = np.array([[0, 0], [3, 4], [3, 4], [NAN, NAN], [9, 9], [9, 9.5]])[:, None]
    scaler, sizes = fit_scaler([{"hm": series[..., :1]}, {"hm": series[..., 1:]}], "hm", 2)
    usual = scaler.change[0]
    assert usual == pytest.approx(np.sqrt((9 + 16 + 0 + 0 + 0 + 0.25) / 6))
    tenth, unknown = usual / 10, usual
    own = [np.sqrt(12.5), tenth, unknown, unknown, max(tenth, np.sqrt(0.125))]
    assert sizes[:, 0] == pytest.approx(own)
    far = [np.sqrt(12.5), scaler.change[1], np.sqrt((36 + 25) / 2), scaler.change[1]]
    assert sizes[:4, 1] == pytest.approx(far)


def test_a_target_that_never_changes_is_measured_in_its_spread():
    still = np.broadcast_to(np.array([[1.0, 3.0]]), (4, 1, 2))
    assert fit_scaler([{"hm": still}], "hm", 2)[0].change == (1.0, 1.0)
    flat = np.full((4, 2, 2), 7.0)
    assert fit_scaler([{"hm": flat}], "hm", 2)[0].change == (1.0, 1.0)


@given(st.floats(-1e6, 1e6, width=32), st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_a_constant_variable_has_a_spread_of_1(value, sizes):
    parts = [{"hm": np.arange(2.0), "flat": np.full(size, value, "float32")} for size in sizes]
    assert fit_scaler(parts, "hm", 1)[0].std["flat"] == 1.0


@given(st.floats(1e-3, 1e5))
def test_a_small_spread_is_no_rounding(value):
    values = np.float64(value) * np.array([0.99999, 1.00001])
    assert Moments.of(values).std == pytest.approx(value * 1e-5, rel=1e-3)


@pytest.mark.parametrize(
    "found",
    [
        [],
        [{"hm": np.full((3, 2, 2), NAN)}],
        [{"hm": np.array([1, NAN, 2]).reshape(3, 1, 1)}],
        [{"hm": np.ones((1, 2, 2))}],
    ],
    ids=["no block", "no pixel", "no pair", "one step"],
)
def test_nothing_to_learn_from_is_an_error(found):
    with pytest.raises(NotEnoughData) as caught:
        fit_scaler(found, "hm", 2)[0]
    assert str(caught.value) == (
        "'hm' has no valid pixel to learn from in the training blocks and years. "
        "Check its nodata value, scale and valid_range."
    )
