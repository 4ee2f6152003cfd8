"""Laws of stock maps: the formula at every pixel, block by block, with bounds, units and depths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from click.testing import CliRunner, Result

import hmx
from hmx.cli.main import hmx as command
from hmx.errors import BadArgument, GridMismatch
from tests.make.cubes import write_raster
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import make_points, write_map_catalog

SHAPE = (32, 36)


def soil(*, depths: int = 0, chunked: bool = False, units: str | None = "g/kg") -> xr.Dataset:
    """A map as ``ds.soc.map`` makes it, with a gap, a bound and a quantile."""
    rng = np.random.default_rng(1)
    land = make_covariates(SHAPE)[["elevation"]]
    shape = (depths, *SHAPE) if depths else SHAPE
    dims = ("depth", "y", "x") if depths else ("y", "x")
    values = rng.uniform(5, 60, shape).astype("float32")
    values[..., 2, 3] = np.nan
    attrs = {} if units is None else {"units": units}
    made = land.drop_vars("elevation").assign(
        soc=(dims, values, attrs | {"hmx_role": "target", "long_name": "soc, mean"}),
        soc_lo_90=(dims, values / 2, attrs),
        soc_hi_90=(dims, values * 2, attrs),
        soc_quantile=(("quantile", *dims), np.stack([values, values + 1]), attrs),
        quality=(("y", "x"), np.zeros(SHAPE, "uint8")),
    )
    if depths:
        ends = np.array([(0, 5), (5, 15), (15, 30)][:depths], "float64")
        made = made.assign_coords(
            depth=("depth", ends.mean(axis=1)), depth_bounds=(("depth", "bounds"), ends)
        )
    made.attrs["hmx_provenance"] = json.dumps({"bundle": "abc"})
    return made.chunk(y=10, x=16) if chunked else made


def plane(low: float, high: float, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, SHAPE).astype("float32")


def like(values: np.ndarray, ds: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"), coords={"y": ds["y"], "x": ds["x"]})


@pytest.mark.parametrize("turned", [False, True], ids=["north-up", "south-up"])
@pytest.mark.parametrize("chunked", [False, True], ids=["in memory", "lazy"])
def test_every_pixel_follows_the_formula_whatever_the_parts_are(
    tmp_path: Path, chunked: bool, turned: bool
) -> None:
    density, stones = plane(0.8, 1.6), plane(0, 40, seed=2)
    stones[7, 7] = np.nan
    write_raster(tmp_path / "stones.tif", stones, nodata=np.nan, pixel=250.0)
    ds = soil(chunked=chunked)
    want = hmx.carbon_stock(ds["soc"], like(density, ds), bottom=30, coarse=like(stones, ds))
    given = ds.isel(y=slice(None, None, -1)) if turned else ds
    made = given.soc.stock(
        like(density, ds).sel(y=given["y"]), bottom=30, coarse=tmp_path / "stones.tif"
    )
    assert (made["soc_stock"].chunks is not None) or not chunked
    found = made.sel(y=ds["y"]).compute()
    np.testing.assert_allclose(found["soc_stock"], want, rtol=1e-6)
    assert int(found["soc_stock"].isnull().sum()) == 2  # the gap of the map, and of the stones
    np.testing.assert_allclose(found["soc_stock_lo_90"], want / 2, rtol=1e-6)
    np.testing.assert_allclose(found["soc_stock_hi_90"], want * 2, rtol=1e-6)
    np.testing.assert_allclose(found["soc_stock_quantile"][0], want, rtol=1e-6)
    assert list(found.data_vars)[-1] == "quality"
    assert {found[n].attrs.get("units") for n in found if "stock" in str(n)} == {"t/ha"}
    assert "count as exact" in found["soc_stock_lo_90"].attrs["comment"]
    assert found.rio.crs == ds.rio.crs


def test_a_part_of_a_map_has_the_stocks_of_the_whole_there(tmp_path: Path) -> None:
    write_raster(tmp_path / "density.tif", plane(0.8, 1.6), nodata=np.nan, pixel=250.0)
    whole = soil(chunked=True)
    part = whole.isel(y=slice(5, 20), x=slice(9, 30))
    for density in (str(tmp_path / "density.tif"), like(plane(0.8, 1.6), whole)):
        np.testing.assert_array_equal(
            part.soc.stock(density, bottom=30)["soc_stock"],
            whole.soc.stock(density, bottom=30)["soc_stock"].isel(y=slice(5, 20), x=slice(9, 30)),
        )


def test_depths_of_a_map_are_those_of_its_stock_and_add_up() -> None:
    ds = soil(depths=3)
    made = ds.soc.stock([1.1, 1.2, 1.3], coarse=10)
    for at, (density, thickness) in enumerate(((1.1, 5), (1.2, 10), (1.3, 15))):
        one = hmx.carbon_stock(ds["soc"][at], density, bottom=thickness, coarse=10)
        np.testing.assert_allclose(made["soc_stock"][at], one, rtol=1e-6)
    np.testing.assert_allclose(
        made["soc_stock_sum"], made["soc_stock"].sum("depth", skipna=False), rtol=1e-6
    )
    assert "0 to 30 cm" in made["soc_stock_sum"].attrs["long_name"]
    assert made["soc_stock_quantile"].dims == ("quantile", "depth", "y", "x")
    with pytest.raises(BadArgument, match="bulk_density has 2 entries, and the map has 3 depths"):
        ds.soc.stock([1.1, 1.2])
    with pytest.raises(BadArgument, match="this map has a depth of its own"):
        ds.soc.stock(1.3, bottom=30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "its lower end is unknown: this map has no depth. Pass top=0, bottom=30, cm"),
        ({"bottom": 30, "units": "t/ha"}, "'t/ha' is not a known share of mass"),
        ({"bottom": 30, "bulk_density": 1300}, "bulk_density has 1 numbers outside 0 to 3"),
        ({"bottom": 30, "variable": "clay"}, "'clay' is not in the map"),
        ({"bottom": 30, "bulk_density": [1.2]}, "has 1 entries, and the map has a single depth"),
        ({"bottom": 30, "bulk_density": "no.tif"}, "bulk_density: there is no file .*no.tif"),
    ],
)
def test_what_makes_no_stock_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(hmx.HmxError, match=words):
        soil().soc.stock(**({"bulk_density": 1.3} | options))


def test_a_concentration_without_units_and_a_part_that_does_not_fit_are_refused() -> None:
    with pytest.raises(BadArgument, match="soc has no units, so its stock is unknown"):
        soil(units=None).soc.stock(1.3, bottom=30)
    ds = soil()
    elsewhere = like(plane(1, 1.5), ds).assign_coords(x=ds["x"] + 250)
    with pytest.raises(GridMismatch, match="bulk_density is on another grid than the map: their x"):
        ds.soc.stock(elsewhere, bottom=30)
    series = like(plane(1, 1.5), ds).expand_dims(time=2)
    with pytest.raises(BadArgument, match="bulk_density has the dims time, y, x, and the map y, x"):
        ds.soc.stock(series, bottom=30)


def test_impossible_numbers_of_lazy_maps_are_refused_as_they_are_computed(tmp_path: Path) -> None:
    write_raster(tmp_path / "density.tif", plane(900, 1600), nodata=np.nan, pixel=250.0)
    lazy = soil(chunked=True).soc.stock(tmp_path / "density.tif", bottom=30)
    with pytest.raises(BadArgument, match=r"outside 0 to 3, such as .* density_units='kg/m3'"):
        lazy.compute()
    right = soil(chunked=True).soc.stock(tmp_path / "density.tif", bottom=30, density_units="kg/m3")
    assert float(right["soc_stock"].max()) > 0


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``hmx stock`` has run once."""
    folder = tmp_path_factory.mktemp("stocks")
    table = make_points(make_covariates(SHAPE)).assign(
        bd=1.3, stones="10", upper=0, lower=[20, 30] * 45
    )
    table.loc[4, "bd"] = -999
    table.loc[5, "soc"] = np.nan
    catalog = write_map_catalog(
        folder, None, table,
        train={"runs": 1, "epochs": 1},
        map={"level": [80], "estimate": "mean"},
        points={"missing": [-999]},
    )  # fmt: skip
    write_raster(folder / "bdod.tif", plane(80, 160), nodata=np.nan, pixel=250.0)
    raw = yaml.safe_load(catalog.read_text())
    raw["stock"] = {
        "bulk_density": {"path": "bdod.tif", "scale": 0.01}, "coarse": 10, "bottom": 30,
    }  # fmt: skip
    catalog.write_text(yaml.safe_dump(raw))
    result = run("stock", catalog)
    assert result.exit_code == 0, result.output
    assert "bulk density, coarse fragments and depth count as exact" in result.stderr
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_command_maps_stocks_and_keeps_what_is_current(done: Path, tmp_path: Path) -> None:
    made, soc = (hmx.open_cube(done / f"soils_{name}.zarr").load() for name in ("stock", "map"))
    density = like(plane(80, 160) / 100, soc)
    for end in ("", "_lo_80", "_hi_80"):
        want = hmx.carbon_stock(soc[f"soc{end}"], density, bottom=30, coarse=10)
        np.testing.assert_allclose(made[f"soc_stock{end}"], want, rtol=1e-5)
    facts = json.loads(made.attrs["hmx_provenance"])
    assert (facts["product"], facts["bottom"], facts["coarse"]) == ("stock", 30, 10)
    assert facts["map"] == json.loads(soc.attrs["hmx_provenance"])
    assert made.rio.crs == soc.rio.crs
    folder = Path(shutil.copytree(done, tmp_path / "soils"))
    stamp = (folder / "soils_stock.zarr" / "zarr.json").stat().st_mtime_ns
    again = run("stock", folder / "soils.yaml")
    assert again.exit_code == 0, again.output
    assert "stock: " in again.stderr
    assert "exists and is current" in again.stderr.splitlines()[-1]
    assert (folder / "soils_stock.zarr" / "zarr.json").stat().st_mtime_ns == stamp
    other = run("stock", folder / "soils.yaml", "--coarse", "20")
    assert other.exit_code == 0, other.output
    less = hmx.open_cube(folder / "soils_stock.zarr")["soc_stock"]
    np.testing.assert_allclose(less, made["soc_stock"] * 80 / 90, rtol=1e-5)
    tifs = run("export", folder / "soils_stock.zarr", "--output", tmp_path / "tifs")
    assert tifs.exit_code == 0, tifs.output
    with rasterio.open(tmp_path / "tifs" / "soc_stock.tif") as file:
        np.testing.assert_allclose(file.read(1), less, rtol=1e-6)
        assert file.units == ("t/ha",)


def test_the_command_adds_stocks_to_the_table_of_the_samples(done: Path) -> None:
    words = ("--set", "stock.top=upper", "--bulk-density", "bd", "--coarse", "stones",
             "--bottom", "lower")  # fmt: skip
    result = run("stock", done / "soils.yaml", "--of", "points", *words)
    assert result.exit_code == 0, result.output
    assert "stock: 88 of 90 rows of points.csv have a stock" in result.stderr
    before, made = pd.read_csv(done / "points.csv"), pd.read_csv(done / "soils_stock.csv")
    assert list(made.columns) == [*before.columns, "soc_stock", "note"]
    want = hmx.carbon_stock(before["soc"], before["bd"].clip(1), bottom=before["lower"], coarse=10)
    known = made["soc_stock"].notna()
    np.testing.assert_allclose(made["soc_stock"][known], want[known], rtol=1e-5)
    assert made["note"][4] == "bulk_density is missing"
    assert list(np.flatnonzero(~known)) == [4, 5]
    assert made["note"][known].isna().all()
    assert not pd.isna(made["note"][5])
    # the table is one of samples of stocks
    trained = run(
        "info", done / "soils.yaml", "--set", "points.path=soils_stock.csv",
        "--set", "points.target=soc_stock", "--set", "points.units=t/ha",
    )  # fmt: skip
    assert "samples of soc_stock (t/ha)" in trained.stdout, trained.output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--bulk-density", "bdod"), "stock.bulk_density is 'bdod', and the cube has no source"),
        (("--set", "stock.bottom=null"), "its lower end is unknown. Pass --bottom 30, cm"),
        (("--set", "stock.bulk_density=null"), "stock.bulk_density is not set"),
        (("--set", "points.units=null"), "points.units is not set, so the stock of soc"),
        (("--of", "points"), "stock.bulk_density is a raster or a list, and of: points takes"),
        (("--of", "points", "--bulk-density", "bd2"), "'bd2' is not in points.csv"),
        (("--coarse", "-3"), "stock.coarse"),
        (("--output", "points.csv"), "points.csv"),
    ],
)
def test_the_command_names_what_it_lacks_before_it_computes(
    done: Path, words: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done)
    before = (done / "points.csv").read_bytes()
    result = run("stock", done / "soils.yaml", *words)
    assert result.exit_code in (1, 2), result.output
    assert text in result.stderr
    assert (done / "points.csv").read_bytes() == before
