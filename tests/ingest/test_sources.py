"""Laws of reading one source: values, orientation, mosaics, warps, NetCDF, Zarr."""

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.errors import (
    CatalogError,
    CubeError,
    GridMismatch,
    MissingCRS,
    MissingVariable,
    SourceError,
)
from hmx.ingest.manifest import find_files
from hmx.ingest.options import Source
from hmx.ingest.sources import Part, open_part
from hmx.ingest.stamps import stamp
from hmx.ingest.warping import aligned
from hmx.windows import TileGrid, Window
from tests.make.rasters import CORNER, UTM, field, write_tif


def opened(path: Path | str, **options: Any) -> Part:
    source = Source(path=str(path), **options)
    return open_part(source, find_files(str(path)), str(path))


def whole(part: Part) -> np.ndarray:
    values = part.read(Window.of(part.grid.shape))
    assert values.dtype == "float32"
    return values[0] if part.steps == 1 else values


def tiled(part: Part, tile: tuple[int, int] = (7, 11)) -> np.ndarray:
    """Read in small windows and put them together."""
    out = np.full((part.steps, *part.grid.shape), np.nan, "float32")
    for window in TileGrid(part.grid.shape, tile, 0):
        out[(..., *window.core.slices)] = part.read(window.core)
    return out[0] if part.steps == 1 else out


def onto(path: Path | str, grid: Grid, scratch: Path, **options: Any) -> Part:
    source = Source(path=str(path), **options)
    part = open_part(source, find_files(str(path)), str(path))
    return aligned(part, grid, source)


def clean(raw: np.ndarray, source: Source) -> np.ndarray:
    """Clean the numbers of a raster without tags."""
    return Rules().under(source, replaces=True).clean(raw)


def test_declared_nodata_undeclared_nodata_and_infinity_become_nan(tmp_path: Path) -> None:
    values = np.array([[-9999, 1.5, np.inf], [-32768, np.nan, 2.5]], "float32")
    write_tif(tmp_path / "a.tif", values, nodata=-9999)
    read = whole(opened(tmp_path / "a.tif", nodata=-32768))
    np.testing.assert_array_equal(read, [[np.nan, 1.5, np.nan], [np.nan, np.nan, 2.5]])


def test_nodata_is_compared_before_scaling_and_the_valid_range_after() -> None:
    source = Source(path="a", nodata=255, scale=0.01, offset=1.0, valid_range=(1.0, 2.0))
    raw = np.array([0, 50, 100, 101, 255], "uint8")
    np.testing.assert_array_equal(
        clean(raw, source), np.array([1.0, 1.5, 2.0, np.nan, np.nan], "float32")
    )


def test_a_scaled_value_at_the_limit_is_valid() -> None:
    source = Source(path="a", scale=0.1, valid_range=(0.0, 0.3))  # 3 * 0.1 > 0.3 in double
    assert clean(np.array([3], "int16"), source) == np.float32(0.3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_undeclared_nodata_is_missing_in_any_float_type(dtype: str) -> None:
    raw = np.array([3.4e38, 0.5], dtype)
    np.testing.assert_array_equal(clean(raw, Source(path="a", nodata=3.4e38)), [np.nan, 0.5])
    np.testing.assert_array_equal(clean(raw, Source(path="a", valid_range=(0, 1))), [np.nan, 0.5])


def test_nodata_outside_the_type_of_the_file_matches_nothing() -> None:
    read = clean(np.array([0, 241], "uint8"), Source(path="a", nodata=-9999))
    np.testing.assert_array_equal(read, [0, 241])


def tagged(path: Path, values: np.ndarray, *, scale: float, offset: float = 0.0) -> Path:
    """Write numbers as they are, with tags that unpack them."""
    write_tif(path, values)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (scale,), (offset,)
    return path


def test_scale_tags_of_a_geotiff_are_applied(tmp_path: Path) -> None:
    part = opened(tagged(tmp_path / "a.tif", field(), scale=10.0, offset=3.0))
    np.testing.assert_allclose(whole(part), field() * 10 + 3, rtol=1e-6)
    assert part.notes == ("tags scale 10 and offset 3 are applied",)


def test_scale_of_the_catalog_replaces_tags_and_the_difference_is_noted(tmp_path: Path) -> None:
    part = opened(tagged(tmp_path / "a.tif", field(), scale=10.0, offset=3.0), scale=2)
    np.testing.assert_array_equal(whole(part), field() * 2)
    assert "differ from the catalog, which is followed: scale 2, offset 0" in part.notes[0]


def test_an_internal_mask_is_missing(tmp_path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tif(tmp_path / "a.tif", field())
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_mask(field() > 0.5)
    np.testing.assert_array_equal(np.isnan(whole(opened(tmp_path / "a.tif"))), field() <= 0.5)


def test_a_south_up_raster_equals_the_north_up_one(tmp_path: Path) -> None:
    up = Affine(100.0, 0.0, CORNER.c, 0.0, 100.0, CORNER.f - 40 * 100.0)
    north = opened(write_tif(tmp_path / "north.tif", field()))
    south = opened(write_tif(tmp_path / "south.tif", field()[::-1], transform=up))
    assert north.grid.difference(south.grid) is None
    np.testing.assert_array_equal(whole(south), field())
    np.testing.assert_array_equal(tiled(south), field())


def test_a_rotated_raster_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", field(), transform=CORNER * Affine.rotation(10))
    with pytest.raises(CubeError, match=r"a\.tif is rotated.*gdalwarp"):
        opened(tmp_path / "a.tif")


def test_a_raster_without_crs_is_refused_by_name(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", field(), crs=None)
    with pytest.raises(MissingCRS, match=r"a\.tif has no CRS.*gdal_edit"):
        opened(tmp_path / "a.tif")


def test_several_bands_need_the_number_of_one(tmp_path: Path) -> None:
    bands = np.stack([field(seed=1), field(seed=2)])
    write_tif(tmp_path / "a.tif", bands)
    np.testing.assert_array_equal(whole(opened(tmp_path / "a.tif", variable="2")), bands[1])
    for wrong in (None, "3", "hm"):
        with pytest.raises(CatalogError, match=r'a\.tif has 2 bands.*variable: "1"'):
            opened(tmp_path / "a.tif", variable=wrong)


def test_a_file_that_is_no_raster_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no raster")
    with pytest.raises(SourceError, match=r"a\.tif cannot be read.*gdalinfo -checksum"):
        opened(tmp_path / "a.tif")


def test_a_truncated_raster_is_named_when_its_lost_pixels_are_read(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", field((200, 200)))
    path.write_bytes(path.read_bytes()[:60_000])
    part = opened(path)
    with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
        whole(part)


def write_tiles(folder: Path, values: np.ndarray, **profile: Any) -> str:
    """Cut 40 x 30 px into four tiles; give the glob."""
    for row, col in ((0, 0), (0, 20), (25, 0), (25, 20)):
        part = values[row : 25 if row == 0 else 40, col : 20 if col == 0 else 30]
        corner = CORNER * Affine.translation(col, row)
        write_tif(folder / f"t-{row}-{col}.tif", part, transform=corner, **profile)
    return str(folder / "t-*.tif")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_a_mosaic_equals_the_single_raster(tmp_path: Path, dtype: str) -> None:
    values = (field() * 200).astype(dtype)
    values[3, 4] = values[30, 25] = 201
    pattern = write_tiles(tmp_path, values, nodata=201)
    one = opened(write_tif(tmp_path / "one.tif", values, nodata=201))
    mosaic = opened(pattern)
    assert one.grid.difference(mosaic.grid) is None
    assert np.isnan(whole(mosaic)).sum() >= 2
    np.testing.assert_array_equal(whole(mosaic), whole(one))
    np.testing.assert_array_equal(tiled(mosaic), whole(one))


def test_what_no_tile_covers_is_missing(tmp_path: Path) -> None:
    values = (field() * 200).astype("uint8")
    pattern = write_tiles(tmp_path, values)
    (tmp_path / "t-25-20.tif").unlink()
    expected = values.astype("float32")
    expected[25:, 20:] = np.nan
    np.testing.assert_array_equal(whole(opened(pattern)), expected)


@pytest.mark.parametrize(
    "odd",
    [
        {"transform": CORNER * Affine.translation(20.3, 25)},
        {"transform": CORNER * Affine.translation(20, 25) * Affine.scale(1.01)},
        {"transform": CORNER * Affine.translation(20, 25), "crs": "EPSG:32633"},
    ],
)
def test_a_tile_off_the_lattice_is_refused_by_name(tmp_path: Path, odd: dict[str, Any]) -> None:
    pattern = write_tiles(tmp_path, field())
    write_tif(tmp_path / "t-25-20.tif", field()[25:, 20:], **odd)
    with pytest.raises(GridMismatch, match=r"t-25-20\.tif is off the lattice.*gdalwarp -tap"):
        opened(pattern)


def make_xarray(values: np.ndarray, y: str = "y", x: str = "x") -> xr.Dataset:
    """Wrap (y, x) or (time, y, x) values with the grid of write_tif."""
    ny, nx = values.shape[-2:]
    dims = (*(("time",) if values.ndim == 3 else ()), y, x)
    coords = {
        y: CORNER.f - 100 * (np.arange(ny) + 0.5),
        x: CORNER.c + 100 * (np.arange(nx) + 0.5),
    }
    data = xr.Dataset({"hm": (dims, values)}, coords=coords)
    return data.rename({y: "y", x: "x"}).rio.write_crs(UTM).rename({"y": y, "x": x})


def save(data: xr.Dataset, path: Path) -> Path:
    if path.suffix == ".zarr":
        data.to_zarr(path, zarr_format=3, consolidated=False)
    else:
        data.to_netcdf(path)
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("names", [("y", "x"), ("northing", "easting")])
def test_netcdf_and_zarr_equal_the_geotiff(
    tmp_path: Path, suffix: str, south_up: bool, names: tuple[str, str]
) -> None:
    data = make_xarray(field(), *names)
    data = data.isel({names[0]: slice(None, None, -1)}) if south_up else data
    part = opened(save(data, tmp_path / f"a{suffix}"))
    tif = opened(write_tif(tmp_path / "a.tif", field()))
    assert tif.grid.difference(part.grid) is None
    np.testing.assert_array_equal(whole(part), field())
    np.testing.assert_array_equal(tiled(part), field())


def test_packed_netcdf_is_decoded_before_the_rules_of_the_catalog(tmp_path: Path) -> None:
    data = make_xarray(np.array([[0.25, np.nan], [0.5, 0.75]]))
    data["hm"].encoding = {"dtype": "int16", "scale_factor": 0.25, "_FillValue": -1}
    path = save(data, tmp_path / "a.nc")
    read = whole(opened(path, scale=100, valid_range=(0, 60)))
    np.testing.assert_array_equal(read, [[25, np.nan], [50, np.nan]])


def test_a_variable_that_is_not_there_or_not_said_is_refused(tmp_path: Path) -> None:
    data = make_xarray(field()).assign(tree=lambda d: d["hm"])
    path = save(data, tmp_path / "a.nc")
    assert whole(opened(path, variable="tree")).shape == (40, 30)
    with pytest.raises(MissingVariable, match=r"'tre' is not in .*a\.nc .*Did you mean 'tree'"):
        opened(path, variable="tre")
    with pytest.raises(CatalogError, match=r"a\.nc has several variables \(hm, tree\).*variable:"):
        opened(path)


def test_a_netcdf_without_crs_is_refused_by_name(tmp_path: Path) -> None:
    data = make_xarray(field()).drop_vars("spatial_ref")
    data["hm"].encoding.clear()
    path = save(data, tmp_path / "a.nc")
    with pytest.raises(MissingCRS, match=r"a\.nc: .*no CRS"):
        opened(path)


def test_a_netcdf_with_levels_is_refused_by_name(tmp_path: Path) -> None:
    data = make_xarray(field()).expand_dims(level=[1, 2], time=[0, 1])
    path = save(data, tmp_path / "a.nc")
    with pytest.raises(CubeError, match=r"a\.nc: 'hm' has dimensions .*level.*isel"):
        opened(path)


COARSE = Grid(pyproj.CRS(UTM), CORNER * Affine.translation(1.3, 2.6) * Affine.scale(1.7), (20, 15))


@pytest.mark.parametrize("how", ["average", "bilinear", "nearest"])
@pytest.mark.parametrize("suffix", [".tif", ".nc"])
def test_align_equals_reproject_match(tmp_path: Path, how: str, suffix: str) -> None:
    values = field()
    values[5:9, 5:9] = np.nan
    path = tmp_path / f"a{suffix}"
    write_tif(path, values, nodata=np.nan) if suffix == ".tif" else save(make_xarray(values), path)
    part = onto(path, COARSE, tmp_path / "scratch", align=how)
    like = xr.DataArray(np.zeros(COARSE.shape), {"y": COARSE.y, "x": COARSE.x}, ("y", "x"))
    like = like.rio.write_crs(UTM).rio.write_transform(COARSE.transform)
    match = make_xarray(values)["hm"].rio.write_nodata(np.nan)
    match = match.rio.reproject_match(like, resampling=rasterio.enums.Resampling[how])
    assert np.isfinite(match).sum() > 200
    np.testing.assert_allclose(whole(part), match.values, atol=1e-5)


@pytest.mark.parametrize("how", ["average", "bilinear", "nearest"])
def test_align_across_crs_does_not_depend_on_windows(tmp_path: Path, how: str) -> None:
    wide = Affine(4_000, 0, 3_500_000, 0, -4_000, 4_000_000)  # where straight lines bend
    path = write_tif(tmp_path / "a.tif", field((500, 500)), crs="EPSG:3035", transform=wide)
    # wider than a block of GDAL's (512 px), inside which windows cannot matter
    grid = Grid(pyproj.CRS("EPSG:4326"), Affine(0.0125, 0, 4, 0, -0.06, 56), (200, 1100))
    part = onto(path, grid, tmp_path, align=how)
    off = np.abs(tiled(part, (128, 530)) - whole(part))
    assert np.isfinite(off).all()
    # GDAL's default error gives .02 or more here; nearest may go either way between two pixels
    assert np.quantile(off, 0.99) < 1e-3


@pytest.mark.parametrize("how", ["average", "bilinear"])
@pytest.mark.parametrize(
    "rule", [{"nodata": -32768}, {"valid_range": (0, 1)}, {"nodata": -32768, "valid_range": (0, 1)}]
)
@pytest.mark.parametrize("declared", [None, -9999])
def test_align_keeps_undeclared_nodata_out_of_the_neighbours(
    tmp_path: Path, how: str, rule: dict[str, Any], declared: float | None
) -> None:
    clear = field()
    clear[10:20, 10:20] = np.nan
    clear[30, 5] = np.nan
    dirty = np.where(np.isnan(clear), np.float32(-32768), clear)
    dirty[30, 5] = -32768 if declared is None else declared
    write_tif(tmp_path / "clear.tif", clear, nodata=np.nan)
    write_tif(tmp_path / "dirty.tif", dirty, nodata=declared)
    expected = whole(onto(tmp_path / "clear.tif", COARSE, tmp_path, align=how))
    read = whole(onto(tmp_path / "dirty.tif", COARSE, tmp_path, align=how, **rule))
    np.testing.assert_allclose(read, expected, atol=1e-6)


def test_an_integer_raster_is_averaged_without_rounding(tmp_path: Path) -> None:
    values = (np.indices((40, 30)).sum(0) % 2).astype("uint8")
    path = write_tif(tmp_path / "a.tif", values)
    grid = Grid(COARSE.crs, CORNER * Affine.scale(2), (20, 15))
    read = whole(onto(path, grid, tmp_path, align="average"))
    np.testing.assert_array_equal(read, np.full((20, 15), 0.5))


def test_another_grid_without_align_is_refused_by_name(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", field())
    with pytest.raises(GridMismatch, match=r"a\.tif is on another grid.*align: average"):
        onto(path, COARSE, tmp_path)


def test_a_stamp_changes_with_the_file_and_not_with_its_folder(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", field())
    before = stamp(str(path))
    (tmp_path / "b").mkdir()
    assert stamp(str(path.rename(tmp_path / "b" / "a.tif")), before) == before
    write_tif(path, field(seed=1))
    assert stamp(str(path), before) != before
    assert stamp("s3://bucket/a.tif") == ["s3://bucket/a.tif"]
