"""Laws of the fit: what it minimises, what it recovers, and that windows add up."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from scipy.optimize import minimize

from hmx.cube.grid import Grid
from hmx.uncertainty.joint.dependence import (
    LEVELS,
    PRIOR_REGION,
    PRIOR_WEIGHTS,
    RANGES,
    Dependence,
    LeadDependence,
)
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.uncertainty.joint.fit import (
    SIDES,
    DependenceFit,
    OriginSums,
    _Term,
    expected,
    fit_lead,
    region_of,
)
from hmx.uncertainty.joint.hermite import expansion, shifted_variance, variance
from hmx.windows import Window
from tests.make.fields import growing_quantiles, in_family, normal_field, read_quantiles

WEIGHTS = (0.1, 0.2, 0.15, 0.1, 0.0)
ALL = np.array([1 - sum(WEIGHTS), *WEIGHTS])


def world(side: int, seed: int = 0) -> np.ndarray:
    return growing_quantiles(np.random.default_rng(seed), (side, side))


def mild(side: int) -> np.ndarray:
    """Quantiles of distributions without long tails, so that few fields show their variance."""
    draw = np.random.default_rng(4)
    size = np.exp(0.5 * normal_field(draw, (side, side), in_family((0.0, 0.0, 1.0, 0.0, 0.0))))
    return (np.array(LEVELS) + np.square(LEVELS))[:, None, None] * size


def sums_of(
    quantiles: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None
) -> OriginSums:
    sums = OriginSums()
    sums.add(quantiles, truth, np.ones(truth.shape, bool) if valid is None else valid)
    return sums


def errors(quantiles: np.ndarray, n: int, seed: int = 1) -> list[np.ndarray]:
    draw, shape = np.random.default_rng(seed), quantiles.shape[1:]
    fields = (normal_field(draw, shape, in_family(WEIGHTS)) for _ in range(n))
    return [read_quantiles(quantiles, field) for field in fields]


def test_expected_errors_are_the_variance_of_draws() -> None:
    """V_b is the variance of block means over draws with the same weights."""
    quantiles, shape = mild(80).astype("float32"), (80, 80)
    grid = Grid(CRS(32622), Affine(300, 0, 5e5, 0, -300, 1e6), shape)
    dependence = Dependence((LeadDependence(WEIGHTS, region=0.0),), 300, nu=1e6)
    draws = Draws(Field(grid, Window.of(shape), dependence, seed=2), quantiles[:, None])
    maps = np.stack([values.copy() for _, _, values in draws(range(500))])
    blocks = sums_of(quantiles, maps[0]).blocks
    for side in SIDES:
        means = maps.reshape(500, 80 // side, side, 80 // side, side).mean(axis=(2, 4))
        seen = means.var(axis=0).mean()
        assert expected(blocks[side], side, ALL) == pytest.approx(seen, rel=0.1)
        assert expected(blocks[side], side, np.eye(6)[0]) < 0.8 * seen  # independent pixels


def test_a_fit_recovers_the_errors_of_blocks() -> None:
    quantiles = mild(160)
    found = fit_lead([sums_of(quantiles, truth) for truth in errors(quantiles, 16)])
    surplus = np.exp(0.1 * (1 + 1 / 16))  # for what origins differ by as a whole
    blocks = sums_of(quantiles, quantiles[0]).blocks
    weights = np.array([found.nugget, *found.weights])
    for side in SIDES:
        true = surplus * expected(blocks[side], side, ALL)
        assert expected(blocks[side], side, weights) == pytest.approx(true, rel=0.2)
        assert found.ratios[str(side)] == pytest.approx(surplus, abs=0.25)
    assert found.origins == len(found.shifts) == 16


def same_everywhere(curve: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    return curve[:, None, None] + np.zeros((side, side)), np.zeros((side, side))


def test_slopes_are_those_of_the_expected_errors() -> None:
    quantiles = world(40)
    blocks = sums_of(quantiles, errors(quantiles, 1)[0]).blocks
    for side in SIDES[:4]:
        term = _Term.of(side, blocks[side])
        _, slope = term.value(ALL)
        steps = 1e-5 * np.eye(6)
        risen = [(term.value(ALL + s)[0] - term.value(ALL - s)[0]) / 2e-5 for s in steps]
        np.testing.assert_allclose(slope, risen, rtol=1e-4)


def by_hand(quantiles: np.ndarray, truth: np.ndarray, sums: OriginSums) -> LeadDependence:
    """Minimise the formula of the module, pair by pair, with another method."""
    mean, a, rest = expansion(quantiles)
    rows, columns = (axis.ravel() for axis in np.mgrid[: mean.shape[0], : mean.shape[1]])
    active = shifted_variance(sums.pairs, sums.shift) / variance(quantiles).sum()
    start, terms = np.log([1 - sum(PRIOR_WEIGHTS), *PRIOR_WEIGHTS]), []
    for side in (5, 10, 20):
        corners = [*product(range(0, mean.shape[0] - side + 1, side), repeat=2)]
        parts = []
        for top, left in corners:
            at = (slice(top, top + side), slice(left, left + side))
            inside = (rows // side == top // side) & (columns // side == left // side)
            off = np.subtract.outer(rows[inside], rows[inside]) ** 2
            off += np.subtract.outer(columns[inside], columns[inside]) ** 2
            own = a[(slice(None), *at)].reshape(len(a), -1)
            parts.append(((truth - mean)[at].mean(), own, off, rest[at].sum()))
        terms.append((side, parts))

    def loss(x: np.ndarray) -> float:
        weights = np.exp(x) / np.exp(x).sum()
        total = 0.02 * np.square(x - start).sum()
        for side, parts in terms:
            spread = 0.0
            for _, own, off, left in parts:
                rho = weights[0] * (off == 0)
                for weight, sigma in zip(weights[1:], RANGES, strict=True):
                    rho = rho + weight * np.exp(-off / (4 * sigma**2))
                powers = (rho**m for m in range(1, len(own) + 1))
                pairs = sum(one @ power @ one for one, power in zip(own, powers, strict=True))
                spread += (pairs + left) / side**4
            square = np.square([error for error, *_ in parts])
            alone = np.square(square).sum() / square.sum() ** 2
            misfit = np.log(active * spread / square.sum()) - (alone - 1 / len(parts)) / 2 - 0.2
            total += 0.05 / (0.05 + alone) * misfit**2
        return total

    x = minimize(loss, start, method="BFGS", options={"gtol": 1e-6}).x
    fitted, prior = np.exp(x[1:]) / np.exp(x).sum(), np.array(PRIOR_WEIGHTS)
    return LeadDependence(
        tuple(prior + (fitted - prior) / 13)
    )  # of one origin, a thirteenth is taken


def test_one_origin_is_fitted_as_the_formula_says() -> None:
    quantiles = world(20)
    truth = errors(quantiles, 1)[0]
    sums = sums_of(quantiles, truth)
    assert abs(sums.shift) < 1  # a farther one counts as 1
    found = fit_lead([sums])
    np.testing.assert_allclose(found.weights, by_hand(quantiles, truth, sums).weights, atol=2e-3)
    assert not np.allclose(found.weights, PRIOR_WEIGHTS, atol=0.01)
    assert found.region == pytest.approx(region_of([sums.shift]), abs=1e-4)
    assert [*found.ratios] == ["5", "10", "20"]  # larger blocks do not fit the raster


def test_windows_add_up() -> None:
    """Whole blocks give the same sums whatever the windows, so memory needs no raster."""
    side, fits = 200, [DependenceFit(), DependenceFit()]
    quantiles = world(side).astype("float32")
    truth = errors(quantiles, 1)[0]
    valid = np.random.default_rng(3).random((side, side)) < 0.9
    valid[:30, :30] = False
    truth[~valid], quantiles[:, ~valid] = np.nan, np.nan
    fits[0].add(1, 7, quantiles, truth, valid)
    for y, x in product(range(0, side, 80), repeat=2):
        at = (slice(y, y + 80), slice(x, x + 80))
        fits[1].add(1, 7, quantiles[(slice(None), *at)], truth[at], valid[at])
    whole, parts = (fit.sums[1][7] for fit in fits)
    for side_, blocks in whole.blocks.items():
        other = parts.blocks[side_]
        assert blocks.count == other.count
        assert blocks.squares == pytest.approx(other.squares)
        assert blocks.rest == pytest.approx(other.rest)
        scale = np.abs(blocks.lags).max()
        np.testing.assert_allclose(blocks.lags, other.lags, atol=1e-5 * scale)
    assert whole.shift == pytest.approx(parts.shift, abs=1e-5)
    one, other = (fit.fit()[0] for fit in fits)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-3)


def test_blocks_without_half_their_truths_are_left_out() -> None:
    quantiles = world(20)
    truth = errors(quantiles, 1)[0]
    valid = np.zeros((20, 20), bool)
    valid[:10, :4] = True
    blocks = sums_of(quantiles, truth, valid).blocks
    assert [blocks[side].count for side in SIDES] == [2, 0, 0, 0, 0]
    # the mean of 20 independent pixels, and of 20 pixels that are one
    own = variance(quantiles)[valid].reshape(2, 20)
    assert expected(blocks[5], 5, np.eye(6)[0]) == pytest.approx((own.sum(axis=1) / 400).mean())
    even = np.array(LEVELS)  # a uniform distribution, of which the series leaves little
    spread = sums_of(*same_everywhere(even, 20), valid).blocks[5]
    assert expected(spread, 5, np.eye(6)[5]) == pytest.approx(variance(even), rel=0.02)


@pytest.mark.parametrize("by", [-0.5, 0.0, 0.8])
def test_the_shift_is_that_of_the_total(by: float) -> None:
    quantiles = world(40)
    draw = np.random.default_rng(0)
    shifted = [read_quantiles(quantiles, draw.standard_normal((40, 40)) + by) for _ in range(200)]
    assert sums_of(quantiles, np.mean(shifted, axis=0)).shift == pytest.approx(by, abs=0.03)


def test_a_shift_beyond_the_distributions_has_an_end() -> None:
    quantiles = world(20)
    assert sums_of(quantiles, quantiles[-1] + 1).shift == 3
    assert sums_of(quantiles, quantiles[0] - 1).shift == -3
    assert sums_of(quantiles * 0, np.zeros((20, 20))).shift == 0


def test_the_prior_of_the_region_is_worth_two_origins() -> None:
    assert region_of([]) == PRIOR_REGION
    assert region_of([0.3]) == pytest.approx((2 * 0.05 + 0.09) / 3)
    assert region_of([0.3, -0.4]) == pytest.approx((2 * 0.05 + 0.25) / 4)
    assert region_of([0.1, -0.2]) == PRIOR_REGION  # origins of the fit itself prove no less
    assert region_of([3.0, 3.0]) == 0.5


def test_without_errors_the_weights_are_the_prior() -> None:
    still = np.zeros((len(LEVELS), 40, 40))
    found = fit_lead([sums_of(still, still[0])])
    np.testing.assert_allclose(found.weights, PRIOR_WEIGHTS, atol=1e-3)
    assert (found.origins, found.shifts, found.ratios) == (1, (0.0,), {})


def test_leads_end_where_no_origin_has_a_truth() -> None:
    fit, quantiles = DependenceFit(), world(20)
    truth, valid = errors(quantiles, 1)[0], np.ones((20, 20), bool)
    assert fit.fit() == ()
    for lead, origin in ((1, 0), (1, 1), (2, 0)):
        fit.add(lead, origin, quantiles, truth, valid)
    fit.add(3, 0, quantiles, truth, ~valid)
    assert [lead.origins for lead in fit.fit()] == [2, 1]
    assert sum(fit.fit()[0].weights) <= 1
