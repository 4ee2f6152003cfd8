"""Laws of the map of folds."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pyproj
import pytest
from affine import Affine
from matplotlib.colors import to_rgb

from hmx.cube.grid import Grid
from hmx.pictures.style import MISSING
from hmx.products.fold_maps import BUFFER, COLOURS, draw_folds
from hmx.splits import CALIBRATION, TEST, TRAIN, VALIDATION, Folds, Split, deal

GRID = Grid(pyproj.CRS("EPSG:32632"), Affine(300, 0, 500_000, 0, -300, 6_000_000), (60, 80))
SHARES = {TEST: 0.1, CALIBRATION: 0.1, VALIDATION: 0.1}


@pytest.fixture
def split() -> Split:
    counts = np.ones((6, 8))
    counts[:, 0] = 0
    return deal(counts, (60, 80), block=10, shares=SHARES, seed=0, buffer=3)


def picture(figure, number: int = 0) -> np.ndarray:
    """What is painted, rounded colours (rows, columns, 3)."""
    return np.asarray(figure.axes[number].images[0].get_array()).round(6)


def colour(text: str) -> np.ndarray:
    return np.array(to_rgb(text)).round(6)


def labels(figure, number: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[number].get_legend().get_texts()]


def test_every_pixel_is_painted_in_the_colour_of_its_role(split):
    painted = picture(draw_folds(split, GRID))
    roles = split.roles_at(np.arange(60), np.arange(80))
    for role, text in COLOURS.items():
        assert ((painted == colour(text)).all(axis=2) == (roles == role)).all()
    assert (painted[:, :10] == colour(MISSING)).all()
    taken = (roles == 255) & (np.arange(80) >= 10)
    assert ((painted == colour(BUFFER)).all(axis=2) == taken).all()


def test_pixels_without_data_are_of_no_role(split):
    valid = np.ones((60, 80), bool)
    valid[20:30, 15:60] = False
    painted = picture(draw_folds(split, GRID, valid=valid))
    assert (painted[20:30, 15:60] == colour(MISSING)).all()
    assert not (painted[:20, 15:60] == colour(MISSING)).all(axis=2).any()


def test_colours_differ_in_more_than_hue():
    """Also where red and green look the same: by luminance (Rec. 709)."""
    shades = [to_rgb(text) @ np.array([0.2126, 0.7152, 0.0722]) for text in COLOURS.values()]
    shades += [to_rgb(text)[0] for text in (BUFFER, MISSING)]
    pairs = itertools.combinations(sorted(shades), 2)
    assert min(b - a for a, b in pairs) > 0.015
    assert len(set(COLOURS.values()) | {BUFFER, MISSING}) == 6


def test_buffers_are_hatched_and_without_one_nothing_is(split):
    hatched = draw_folds(split, GRID).axes[0].collections
    assert [hatch for drawn in hatched for hatch in drawn.hatches] == ["////"]
    plain = draw_folds(replace(split, buffer=0), GRID)
    assert not plain.axes[0].collections
    assert not any("in buffers" in label for label in labels(plain))


def test_axes_are_those_of_the_grid(split):
    axis = draw_folds(split, GRID).axes[0]
    assert axis.images[0].get_extent() == [500_000, 524_000, 5_982_000, 6_000_000]
    assert axis.get_xlim() == (500_000, 524_000)
    assert axis.get_ylim() == (5_982_000, 6_000_000)
    assert axis.get_xlabel() == "easting (metre), EPSG:32632"
    assert axis.get_ylabel() == "northing (metre)"


def test_the_scale_is_of_a_round_length_and_true(split):
    axis = draw_folds(split, GRID).axes[0]
    assert [text.get_text() for text in axis.texts] == ["5 km"]
    left, right = axis.lines[-1].get_xdata()
    assert (right - left) * 80 * 300 == pytest.approx(5000)


def test_a_lat_lon_map_is_true_to_scale_at_its_middle():
    grid = Grid(pyproj.CRS("EPSG:4326"), Affine(0.1, 0, 10, 0, -0.1, 63), (60, 80))
    axis = draw_folds(deal(np.ones((6, 8)), (60, 80), block=10, shares={}, seed=0), grid).axes[0]
    assert axis.get_aspect() == pytest.approx(2, rel=0.02)  # at 60 degrees north
    assert axis.get_xlabel().startswith("longitude (degree)")


def test_the_legend_counts_blocks_and_pixels(split):
    found = labels(draw_folds(split, GRID))
    areas = split.areas()
    assert found[0] == f"train: 30 blocks, {areas[TRAIN]:,} px"
    assert found[-2] == f"in buffers: {areas[255] - 600:,} px"  # 600 px are in no block with data
    given = labels(draw_folds(split, GRID, pixels=[{TRAIN: 12345, 255: 7}]))
    assert given[0] == "train: 30 blocks, 12,345 px"
    assert given[-2:] == ["in buffers: 7 px", "no data"]


def test_each_fold_has_a_map():
    folds = Folds.deal(np.ones((6, 8)), (60, 80), k=5, block=10, shares={VALIDATION: 0.2}, seed=0)
    figure = draw_folds(folds.splits, GRID)
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert [title.split(":")[0] for title in titles] == [f"fold {n} of 5" for n in range(1, 6)]
    assert folds[4].digest in titles[4]
    assert (picture(figure, 0) != picture(figure, 1)).any()


def test_a_globe_is_drawn_thinned():
    grid = Grid(pyproj.CRS("EPSG:4326"), Affine(0.009, 0, -180, 0, -0.009, 83.7), (17_111, 40_000))
    counts = np.random.default_rng(0).random((34, 79)) < 0.4
    split = deal(counts, grid.shape, block=512, shares=SHARES, seed=0, buffer=60, wraps=True)
    figure = draw_folds(split, grid)
    figure.savefig(io.BytesIO(), format="png")
    assert picture(figure).shape == (1200, 1200, 3)
