"""Laws of correlation lengths: pairs counted by hand, fields of known length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import rioxarray
import xarray as xr

from hmx.cube.cube import as_cube
from hmx.cube.steps import LearnUntil
from hmx.errors import NotEnoughData
from hmx.splits import correlation
from hmx.splits.correlation import Correlation, Variogram, lag_classes, residual_correlation
from tests.make.cubes import make_cube, times


def correlation_length(field: np.ndarray, size: tuple[float, float]) -> Correlation:
    """Estimate the correlation length of one field, from all pairs up to half its side apart."""
    field = np.asarray(field, "float64")
    return Variogram.of(field, size, classes=lag_classes(*field.shape, size)).fit(min(size))


def gaussian(size: int, length: float, *, shape: int = 1, seed: int = 0) -> np.ndarray:
    """A Gaussian field with correlation exp(-(d / length) ** shape), by its spectrum."""
    rng, wide = np.random.default_rng(seed), 3 * size
    apart = np.minimum(np.arange(wide), wide - np.arange(wide))
    covariance = np.exp(-((np.hypot(apart[:, None], apart) / length) ** shape))
    spectrum = np.sqrt(np.fft.fft2(covariance).real.clip(0))
    field = np.fft.ifft2(spectrum * np.fft.fft2(rng.normal(size=(wide, wide)))).real
    return field[:size, :size]


def walk(field_of_step, *, steps: int = 4, crs: str = "EPSG:32632", pixel: float = 300.0, **of):
    """A cube whose changes from step to step are given fields."""
    changes = np.stack([field_of_step(step) for step in range(steps - 1)])
    hm = np.concatenate([np.zeros((1, *changes.shape[1:])), np.cumsum(changes, axis=0)])
    ds = make_cube(changes.shape[1:], steps=steps, crs=crs, pixel=pixel, static=(), **of)
    ds = ds.drop_vars("hm").assign(hm=(("time", "y", "x"), hm))
    return as_cube(ds, target="hm")


def test_sums_are_those_of_all_pairs_each_counted_once():
    rng = np.random.default_rng(1)
    field = rng.normal(size=(9, 7)) + 100
    field[rng.random(field.shape) < 0.3] = np.nan
    pixel, classes = (2.0, 3.0), 6
    pairs, distance, squares = np.zeros((3, classes))
    for (a, b), (c, d) in itertools.combinations(np.argwhere(np.isfinite(field)), 2):
        apart = np.hypot((a - c) * 3.0, (b - d) * 2.0)
        index = round(apart / 2.0) - 1
        if index < classes:
            pairs[index] += 1
            distance[index] += apart
            squares[index] += (field[a, b] - field[c, d]) ** 2 / 2
    ours = Variogram.of(field, pixel, classes=classes)
    assert (ours.pairs == pairs).all()
    np.testing.assert_allclose(ours.distance, distance, rtol=1e-12)
    np.testing.assert_allclose(ours.squares, squares, rtol=1e-9, atol=1e-9)


def test_sums_of_two_fields_add_up():
    one, two = gaussian(30, 3), gaussian(30, 3, seed=1)
    apart = np.full((30, 20), np.nan)  # farther than any distance looked at
    both = Variogram.of(np.hstack([one, apart, two]), (1.0, 1.0), classes=15)
    added = Variogram.of(one, (1.0, 1.0), classes=15) + Variogram.of(two, (1.0, 1.0), classes=15)
    assert (both.pairs == added.pairs).all()
    np.testing.assert_allclose(both.squares, added.squares, rtol=1e-9)


@pytest.mark.parametrize("length", [5, 10])
@pytest.mark.parametrize("shape", [1, 2])
@pytest.mark.parametrize("noise", [0, 1])
def test_the_length_of_a_known_field_is_found_within_a_fifth(length, shape, noise):
    rng = np.random.default_rng(7)
    field = gaussian(300, length, shape=shape) + noise * rng.normal(size=(300, 300))
    field[rng.random(field.shape) < 0.3] = np.nan
    found = correlation_length(field, (250.0, 250.0))
    assert found.length_px == pytest.approx(length, rel=0.2)
    assert found.length_m == pytest.approx(250 * length, rel=0.2)
    assert found.range_m == pytest.approx(250 * length * np.log(20) ** (1 / shape), rel=0.35)
    assert found.noise == pytest.approx(noise / 2, abs=0.15)
    assert found.reached


def test_the_length_is_on_the_ground_whatever_the_shape_of_pixels():
    field = gaussian(400, 12)
    square, oblong = (
        correlation_length(f, size) for f, size in ((field, (10, 10)), (field[::3], (10, 30)))
    )
    assert oblong.length_m == pytest.approx(square.length_m, rel=0.1)
    assert oblong.length_px == pytest.approx(oblong.length_m / 10)


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_length_and_gets_the_least_block(seed):
    found = correlation_length(np.random.default_rng(seed).normal(size=(80, 90)), (100.0, 100.0))
    assert found.length_m == found.range_m == 0
    assert found.noise == 1
    assert (found.block_px, found.block_m) == (3, 300)
    assert "know nothing of each other" in str(found)


def test_a_block_is_three_lengths_or_the_range_of_what_reaches_farther():
    one = correlation_length(gaussian(300, 4, shape=2), (100.0, 100.0))
    assert one.block_m == pytest.approx(3 * one.length_m)
    two = correlation_length(gaussian(300, 2) + 0.5 * gaussian(300, 12, seed=1), (100.0, 100.0))
    assert two.range_m > 4 * two.length_m
    assert two.block_m == two.range_m
    assert two.block_px == np.ceil(two.block_m / 100)


def test_a_range_beyond_what_was_looked_at_says_so():
    rows = np.linspace(0, 1, 60)
    found = correlation_length(rows[:, None] + rows[None, :], (1000.0, 1000.0))
    assert not found.reached
    assert "or more: looked up to" in str(found)


def test_what_cannot_be_told_is_refused_with_what_to_type():
    for field in (np.full((50, 50), 0.1), np.full((50, 50), np.nan), np.eye(3)):
        with pytest.raises(NotEnoughData, match=r"cannot be estimated .*train\(block=48\)"):
            correlation_length(field, (1.0, 1.0))


def test_the_residuals_of_a_cube_are_its_changes():
    cube = walk(lambda step: gaussian(120, 5, seed=step))
    found = residual_correlation(cube)
    total = Variogram.of(gaussian(120, 5), (300.0, 300.0), classes=60)
    for step in (1, 2):
        total = total + Variogram.of(gaussian(120, 5, seed=step), (300.0, 300.0), classes=60)
    assert found.length_m == pytest.approx(total.fit(300.0).length_m, rel=1e-4)


def test_changes_after_the_holdout_are_not_looked_at():
    def cube(late: float):
        return walk(lambda step: gaussian(90, 4, seed=step) * (late if step > 1 else 1.0))

    years = times()  # 1990, 1995, 2000, 2005: the change of step 1 ends at 2000
    assert str(years[2])[:4] == "2000"
    one, other = (residual_correlation(cube(late), holdout=LearnUntil(2000)) for late in (1, 50))
    assert one == other
    assert residual_correlation(cube(1)) != residual_correlation(cube(50))


def test_windows_of_a_large_cube_tell_what_the_whole_does(monkeypatch):
    cube = walk(lambda step: gaussian(260, 4, seed=step), holes=False)
    whole = residual_correlation(cube)
    monkeypatch.setattr(correlation, "_SIDE", 70)
    seen = []
    read = correlation.read
    monkeypatch.setattr(
        correlation, "read", lambda c, window, *rest: seen.append(window) or read(c, window, *rest)
    )
    some = residual_correlation(cube, windows=8, seed=1)
    assert len(seen) == 8
    assert max(max(window.shape) for window in seen) <= 70
    assert some.length_m == pytest.approx(whole.length_m, rel=0.2)
    assert some == residual_correlation(cube, windows=8, seed=1)
    assert some != residual_correlation(cube, windows=8, seed=2)


def test_windows_without_data_do_not_count(monkeypatch):
    def holey(step):
        field = gaussian(140, 3, seed=step)
        field[:, 70:] = np.nan
        field[70:] = np.nan
        return field

    monkeypatch.setattr(correlation, "_SIDE", 70)
    found = residual_correlation(walk(holey), windows=1)
    assert found.length_px == pytest.approx(3, rel=0.3)


def test_near_the_pole_a_window_has_the_narrow_pixels_it_has(monkeypatch):
    monkeypatch.setattr(correlation, "_SIDE", 60)
    sizes = []
    of = Variogram.of
    monkeypatch.setattr(
        Variogram,
        "of",
        classmethod(lambda cls, f, size, **k: sizes.append(size) or of(f, size, **k)),
    )
    cube = walk(
        lambda step: gaussian(120, 3, seed=step), crs="EPSG:4326", pixel=0.5, corner=(0.0, 80.0)
    )
    residual_correlation(cube)
    widths = sorted({round(size[0] / 1e3) for size in sizes})
    assert widths == [24, 46]  # 0.5 degrees at 64.75 and at 34.75 degrees north
    assert isinstance(cube.data, xr.Dataset)


def test_real_change_correlates_over_some_pixels_and_far_less_than_the_map(real_data):
    years = list(range(1985, 2016, 5))
    files = [real_data / "amapa" / f"HM_{year}.tif" for year in years]
    planes = [rioxarray.open_rasterio(f, masked=True).squeeze("band", drop=True) for f in files]
    ds = xr.concat(planes, "time").assign_coords(time=years).to_dataset(name="hm")
    early, late = (residual_correlation(as_cube(ds), holdout=LearnUntil(t)) for t in (2005, 2015))
    for found in (early, late):
        assert 1 < found.length_px < 10
        assert 3 * found.length_m < found.range_m < 30_000  # fields, and districts of fields
        assert found.reached
    assert early.range_m == pytest.approx(late.range_m, rel=0.5)
