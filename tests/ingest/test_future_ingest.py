"""Laws of ingesting what is known ahead: the axis goes on, the target does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
import zarr
from click.testing import CliRunner, Result

import hmx as library
from hmx.catalog import Catalog
from hmx.cli.main import hmx
from hmx.cube.cube import as_cube, open_cube
from hmx.errors import CatalogError, HmxError, SourceError
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current
from tests.make.cubes import make_cube, write_raster
from tests.make.rasters import field, make_catalog, write_tif, write_years

YEARS = [1990, 1995, 2000]
LATER = [2005, 2010]
SHAPE = (40, 30)


def write_population(folder: Path, years: list[int]) -> np.ndarray:
    maps = np.stack([field(SHAPE, seed=year) * 1000 for year in years])
    for year, values in zip(years, maps, strict=True):
        write_tif(folder / f"POP_{year}.tif", values)
    return maps


def source(years: Any, **more: Any) -> dict[str, Any]:
    return {"path": "POP_{year}.tif", "years": years, "future": True, **more}


def known_ahead(folder: Path, years: list[int] | None = None, **more: Any) -> Catalog:
    """A catalog of rasters that are there: hm to 2000, pop to 2010."""
    write_years(folder, years or YEARS)
    return make_catalog(folder, years or YEARS, pop=source(YEARS + LATER), **more)


def steps(path: Path) -> list[str]:
    return [str(time)[:4] for time in xr.open_zarr(path)["time"].values]


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Assert equal values, coordinates and attributes of all variables."""
    xr.testing.assert_equal(one, other)
    for name in one.variables:
        assert one[name].attrs == other[name].attrs


# the cube on disk


def test_the_axis_goes_on_and_the_target_ends(tmp_path: Path) -> None:
    pop = write_population(tmp_path, YEARS + LATER)
    path = ingest(known_ahead(tmp_path))
    ds = open_cube(path)
    assert steps(path) == ["1990", "1995", "2000", "2005", "2010"]
    np.testing.assert_array_equal(ds["pop"], pop)
    assert np.isnan(ds["hm"].values[3:]).all()
    assert np.isfinite(ds["hm"].values[:3]).all()
    assert ds["hm"].attrs["observed_until"] == "2000-01-01"
    assert ds["pop"].attrs["known_until"] == "2010-01-01"
    cube = as_cube(ds)
    assert cube.data.sizes["time"] == 3
    assert cube.stored("pop").sizes["time"] == 5


def test_no_chunk_is_written_where_nothing_is_observed(tmp_path: Path) -> None:
    write_population(tmp_path, YEARS + LATER)
    path = ingest(known_ahead(tmp_path))
    group = zarr.open_group(path)
    assert group["hm"].shape[0] == group["pop"].shape[0] == 5  # type: ignore[union-attr]
    assert group["hm"].chunks[0] == 3  # type: ignore[union-attr]
    assert len([file for file in (path / "hm" / "c").rglob("*") if file.is_file()]) == 1
    assert len([file for file in (path / "pop" / "c").rglob("*") if file.is_file()]) == 1


def test_covariates_may_be_known_to_different_years(tmp_path: Path) -> None:
    write_population(tmp_path, YEARS + LATER)
    gdp = source([*YEARS, 2005])
    ds = open_cube(ingest(known_ahead(tmp_path, gdp=gdp, held=source(YEARS, future=False))))
    assert {n: v.attrs.get("known_until") for n, v in ds.data_vars.items()} == {
        "hm": None,
        "pop": "2010-01-01",
        "gdp": "2005-01-01",
        "held": None,
    }
    known = {name: np.isfinite(ds[name].values).all(axis=(1, 2)).sum() for name in ds.data_vars}
    assert known == {"hm": 3, "pop": 5, "gdp": 4, "held": 3}


def test_steps_between_the_targets_are_not_read(tmp_path: Path) -> None:
    years = list(range(1990, 2012))
    write_population(tmp_path, years)
    write_years(tmp_path, YEARS)
    path = ingest(make_catalog(tmp_path, YEARS, pop=source(years)))
    assert steps(path) == ["1990", "1995", "2000", "2005", "2010"]


def test_a_source_without_later_steps_says_that_it_ends_with_the_target(tmp_path: Path) -> None:
    write_population(tmp_path, YEARS)
    write_years(tmp_path, YEARS)
    ingest(make_catalog(tmp_path, YEARS, pop=source(YEARS, future=False)))
    ds = open_cube(ingest(make_catalog(tmp_path, YEARS, pop=source(YEARS))))
    assert ds["pop"].attrs["known_until"] == ds["hm"].attrs["observed_until"] == "2000-01-01"


def test_without_future_a_source_is_as_long_as_the_target(tmp_path: Path) -> None:
    write_population(tmp_path, YEARS + LATER)
    write_years(tmp_path, YEARS)
    held = source(YEARS + LATER, future=False)
    path = ingest(make_catalog(tmp_path, YEARS, pop=held))
    assert steps(path) == ["1990", "1995", "2000"]
    attrs = {key for v in open_cube(path).data_vars.values() for key in v.attrs}
    assert not {"observed_until", "known_until"} & attrs


def test_a_file_with_its_own_time_may_be_known_ahead(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    pop = write_population(tmp_path, YEARS + LATER)
    with rasterio.open(tmp_path / "HM_1990.tif") as file:
        place, crs = file.transform, file.crs
    x = place.c + place.a * (np.arange(SHAPE[1]) + 0.5)
    y = place.f + place.e * (np.arange(SHAPE[0]) + 0.5)
    time = np.array([f"{year}-01-01" for year in YEARS + LATER], "datetime64[ns]")
    ds = xr.Dataset({"pop": (("time", "y", "x"), pop)}, {"time": time, "y": y, "x": x})
    ds.rio.write_crs(crs).to_netcdf(tmp_path / "pop.nc")
    path = ingest(make_catalog(tmp_path, YEARS, pop={"path": "pop.nc", "future": True}))
    np.testing.assert_array_equal(open_cube(path)["pop"], pop)
    assert open_cube(path)["pop"].attrs["known_until"] == "2010-01-01"
    path = ingest(make_catalog(tmp_path, YEARS, pop={"path": "pop.nc"}))
    np.testing.assert_array_equal(open_cube(path)["pop"], pop[:3])


def test_the_last_map_of_a_day_is_not_taken_for_the_days_last_step(tmp_path: Path) -> None:
    hours = ["2020-01-01T00", "2020-01-01T12", "2020-01-02T00", "2020-01-02T12"]
    for hour in hours:
        write_tif(tmp_path / f"HM_{hour}.tif", field(SHAPE))
    hm = {"path": "HM_{time}.tif", "times": hours[:3]}
    ahead = {"path": "HM_{time}.tif", "times": hours, "future": True}
    ds = open_cube(ingest(make_catalog(tmp_path, hm=hm, weather=ahead)))
    assert as_cube(ds).data.sizes["time"] == 3


# a year later


def test_a_year_that_was_ahead_becomes_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_population(tmp_path, YEARS + LATER)
    ingest(known_ahead(tmp_path))
    catalog = known_ahead(tmp_path, [*YEARS, 2005])
    for year in YEARS:
        (tmp_path / f"HM_{year}.tif").unlink()
    for year in YEARS + LATER:
        (tmp_path / f"POP_{year}.tif").unlink()  # archived: all are in the cube
    assert not is_current(catalog)
    appended = open_cube(ingest(catalog)).load()
    assert appended["hm"].attrs["observed_until"] == "2005-01-01"
    write_years(tmp_path, [*YEARS, 2005])
    write_population(tmp_path, YEARS + LATER)
    same(appended, open_cube(ingest(catalog, overwrite=True)).load())


def test_more_years_ahead_are_added_without_reading_the_others(tmp_path: Path) -> None:
    write_population(tmp_path, [*YEARS, *LATER, 2015])
    ingest(known_ahead(tmp_path))
    for year in YEARS:
        (tmp_path / f"HM_{year}.tif").unlink()
        (tmp_path / f"POP_{year}.tif").unlink()
    longer = make_catalog(tmp_path, YEARS, pop=source([*YEARS, *LATER, 2015]))
    added = open_cube(ingest(longer)).load()
    assert added["pop"].attrs["known_until"] == "2015-01-01"
    write_years(tmp_path, YEARS)
    write_population(tmp_path, YEARS)
    same(added, open_cube(ingest(longer, overwrite=True)).load())


def test_a_covariate_may_become_known_ahead_and_held_again(tmp_path: Path) -> None:
    write_population(tmp_path, YEARS + LATER)
    write_years(tmp_path, YEARS)
    held = make_catalog(tmp_path, YEARS, pop=source(YEARS, future=False))
    before = open_cube(ingest(held)).load()
    ahead = make_catalog(tmp_path, YEARS, pop=source(YEARS + LATER))
    assert not is_current(ahead)
    became = open_cube(ingest(ahead)).load()
    assert is_current(ahead)
    same(became, open_cube(ingest(ahead, overwrite=True)).load())
    same(before, open_cube(ingest(held)).load())


def test_the_recipe_of_a_cube_without_known_covariates_is_as_it_was(tmp_path: Path) -> None:
    """A cube of an older version stays current, though its rasters may be archived."""
    write_years(tmp_path, YEARS)
    path = ingest(make_catalog(tmp_path, YEARS))
    recipe = json.loads(open_cube(path).attrs["hmx_sources"])["sources"]["hm"]
    assert set(recipe) == {"options", "files"}
    assert "future" not in recipe["options"]


# what is refused


def test_a_step_that_is_missing_ahead_is_named(tmp_path: Path) -> None:
    write_population(tmp_path, [*YEARS, 2010])
    write_years(tmp_path, YEARS)
    words = r"pop has no 2005, and goes on to 2010: .* in steps of 5 years"
    with pytest.raises(SourceError, match=words):
        ingest(make_catalog(tmp_path, YEARS, pop=source([*YEARS, 2010])))


def test_a_file_that_is_missing_ahead_is_named(tmp_path: Path) -> None:
    write_population(tmp_path, [*YEARS, 2005])
    with pytest.raises(SourceError, match=r"pop has no file for 2010: .*POP_2010.tif"):
        ingest(known_ahead(tmp_path))


def test_what_is_known_ahead_covers_the_past_too(tmp_path: Path) -> None:
    write_population(tmp_path, [1995, 2000, 2005])
    write_years(tmp_path, YEARS)
    with pytest.raises(SourceError, match="pop has no 1990"):
        ingest(make_catalog(tmp_path, YEARS, pop=source([1995, 2000, 2005])))


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (
            {"hm": {"path": "HM_{year}.tif", "years": YEARS, "future": True}},
            "belongs to covariates",
        ),
        ({"pop": {"path": "P_{month}.tif", "months": [1, 2], "future": True}}, "months go round"),
    ],
)
def test_a_catalog_cannot_know_ahead_what_nobody_can(
    tmp_path: Path, sources: dict[str, Any], words: str
) -> None:
    with pytest.raises(HmxError, match=words):
        make_catalog(tmp_path, **sources)


def test_a_single_map_cannot_be_known_ahead(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    write_tif(tmp_path / "pop.tif", field(SHAPE))
    with pytest.raises(CatalogError, match=r"pop has future: true, and .* single map"):
        ingest(make_catalog(tmp_path, YEARS, pop={"path": "pop.tif", "future": True}))


# from a catalog to a forecast


def run(*words: object) -> Result:
    result = CliRunner().invoke(hmx, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def write_scenario(folder: Path, years: list[int], until: int) -> Path:
    """Rasters and a catalog that trains in a second; population goes on to ``until``."""
    ds = make_cube((48, 56), steps=12, dynamic=("population",), static=())
    ahead = list(range(1990, until + 1, 5))
    for year, step in zip(range(1990, 2050, 5), range(12), strict=True):
        if year in years:
            write_raster(folder / f"HM_{year}.tif", ds["hm"].values[step], nodata=np.nan)
        if year in ahead:
            write_raster(folder / f"POP_{year}.tif", ds["population"].values[step])
    catalog = {
        "hmx": 1,
        "name": "toy",
        "cube": {
            "path": "toy.zarr",
            "sources": {
                "hm": {"path": "HM_{year}.tif", "years": years, "valid_range": [0, 1]},
                "population": {
                    "path": "POP_{year}.tif",
                    "years": {"start": 1990, "stop": until, "step": 5},
                    "transform": "log",
                    "future": True,
                },
            },
        },
        "model": {"history": 2, "arch": "dilated", "width": 4, "trunk": [1], "context": [1, 3]},
        "train": {"h": 2, "epochs": 2, "steps": 4, "chip": 32, "device": "cpu"},
        "forecast": {"h": 2, "tile": 32},
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
    return path


MAPS = [1990, 1995, 2000, 2005, 2010]


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rasters, catalog, model and forecast."""
    folder = tmp_path_factory.mktemp("scenario")
    run("forecast", write_scenario(folder, MAPS, 2020))
    return folder


@pytest.fixture(scope="module")
def until_2010(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained until 2010."""
    folder = tmp_path_factory.mktemp("until")
    run("forecast", write_scenario(folder, MAPS, 2020), "--set", "train.until=2010")
    return folder


def copied(folder: Path, to: Path) -> Path:
    """Copy a scenario, for a test that changes it; return its catalog."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to / "toy.yaml"


def test_a_catalog_forecasts_with_what_is_known_ahead(forecast: Path) -> None:
    tmp_path, catalog = forecast, forecast / "toy.yaml"
    assert library.load(tmp_path / "toy.model").spec.future == ("population",)
    fc = open_cube(tmp_path / "toy_forecast.zarr")
    assert steps(tmp_path / "toy_forecast.zarr") == ["2015", "2020"]
    want = open_cube(tmp_path / "toy.zarr").hm.forecast(2, model=tmp_path / "toy.model")
    np.testing.assert_allclose(fc["hm"], want["hm"], atol=1e-6)
    said = run("info", catalog).output
    assert "known ahead population to 2020-01-01" in said
    assert "1990-01-01 to 2010-01-01, 5 steps" in said
    run("verify", catalog)
    assert "exists and is current" in run("forecast", catalog).output


def test_another_scenario_gives_another_forecast(until_2010: Path, tmp_path: Path) -> None:
    catalog = copied(until_2010, tmp_path)
    before = open_cube(tmp_path / "toy_forecast.zarr")["hm"].values
    write_raster(tmp_path / "POP_2015.tif", np.full((48, 56), 9.0, "float32"))
    run("forecast", catalog, "--set", "train.until=2010", "--overwrite")
    after = open_cube(tmp_path / "toy_forecast.zarr")["hm"].values
    assert np.nanmax(np.abs(after - before)) > 0


def test_a_model_is_trained_anew_when_a_covariate_becomes_known_ahead(tmp_path: Path) -> None:
    catalog = write_scenario(tmp_path, MAPS, 2020)
    held = ("--set", "cube.sources.population.future=false", "--set", "train.until=2010")
    run("train", catalog, *held)
    assert library.load(tmp_path / "toy.model").spec.future == ()
    said = run("train", catalog, "--set", "train.until=2010").output
    assert "other covariates are known ahead" in said
    assert library.load(tmp_path / "toy.model").spec.future == ("population",)


def test_the_next_map_moves_the_forecast_on(forecast: Path, tmp_path: Path) -> None:
    copied(forecast, tmp_path)
    catalog = write_scenario(tmp_path, [*MAPS, 2015], 2020)
    run("forecast", catalog, "--overwrite")
    fc = open_cube(tmp_path / "toy_forecast.zarr")
    assert steps(tmp_path / "toy_forecast.zarr") == ["2020", "2025"]
    assert json.loads(fc.attrs["held_leads"]) == {"population": [2]}
