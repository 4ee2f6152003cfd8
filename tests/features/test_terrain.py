"""Laws of slope and aspect, on metric and on lat-lon grids."""

import math

import numpy as np
import pyproj
import pytest
from affine import Affine

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.features.context import Context, derive
from hmx.features.terrain import per_row, row_sizes, slope_aspect, turn
from hmx.windows import Span, Window

WHOLE = Window.of((9, 11))
NAMES = ["elevation_slope", "elevation_aspect_sin", "elevation_aspect_cos"]
COMPASS = {"N": 0, "NE": 45, "E": 90, "SE": 135, "S": 180, "SW": 225, "W": 270, "NW": 315}


def plane(bearing, rise, *, shape=(9, 11), dx=300.0, dy=200.0):
    """Heights that fall towards a bearing, in metres."""
    east = np.arange(shape[1]) * dx
    north = -np.arange(shape[0])[:, None] * dy
    angle = math.radians(bearing)
    return -rise * (east * math.sin(angle) + north * math.cos(angle))


def geographic(*, north=62.0, pixel=0.05, shape=(40, 30), crs="EPSG:4326"):
    return Grid(pyproj.CRS(crs), Affine(pixel, 0, 10.0, 0, -pixel, north), shape)


@pytest.mark.parametrize("bearing", COMPASS.values(), ids=COMPASS)
@pytest.mark.parametrize("rise", [0.001, 0.5, 3.0])
def test_a_plane_has_its_slope_and_faces_downhill(bearing, rise):
    slope, sine, cosine = slope_aspect(plane(bearing, rise), (300.0, 200.0))
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(slope[inside], math.atan(rise), rtol=1e-9)
    np.testing.assert_allclose(sine[inside], math.sin(math.radians(bearing)), atol=1e-9)
    np.testing.assert_allclose(cosine[inside], math.cos(math.radians(bearing)), atol=1e-9)


def test_slopes_equal_the_formula_of_horn():
    """Weights 1-2-1 over eight pixel sizes, written out for one pixel."""
    z = np.random.default_rng(0).random((3, 3)) * 100
    east = ((z[0, 2] + 2 * z[1, 2] + z[2, 2]) - (z[0, 0] + 2 * z[1, 0] + z[2, 0])) / (8 * 30)
    north = ((z[0, 0] + 2 * z[0, 1] + z[0, 2]) - (z[2, 0] + 2 * z[2, 1] + z[2, 2])) / (8 * 20)
    slope, sine, cosine = (part[1, 1] for part in slope_aspect(z, (30.0, 20.0)))
    assert slope == pytest.approx(math.atan(math.hypot(east, north)))
    assert math.atan2(sine, cosine) == pytest.approx(math.atan2(-east, -north))


def test_flats_have_neither_slope_nor_aspect():
    for part in slope_aspect(np.full((6, 7), 812.3, "float32"), (30.0, 30.0)):
        assert not part.any()


def test_aspect_is_a_unit_vector_where_there_is_slope():
    z = np.random.default_rng(0).random((30, 30)) * 100
    slope, sine, cosine = slope_aspect(z, (30.0, 30.0))
    assert (slope > 0).all()
    np.testing.assert_allclose(np.hypot(sine, cosine), 1)


def test_unknown_neighbours_count_as_the_centre_like_those_beyond_the_border():
    z = plane(90, 0.5)
    holed = z.copy()
    holed[:, 6:] = np.nan
    for whole, part in zip(
        slope_aspect(z[:, :6], (300.0, 200.0)), slope_aspect(holed, (300.0, 200.0)), strict=True
    ):
        np.testing.assert_array_equal(part[:, :6], whole)
        assert np.isnan(part[:, 6:]).all()
    slope = slope_aspect(z, (300.0, 200.0))[0]
    np.testing.assert_allclose(np.tan(slope[1:-1, 0]), 0.25)  # halved, as documented


@pytest.mark.parametrize("north", [62.0, 1.0, -40.0])
def test_a_plane_in_degrees_has_the_metric_slope_of_each_row(north):
    """Heights that rise by a metre per step of longitude, then of latitude."""
    grid = geographic(north=north)
    dx, dy = row_sizes(grid, Window.of(grid.shape))
    eastward = np.broadcast_to(np.arange(30.0), grid.shape)
    northward = np.broadcast_to(-np.arange(40.0)[:, None], grid.shape)
    for heights, size, sine in ((eastward, dx, -1), (northward, dy, 0)):
        made = derive(
            Context(radii=(), distance=False, terrain=("z",)),
            {"hm": np.zeros((2, 40, 30)), "z": heights},
            "hm",
            pixel_size=(dx, dy),
            crop=Window(Span(7, 33), Span(1, 29)),
        )
        np.testing.assert_allclose(
            np.tan(made[0]), np.broadcast_to(1 / size[7:33, None], (26, 28)), rtol=1e-5
        )
        np.testing.assert_allclose(made[1], sine, atol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4267", "+proj=longlat +R=6371000"])
def test_row_sizes_are_those_of_the_geodesic(crs):
    grid = geographic(crs=crs, pixel=0.01)
    window = Window(Span(5, 25), Span(3, 9))
    dx, dy = row_sizes(grid, window)
    geod = grid.crs.get_geod()
    for row, (width, height) in enumerate(zip(dx, dy, strict=True), start=5):
        y = 62.0 - 0.01 * (row + 0.5)
        assert width == pytest.approx(geod.inv(10.0, y, 10.01, y)[2], rel=1e-6)
        assert height == pytest.approx(geod.inv(10.0, y - 0.005, 10.0, y + 0.005)[2], rel=1e-6)


def test_width_times_height_is_the_area_of_a_pixel():
    grid = geographic(pixel=0.01, shape=(500, 2))
    dx, dy = row_sizes(grid, Window.of(grid.shape))
    np.testing.assert_allclose(dx * dy, grid.cell_areas(), rtol=1e-6)


def test_rows_centred_on_a_pole_still_have_a_width():
    grid = Grid(pyproj.CRS("EPSG:4326"), Affine(1.0, 0, -180, 0, -1.0, 90.5), (181, 360))
    dx, _ = row_sizes(grid, Window.of(grid.shape))
    assert dx[0] == pytest.approx(dx[-1])
    width = grid.crs.get_geod().inv(0, 89.75, 1, 89.75)[2]
    assert dx[0] == pytest.approx(width, rel=1e-3)


def test_projected_rows_are_alike_and_in_metres():
    feet = Grid(pyproj.CRS("EPSG:2264"), Affine(100.0, 0, 0, 0, -50.0, 0), (8, 9))
    dx, dy = row_sizes(feet, Window(Span(2, 6), Span(0, 9)))
    np.testing.assert_allclose(dx, np.full(4, 100 * 1200 / 3937))
    np.testing.assert_allclose(dy, np.full(4, 50 * 1200 / 3937))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1, 5])
@pytest.mark.parametrize("mirror", [False, True])
def test_terrain_of_a_turned_map_is_the_turned_terrain(quarters, mirror):
    z = np.random.default_rng(3).random((14, 9)) * 500
    z[4, 4] = np.nan
    turned = np.rot90(z, quarters)[:, :: -1 if mirror else 1]
    sizes = (30.0, 20.0)
    expected = slope_aspect(turned, sizes[::-1] if quarters % 2 else sizes)
    found = turn(np.array(slope_aspect(z, sizes)), NAMES, quarters, mirror)
    np.testing.assert_array_equal(found, np.array(expected))


def test_turning_moves_other_channels_and_touches_no_input():
    rng = np.random.default_rng(0)
    channels = rng.random((4, 5, 6))
    kept = channels.copy()
    names = ["hm", *NAMES]
    turned = turn(channels, names, 1, True)
    np.testing.assert_array_equal(turned[0], np.rot90(kept[0])[:, ::-1])
    turn(channels, names, 0, False)[:] = 0
    turn(channels, names, 2, True)[:] = 0
    np.testing.assert_array_equal(channels, kept)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
def test_turns_add_up(first, second):
    channels = np.random.default_rng(0).random((3, 6, 6))
    once = turn(turn(channels, NAMES, first, False), NAMES, second, False)
    np.testing.assert_array_equal(once, turn(channels, NAMES, (first + second) % 4, False))


def test_a_lone_component_of_an_aspect_is_refused():
    with pytest.raises(BadArgument, match="'elevation_aspect_cos' is not among the channels"):
        turn(np.zeros((1, 4, 4)), ["elevation_aspect_sin"], 1, False)


def test_channels_without_names_are_refused():
    with pytest.raises(BadArgument, match="2 names for 3 channels"):
        turn(np.zeros((3, 4, 4)), NAMES[:2], 1, False)


@pytest.mark.parametrize("size", [0.0, -30.0, np.nan, [30.0, 30.0], []])
def test_pixel_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(BadArgument, match=r"for 9 rows.*Pass pixel_size=row_sizes"):
        slope_aspect(plane(0, 1), (300.0, size))


def test_one_number_is_every_rows():
    np.testing.assert_array_equal(per_row(30, 3), [[30], [30], [30]])
    np.testing.assert_array_equal(per_row([1, 2, 3], 3), [[1], [2], [3]])
