"""Laws of predictions at points: what the map has at their pixel and date, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.cli.main import hmx as command
from hmx.errors import BadArgument, NotTrained
from hmx.mapping.predict import columns_of
from hmx.points.options import PointsOptions
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import TINY, UTM, make_points, write_map_catalog


def places(ds: xr.Dataset, n: int = 40) -> pd.DataFrame:
    """Places anywhere in the cube, not at centres of pixels; one outside, one without a place."""
    rng = np.random.default_rng(7)
    west, east = float(ds["x"].min()), float(ds["x"].max())
    south, north = float(ds["y"].min()), float(ds["y"].max())
    x, y = rng.uniform(west, east, n), rng.uniform(south, north, n)
    x[3], y[5] = east + 50_000, np.nan
    names = [f"P{number:03d}" for number in range(n)]
    return pd.DataFrame(
        {"plot_id": names, "x": x, "y": y, "crop": "wheat"}, index=range(100, 100 + n)
    )


def test_a_row_has_what_the_map_has_at_its_pixel(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    table = places(land)
    found = land.soc.predict(table, model=trained_mapper, level=[50, 80], quantiles=[0.5], crs=UTM)
    made = land.soc.map(model=trained_mapper, level=[50, 80], quantiles=[0.5]).compute()
    at = {name: xr.DataArray(table[name].fillna(0).values, dims="row") for name in ("x", "y")}
    pixel = made.sel(**at, method="nearest")
    inside = table["x"].le(float(land["x"].max())).values & table["y"].notna().values
    known = found["soc"].notna().values
    assert known.sum() > 20
    np.testing.assert_array_equal(known, inside & pixel["soc"].notnull().values)
    size = float(made["soc"].max() - made["soc"].min())
    columns = {"soc": "soc", "soc_q0.5": "soc_quantile"}
    columns |= {
        f"soc_{end}_{level}": f"soc_{end}_{level}" for end in ("lo", "hi") for level in (50, 80)
    }
    for column, variable in columns.items():
        want = pixel[variable].values.reshape(-1)[: len(table)]
        np.testing.assert_allclose(found[column][known], want[known], atol=2e-5 * size)
    same = found["applicable"][known].to_numpy(bool) == (pixel["applicable"].values[known] == 1)
    assert same.mean() > 0.95  # rounding can move a place across the threshold
    lacks = found["note"].str.contains("bands are missing").values
    np.testing.assert_array_equal(lacks[known], (pixel["quality"].values[known] & 1) > 0)


def test_every_row_keeps_its_id_and_index_and_has_its_reason(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    table = places(land)
    found = land.soc.predict(table, model=trained_mapper, crs=UTM)
    assert found.index.equals(table.index)
    assert list(found["plot_id"]) == list(table["plot_id"])
    assert list(found.columns) == [
        "plot_id", "x", "y", "soc", "dissimilarity", "applicable", "estimate", "note",
    ]  # fmt: skip
    assert found["note"].iloc[3] == "outside the cube"
    assert found["note"].iloc[5] == "without coordinates"
    without = found["soc"].isna()
    assert (found["note"][without] != "").all()


def test_a_date_is_that_of_the_row_or_of_the_call(tmp_path: Path) -> None:
    ds = make_covariates((32, 36), years=5)
    model = ds.soc.train(
        make_points(ds), crs=UTM, date="year", history=2, out=tmp_path / "m", **TINY
    )
    table = places(ds).assign(when=[2012, 2014] * 20)
    by_row = ds.soc.predict(table, model=model, crs=UTM, date="when")
    for year in (2012, 2014):
        of_year = ds.soc.predict(table, model=model, crs=UTM, time=year)
        rows = (table["when"] == year).values
        np.testing.assert_allclose(by_row["soc"][rows], of_year["soc"][rows], rtol=1e-5)
        assert of_year["soc"].notna().sum() > 20
    assert not np.allclose(by_row["soc"], of_year["soc"], equal_nan=True)
    last = ds.soc.predict(table, model=model, crs=UTM)["soc"]
    np.testing.assert_array_equal(last, of_year["soc"])
    with pytest.raises(BadArgument, match="time=2014 is one date for all rows, and date='when'"):
        ds.soc.predict(table, model=model, crs=UTM, date="when", time=2014)


def test_without_a_model_it_says_what_to_pass(land: xr.Dataset) -> None:
    with pytest.raises(NotTrained, match="predict\\(points, model='models/soc'\\)"):
        land.copy().soc.predict(places(land), crs=UTM)


def test_the_command_writes_a_table_and_leaves_other_files_alone(
    land: xr.Dataset, tmp_path: Path
) -> None:
    catalog = write_map_catalog(tmp_path, land)
    places(land).to_csv(tmp_path / "new.csv", index=False)
    run = ["predict", str(catalog), "--points", str(tmp_path / "new.csv"), "--level", "80"]
    done = CliRunner().invoke(command, run, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    path = tmp_path / "soils_predictions.csv"
    assert done.stdout.strip().splitlines()[-1] == str(path)
    assert "38 predicted" in done.stderr or "predicted; without a prediction" in done.stderr
    table = pd.read_csv(path)
    assert list(table["plot_id"]) == list(places(land)["plot_id"])
    assert {"soc", "soc_lo_80", "soc_hi_80", "applicable", "note"} <= {*table}
    first = path.read_bytes()
    assert CliRunner().invoke(command, run, catch_exceptions=False).exit_code == 0
    assert path.read_bytes() == first
    for output, words in (("new.csv", "did not write, so it is left alone"), ("a.xlsx", "as CSV")):
        again = CliRunner().invoke(command, [*run, "--output", str(tmp_path / output)])
        assert again.exit_code in (1, 2)
        assert words in again.stderr
    assert "plot_id,x,y,crop" in (tmp_path / "new.csv").read_text()
    missing = CliRunner().invoke(command, run[:2])
    assert "predict.points is not set" in missing.stderr


def test_the_estimate_is_of_the_distribution_that_was_asked_for(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    low = trained_mapper.calibration.within(0)
    levels = [min(max((at + 0.5) / 200, low), 1 - low) for at in range(200)]
    wide = land.soc.map(model=trained_mapper, quantiles=sorted({*levels, 0.5})).compute()
    drawn = wide["soc_quantile"].sel(quantile=levels, method="nearest").mean("quantile")
    found = {
        which: land.soc.map(model=trained_mapper, estimate=which).compute()["soc"]
        for which in ("model", "median", "mean")
    }
    np.testing.assert_allclose(found["mean"], drawn, rtol=1.5e-3)
    np.testing.assert_array_equal(found["median"], wide["soc_quantile"].sel(quantile=0.5))
    np.testing.assert_array_equal(found["model"], wide["soc"])
    assert not np.allclose(found["mean"], found["median"], rtol=4e-3, equal_nan=True)
    for which in ("median", "mean"):
        assert found[which].attrs["long_name"] == f"soc, {which} of the predictive distribution"
    table = places(land)
    predicted = land.soc.predict(table, model=trained_mapper, crs=UTM, estimate="mean")
    assert set(predicted["estimate"]) == {"mean of the predictive distribution"}
    at_points = predicted["soc"]
    at = {name: xr.DataArray(table[name].fillna(0).values, dims="row") for name in ("x", "y")}
    pixel = found["mean"].sel(**at, method="nearest").values
    known = at_points.notna().values
    np.testing.assert_allclose(at_points[known], pixel[known], rtol=1e-4)


def test_columns_are_called_as_those_of_the_training_where_the_table_has_them(
    tmp_path: Path,
) -> None:
    known = PointsOptions(x="east", y="north", crs=UTM, date="when", top="upper", bottom="lower")
    path = tmp_path / "new.csv"
    path.write_text("id,east,north,upper,lower\n1,1,2,0,5\n")
    own = {"x": "east", "y": "north", "top": "upper", "bottom": "lower", "crs": UTM}
    assert columns_of(str(path), {}, known) == own
    assert "top" not in columns_of(str(path), {}, known, depths=True)
    path.write_text("id,lon,lat,upper\n1,1,2,0\n")
    assert columns_of(str(path), {"crs": "EPSG:4326"}, known) == {"crs": "EPSG:4326"}
