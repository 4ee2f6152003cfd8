"""Laws of the baseline forecasters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument, NotEnoughData
from hmx.features.linear import NormalEquations, box_mean, count_features, features
from hmx.forecast.backtest.baselines.ridge import Ridge
from hmx.forecast.backtest.baselines.trends import (
    damped_trend,
    damping_sums,
    linear_trend,
    persistence,
    solve_damping,
)

LEADS = (1, 2, 4)
ALL = [persistence, linear_trend, damped_trend]
SHAPE = (24, 30)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def line(steps=5, seed=0):
    """Lines with a slope per pixel, (time, y, x), and the slope."""
    slope = noise(4, 5, seed=seed)
    return np.arange(steps)[:, None, None] * slope + 1.0, slope


def contagion(steps=6, seed=0, missing=slice(0)):
    """Grow a field by a fixed part of its 3 x 3 neighbourhood mean."""
    field = [np.abs(noise(*SHAPE, seed=seed))]
    field[0][missing] = np.nan
    for _ in range(steps - 1):
        field.append(field[-1] + 0.3 * box_mean(field[-1], 1))
    return np.stack(field)


def fit_damping(history, *, steps=3, damping=(0.0, 1.0)):
    return solve_damping(damping_sums(history, steps=steps), damping=damping)


def fitted(cube, *, origins=(2, 3), leads=(1,), static=None, history=3, radii=(1, 3)):
    """Ridge on all pixels, with next to no penalty."""
    layers = 0 if static is None else len(static)
    total = NormalEquations.zero(len(leads), count_features(history, radii) + layers)
    for origin in origins:
        x = features(cube[origin - history + 1 : origin + 1], static=static, radii=radii)
        changes = np.full((len(leads), *cube.shape[1:]), np.nan)
        for index, lead in enumerate(leads):
            if origin + lead < len(cube):
                changes[index] = cube[origin + lead] - cube[origin]
        total += NormalEquations.of(x, changes)
    return Ridge(leads, history, radii, *total.solve(1e-6))


# --- all of them ---------------------------------------------------------------------------------


def ridge(history, leads, **options):
    return fitted(noise(6, 4, 5, seed=8), leads=LEADS, origins=(1, 2), history=2).predict(
        history, leads, **options
    )


@pytest.mark.parametrize("forecaster", [*ALL, ridge])
def test_result_is_missing_exactly_where_the_origin_is(forecaster):
    history = noise(4, 4, 5)
    history[:3, 0, 0] = np.nan
    history[1, 1, :] = np.nan
    history[-1, 2, 2:4] = np.nan
    result = forecaster(history, LEADS)
    assert result.shape == (3, 4, 5)
    assert (np.isnan(result) == np.isnan(history[-1])).all()


@pytest.mark.parametrize("forecaster", [*ALL, ridge])
def test_clipping_keeps_the_result_in_the_valid_range(forecaster):
    history = 5 * noise(4, 4, 5)
    history[-1, 0, 0] = np.nan
    free, clipped = forecaster(history, LEADS), forecaster(history, LEADS, valid_range=(0, 1))
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1))
    assert np.nanmin(free) < 0
    assert np.nanmax(free) > 1


@pytest.mark.parametrize("forecaster", [*ALL, ridge])
def test_a_lead_does_not_depend_on_the_other_leads_asked_for(forecaster):
    history = noise(4, 4, 5)
    np.testing.assert_array_equal(forecaster(history, LEADS)[2:], forecaster(history, (4,)))


@pytest.mark.parametrize("forecaster", [*ALL, ridge])
def test_precision_of_the_history_is_kept_and_the_history_is_not_changed(forecaster):
    history = noise(4, 4, 5).astype(np.float32)
    before = history.copy()
    assert forecaster(history, LEADS).dtype == np.float32
    np.testing.assert_array_equal(history, before)


@pytest.mark.parametrize("forecaster", [*ALL, ridge])
@pytest.mark.parametrize("leads", [(), (0, 1), (-1,)])
def test_leads_that_are_not_ahead_are_refused(forecaster, leads):
    with pytest.raises(BadArgument, match="leads count steps ahead of the origin"):
        forecaster(noise(4, 4, 5), leads)


# --- persistence and trends ----------------------------------------------------------------------


def test_persistence_repeats_the_origin():
    history = noise(3, 4, 5)
    np.testing.assert_array_equal(persistence(history, LEADS), np.stack([history[-1]] * 3))


@given(st.integers(2, 6), st.integers(2, 6))
def test_linear_trend_continues_a_line_exactly(steps, length):
    history, slope = line(length)
    expected = [1.0 + (length - 1 + lead) * slope for lead in LEADS]
    np.testing.assert_allclose(linear_trend(history, LEADS, steps=steps), expected, atol=1e-9)


def test_linear_trend_has_the_slope_of_least_squares_on_the_known_steps():
    history = noise(6, 1, 2)
    history[3, 0, 1] = np.nan
    for pixel, when in enumerate(([2, 3, 4, 5], [2, 4, 5])):
        values = history[when, 0, pixel]
        expected = values[-1] + 2 * np.polyfit(when, values, 1)[0]
        found = linear_trend(history, (2,), steps=4)[0, 0, pixel]
        assert found == pytest.approx(expected)


def test_linear_trend_sees_only_the_last_steps():
    history = noise(6, 4, 5)
    np.testing.assert_array_equal(linear_trend(history, LEADS), linear_trend(history[-3:], LEADS))
    assert (linear_trend(history, LEADS, steps=4) != linear_trend(history, LEADS)).any()


def test_a_pixel_known_only_at_the_origin_persists():
    history = noise(4, 2, 2)
    history[:-1, 0, 0] = np.nan
    result = linear_trend(history, LEADS)
    assert (result[:, 0, 0] == history[-1, 0, 0]).all()
    assert (result[:, 1, 1] != history[-1, 1, 1]).all()


@pytest.mark.parametrize("phi", [0.3, 0.8])
def test_damped_trend_continues_a_damped_line_exactly(phi):
    slope = noise(4, 5)
    path = np.cumsum([phi**i for i in range(8)])[:, None, None] * slope
    result = damped_trend(path[:4], (1, 2, 4), steps=2)
    np.testing.assert_allclose(result, path[[4, 5, 7]], atol=1e-9)


def test_damping_minimises_the_squared_error_one_step_ahead():
    history = noise(5, 6, 7).cumsum(axis=0) + line(5)[1][0, 0] * np.arange(5)[:, None, None]
    history[2, 0, 0] = np.nan

    def loss(phi):
        steps = [history[: now + 1] for now in (1, 2, 3)]
        ahead = [s[-1] + phi * (linear_trend(s, (1,))[0] - s[-1]) for s in steps]
        return np.nansum((np.stack(ahead) - history[2:]) ** 2)

    grid = np.linspace(-1, 1, 2001)
    best = grid[np.argmin([loss(phi) for phi in grid])]
    assert 0 < best < 1
    assert fit_damping(history) == pytest.approx(best, abs=1e-3)


def test_damping_stays_within_its_bounds():
    swinging = noise(4, 5) * np.array([0, 1, 0.5, 0.75])[:, None, None]
    assert fit_damping(swinging, steps=2) == 0
    assert fit_damping(swinging, steps=2, damping=(-1, 1)) == pytest.approx(-0.5)
    assert fit_damping(line()[0] ** 3 * 1e3) == 1


@pytest.mark.parametrize("history", [noise(1, 4, 5), noise(2, 4, 5), np.ones((5, 4, 5))])
def test_damped_trend_persists_when_there_is_nothing_to_fit(history):
    np.testing.assert_array_equal(damped_trend(history, LEADS), persistence(history, LEADS))


# --- ridge ---------------------------------------------------------------------------------------


def test_box_mean_averages_the_known_pixels_of_the_square():
    layer = noise(9, 11)
    layer[2:5, 3:8] = np.nan
    padded = np.pad(layer, 2, constant_values=np.nan)
    expected = [[np.nanmean(padded[y : y + 5, x : x + 5]) for x in range(11)] for y in range(9)]
    np.testing.assert_allclose(box_mean(layer, 2), expected)


def test_box_mean_without_a_known_pixel_is_missing():
    layer = np.where(noise(40, 40, seed=1) > 0, noise(40, 40), np.nan)
    layer[10:30, 10:30] = np.nan
    expected = np.array([[_none_known(layer, y, x, 3) for x in range(40)] for y in range(40)])
    assert expected[13:27, 13:27].all()
    np.testing.assert_array_equal(np.isnan(box_mean(layer, 3)), expected)


def _none_known(layer, y, x, radius):
    square = layer[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
    return np.isnan(square).all()


def test_features_hold_state_change_neighbourhood_and_static_layers():
    history, static = noise(3, 6, 7), noise(1, 6, 7, seed=1)
    first, second = np.diff(history, axis=0)
    near = [box_mean(layer, 2) for layer in (history[-1], second, np.abs(second))]
    expected = [history[-1], first, second, *near, *static]
    np.testing.assert_array_equal(features(history, static=static, radii=(2,)), expected)


def test_ridge_learns_a_neighbourhood_rule():
    cube, other = contagion(), contagion(seed=1)
    result = fitted(cube, leads=(1, 2)).predict(other[:4], (1, 2))
    np.testing.assert_allclose(result, other[4:], rtol=1e-4)


def test_ridge_learns_from_static_layers():
    static = noise(2, *SHAPE, seed=5)
    cube = noise(5, *SHAPE).cumsum(axis=0) * 1e-3
    cube[4] = cube[3] + 0.5 + static[1]
    model = fitted(cube, static=static, origins=(3,))
    other = noise(2, *SHAPE, seed=6)
    history = noise(3, *SHAPE, seed=7) * 1e-3
    result = model.predict(history, (1,), static=other)
    np.testing.assert_allclose(result[0], history[-1] + 0.5 + other[1], atol=0.05)


def test_ridge_never_sees_targets_after_its_origins():
    cube = noise(8, *SHAPE).cumsum(axis=0)
    corrupt = cube.copy()
    corrupt[7] = 1e6
    clean, spoilt = (fitted(c, leads=(1, 2), origins=(2, 4)) for c in (cube, corrupt))
    np.testing.assert_array_equal(clean.coefficients, spoilt.coefficients)
    corrupt[6] = 1e6  # the target of lead 2 from the last origin, and of no other pair
    seen = fitted(corrupt, leads=(1, 2), origins=(2, 4))
    np.testing.assert_array_equal(clean.coefficients[0], seen.coefficients[0])
    assert (clean.coefficients[1] != seen.coefficients[1]).any()


def test_ridge_does_not_use_a_target_as_a_feature():
    cube = noise(6, *SHAPE)
    corrupt = cube.copy()
    corrupt[3] = noise(*SHAPE, seed=9)
    x = [features(c[:3]) for c in (cube, corrupt)]
    clean, spoilt = (fitted(c, origins=(2,)) for c in (cube, corrupt))
    np.testing.assert_array_equal(*x)
    np.testing.assert_array_equal(clean.mean, spoilt.mean)
    assert (clean.coefficients != spoilt.coefficients).any()


def test_an_origin_near_the_end_serves_the_leads_that_have_a_target():
    cube = noise(5, *SHAPE)
    both = fitted(cube, leads=(1, 2), origins=(2, 3))
    one, two = fitted(cube, leads=(1,), origins=(2, 3)), fitted(cube, leads=(2,), origins=(2,))
    np.testing.assert_array_equal(both.coefficients, [*one.coefficients, *two.coefficients])


def test_ridge_leaves_out_pixels_that_are_missing():
    cube = contagion(missing=slice(5, 12))
    result = fitted(cube).predict(cube[:5], (1,))
    np.testing.assert_allclose(result[0], cube[5], rtol=1e-4)


def test_ridge_takes_a_missing_feature_for_its_mean():
    static = 3 + noise(1, *SHAPE, seed=5)
    model = fitted(noise(5, *SHAPE).cumsum(axis=0), static=static)
    history = noise(3, *SHAPE, seed=2)
    gone, mean = np.full_like(static, np.nan), np.full_like(static, model.mean[0, -1])
    results = (model.predict(history, (1,), static=layer) for layer in (gone, mean))
    np.testing.assert_allclose(*results)


def test_normal_equations_of_blocks_add_up_to_those_of_the_whole():
    x, changes = noise(3, 20, 9), noise(2, 20, 9, seed=1)
    x[1, 3, 4] = changes[1, 5:7] = np.nan
    whole = NormalEquations.of(x, changes)
    blocks = [NormalEquations.of(x[:, s], changes[:, s]) for s in (slice(0, 6), slice(6, 20))]
    np.testing.assert_allclose(sum(blocks, NormalEquations.zero(2, 3)).gram, whole.gram)
    assert whole.gram[:, 0, 0].tolist() == [179, 161]


def test_normal_equations_solve_to_the_textbook_ridge():
    x, y, penalty = noise(3, 50) * [[1], [20], [0.1]] + 4, noise(1, 50, seed=1), 5.0
    mean, scale, weights = NormalEquations.of(x, y).solve(penalty)
    z = ((x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)).T
    expected = np.linalg.solve(z.T @ z + penalty * np.eye(3), z.T @ (y[0] - y.mean()))
    np.testing.assert_allclose(mean[0], x.mean(axis=1))
    np.testing.assert_allclose(scale[0], x.std(axis=1))
    np.testing.assert_allclose(weights[0], [y.mean(), *expected])


@pytest.mark.parametrize("penalty", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("constant", [0.1, 1e6 + 0.1])
def test_a_constant_feature_has_no_weight(constant, penalty):
    x = np.stack([noise(50), np.full(50, constant)])
    _, scale, weights = NormalEquations.of(x, 2 * x[:1]).solve(penalty)
    assert weights[0, 2] == pytest.approx(0, abs=1e-12)
    assert scale[0, 1] == 1


def test_a_lead_without_a_target_is_refused():
    with pytest.raises(NotEnoughData, match="lead number 2 of 2 has no pixel to learn from"):
        fitted(noise(5, *SHAPE), leads=(1, 3))


def test_ridge_refuses_what_it_was_not_fitted_for():
    model = fitted(noise(5, *SHAPE))
    history = noise(3, *SHAPE)
    with pytest.raises(BadArgument, match=r"leads \[2\] were not fitted \(fitted: \[1\]\)"):
        model.predict(history, (1, 2))
    with pytest.raises(BadArgument, match="history has 2 steps: this ridge looks at 3"):
        model.predict(history[1:], (1,))
    with pytest.raises(BadArgument, match="static has 1 layers: this ridge was fitted with 0"):
        model.predict(history, (1,), static=history[:1])
