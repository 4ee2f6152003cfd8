"""Laws of covered shares: exact, the same for any window, and adding up to whole pixels."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.windows import Span, Window
from hmx.zones.cover import UNIT, WHOLE, runs_of
from hmx.zones.layer import read_zones
from tests.zones.make import grid_of, layer_of, shares

GRID = grid_of((40, 50))
CELLS = shapely.box(
    *np.meshgrid(np.arange(50), np.arange(40)), *np.meshgrid(range(1, 51), range(1, 41))
)


def random_polygon(seed):
    """Blobs with holes, needles, crossings repaired, and parts beyond the grid."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    if kind == 0:  # a star with a round hole
        turn = np.sort(rng.uniform(0, 2 * np.pi, 60))
        star = np.stack([np.cos(turn), np.sin(turn)], 1) * rng.uniform(3, 30, (60, 1)) + (25, 20)
        return shapely.make_valid(shapely.Polygon(star)).difference(
            shapely.Point(25, 20).buffer(2.7)
        )
    if kind == 1:  # a tangle
        return shapely.make_valid(shapely.Polygon(rng.uniform(-5, 55, (25, 2))))
    if seed % 8 == 2:  # one border of many edges
        return shapely.Point(25, 20).buffer(19.3, quad_segs=500)
    if kind == 2:  # needles
        ends = rng.uniform(0, 50, (8, 2, 2))
        return shapely.union_all([shapely.LineString(line).buffer(1e-3) for line in ends])
    # islands smaller than a pixel, some on corners of pixels
    centres = np.concatenate([rng.uniform(0, 40, (30, 2)), rng.integers(0, 40, (10, 2))])
    return shapely.union_all(shapely.buffer(shapely.points(centres), 0.3))


def parts(shape):
    found = [p for p in shapely.get_parts(shapely.get_parts(shape)) if p.geom_type == "Polygon"]
    return shapely.MultiPolygon(found)


def placed(pixels):
    """Columns and rows to the CRS of the grid."""
    return shapely.transform(pixels, lambda xy: np.stack(GRID.corner(xy[:, 1], xy[:, 0]), 1))


def layer(*shapes):
    return read_zones(layer_of({str(n): placed(s) for n, s in enumerate(shapes)}), GRID)


@pytest.mark.parametrize("seed", range(12))
def test_shares_are_areas_of_intersections(seed):
    shape = parts(random_polygon(seed))
    got = shares(layer(shape))[0]
    true = shapely.area(shapely.intersection(CELLS, shape))
    assert np.abs(got - true).max() < 1e-7
    assert true.max() > 0


@pytest.mark.parametrize("seed", range(12))
def test_shares_agree_with_exactextract(seed):
    extract = pytest.importorskip("exactextract")
    import geopandas as gpd
    import xarray as xr

    shape = parts(random_polygon(seed))
    values = np.arange(2000.0).reshape(40, 50)
    raster = xr.DataArray(values, dims=("y", "x"), coords={"y": GRID.y, "x": GRID.x})
    frame = gpd.GeoDataFrame({"name": ["0"]}, geometry=[placed(shape)], crs=GRID.crs)
    found = extract.exact_extract(
        raster.rio.write_crs(GRID.crs), frame, ["values", "coverage"], output="pandas"
    )
    true = np.zeros(2000)
    true[found["values"][0].astype(int)] = found["coverage"][0]
    assert np.abs(shares(layer(shape))[0].ravel() - true).max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 200),
    st.integers(0, 39),
    st.integers(1, 40),
    st.integers(0, 49),
    st.integers(1, 50),
)
def test_any_window_has_the_bits_of_the_whole(seed, top, rows, left, columns):
    zones = layer(parts(random_polygon(seed)))
    window = Window(Span(top, min(top + rows, 40)), Span(left, min(left + columns, 50)))
    assert np.array_equal(shares(zones, window), shares(zones)[:, *window.slices])


@pytest.mark.parametrize("seed", range(4))
def test_zones_that_share_borders_share_pixels_without_a_rest(seed):
    rng = np.random.default_rng(seed)
    points = shapely.MultiPoint(rng.uniform(0, 50, (60, 2)))
    frame = shapely.box(0, 0, 50, 40)
    cells = [c.intersection(frame) for c in shapely.voronoi_polygons(points, extend_to=frame).geoms]
    cells = [cell for cell in cells if cell.area > 0]
    # corners of neighbours must be the same numbers, as in a layer without gaps
    cells = list(shapely.set_precision(cells, 1e-7))
    total = shares(layer(*cells)).sum(axis=0)
    assert np.abs(total - 1).max() < 1e-12


def test_a_border_gives_to_one_zone_what_it_takes_from_the_other():
    rng = np.random.default_rng(3)
    line = np.stack([np.sort(rng.uniform(0, 50, 200)), rng.uniform(0, 40, 200)], 1)
    line[0], line[-1] = (0, 20), (50, 11)
    above = shapely.Polygon([*line, (50, 0), (0, 0)])
    below = shapely.Polygon([*line, (50, 40), (0, 40)])
    assert (shares(layer(above, below)).sum(axis=0) == 1).all()


def test_order_and_direction_of_edges_do_not_matter():
    rng = np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, 90)
    ring = np.rint(UNIT * (20 + 17.3 * np.stack([np.cos(turn), np.sin(turn)], 1))).astype(np.int64)
    ring[-1] = ring[0]
    edges = np.hstack([ring[:-1], ring[1:]])
    window, zone = Window.of((40, 50)), np.zeros(len(edges), np.int64)
    one = runs_of(zone, edges, window)
    other = runs_of(zone, rng.permutation(edges), window)
    back = runs_of(zone, edges[:, [2, 3, 0, 1]], window)
    for name in ("row", "column", "length"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
        assert np.array_equal(getattr(one, name), getattr(back, name))
    assert np.array_equal(one.area, other.area)
    assert np.array_equal(one.area, -back.area)


def test_pixels_inside_are_covered_whole():
    zones = layer(shapely.box(3, 5, 17, 9), shapely.box(20.5, 10.25, 21.5, 11))
    got = shares(zones)
    assert (got[0, 5:9, 3:17] == 1).all()
    assert got[0].sum() == 14 * 4
    assert got[1][got[1] > 0].tolist() == [0.375, 0.375]


def test_cover_is_sorted_by_zone_and_pixel_and_has_no_empty_pixel():
    zones = layer(*(parts(random_polygon(seed)) for seed in range(4)))
    cover = zones.cover(Window(Span(3, 31), Span(2, 44)))
    assert (np.diff(cover.zone * 10_000 + cover.pixel) > 0).all()
    assert cover.share.min() > 0
    assert cover.share.max() <= 1
    assert len(cover) == len(cover.zone) == len(cover.pixel)
    assert (cover.zone.dtype, cover.pixel.dtype, cover.share.dtype) == ("int32", "int64", "float64")


def test_a_window_without_zones_has_an_empty_cover():
    assert len(layer(shapely.box(3, 5, 17, 9)).cover(Window(Span(20, 30), Span(0, 50)))) == 0


def test_area_of_a_pixel_fits_the_integers():
    assert WHOLE * 500 < 2**63  # edges of one pixel that may add up
    assert float(WHOLE) == WHOLE
