"""Laws of depths: one model learns how the target changes with depth, and maps any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import hmx
from hmx.catalog import MapCatalog
from hmx.errors import BadArgument
from hmx.mapping.options import MapOptions
from hmx.settings import parse
from tests.make.soilworlds import TINY, UTM, make_points, write_map_catalog

HORIZONS = [(0, 10), (10, 30), (30, 60)]


def profiles(ds: xr.Dataset, n: int = 70) -> pd.DataFrame:
    """Profiles of three horizons each, whose value falls with depth and nothing else."""
    sites = make_points(ds, n).drop(columns="year")
    sites["profile"] = [f"S{number}" for number in range(n)]
    parts = [sites.assign(upper=top, lower=bottom) for top, bottom in HORIZONS]
    table = pd.concat(parts, ignore_index=True)
    middle = (table["upper"] + table["lower"]) / 2
    noise = np.random.default_rng(2).normal(size=len(table))
    table["soc"] = 60 * np.exp(-middle / 25 + 0.05 * noise)
    return table


@pytest.fixture(scope="module")
def model(land: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.MapBundle:
    out = tmp_path_factory.mktemp("depths") / "model"
    fit = {**TINY, "epochs": 12, "runs": 1, "batch": 16}
    return land.soc.train(
        profiles(land), crs=UTM, top="upper", bottom="lower", units="g/kg", out=out, **fit
    )


def test_depth_is_learnt_and_without_it_nothing_is(land: xr.Dataset, model: hmx.MapBundle) -> None:
    assert model.spec.depth
    assert model.training["held_out"]["transformed"]["r2"] > 0.8  # of about .99
    ranked = model.training["importance"]["mean"]
    assert max(ranked, key=ranked.__getitem__) == "depth"
    without = land.soc.train(profiles(land), crs=UTM, **{**TINY, "runs": 1})
    assert without.training["held_out"]["transformed"]["r2"] < 0.2


def test_horizons_of_a_profile_stay_on_one_side(model: hmx.MapBundle) -> None:
    points = model.training["points"]
    assert points["sites"] <= points["samples"] / 3
    again = hmx.load(model.path)
    assert again.spec == model.spec
    assert again.digest == model.digest


def test_a_map_of_several_depths_is_its_maps_of_one(land: xr.Dataset, model: hmx.MapBundle) -> None:
    options: dict[str, Any] = {"model": model, "level": 50, "quantiles": [0.25, 0.75], "tile": 16}
    several = land.soc.map(depths=["0-10", "30-60"], **options).compute()
    assert several["soc"].dims == ("depth", "y", "x")
    assert several["soc_quantile"].dims == ("quantile", "depth", "y", "x")
    np.testing.assert_array_equal(several["depth"], [5, 45])
    np.testing.assert_array_equal(several["depth_bounds"], [[0, 10], [30, 60]])
    assert several["depth"].attrs["positive"] == "down"
    for number, depth in enumerate(["0-10", "30-60 cm"]):
        one = land.soc.map(depths=depth, **options).compute()
        assert one["soc"].dims == ("y", "x")
        assert float(one["depth"]) == [5, 45][number]
        for name in one.data_vars:
            part = several[name] if name == "quality" else several[name].isel(depth=number)
            np.testing.assert_array_equal(part, one[name], err_msg=str(name))
    upper, lower = (float(several["soc"].isel(depth=at).mean()) for at in (0, 1))
    assert 35 < upper < 60
    assert 5 < lower < 20


def test_a_job_of_several_depths_equals_the_lazy_map(
    land: xr.Dataset, model: hmx.MapBundle, tmp_path: Path
) -> None:
    land.drop_encoding().to_zarr(tmp_path / "cube.zarr", zarr_format=3)
    cube = hmx.open_cube(tmp_path / "cube.zarr")
    job = cube.soc.map_to_zarr(tmp_path / "map.zarr", model=model, depths=["0-5", "5-15"])
    lazy = land.soc.map(model=model, depths=["0-5", "5-15"]).compute()
    np.testing.assert_array_equal(job["soc"], lazy["soc"])
    again = xr.open_zarr(tmp_path / "map.zarr")
    np.testing.assert_array_equal(again["depth_bounds"], [[0, 5], [5, 15]])
    for call in (
        lambda: job.soc.zonal(np.ones((32, 36), int)),
        lambda: job.soc.report(tmp_path / "report.html"),
        job.soc.plot_map,
    ):
        with pytest.raises(BadArgument, match=r"2 depths, and a .* is of one\. Map it by itself"):
            call()
    one = land.soc.map(model=model, depths="0-5")
    assert one.soc.zonal(np.ones((32, 36), int), draws=10)["soc"].notnull().all()


def test_predictions_have_the_depth_of_the_row_or_of_the_call(
    land: xr.Dataset, model: hmx.MapBundle
) -> None:
    table = profiles(land)
    options: dict[str, Any] = {"model": model, "crs": UTM}
    by_row = land.soc.predict(table, top="upper", bottom="lower", **options)
    for top, bottom in HORIZONS:
        rows = (table["upper"] == top).values
        one = land.soc.predict(table[rows], depths=f"{top}-{bottom}", **options)
        np.testing.assert_allclose(by_row["soc"][rows], one["soc"], rtol=1e-5)
    with pytest.raises(BadArgument, match="no depth is asked for"):
        land.soc.predict(table, **options)


def test_depths_that_make_no_sense_are_named(
    land: xr.Dataset, model: hmx.MapBundle, trained_mapper: hmx.MapBundle
) -> None:
    with pytest.raises(BadArgument, match=r"no depth is asked for. Pass depths=\['0-5'"):
        land.soc.map(model=model)
    with pytest.raises(BadArgument, match="the model has not learnt depths"):
        land.soc.map(model=trained_mapper, depths="0-5")
    for wrong, words in (("5-0", "the top comes first"), ("top", "Write '0-5'")):
        with pytest.raises(BadArgument, match=words):
            parse(MapOptions, {"depths": wrong})
    assert parse(MapOptions, {"depths": [0, 5]}).depths == ((0.0, 5.0),)
    with pytest.raises(BadArgument, match="top is given and bottom is not"):
        land.soc.train(profiles(land), crs=UTM, top="upper", **TINY)
    odd = profiles(land)
    odd.loc[:2, "upper"] = 99
    prepared = land.soc.train(odd, crs=UTM, top="upper", bottom="lower", **{**TINY, "runs": 1})
    assert len(prepared.training["points"]["left"]["no depth"]) == 3


def test_a_catalog_maps_depths(land: xr.Dataset, tmp_path: Path) -> None:
    path = write_map_catalog(tmp_path, land, profiles(land))
    raw = yaml.safe_load(path.read_text())
    raw["points"] |= {"top": "upper", "bottom": "lower"}
    raw["map"]["depths"] = ["0-5", "5-15"]
    path.write_text(yaml.safe_dump(raw))
    assert MapCatalog.load(path).map.depths == ((0.0, 5.0), (5.0, 15.0))
