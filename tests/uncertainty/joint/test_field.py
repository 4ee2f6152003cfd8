"""Fields and draws: the same bits for any window, exact variance, marginals untouched."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hmx.cube.grid import Grid
from hmx.features.terrain import row_sizes
from hmx.uncertainty.joint.dependence import (
    LEVELS,
    PRIOR_WEIGHTS,
    RANGES,
    Dependence,
    LeadDependence,
    phi_of,
)
from hmx.uncertainty.joint.draws import Draws, Region
from hmx.uncertainty.joint.field import Field
from hmx.uncertainty.joint.field import _Smooth as Smooth
from hmx.windows import Span, Window
from hmx.zones.table import about_intervals

PLANE = Grid(pyproj.CRS("EPSG:32632"), Affine(1000, 0, 4e5, 0, -1000, 5e6), (210, 330))
GLOBE = Grid(pyproj.CRS("EPSG:4326"), Affine(1.0, 0, -180, 0, -1.0, 90), (180, 360))
GLOBE_WIDTHS = row_sizes(GLOBE, Window.of(GLOBE.shape))[0]
PRIOR = Dependence.prior(1000.0)
WIDE = Dependence.prior(100_000.0)


def field(grid: Grid, window: Window, dependence: Dependence = PRIOR, seed: int = 5) -> Field:
    return Field(grid, window, dependence, seed)


def fields(grid: Grid, window: Window, draws: int, h: int, dependence: Dependence) -> np.ndarray:
    """(draws * h, y, x)."""
    found = field(grid, window, dependence).draws(range(draws), h)
    return np.stack([z.copy() for _, _, z in found])


def quantiles(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Skewed distributions between 0 and 1, some of one value, one pixel without data."""
    rng = np.random.default_rng(seed)
    centre, width = rng.random(shape), rng.exponential(0.05, shape)
    found = centre + width * np.expm1(norm.ppf(LEVELS))[:, None, None, None]
    found = np.clip(found, 0, 1).astype("float32")
    found[:, :, ::5] = found[13, :, ::5]
    found[:, :, 3, 3] = np.nan
    return found


@pytest.mark.parametrize(("grid", "dependence"), [(PLANE, PRIOR), (GLOBE, WIDE)])
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_window_has_the_bits_of_the_whole(grid: Grid, dependence: Dependence, data: st.DataObject):
    rows, columns = grid.shape
    top = data.draw(st.integers(0, rows - 1))
    left = data.draw(st.integers(0, columns - 1))
    y = Span(top, data.draw(st.integers(top + 1, min(rows, top + 70))))
    x = Span(left, data.draw(st.integers(left + 1, min(columns, left + 70))))
    part = fields(grid, Window(y, x), 1, 2, dependence)
    np.testing.assert_array_equal(part, whole(grid, dependence)[:, y.slice, x.slice])


def whole(grid: Grid, dependence: Dependence) -> np.ndarray:
    return _fields_of(grid, dependence.pixel_m)


@lru_cache
def _fields_of(grid: Grid, pixel_m: float) -> np.ndarray:
    return fields(grid, Window.of(grid.shape), 1, 2, Dependence.prior(pixel_m))


def test_globe_is_closed_at_the_date_line():
    across = fields(GLOBE, Window(Span(30, 60), Span(340, 380)), 2, 1, WIDE)
    left = fields(GLOBE, Window(Span(30, 60), Span(340, 360)), 2, 1, WIDE)
    right = fields(GLOBE, Window(Span(30, 60), Span(0, 20)), 2, 1, WIDE)
    np.testing.assert_array_equal(across, np.concatenate([left, right], axis=-1))
    # the step over the date line is like any other step
    steps = np.square(np.diff(across, axis=-1)).mean(axis=(0, 1))
    assert 0.3 < steps[19] / np.median(steps) < 3


@lru_cache
def at_an_edge(window: Window) -> np.ndarray:
    """1000 draws of three leads, (1000, 3, 8, 8)."""
    return fields(PLANE, window, 1000, 3, PRIOR).reshape(1000, 3, 8, 8)


EDGES = [Window(Span(0, 8), Span(0, 8)), Window(Span(202, 210), Span(160, 168))]


@pytest.mark.parametrize("window", EDGES)
def test_variance_is_one_at_each_lead_and_edge(window: Window):
    z = at_an_edge(window)
    # of 1000 draws the variance of a pixel scatters by 4.5 %
    assert np.all(np.abs(z.var(axis=0) - 1) < 0.2)
    assert np.all(np.abs(z.mean(axis=0)) < 0.15)


def test_correlation_is_that_of_the_kernels():
    z = fields(PLANE, Window(Span(90, 94), Span(100, 160)), 800, 1, PRIOR)
    for gap in (1, 3, 10, 30):
        found = (z[..., :-gap] * z[..., gap:]).mean()
        wanted = sum(
            weight * np.exp(-(gap**2) / (4 * sigma**2))
            for weight, sigma in zip(PRIOR_WEIGHTS, RANGES, strict=True)
        )
        assert found == pytest.approx(wanted, abs=0.05)


def test_correlation_over_leads_is_phi():
    z = at_an_edge(EDGES[0])
    assert (z[:, 0] * z[:, 1]).mean() == pytest.approx(0.75, abs=0.05)
    assert (z[:, 0] * z[:, 2]).mean() == pytest.approx(0.75**2, abs=0.05)
    assert phi_of(1.0) ** 5 == pytest.approx(phi_of(5.0)) == 0.75


@pytest.mark.parametrize("sigma", [300_000.0, 900_000.0])
def test_ranges_keep_their_length_on_the_ground(sigma: float):
    """On a grid of degrees, columns at 60 degrees north are half as far apart."""

    def alike(row: int, gap: int) -> float:
        taps = Smooth.of(GLOBE, Window(Span(row, row + 1), Span(100, 140)), sigma).x
        # with one node at 1 and the others at 0, pixels show the weight of that node
        weights = np.stack(
            [taps.along_rows(node[None])[0] for node in np.eye(taps.nodes, dtype="f4")]
        )
        return float((weights[:, 5] * weights[:, 5 + gap]).sum())

    width, half = (GLOBE_WIDTHS[row] for row in (89, 29))
    for gap in (2, 4, 8):
        assert alike(89, gap) == pytest.approx(
            np.exp(-((gap * width) ** 2) / (4 * sigma**2)), abs=0.01
        )
        assert alike(29, gap) == pytest.approx(
            np.exp(-((gap * half) ** 2) / (4 * sigma**2)), abs=0.01
        )


def test_coarser_pixels_keep_the_length_of_ranges():
    coarse = Grid(PLANE.crs, Affine(4000, 0, 4e5, 0, -4000, 5e6), (60, 60))
    z = fields(coarse, Window(Span(20, 24), Span(0, 60)), 800, 1, PRIOR)
    wanted = sum(
        weight * np.exp(-(12**2) / (4 * sigma**2))
        for weight, sigma in zip(PRIOR_WEIGHTS, RANGES, strict=True)
    )
    assert (z[..., :-3] * z[..., 3:]).mean() == pytest.approx(wanted, abs=0.06)


def test_draws_read_each_pixels_own_distribution():
    h, window = 2, Window(Span(60, 76), Span(250, 270))
    q = quantiles((h, 16, 20))
    made = Draws(field(PLANE, window), q)(range(400))
    values = np.stack([v.copy() for _, _, v in made]).reshape(400, h, 16, 20)
    whole = ~np.isnan(q[0])
    assert np.array_equal(np.isnan(values), np.broadcast_to(~whole, values.shape))
    flat = q[0] == q[-1]
    assert np.all(values[:, flat] == q[0][flat])
    assert np.all((values >= q[0])[:, whole])
    assert np.all((values <= q[-1])[:, whole])
    for p in (0.025, 0.1, 0.5, 0.9, 0.975):
        level = q[LEVELS.index(p)]
        wide = whole & ~flat & (level > q[0]) & (level < q[-1])  # not in a point mass
        assert (values[:, wide] <= level[wide]).mean() == pytest.approx(p, abs=0.02)


def test_first_draws_stay_when_more_follow():
    window = Window(Span(0, 12), Span(0, 12))
    q = quantiles((3, 12, 12))
    few = [v.copy() for _, _, v in Draws(field(PLANE, window), q)(range(3))]
    many = [v.copy() for _, _, v in Draws(field(PLANE, window), q)(range(9))]
    later = [v.copy() for _, _, v in Draws(field(PLANE, window), q)(range(3, 9))]
    np.testing.assert_array_equal(few, many[:9])
    np.testing.assert_array_equal(later, many[9:])


def test_first_leads_stay_when_more_follow():
    window = Window(Span(0, 12), Span(0, 12))
    q = quantiles((3, 12, 12))
    one = [v.copy() for _, _, v in Draws(field(PLANE, window), q[:, :1])(range(4))]
    all_ = [v.copy() for _, _, v in Draws(field(PLANE, window), q)(range(4))]
    np.testing.assert_array_equal(one, all_[::3])


def test_another_seed_gives_other_draws():
    window = Window(Span(0, 8), Span(0, 8))
    one, other = (
        next(iter(field(PLANE, window, seed=seed).draws(range(1), 1)))[2] for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 0.1


def test_shared_numbers_fill_their_distribution_evenly():
    region = Region.of(PRIOR, range(400), 4, seed=11)
    for lead in range(4):
        assert region.shift[:, lead].mean() == pytest.approx(0, abs=0.03)
        assert region.shift[:, lead].std() == pytest.approx(1, abs=0.06)
    assert np.square(region.shift[:, 0] * region.shift[:, 1]).mean() > 0
    assert np.mean(region.shift[:, 0] * region.shift[:, 1]) == pytest.approx(0.75, abs=0.06)
    # the mean of the squared factor is nu / (nu - 2)
    assert np.square(region.tail).mean() == pytest.approx(10 / 8, abs=0.05)


@pytest.mark.parametrize(("ratios", "times"), [((1.1, 0.8), None), ((0.9, 0.02), 50.0), ((), None)])
def test_errors_that_no_dependence_explains_are_named(
    ratios: tuple[float, ...], times: float | None
):
    lead = LeadDependence(origins=2, ratios={str(n): ratio for n, ratio in enumerate(ratios)})
    found = Dependence((LeadDependence(), lead), 1000.0)
    assert found.unexplained == (None if times is None else pytest.approx(times))
    text = about_intervals(200, 0, found)
    assert ("too narrow" in text) is (times is not None)
