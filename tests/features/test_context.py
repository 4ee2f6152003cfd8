"""Laws of the channels that a pixel's neighbourhood gives."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.errors import BadArgument, MissingVariable
from hmx.features.boxes import Boxes, bands, counts
from hmx.features.context import Context, derive, past_change
from hmx.features.terrain import turn
from hmx.windows import Span, TileGrid, Window

NAN = float("nan")
SIZE = (300.0, 300.0)
BARE = {"radii": (), "distance": False}


def window(y0, y1, x0, x1):
    return Window(Span(y0, y1), Span(x0, x1))


def history(shape, *, steps=3, missing=0.1, seed=0, changed=0.02):
    """A rough history: few pixels change, some are unknown at some steps."""
    rng = np.random.default_rng(seed)
    state = rng.random(shape) * 3
    moves = (rng.random((steps - 1, *shape)) < changed) * rng.normal(size=(steps - 1, *shape))
    series = np.concatenate([state[None], state + np.cumsum(moves, axis=0)])
    series[rng.random(series.shape) < missing] = np.nan
    return series.astype("float32")


def channels(context, series, crop=None, **statics):
    crop = crop or Window.of(series.shape[1:])
    made = derive(context, {"hm": series, **statics}, "hm", pixel_size=SIZE, crop=crop)
    return dict(zip(context.names("hm"), made, strict=True))


def whole_boxes(boxes, crop, radius):
    """Put the bands of a map of sums together."""
    return np.concatenate([boxes.sums(radius, rows) for rows in bands(crop.shape[0])])


def squares(values, radius):
    """Yield each pixel with the known values of its square, one by one."""
    for y, x in np.ndindex(values.shape):
        rows, cols = slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), None)
        box = values[rows, cols][:, : x + radius + 1 - max(0, x - radius)]
        yield (y, x), box[np.isfinite(box)]


def by_hand(values, radius, what):
    found = np.full(values.shape, np.nan)
    for at, box in squares(values, radius):
        if box.size:
            found[at] = what(box)
    return found


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("steps", [2, 4])
def test_channels_are_those_counted_by_hand(missing, steps):
    series = history((13, 17), steps=steps, missing=missing, changed=0.2)
    series[:, :5, :6] = np.nan if missing else series[:, :5, :6]
    context = Context(radii=(1, 2, 30), maxima=True)
    found, past = channels(context, series), past_change(series)
    for radius in context.radii:
        for name, values in {
            "": series[-1].astype("float64"),
            "change_": past.signed,
            "abschange_": past.absolute,
        }.items():
            expected = by_hand(values, radius, np.mean)
            got = found[f"hm_{name}mean_{radius}"]
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
            if name != "change_":
                expected = by_hand(values, radius, np.max)
                np.testing.assert_allclose(found[f"hm_{name}max_{radius}"], expected, rtol=1e-6)
    assert np.isnan(found["hm_mean_1"]).any() == bool(missing)


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_sums_of_squares_equal_their_definition_in_float64(missing):
    values, crop = history((90, 31), missing=missing)[-1].astype("float64"), window(3, 81, 0, 31)
    boxes, known = (
        Boxes(values, crop, max_radius=50),
        counts(np.isfinite(values), crop, max_radius=50),
    )
    for radius in (1, 4, 9, 50):
        total, count = whole_boxes(boxes, crop, radius), whole_boxes(known, crop, radius)
        expected = by_hand(values, radius, np.sum)[crop.slices]
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(count, by_hand(values, radius, np.size)[crop.slices])


def test_squares_without_change_are_exactly_zero_and_none_is_negative():
    rng = np.random.default_rng(1)
    series = rng.random((3, 60, 200)).astype("float32") * 1e4
    series[:, :, 60:] = series[0, :, 60:]  # rough in the west, still in the east
    found = channels(Context(), series)
    for radius in (1, 3, 10, 30):
        for name in ("change", "abschange"):
            assert not found[f"hm_{name}_mean_{radius}"][:, 60 + radius :].any()
            assert found[f"hm_{name}_mean_{radius}"][:, : 60 + radius].all()
        assert (found[f"hm_abschange_mean_{radius}"] >= 0).all()


def test_past_change_follows_each_pixel_over_what_is_known_of_it():
    pixels = np.array([[0, 3, 1, 1], [0, NAN, 2, 4], [NAN, 5, NAN, 1], [NAN, NAN, 7, NAN]])
    past = past_change(pixels.T[:, :, None])
    np.testing.assert_allclose(past.signed[:, 0], [1 / 3, 4 / 3, -2, NAN])
    np.testing.assert_allclose(past.absolute[:, 0], [5 / 3, 4 / 3, 2, NAN])
    np.testing.assert_allclose(past.total[:, 0], [5, 4, 4, 0])


def test_one_step_of_history_knows_no_change():
    found = channels(Context(radii=(2,)), history((9, 9), missing=0)[:1])
    assert np.isnan(found["hm_abschange_mean_2"]).all()
    assert np.isfinite(found["hm_mean_2"]).all()
    assert (found["hm_distance"] == 2).all()


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_distance_is_that_to_the_nearest_change_up_to_the_cap(seed, cap):
    series = history((14, 19), missing=0.2, seed=seed, changed=0.01)
    changed = np.argwhere(past_change(series).total > 0.5)
    context = Context(radii=(cap,), threshold=0.5)
    grid = np.moveaxis(np.indices((14, 19)), 0, -1)[:, :, None, :]
    apart = np.linalg.norm(grid - changed, axis=-1).min(axis=-1, initial=cap)
    np.testing.assert_allclose(channels(context, series)["hm_distance"], apart, rtol=1e-6)


def test_distance_is_the_cap_where_nothing_changed_and_missing_is_no_change():
    series = history((20, 20), missing=0.3, changed=0.0)
    assert (channels(Context(radii=(1, 7)), series)["hm_distance"] == 7).all()


def test_change_that_was_undone_is_past_change():
    series = np.zeros((3, 5, 5), "float32")
    series[1, 2, 2] = 1
    found = channels(Context(radii=(1,), threshold=1.5), series)
    assert found["hm_distance"][2, 2] == 0
    assert found["hm_change_mean_1"][2, 2] == 0
    assert found["hm_abschange_mean_1"][2, 2] == pytest.approx(1 / 9)
    assert channels(Context(radii=(1,), threshold=2.0), series)["hm_distance"].min() == 1


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("radii", [(1, 3, 10, 30), (2, 5)])
@pytest.mark.parametrize("maxima", [False, True])
def test_channels_of_a_tile_with_its_halo_are_those_of_the_whole(missing, radii, maxima):
    series = history((110, 130), missing=missing, changed=0.001)
    elevation = series[0] * 100
    context = Context(radii, maxima=maxima, terrain=("elevation",))
    arrays = {"hm": series, "elevation": elevation}
    whole = derive(context, arrays, "hm", pixel_size=SIZE, crop=Window.of((110, 130)))
    for tile in TileGrid((110, 130), (48, 48), halo=context.halo):
        seen = {name: array[(..., *tile.read.slices)] for name, array in arrays.items()}
        part = derive(context, seen, "hm", pixel_size=SIZE, crop=tile.crop)
        np.testing.assert_allclose(part, whole[(..., *tile.core.slices)], rtol=1e-6, atol=1e-12)


def test_sums_do_not_depend_on_where_the_window_starts():
    values = history((300, 310), missing=0)[0].astype("float64") * 1e4
    whole = Boxes(values, window(100, 150, 120, 170), max_radius=30)
    alone = Boxes(values, window(110, 120, 130, 170), max_radius=30)
    part = Boxes(values[70:180, 90:200], window(30, 80, 30, 80), max_radius=30)
    for radius in (3, 30):
        sums = whole.sums(radius, slice(0, 50))
        np.testing.assert_array_equal(sums, part.sums(radius, slice(0, 50)))
        np.testing.assert_allclose(sums[10:20, 10:], alone.sums(radius, slice(0, 10)), rtol=1e-10)


@pytest.mark.parametrize("name", ["mean_6", "change_mean_6", "abschange_mean_6", "max_6", "slope"])
@pytest.mark.parametrize("side", ["north", "south", "west", "east"])
def test_a_halo_one_pixel_short_shows(name, side):
    """The last pixel of the halo on any side reaches the crop, the one beyond does not."""
    series = history((40, 40), missing=0)
    context = Context((6,), maxima=True, distance=False, terrain=("elevation",))
    radius = 1 if name == "slope" else 6
    name = {"slope": "elevation_slope"}.get(name, f"hm_{name}")
    crop, before = window(15, 25, 15, 25), channels
    first, last = 15 - radius, 24 + radius
    for off, same in ((0, False), (1, True)):
        line = {
            "north": (first - off, slice(None)),
            "south": (last + off, slice(None)),
            "west": (slice(None), first - off),
            "east": (slice(None), last + off),
        }[side]
        moved = series.copy()
        moved[-1][line] += 50
        plain = before(context, series, crop, elevation=series[-1])[name]
        assert (
            np.array_equal(plain, before(context, moved, crop, elevation=moved[-1])[name]) == same
        )


def test_a_distance_needs_the_cap_less_one_around_it():
    """Change as far as the cap, or beyond it, reads as the cap all the same."""
    for apart, same in ((5, False), (6, True)):
        series = np.zeros((2, 31, 31), "float32")
        still = channels(Context((6,)), series, window(15, 16, 15, 16))["hm_distance"]
        series[1, 15, 15 - apart] = 1
        moved = channels(Context((6,)), series, window(15, 16, 15, 16))["hm_distance"]
        assert np.array_equal(still, moved) == same


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_channels_of_a_turned_window_are_turned_channels(quarters, mirror):
    series = history((24, 31), missing=0.1)
    context = Context((1, 4), maxima=True, terrain=("elevation",))
    arrays = {"hm": series, "elevation": series[0] * 200}
    turned = {n: np.rot90(a, quarters, axes=(-2, -1)) for n, a in arrays.items()}
    turned = {n: a[..., ::-1] if mirror else a for n, a in turned.items()}
    made = derive(context, arrays, "hm", pixel_size=(250.0, 300.0), crop=window(2, 20, 3, 30))
    dx, dy = (300.0, 250.0) if quarters % 2 else (250.0, 300.0)
    place = np.zeros((24, 31), bool)
    place[2:20, 3:30] = True
    place = np.rot90(place, quarters)[:, :: -1 if mirror else 1]
    rows, cols = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
    crop = window(rows[0], rows[-1] + 1, cols[0], cols[-1] + 1)
    expected = derive(context, turned, "hm", pixel_size=(dx, dy), crop=crop)
    found = turn(made, context.names("hm"), quarters, mirror)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_where_no_pixel_is_known_there_is_no_mean_but_a_distance():
    series = np.full((3, 12, 12), NAN, "float32")
    found = channels(Context((1, 3), maxima=True), series)
    assert np.isnan([values for name, values in found.items() if name != "hm_distance"]).all()
    assert (found["hm_distance"] == 3).all()


@pytest.mark.parametrize("endless", [np.inf, -np.inf])
@pytest.mark.parametrize("steps", [slice(1, None), slice(0, 2), slice(None)])
def test_infinite_values_are_missing(endless, steps):
    series = history((15, 15), missing=0)
    holed, series[steps, 4, 4] = series.copy(), endless
    holed[steps, 4, 4] = NAN
    context = Context((2,), maxima=True)
    for name, values in channels(context, series).items():
        np.testing.assert_array_equal(values, channels(context, holed)[name])


def test_the_input_is_left_alone():
    series = history((15, 15))
    series.flags.writeable = False
    channels(Context((2,), maxima=True, terrain=("e",)), series, e=series[0])


CONTEXTS = st.builds(
    Context,
    radii=st.sets(st.integers(1, 200), min_size=1).map(lambda r: tuple(sorted(r))),
    maxima=st.booleans(),
    distance=st.booleans(),
    threshold=st.floats(0, 1e6),
    terrain=st.lists(st.text(min_size=1), max_size=3, unique=True).map(tuple),
)


@given(CONTEXTS)
def test_a_context_comes_back_from_json(context):
    assert Context.from_dict(json.loads(json.dumps(context.as_dict()))) == context


def test_names_say_target_kind_and_radius_in_order():
    context = Context(radii=(1, 10), maxima=True, terrain=("elevation",))
    assert context.names("hm") == [
        *("hm_mean_1", "hm_change_mean_1", "hm_abschange_mean_1", "hm_max_1", "hm_abschange_max_1"),
        *("hm_mean_10", "hm_change_mean_10", "hm_abschange_mean_10"),
        *("hm_max_10", "hm_abschange_max_10", "hm_distance"),
        *("elevation_slope", "elevation_aspect_sin", "elevation_aspect_cos"),
    ]


@pytest.mark.parametrize(
    ("context", "halo"),
    [
        (Context(), 30),
        (Context((1, 100)), 100),
        (Context(**BARE), 0),
        (Context(**BARE, terrain=("elevation",)), 1),
    ],
)
def test_the_halo_is_the_largest_radius_or_the_pixel_a_slope_needs(context, halo):
    assert context.halo == halo


def test_no_context_is_no_channel():
    series = history((8, 9))
    made = derive(Context(**BARE), {"hm": series}, "hm", pixel_size=SIZE, crop=window(1, 5, 2, 9))
    assert made.shape == (0, 4, 7)
    assert made.dtype == np.float32


@pytest.mark.parametrize("radii", [(3, 1), (0, 2), (2, 2), (1.5,), (True, 2)])
def test_radii_that_make_no_squares_are_refused(radii):
    with pytest.raises(BadArgument, match=r"ascending order\. Pass radii=\(1, 3, 10, 30\)"):
        Context(radii=radii)


@pytest.mark.parametrize("asked", [{"maxima": True, "distance": False}, {"distance": True}])
def test_a_distance_without_a_radius_is_refused(asked):
    with pytest.raises(BadArgument, match="look as far as the largest radius"):
        Context(radii=(), **asked)


@pytest.mark.parametrize("threshold", [-0.1, NAN, np.inf])
def test_a_threshold_below_zero_is_refused(threshold):
    with pytest.raises(BadArgument, match=r"Pass threshold=0\.0"):
        Context(threshold=threshold)


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(BadArgument, match=r"'radius' is not a setting.*Did you mean 'radii'\?"):
        Context.from_dict({"radius": [3]})


def test_a_variable_that_was_not_read_is_refused_by_name():
    series = history((8, 8))
    with pytest.raises(MissingVariable, match=r"'slop' is not in the window \(has: hm\)"):
        channels(Context(**BARE, terrain=("slop",)), series)
    with pytest.raises(MissingVariable, match="'hfp' is not in the window"):
        derive(Context(), {"hm": series}, "hfp", pixel_size=SIZE, crop=window(0, 8, 0, 8))


def test_a_crop_that_leaves_the_window_is_refused():
    with pytest.raises(BadArgument, match=r"crop rows 0-9, columns 0-8 leave a window of 8 x 8"):
        channels(Context(), history((8, 8)), window(0, 9, 0, 8))


@pytest.fixture(scope="module")
def amapa(real_data):
    """Land use of 1995 to 2005 and of 2010, with elevation."""
    rasterio = pytest.importorskip("rasterio")
    layers = {}
    for name in ("HM_1995", "HM_2000", "HM_2005", "HM_2010", "elevation"):
        with rasterio.open(real_data / "amapa" / f"{name}.tif") as raster:
            layers[name] = raster.read(1, masked=True).astype("float32").filled(np.nan)
    series = np.stack([layers[name] for name in ("HM_1995", "HM_2000", "HM_2005")])
    return series, layers["HM_2010"], layers["elevation"]


def test_on_real_land_use_what_changes_next_is_near_past_change(amapa):
    series, later, elevation = amapa
    found = channels(Context(terrain=("elevation",)), series, elevation=elevation)
    known = np.isfinite(later) & np.isfinite(series[-1])
    changed, still = known & (later != series[-1]), known & (later == series[-1])
    assert found["hm_distance"][changed].mean() < found["hm_distance"][still].mean() / 2
    near = found["hm_abschange_mean_10"]
    assert np.nanmean(near[changed]) > 2 * np.nanmean(near[still])
    sloping = found["elevation_slope"][np.isfinite(elevation)]
    assert 0 <= sloping.min() < sloping.max() < np.pi / 2


def test_on_real_land_use_tiles_give_the_channels_of_the_whole(amapa):
    series, _, elevation = amapa
    context, arrays = Context(terrain=("e",)), {"hm": series, "e": elevation}
    whole = derive(context, arrays, "hm", pixel_size=SIZE, crop=Window.of(elevation.shape))
    for tile in TileGrid(elevation.shape, (256, 256), halo=context.halo):
        seen = {name: array[(..., *tile.read.slices)] for name, array in arrays.items()}
        part = derive(context, seen, "hm", pixel_size=SIZE, crop=tile.crop)
        np.testing.assert_allclose(part, whole[(..., *tile.core.slices)], rtol=1e-6, atol=1e-12)
