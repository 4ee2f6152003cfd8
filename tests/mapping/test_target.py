"""Laws of what a target goes through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument, NotEnoughData
from hmx.mapping.target import (
    TargetScaler,
    bounded,
    central,
    error_of,
    fit_target,
    forward,
    inverse,
    ratio_of,
    unit_of,
)

TRANSFORMS = ("none", "log", "log1p", "normalize")
CARBON = np.random.default_rng(0).lognormal(1, 0.8, 500)


@pytest.mark.parametrize("transform", TRANSFORMS)
@given(value=st.floats(1e-3, 1e3))
def test_going_back_undoes_going_forth(transform: str, value: float) -> None:
    scaler = fit_target(CARBON, transform)
    back = inverse(forward(np.array([value]), scaler), scaler)
    np.testing.assert_allclose(back, value, rtol=1e-6)


@pytest.mark.parametrize("transform", ["none", "log1p", "normalize"])
def test_zeros_come_back_as_zeros(transform: str) -> None:
    values = np.concatenate([np.zeros(5), CARBON])
    scaler = fit_target(values, transform)
    np.testing.assert_allclose(inverse(forward(values, scaler), scaler), values, atol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_training_values_become_z_scores(transform: str) -> None:
    z = forward(CARBON, fit_target(CARBON, transform))
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-12)


@pytest.mark.parametrize("transform", TRANSFORMS)
@given(power=st.integers(-6, 6))
def test_a_network_sees_the_same_numbers_in_every_unit(transform: str, power: int) -> None:
    plain, other = fit_target(CARBON, transform), fit_target(CARBON * 10.0**power, transform)
    z = forward(CARBON, plain)
    np.testing.assert_allclose(forward(CARBON * 10.0**power, other), z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inverse(z, other), inverse(z, plain) * 10.0**power, rtol=1e-9)
    sizes = {"sigma": 0.3, "relative": 0.1}
    here = error_of(CARBON, plain, **sizes)
    sizes["sigma"] *= 10.0**power
    np.testing.assert_allclose(error_of(CARBON * 10.0**power, other, **sizes), here, rtol=1e-9)


def test_the_unit_of_log1p_is_the_order_of_magnitude() -> None:
    for values, unit in (([2.6], 1), ([26.0], 10), ([0, 0, 0.026], 0.01), ([100, -7.0], 100)):
        assert unit_of(np.array(values)) == pytest.approx(unit, rel=1e-12)
    assert unit_of(np.zeros(3)) == unit_of(np.array([-1.0])) == 1
    far = fit_target(np.array([-4.0, 26.0, 31.0]), "log1p")  # -4 of 10 has a logarithm
    assert (far.unit, inverse(forward(np.array([-4.0]), far), far)) == (10, pytest.approx(-4))
    with pytest.raises(BadArgument, match="of the value -10: it takes values above -10"):
        fit_target(np.array([-10.0, 26.0]), "log1p")


def test_a_constant_target_has_a_scale() -> None:
    scaler = fit_target(np.full(4, 3.0), "normalize")
    assert inverse(forward(np.array([3.0]), scaler), scaler) == 3.0


@pytest.mark.parametrize(
    ("transform", "least", "words"),
    [
        ("log", 0.0, "transform='log' of the value 0: it takes values above 0. .*'log1p'"),
        ("log", -2.0, "transform='log' of the value -2: .*'normalize'"),
        ("log1p", -1.0, "transform='log1p' of the value -1: it takes values above -1. .*'norm"),
    ],
)
def test_a_value_without_a_logarithm_is_refused(transform: str, least: float, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        fit_target(np.array([least, 1.0]), transform)
    with pytest.raises(BadArgument, match=words):
        forward(np.array([least, 1.0]), fit_target(CARBON, transform))


def test_no_value_has_no_scale() -> None:
    with pytest.raises(NotEnoughData, match="no training sample to fit the target's scale to"):
        fit_target(np.zeros(0), "log1p")


def test_the_ratio_makes_sums_right_and_leaves_quantiles_alone() -> None:
    z = np.random.default_rng(1).normal(size=2000)
    scaler = TargetScaler("log", 1.0, 0.8)
    truth, median = inverse(z, scaler), np.full(2000, np.exp(1.0))
    ratio = ratio_of(truth, median)
    assert ratio == pytest.approx(np.exp(0.8**2 / 2), rel=0.1)  # that of a lognormal
    corrected = TargetScaler("log", 1.0, 0.8, ratio)
    assert central(np.zeros(2000), corrected).sum() == pytest.approx(truth.sum())
    np.testing.assert_array_equal(inverse(z, corrected), truth)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_error_is_carried_over_by_the_slope(transform: str) -> None:
    scaler = fit_target(CARBON, transform)
    sizes = np.array([0.5, 5.0, 50.0])
    native = np.sqrt(0.01**2 + (0.001 * sizes) ** 2)
    found = error_of(sizes, scaler, sigma=0.01, relative=0.001)
    np.testing.assert_allclose(
        found, forward(sizes + native / 2, scaler) - forward(sizes - native / 2, scaler), rtol=1e-3
    )


def test_what_cannot_be_negative_is_not_unless_truths_are() -> None:
    scaler, low = TargetScaler("log1p"), np.log1p(np.array([-0.6, -0.1, 0.0, 4.0]))
    truth = np.log1p(np.array([0.0, 3.0]))
    np.testing.assert_allclose(bounded(low, scaler, truth=truth), [0, 0, 0, 4], atol=1e-12)
    below = np.log1p(np.array([-0.2, 3.0]))
    np.testing.assert_allclose(bounded(low, scaler, truth=below), [-0.2, -0.1, 0, 4], atol=1e-12)
    free = TargetScaler("normalize", 1.0, 2.0)
    np.testing.assert_allclose(bounded(low, free, truth=truth), inverse(low, free))
    np.testing.assert_allclose(
        bounded(np.array([-2.0, 1.0]), free, truth=np.zeros(1), valid_range=(0, 2.5)), [0, 2.5]
    )
