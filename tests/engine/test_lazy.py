"""Laws of the lazy forecast as an xarray object."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback

import hmx
from hmx.engine import lazy
from hmx.errors import (
    BadArgument,
    BundleError,
    IrregularTime,
    MissingCRS,
    MissingVariable,
    NotEnoughData,
    NotTrained,
)
from tests.make.cubes import make_bundle, make_cube, network_options, times
from tests.make.nested import require_nested


class Tiles(Callback):
    """Counts the tile tasks that ran."""

    def __init__(self) -> None:
        self.ran: set[tuple[int, int]] = set()

    def _pretask(self, key: object, dsk: object, state: object) -> None:
        if isinstance(key, tuple) and str(key[0]).startswith("hmx-forecast-") and len(key) == 3:
            self.ran.add(key[1:])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    return make_bundle(make_cube(), network_options()).save(tmp_path_factory.mktemp("b") / "m")


def test_nothing_is_read_until_asked(saved: hmx.Bundle, tmp_path: Path) -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    cube = make_cube(chunks={"x": 20, "y": 20})
    cube["hm"] = cube["hm"].copy(
        data=cube["hm"].data.map_blocks(explode, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    )
    fc = cube.hm.forecast(h=2, model=saved)
    with pytest.raises(AssertionError, match="read"):
        fc.compute()


def test_a_corner_runs_only_the_tiles_under_it(saved: hmx.Bundle) -> None:
    fc = make_cube((120, 130), chunks={"x": 40, "y": 40}).hm.forecast(h=2, model=saved, tile=32)
    with Tiles() as tiles:
        fc.isel(x=slice(0, 50), y=slice(0, 50)).compute(scheduler="synchronous")
    assert tiles.ran == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_one_task_per_tile_serves_all_variables(trained: hmx.Bundle, cube: xr.Dataset) -> None:
    fc = cube.hm.forecast(h=2, model=trained, tile=32, level=[50, 80], quantiles=[0.5])
    keys = [key for key in dict(fc.__dask_graph__()) if str(key[0]).startswith("hmx-forecast-")]
    compute = [key for key in keys if len(key) == 3 and "-quality" not in str(key[0])]
    assert len(compute) == 3 * 4


def test_the_source_is_not_mutated(saved: hmx.Bundle) -> None:
    cube = make_cube()
    before, attrs, encoding = cube.copy(deep=True), dict(cube.attrs), dict(cube["hm"].encoding)
    cube.hm.forecast(h=2, model=saved).compute()
    xr.testing.assert_identical(cube, before)
    assert (cube.attrs, cube["hm"].encoding) == (attrs, encoding)


def test_edits_and_crops_of_a_stored_cube_are_honoured(saved: hmx.Bundle, tmp_path: Path) -> None:
    make_cube().to_zarr(tmp_path / "c.zarr", consolidated=False, zarr_format=3)
    stored = hmx.open_cube(tmp_path / "c.zarr")
    edited = stored.assign(hm=stored["hm"].where(stored["x"] > stored["x"][10]) * np.float32(0.5))
    edited["hm"].attrs = stored["hm"].attrs
    crop = edited.isel(y=slice(3, 30), time=slice(1, None))
    late = crop.hm.forecast(h=2, model=saved)["hm"]
    eager = crop.compute().hm.forecast(h=2, model=saved)["hm"]
    np.testing.assert_array_equal(late, eager)
    assert np.isnan(late.values[:, :, :11]).all()


def test_an_untouched_store_is_read_inside_its_tiles_and_nothing_else_is(
    saved: hmx.Bundle, tmp_path: Path
) -> None:
    make_cube().to_zarr(tmp_path / "c.zarr", consolidated=False, zarr_format=3)
    stored = hmx.open_cube(tmp_path / "c.zarr")
    forecasts = {
        "stored": stored.hm.forecast(h=2, model=saved, tile=16),
        "touched": stored.isel(x=slice(0, None)).hm.forecast(h=2, model=saved, tile=16),
        "eager": stored.compute().hm.forecast(h=2, model=saved, tile=16),
    }
    for fc in forecasts.values():
        np.testing.assert_array_equal(fc["hm"], forecasts["eager"]["hm"])
    tasks = {name: len(dict(fc["hm"].__dask_graph__())) for name, fc in forecasts.items()}
    tiles = 3 * 4
    assert tasks["stored"] <= 3 * tiles
    assert tasks["eager"] > 3 * tiles


def test_a_result_of_many_tiles_is_small_and_makes_the_tasks_that_are_asked_for(
    saved: hmx.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cube().to_zarr(tmp_path / "c.zarr", consolidated=False, zarr_format=3)
    stored = hmx.open_cube(tmp_path / "c.zarr")
    made: list[object] = []
    make = lazy._Tiles.make

    def counted(layer: lazy._Tiles, key: lazy.Key, at: tuple[int, int]) -> object:
        made.append(at)
        return make(layer, key, at)

    monkeypatch.setattr(lazy._Tiles, "make", counted)
    fc = stored.hm.forecast(h=2, model=saved, tile=2)
    tiles = 20 * 25
    assert len(pickle.dumps(fc)) < 1000 * tiles
    assert made == []
    corner = fc["hm"].isel(x=slice(1, 4), y=slice(0, 2)).values
    assert set(made) == {(0, 0), (0, 1)}
    again = pickle.loads(pickle.dumps(fc))["hm"].isel(x=slice(1, 4), y=slice(0, 2))
    np.testing.assert_array_equal(again, corner)
    whole = stored.hm.forecast(h=2, model=saved)["hm"][:, :2, 1:4]
    np.testing.assert_allclose(whole, corner, atol=1e-6)  # of other tiles, in another order


def test_nan_exactly_where_the_origin_has_no_data(saved: hmx.Bundle) -> None:
    cube = make_cube()
    cube["hm"][:-1, 5, 5] = np.nan  # only the past is missing
    cube["hm"][-1, 6, 6] = np.nan  # only the origin is missing
    cube["elevation"][7, 7] = np.nan  # only a covariate is missing
    fc = cube.hm.forecast(h=3, model=saved).load()
    missing = np.isnan(cube["hm"].values[-1])
    for lead in fc["hm"].values:
        np.testing.assert_array_equal(np.isnan(lead), missing)
    assert fc["quality"].values[7, 7] == 1
    assert fc["quality"].values[5, 5] == 2
    assert fc["quality"].values[6, 6] == 4
    assert fc["quality"].values[20, 5] == 0
    assert fc["quality"].attrs["flag_meanings"].split()[0] == "covariate_missing"


def test_undeclared_nodata_outside_the_valid_range_is_missing(saved: hmx.Bundle) -> None:
    cube, ocean = make_cube(), make_cube()
    ocean["hm"] = ocean["hm"].fillna(3.4e38)
    ocean["hm"].attrs = cube["hm"].attrs
    one, other = (c.hm.forecast(h=2, model=saved)["hm"].values for c in (cube, ocean))
    np.testing.assert_array_equal(one, other)


def test_flipped_y_gives_the_same_numbers(saved: hmx.Bundle) -> None:
    cube = make_cube()
    flipped = cube.isel(y=slice(None, None, -1))
    one, other = cube.hm.forecast(h=2, model=saved), flipped.hm.forecast(h=2, model=saved)
    np.testing.assert_array_equal(other["y"], flipped["y"])
    np.testing.assert_array_equal(other["hm"].values[:, ::-1], one["hm"].values)
    part = flipped.hm.forecast(h=2, model=saved, region=(slice(2, 9), slice(4, 20)))
    np.testing.assert_array_equal(part["hm"], other["hm"].isel(y=slice(2, 9), x=slice(4, 20)))


@pytest.mark.parametrize(
    "names", [("lat", "lon"), ("latitude", "longitude"), ("northing", "easting")]
)
def test_a_cube_leaves_with_the_names_it_came_with(
    saved: hmx.Bundle, names: tuple[str, str]
) -> None:
    cube = make_cube()
    renamed = cube.rename(dict(zip(("y", "x"), names, strict=True)))
    fc = renamed.hm.forecast(h=2, model=saved)
    assert fc["hm"].dims == ("time", *names)
    assert fc.rio.crs == cube.rio.crs
    np.testing.assert_array_equal(fc["hm"].values, cube.hm.forecast(h=2, model=saved)["hm"].values)


@pytest.mark.parametrize("kind", ["year", "cftime"])
def test_time_comes_back_in_kind_with_the_same_numbers(kind: str, tmp_path: Path) -> None:
    cube, plain = make_cube(time=kind), make_cube()
    bundle = make_bundle(cube).save(tmp_path / "m")
    fc = cube.hm.forecast(h=2, model=bundle)
    assert fc["time"].dtype == cube["time"].dtype
    np.testing.assert_array_equal(fc["time"], times(kind, steps=7)[-2:])
    reference = plain.hm.forecast(h=2, model=make_bundle(plain).save(tmp_path / "p"))
    np.testing.assert_array_equal(fc["hm"], reference["hm"])


def test_time_continues_by_calendar_steps(saved: hmx.Bundle) -> None:
    fc = make_cube().hm.forecast(h=4, model=saved)
    assert [str(t)[:10] for t in fc["time"].values] == [
        "2015-01-01",
        "2020-01-01",
        "2025-01-01",
        "2030-01-01",
    ]
    assert fc["lead"].values.tolist() == [1, 2, 3, 4]
    assert str(fc["forecast_reference_time"].values)[:10] == "2010-01-01"


def test_the_dataarray_form_gives_the_same_numbers(saved: hmx.Bundle) -> None:
    cube = make_cube()
    array = cube["hm"].assign_coords(elevation=cube["elevation"])
    fc = array.hm.forecast(h=2, model=saved)
    assert isinstance(fc, xr.DataArray)
    assert "elevation" not in fc.coords
    assert "hmx_provenance" in fc.attrs
    assert fc.rio.crs == cube.rio.crs
    np.testing.assert_array_equal(fc, cube.hm.forecast(h=2, model=saved)["hm"])


def test_names_follow_the_target(tmp_path: Path) -> None:
    cube = make_cube().rename(hm="hfp")
    bundle = cube.hm.train(
        "hfp",
        history=2,
        width=3,
        trunk=(1,),
        context=(1,),
        epochs=1,
        steps=1,
        chip=32,
        static=[],
        out=tmp_path / "m",
    )
    fc = cube.hm.forecast(h=1, model=bundle, level=80, quantiles=[0.1, 0.5])
    assert set(fc.data_vars) == {"hfp", "hfp_lo_80", "hfp_hi_80", "hfp_quantile", "quality"}
    assert fc["hfp_quantile"].dims == ("quantile", "time", "y", "x")
    assert fc.hm.grid == cube.hm.grid  # the central estimate is the target of the result
    assert fc.hm.with_history(cube)["hfp"].sizes["time"] == 6


def test_intervals_are_nested_and_within_the_valid_range(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    fc = cube.hm.forecast(h=4, model=trained, level=[50, 80, 95], quantiles=[0.1, 0.9]).load()
    ends = [fc[f"hm_{end}"] for end in ("lo_95", "lo_80", "lo_50", "hi_50", "hi_80", "hi_95")]
    assert require_nested(fc, "hm") == 8
    assert float(ends[0].min()) >= 0
    assert float(ends[-1].max()) <= 1
    assert float((ends[-1] - ends[0]).mean()) > 0
    np.testing.assert_allclose(fc["hm_quantile"].sel(quantile=0.1), fc["hm_lo_80"], atol=1e-6)
    for end in ends:
        np.testing.assert_array_equal(np.isnan(end), np.isnan(fc["hm"]))


@pytest.mark.parametrize("tile", [17, 32, 64])
@pytest.mark.parametrize("region", [None, (slice(5, 38), slice(11, 50))])
def test_any_forecast_can_be_written_and_read_back(
    saved: hmx.Bundle, tmp_path: Path, tile: int, region: object
) -> None:
    cube = make_cube(chunks={"y": 13, "x": 11})
    cube["hm"].encoding["chunks"] = (1, 7, 7)  # inherited encodings must not leak
    fc = cube.hm.forecast(h=2, model=saved, tile=tile, region=region)
    fc.to_zarr(tmp_path / "fc.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "fc.zarr", consolidated=False)
    assert back.rio.crs == cube.rio.crs
    assert back["hm"].rio.crs == cube.rio.crs
    assert back["hm"].rio.transform() == fc["hm"].rio.transform()
    assert "lead" in back.coords
    xr.testing.assert_equal(back.load(), fc.load())


def test_saved_and_loaded_models_give_bit_identical_forecasts(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    again = hmx.load(hmx.load(trained.path).save(tmp_path / "copy").path)
    one, other = (cube.hm.forecast(h=3, model=m, level=80).load() for m in (trained, again))
    xr.testing.assert_identical(one, other)


def test_a_model_without_a_folder_forecasts_through_the_cache(saved: hmx.Bundle) -> None:
    cube = make_cube()
    loose = make_bundle(cube, network_options())
    assert loose.path is None
    one, other = (cube.hm.forecast(h=2, model=m)["hm"].values for m in (loose, saved))
    np.testing.assert_array_equal(one, other)


def test_a_model_whose_folder_was_retrained_keeps_its_own_forecast(tmp_path: Path) -> None:
    cube = make_cube()
    first = make_bundle(cube, network_options()).save(tmp_path / "m")
    before = cube.hm.forecast(h=2, model=first)["hm"].values
    make_bundle(cube, network_options(), weights="random").save(tmp_path / "m")
    np.testing.assert_array_equal(cube.hm.forecast(h=2, model=first)["hm"], before)
    assert not np.array_equal(cube.hm.forecast(h=2, model=tmp_path / "m")["hm"], before)


def test_the_graph_carries_no_weights(saved: hmx.Bundle) -> None:
    import pickle

    cube = make_cube(chunks={"y": 20, "x": 25})
    tasks = [
        task
        for key, task in dict(cube.hm.forecast(h=2, model=saved).__dask_graph__()).items()
        if str(key[0]).startswith("hmx-forecast-")
    ]
    assert max(len(pickle.dumps(task)) for task in tasks) < 2_000


def test_the_past_and_the_forecast_join_into_one_series(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    fc = cube.hm.forecast(h=2, model=trained, level=80)
    series = fc.hm.with_history(cube)
    assert series["lead"].values.tolist() == [-5, -4, -3, -2, -1, 0, 1, 2]
    np.testing.assert_array_equal(series["hm"][:6], cube["hm"])
    np.testing.assert_array_equal(series["hm"][6:], fc["hm"])
    assert np.isnan(series["hm_lo_80"][:6]).all()
    assert series.rio.crs == cube.rio.crs
    assert dask.is_dask_collection(series["hm"])
    array = fc["hm"].hm.with_history(cube["hm"])
    np.testing.assert_array_equal(array, series["hm"])


def test_bfloat16_is_near_float32_and_recorded(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    import json

    full, half = (
        cube.hm.forecast(h=2, model=trained, precision=p).load() for p in ("float32", "bfloat16")
    )
    change = np.sqrt(np.nanmean((full["hm"] - cube["hm"].isel(time=-1)) ** 2))
    error = np.sqrt(np.nanmean((full["hm"] - half["hm"]) ** 2))
    assert 0 < error < 0.05 * change
    assert half["hm"].dtype == np.float32
    assert json.loads(half.attrs["hmx_provenance"])["precision"] == "bfloat16"


def test_auto_precision_is_float32_without_native_hardware(
    cube: xr.Dataset, trained: hmx.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from hmx.forecast import order

    def chosen() -> str:
        fc = cube.hm.forecast(h=2, model=trained, precision="auto")
        return str(json.loads(fc.attrs["hmx_provenance"])["precision"])

    monkeypatch.setattr(order, "native_bfloat16", lambda device: False)
    assert chosen() == "float32"
    monkeypatch.setattr(order, "native_bfloat16", lambda device: True)
    monkeypatch.setattr(order, "LARGEST_ERROR", 1.0)
    assert chosen() == "bfloat16"
    monkeypatch.setattr(order, "LARGEST_ERROR", 0.0)
    assert chosen() == "float32"


BAD = [
    ({"h": 0}, BadArgument, r"^h=0: must be at least 1\.$"),
    (
        {"level": 180},
        BadArgument,
        r"^level=180: a level is a percentage between 0 and 100. Try 80\.$",
    ),
    ({"quantiles": [2]}, BadArgument, r"quantile lies between 0 and 1"),
    ({"tile": 0}, BadArgument, r"^tile=0: must be at least 1"),
    ({"precision": "half"}, BadArgument, r"^precision='half': must be 'float32'"),
    ({"device": "tpu"}, BadArgument, r"^device='tpu' is not here \(found: cpu"),
    ({"level": 80}, BadArgument, r"has no calibration.*calibration=0\.1"),
    ({"region": (0, 0, 1, 1)}, BadArgument, r"lies outside the cube, whose bounds are"),
    ({"region": (9, 9, 1, 1)}, BadArgument, r"is empty: a box is \(west, south, east, north\)"),
    ({"region": "here"}, BadArgument, r"region='here' is not a region. Pass \(west"),
    ({"region": (slice(0, 5, 2), slice(0, 5))}, BadArgument, r"pass a slice of pixels"),
    ({"region": (slice(90, 99), slice(0, 5))}, BadArgument, r"holds no pixel of y, which has 40"),
    ({"region": {"lat": slice(0, 5)}}, BadArgument, r"region names 'lat'; the cube has y and x"),
    ({"model": "nowhere"}, BundleError, r"there is no model at 'nowhere'"),
    ({"model": None}, NotTrained, r"has not trained a model. Pass one: forecast\(h=4"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[str(row[0]) for row in BAD])
def test_an_impossible_request_says_what_to_type(
    saved: hmx.Bundle, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make_cube().hm.forecast(**({"h": 2, "model": saved} | options))


def test_intervals_of_a_dataarray_are_refused(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    array = cube["hm"].assign_coords(elevation=cube["elevation"])
    with pytest.raises(BadArgument, match=r"Use a Dataset: da\.to_dataset"):
        array.hm.forecast(h=2, model=trained, level=80)


CUBES = [
    (lambda d: d.drop_vars("elevation"), MissingVariable, r"'elevation' is not in the cube"),
    (lambda d: d.drop_vars("spatial_ref"), MissingCRS, r"cube has no CRS.*write_crs"),
    (lambda d: d.isel(time=slice(0, 2)), NotEnoughData, r"has 2 time steps and this needs 3"),
    (lambda d: d.isel(time=[0, 1, 3, 4]), IrregularTime, r"from 1995-01-01 to 2005-01-01 breaks"),
    (
        lambda d: d.isel(time=slice(None, None, 2)),
        BundleError,
        r"steps by 5 years and the cube by 10",
    ),
    (
        lambda d: d.assign_coords(x=d["x"] * 2, y=d["y"] * 2),
        BundleError,
        r"trained on pixels of 300 x 300 m and the cube has 600 x 600 m",
    ),
]


@pytest.mark.parametrize(("change", "error", "text"), CUBES, ids=range(len(CUBES)))
def test_a_cube_that_does_not_fit_its_model_is_named(
    saved: hmx.Bundle, change: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        change(make_cube()).hm.forecast(h=2, model=saved)  # type: ignore[operator]


def test_regions_by_box_geojson_and_geodataframe_agree(saved: hmx.Bundle) -> None:
    cube = make_cube()
    box = (501_000.0, 5_991_000.0, 507_000.0, 5_997_000.0)
    by_box = cube.hm.forecast(h=1, model=saved, region=box)
    assert by_box.rio.bounds() == pytest.approx((500_900, 5_990_800, 507_200, 5_997_200), abs=301)
    assert by_box.rio.bounds()[0] <= box[0]
    assert by_box.rio.bounds()[3] >= box[3]

    class Frame:  # what a GeoDataFrame shows of itself
        crs, total_bounds = "EPSG:32632", box

        def to_crs(self, crs: object) -> Frame:
            return self

    by_frame = cube.hm.forecast(h=1, model=saved, region=Frame())
    xr.testing.assert_identical(by_box.load(), by_frame.load())
    import pyproj

    back = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    ring = [back.transform(x, y) for x, y in ((box[0], box[1]), (box[2], box[3]))]
    geojson = {"type": "LineString", "coordinates": ring}
    by_geojson = cube.hm.forecast(h=1, model=saved, region=geojson)
    assert by_geojson.rio.bounds() == pytest.approx(by_box.rio.bounds(), abs=601)
