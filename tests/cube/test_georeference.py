"""Laws of place: coordinates, transforms and bounds agree, or are refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine
from rasterio.control import GroundControlPoint

import hmx
from hmx.cube.cube import as_cube
from hmx.cube.geojson import bounds_of, crs_of, layer_of
from hmx.cube.grid import Grid
from hmx.cube.store import group_attributes
from hmx.engine.region import window_of
from hmx.errors import BadArgument, CubeError, GridMismatch, MissingCRS
from hmx.ingest.options import Source
from hmx.ingest.readers.rasters import probe
from hmx.ingest.sources import open_part
from hmx.ingest.warping import aligned
from hmx.windows import Window
from tests.make.cubes import make_bundle, make_cube
from tests.make.rasters import CORNER, UTM, field, write_tif

AT = Affine(100.0, 0.0, 500_000.0, 0.0, -100.0, 5_400_000.0)


def axes(ny: int = 6, nx: int = 8, at: Affine = AT) -> dict[str, np.ndarray]:
    return {"y": at.f + at.e * (np.arange(ny) + 0.5), "x": at.c + at.a * (np.arange(nx) + 0.5)}


def placed(coords: dict[str, np.ndarray], at: Affine | None = None, crs: Any = UTM) -> xr.Dataset:
    """A cube of one step, with a declared transform or none."""
    shape = (1, len(coords["y"]), len(coords["x"]))
    ds = xr.Dataset({"hm": (("time", "y", "x"), np.zeros(shape, "float32"))}, coords)
    ds = ds.rio.write_crs(crs)
    return ds if at is None else ds.rio.write_transform(at)


def turned_cube(
    turn: tuple[str, ...], *, names: tuple[str, str] = ("y", "x"), order: Any = None
) -> Any:
    """A cube whose axes run in any direction, under any names."""
    ds = make_cube((20, 26), static=())
    ds = ds.isel({dim: slice(None, None, -1) for dim in turn})
    ds = ds.rio.write_transform(ds.rio.transform(recalc=True))
    ds = ds.rename({"y": names[0], "x": names[1]})
    return ds.transpose(*order) if order else ds


TURNS = [(), ("y",), ("x",), ("y", "x")]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("names", [("y", "x"), ("latitude", "longitude")])
def test_transform_bounds_and_coordinates_of_a_result_agree_as_it_leaves(
    turn: tuple[str, ...], names: tuple[str, str]
) -> None:
    ds = turned_cube(turn, names=names, order=(names[1], names[0], "time"))
    model = make_bundle(make_cube((20, 26), static=()))
    fc = ds.hm.forecast(h=1, model=model)
    series = fc.hm.with_history(ds)
    for result in (fc, series, fc[["hm"]].isel({names[1]: slice(3, 20)})):
        declared = result.rio.transform()
        found = result.rio.transform(recalc=True)
        if result.sizes == fc.sizes or result is series:
            assert declared.almost_equals(found)
        assert Grid.from_xarray(as_cube(result, target="hm", static=()).data).bounds
    assert fc.rio.bounds() == pytest.approx(ds.rio.bounds())
    assert fc.rio.transform().almost_equals(ds.rio.transform())


@pytest.mark.parametrize("turn", TURNS)
def test_a_region_of_a_turned_cube_has_the_transform_of_its_part(turn: tuple[str, ...]) -> None:
    ds = turned_cube(turn)
    model = make_bundle(make_cube((20, 26), static=()))
    fc = ds.hm.forecast(h=1, model=model, region=(slice(2, 11), slice(5, 19)))
    part = ds.isel(y=slice(2, 11), x=slice(5, 19))
    np.testing.assert_array_equal(fc["y"], part["y"])
    assert fc.rio.transform().almost_equals(part.rio.transform(recalc=True))


@pytest.mark.parametrize("turn", TURNS)
def test_a_product_says_in_spatial_attributes_how_its_axes_run(
    turn: tuple[str, ...], tmp_path: Path
) -> None:
    ds = turned_cube(turn, names=("lat", "lon"))
    fc = ds.hm.forecast(h=1, model=make_bundle(make_cube((20, 26), static=())))
    grid = as_cube(ds, static=()).grid
    said = group_attributes(grid, fc)
    assert said["spatial:dimensions"] == ["lat", "lon"]
    at = Affine(*said["spatial:transform"])
    assert at * (0.5, 0.5) == pytest.approx((float(fc["lon"][0]), float(fc["lat"][0])))


@pytest.mark.parametrize(
    "crop",
    [
        {"x": slice(2, 6)},
        {"y": slice(None, None, -1)},
        {"y": slice(4, None, -1), "x": slice(1, 7)},
        {"y": slice(None, None, 2), "x": slice(1, None, 3)},
    ],
)
def test_a_transform_gone_stale_by_a_crop_a_flip_or_thinning_is_no_contradiction(
    crop: dict[str, slice],
) -> None:
    part = placed(axes(), AT).isel(crop)
    grid = as_cube(part, static=()).grid
    np.testing.assert_allclose(np.sort(grid.y), np.sort(part["y"]))
    np.testing.assert_allclose(np.sort(grid.x), np.sort(part["x"]))


def test_a_coarser_mean_lies_on_the_lattice_that_is_declared() -> None:
    ds = placed(axes(), AT).coarsen(y=2, x=4).mean()
    assert as_cube(ds, static=()).grid.bounds == Grid.from_xarray(placed(axes(), AT)).bounds


HALF = Affine.translation(0.5, 0.5)


@pytest.mark.parametrize(
    "other",
    [
        AT * HALF,
        AT * Affine.scale(1.1),
        Affine(100, 0, 500_000, 0, 100, 5_400_000),
        Affine(100, 0, 500_900, 0, -100, 5_400_000),
        Affine(200, 0, 500_000, 0, -200, 5_400_000),
    ],
    ids=["half a pixel", "spacing", "sign", "beside it", "coarser than the pixels"],
)
def test_coordinates_that_contradict_the_declared_transform_are_refused(other: Affine) -> None:
    with pytest.raises(CubeError, match=r"coordinate '[xy]' begins at .* one of them is wrong.*"):
        Grid.from_xarray(placed(axes(), other))


@pytest.mark.parametrize("key", ["transform", "spatial:transform"])
def test_transforms_in_other_attributes_contradict_as_well(key: str) -> None:
    ds = placed(axes()).assign_attrs({key: tuple(AT)[:6]})
    assert Grid.from_xarray(ds).transform == AT
    with pytest.raises(CubeError, match=rf"attribute {key} at pixel edge"):
        Grid.from_xarray(ds.assign_attrs({key: list(AT * HALF)[:6]}))


@pytest.mark.parametrize("text", ["0 1 2", "a b c d e f", "0 1 0 0 0 0", "0 1 1 0 1 -1"])
def test_a_geotransform_that_is_none_is_refused(text: str) -> None:
    ds = placed(axes(), AT)
    ds["spatial_ref"].attrs["GeoTransform"] = text
    with pytest.raises(CubeError, match=r"GeoTransform of spatial_ref is .* not the transform"):
        Grid.from_xarray(ds)


@pytest.mark.parametrize(
    ("at", "crs"),
    [
        (Affine(10, 0, 500_000, 0, -10, 5_400_000), UTM),
        (Affine(1 / 1200, 0, 179, 0, -1 / 1200, 71), "EPSG:4326"),
        (Affine(30, 0, -3_000_000, 0, -30, 4_000_000), "EPSG:3035"),
    ],
)
def test_regular_coordinates_stored_as_float32_are_regular(at: Affine, crs: str) -> None:
    exact = axes(300, 400, at)
    rounded = {dim: values.astype("float32") for dim, values in exact.items()}
    widened = {dim: values.astype("float64") for dim, values in rounded.items()}
    grid = Grid(pyproj.CRS(crs), at, (300, 400))
    for coords in (rounded, widened):
        read = Grid.from_xarray(placed(coords, crs=crs))
        assert grid.difference(read) is None
        assert read.difference(grid) is None


def test_float32_too_coarse_for_the_pixels_is_refused_unless_the_transform_is_there() -> None:
    at = Affine(1, 0, 500_000, 0, -1, 5_400_000)
    coords = {dim: values.astype("float32") for dim, values in axes(at=at).items()}
    with pytest.raises(CubeError, match=r"float32 is rounded to .*too coarse for pixels of 1"):
        Grid.from_xarray(placed(coords))
    assert Grid.from_xarray(placed(coords, at)).transform == at


@pytest.mark.parametrize("n", [32, 64, 160, 640])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gaussian_latitudes_are_not_regular(n: int, dtype: str) -> None:
    lat = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(n)[0]))[::-1]
    lon = np.arange(2 * n) * 180 / n
    with pytest.raises(CubeError, match=r"coordinate 'y' is not evenly spaced"):
        Grid.from_xarray(placed({"y": lat.astype(dtype), "x": lon}, crs="EPSG:4326"))


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize("turn", [1, -1])
def test_coordinates_that_number_pixels_are_no_place(start: float, turn: int) -> None:
    counted = {"y": (np.arange(6) + start)[::turn], "x": np.arange(8) + start}
    with pytest.raises(CubeError, match=r"a CRS and no geotransform.*number the pixels"):
        Grid.from_xarray(placed(counted))


def test_an_identity_transform_is_no_place() -> None:
    coords = {"y": np.arange(6) + 0.5, "x": np.arange(8) + 0.5}
    with pytest.raises(CubeError, match=r"no geotransform"):
        Grid.from_xarray(placed(coords, Affine.identity(), "EPSG:4326"))
    northern = Grid.from_xarray(placed(coords, crs="EPSG:4326"))  # of 1 degree
    assert northern.bounds == (0, 6, 8, 0)  # as stored, south-up


def test_metres_as_degrees_are_refused() -> None:
    with pytest.raises(CubeError, match=r"EPSG:4326, whose units are degrees, and reaches"):
        Grid.from_xarray(placed(axes(), crs="EPSG:4326"))


def lost(path: Path, **profile: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return write_tif(path, field(), **profile)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("at", [Affine.identity(), None])
def test_a_raster_with_a_crs_and_no_geotransform_is_refused(tmp_path: Path, at: Any) -> None:
    path = lost(tmp_path / "a.tif", transform=at)
    with pytest.raises(
        CubeError, match=r"a\.tif has a CRS and no geotransform.*gdal_edit\.py -a_u"
    ):
        probe(str(path), Source(path=str(path)))


@pytest.mark.filterwarnings("error")
def test_a_raster_with_control_points_alone_is_to_be_warped(tmp_path: Path) -> None:
    points = [GroundControlPoint(r, c, 9 + c / 9, 48 - r / 9) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = lost(tmp_path / "a.tif", transform=None, crs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        file = rasterio.open(path, "r+")
    with file:
        file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    with pytest.raises(MissingCRS, match=r"ground control points and no geotransform.*gdalwarp"):
        probe(str(path), Source(path=str(path)))


def test_points_and_areas_are_the_same_place(tmp_path: Path) -> None:
    """GDAL turns AREA_OR_POINT=Point into edges; hmx must not shift it again."""
    part = probe(str(write_tif(tmp_path / "a.tif", field())), Source(path="a"))
    with rasterio.open(write_tif(tmp_path / "b.tif", field()), "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    point = probe(str(tmp_path / "b.tif"), Source(path="b"))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.tags()["AREA_OR_POINT"] == "Point"
        assert point.grid.corner(0, 0) == file.transform * (0, 0)
    assert part.grid == point.grid


WORLD = Affine(10.0, 0.0, -180.0, 0.0, -10.0, 90.0)
GLOBE = Grid(pyproj.CRS("EPSG:4326"), WORLD, (18, 36))


def number(shape: tuple[int, int]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


@pytest.mark.parametrize("west", [0.0, -180.0, 180.0, -30.0])
@pytest.mark.parametrize("align", [None, "nearest", "bilinear"])
def test_longitudes_counted_from_elsewhere_are_turned(
    tmp_path: Path, west: float, align: str | None
) -> None:
    values = number(GLOBE.shape)
    shift = round((west + 180) / 10)
    at = Affine(10.0, 0.0, west, 0.0, -10.0, 90.0)
    path = write_tif(tmp_path / "a.tif", np.roll(values, -shift, 1), crs="EPSG:4326", transform=at)
    source = Source(path=str(path), align=align)
    part = aligned(open_part(source, [str(path)], "a"), GLOBE, source)
    np.testing.assert_array_equal(part.read(Window.of(GLOBE.shape))[0], values)
    assert any("longitudes" in note for note in part.notes) is (west != -180)


def test_a_part_of_the_globe_is_found_a_turn_away(tmp_path: Path) -> None:
    america = Grid(GLOBE.crs, Affine(10.0, 0.0, -120.0, 0.0, -10.0, 50.0), (5, 6))
    at = Affine(10.0, 0.0, 240.0, 0.0, -10.0, 50.0)
    path = write_tif(tmp_path / "a.tif", number((5, 6)), crs="EPSG:4326", transform=at)
    source = Source(path=str(path))
    part = aligned(open_part(source, [str(path)], "a"), america, source)
    np.testing.assert_array_equal(part.read(Window.of((5, 6)))[0], number((5, 6)))


@pytest.mark.parametrize("align", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("west", [0.0, -180.0, -1.0])
def test_a_warp_does_not_depend_on_where_longitudes_are_counted_from(
    tmp_path: Path, align: str, west: float
) -> None:
    """A field that is smooth across the date line, warped to a grid of the Pacific."""
    lon = west + 2 * (np.arange(180) + 0.5)
    lat = 90 - 2 * (np.arange(90) + 0.5)
    values = (np.cos(np.deg2rad(lon))[None] * 10 + lat[:, None]).astype("float32")
    at = Affine(2.0, 0.0, west, 0.0, -2.0, 90.0)
    path = write_tif(tmp_path / "a.tif", values, crs="EPSG:4326", transform=at)
    source = Source(path=str(path), align=align)
    for crs, corner, size, shape in (
        ("EPSG:3832", (-3e6, 3e6), 1e5, (40, 50)),
        ("EPSG:4326", (-178.3, 30.0), 0.9, (40, 50)),
        ("EPSG:4326", (-180.0, 80.0), 2.5, (60, 144)),  # all round
        ("EPSG:4326", (0.0, 80.0), 2.5, (60, 144)),
        ("EPSG:3031", (-4e6, 4e6), 1e5, (80, 80)),  # round the pole
    ):
        grid = Grid(pyproj.CRS(crs), Affine(size, 0, corner[0], 0, -size, corner[1]), shape)
        part = aligned(open_part(source, [str(path)], "a"), grid, source)
        read = part.read(Window.of(grid.shape))[0]
        x, y = np.meshgrid(grid.x, grid.y)
        to = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
        x, y = to.transform(x, y)
        expected = np.cos(np.deg2rad(x)) * 10 + y
        known = np.abs(y) < 84  # GDAL averages no pixel at the pole
        # round a pole GDAL leaves out pixels on its seam; nowhere is one wrong
        assert np.isfinite(read[known]).mean() > (0.99 if crs == "EPSG:3031" else 0.999999), crs
        assert np.nanmax(np.abs(read - expected)[known]) < 1.7


def test_grids_that_are_no_turn_apart_need_align(tmp_path: Path) -> None:
    at = Affine(10.0, 0.0, 5.0, 0.0, -10.0, 90.0)  # half a pixel
    path = write_tif(tmp_path / "a.tif", number(GLOBE.shape), crs="EPSG:4326", transform=at)
    source = Source(path=str(path))
    with pytest.raises(GridMismatch, match=r"is on another grid"):
        aligned(open_part(source, [str(path)], "a"), GLOBE, source)


RING = [[9.2, 48.2], [9.6, 48.2], [9.6, 48.6], [9.2, 48.6], [9.2, 48.2]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}


def moved(crs: str) -> dict[str, Any]:
    to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    return {"type": "Polygon", "coordinates": [[list(to.transform(*point)) for point in RING]]}


@pytest.mark.parametrize(
    "wrapped",
    [
        POLYGON,
        {"type": "Feature", "properties": {}, "geometry": POLYGON},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": POLYGON}]},
        {
            "type": "GeometryCollection",
            "geometries": [POLYGON, {"type": "Point", "coordinates": RING[0]}],
        },
        {
            **POLYGON,
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        },
        {
            **moved(UTM),
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}},
        },
        {**moved("EPSG:3035"), "crs": {"type": "name", "properties": {"name": "EPSG:3035"}}},
        {**moved("EPSG:3857"), "crs": {"type": "EPSG", "properties": {"code": 3857}}},
        {**moved(UTM), "crs": "EPSG:32632"},
    ],
)
def test_a_region_is_the_same_in_any_crs_and_wrapping(
    wrapped: dict[str, Any], tmp_path: Path
) -> None:
    import json

    ds = placed(axes(60, 60, Affine(1000, 0, 500_000, 0, -1000, 5_400_000)))
    cube = as_cube(ds, static=())
    expected = window_of(POLYGON, cube)
    (tmp_path / "r.geojson").write_text(json.dumps(wrapped), encoding="utf-8")
    for given in (
        wrapped,
        json.dumps(wrapped),
        tmp_path / "r.geojson",
        str(tmp_path / "r.geojson"),
    ):
        found = window_of(given, cube)
        assert np.abs(np.subtract(found.slices[0].start, expected.slices[0].start)) <= 1
        assert abs(found.x.start - expected.x.start) <= 1
        assert abs(found.x.stop - expected.x.stop) <= 1


def test_coordinates_that_are_no_degrees_need_a_crs() -> None:
    with pytest.raises(BadArgument, match=r"region reaches .*which are not degrees.*Add 'crs'"):
        crs_of(moved(UTM), "region")


@pytest.mark.parametrize("member", [{"type": "name"}, "Mars", {"properties": {"name": "EPSG:0"}}])
def test_a_crs_member_that_names_none_is_refused(member: Any) -> None:
    with pytest.raises(BadArgument, match=r"crs member .* names no known CRS"):
        crs_of({**POLYGON, "crs": member}, "region")


@pytest.mark.parametrize(
    "empty", ['{"type": "FeatureCollection", "features": []}', '{"a": 1}', "{"]
)
def test_shapes_without_coordinates_are_refused(empty: str) -> None:
    with pytest.raises(
        hmx.errors.HmxError, match=r"region .*(no coordinates|not a GeoJSON|cannot be read)"
    ):
        bounds_of(layer_of(empty, "region"), "region")


def globe(west: float) -> Any:
    at = Affine(10.0, 0.0, west, 0.0, -10.0, 90.0)
    return as_cube(placed(axes(18, 36, at), crs="EPSG:4326"), static=())


def test_longitudes_of_a_region_go_round() -> None:
    box = (-100.0, 10.0, -60.0, 50.0)
    assert window_of(box, globe(0.0)).x.slice == slice(26, 30)
    assert window_of(box, globe(-180.0)).x.slice == slice(8, 12)
    assert window_of((200.0, 10.0, 240.0, 50.0), globe(-180.0)).x.slice == slice(2, 6)
    assert window_of(POLYGON, globe(0.0)).x.slice == slice(0, 1)


def test_a_region_at_both_ends_of_the_globe_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"at both ends of the cube, whose longitudes"):
        window_of((-20.0, 10.0, 20.0, 50.0), globe(0.0))
    assert window_of((-180.0, -90.0, 180.0, 90.0), globe(0.0)) == Window.of((18, 36))


def test_a_corner_is_as_it_was(tmp_path: Path) -> None:
    assert (
        probe(str(write_tif(tmp_path / "a.tif", field())), Source(path="a")).grid.transform
        == CORNER
    )
