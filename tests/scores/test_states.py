"""Laws of coverage, PIT histogram, events and structure."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.scores import Coverage, Events, PitHistogram, Score, Structure, pit, quantile_at, ssim_map
from hmx.scores.structure import HALO
from hmx.windows import TileGrid, Window

NAN = float("nan")


@pytest.mark.parametrize(("level", "share"), [(50, 0.5), (80, 0.8), (95, 0.95)])
def test_coverage_of_a_true_forecast_is_its_level_even_where_nothing_moves(level, share):
    rng = np.random.default_rng(0)
    levels, knots = [0.1, 0.6, 0.9], np.array([0.0, 0.0, 1.0])  # 60 % stay exactly where they were
    truth = np.interp(rng.random(40_000), levels, knots)
    field = np.repeat(knots[:, None], truth.size, axis=1)
    ends = [quantile_at(field, levels, 0.5 + side * share / 2) for side in (-1, 1)]
    found = Coverage.of(
        truth, *ends, pit=pit(truth, field, levels, rng.random(truth.size)), level=level
    )
    closed = ((truth >= ends[0]) & (truth <= ends[1])).mean()
    assert found.share == pytest.approx(share, abs=0.01)
    assert closed > share + 0.02 or level == 95


def test_interval_score_is_width_plus_a_fine_for_each_miss():
    found = Coverage.of(
        [0.0, 3.0, NAN], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], pit=[0.0, 1.0, 0.5], level=90
    )
    assert (found.weight, found.width, found.share) == (2.0, 1.0, 0.0)
    assert found.interval_score == pytest.approx(1 + 2 / 0.1 * 1.0)


def test_coverage_is_weighted():
    found = Coverage.of([0.5, 5.0], [0.0] * 2, [1.0] * 2, pit=[0.5, 1.0], level=80, weight=[3, 1])
    assert found.share == 0.75


@pytest.mark.parametrize("level", [0, 100, 180])
def test_a_level_is_a_percentage(level):
    with pytest.raises(BadArgument, match=f"level={level}: a level is a percentage"):
        Coverage.of([0.0], [0.0], [0.0], pit=[0.5], level=level)


def test_bins_of_the_pit_hold_their_own_values():
    found = PitHistogram.of([0.0, 0.049, 0.05, 0.999, 1.0, NAN], weight=[1, 1, 2, 1, 1, 9])
    assert found.weights == (2.0, 2.0, *[0.0] * 17, 2.0)
    assert found.shares.sum() == pytest.approx(1)
    assert np.isnan(PitHistogram().shares).all()


def test_events_are_counted_like_a_table_and_change_may_go_down():
    origin = np.zeros(5)
    truth, forecast = [0.2, -0.2, 0.2, 0.0, 0.0], [-0.3, 0.2, 0.0, 0.2, 0.1]
    table = Events.of(truth, origin, forecast, threshold=0.1, weight=[1, 2, 4, 8, 16])
    assert table == Events(hits=3.0, false_alarms=8.0, misses=4.0, correct_negatives=16.0)
    assert (table.precision, table.recall) == (3 / 11, 3 / 7)
    assert table.f1 == pytest.approx(2 / (11 / 3 + 7 / 3))


def test_persistence_foresees_no_event():
    table = Events.of([1.0, 0.0], [0.0, 0.0], [0.0, 0.0], threshold=0.1)
    assert (table.recall, table.f1) == (0.0, 0.0)
    assert math.isnan(table.precision)


def direct_ssim(x, y, data_range, radius=3):
    """SSIM by its definition, pixel by pixel, over the known pixels of the window."""
    found = np.full(x.shape, np.nan)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    for i, j in np.argwhere(np.isfinite(x + y)):
        box = (
            slice(max(0, i - radius), i + radius + 1),
            slice(max(0, j - radius), j + radius + 1),
        )
        known = np.isfinite(x[box] + y[box])
        a, b = x[box][known], y[box][known]
        cov = np.cov(a, b, bias=True)
        found[i, j] = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
        found[i, j] /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
    return found


def maps(shape=(14, 17), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    y = np.clip(x + 0.2 * rng.normal(size=shape), 0, 1)
    x[rng.random(shape) < 0.1] = np.nan
    y[rng.random(shape) < 0.1] = np.nan
    return x, y


def test_ssim_is_the_formula_of_wang_over_known_pixels():
    x, y = maps()
    np.testing.assert_allclose(ssim_map(x, y, data_range=1.0), direct_ssim(x, y, 1.0), atol=1e-12)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_ssim_of_a_map_with_itself_is_one_and_falls_with_noise(kind):
    x, y = maps()
    assert Structure.of(x, x, 1.0, kind=kind).ssim == pytest.approx(1)
    near, far = (Structure.of(x, x + s * (y - x), 1.0, kind=kind).ssim for s in (0.1, 1.0))
    assert far < near < 1


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_structure_of_tiles_with_their_halo_adds_up_to_the_whole_and_without_does_not(kind):
    x, y = maps((30, 41))
    whole = Structure.of(x, y, 1.0, kind=kind)

    def tiled(halo):
        total = Structure.zero()
        for tile in TileGrid((30, 41), (12, 12), halo=halo):
            cut = tile.read.slices
            total += Structure.of(x[cut], y[cut], 1.0, crop=tile.crop, kind=kind)
        return total

    assert tiled(HALO[kind]).ssim == pytest.approx(whole.ssim, abs=1e-12)
    assert abs(tiled(HALO[kind] - 1).ssim - whole.ssim) > 1e-9


def test_missing_data_does_not_pull_ssim_towards_zero():
    x = np.full((20, 20), 0.5)
    x[::2, ::3] = np.nan
    assert Structure.of(x, np.where(np.isnan(x), 0.9, x), 1.0).ssim == pytest.approx(1)


def test_ssim_refuses_maps_that_differ_and_a_range_of_nothing():
    with pytest.raises(BadArgument, match=r"compares two maps \(y, x\) of one shape"):
        ssim_map(np.zeros((3, 3)), np.zeros((3, 4)), data_range=1)
    with pytest.raises(BadArgument, match=r"data_range=0: .*above 0"):
        ssim_map(np.zeros((3, 3)), np.zeros((3, 3)), data_range=0)


SAMPLES = st.lists(
    st.tuples(*[st.floats(0, 1, width=32) | st.just(NAN)] * 3, st.floats(0, 9, width=32)),
    max_size=12,
)


def states(pixels):
    y, z, f, w = np.array(pixels, dtype=float).reshape(-1, 4).T
    return [
        Score.of(y, f, weight=w, crps=np.abs(y - f) / 2),
        Coverage.of(y, f - 0.1, f + 0.2, pit=z, level=80, weight=w),
        PitHistogram.of(z, weight=w),
        Events.of(y, z, f, threshold=0.2, weight=w),
        Structure.sums(f, weight=w),
    ]


def numbers(state):
    return np.hstack([np.ravel(value) for value in state.as_dict().values()])


@given(SAMPLES, SAMPLES)
def test_states_of_pieces_add_up_to_the_state_of_the_whole(one, two):
    for a, b, whole in zip(states(one), states(two), states(one + two), strict=True):
        assert numbers(a + b) == pytest.approx(numbers(whole), rel=1e-9, abs=1e-9)
        assert a + type(a).zero() == a


@given(SAMPLES)
def test_states_survive_json_to_the_last_digit(pixels):
    for state in states(pixels):
        assert type(state).from_dict(json.loads(json.dumps(state.as_dict()))) == state


def test_figures_of_empty_states_are_nan():
    empty = [Coverage().share, Coverage().width, Coverage().interval_score, Structure().ssim]
    assert np.isnan([*empty, Events().precision, Events().recall, Events().f1]).all()


def test_crps_of_a_score_is_the_weighted_mean_and_by_default_the_absolute_error():
    given_crps = Score.of([0.0, 0.0], [1.0, 2.0], weight=[1, 3], crps=[0.5, 0.1])
    assert given_crps.crps == pytest.approx((0.5 + 0.3) / 4)
    assert Score.of([0.0, 0.0], [1.0, 2.0], weight=[1, 3]).crps == pytest.approx(7 / 4)


def test_windows_smaller_than_the_ssim_window_still_count():
    assert Structure.of([[0.5]], [[0.5]], 1.0, crop=Window.of((1, 1))).ssim == pytest.approx(1)
