"""Laws of catalogs with points: covariates become a cube without a target."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hmx.catalog import Catalog, MapCatalog
from hmx.cube.bands import as_bands
from hmx.cube.cube import open_cube
from hmx.errors import BadArgument, CatalogError, NotEnoughData, SourceError
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current
from hmx.mapping.inputs import fit_band_scaler, gather, scaled
from hmx.points.joining import join
from hmx.points.table import read_points
from hmx.settings import parse
from hmx.windows import Window
from tests.make.pointworlds import make_spec
from tests.make.rasters import field, write_tif

YEARS, MONTHS = [2014, 2015, 2016], list(range(1, 13))


def catalog_of(folder, **sources):
    raw = {
        "name": "tiny",
        "cube": {"path": "build/tiny.zarr", "sources": sources},
        "points": {"path": "points.csv", "target": "soc"},
    }
    return parse(MapCatalog, raw, error=CatalogError, context={"base": str(folder)})


def write_steps(folder, name, steps, **profile):
    maps = np.stack([field(seed=int(step)) for step in steps])
    for step, values in zip(steps, maps, strict=True):
        write_tif(folder / f"{name}_{step:02d}.tif", values, **profile)
    return maps


NDVI = {"path": "NDVI_{year}.tif", "years": YEARS}
RAIN = {"path": "RAIN_{month}.tif", "months": MONTHS}
LST = {"path": "LST_{month}.tif", "months": {"start": 1, "stop": 12}}
SLOPE = {"path": "slope.tif"}


@pytest.fixture
def rasters(tmp_path):
    maps = {
        "ndvi": write_steps(tmp_path, "NDVI", YEARS),
        "rain": write_steps(tmp_path, "RAIN", MONTHS),
        "lst": write_steps(tmp_path, "LST", MONTHS) + 0,
        "slope": field(seed=99),
    }
    write_tif(tmp_path / "slope.tif", maps["slope"])
    return maps


def test_months_are_the_axis_where_nothing_has_years(tmp_path, rasters):
    catalog = catalog_of(tmp_path, slope=SLOPE, rain=RAIN, lst=LST)
    ds = open_cube(ingest(catalog))
    assert ds["rain"].dims == ds["lst"].dims == ("time", "y", "x")
    bands = as_bands(ds)
    assert bands.climatology
    assert (set(bands.dynamic), bands.static) == ({"rain", "lst"}, ("slope",))
    np.testing.assert_array_equal(bands.stored("rain"), rasters["rain"])
    roles = {name: v.attrs["hmx_role"] for name, v in ds.data_vars.items()}
    assert roles == {"rain": "dynamic", "lst": "dynamic", "slope": "static"}
    assert (catalog.dynamic, catalog.static) == (("rain", "lst"), ("slope",))
    assert is_current(catalog)


def test_months_beside_years_are_a_dimension_of_their_own(tmp_path, rasters):
    catalog = catalog_of(tmp_path, rain=RAIN, ndvi=NDVI, slope=SLOPE)
    ds = open_cube(ingest(catalog))
    assert ds["rain"].dims == ("month", "y", "x")
    assert ds["rain"].attrs["hmx_role"] == "monthly"
    assert ds["month"].values.tolist() == MONTHS
    np.testing.assert_array_equal(ds["rain"], rasters["rain"])
    np.testing.assert_array_equal(ds["ndvi"], rasters["ndvi"])
    bands = as_bands(ds)
    assert bands.dynamic == ("ndvi",)
    assert bands.static == (*(f"rain[month={m}]" for m in MONTHS), "slope")
    np.testing.assert_array_equal(bands.stored("rain[month=7]"), rasters["rain"][6])
    assert (catalog.dynamic, catalog.static) == (("ndvi",), ("rain", "slope"))
    assert is_current(catalog)
    write_tif(tmp_path / "RAIN_07.tif", rasters["rain"][6] + 1)
    assert not is_current(catalog)
    july = open_cube(ingest(catalog))["rain"][6]
    np.testing.assert_array_equal(july, rasters["rain"][6] + 1)


def test_a_year_that_is_added_leaves_the_months_as_they_were(tmp_path, rasters):
    ingest(catalog_of(tmp_path, rain=RAIN, ndvi=NDVI))
    new = write_steps(tmp_path, "NDVI", [2017])
    for month in MONTHS:  # archived once they are in the cube
        (tmp_path / f"RAIN_{month:02d}.tif").unlink()
    longer = catalog_of(tmp_path, rain=RAIN, ndvi={**NDVI, "years": [*YEARS, 2017]})
    ds = open_cube(ingest(longer))
    assert ds["rain"].attrs["hmx_role"] == "monthly"
    np.testing.assert_array_equal(ds["rain"], rasters["rain"])
    np.testing.assert_array_equal(ds["ndvi"], np.concatenate([rasters["ndvi"], new]))


def test_a_cube_for_points_is_not_that_of_a_forecast(tmp_path, rasters):
    catalog = catalog_of(tmp_path, ndvi=NDVI, slope=SLOPE)
    ingest(catalog)
    cube = catalog.cube.model_dump() | {"target": "ndvi"}
    forecast = parse(Catalog, {"name": "tiny", "cube": cube})
    assert not is_current(forecast)
    assert open_cube(ingest(forecast))["ndvi"].attrs["hmx_role"] == "target"
    assert not is_current(catalog)


def test_a_map_of_a_lead_may_be_empty(tmp_path, rasters):
    write_tif(tmp_path / "NDVI_2015.tif", np.full((40, 30), np.nan, "float32"))
    ds = open_cube(ingest(catalog_of(tmp_path, ndvi=NDVI)))
    assert np.isnan(ds["ndvi"].values[1]).all()


def test_a_band_without_data_is_refused_whatever_its_months(tmp_path, rasters):
    for month in MONTHS:
        write_tif(tmp_path / f"RAIN_{month:02d}.tif", np.full((40, 30), np.nan, "float32"))
    with pytest.raises(NotEnoughData, match=r"rain has no valid pixel in any file"):
        ingest(catalog_of(tmp_path, ndvi=NDVI, rain=RAIN))


def test_a_catalog_without_points_still_needs_its_target(tmp_path):
    with pytest.raises(CatalogError, match=r"target 'hm' is not among the sources \(ndvi\)"):
        parse(Catalog, {"cube": {"path": "c", "sources": {"ndvi": NDVI}}}, error=CatalogError)


def test_months_beside_the_years_of_a_target_are_refused_as_before(tmp_path, rasters):
    cube = catalog_of(tmp_path, ndvi=NDVI, rain=RAIN).cube.model_dump() | {"target": "ndvi"}
    with pytest.raises(SourceError, match="rain has no 2014, 2015, 2016"):
        ingest(parse(Catalog, {"cube": cube}))


def test_months_of_sources_must_agree_beside_years(tmp_path):
    summer = {"path": "LST_{month}.tif", "months": [6, 7, 8]}
    text = r"months of lst are \[6, 7, 8\], and those of rain \[1, .*List the same.*sources\.lst"
    with pytest.raises(CatalogError, match=text):
        catalog_of(tmp_path, ndvi=NDVI, rain=RAIN, lst=summer)


def test_nothing_is_known_ahead_for_a_map(tmp_path):
    with pytest.raises(CatalogError, match=r"future: true belongs to forecasts.*sources\.ndvi"):
        catalog_of(tmp_path, ndvi={**NDVI, "future": True})


def test_covariates_without_time_are_a_cube_without_time(tmp_path, rasters):
    catalog = catalog_of(tmp_path, slope=SLOPE)
    ds = open_cube(ingest(catalog))
    assert ds["slope"].dims == ("y", "x")
    assert "time" not in ds.coords
    bands = as_bands(ds)
    assert (bands.dynamic, bands.static, bands.timeless) == ((), ("slope",), True)
    np.testing.assert_array_equal(bands.stored("slope"), rasters["slope"])
    assert is_current(catalog)
    write_tif(tmp_path / "slope.tif", rasters["slope"] + 1)
    assert not is_current(catalog)
    np.testing.assert_array_equal(open_cube(ingest(catalog))["slope"], rasters["slope"] + 1)


def test_a_file_with_its_own_time_leads_covariates_without_any(tmp_path, rasters):
    planes = xr.DataArray(
        np.stack([field(seed=7), field(seed=8)]), dims=("time", "y", "x"), name="wet"
    )
    like = xr.open_dataset(tmp_path / "slope.tif", engine="rasterio")
    wet = planes.assign_coords(
        time=np.array(["2014-01-01", "2015-01-01"], "M8[ns]"), y=like["y"], x=like["x"]
    ).rio.write_crs(like.rio.crs)
    wet.to_netcdf(tmp_path / "wet.nc")
    catalog = catalog_of(tmp_path, slope=SLOPE, wet={"path": "wet.nc", "variable": "wet"})
    bands = as_bands(open_cube(ingest(catalog)))
    assert (bands.dynamic, bands.static, len(bands.labels)) == (("wet",), ("slope",), 2)


def test_the_section_of_points_speaks_like_the_rest_of_the_catalog(tmp_path):
    path = tmp_path / "c.yaml"
    head = "cube: {path: c.zarr, sources: {ndvi: {path: N_{year}.tif, years: [2014, 2015]}}}\n"
    path.write_text(head + "points: {path: p.csv, target: soc, where: soc <= 150, crs: EPSG:4326}")
    points = MapCatalog.load(path).points
    assert (points.path, points.where) == (str(tmp_path / "p.csv"), ("soc <= 150",))
    for text, said in {
        "{target: soc}": "points.path in .*: this key is required",
        "{path: p.csv, wher: soc}": r"unknown key 'points\.wher'.*Did you mean 'where'",
        "{path: p.csv, x: lon}": "x is given and y is not. Name both columns",
        "{path: p.csv, valid_range: [3, 1]}": r"the range ascends. Try \[1, 3\]",
        "{path: p.csv, min_valid: 2}": "must be at most 1",
    }.items():
        path.write_text(head + f"points: {text}")
        with pytest.raises(CatalogError, match=said):
            MapCatalog.load(path)


BANDS = ("LST_DAY", "LST_NIGHT", "NIR", "MIR", "PRECIP", "CLOUD")


def test_macedonia_is_ingested_and_joined_with_every_point_accounted_for(
    real_data: Path, tmp_path: Path
):
    folder = real_data / "macedonia"
    sources = {name: {"path": f"{folder}/{name}_{{month}}.tif", "months": MONTHS} for name in BANDS}
    sources |= {name: {"path": f"{folder}/{name}.tif"} for name in ("elevation", "slope", "twi")}
    catalog = catalog_of(tmp_path, **sources)
    bands = as_bands(open_cube(ingest(catalog)))
    assert bands.climatology
    assert set(bands.dynamic) == set(BANDS)
    assert bands.static == ("elevation", "slope", "twi")
    arrays = bands.read(Window.of(bands.grid.shape), bands.span(None, 12))
    for name, low, high in (("LST_DAY", 260, 330), ("NIR", 0, 10_000), ("twi", 0, 200)):
        assert low <= np.nanmin(arrays[name])
        assert np.nanmax(arrays[name]) <= high
    points = read_points(folder / "points.csv", target="soc", crs="EPSG:4326", units="%")
    samples, report = join(points, bands)
    assert report.rows == 3887
    lost = sum(map(len, report.left.values()))
    assert report.samples + lost == report.rows
    assert report.samples > 3800
    spec = make_spec(bands)
    raw = gather(bands, samples, spec)
    windows = scaled(raw, spec, fit_band_scaler(raw, np.arange(len(samples)), spec))
    assert windows.dynamic.shape == (len(samples), 12, 7, 5, 5)
    assert windows.static.shape == (len(samples), 4, 5, 5)
    truth = xr.open_dataset(folder / "elevation.tif", engine="rasterio")["band_data"][0]
    at = truth.sel(
        x=xr.DataArray(samples.lonlat[:, 0]), y=xr.DataArray(samples.lonlat[:, 1]), method="nearest"
    )
    np.testing.assert_array_equal(raw.static[:, 0, 2, 2], at)


def test_all_of_macedonia_lies_outside_with_swapped_axes(real_data: Path, tmp_path: Path):
    folder = real_data / "macedonia"
    sources = {"NIR": {"path": f"{folder}/NIR_{{month}}.tif", "months": MONTHS}}
    bands = as_bands(open_cube(ingest(catalog_of(tmp_path, **sources))))
    points = read_points(folder / "points.csv", target="soc", crs="EPSG:4326", x="lat", y="lon")
    with pytest.raises(BadArgument, match=r"all 3887 points lie outside the cube.*x is east"):
        join(points, bands)
