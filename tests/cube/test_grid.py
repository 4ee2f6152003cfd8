"""Laws of the grid: exact places, true areas, plain differences."""

import numpy as np
import pyproj
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hmx.cube.grid import Grid, crs_name
from hmx.errors import CubeError, GridMismatch, MissingCRS
from hmx.windows import Span, Window
from tests.make.cubes import make_cube

WGS84 = pyproj.CRS(4326)
PLACES = {
    "EPSG:32632": (300.0, (500_000.0, 6_000_000.0)),
    "ESRI:54009": (1000.0, (-7_000_000.0, 3_500_000.0)),
    "EPSG:3035": (100.0, (4_321_000.0, 3_210_000.0)),
    "EPSG:4326": (0.009, (-67.0, 12.0)),
}
PLACE = pytest.mark.parametrize("crs", PLACES)


def cube(crs="EPSG:32632", shape=(12, 15)):
    pixel, corner = PLACES[crs]
    return make_cube(shape, steps=2, crs=crs, pixel=pixel, corner=corner, static=())


def degrees(pixel, *, shape=None, corner=(-180.0, 90.0)):
    shape = shape or (round(180 / pixel), round(360 / pixel))
    return Grid(WGS84, Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), shape)


def coordinates(grid, dtype="float64"):
    coords = {"y": grid.y.astype(dtype), "x": grid.x.astype(dtype)}
    return xr.Dataset(coords=coords).rio.write_crs(grid.crs)


@PLACE
def test_a_grid_is_read_exactly_from_coordinates(crs):
    pixel, (west, north) = PLACES[crs]
    grid = Grid.from_xarray(cube(crs))
    assert grid.crs == pyproj.CRS(crs)
    assert grid.shape == (12, 15)
    assert grid.resolution == pytest.approx((pixel, pixel), rel=1e-10)
    assert grid.bounds == pytest.approx(
        (west, north - 12 * pixel, west + 15 * pixel, north), abs=1e-6 * pixel
    )


@PLACE
def test_coordinates_of_a_grid_are_those_it_was_read_from(crs):
    ds = cube(crs)
    grid = Grid.from_xarray(ds)
    np.testing.assert_allclose(grid.x, ds.x, rtol=1e-12)
    np.testing.assert_allclose(grid.y, ds.y, rtol=1e-12)


@PLACE
@pytest.mark.parametrize("transform", ["unwritten", "written"])
def test_a_crop_has_the_grid_of_its_window(crs, transform):
    ds, window = cube(crs), Window(Span(3, 9), Span(2, 15))
    whole = Grid.from_xarray(ds)
    if transform == "written":  # its GeoTransform goes stale when the cube is cropped
        ds = ds.rio.write_transform(whole.transform)
    part = Grid.from_xarray(ds.isel(y=window.y.slice, x=window.x.slice))
    assert whole.crop(window).difference(part) is None
    assert part.bounds == pytest.approx(whole.crop(window).bounds, rel=1e-9)


def test_float32_coordinates_give_the_same_grid():
    world = degrees(0.009, shape=(20, 40_000), corner=(-180.0, 78.0))
    read = Grid.from_xarray(coordinates(world, "float32"))
    assert world.difference(read) is None
    assert read.wraps


def test_a_geotransform_is_exact_where_coordinates_are_rounded():
    exact = Grid(pyproj.CRS(32632), Affine(100.3, 0, 500_000.3, 0, -100.3, 6_000_000.2), (40, 50))
    rounded = coordinates(exact, "float32")
    assert Grid.from_xarray(rounded) != exact
    assert Grid.from_xarray(rounded.rio.write_transform(exact.transform)) == exact


def test_a_geotransform_gives_the_size_of_a_single_pixel():
    one = Grid(pyproj.CRS(32632), Affine(30, 0, 500_000, 0, -30, 6_000_000), (1, 1))
    assert Grid.from_xarray(coordinates(one).rio.write_transform(one.transform)) == one


@pytest.mark.parametrize("attrs", [{"proj:code": "EPSG:32632"}, {"proj:wkt2": None}], ids=str)
def test_a_crs_is_read_from_geozarr_attributes(attrs):
    ds = make_cube((4, 4), crs=None)
    wkt = pyproj.CRS(32632).to_wkt()
    grid = Grid.from_xarray(ds.assign_attrs({k: v or wkt for k, v in attrs.items()}))
    assert grid.crs == pyproj.CRS(32632)


def test_a_cube_without_crs_is_told_how_to_write_one():
    with pytest.raises(MissingCRS) as caught:
        Grid.from_xarray(make_cube((4, 4), crs=None))
    assert str(caught.value) == (
        "cube has no CRS, so distances and areas are unknown. "
        "Write one: ds = ds.rio.write_crs('EPSG:32632')."
    )


@pytest.mark.parametrize("dim", ["y", "x"])
def test_uneven_coordinates_are_refused(dim):
    ds = cube()
    values = ds[dim].values.copy()
    values[5] += 30
    with pytest.raises(CubeError, match=rf"coordinate '{dim}' is not evenly spaced \(steps from "):
        Grid.from_xarray(ds.assign_coords({dim: values}))


def test_a_dimension_without_coordinate_is_refused():
    with pytest.raises(CubeError, match=r"dimension 'x' has no coordinate.*assign_coords\(x="):
        Grid.from_xarray(cube().drop_vars("x"))


def test_a_single_pixel_without_transform_is_refused():
    with pytest.raises(CubeError, match=r"dimension 'y' has a single pixel.*write_transform"):
        Grid.from_xarray(cube().isel(y=[3]))


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from(list(PLACES)))
def test_locate_inverts_corner(row, column, crs):
    pixel, (west, north) = PLACES[crs]
    grid = Grid(WGS84, Affine(pixel, 0, west, 0, -pixel, north), (10, 10))
    assert grid.locate(*grid.corner(row, column)) == pytest.approx((row, column), abs=1e-5)


def test_row_0_is_north_and_column_0_is_west():
    grid = Grid.from_xarray(cube())
    assert grid.corner(0, 0) == (500_000, 6_000_000)
    assert grid.corner(1, 2) == (500_600, 5_999_700)
    assert grid.locate(500_150, 5_999_850) == (0.5, 0.5)


def test_the_area_of_the_globe_is_that_of_the_ellipsoid():
    for pixel in (0.25, 0.9):
        grid = degrees(pixel)
        total = grid.cell_areas().sum() * grid.shape[1]
        assert total / 1e6 == pytest.approx(510_065_621.7, rel=1e-6)


@pytest.mark.parametrize(("latitude", "km2"), [(0, 1.00), (60, 0.50), (-60, 0.50), (80, 0.175)])
def test_pixels_shrink_towards_the_poles(latitude, km2):
    row = degrees(0.009, shape=(1, 5), corner=(10.0, latitude + 0.0045))
    assert row.cell_areas()[0] / 1e6 == pytest.approx(km2, abs=0.005)


@pytest.mark.parametrize("latitude", [0.0, 33.0, -47.0, 89.0])
def test_cell_areas_agree_with_geodesic_polygons(latitude):
    row = degrees(0.01, shape=(1, 1), corner=(0.0, latitude + 0.01))
    west, south, east, north = row.bounds
    area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(
        [west, east, east, west], [south, south, north, north]
    )
    assert row.cell_areas()[0] == pytest.approx(area, rel=1e-4)


def test_a_sphere_has_the_area_of_a_sphere():
    sphere = pyproj.CRS.from_proj4("+proj=longlat +R=6371000 +no_defs")
    grid = Grid(sphere, Affine(1, 0, -180, 0, -1, 90), (180, 360))
    assert grid.cell_areas().sum() * 360 == pytest.approx(4 * np.pi * 6_371_000**2)


def test_projected_pixels_have_their_nominal_area():
    assert (Grid.from_xarray(cube("ESRI:54009")).cell_areas() == 1e6).all()


@pytest.mark.parametrize("latitude", [0.0, 45.0, -60.0, 80.0])
def test_pixel_size_in_metres_is_true(latitude):
    grid = degrees(0.01, shape=(3, 3), corner=(10.0, latitude + 0.015))
    a, f, phi = 6_378_137.0, 1 / 298.257223563, np.deg2rad(latitude)
    e2 = f * (2 - f)
    bend = 1 - e2 * np.sin(phi) ** 2
    width = np.deg2rad(0.01) * np.cos(phi) * a / bend**0.5
    height = np.deg2rad(0.01) * a * (1 - e2) / bend**1.5
    assert grid.pixel_size_m == pytest.approx((width, height), rel=1e-3)
    along = pyproj.Geod(ellps="WGS84").line_length([0, 0.01], [latitude, latitude])
    assert grid.pixel_size_m[0] == pytest.approx(along, rel=1e-3)


def test_pixel_size_of_a_grid_in_feet_is_in_metres():
    feet = Grid(pyproj.CRS(2263), Affine(100, 0, 9e5, 0, -100, 2e5), (3, 3))
    assert feet.pixel_size_m == pytest.approx((30.48, 30.48), rel=1e-4)


def test_only_a_whole_globe_in_degrees_wraps():
    assert degrees(0.5).wraps
    assert degrees(0.5, corner=(0.0, 90.0)).wraps
    assert degrees(0.009, shape=(10, 40_000)).wraps
    assert not degrees(0.5, shape=(360, 719)).wraps
    assert not degrees(0.5, shape=(360, 721)).wraps
    metres = Grid(pyproj.CRS(32632), Affine(1, 0, 0, 0, -1, 0), (180, 360))
    assert not metres.wraps


GRID = Grid(pyproj.CRS(32632), Affine(300, 0, 500_000, 0, -300, 6_000_000), (4, 5))


def test_equal_grids_do_not_differ():
    nearly = Grid(GRID.crs, Affine(300, 0, 500_001, 0, -300, 6_000_000), (4, 5))
    assert GRID.difference(nearly) is None
    GRID.require_same(nearly, "elevation")


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (Grid(pyproj.CRS(3857), GRID.transform, (4, 5)), "CRS EPSG:3857 is not EPSG:32632"),
        (Grid(GRID.crs, GRID.transform, (5, 4)), "shape (5, 4) (rows, columns) is not (4, 5)"),
        (
            GRID.crop(Window(Span(1, 5), Span(0, 5))),
            "bounds (500000, 5998500, 501500, 5999700) are not (500000, 5998800, 501500, 6000000)",
        ),
    ],
    ids=["crs", "shape", "place"],
)
def test_a_difference_names_what_differs(other, text):
    assert GRID.difference(other) == text
    with pytest.raises(GridMismatch) as caught:
        GRID.require_same(other, "elevation")
    assert str(caught.value) == (
        f"elevation is on another grid: {text}. Resample it, or let the catalog do it: "
        "align: average | bilinear | nearest."
    )


def test_a_shift_is_measured_in_pixels_not_in_units():
    arc = degrees(0.0001, shape=(4, 5))
    moved = degrees(0.0001, shape=(4, 5), corner=(-179.99995, 90.0))
    assert "bounds" in arc.difference(moved)


def test_a_crs_is_named_by_its_code_or_else_by_its_title():
    assert crs_name(pyproj.CRS("ESRI:54009")) == "ESRI:54009"
    assert crs_name(pyproj.CRS.from_proj4("+proj=laea +lat_0=1.5 +lon_0=2.5")) == "unknown"
