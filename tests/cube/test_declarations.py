"""Laws of ingest on what files declare: tags, masks, fills and ranges, and what is said of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine
from rasterio.enums import ColorInterp

import hmx
from hmx.errors import CatalogError, CubeError
from hmx.ingest.ingest import ingest
from hmx.ingest.options import Source
from hmx.ingest.readers.rasters import probe
from hmx.ingest.sources import open_part
from hmx.progress import Progress
from hmx.windows import Window
from tests.make.cubes import make_bundle, make_cube
from tests.make.rasters import CORNER, UTM, field, make_catalog, write_tif

YEARS = [1990, 1995, 2000]
SHAPE = (20, 24)


def told(folder: Path, hm: dict[str, Any], **sources: Any) -> tuple[xr.Dataset, str]:
    """Ingest three maps; return the cube, and all lines that were said."""
    lines: list[str] = []
    hm = {"path": "HM_{year}.tif", "years": YEARS, **hm}
    path = ingest(make_catalog(folder, hm=hm, **sources), progress=Progress(on_note=lines.append))
    return hmx.open_cube(path), "\n".join(lines)


def maps(folder: Path, values: np.ndarray, **profile: Any) -> None:
    tags = {key: profile.pop(key) for key in ("scales", "offsets") if key in profile}
    for index, (year, plane) in enumerate(zip(YEARS, values, strict=True)):
        write_tif(folder / f"HM_{year}.tif", plane, **profile)
        with rasterio.open(folder / f"HM_{year}.tif", "r+") as file:
            if "scales" in tags:
                file.scales = (tags["scales"][index],)
            if "offsets" in tags:
                file.offsets = (tags["offsets"][index],)


def shares() -> np.ndarray:
    return np.stack([field(SHAPE, seed=year) for year in YEARS])


def test_each_file_is_unpacked_by_its_own_tags(tmp_path: Path) -> None:
    scales, offsets = (1e-4, 1e-4, 2e-4), (0.0, 0.1, 0.0)
    raw = [np.round((a - o) / s) for a, s, o in zip(shares(), scales, offsets, strict=True)]
    maps(tmp_path, np.stack(raw).astype("int16"), scales=scales, offsets=offsets, nodata=-32768)
    cube, said = told(tmp_path, {})
    np.testing.assert_allclose(cube["hm"], shares(), atol=2e-4)
    assert "hm: tags scale 0.0002 and offset 0 are applied" in said


def test_tiles_with_other_tags_and_voids_are_joined_as_values(tmp_path: Path) -> None:
    values = np.arange(80.0).reshape(8, 10)
    at = CORNER * Affine.translation(4, 0)
    left = write_tif(tmp_path / "t-a.tif", (values[:, :6] * 2).astype("int16"), nodata=0)
    right = write_tif(tmp_path / "t-b.tif", values[:, 4:].astype("int16"), nodata=75, transform=at)
    for path, scale in ((left, 0.5), (right, 1.0)):
        with rasterio.open(path, "r+") as file:
            file.scales = (scale,)
    source = Source(path="t-*.tif", valid_range=(0, 50))
    part = open_part(source, [str(left), str(right)], "t-*.tif")
    read = part.read(Window.of((8, 10)))[0]
    expected = np.where((values > 50) | (values == 0), np.nan, values)
    np.testing.assert_array_equal(read, expected)  # 75 is void in one tile, and too much in both


def test_a_void_of_a_later_tile_uncovers_the_earlier_one(tmp_path: Path) -> None:
    first, later = np.full((4, 4), 7, "int16"), np.full((4, 4), 9, "int16")
    later[:, :2] = -1
    paths = [write_tif(tmp_path / "a.tif", first), write_tif(tmp_path / "b.tif", later)]
    for rule in ({"nodata": -1}, {"valid_range": (0, 10)}):
        part = open_part(Source(path="x", **rule), [str(path) for path in paths], "x")
        assert part.read(Window.of((4, 4)))[0, 0].tolist() == [7, 7, 9, 9]


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_and_nodata_and_the_catalog_are_void_together(
    tmp_path: Path, internal: bool
) -> None:
    values = np.array([[-9999, 1, 2, 3], [-1, 5, 6, 500]], "float32")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        write_tif(tmp_path / "a.tif", values, nodata=-9999)
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_mask(values != 2)
    assert (tmp_path / "a.tif.msk").exists() is not internal
    source = Source(path="a", nodata=-1, valid_range=(0, 100))
    read = open_part(source, [str(tmp_path / "a.tif")], "a").read(Window.of((2, 4)))[0]
    assert read[np.isfinite(read)].tolist() == [1, 3, 5, 6]


def test_an_alpha_band_and_nodata_are_void_together(tmp_path: Path) -> None:
    bands = np.array([[[1, 2, 255]], [[255, 0, 255]]], "uint8")
    path = write_tif(tmp_path / "a.tif", bands, nodata=255, alpha="YES")
    with rasterio.open(path) as file:
        assert file.colorinterp[1] == ColorInterp.alpha
    read = open_part(Source(path="a"), [str(path)], "a").read(Window.of((1, 3)))[0, 0]
    np.testing.assert_array_equal(read, [1, np.nan, np.nan])
    with pytest.raises(CatalogError, match=r"band 2 is alpha, a mask.*variable is '2'"):
        open_part(Source(path="a", variable="2"), [str(path)], "a")


def test_complex_numbers_are_refused_and_a_colour_table_is_named(tmp_path: Path) -> None:
    write_tif(tmp_path / "c.tif", np.ones((3, 3), "complex64"))
    with pytest.raises(CubeError, match=r"c\.tif holds complex64 numbers.*gdal_translate"):
        probe(str(tmp_path / "c.tif"), Source(path="c"))
    write_tif(tmp_path / "p.tif", np.ones((3, 3), "uint8"), photometric="palette")
    with rasterio.open(tmp_path / "p.tif", "r+") as file:
        file.write_colormap(1, {1: (255, 0, 0, 255)})
    notes = probe(str(tmp_path / "p.tif"), Source(path="p")).notes
    assert notes == ("the file has a colour table: its numbers are read as they are, as classes",)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_tags_that_make_no_value_are_refused(tmp_path: Path, scale: float) -> None:
    maps(tmp_path, shares(), scales=(scale,) * 3)
    with rasterio.open(tmp_path / "HM_1990.tif") as file:
        if file.scales == (1.0,):
            pytest.skip("GDAL does not keep this tag")
    with pytest.raises(CubeError, match=r"1990\.tif has the tags scale .*gdal_edit\.py -scale 1"):
        told(tmp_path, {})


def test_an_undeclared_void_beyond_any_quantity_is_refused(tmp_path: Path) -> None:
    values = shares()
    values[:, :4] = np.finfo("float32").min
    maps(tmp_path, values)
    with pytest.raises(CubeError, match=r"1990\.tif holds -3\.4028.*nodata: -3\.40282e\+38"):
        told(tmp_path, {})
    cube, said = told(tmp_path, {"nodata": -3.4e38})
    assert np.isnan(cube["hm"][:, :4]).all()
    assert np.isfinite(cube["hm"][:, 4:]).all()
    assert "nodata -3.4e+38 of the catalog took 20.0 %" in said


def test_what_was_read_is_said_of_each_source(tmp_path: Path) -> None:
    values = shares()
    values[:, :2] = -1
    maps(tmp_path, values, nodata=-1)
    write_tif(tmp_path / "dem.tif", np.linspace(3, 900, 480).reshape(SHAPE).astype("float32"))
    _, said = told(tmp_path, {}, elevation={"path": "dem.tif"})
    assert "hm: read 0.0" in said
    assert "10.0 % missing in the cube: nodata -1 of the file took 10.0 %" in said
    assert "elevation: read 3 to 900 in 480 pixels, 0.0 % missing in the cube" in said
    assert "warning" not in said


@pytest.mark.parametrize(
    ("factor", "remedy"),
    [
        (100, "scale: 0.01"),
        (250, "scale: 0.004"),
        (1000, "scale: 0.001"),
        (10_000, "scale: 0.0001"),
    ],
)
def test_a_range_in_other_units_than_one_file_is_a_warning_with_the_remedy(
    tmp_path: Path, factor: int, remedy: str
) -> None:
    values = shares()
    values[1] = np.round(values[1] * factor)
    values[1, 0, 0] = 1  # something is left
    maps(tmp_path, values)
    _, said = told(tmp_path, {"valid_range": [0, 1]})
    warning = next(
        line for line in said.splitlines() if line.startswith("warning: hm: valid_range")
    )
    assert "HM_1995.tif, which reads" in warning
    assert remedy in warning


def test_a_nodata_that_takes_much_or_leaves_a_constant_is_a_warning(tmp_path: Path) -> None:
    values = np.where(shares() < 0.5, 0, 1).astype("uint8")
    maps(tmp_path, values, nodata=0)
    _, said = told(tmp_path, {})
    assert "warning: hm: nodata 0 of the file took" in said
    assert "every pixel that is left of" in said
    assert "is 1: nodata 0 of the file took the rest" in said


def test_a_cube_grows_with_its_new_files_warned_of_alone(tmp_path: Path) -> None:
    values = shares()
    values[2] *= 100
    values[2, 0, 0] = 0.5
    maps(tmp_path, values)
    hm = {"valid_range": [0, 1]}
    ingest(make_catalog(tmp_path, hm={"path": "HM_{year}.tif", "years": YEARS[:2], **hm}))
    _, said = told(tmp_path, hm)
    assert "warning: hm: valid_range [0, 1] took" in said
    assert "HM_2000.tif, which reads" in said


def zarr_2(path: Path, values: np.ndarray, *, fill: Any, **attrs: Any) -> Path:
    """A store as zarr itself writes it, without a word of xarray's."""
    ds = xr.Dataset(coords={"time": np.array([f"{y}-01-01" for y in YEARS], "datetime64[ns]")})
    ds = ds.assign_coords(
        y=CORNER.f - 100 * (np.arange(SHAPE[0]) + 0.5),
        x=CORNER.c + 100 * (np.arange(SHAPE[1]) + 0.5),
    )
    ds.rio.write_crs(UTM).to_zarr(path, zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="r+")
    array = group.create_array("hm", shape=values.shape, dtype=values.dtype, fill_value=fill)
    array[...] = values
    array.attrs.update(
        {"_ARRAY_DIMENSIONS": ["time", "y", "x"], "grid_mapping": "spatial_ref", **attrs}
    )
    return path


def test_the_default_fill_of_zarr_2_takes_no_zeros(tmp_path: Path) -> None:
    values = shares()
    values[:, :5] = 0
    zarr_2(tmp_path / "a.zarr", values, fill=0)
    source = {"path": "a.zarr", "variable": "hm", "years": None}
    cube, said = told(tmp_path, source)
    np.testing.assert_array_equal(cube["hm"], values)
    assert "fill_value 0 of Zarr format 2 is what it has by default" in said
    cube, said = told(tmp_path, {**source, "nodata": 0})
    assert np.isnan(cube["hm"][:, :5]).all()


@pytest.mark.parametrize(
    ("fill", "attrs"), [(-1, {}), (0, {"missing_value": -1}), (-1, {"_FillValue": -1})]
)
def test_a_fill_value_of_zarr_2_that_was_chosen_is_missing(
    tmp_path: Path, fill: float, attrs: dict[str, Any]
) -> None:
    values = shares()
    values[:, :5] = -1
    zarr_2(tmp_path / "a.zarr", values, fill=fill, **attrs)
    cube, _ = told(tmp_path, {"path": "a.zarr", "variable": "hm", "years": None})
    assert np.isnan(cube["hm"][:, :5]).all()
    assert np.isfinite(cube["hm"][:, 5:]).all()


def test_zeros_that_xarray_took_for_missing_are_warned_of(tmp_path: Path) -> None:
    path = zarr_2(tmp_path / "a.zarr", np.zeros((3, *SHAPE), "float32"), fill=0)
    ds = xr.open_zarr(path, consolidated=False).set_coords("spatial_ref")
    with pytest.warns(UserWarning, match=r"'hm' .*fill_value is 0.*use_zarr_fill_value_as_mask"):
        hmx.cube.cube.as_cube(ds, static=())


def test_a_forecast_is_the_same_whatever_its_cube_was_stored_as() -> None:
    """Also the valid range that it carries, and the past that is joined to it."""
    plain = make_cube((20, 26), static=())
    plain["hm"] = (plain["hm"].round(3) * 1000).round() / 1000
    model = make_bundle(plain)
    raw = np.where(np.isnan(plain["hm"]), -1, np.round(plain["hm"] * 1000)).astype("int16")
    packed = plain.copy()
    attrs = {"scale_factor": 0.001, "nodata": "-1", "valid_range": np.array([0, 1000], "int16")}
    packed["hm"] = (plain["hm"].dims, raw, attrs)
    expected, found = (ds.hm.forecast(h=1, model=model) for ds in (plain, packed))
    np.testing.assert_allclose(found["hm"], expected["hm"], atol=1e-6)
    assert found["hm"].attrs["valid_range"] == [0, 1]
    assert not {"scale_factor", "nodata"} & found["hm"].attrs.keys()
    past, ours = expected.hm.with_history(plain), found.hm.with_history(packed)
    np.testing.assert_allclose(ours["hm"], past["hm"], atol=1e-6)
