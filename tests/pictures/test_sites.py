"""Laws of the pictures of folds of samples."""

from __future__ import annotations

import io

import numpy as np
import pyproj
import pytest
from affine import Affine
from matplotlib.colors import to_hex

from hmx.cube.grid import Grid
from hmx.pictures.sites import draw_mapping_distances, draw_site_folds
from hmx.splits.knndm import MappingDistances
from hmx.splits.methods import random_folds, region_folds
from tests.make.sites import scattered

LONLAT = Grid(pyproj.CRS(4326), Affine(0.01, 0, 20.9, 0, -0.01, 42.1), (120, 120))
UTM = Grid(pyproj.CRS(32634), Affine(1000, 0, 4.9e5, 0, -1000, 4.66e6), (130, 100))


def test_the_three_distributions_are_drawn_as_they_are() -> None:
    rng = np.random.default_rng(0)
    distances = MappingDistances(*(rng.exponential(scale, 400) for scale in (1e3, 4e3, 2e3)))
    figure = draw_mapping_distances(distances, title="some folds")
    (axis,) = figure.axes
    curves = {line.get_label().split(":")[0]: line for line in axis.lines}
    assert len(curves) == 3
    for name, values in {
        "map to samples": distances.map, "sample to nearest sample": distances.sample,
        "tested to trained on": distances.test,
    }.items():  # fmt: skip
        km, share = curves[name].get_data()
        assert np.interp(np.median(values) / 1000, km, share) == pytest.approx(0.5, abs=0.01)
        assert f"median {np.median(values) / 1000:.2g} km" in curves[name].get_label()
    assert axis.get_title() == f"some folds: W = {distances.w / 1000:.2g} km from the map"
    assert len({line.get_linestyle() for line in axis.lines}) == 3
    assert len({to_hex(line.get_color()) for line in axis.lines}) == 3


def test_replicates_at_no_distance_have_a_place_on_the_axis() -> None:
    distances = MappingDistances(np.zeros(5), np.full(5, 1e3), np.full(5, 2e3))
    draw_mapping_distances(distances).savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("grid", [LONLAT, UTM], ids=["lonlat", "utm"])
def test_sites_are_drawn_where_they_lie_with_a_look_for_each_fold(grid: Grid) -> None:
    folds = random_folds(scattered(400), k=10)
    axis = draw_site_folds(folds, grid).axes[0]
    assert len(axis.collections) == 10
    to_map = pyproj.Transformer.from_crs(4326, grid.crs, always_xy=True)
    for number, drawn in enumerate(axis.collections):
        xy = np.stack(to_map.transform(*folds.places.sites[folds.fold == number].T), axis=1)
        np.testing.assert_allclose(drawn.get_offsets(), xy)
    looks = {
        (to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes())
        for c in axis.collections
    }
    assert len(looks) == 10
    west, south, east, north = grid.bounds
    assert axis.get_xlim() == pytest.approx((west, east))
    assert axis.get_ylim() == pytest.approx((south, north))


def test_a_lat_lon_map_of_folds_is_true_to_scale_at_its_middle() -> None:
    axis = draw_site_folds(random_folds(scattered(50), k=2), LONLAT).axes[0]
    assert axis.get_aspect() == pytest.approx(1 / np.cos(np.deg2rad(41.5)), rel=0.01)


def test_the_legend_names_folds_and_counts_their_samples() -> None:
    samples = scattered(90, replicates=2)
    region = np.repeat(["hills", "plain"], [30, 60])
    figure = draw_site_folds(region_folds(samples, region), UTM, valid=np.ones((13, 10), bool))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["hills: 30", "plain: 60"]
    many = draw_site_folds(random_folds(scattered(400), k=30), UTM)
    assert not many.legends
