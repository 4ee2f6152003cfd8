"""Laws of the lazy map as an xarray object."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import hmx
from hmx.cube.bands import as_bands
from hmx.errors import BadArgument, BundleError, MissingVariable, NotEnoughData
from hmx.mapping import window as module
from hmx.mapping.api import soc_map
from hmx.mapping.bundle import MapBundle
from hmx.mapping.inputs import gather, scaled
from hmx.mapping.process import Regressions
from hmx.mapping.target import TargetScaler, central
from hmx.mapping.window import mixed
from hmx.networks.cnn_lstm import load as load_network
from hmx.points.samples import Samples
from hmx.uncertainty.applicability import Applicability
from tests.make.mapworlds import DYNAMIC, STATIC, make_covariates, make_mapper
from tests.make.nested import require_nested

RANGE = 200.0  # valid range of the target


@pytest.fixture(scope="module")
def covariates() -> xr.Dataset:
    return make_covariates((48, 61))


@pytest.fixture(scope="module")
def mapper(covariates: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> MapBundle:
    """Everything a mapper can have: an ensemble, a forest, intervals."""
    made = make_mapper(
        covariates, members=2, forest=True, process=True, calibrated=True, coarse=(3,)
    )
    return made.save(tmp_path_factory.mktemp("models") / "mapper")


@pytest.fixture(scope="module")
def whole(covariates: xr.Dataset, mapper: MapBundle) -> xr.Dataset:
    return soc_map(covariates, model=mapper, level=[50, 90]).load()


def samples_at(rows: Any, columns: Any, step: int) -> Samples:
    rows, columns = np.asarray(rows), np.asarray(columns)
    n = len(rows)
    zero = np.zeros(n)
    place = np.zeros((n, 2))
    return Samples(rows, columns, zero, np.arange(n), np.full(n, step), place, place, np.arange(n))


def test_a_map_has_the_grid_of_the_cube_and_the_names_of_the_target(
    covariates: xr.Dataset, whole: xr.Dataset
) -> None:
    assert list(whole.data_vars) == [
        "soc", "soc_lo_50", "soc_hi_50", "soc_lo_90", "soc_hi_90", "quality",
    ]  # fmt: skip
    assert whole["soc"].dims == ("y", "x")
    assert whole["soc"].dtype == np.float32
    assert whole.rio.crs == covariates.rio.crs
    np.testing.assert_array_equal(whole["x"], covariates["x"])
    assert whole["soc"].attrs["units"] == "g/kg"
    assert json.loads(whole.attrs["hmx_provenance"])["date"] is None
    assert "time" not in whole.coords


def test_nothing_is_computed_until_asked(covariates: xr.Dataset, mapper: MapBundle) -> None:
    lazy = soc_map(covariates.chunk(), model=mapper, level=90)
    assert all(dask.is_dask_collection(v.data) for v in lazy.data_vars.values())


@pytest.mark.parametrize("tile", [7, 16, 40])
def test_tiles_of_any_size_give_the_same_map(
    covariates: xr.Dataset, mapper: MapBundle, whole: xr.Dataset, tile: int
) -> None:
    tiled = soc_map(covariates, model=mapper, level=[50, 90], tile=tile).load()
    for name in whole.data_vars:
        np.testing.assert_allclose(tiled[name], whole[name], rtol=0, atol=1e-5 * RANGE)
    np.testing.assert_array_equal(tiled["quality"], whole["quality"])


def test_rows_and_columns_without_data_are_not_computed(
    covariates: xr.Dataset, mapper: MapBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = np.mgrid[0:48, 0:61]
    land = np.hypot(rows - 20, columns - 40) < 6
    island = covariates.where(land).astype(covariates.dtypes)
    computed: list[tuple[int, ...]] = []
    real = module.MapEngine.estimate

    def watched(self: Any, stack: Any, **how: Any) -> Any:
        computed.append(stack.static.shape[-2:])
        return real(self, stack, **how)

    monkeypatch.setattr(module.MapEngine, "estimate", watched)
    asked: dict[str, Any] = {"model": mapper, "level": 90, "quantiles": [0.3], "tile": 64}
    monkeypatch.setattr(module, "STEP", 8)
    part = soc_map(island, **asked).load()
    monkeypatch.setattr(module, "STEP", 64)
    full = soc_map(island, **asked).load()
    margin = 2 * mapper.spec.margin
    assert computed == [(24 + margin, 16 + margin), (48 + margin, 61 + margin)]
    known = np.isfinite(full["soc"].values)
    assert known.any()
    assert not (known & ~land).any(), "only land is mapped"
    for name in full.data_vars:
        np.testing.assert_allclose(part[name], full[name], rtol=0, atol=1e-5 * RANGE, err_msg=name)


@pytest.mark.parametrize("arch", ["cnn_lstm", "refitted_covlstm"])
def test_the_map_at_a_sample_is_the_network_on_its_window(
    covariates: xr.Dataset, arch: str, tmp_path: Path
) -> None:
    fixed = {"widths": (32, 64), "hidden": 128} if arch == "refitted_covlstm" else {"coarse": (2,)}
    mapper = make_mapper(covariates, arch=arch, **fixed).save(tmp_path / "m")
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 48, 60), rng.integers(0, 61, 60)
    rows[:4], columns[:4] = (0, 0, 47, 47), (0, 60, 0, 60)  # windows that leave the cube
    bands = as_bands(covariates, dynamic=DYNAMIC, static=STATIC)
    spec, samples = mapper.spec, samples_at(rows, columns, len(bands.labels) - 1)
    windows = scaled(gather(bands, samples, spec), spec, mapper.scaler)
    network = load_network(mapper)
    with torch.inference_mode():
        found = network(torch.from_numpy(windows.dynamic), torch.from_numpy(windows.static))
    expected = np.clip(central(found[:, 0].numpy(), mapper.target), 0, RANGE)
    mapped = soc_map(covariates, model=mapper, tile=20)["soc"].values[rows, columns]
    known = np.isfinite(mapped)
    assert 30 < known.sum() < 60
    np.testing.assert_allclose(mapped[known], expected[known], rtol=0, atol=1e-5 * RANGE)


@pytest.mark.parametrize(
    ("rows", "columns"), [((10, 40), (7, 50)), ((0, 3), (58, 61)), ((20, 21), (30, 31))]
)
def test_a_region_is_the_crop_of_the_whole(
    covariates: xr.Dataset, mapper: MapBundle, whole: xr.Dataset, rows: Any, columns: Any
) -> None:
    region = (slice(*rows), slice(*columns))
    part = soc_map(covariates, model=mapper, level=[50, 90], region=region, tile=16).load()
    crop = whole.isel(y=region[0], x=region[1])
    for name in whole.data_vars:
        np.testing.assert_allclose(part[name], crop[name], rtol=0, atol=1e-5 * RANGE)
    np.testing.assert_array_equal(part["y"], crop["y"])


def test_a_corner_runs_only_the_tiles_under_it(
    covariates: xr.Dataset, mapper: MapBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmx.mapping import order

    ran: list[Any] = []
    real = order.map_window

    def counted(*words: Any) -> Any:
        ran.append(words)
        return real(*words)

    monkeypatch.setattr(order, "map_window", counted)
    lazy = soc_map(covariates, model=mapper, tile=16)
    lazy["soc"].isel(y=slice(0, 10), x=slice(0, 20)).compute()
    assert len(ran) == 2


def test_a_cube_that_runs_the_other_way_gives_the_map_that_way(
    covariates: xr.Dataset, mapper: MapBundle, whole: xr.Dataset
) -> None:
    turned = covariates.isel(y=slice(None, None, -1)).rename(y="lat", x="lon")
    found = soc_map(turned, model=mapper, tile=16)["soc"]
    assert found.dims == ("lat", "lon")
    np.testing.assert_array_equal(found["lat"], turned["lat"])
    expected = whole["soc"].values[::-1]
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5 * RANGE)


def test_the_graph_carries_no_weights(covariates: xr.Dataset, mapper: MapBundle) -> None:
    graph = dict(soc_map(covariates.chunk(), model=mapper, tile=16).__dask_graph__())
    tasks = [task for key, task in graph.items() if str(key[0]).startswith("hmx-map-")]
    assert len(tasks) > 12
    assert max(len(pickle.dumps(task)) for task in tasks) < 2_000


def test_an_untouched_store_is_read_inside_its_tiles(
    covariates: xr.Dataset, mapper: MapBundle, tmp_path: Path
) -> None:
    covariates.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(tmp_path / "c.zarr")
    for changed, inside in ((ds, True), (ds.assign(lst=ds["lst"] + 1), False)):
        graph = soc_map(changed, model=mapper).__dask_graph__()
        keys = [key if isinstance(key, str) else str(key[0]) for key in graph]
        assert all(key.startswith("hmx-map") for key in keys) is inside


def test_too_little_known_is_missing_by_the_rule_of_samples(
    covariates: xr.Dataset, mapper: MapBundle, whole: xr.Dataset
) -> None:
    bands = as_bands(covariates, dynamic=DYNAMIC, static=STATIC)
    known = np.zeros((48 + 4, 61 + 4), int)
    for name in bands.variables:
        here = np.isfinite(covariates[name].values)
        known[2:-2, 2:-2] += here.sum(axis=0) if here.ndim == 3 else here
    numbers = 2 * 4 + 2
    expected = np.zeros((48, 61), bool)
    for y in range(48):
        for x in range(61):
            window = known[y : y + 5, x : x + 5]
            rows, columns = min(y + 3, 48) - max(y - 2, 0), min(x + 3, 61) - max(x - 2, 0)
            enough = 0.5 * rows * columns * numbers  # of what lies in the cube
            expected[y, x] = window.sum() >= enough and known[y + 2, x + 2] > 0
    assert 0 < (~expected).sum() < expected.sum()
    for name in ("soc", "soc_lo_50", "soc_hi_90"):
        np.testing.assert_array_equal(np.isfinite(whole[name]), expected)
    assert (whole["quality"].values == 4).sum() == (~expected).sum()
    lost = np.isnan(covariates["rain"].values[0]) & expected
    assert lost.any()
    np.testing.assert_array_equal(whole["quality"].values == 1, lost)


@pytest.mark.parametrize("window", [3, 5, 9])
def test_a_cube_without_gaps_is_mapped_to_its_corners(window: int) -> None:
    ds = make_covariates((20, 24), holes=False)
    model = make_mapper(ds, window=window, spec={"min_valid": 1.0})
    for options in ({}, {"tile": 16}, {"region": (500_000, 5_995_000, 501_000, 5_999_000)}):
        made = soc_map(ds, model=model, **options).load()
        assert np.isfinite(made["soc"].values).all()
        assert not made["quality"].values.any()


@pytest.mark.parametrize(
    ("transform", "declared", "least"),
    [("log1p", None, 0.0), ("log1p", (-5.0, 9.0), -1.0), ("none", None, None)],
)
def test_no_bound_lies_below_what_a_logarithm_is_taken_of(
    transform: str, declared: Any, least: float | None
) -> None:
    ds = make_covariates((20, 24), holes=False)
    made = make_mapper(ds, calibrated=True, spec={"valid_range": declared})
    made = replace(made, target=TargetScaler(transform, 0.1, 0.5))  # most values are near 0
    found = soc_map(ds, model=made, level=[50, 90]).load()
    lowest = float(found["soc_lo_90"].min())
    if declared is None and least == 0:
        assert lowest == 0.0
    else:
        assert lowest < 0
    assert require_nested(found, "soc") == 4


def test_intervals_nest_and_hold_within_the_valid_range(whole: xr.Dataset) -> None:
    known = np.isfinite(whole["soc"].values)
    order = ["soc_lo_90", "soc_lo_50", "soc_hi_50", "soc_hi_90"]
    ends = [whole[name].values[known] for name in order]
    assert require_nested(whole, "soc") == 4
    assert (ends[0] >= 0).all()
    assert (ends[-1] <= RANGE).all()
    assert (ends[0] < ends[-1]).any()


def test_the_forest_is_blended_by_its_weight(covariates: xr.Dataset, tmp_path: Path) -> None:
    maps = [
        soc_map(covariates, model=make_mapper(covariates, forest=True, spec={"blend": blend}))
        for blend in (0.0, 0.25, 0.999)
    ]
    network, some, most = (np.log1p(m["soc"].values.astype("float64")) for m in maps)
    forest = (most - 0.001 * network) / 0.999  # there is no mapper without a network
    inside = (network > 0.01) & (forest > 0.01)
    mixed = 0.75 * network + 0.25 * forest
    np.testing.assert_allclose(some[inside], mixed[inside], rtol=0, atol=1e-5)
    assert np.nanmax(np.abs(network - forest)) > 0.1
    alone = soc_map(covariates, model=make_mapper(covariates))["soc"]
    np.testing.assert_array_equal(maps[0]["soc"], alone)


@pytest.mark.parametrize("knots", [(), (0.1, 0.5, 0.9)], ids=["one", "knots"])
@pytest.mark.parametrize("regression", ["none", "forest", "gaussian_process", "both"])
def test_samples_are_mixed_as_pixels_are(
    covariates: xr.Dataset, knots: tuple[float, ...], regression: str
) -> None:
    parts = {"forest": regression in ("forest", "both")}
    parts["process"] = regression in ("gaussian_process", "both")
    mapper = make_mapper(covariates, members=2, knots=knots, **parts)
    rng, spec = np.random.default_rng(0), mapper.spec
    members = np.sort(rng.normal(size=(2, len(knots) or 1, 4, 5)), axis=1).astype("float32")
    features = rng.normal(size=(len(spec.features), 4, 5)).astype("float32")
    own = Regressions.from_arrays(mapper.forest, mapper.process)
    assert own.name == spec.regression == regression
    pixels = mixed(members, spec, own, features)
    flat = members.reshape(*members.shape[:2], 20), features.reshape(-1, 20)
    samples = mixed(flat[0], spec, own, flat[1])
    np.testing.assert_array_equal(pixels.center.ravel(), samples.center)
    np.testing.assert_array_equal(pixels.spread.ravel(), samples.spread)
    assert pixels.center.shape == pixels.spread.shape == (4, 5)
    assert (pixels.spread > 0).all()


def test_a_map_says_where_it_is_unlike_what_was_trained_on(covariates: xr.Dataset) -> None:
    mapper = make_mapper(covariates, near=True)
    strange = covariates.copy(deep=True)
    strange["elevation"][30:, 30:] += 5000
    found = soc_map(strange, model=mapper, tile=16).load()
    far, inside = found["dissimilarity"].values, found["applicable"].values
    known = np.isfinite(found["soc"].values)
    np.testing.assert_array_equal(np.isfinite(far), known)
    np.testing.assert_array_equal(inside == 255, ~known)
    threshold = Applicability.from_arrays(mapper.applicability).threshold
    np.testing.assert_array_equal(inside[known] == 1, far[known] <= threshold)
    there = known[30:, 30:]
    assert (inside[30:, 30:][there] == 0).all()
    assert (inside[known] == 1).any()
    assert "outside inside no_data" in found["applicable"].attrs["flag_meanings"]


def test_a_quantile_head_is_mapped_by_its_mean(covariates: xr.Dataset) -> None:
    knots = (0.1, 0.3, 0.5, 0.7, 0.9)
    found = soc_map(
        covariates, model=make_mapper(covariates, knots=knots, calibrated=True), level=80
    )
    low, mean, high = (found[name].values for name in ("soc_lo_80", "soc", "soc_hi_80"))
    assert np.isfinite(mean).any()
    assert np.nanmean(high - low) > 0


def test_a_calendar_is_mapped_at_the_date_that_is_asked_for(tmp_path: Path) -> None:
    cube = make_covariates(years=6)
    mapper = make_mapper(cube, history=3).save(tmp_path / "m")
    last, before = (soc_map(cube, model=mapper, **when) for when in ({}, {"year": 2014}))
    assert str(last["time"].values)[:10] == "2015-01-01"
    assert str(before["time"].values)[:10] == "2014-01-01"
    cropped = soc_map(cube.isel(time=slice(None, 5)), model=mapper)
    np.testing.assert_array_equal(before["soc"], cropped["soc"])
    assert not np.array_equal(last["soc"], before["soc"], equal_nan=True)
    np.testing.assert_array_equal(
        soc_map(cube, model=mapper, time="2014-01-01")["soc"], before["soc"]
    )


BAD = [
    ({"year": 2011}, NotEnoughData, r"needs 3 steps up to it.*Pass time='2012-01-01' or later"),
    ({"time": 1999}, BadArgument, r"time=1999 is not a step of the cube"),
    ({"time": 2014, "year": 2014}, BadArgument, r"year is another name of time"),
    ({"level": 90}, BadArgument, r"no calibration.*leave out level="),
    ({"level": 100}, BadArgument, r"a level is a percentage between 0 and 100. Try 80"),
    ({"tile": 20, "chunk": 16}, BadArgument, r"not a whole number of chunks.*Try tile=16"),
    ({"device": "tpu"}, BadArgument, r"device='tpu' is not here"),
    ({"lvl": 90}, BadArgument, r"unknown option 'lvl'.*Did you mean 'level'"),
    ({"region": (0, 0, 1, 1)}, BadArgument, r"lies outside the cube"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=str)
def test_what_cannot_be_mapped_is_refused_with_what_to_type(
    options: Any, error: type[Exception], text: str
) -> None:
    cube = make_covariates((20, 24), years=4, holes=False)
    with pytest.raises(error, match=text):
        soc_map(cube, model=make_mapper(cube, history=3), **options)


def test_a_cube_unlike_that_of_training_is_refused(covariates: xr.Dataset) -> None:
    mapper, years = make_mapper(covariates), make_covariates(years=4)
    with pytest.raises(BadArgument, match="months of every year, so its map has no date"):
        soc_map(covariates, model=mapper, time=3)
    with pytest.raises(BundleError, match="trained on months of every year and the cube holds"):
        soc_map(years, model=mapper)
    with pytest.raises(MissingVariable, match="not in the cube: rain"):
        soc_map(covariates.drop_vars("rain"), model=mapper)
    with pytest.raises(BundleError, match=r"pixels of 250 x 250 m and the cube has 500 x 500 m"):
        soc_map(make_covariates(pixel=500.0), model=mapper)
    other = years.assign_coords(time=np.array([f"{y}-01-01" for y in (2000, 2005, 2010, 2015)],
                                              "datetime64[ns]"))  # fmt: skip
    with pytest.raises(BundleError, match="the model steps by 1 year and the cube by 5 years"):
        soc_map(other, model=make_mapper(years))


def test_a_model_that_changed_on_disk_is_noticed(covariates: xr.Dataset, tmp_path: Path) -> None:
    lazy = soc_map(covariates, model=make_mapper(covariates).save(tmp_path / "m"))
    make_mapper(covariates, hidden=4).save(tmp_path / "m")
    with pytest.raises(BundleError, match=r"has changed since this map was set up\. Call map\(\)"):
        lazy.load()


def test_a_model_that_was_never_saved_maps_too(covariates: xr.Dataset, mapper: MapBundle) -> None:
    loaded = hmx.load(mapper.path)
    found = soc_map(covariates, model=loaded)["soc"]
    parts = {"forest": True, "process": True, "calibrated": True}
    unsaved = make_mapper(covariates, members=2, coarse=(3,), **parts)
    np.testing.assert_array_equal(soc_map(covariates, model=unsaved)["soc"], found)


def test_quantiles_are_the_ends_of_intervals_and_ascend(
    covariates: xr.Dataset, mapper: MapBundle, whole: xr.Dataset
) -> None:
    asked = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    made = soc_map(covariates, model=mapper, quantiles=asked, tile=40).load()
    found = made["soc_quantile"]
    assert found.dims == ("quantile", "y", "x")
    assert found["quantile"].values.tolist() == asked
    assert found.attrs["units"] == "g/kg"
    for p, name in ((0.05, "soc_lo_90"), (0.95, "soc_hi_90"), (0.25, "soc_lo_50")):
        np.testing.assert_allclose(found.sel(quantile=p), whole[name], rtol=0, atol=1e-5 * RANGE)
    known = np.isfinite(made["soc"].values)
    assert (np.diff(found.values[:, known], axis=0) >= 0).all()
    np.testing.assert_array_equal(np.isfinite(found.values), np.broadcast_to(known, found.shape))
    tile = soc_map(covariates, model=mapper, quantiles=0.5, region=(5e5, 5.99e6, 5.02e5, 6e6))
    assert tile["soc_quantile"].sizes["quantile"] == 1


def test_quantiles_need_a_calibration_that_reaches_them(
    covariates: xr.Dataset, mapper: MapBundle
) -> None:
    with pytest.raises(BadArgument, match=r"quantiles=0\.0005 .* residuals.* Ask for"):
        soc_map(covariates, model=mapper, quantiles=0.0005)
    with pytest.raises(BadArgument, match="no calibration"):
        soc_map(covariates, model=make_mapper(covariates), quantiles=0.5)
    with pytest.raises(BadArgument, match=r"a quantile lies between 0 and 1\. Try 0\.5\."):
        soc_map(covariates, model=mapper, quantiles=1.5)
