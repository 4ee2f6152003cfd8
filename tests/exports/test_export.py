"""Laws of exports: what is chosen, computed and copied is the product's own."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.cli.main import hmx as command
from hmx.errors import BadArgument, MissingVariable, OutputExists
from hmx.exports import stores
from hmx.exports.api import export
from tests.make.cubes import make_cube
from tests.make.mapworlds import make_covariates, make_mapper

FORMATS = ("netcdf", "zarr2", "geozarr")


@pytest.fixture(scope="module")
def folder(cube: xr.Dataset, trained: hmx.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube and the forecast of a job: levels, quantile, probability."""
    folder = tmp_path_factory.mktemp("forecast")
    cube.hm.assign_attrs(units="1").to_dataset(name="hm").assign(
        elevation=cube["elevation"]
    ).to_zarr(folder / "cube.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(folder / "cube.zarr")
    ds.hm.forecast_to_zarr(
        folder / "fc.zarr", h=2, model=trained, level=80, quantiles=[0.5], exceed=[0.4]
    )
    return folder


@pytest.fixture(scope="module")
def fc(folder: Path) -> xr.Dataset:
    return hmx.open_cube(folder / "fc.zarr")


def opened(path: Path, format: str) -> xr.Dataset:
    if format == "netcdf":
        return xr.open_dataset(path)
    return xr.open_zarr(path, consolidated=format == "zarr2")


def test_change_and_width_are_computed_from_the_last_map_and_the_interval(
    fc: xr.Dataset, folder: Path, tmp_path: Path
) -> None:
    paths = fc.hm.to_cog(tmp_path, stac=False)
    cube = hmx.open_cube(folder / "cube.zarr")
    expected = {
        "hm_change_2025": fc["hm"].values[1] - cube["hm"].values[-1],
        "hm_width_80_2020": (fc["hm_hi_80"] - fc["hm_lo_80"]).values[0],
    }
    assert {"hm_exceedance_0.4_2025", *expected} < {p.stem for p in paths}
    for name, values in expected.items():
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), values)
    with rasterio.open(tmp_path / "hm_change_2025.tif") as file:
        words = "hm_change 2025: forecast mean minus the map of 2015"
        assert file.descriptions[0].startswith(words)


def test_a_change_needs_the_cube_that_the_forecast_was_made_from(
    fc: xr.Dataset, folder: Path, tmp_path: Path
) -> None:
    moved = xr.open_zarr(folder / "fc.zarr", consolidated=False).load()
    moved.encoding = {}
    assert not [p for p in moved.hm.to_cog(tmp_path, stac=False) if "change" in p.stem]
    with pytest.raises(BadArgument, match=r"the cube of this forecast was not found.*past="):
        moved.hm.to_cog(tmp_path, variable="hm_change")
    cube = hmx.open_cube(folder / "cube.zarr")
    with pytest.raises(BadArgument, match="the cube has no map of 2015"):
        moved.hm.to_cog(tmp_path, variable="hm_change", past=cube.isel(time=slice(3)))
    # a cropped forecast, rows the other way: the same pixels
    part = moved.isel(y=slice(20, 70), x=slice(10, 60)).isel(y=slice(None, None, -1))
    (path,) = part.hm.to_cog(tmp_path / "part", variable="hm_change", year=2025, past=cube)
    with rasterio.open(path) as file:
        whole = moved["hm"].values[1] - cube["hm"].values[-1]
        np.testing.assert_array_equal(file.read(1), whole[20:70, 10:60])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_a_copy_has_the_same_numbers_and_location(
    fc: xr.Dataset, tmp_path: Path, format: str, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "CHUNK", 32)
    product = fc.isel(y=slice(None, None, -1)) if flip else fc
    west, south, east, north = fc.hm.grid.bounds
    region = (west + 3000, south + 3000, east - 6000, north - 9000)
    (path,) = export(product, tmp_path / "out", format=format, region=region, year=2025)
    copy = opened(path, format)
    part = product.isel(time=[1])
    part = part.sel(x=slice(region[0], region[2]))
    part = part.sel(y=slice(*((region[1], region[3]) if flip else (region[3], region[1]))))
    xr.testing.assert_equal(copy.load(), part.load())
    assert copy.rio.crs == fc.rio.crs
    assert copy["hm"].rio.transform(recalc=True).almost_equals(copy["hm"].rio.transform())
    assert copy["hm"].attrs["long_name"] == fc["hm"].attrs["long_name"]


@pytest.mark.parametrize("kind", ["cube", "forecast", "map", "year", "cftime", "month"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_product_is_copied_in_every_format(
    fc: xr.Dataset, tmp_path: Path, format: str, kind: str
) -> None:
    if kind == "map":
        land = make_covariates(years=5)
        mapper = make_mapper(land, calibrated=True, history=3)
        product = land.soc.map(model=mapper, level=90, year=2014)
    elif kind == "forecast":
        product = fc
    else:
        product = make_cube(time="datetime" if kind == "cube" else kind, chunks={"x": 17})
    (path,) = export(product, tmp_path / "out", format=format)
    xr.testing.assert_equal(opened(path, format).load(), product.load())


def test_a_plain_round_trip_through_netcdf_is_equal(folder: Path, tmp_path: Path) -> None:
    for name in ("fc", "cube"):
        stored = xr.open_zarr(folder / f"{name}.zarr", consolidated=False)
        stored.to_netcdf(tmp_path / "plain.nc")
        with xr.open_dataset(tmp_path / "plain.nc") as back:
            xr.testing.assert_identical(back.load(), stored.load())


def test_geozarr_declares_its_conventions_and_one_crs(fc: xr.Dataset, tmp_path: Path) -> None:
    (path,) = export(fc, tmp_path / "geo.zarr", format="geozarr")
    attrs = json.loads((path / "zarr.json").read_bytes())["attributes"]
    assert [each["name"] for each in attrs["zarr_conventions"]] == ["spatial", "proj:"]
    assert attrs["proj:code"] == "EPSG:32632"
    assert "proj:wkt2" not in attrs
    assert attrs["spatial:shape"] == [96, 112]
    assert attrs["spatial:transform"] == [300.0, 0.0, 500_000.0, 0.0, -300.0, 6_000_000.0]


def test_zarr_2_has_the_crs_that_old_gdal_reads(fc: xr.Dataset, tmp_path: Path) -> None:
    (path,) = export(fc, tmp_path / "v2.zarr", format="zarr2")
    attrs = json.loads((path / "hm" / ".zattrs").read_bytes())
    assert "UTM zone 32N" in attrs["_CRS"]["wkt"]
    with rasterio.open(f'ZARR:"{path}":/hm:1') as file:
        np.testing.assert_array_equal(file.read(1), fc["hm"].values[1])
        assert file.crs == fc.rio.crs
    xr.testing.assert_equal(hmx.open_cube(path).load(), fc.load())


def compliance_checker() -> Path | None:
    """Find the script by what was installed: it may lie beside another interpreter."""
    try:
        files = metadata.files("compliance-checker") or []
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(f.locate())).resolve() for f in files if f.name == "cchecker.py")
    return next((path for path in found if path.is_file()), None)


def test_netcdf_has_no_errors_against_cf(fc: xr.Dataset, folder: Path, tmp_path: Path) -> None:
    script = compliance_checker()
    if script is None:
        pytest.skip("compliance-checker is not installed: pip install compliance-checker")
    land = make_covariates(years=5)
    mapper = make_mapper(land, calibrated=True, history=3)
    products = {
        "forecast": fc,
        "cube": hmx.open_cube(folder / "cube.zarr"),
        "map": land.soc.map(model=mapper, level=90, year=2014),
    }
    for name, product in products.items():
        export(product, tmp_path / f"{name}.nc", format="netcdf")
    files = [str(tmp_path / f"{name}.nc") for name in products]
    words = ["-t", "cf:1.11", "-c", "strict", "-f", "json_new", "-o", "-", *files]
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, check=False
    )
    reports = json.loads(done.stdout[done.stdout.index("{") :])
    assert len(reports) == 3
    for name, report in reports.items():
        found = report["cf:1.11"]
        assert found["high_priorities"], name  # checks were made
        assert [c["msgs"] for c in found["high_priorities"] if c["msgs"]] == [], name


def test_a_copy_replaces_one_of_ours_and_nothing_else(fc: xr.Dataset, tmp_path: Path) -> None:
    for format in FORMATS:
        path = tmp_path / format
        export(fc, path, format=format, variable="hm")
        export(fc, path, format=format, variable="quality")
        assert set(opened(path, format).data_vars) == {"quality"}
    (tmp_path / "mine.nc").write_bytes(b"a thesis")
    fc[["quality"]].drop_attrs().to_zarr(tmp_path / "mine.zarr", consolidated=False)
    for path in (tmp_path / "mine.nc", tmp_path / "mine.zarr"):
        with pytest.raises(OutputExists, match="is not a file that hmx exported"):
            export(fc, path, format="netcdf" if path.suffix == ".nc" else "zarr2")


def test_a_copy_that_fails_leaves_the_old_one(
    fc: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object) -> None:
        raise OSError("disk full")

    (path,) = export(fc, tmp_path / "fc.nc", format="netcdf", variable="quality")
    before = path.read_bytes()
    monkeypatch.setattr(stores, "_fill", fail)
    with pytest.raises(OSError, match="disk full"):
        export(fc, path, format="netcdf")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fc.nc"]


def test_what_is_not_in_the_product_is_named(fc: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(MissingVariable, match=r"'hm_lo_90' is not in the product.*'hm_lo_80'"):
        export(fc, tmp_path / "x", variable="hm_lo_90")
    with pytest.raises(MissingVariable, match=r"Make the product with level=90\."):
        export(fc, tmp_path / "x", variable="hm_width_90")
    with pytest.raises(BadArgument, match=r"year='2024' is not among the steps \(2020, 2025\)"):
        export(fc, tmp_path / "x", year=[2020, 2024])
    with pytest.raises(BadArgument, match="lies outside the cube"):
        export(fc, tmp_path / "x", region=(0, 0, 1, 1))
    with pytest.raises(BadArgument, match="is a URL, and exports are files of this machine"):
        export(fc, "s3://bucket/x")
    with pytest.raises(BadArgument, match="format"):
        export(fc, tmp_path / "x", format="shp")  # type: ignore[arg-type]
    with pytest.raises(BadArgument, match="this product has no time"):
        export(fc[["quality"]], tmp_path / "x", year=2020)
    assert not (tmp_path / "x").exists()


def test_a_year_takes_its_months_and_a_date_one_of_them(tmp_path: Path) -> None:
    months = xr.date_range("2000-11-01", periods=4, freq="MS")
    ds = make_cube(steps=4)[["hm"]].assign_coords(time=months)
    names = [p.stem for p in export(ds, tmp_path, year=[2000], stac=False)]
    assert names == ["hm_2000-11-01", "hm_2000-12-01"]
    names = [p.stem for p in export(ds, tmp_path, year="2001-02", stac=False)]
    assert names == ["hm_2001-02-01"]


# -------------------------------------------------------------------------------------- styles


def test_layers_of_a_family_share_colours_and_no_data_is_transparent(
    fc: xr.Dataset, tmp_path: Path
) -> None:
    fc.hm.to_cog(tmp_path, stac=False)
    styles = {p.stem: ET.parse(p).getroot() for p in tmp_path.glob("*.qml")}
    ends = {
        name: (shader.get("minimumValue"), shader.get("maximumValue"))
        for name, root in styles.items()
        if (shader := root.find(".//colorrampshader")) is not None
    }
    family = ("hm_2020", "hm_2025", "hm_lo_80_2020", "hm_hi_80_2025", "hm_quantile_0.5_2025")
    assert len({ends[name] for name in family}) == 1
    low, high = map(float, ends["hm_change_2025"])
    assert low == -high
    assert ends["hm_exceedance_0.4_2025"] == ("0.0", "1.0")
    for root in styles.values():
        assert root.find(".//rasterrenderer").get("nodataColor") == ""  # type: ignore[union-attr]
    begin = styles["hm_2025"].findtext(".//fixedRange/start")
    end = styles["hm_2025"].findtext(".//fixedRange/end")
    assert (begin, end) == ("2025-01-01T00:00:00Z", "2029-12-31T23:59:59Z")
    labels = [e.get("label") for e in styles["quality"].iter("paletteEntry")]
    assert labels[0] == "none of these"


# ---------------------------------------------------------------------------------------- STAC


def test_a_collection_describes_every_file(fc: xr.Dataset, tmp_path: Path) -> None:
    pystac = pytest.importorskip("pystac")
    folder = tmp_path / "maps"
    paths = fc.hm.to_cog(folder, stac=True)
    moved = folder.rename(tmp_path / "elsewhere")  # its links are relative
    collection = pystac.Collection.from_file(str(moved / "collection.json"))
    items = list(collection.get_items())
    assets = [collection.assets, *(item.assets for item in items)]
    files = {Path(a.get_absolute_href()).name for each in assets for a in each.values()}
    assert files == {p.name for p in paths}
    assert all(Path(a.get_absolute_href()).is_file() for each in assets for a in each.values())
    assert list(collection.assets) == ["quality"]
    later = next(item for item in items if item.id == "maps_2025")
    assert later.properties["forecast:reference_datetime"] == "2015-01-01T00:00:00Z"
    assert later.properties["forecast:horizon"] == "P10Y"
    assert later.properties["proj:code"] == "EPSG:32632"
    band = later.assets["hm_lo_80_2025"].extra_fields["bands"][0]
    values = fc["hm_lo_80"].values[1]
    assert band["statistics"]["maximum"] == np.nanmax(values)
    assert (band["nodata"], band["data_type"], band["raster:sampling"]) == (
        "nan",
        "float32",
        "area",
    )


def test_a_collection_is_valid_stac(fc: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    validate_dict = pytest.importorskip("pystac.validation").validate_dict
    fc.hm.to_cog(tmp_path, stac=True, variable=["hm", "quality"])
    for path in tmp_path.glob("*.json"):
        document = json.loads(path.read_bytes())
        document["stac_extensions"] = []  # their schemas are on a web server, the core's are here
        validate_dict(document)


def test_another_collection_is_left_alone(fc: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("pystac")
    (tmp_path / "collection.json").write_text("{}")
    with pytest.raises(OutputExists, match=r"collection\.json is not a collection.*--no-stac"):
        fc.hm.to_cog(tmp_path, variable="quality")
    fc.hm.to_cog(tmp_path, variable="quality", stac=False)


def test_without_pystac_a_collection_is_refused_or_left_out(
    fc: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmx.exports.stac.find_spec", lambda name: None)
    with pytest.raises(BadArgument, match=r"pip install 'hmx\[stac\]'"):
        fc.hm.to_cog(tmp_path, variable="quality", stac=True)
    fc.hm.to_cog(tmp_path, variable="quality")
    assert {p.name for p in tmp_path.iterdir()} == {"quality.tif", "quality.qml"}


# --------------------------------------------------------------------------------- command line


def test_flags_choose_and_a_store_takes_the_place_of_a_catalog(
    fc: xr.Dataset, folder: Path, tmp_path: Path
) -> None:
    def run(*words: object) -> str:
        result = CliRunner().invoke(command, ["export", str(folder / "fc.zarr"), *map(str, words)])
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()[-1]

    words = ("--variable", "hm", "--variable", "hm_change", "--year", 2025, "--no-stac")
    where = run(*words, "--output", tmp_path / "cog")
    assert {p.name for p in Path(where).glob("*.tif")} == {"hm_2025.tif", "hm_change_2025.tif"}
    assert run("--format", "netcdf") == str(folder / "fc.nc")
    xr.testing.assert_equal(xr.open_dataset(folder / "fc.nc").load(), fc.load())
    assert run("--format", "zarr2") == str(folder / "fc_v2.zarr")


def test_a_catalog_has_the_same_choices(folder: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.yaml"
    catalog.write_text(
        f"cube: {{path: {folder}/cube.zarr, sources: {{hm: {{path: 'HM_{{year}}.tif', years: "
        f"[1990, 1995]}}}}}}\nforecast: {{output: {folder}/fc.zarr}}\n"
        "export: {variable: hm, year: 2020, output: maps, stac: false}\n"
    )
    result = CliRunner().invoke(command, ["export", str(catalog)])
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"hm_2020.tif", "hm_2020.qml"}
    words = ["export", str(catalog), "--year", "2025"]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert (tmp_path / "maps" / "hm_2025.tif").is_file()
    result = CliRunner().invoke(command, ["export", str(catalog), "--set", "export.format=shp"])
    assert result.exit_code == 2
    assert "export.format" in result.stderr
