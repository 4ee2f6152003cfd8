"""Laws of windows: a point sees in training what the map shows it, number by number."""

import numpy as np
import pytest
import xarray as xr

import hmx.points.samples
from hmx.cube.bands import as_bands
from hmx.errors import BadArgument, MissingVariable, NotEnoughData
from hmx.features.boxes import box_means
from hmx.mapping.inputs import RawWindows, assemble_bands, centre, fit_band_scaler, gather, scaled
from hmx.windows import Span, Window
from tests.make.pointworlds import make_covariates, make_samples, make_scaler, make_spec

KINDS = {
    "months": {},
    "years": {"time": "year", "steps": 8},
    "dates": {"time": "datetime", "steps": 8},
    "chunks": {"chunks": {"y": 16, "x": 16}},
    "south up": {"turn": True},
}
NETWORKS = {"plain": {}, "wide": {"window": 9}, "coarse": {"window": 3, "coarse": (1, 6)}}


def world(kind, network, **more):
    options = dict(KINDS[kind]) | more
    turn = options.pop("turn", False)
    ds = make_covariates(**options)
    bands = as_bands(ds.isel(y=slice(None, None, -1)) if turn else ds)
    return bands, make_spec(bands, **NETWORKS[network])


def stack_of(bands, spec, scaler, core, step):
    """The stack of a tile, as the map assembles it."""
    halo, margin = spec.halo, spec.margin
    read = Window(core.y.grow(halo), core.x.grow(halo))
    arrays = bands.read(read, Span(step + 1 - spec.steps, step + 1))
    inner = Window(core.y.grow(margin), core.x.grow(margin)).within(read)
    return assemble_bands(arrays, spec, scaler, inner=inner)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_window_of_a_point_equals_the_stack_of_any_tile_around_it(kind, network, monkeypatch):
    monkeypatch.setattr(hmx.points.samples, "CHUNK", 16)
    bands, spec = world(kind, network)
    scaler, samples = make_scaler(bands, spec), make_samples(bands)
    windows = scaled(gather(bands, samples, spec), spec, scaler)
    rng = np.random.default_rng(3)
    side = spec.network.window
    for i in range(len(samples)):
        up, left, down, right = rng.integers(0, 12, size=4)
        y, x = int(samples.row[i]), int(samples.column[i])
        core = Window(
            Span(max(0, y - up), min(bands.grid.shape[0], y + 1 + down)),
            Span(max(0, x - left), min(bands.grid.shape[1], x + 1 + right)),
        )
        stack = stack_of(bands, spec, scaler, core, int(samples.step[i]))
        at = (slice(y - core.y.start, None), slice(x - core.x.start, None))
        np.testing.assert_array_equal(
            windows.dynamic[i], stack.dynamic[(..., *at)][..., :side, :side]
        )
        np.testing.assert_array_equal(
            windows.static[i], stack.static[(..., *at)][..., :side, :side]
        )


@pytest.mark.parametrize("network", NETWORKS)
def test_the_values_of_a_centre_are_the_features_of_its_pixel(network):
    bands, spec = world("months", network)
    scaler, samples = make_scaler(bands, spec), make_samples(bands)
    values = centre(scaled(gather(bands, samples, spec), spec, scaler))
    arrays = bands.read(Window.of(bands.grid.shape), Span(0, 12))
    features = assemble_bands(arrays, spec, scaler).features()
    np.testing.assert_array_equal(values, features[:, samples.row, samples.column].T)
    assert len(spec.features) == len(features)


def test_each_feature_is_named_after_its_band():
    bands, spec = world("months", "coarse")
    arrays = bands.read(Window.of(bands.grid.shape), Span(0, 12))
    arrays = {name: np.full_like(a, i + 1) for i, (name, a) in enumerate(arrays.items())}
    scaler = make_scaler(bands, spec)
    same = type(scaler)(dict.fromkeys(scaler.mean, (0.0,)), dict.fromkeys(scaler.std, (1.0,)))
    values = assemble_bands(arrays, spec, same).features()[:, 0, 0]
    assert [bands.variables[int(v) - 1] for v in values] == list(spec.features)


def test_what_is_shown_is_scaled_and_never_missing():
    bands, spec = world("years", "plain")
    scaler, samples = make_scaler(bands, spec), make_samples(bands)
    raw = gather(bands, samples, spec)
    windows = scaled(raw, spec, scaler)
    assert np.isnan(raw.dynamic).any()
    for shown, values in ((windows.dynamic, raw.dynamic), (windows.static, raw.static)):
        known = np.isfinite(values)
        assert np.isfinite(shown).all()
        assert shown.dtype == np.float32
        np.testing.assert_array_equal(shown[..., -1, :, :], known.all(axis=-3))
        assert (shown[..., :-1, :, :][~known] == 0).all()
    elevation = raw.static[:, 0]
    z = np.where(np.isfinite(elevation), (elevation - 500) / np.float32(300), 0)
    np.testing.assert_allclose(windows.static[:, 0], z, rtol=1e-6)


def test_beyond_the_edge_of_the_cube_all_is_missing():
    bands, spec = world("months", "plain")
    raw = gather(bands, make_samples(bands), spec)
    assert np.isnan(raw.static[0, :, :2]).all()  # the north-western corner
    assert np.isnan(raw.dynamic[0, :, :, :, :2]).all()
    assert np.isfinite(raw.static[0, :, 2:, 2:]).any()


def test_windows_go_round_a_globe():
    ds = make_covariates((9, 36), crs="EPSG:4326", pixel=10.0, corner=(-180.0, 45.0), gaps=False)
    bands = as_bands(ds)
    spec, samples = make_spec(bands), make_samples(bands)
    raw = gather(bands, samples, spec)
    lst = ds["lst"].values
    np.testing.assert_array_equal(raw.dynamic[0, :, 0, 2, :], lst[:, 0, [-2, -1, 0, 1, 2]])
    assert np.isnan(raw.dynamic[0, :, :, :2]).all()  # but not over the pole


def test_a_signal_of_one_year_stands_at_its_step():
    ds = make_covariates(time="year", steps=8, gaps=False)  # 1990, 1995 ... 2025
    ds["lst"] = ds["lst"] * 0 + ds["time"]
    bands = as_bands(ds)
    spec = make_spec(bands, history=3)
    samples = make_samples(bands, history=3)
    raw = gather(bands, samples, spec)
    years = 1990 + 5 * (samples.step[:, None] + np.array([-2, -1, 0]))
    np.testing.assert_array_equal(raw.dynamic[:, :, 0, 2, 2], years)


def test_months_stand_in_their_order_whatever_that_of_the_file():
    ds = make_covariates(gaps=False)
    ds["lst"] = ds["lst"] * 0 + ds["time"]
    mixed = ds.isel(time=[11, 3, 0, 1, 2, 10, 4, 5, 9, 6, 7, 8])
    bands = as_bands(mixed)
    raw = gather(bands, make_samples(bands), make_spec(bands))
    np.testing.assert_array_equal(raw.dynamic[5, :, 0, 2, 2], np.arange(1, 13))


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 30])
def test_box_means_are_means_of_what_is_known(radius):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 14, 17))
    values[:, rng.random((14, 17)) < 0.3] = np.nan
    found = box_means(values, Window(Span(2, 9), Span(0, 17)), radius)
    for y in range(2, 9):
        for x in range(17):
            square = values[:, max(0, y - radius) : y + radius + 1, max(0, x - radius) :][
                ..., : x + radius + 1 - max(0, x - radius)
            ]
            empty = np.isnan(square).all()
            expected = np.nan if empty else np.nanmean(square, axis=(1, 2))
            np.testing.assert_allclose(found[:, y - 2, x], expected, rtol=1e-12)


def test_a_box_mean_does_not_depend_on_the_tile_to_the_last_bit():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(60, 70)) * 10.0 ** rng.integers(-6, 6, (60, 70))).astype("float32")
    whole = box_means(values, Window.of((60, 70)), 7)
    part = box_means(values[10:50, 5:60], Window(Span(7, 33), Span(7, 48)), 7)
    np.testing.assert_array_equal(part, whole[17:43, 12:53])


def test_scales_come_from_training_samples_alone():
    bands, spec = world("months", "coarse")
    samples = make_samples(bands)
    raw = gather(bands, samples, spec)
    train = np.arange(len(samples)) < 20
    scaler = fit_band_scaler(raw, train, spec)
    other = RawWindows(raw.dynamic.copy(), raw.static.copy())
    other.dynamic[~train] = other.dynamic[~train][::-1] * 7
    other.static[~train] = -3
    assert fit_band_scaler(other, train, spec) == scaler
    assert len(scaler.mean["lst"]) == 12
    july = raw.dynamic[train, 6, 0]
    assert scaler.mean["lst"][6] == pytest.approx(np.nanmean(july.astype(float)), rel=1e-9)
    assert scaler.std["lst"][6] == pytest.approx(np.nanstd(july.astype(float)), rel=1e-6)


@pytest.mark.parametrize("network", ["plain", "coarse"])
def test_each_month_is_scaled_by_its_own_numbers(network):
    bands, spec = world("months", network)
    raw = gather(bands, make_samples(bands), spec)
    windows = scaled(raw, spec, fit_band_scaler(raw, np.arange(30), spec))
    for month in range(12):
        for band in range(2):
            z = windows.dynamic[:, month, band].astype(float)
            z = z[np.isfinite(raw.dynamic[:, month, band])]
            assert z.mean() == pytest.approx(0, abs=1e-5)
            assert z.std() == pytest.approx(1, abs=1e-5)


def test_a_calendar_has_one_scale_for_all_its_steps():
    bands, spec = world("years", "plain")
    raw = gather(bands, make_samples(bands), spec)
    scaler = fit_band_scaler(raw, np.arange(30), spec)
    assert len(scaler.mean["lst"]) == len(scaler.std["ndvi"]) == 1
    values = raw.dynamic[:, :, 0].astype(float)
    assert scaler.mean["lst"][0] == pytest.approx(np.nanmean(values), rel=1e-9)


def test_a_constant_band_has_the_scale_one():
    bands, spec = world("months", "plain")
    raw = gather(bands, make_samples(bands), spec)
    raw.static[:] = 4
    assert fit_band_scaler(raw, np.arange(30), spec).std["slope"] == (1.0,)


def test_a_band_without_data_at_the_samples_is_an_error():
    bands, spec = world("months", "plain")
    raw = gather(bands, make_samples(bands), spec)
    raw.static[:, 1] = np.nan
    with pytest.raises(NotEnoughData, match=r"'slope' has no known value .* Leave it out"):
        fit_band_scaler(raw, np.arange(30), spec)


def test_a_logarithm_is_taken_where_the_spec_says_so():
    from dataclasses import replace

    bands, spec = world("months", "coarse")
    logged = replace(spec, transforms={"lst": "log"})
    samples = make_samples(bands)
    raw = gather(bands, samples, logged).dynamic[:, :, 0]
    plain = gather(bands, samples, spec).dynamic[:, :, 0]
    np.testing.assert_allclose(raw, np.log1p(plain), rtol=1e-6)


def test_a_missing_band_is_named():
    bands, spec = world("months", "plain")
    arrays = bands.read(Window.of((4, 4)), Span(0, 12))
    del arrays["slope"]
    scaler = make_scaler(bands, spec)
    with pytest.raises(MissingVariable, match=r"'slope' is not in the window \(has: .*lst"):
        assemble_bands(arrays, spec, scaler)


def test_a_window_larger_than_the_cube_is_refused():
    bands = as_bands(make_covariates((8, 30)))
    with pytest.raises(BadArgument, match=r"window=9 is larger .* 8 x 30 px.*Pass window=5"):
        gather(bands, make_samples(bands), make_spec(bands, window=9))


def test_a_sample_without_its_history_is_refused():
    bands = as_bands(make_covariates(time="year", steps=8))
    samples = make_samples(bands, history=2)
    with pytest.raises(NotEnoughData, match=r"history=7.*join\(\.\.\., history=7\)"):
        gather(bands, samples, make_spec(bands, history=7))


def test_only_squares_with_samples_are_read_and_each_once(monkeypatch):
    monkeypatch.setattr(hmx.points.samples, "CHUNK", 16)
    bands = as_bands(make_covariates((64, 64)))
    samples = make_samples(bands)
    two = samples.at(np.flatnonzero((samples.row < 16) & (samples.column < 32)))
    reads = []
    read = type(bands).read
    monkeypatch.setattr(type(bands), "read", lambda *a: reads.append(a[1]) or read(*a))
    gather(bands, two, make_spec(bands))
    assert len(reads) == len(set(zip(two.row // 16, two.column // 16, strict=True))) == 2


def test_bands_of_one_chunk_share_its_reading():
    counted = []

    def count(block):
        counted.append(1)
        return block

    ds = make_covariates((20, 20), gaps=False)
    months = ds["lst"].rename(time="month").chunk().copy()
    months = months.copy(data=months.data.map_blocks(count, dtype=months.dtype, meta=np.zeros(0)))
    years = make_covariates((20, 20), time="year", steps=6, gaps=False)
    bands = as_bands(years[["ndvi"]].assign(lst=xr.DataArray(months)))
    assert len(bands.static) == 12
    bands.read(Window.of((20, 20)), Span(0, 6))
    assert len(counted) == 1
