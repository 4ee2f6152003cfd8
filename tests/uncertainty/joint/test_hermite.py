"""Laws of distributions as series in a normal number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval
from scipy.special import ndtr

from hmx.uncertainty.joint.dependence import LEVELS
from hmx.uncertainty.joint.hermite import (
    ORDERS,
    expansion,
    products,
    shifted_mean,
    shifted_variance,
    variance,
)

GRID = np.linspace(-8, 8, 400_001)  # normal numbers, and their weights in an integral
WEIGHT = np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * (GRID[1] - GRID[0])


def curves(n: int = 3) -> np.ndarray:
    """Quantiles of skewed distributions with point masses, (level, n)."""
    draw = np.random.default_rng(0)
    return 5 + np.sort(np.maximum(draw.gamma(0.5, 1, (len(LEVELS), n)) - 0.2, 0), axis=0)


def read(quantiles: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.interp(ndtr(g), LEVELS, quantiles)


def test_coefficients_are_integrals_with_normalised_polynomials() -> None:
    quantiles = curves()
    mean, a, _ = expansion(quantiles)
    for at in range(quantiles.shape[1]):
        y = read(quantiles[:, at], GRID)
        assert mean[at] == pytest.approx(y @ WEIGHT, abs=1e-6)
        for m in range(1, ORDERS + 1):
            polynomial = hermeval(GRID, np.eye(ORDERS + 1)[m]) / math.sqrt(math.factorial(m))
            assert a[m - 1, at] == pytest.approx((y * polynomial) @ WEIGHT, abs=1e-5)


def test_coefficients_and_rest_make_up_the_variance() -> None:
    quantiles = curves(50)
    _, a, rest = expansion(quantiles)
    np.testing.assert_allclose(np.square(a).sum(axis=0) + rest, variance(quantiles), rtol=1e-9)
    assert (rest > 0).all()
    y = read(quantiles[:, 0], np.random.default_rng(1).standard_normal(1_000_000))
    assert variance(quantiles)[0] == pytest.approx(y.var(), rel=0.01)


def test_one_certain_value_has_no_variance() -> None:
    mean, a, rest = expansion(np.full((len(LEVELS), 2), 0.7))
    np.testing.assert_array_equal(mean, 0.7)
    assert not a.any()
    assert not rest.any()


def test_pixels_whose_numbers_correlate_have_the_covariance_of_the_series() -> None:
    draw, rho, quantiles = np.random.default_rng(2), 0.6, curves(2)
    one, other = draw.standard_normal((2, 2_000_000))
    pair = one, rho * one + math.sqrt(1 - rho**2) * other
    values = [read(quantiles[:, at], g) for at, g in enumerate(pair)]
    _, a, _ = expansion(quantiles)
    series = sum(rho**m * a[m - 1, 0] * a[m - 1, 1] for m in range(1, ORDERS + 1))
    assert np.cov(*values)[0, 1] == pytest.approx(series, rel=0.02)


def test_a_shift_moves_mean_and_variance() -> None:
    quantiles, by = curves(4), 0.4
    shifted = [read(quantiles[:, at], GRID + by) for at in range(4)]
    means = [y @ WEIGHT for y in shifted]
    assert shifted_mean(quantiles.sum(axis=1), by) == pytest.approx(sum(means), rel=1e-6)
    variances = sum(np.square(y - y @ WEIGHT) @ WEIGHT for y in shifted)
    assert shifted_variance(products(quantiles), by) == pytest.approx(variances, rel=1e-5)
    assert shifted_variance(products(quantiles), 0.0) == pytest.approx(variance(quantiles).sum())
