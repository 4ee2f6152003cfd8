"""Laws of the ``.soc`` accessor: what is given, what comes back, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr

import hmx
from hmx.errors import (
    BadArgument,
    BundleError,
    CubeError,
    MissingCRS,
    MissingVariable,
    NotEnoughData,
    NotTrained,
)
from tests.make.mapworlds import make_covariates, make_mapper
from tests.make.nested import require_nested
from tests.make.soilworlds import TINY, UTM, make_points

QUICK: dict[str, Any] = {**TINY, "crs": UTM, "runs": 1, "epochs": 1, "blend": 0}


# what comes back ------------------------------------------------------------------------


def test_an_object_maps_with_what_it_trained(land: xr.Dataset) -> None:
    ds = land.copy()
    model = ds.soc.train(make_points(ds), **QUICK, out=None)
    xr.testing.assert_identical(
        ds.soc.map(level=80).compute(), land.soc.map(model=model, level=80).compute()
    )
    assert ds.soc.plan().tiles == 1


@pytest.mark.parametrize("call", ["map", "plan", "map_to_zarr"])
def test_without_a_model_nothing_is_mapped(land: xr.Dataset, tmp_path: Path, call: str) -> None:
    words = (tmp_path / "soc.zarr",) if call == "map_to_zarr" else ()
    with pytest.raises(NotTrained, match=r"map\(model='models/soc'\), or call train\(\)"):
        getattr(land.copy().soc, call)(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_map_is_lazy_and_has_the_names_units_and_crs_of_the_cube(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    outer = land.rename(y="northing", x="easting").isel(northing=slice(None, None, -1))
    made = outer.soc.map(model=trained_mapper.path, level=[50, 80])
    assert made["soc"].dims == ("northing", "easting")
    assert made["soc"].chunks is not None
    assert made["soc"].attrs["units"] == "g/kg"
    assert made.rio.crs == land.rio.crs
    np.testing.assert_array_equal(made["northing"], outer["northing"])
    whole = land.soc.map(model=trained_mapper)["soc"]
    np.testing.assert_array_equal(made["soc"].values[::-1], whole.values)
    made = made.load()
    known = made["soc"].notnull()
    assert require_nested(made, "soc") == 4
    assert (made["soc_lo_80"] < made["soc_hi_80"]).where(known, True).all()


def test_a_stored_map_is_the_lazy_one(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path: Path
) -> None:
    land.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    cube = hmx.open_cube(tmp_path / "cube.zarr")
    made = cube.soc.map_to_zarr(tmp_path / "soc.zarr", model=trained_mapper, level=80, tile=16)
    xr.testing.assert_equal(made.load(), cube.soc.map(model=trained_mapper, level=80, tile=16))
    with pytest.raises(CubeError, match="store"):
        (cube + 0).soc.map_to_zarr(tmp_path / "other.zarr", model=trained_mapper)


@pytest.mark.parametrize("wish", [{"time": 2013}, {"year": 2013}, {"time": "2013-01-01"}])
def test_a_date_or_year_chooses_the_steps_that_are_seen(wish: dict[str, Any]) -> None:
    ds = make_covariates((20, 24), years=5)
    model = make_mapper(ds, history=3)
    made = ds.soc.map(model=model, **wish)
    assert str(made["time"].values)[:10] == "2013-01-01"
    expected = ds.isel(time=slice(None, 4)).soc.map(model=model)
    np.testing.assert_array_equal(made["soc"], expected["soc"])
    assert not np.array_equal(made["soc"], ds.soc.map(model=model)["soc"], equal_nan=True)


def test_options_are_sorted_into_points_network_fit_and_split(land: xr.Dataset) -> None:
    words = {k: v for k, v in QUICK.items() if k not in ("crs", "runs", "split")}
    points = make_points(land).rename(columns={"soc": "oc", "x": "e", "y": "n"})
    model = land.soc.train(
        points, "oc", x="e", y="n", crs=pyproj.CRS(UTM), where="oc < 8", valid_range=(0, 9),
        num_runs=1, target_transform="log", split="random", static=["elevation"], **words,
    )  # fmt: skip
    said = model.training
    assert (model.spec.target, model.spec.static) == ("oc", ("elevation",))
    assert pyproj.CRS(said["table"]["crs"]) == pyproj.CRS(UTM)
    assert said["table"]["where"] == ["oc < 8"]
    assert (said["fit"]["transform"], said["fit"]["runs"]) == ("log", 1)
    assert said["split"]["method"] == "random"
    assert model.spec.valid_range == (0, 9)


def test_bands_without_time_are_trained_on_mapped_and_scored(
    land: xr.Dataset, tmp_path: Path
) -> None:
    still = land[["elevation", "twi"]].drop_vars("time", errors="ignore")
    points = make_points(land)
    model = still.soc.train(points, **QUICK, out=tmp_path / "model")
    assert (model.spec.dynamic, model.spec.static) == ((), ("elevation", "twi"))
    assert model.spec.steps == 1
    made = still.soc.map(model=tmp_path / "model", level=80).load()
    known = np.isfinite(still["elevation"].values)
    np.testing.assert_array_equal(np.isfinite(made["soc"].values), known)
    tiled = still.soc.map(model=model, level=80, tile=16).load()
    np.testing.assert_allclose(tiled["soc"], made["soc"], rtol=1e-5)
    still.to_zarr(tmp_path / "still.zarr", zarr_format=3, consolidated=False)
    cube = hmx.open_cube(tmp_path / "still.zarr")
    stored = cube.soc.map_to_zarr(tmp_path / "soc.zarr", model=model, level=80)
    np.testing.assert_allclose(stored["soc"], made["soc"], rtol=1e-5)
    card = still.soc.evaluate(points, **QUICK, beside=(), level=80)
    assert card.value("n") > 50
    # years of bands that the model does not read
    dated = make_covariates((32, 36), years=5)
    undated = dated[["elevation", "twi"]].drop_vars("time", errors="ignore")
    one, other = (ds.soc.map(model=model)["soc"].values for ds in (dated, undated))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).any()


# what is refused ------------------------------------------------------------------------

OTHER = {name: value for name, value in QUICK.items() if name not in ("crs", "split")}
BAD_TRAINING: list[tuple[Any, dict[str, Any], type, str]] = [
    (None, {"crs": None}, MissingCRS, r"points without CRS: columns 'x' and 'y'.*crs='EPSG:4326'"),
    (None, {"target": "socc"}, MissingVariable, "'socc' is not in the table .*mean 'soc'"),
    ({"soc": "much"}, {}, BadArgument, "column 'soc' of the table is not numeric: 90 of 90 rows"),
    ({"x": 1e6}, {}, BadArgument, "all 90 points lie outside the cube.*pass their true crs="),
    (None, {"window": 51}, BadArgument, "window=51 is larger than the cube, .* Pass window=5"),
    (None, {"where": "soc > 99"}, NotEnoughData, "no sample is left"),
    (None, {"split": {"folds": 3}}, NotEnoughData, "1 group .* k=3 folds need one each"),
    (None, {"split": {"method": "regions", "region": "zone"}}, MissingVariable, "'zone' is not in"),
    (None, {"split": "blcks"}, BadArgument, "'blcks' is not a way of .*Did you mean 'blocks'"),
    (None, {"epoch": 2}, BadArgument, "unknown option 'epoch' .*Did you mean 'epochs'"),
    (None, {"split": {"methd": "random"}}, BadArgument, "'methd'.*Did you mean 'method'"),
    (None, {"track": {"wandbb": "offline"}}, BadArgument, "'wandbb'.*Did you mean 'wandb'"),
    (None, {"dynamic": ["lstt"]}, MissingVariable, "lstt .*Did you mean 'lst'"),
    (None, {"init_from": Path("nowhere")}, BundleError, "there is no model at 'nowhere'"),
    (None, {"year": 2}, BadArgument, "unknown option 'year'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "options", "error", "text"), BAD_TRAINING)
def test_bad_input_of_training_says_what_to_type(
    land: xr.Dataset, change: Any, options: dict[str, Any], error: type, text: str
) -> None:
    points = make_points(land).assign(**(change or {}))
    with pytest.raises(error, match=text):
        land.soc.train(points, **{**QUICK, **options})


def test_too_few_samples_in_a_fold_are_told(land: xr.Dataset) -> None:
    with pytest.raises(NotEnoughData, match=r"sites to test on.*Pass fewer folds, .*more points"):
        land.soc.train(make_points(land)[:8], **QUICK)


def test_a_history_needs_dates(land: xr.Dataset) -> None:
    ds = make_covariates((32, 36), years=5)
    with pytest.raises(BadArgument, match=r"date missing: .* sees 3,.*date='year'"):
        ds.soc.train(make_points(ds), history=3, **QUICK)
    model = ds.soc.train(make_points(ds), history=3, date="year", **QUICK)
    assert model.spec.steps == 3


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        (["rain"], "1 band is not in the cube: rain"),
        (["rain", "twi"], r"2 bands .* not in the cube: rain, twi"),
    ],
)
def test_bands_that_are_missing_at_prediction_are_all_named(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, gone: list[str], text: str
) -> None:
    with pytest.raises(MissingVariable, match=text + ".*names that they had in training"):
        land.drop_vars(gone).soc.map(model=trained_mapper)


def test_a_model_of_the_other_job_is_refused_both_ways(
    land: xr.Dataset, cube: xr.Dataset, trained: hmx.Bundle, trained_mapper: hmx.MapBundle
) -> None:
    for model in (trained, trained.path):
        with pytest.raises(BundleError, match=r"forecasts rasters.*hm\.forecast"):
            land.soc.map(model=model)
    for other in (trained_mapper, trained_mapper.path):
        with pytest.raises(BundleError, match=r"maps what was sampled.*soc\.map"):
            cube.hm.forecast(model=other)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"level": 120}, "a level is a percentage between 0 and 100. Try 80"),
        ({"time": 2013}, "months of every year, so its map has no date. Leave out time="),
        ({"year": 2013, "time": 2013}, "year is another name of time, and both are given"),
        ({"til": 64}, "unknown option 'til' .*Did you mean 'tile'"),
    ],
)
def test_impossible_wishes_for_a_map_are_refused(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(BadArgument, match=text):
        land.soc.map(model=trained_mapper, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"beside": "regions"}, "'regions' needs more than its name"),
        ({"level": ()}, "a level is a percentage"),
        ({"besides": "random"}, "unknown option 'besides'"),
    ],
)
def test_impossible_wishes_for_scores_are_refused(
    land: xr.Dataset, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(BadArgument, match=text):
        land.soc.evaluate(make_points(land), **QUICK, **options)


def test_a_scorecard_comes_back_and_a_current_one_too(land: xr.Dataset, tmp_path: Path) -> None:
    words: dict[str, Any] = {**QUICK, "beside": (), "level": 80, "out": tmp_path / "card"}
    card = land.soc.evaluate(make_points(land), **words)
    assert card.verdict in str(card).replace("\n", " ")
    again = land.soc.evaluate(make_points(land), **words)
    assert (str(again), again.rows()) == (str(card), card.rows())
