"""Laws of predictive distributions: what is read from knots, and how they are scored."""

from __future__ import annotations

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmx import scores as metrics
from hmx.networks import quantile as network
from hmx.networks.options import KNOTS
from hmx.scores import quantile as scored
from hmx.uncertainty.distribution import (
    exceedance,
    mean,
    quantile,
    rank,
    settle,
    shares,
    shift,
    shifted_knots,
)
from hmx.uncertainty.mixing import mixture

CHANCE = st.floats(0, 1)
VALUES = st.floats(-2, 2)
LEVELS = [(0.1, 0.5, 0.9), (0.05, 0.25, 0.5, 0.75, 0.95), KNOTS]
levels = pytest.mark.parametrize("knots", LEVELS, ids=len)


def curves(knots, shape=(6, 7), *, seed=0, ties=0.5, dtype="float64"):
    """Ascending knots, (q, y, x), with ties between neighbours."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(0.1, (len(knots), *shape)) * (rng.random((len(knots), *shape)) > ties)
    return (rng.normal(0, 0.3, shape) + gaps.cumsum(0)).astype(dtype)


def dense(values, knots, n=40_001):
    """The quantile function at the middles of n equal probabilities, (n, y, x)."""
    at = (np.arange(n) + 0.5) / n
    flat = values.reshape(len(knots), -1)
    found = np.stack([np.interp(at, knots, column) for column in flat.T], axis=-1)
    return found.reshape(n, *values.shape[1:])


@levels
def test_shares_are_positive_and_sum_to_one(knots):
    assert shares(knots).sum() == pytest.approx(1, abs=1e-12)
    assert (shares(knots) > 0).all()


@levels
def test_the_mean_is_the_integral_of_the_quantile_function(knots):
    values = curves(knots)
    np.testing.assert_allclose(mean(values, knots), dense(values, knots).mean(0), atol=1e-6)
    in_torch = network.mean(torch.from_numpy(values), knots).numpy()
    np.testing.assert_allclose(in_torch, mean(values, knots), rtol=0, atol=1e-12)


@levels
@pytest.mark.parametrize("ties", [0.0, 0.7, 1.0])
def test_the_crps_of_training_of_scores_and_of_its_integral_agree(knots, ties):
    values = curves(knots, ties=ties)
    rng = np.random.default_rng(1)
    truth = rng.normal(0.3, 0.6, values.shape[1:])
    truth[0] = values[len(knots) // 2, 0]  # exactly on a knot, or in a point mass
    trained = network.crps(torch.from_numpy(values), torch.from_numpy(truth), knots).numpy()
    judged = scored.crps(truth, values, knots)
    np.testing.assert_allclose(trained, judged, rtol=0, atol=1e-12)
    at = (np.arange(40_001) + 0.5) / 40_001
    off = truth - dense(values, knots)
    pinball = np.where(off >= 0, at[:, None, None] * off, (at[:, None, None] - 1) * off)
    np.testing.assert_allclose(trained, 2 * pinball.mean(0), rtol=0, atol=1e-6)
    if ties == 1.0:  # a point mass
        np.testing.assert_allclose(trained, np.abs(truth - values[0]), rtol=0, atol=1e-12)


@levels
def test_the_gradient_of_the_crps_is_that_of_its_differences(knots):
    values, truth = torch.from_numpy(curves(knots, ties=0.0)), torch.zeros(6, 7).double() + 0.1
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: network.crps(v, truth, knots), (values,))


@levels
@given(st.integers(0, 99), CHANCE, st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.5, 0.9]))
def test_a_rank_is_the_probability_at_which_a_truth_is_reached(knots, seed, draw, p, ties):
    """Inside a point mass any probability of it will do, and the draw picks one."""
    values, stretch, p = curves(knots, seed=seed, ties=ties), 0.3, round(p, 4)
    truth = quantile(values, knots, p, stretch=stretch)
    found = rank(values, knots, truth, np.full(truth.shape, draw), stretch=stretch)
    back = np.stack(
        [
            [quantile(values, knots, found[y, x], stretch=stretch)[y, x] for x in range(7)]
            for y in range(6)
        ]
    )
    np.testing.assert_allclose(back, truth, rtol=0, atol=1e-9)
    if ties == 0.0 and (knots[0] < p < knots[-1] or p > 1 or p < 0):
        np.testing.assert_allclose(found, p, atol=1e-9)


@levels
def test_ranks_of_what_a_distribution_says_are_uniform(knots):
    """Randomised inside point masses: 80 % of it here."""
    values = np.repeat(curves(knots, (1, 1), ties=0.8, seed=4), 20_000, axis=2)
    rng = np.random.default_rng(0)
    u = rng.random(20_000)
    truth = np.interp(u, knots, values[:, 0, 0])[None]
    found = np.sort(rank(values, knots, truth, rng.random(truth.shape)).ravel())
    assert np.abs(found - (np.arange(20_000) + 0.5) / 20_000).max() < 0.015


@levels
@pytest.mark.parametrize("ties", [0.0, 0.8])
def test_exceedance_and_quantile_say_the_same(knots, ties):
    values = curves(knots, ties=ties)
    for threshold in (-0.2, 0.1, 0.35):
        above = exceedance(values, knots, threshold)
        np.testing.assert_allclose(above, (dense(values, knots) > threshold).mean(0), atol=1e-4)
    for p in (0.02, 0.3, 0.5, 0.97):  # more than the p-quantile: at most 1 - p
        reached = quantile(values, knots, p)
        above = np.array(
            [[exceedance(values, knots, reached[y, x])[y, x] for x in range(7)] for y in range(6)]
        )
        assert (above <= 1 - p + 1e-9).all()


@given(hnp.arrays("float64", (15, 2, 3), elements=VALUES), st.floats(0.001, 0.5))
def test_settling_keeps_the_order_and_moves_no_knot_by_more_than_the_tolerance(raw, tolerance):
    values, origin = np.sort(raw, axis=0), raw[3] * 0.5
    found = settle(values, origin, tolerance=tolerance)
    assert (np.diff(found, axis=0) >= -1e-12).all()
    assert np.abs(found - values).max() <= tolerance + 1e-12
    # in fractions: a difference of floats hides an origin of 1e-44
    apart = np.vectorize(lambda value, at: abs(Fraction(value) - Fraction(at)), otypes=[object])
    near = (apart(values, origin) <= Fraction(tolerance)).astype(bool)
    far = np.abs(values - origin) >= 2 * tolerance
    np.testing.assert_array_equal(found[near], np.broadcast_to(origin, found.shape)[near])
    np.testing.assert_allclose(found[far], values[far], rtol=0, atol=1e-12)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (0.0, None), (None, 0.6)])
def test_settling_never_jumps(bounds):
    """Over a sweep of values it climbs by at most twice as much as they do."""
    sweep = np.linspace(-0.5, 1.5, 200_001)[:-1].reshape(4, 50_000, 1)  # as knots of many pixels
    for origin in (0.0, 0.015, 0.3, 0.59, 1.0):
        at = np.full(sweep.shape[1:], origin)
        found = settle(sweep, at, tolerance=0.01, valid_range=bounds).ravel()
        steps = np.diff(found)
        assert (steps >= -1e-12).all()
        # an origin near a bound, but not at it, draws in what the bound has drawn in
        both = bounds is not None and origin in (0.015, 0.59)
        assert steps.max() <= (4 if both else 2) * 1e-5 * (1 + 1e-6)
        low, high = bounds or (None, None)
        assert low is None or low <= found.min() <= origin * 2 / 3
        assert high is None or found.max() in (high, origin)


@pytest.mark.parametrize("bound", [0.0, 1.0])
def test_an_origin_at_a_bound_draws_in_no_farther_than_elsewhere(bound):
    inward = 1 - 2 * bound
    offsets = np.array([0.5, 1.0, 1.5, 1.75, 2.0, 3.0]).reshape(6, 1, 1) * 0.01
    origin = np.full((1, 1), bound)
    found = settle(bound + inward * offsets, origin, tolerance=0.01, valid_range=(0.0, 1.0))
    drawn = (found.ravel() - bound) * inward
    np.testing.assert_allclose(drawn, [0, 0, 0.01, 0.015, 0.02, 0.03], rtol=0, atol=1e-12)


def test_settled_values_keep_to_the_bounds_to_the_bit():
    rng = np.random.default_rng(0)
    origin = rng.random((300, 300)).astype("float32")
    values = np.sort(rng.normal(0.5, 0.6, (5, 300, 300)), axis=0).astype("float32")
    found = settle(values, origin, tolerance=1e-3, valid_range=(0.0, 1.0))
    assert (found.min(), found.max()) == (0, 1)
    away = (origin > 2e-3) & (origin < 0.998) & (np.abs(values - origin) > 2e-3)
    np.testing.assert_array_equal(found[away & (values <= 0)], 0)
    kept = away & (values > 2e-3) & (values < 0.998)
    np.testing.assert_array_equal(found[kept], values[kept])
    assert (np.diff(found, axis=0) >= 0).all()


def test_settling_gives_what_is_as_good_as_a_bound_that_bound():
    values = np.array([-0.1, 0.004, 0.3, 0.996, 1.2]).reshape(5, 1, 1)
    found = settle(values, np.full((1, 1), 0.5), tolerance=0.005, valid_range=(0.0, 1.0))
    assert found.ravel().tolist() == [0.0, 0.0, 0.3, 1.0, 1.0]
    kept = settle(values.astype("float32"), np.zeros((1, 1), "float32"), tolerance=0.005)
    assert kept.dtype == "float32"


@levels
@pytest.mark.parametrize("ties", [0.0, 0.8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_mixture_of_equal_members_is_the_member(knots, ties, count):
    values = curves(knots, ties=ties)
    mixed = mixture([values] * count, knots)
    if count == 1:
        assert mixed is values
    np.testing.assert_array_equal(mixed, values)
    still = np.broadcast_to(values[:1], values.shape)  # a point mass stays one
    np.testing.assert_allclose(mixture([still] * count, knots), still, rtol=0, atol=1e-12)


@levels
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("apart", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_the_mean_of_a_mixture_is_the_mean_of_its_members(knots, count, apart, dtype):
    """So totals that add up for each member do so for all together."""
    members = [curves(knots, seed=n, ties=0.3, dtype=dtype) + n * apart for n in range(count)]
    members = [member.astype(dtype) for member in members]
    wanted = np.mean([mean(member.astype("float64"), knots) for member in members], axis=0)
    mixed = mixture(members, knots).astype("float64")
    np.testing.assert_allclose(mean(mixed, knots), wanted, rtol=0, atol=3e-6)
    found = mixture([torch.from_numpy(member) for member in members], knots).numpy()
    np.testing.assert_allclose(found, mixed, rtol=0, atol=1e-6)


@levels
def test_the_order_of_the_members_of_a_mixture_does_not_matter(knots):
    one, other = curves(knots, seed=1, ties=0), curves(knots, seed=2, ties=0) + 1.0
    mixed = mixture([one, other], knots)
    np.testing.assert_array_equal(mixed, mixture([other, one], knots))
    assert (np.diff(mixed, axis=0) >= 0).all()
    assert (mixed.min(0) >= np.minimum(one[0], other[0]) - 1e-12).all()
    half = np.minimum(one[-1], other[-1]) < np.maximum(one[0], other[0])  # those that lie apart
    middle = mixed[knots.index(0.5)]
    assert (middle[half] >= np.minimum(one[-1], other[-1])[half] - 0.1).all()


def test_what_is_not_a_number_stays_so():
    values = curves(KNOTS, dtype="float32")
    values[:, 2, 3] = np.nan
    for found in (
        mean(values, KNOTS),
        quantile(values, KNOTS, 0.3),
        settle(values, np.zeros((6, 7), "float32"), tolerance=0.1, valid_range=(0, 1))[4],
    ):
        assert found.dtype == "float32"
        assert np.isnan(found[2, 3])
        assert np.isfinite(found).sum() == 41


def test_scores_and_distributions_share_their_knots():
    assert hasattr(metrics, "Cell")
    assert len(KNOTS) == 13
    assert KNOTS[6] == 0.5
    np.testing.assert_allclose(np.array(KNOTS) + np.array(KNOTS)[::-1], 1)


@given(by=st.floats(-1.5, 1.5), seed=st.integers(0, 99))
def test_a_shift_moves_all_of_a_distribution_and_keeps_point_masses(by: float, seed: int) -> None:
    """The new quantile for p is the old one for F(F^-1(p) + by)."""
    rng = np.random.default_rng(seed)
    knots = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    values = np.sort(rng.standard_normal((9, 4, 5)), axis=0).astype("float32")
    values[:, 0] = 0.25  # certain
    values[2:5, 1] = values[2, 1]  # a point mass
    found = shift(values, knots, by)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[:, 0] == 0.25).all()
    normal = NormalDist()
    for number, knot in enumerate(knots):
        moved = np.clip(normal.cdf(normal.inv_cdf(knot) + by), knots[0], knots[-1])
        want = quantile(values, knots, float(moved))
        np.testing.assert_allclose(found[number], want, atol=1e-6)
    grown = mean(found, knots) - mean(values, knots)
    assert (grown * np.sign(by) >= -1e-6).all()
    assert shift(values, knots, 0.0) is values


@given(by=st.floats(-1, 1), seed=st.integers(0, 99))
def test_the_total_of_shifted_maps_follows_from_sums_of_knots(by: float, seed: int) -> None:
    knots = (0.05, 0.25, 0.5, 0.75, 0.95)
    values = np.sort(np.random.default_rng(seed).random((5, 6, 7)), axis=0)
    sums = values.sum(axis=(1, 2))
    first, share = shifted_knots(knots, by)
    want = shares(knots) @ (sums[first] + (sums[first + 1] - sums[first]) * share)
    assert mean(shift(values, knots, by), knots).sum() == pytest.approx(want)
