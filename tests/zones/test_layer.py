"""Laws of zone layers: every source gives the same zones, and what cannot be one is refused."""

import json
import pickle
import sys

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import xarray as xr

from hmx.errors import BadArgument, GridMismatch, SourceError
from hmx.windows import Span, TileGrid, Window
from hmx.zones.features import groups_of
from hmx.zones.layer import read_zones
from tests.conftest import ROOT
from tests.make.cubes import make_cube
from tests.zones.make import degrees, grid_of, layer_of, shares

GRID = grid_of((40, 50))  # 500000 to 501500, 5298800 to 5300000
PARK = shapely.box(500_100, 5_299_000, 500_715, 5_299_500)
LAKE = shapely.Point(501_000, 5_299_600).buffer(222)
SHAPES = {"park": PARK, "lake": LAKE}


def frame():
    data = {"name": ["park", "lake"], "country": ["A", "B"], "code": [7.0, 9.0]}
    return gpd.GeoDataFrame(data, geometry=[PARK, LAKE], crs="EPSG:32632")


KML = ["Name", "country", "code", "geometry"]
FILES = {
    "zones.geojson": lambda path: path.write_text(json.dumps(layer_of(SHAPES))),
    "zones.gpkg": lambda path: frame().to_file(path),
    "zones.shp": lambda path: frame().to_file(path),
    "zones.fgb": lambda path: frame().to_file(path, SPATIAL_INDEX="NO"),
    "zones.parquet": lambda path: frame().to_parquet(path),
    "zones.geoparquet": lambda path: frame().to_parquet(path),
    "zones.kml": lambda path: frame().to_crs(4326).set_axis(KML, axis=1).to_file(path),
    "zones.shp.zip": lambda path: frame().to_file(path, driver="ESRI Shapefile"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_zones(name, tmp_path):
    FILES[name](tmp_path / name)
    zones = read_zones(tmp_path / name, GRID)
    assert zones.names == ("park", "lake")
    same = shares(read_zones(layer_of(SHAPES), GRID))
    assert np.abs(shares(zones) - same).max() < (1e-3 if name == "zones.kml" else 1e-12)


def test_a_geojson_is_read_from_a_url():
    import fsspec

    with fsspec.open("memory://layers/zones.geojson", "w") as file:
        file.write(json.dumps(layer_of(SHAPES)))
    assert read_zones("memory://layers/zones.geojson", GRID).names == ("park", "lake")


def test_objects_and_texts_give_the_same_zones():
    layers = [layer_of(SHAPES), json.dumps(layer_of(SHAPES)), frame()]
    assert len({read_zones(given, GRID).digest for given in layers}) == 1
    moved = frame().set_geometry(frame().translate(1, 0))
    assert read_zones(moved, GRID).digest != read_zones(frame(), GRID).digest


def test_the_size_of_a_layer_in_another_crs_is_kept():
    own, far = (shares(read_zones(z, GRID)) for z in (frame(), frame().to_crs("EPSG:4326")))
    # a straight border of one CRS is a curve in the other: 2 mm here
    assert np.abs(own - far).max() < 1e-3
    assert np.allclose(own.sum(axis=(1, 2)), far.sum(axis=(1, 2)), rtol=1e-5)


def test_straight_borders_in_degrees_are_curves_on_a_projected_grid():
    grid = grid_of((300, 400), pixel=10_000, corner=(2_500_000, 5_500_000), crs="EPSG:3035")
    box = shapely.box(0, 45, 20, 60)
    dense = shapely.segmentize(box, 0.01)
    sparse, true = (shares(read_zones(layer_of({"a": s}, "EPSG:4326"), grid)) for s in (box, dense))
    assert np.abs(sparse - true).max() < 0.003
    # four corners alone would miss the bulge of the southern border
    corners = shapely.Polygon(gpd.GeoSeries([box], crs=4326).to_crs(3035)[0].exterior)
    flat = shares(read_zones(layer_of({"a": corners}, "EPSG:3035"), grid))
    assert np.abs(flat - true).max() == 1


def test_parts_far_from_a_projected_grid_do_not_matter():
    world = shapely.box(-180, -90, 180, 90)
    zones = read_zones(
        layer_of({"world": world, "east": shapely.box(9, -90, 180, 90)}, "EPSG:4326"), GRID
    )
    got = shares(zones)
    assert (got[0] == 1).all()
    # longitude 9 is the central meridian, the western border of this grid
    assert np.abs(got[1] - 1).max() < 1e-6
    assert min(zones.outside) > 0.999


@pytest.mark.parametrize("west", [-180.0, 0.0])
def test_zones_go_round_the_globe(west):
    grid = degrees(1.0, west)
    shapes = {
        "greenwich": shapely.box(-20, -10, 20.5, 10),
        "pacific": shapely.box(170, 0, 190, 5),
        "cut": shapely.MultiPolygon([shapely.box(170, 0, 180, 5), shapely.box(-180, 0, -170, 5)]),
        "world": shapely.box(-180, -90, 180, 90),
    }
    zones = read_zones(layer_of(shapes, "EPSG:4326"), grid)
    got = shares(zones)
    assert got.sum(axis=(1, 2)).tolist() == [810, 100, 100, 64_800]
    assert zones.outside == (0, 0, 0, 0)
    assert np.array_equal(got[1], got[2])
    # a window over the seam has the columns of both sides
    seam = Window(Span(60, 120), Span(-30, 45))
    whole = np.concatenate([got[:, 60:120, -30:], got[:, 60:120, :45]], axis=2)
    assert np.array_equal(shares(zones, seam), whole)
    cover = zones.cover(seam)
    assert (np.diff(cover.zone * 10_000 + cover.pixel) > 0).all()


def test_an_edge_that_may_go_round_either_side_is_refused():
    over = shapely.Polygon([(179, 0), (-179, 0), (-179, 5), (179, 5)])
    with pytest.raises(BadArgument, match=r"edge from longitude 179 to -179.*cut the polygon"):
        read_zones(layer_of({"a": over}, "EPSG:4326"), degrees(1.0))


def test_a_projected_layer_crosses_the_date_line():
    box = gpd.GeoSeries([shapely.box(170, -20, 190, -10)], crs="EPSG:4326")
    crossing = box.to_crs("EPSG:3832")  # Pacific Mercator
    for west in (-180.0, 0.0):
        got = shares(read_zones(layer_of({"a": crossing[0]}, "EPSG:3832"), degrees(1.0, west)))
        assert got.sum() == pytest.approx(200, rel=1e-6)


def test_a_projected_cube_lies_across_the_date_line():
    # Pacific Mercator: longitude 180 is 30 degrees east of its middle
    grid = grid_of((60, 80), pixel=10_000, corner=(2_950_000, -1_000_000), crs="EPSG:3832")
    box, cut = shapely.box(178, -14, 182, -11), shapely.box(178, -14, 180, -11)
    shapes = {
        "on": box,
        "back": shapely.affinity.translate(box, -360),
        "cut": shapely.MultiPolygon([cut, shapely.affinity.translate(cut, -358)]),
    }
    got = shares(read_zones(layer_of(shapes, "EPSG:4326"), grid))
    degree = 6_378_137 * np.pi / 180 / 10_000  # px
    assert got[0].sum(axis=1).max() == pytest.approx(4 * degree)
    assert np.abs(got[0] - got[1]).max() < 1e-9
    assert np.abs(got[0] - got[2]).max() < 1e-9


def test_zones_in_degrees_reach_a_pole_and_the_ends_of_a_map_of_the_world():
    polar = grid_of((400, 400), pixel=25_000, corner=(-5e6, 5e6), crs="EPSG:3031")
    cap = shapely.box(-180, -90, 180, -60)
    got = shares(read_zones(layer_of({"cap": cap}, "EPSG:4326"), polar))[0]
    radius = np.abs(polar.locate(0.0, 0.0)[0] - polar.locate(*_moved((0, -60), polar))[0])
    assert got.sum() == pytest.approx(np.pi * radius**2, rel=2e-5)
    world = grid_of((180, 361), pixel=100_000, corner=(-18_050_000, 9_000_000), crs="ESRI:54009")
    shapes = {"pacific": shapely.box(170, 0, 190, 30), "land": shapely.box(-10, 0, 10, 30)}
    zones = read_zones(layer_of(shapes, "EPSG:4326"), world)
    pacific, land = shares(zones).sum(axis=(1, 2))
    assert pacific == pytest.approx(land, rel=1e-4)  # areas of this projection are true
    assert max(zones.outside) < 0.01
    other = "+proj=moll +lon_0=150"
    seam = grid_of((180, 361), pixel=100_000, corner=(-18_050_000, 9_000_000), crs=other)
    with pytest.raises(BadArgument, match="zone 'land' lies across the seam"):
        read_zones(layer_of({"land": shapely.box(-40, 0, 10, 30)}, "EPSG:4326"), seam)


def _moved(point, grid):
    return pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(*point)


def test_a_ring_round_a_pole_has_no_shape_in_degrees():
    cap = shapely.Point(0, 0).buffer(2_000_000)
    with pytest.raises(BadArgument, match=r"goes round a pole.*along the pole"):
        read_zones(layer_of({"cap": cap}, "EPSG:3031"), degrees(1.0))


def test_the_share_outside_the_cube_is_known():
    half = shapely.box(499_000, 5_299_000, 501_000, 5_299_900)
    far = shapely.box(0, 0, 10, 10)
    zones = read_zones(layer_of({"in": PARK, "half": half, "far": far}), GRID)
    assert zones.names == ("in", "half")
    assert zones.outside == pytest.approx((0, 0.5))
    assert zones.outside[0] == 0
    assert zones.notes == (
        "1 zone is outside the cube and left out: far",
        "1 zone is partly outside the cube (up to 50 %); the part inside counts: half",
    )
    degrees_too = read_zones(
        gpd.GeoDataFrame({"name": ["half"]}, geometry=[half], crs=32632).to_crs(4326), GRID
    )
    assert degrees_too.outside == pytest.approx((0.5,), abs=1e-3)


def test_a_layer_outside_the_cube_is_refused():
    with pytest.raises(BadArgument, match="zones lie outside the cube, whose bounds are"):
        read_zones(layer_of({"far": shapely.box(0, 0, 10, 10)}), GRID)


BOW = shapely.Polygon(
    [(500_100, 5_299_100), (500_700, 5_299_400), (500_700, 5_299_100), (500_100, 5_299_200)]
)


def test_borders_that_cross_are_repaired():
    zones = read_zones(layer_of({"bow": BOW, "park": PARK}), GRID)
    assert shares(zones)[0].sum() == pytest.approx(shapely.make_valid(BOW).area / 900)
    assert zones.notes == ("1 zone is repaired: their borders crossed or overlapped: bow",)


def test_without_shapely_crossing_borders_are_refused_and_others_read(monkeypatch):
    layers = {name: layer_of({"a": s}) for name, s in {**SHAPES, "bow": BOW}.items()}
    twice = layer_of({"a": shapely.MultiPolygon([PARK, shapely.affinity.translate(PARK, 99, 99)])})
    true = {name: shares(read_zones(layers[name], GRID)) for name in SHAPES}
    monkeypatch.setitem(sys.modules, "shapely", None)
    for name, share in true.items():
        assert np.array_equal(shares(read_zones(layers[name], GRID)), share)
    for crossing in (layers["bow"], twice):
        with pytest.raises(BadArgument, match=r"crosses or overlaps itself.*pip install shapely"):
            read_zones(crossing, GRID)


def test_overlapping_parts_count_once():
    twice = shapely.MultiPolygon([PARK, shapely.affinity.translate(PARK, 99, 99)])
    got = shares(read_zones(layer_of({"a": twice}), GRID))
    assert got.max() == 1
    assert got.sum() == pytest.approx(shapely.unary_union(twice).area / 900)


REFUSED = {
    "points": (shapely.Point(500_100, 5_299_000), "is a Point, which has no area.*buffer"),
    "lines": (shapely.LineString([(500_100, 5_299_000), (500_300, 5_299_000)]), "is a LineString"),
    "empty": (shapely.Polygon(), "is empty or has fewer than three corners"),
    "flat": (
        shapely.Polygon([(500_100, 5_299_000), (500_300, 5_299_000), (500_200, 5_299_000)]),
        "has no area: its corners lie on one line",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_area_is_refused(kind):
    shape, match = REFUSED[kind]
    with pytest.raises(BadArgument, match=match):
        read_zones(layer_of({"park": PARK, "a": shape}), GRID)


def test_features_without_geometry_and_empty_layers_are_refused():
    broken = layer_of(SHAPES)
    broken["features"][1]["geometry"] = None
    with pytest.raises(BadArgument, match="feature 1 has no geometry"):
        read_zones(broken, GRID)
    with pytest.raises(BadArgument, match="no features"):
        read_zones({"type": "FeatureCollection", "features": []}, GRID)


def test_names_are_those_of_id():
    layer = layer_of(SHAPES, country=["A", "A"], code=[7.0, 9.0])
    assert read_zones(layer, GRID, id="code").names == ("7", "9")
    assert read_zones(layer, GRID, id="#").names == ("0", "1")
    with pytest.raises(BadArgument, match=r"id='cod' is not a property.*has: name, country, code"):
        read_zones(layer, GRID, id="cod")
    with pytest.raises(BadArgument, match=r"features 0 and 1 are both named 'A'.*Pass id='name'"):
        read_zones(layer, GRID, id="country")
    layer["features"][1]["properties"]["code"] = None
    with pytest.raises(BadArgument, match="feature 1 has no value of id='code'"):
        read_zones(layer, GRID, id="code")


def test_names_that_are_not_unique_propose_a_column():
    layer = layer_of(SHAPES, wdpa=[55, 66])
    for feature in layer["features"]:
        feature["properties"]["name"] = "Reserve"
    with pytest.raises(BadArgument, match=r"both named 'Reserve', .*Pass id='wdpa'.*by="):
        read_zones(layer, GRID)
    for feature in layer["features"]:
        del feature["properties"]["wdpa"]
    with pytest.raises(BadArgument, match="pass id='#'"):
        read_zones(layer, GRID)


def test_a_file_with_several_layers_of_polygons_asks_for_one(tmp_path):
    path = tmp_path / "zones.gpkg"
    frame().to_file(path, layer="parks")
    points = frame().set_geometry(frame().centroid)
    points.to_file(path, layer="huts")
    assert read_zones(path, GRID).names == ("park", "lake")  # the only layer with an area
    frame()[:1].to_file(path, layer="plans")
    with pytest.raises(BadArgument, match=r"3 layers \(parks, huts, plans\).*layername=plans"):
        read_zones(path, GRID)
    assert read_zones(f"{path}|layername=plans", GRID).names == ("park",)
    with pytest.raises(BadArgument, match=r"no layer 'plan' .*Did you mean 'plans'"):
        read_zones(f"{path}|layername=plan", GRID)


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name in ("none.gpkg", "none.geojson", "none.tif", "none.npy"):
        with pytest.raises(SourceError, match=f"{name}.* (does not exist|cannot be read)"):
            read_zones(tmp_path / name, GRID)


def test_groups_are_the_values_of_a_property():
    layer = layer_of({**SHAPES, "third": PARK}, country=["B", "A", "B"], code=[1.0, None, 1.0])
    zones = read_zones(layer, GRID)
    groups = groups_of(zones.properties, "country")
    assert groups.names == ("B", "A")
    assert groups.matrix(3).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert groups_of(zones.properties, "code").names == ("1", "no code")
    with pytest.raises(BadArgument, match=r"by='contry'.*has: name, country.*mean 'country'"):
        groups_of(zones.properties, "contry")


def test_large_layers_travel_as_a_path(tmp_path):
    turn = np.linspace(0, 2 * np.pi, 34_000)
    ring = shapely.Polygon(
        np.stack([500_750 + 500 * np.cos(turn), 5_299_400 + 500 * np.sin(turn)], 1)
    )
    kept = read_zones(layer_of({"a": shapely.Polygon(ring)}), GRID)
    travels = read_zones(layer_of({"a": shapely.Polygon(ring)}), GRID, folder=str(tmp_path / "run"))
    assert len(pickle.dumps(travels)) < 50_000 < len(pickle.dumps(kept))
    assert np.array_equal(shares(pickle.loads(pickle.dumps(travels))), shares(kept))
    assert travels.digest == kept.digest
    assert not travels.without_properties().properties


IDS = np.zeros((40, 50), np.int32)
IDS[3:20, 5:30], IDS[20:33, 8:44] = 12, 5


def raster(path, values, *, nodata=None):
    how = {"driver": "GTiff", "height": 40, "width": 50, "count": 1, "dtype": values.dtype}
    with rasterio.open(
        path, "w", **how, crs=GRID.crs, transform=GRID.transform, nodata=nodata
    ) as file:
        file.write(values, 1)
    return path


def array(values):
    located = xr.DataArray(values, dims=("y", "x"), coords={"y": GRID.y, "x": GRID.x})
    return located.rio.write_crs(GRID.crs)


def test_every_kind_of_raster_gives_the_same_zones(tmp_path):
    np.save(tmp_path / "ids.npy", IDS)
    lat = array(IDS).isel(y=slice(None, None, -1)).rename(y="lat", x="lon").T
    sources = [
        raster(tmp_path / "ids.tif", IDS), tmp_path / "ids.npy", IDS, array(IDS),
        array(IDS.astype("float32")), lat,
    ]  # fmt: skip
    for source in sources:
        zones = read_zones(source, GRID)
        assert zones.names == ("5", "12")
        assert zones.properties == ({"id": 5}, {"id": 12})
        assert np.array_equal(shares(zones), np.stack([IDS == 5, IDS == 12]))
    flipped = read_zones(IDS[::-1, ::-1], GRID, flips=("y", "x"), folder=str(tmp_path))
    assert np.array_equal(shares(flipped), np.stack([IDS == 5, IDS == 12]))
    assert len(pickle.dumps(flipped)) < 5000


def test_zero_is_a_zone_where_the_raster_declares_what_is_outside(tmp_path):
    assert read_zones(IDS, GRID).notes == (
        "zones: 0 is outside all zones, because the raster has no nodata value",
    )
    gaps = np.where(IDS == 12, np.nan, IDS)
    for source in (
        raster(tmp_path / "a.tif", IDS, nodata=12),
        gaps,
        array(IDS).rio.write_nodata(12),
    ):
        zones = read_zones(source, GRID)
        assert zones.names == ("0", "5")
        assert not zones.notes
        assert np.array_equal(shares(zones), np.stack([IDS == 0, IDS == 5]))


def test_rasters_of_quantities_or_on_other_grids_are_refused(tmp_path):
    with pytest.raises(BadArgument, match=r"whole numbers.*float64 with 0\.5"):
        read_zones(IDS + 0.5, GRID)
    with pytest.raises(BadArgument, match="no zone"):
        read_zones(np.zeros((40, 50), int), GRID)
    with pytest.raises(GridMismatch, match="an array of zones lies on"):
        read_zones(IDS[1:], GRID)
    with pytest.raises(GridMismatch, match="another grid"):
        read_zones(array(IDS).assign_coords(x=GRID.x + 15), GRID)
    with pytest.raises(GridMismatch, match="another grid"):
        read_zones(raster(tmp_path / "ids.tif", IDS), grid_of((40, 50), pixel=20.0))
    with pytest.raises(BadArgument, match="its numbers are the names"):
        read_zones(IDS, GRID, id="name")


def test_tiles_of_a_raster_of_many_zones_add_up():
    numbers = np.arange(2000, dtype=np.int64).reshape(40, 50) // 2 * 1_000_003
    zones = read_zones(numbers, GRID)
    assert len(zones) == 999
    total = np.zeros(len(zones))
    for tile in TileGrid(GRID.shape, (16, 16), halo=0):
        cover = zones.cover(tile.core)
        total += np.bincount(cover.zone, cover.share, minlength=len(zones))
    assert (total == 2).all()


def test_areas_of_pixels_are_true():
    grid = degrees(1.0)
    zones = read_zones(layer_of({"world": shapely.box(-180, -90, 180, 90)}, "EPSG:4326"), grid)
    rows = Span(30, 60)
    assert np.array_equal(zones.pixel_km2(rows), grid.cell_areas()[30:60] / 1e6)
    assert zones.pixel_km2(Span(0, 180)).sum() * 360 == pytest.approx(510_065_622, rel=1e-6)


def test_the_example_of_the_guide_runs(tmp_path, monkeypatch):
    page = (ROOT / "hmx" / "guide" / "zones.md").read_text(encoding="utf-8")
    section = page.split("## Zone layers")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    make_cube((40, 50)).to_zarr("build/demo.zarr", consolidated=False, zarr_format=3)
    names = {}
    exec(compile(code, "zones.md", "exec"), names)
    assert names["layer"].names == ("west", "east")
    assert (shares(names["layer"]).sum(axis=0) == 1).all()
    assert np.unique(shares(names["layer"])) == pytest.approx([0, 1 / 3, 2 / 3, 1])
