"""Sums: the same bits for any tiles, exact for groups, and what a plain computation gives."""

from __future__ import annotations

import numpy as np
import pytest

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.uncertainty.joint.dependence import Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Span, TileGrid, Window
from hmx.zones.cover import Cover
from hmx.zones.sums import ALL, Measures, TileValues, Units, ZoneSums, ZoneTotals, tile_sums
from tests.uncertainty.joint.test_field import PLANE, quantiles

H, N, SHAPE = 2, 7, (60, 90)
MEASURES = Measures(above=(0.3, 0.6), classes=(0.25, 0.5), moves=(0.01,))
UNITS = Units.of(float(np.prod(SHAPE)) * 1e6, 1.0)
DEPENDENCE = Dependence.prior(1000.0)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantiles (levels, h, y, x), means and the last map, with a hole."""
    q = quantiles((H, *SHAPE), seed=3)
    noise = 0.005 * np.random.default_rng(1).normal(size=SHAPE).astype("float32")
    return q, q.mean(axis=0), np.clip(q[13, 0] + noise, 0, 1)


def cover_of(window: Window) -> Cover:
    """Three zones in columns; the borders cut through pixels; the last one is a part."""
    edges = [(0.0, 30.25), (30.25, 61.5), (70.0, 80.0)]
    parts = []
    columns = np.arange(window.x.start, window.x.stop)
    for zone, (west, east) in enumerate(edges):
        share = np.clip(np.minimum(columns + 1, east) - np.maximum(columns, west), 0, 1)
        some = np.flatnonzero(share)
        rows = np.arange(len(window.y))[:, None]
        pixel = (rows * len(columns) + some).ravel()
        parts.append((np.full(pixel.size, zone), pixel, np.tile(share[some], len(rows))))
    zone, pixel, share = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Cover(zone.astype("int32"), pixel, share)


def sums_of(world, side: int, *, numbers: range = range(N), threads: int = 1) -> ZoneSums:
    q, mean, origin = world
    total = ZoneSums.empty(np.array([0, 1, 2, ALL]), H, len(numbers), MEASURES)
    grid = Grid(PLANE.crs, PLANE.transform, SHAPE)
    for tile in TileGrid(SHAPE, (side, side), halo=0):
        window, at = tile.core, (..., *tile.core.slices)
        values = TileValues(mean[at], origin[at], np.full(len(window.y), 1e6))
        draws = Draws(Field(grid, window, DEPENDENCE, 4), q[at])
        total.add(
            tile_sums(
                values, cover_of(window), draws, numbers,
                measures=MEASURES, units=UNITS, threads=threads,
            )
        )  # fmt: skip
    return total


def same(one: ZoneSums, other: ZoneSums) -> None:
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


@pytest.mark.parametrize(("side", "threads"), [(17, 1), (32, 3), (64, 2)])
def test_tiles_and_threads_do_not_change_a_bit(world, side: int, threads: int):
    same(sums_of(world, 90), sums_of(world, side, threads=threads))


def test_first_draws_are_those_of_fewer(world):
    few, many = sums_of(world, 90, numbers=range(3)), sums_of(world, 90)
    np.testing.assert_array_equal(few.value, many.value[:, :, :3])
    np.testing.assert_array_equal(few.above, many.above[:, :, :3])


def test_totals_are_those_of_a_plain_computation(world):
    q, mean, origin = world
    totals = ZoneTotals.of(
        sums_of(world, 32), UNITS, ("a", "b", "c"), MEASURES,
        groups={"west": np.array([0, 1])}, origin=True,
    )  # fmt: skip
    window = Window.of(SHAPE)
    cover = cover_of(window)
    grid = Grid(PLANE.crs, PLANE.transform, SHAPE)
    drawn = np.stack([v.copy() for *_, v in Draws(Field(grid, window, DEPENDENCE, 4), q)(range(N))])
    drawn = drawn.reshape(N, H, -1)
    weights = np.zeros((4, drawn.shape[-1]))
    np.add.at(weights, (cover.zone, cover.pixel), cover.share)
    weights[3] = 1
    known = np.isfinite(mean[0].ravel())
    weights_known = weights[:, known]
    rows = [0, 1, 2, 4]
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(totals.area[rows], weights_known.sum(1), **close)
    np.testing.assert_allclose(totals.missing[rows], weights[:, ~known].sum(1), **close)
    was, now = origin.ravel()[known], drawn[..., known]
    np.testing.assert_allclose(totals.origin[rows], weights_known @ was, **close)
    found = np.einsum("zp,nhp->zhn", weights_known, now.astype("f8"))
    np.testing.assert_allclose(totals.value[rows], found, **close)
    above = np.einsum("zp,nhp->zhn", weights_known, (now > np.float32(0.6)).astype("f8"))
    np.testing.assert_allclose(totals.above[rows][..., 1], above, **close)
    gone = (was >= np.float32(0.25)) & (was < np.float32(0.5)) & (now < np.float32(0.25))
    moved = np.einsum("zp,nhp->zhn", weights_known, gone.astype("f8"))
    np.testing.assert_allclose(totals.transition[rows][..., 1, 0], moved, **close)
    fell = np.einsum("zp,nhp->zhn", weights_known, (now - was < -np.float32(0.01)).astype("f8"))
    np.testing.assert_allclose(totals.fallen[rows][..., 0], fell, **close)
    assert totals.names == ("a", "b", "c", "west", "all")
    assert totals.kinds == ("zone", "zone", "zone", "group", "all")


def test_groups_are_the_sum_of_their_zones(world):
    totals = ZoneTotals.of(
        sums_of(world, 64), UNITS, ("a", "b", "c"), MEASURES,
        groups={"ends": np.array([0, 2])}, origin=True,
    )  # fmt: skip
    for name in ("area", "value", "above", "transition", "risen"):
        array = getattr(totals, name)
        np.testing.assert_allclose(array[3], array[0] + array[2], rtol=1e-14)
        counts = array / (UNITS.value / 1e6 if name == "value" else UNITS.area / 1e6)
        np.testing.assert_array_equal(np.rint(counts[3]), np.rint(counts[0]) + np.rint(counts[2]))


def test_without_an_origin_there_is_no_change(world):
    totals = ZoneTotals.of(
        sums_of(world, 90), UNITS, ("a", "b", "c"), MEASURES, groups={}, origin=False
    )
    assert np.isnan(totals.origin).all()
    assert np.isnan(totals.origin_above).all()


def test_values_beyond_the_counts_are_refused(world):
    q, mean, origin = world
    grid = Grid(PLANE.crs, PLANE.transform, SHAPE)
    window = Window(Span(0, 4), Span(0, 4))
    at = (..., *window.slices)
    values = TileValues(mean[at], origin[at], np.full(4, 1e6))
    draws = Draws(Field(grid, window, DEPENDENCE, 0), q[at])
    with pytest.raises(BadArgument, match="valid_range"):
        tile_sums(
            values, cover_of(window), draws, range(2),
            measures=MEASURES, units=Units.of(1e6, 0.01),
        )  # fmt: skip
