"""Laws of spans, windows and tiles: integers only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.windows import Span, TileGrid, Window, bounding, pieces

PLACE = st.integers(-30, 60)
SIDE = st.integers(1, 25)


@st.composite
def spans(draw):
    start, stop = sorted((draw(PLACE), draw(PLACE)))
    return Span(start, stop)


@st.composite
def grids(draw):
    shape, tile = (draw(SIDE), draw(SIDE)), (draw(SIDE), draw(SIDE))
    return TileGrid(shape, tile, halo=draw(st.integers(0, 30)), wraps=draw(st.booleans()))


def pixels(span):
    return set(range(span.start, span.stop))


def touch(one, other):
    return bool(pixels(one.y) & pixels(other.y)) and bool(pixels(one.x) & pixels(other.x))


@given(grids())
def test_tiles_cover_every_pixel_once(grid):
    seen = np.zeros(grid.shape, int)
    for tile in grid:
        seen[tile.core.slices] += 1
    assert (seen == 1).all()


@given(grids())
def test_a_tile_reads_its_core_and_the_true_pixels_around_it(grid):
    for tile in grid:
        halo = grid.halo
        rows = range(tile.core.y.start - halo, tile.core.y.stop + halo)
        cols = range(tile.core.x.start - halo, tile.core.x.stop + halo)
        assert pixels(tile.read.y) == {row for row in rows if 0 <= row < grid.shape[0]}
        real = {col for col in cols if grid.wraps or 0 <= col < grid.shape[1]}
        assert pixels(tile.read.x) == real


@given(grids())
def test_the_crop_of_what_was_read_is_the_core(grid):
    for tile in grid:
        rows, cols = np.meshgrid(
            *(np.arange(s.start, s.stop) for s in (tile.read.y, tile.read.x)), indexing="ij"
        )
        rows, cols = rows[tile.crop.slices], cols[tile.crop.slices]
        assert rows.shape == cols.shape == tile.core.shape
        assert (rows[:, 0] == np.arange(tile.core.y.start, tile.core.y.stop)).all()
        assert (cols[0] == np.arange(tile.core.x.start, tile.core.x.stop)).all()


@given(grids())
def test_counts_and_chunks_agree_with_the_tiles(grid):
    rows, cols = grid.chunks()
    assert (len(rows), len(cols)) == grid.counts
    assert (sum(rows), sum(cols)) == grid.shape
    assert {tile.index: tile.core.shape for tile in grid} == {
        (i, j): (row, col) for i, row in enumerate(rows) for j, col in enumerate(cols)
    }
    assert all(grid[tile.index] == tile for tile in grid)


@given(grids(), spans(), spans())
def test_a_window_is_covered_by_exactly_the_tiles_that_touch_it(grid, rows, cols):
    window = Window(rows, cols)
    found = [tile.index for tile in grid.covering(window)]
    assert found == sorted(tile.index for tile in grid if touch(tile.core, window))


def test_tiles_stay_where_they_are_whatever_region_is_asked_for():
    grid = TileGrid((100, 90), (32, 32), halo=5)
    (tile,) = grid.covering(Window(Span(40, 41), Span(70, 71)))
    assert tile.core == Window(Span(32, 64), Span(64, 90))
    assert tile.read == Window(Span(27, 69), Span(59, 90))


@given(spans(), st.integers(1, 12))
def test_pieces_are_every_column_in_order_round_the_globe(columns, nx):
    parts = pieces(columns, nx)
    found = [col for part in parts for col in range(nx)[part]]
    assert found == [col % nx for col in range(columns.start, columns.stop)]
    assert all(0 <= part.start < part.stop <= nx for part in parts)


def test_a_halo_across_the_date_line_reads_the_other_side():
    tile = TileGrid((10, 36), (10, 12), halo=3, wraps=True)[0, 0]
    assert tile.read == Window(Span(0, 10), Span(-3, 15))
    assert pieces(tile.read.x, 36) == [slice(33, 36), slice(0, 15)]


@given(spans(), spans())
def test_a_clipped_span_holds_what_both_have(one, other):
    clipped = one.clip(other)
    assert pixels(clipped) == pixels(one) & pixels(other)
    assert other.start <= clipped.start <= clipped.stop <= other.stop


@given(spans(), st.integers(0, 20), PLACE)
def test_growing_and_shifting_move_both_ends(span, more, by):
    assert len(span.grow(more)) == len(span) + 2 * more
    assert span.grow(more).shift(by) == span.shift(by).grow(more)
    assert span.shift(by).shift(-by) == span
    assert range(*span.slice.indices(1000)) == range(1000)[span.slice]


@given(spans(), spans(), spans(), spans())
def test_a_window_within_another_selects_the_same_pixels(y, x, outer_y, outer_x):
    outer = Window(outer_y, outer_x)
    inner = Window(y, x).within(outer)
    assert inner.shape == Window(y, x).shape
    assert (inner.y.start + outer.y.start, inner.x.start + outer.x.start) == (y.start, x.start)


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 12)), min_size=1, max_size=5),
    st.sampled_from([1, 4, 32]),
)
def test_bounds_hold_all_pixels_of_a_mask_and_no_step_more(places, step):
    mask = np.zeros((20, 13), bool)
    mask[tuple(zip(*places, strict=True))] = True
    bounds = bounding(mask, step=step)
    outside = mask.copy()
    outside[bounds.slices] = False
    assert not outside.any()
    assert bounds.clip(Window.of(mask.shape)) == bounds
    for axis, span in enumerate((bounds.y, bounds.x)):
        places_along = mask.any(axis=1 - axis).nonzero()[0]
        assert places_along[0] - span.start < step
        assert span.stop - places_along[-1] <= step
        assert span.start % step == 0
        assert span.stop % step == 0 or span.stop == mask.shape[axis]


def test_the_window_of_a_raster_is_all_of_it():
    assert Window.of((4, 7)).shape == (4, 7)
    assert np.ones((4, 7))[Window.of((4, 7)).slices].sum() == 28


def test_a_span_that_ends_before_it_starts_is_refused():
    with pytest.raises(BadArgument, match=r"a span cannot end \(3\) before it starts \(5\)\."):
        Span(5, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"tile": (0, 8)}, {"tile": (8, -1)}, {"shape": (0, 10)}, {"halo": -1}],
    ids=str,
)
def test_impossible_tiles_are_refused(wrong):
    good = {"shape": (10, 10), "tile": (8, 8), "halo": 0}
    with pytest.raises(BadArgument, match=r"tile=.* on a raster of .* Pass tile=256\."):
        TileGrid(**(good | wrong))
