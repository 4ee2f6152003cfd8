"""Laws of fields: what is cut out of them is what the cube itself gives."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xarray as xr

from hmx.cube.cube import as_cube
from hmx.cube.read import read
from hmx.features.terrain import row_sizes
from hmx.forecast.inputs import Inputs, assemble
from hmx.forecast.options import split_fitting
from hmx.forecast.train import fields as module
from hmx.forecast.train.data import Chips, Draw
from hmx.forecast.train.fields import ChipCache
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, plan
from hmx.forecast.window import TileGeometry, halo
from hmx.windows import Span, Window, with_halo
from tests.make.cubes import make_cube

SHAPE = (90, 104)


def plan_of(ds: xr.Dataset, **options: Any) -> TrainPlan:
    small = {"width": 3, "trunk": (1, 2), "context": (1, 5), "maxima": True, "history": 2, "h": 2}
    network, fit = split_fitting({**small, "chip": 32, **options})
    recipe = TrainSetup("hm", ("roads",), ("elevation",), network, fit)
    return plan(as_cube(ds, target="hm", dynamic=("roads",), static=("elevation",)), recipe)


@pytest.fixture(scope="module")
def made() -> TrainPlan:
    return plan_of(make_cube(SHAPE, dynamic=("roads",)))


@pytest.fixture(params=["whole", "squares"])
def fields(
    request: pytest.FixtureRequest, made: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> ChipCache:
    """Of a small cube, and as of one that is too large to be one field."""
    if request.param == "squares":
        monkeypatch.setattr(module, "_WHOLE", 0)
    found = ChipCache(made.reader.cube, made.reader.spec, made.reader.scaler)
    assert found.whole == (request.param == "whole")
    return found


def directly(made: TrainPlan, window: Window, origin: int) -> Inputs:
    """As inference does: read a window and its context's halo, and derive."""
    reader = made.reader
    spec, grid = reader.spec, reader.cube.grid
    around = with_halo(window, grid.shape, halo=spec.context.halo, wraps=grid.wraps)
    times = Span(origin - spec.network.past_steps + 1, origin + 1)
    arrays = read(reader.cube, around, times, reader.cube.rules)
    size = row_sizes(grid, around)
    inner = window.within(around)
    return assemble(arrays, spec, reader.scaler, inner=inner, pixel_size=size)


WINDOWS = {
    "corner": Window(Span(0, 32), Span(0, 32)),
    "middle": Window(Span(31, 63), Span(40, 72)),
    "end": Window(Span(58, 90), Span(72, 104)),
    "wide": Window(Span(5, 85), Span(2, 100)),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("origin", [1, 3])
def test_a_cut_is_what_the_cube_gives(
    made: TrainPlan, fields: ChipCache, window: Window, origin: int
) -> None:
    inputs, truth = fields.cut(window, origin)
    wanted = directly(made, window, origin)
    for mine, theirs in zip(inputs.tensors(), wanted.tensors(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)
    for mine, theirs in zip(inputs.tensors()[:3], wanted.tensors()[:3], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(inputs.distance, wanted.distance)
    series = made.reader.cube.data["hm"].values[(slice(None), *window.slices)]
    for lead in (1, 2):
        last = origin + lead >= len(series)
        expected = np.full(window.shape, np.nan) if last else series[origin + lead]
        np.testing.assert_array_equal(truth[lead - 1], expected)


def test_training_and_inference_see_the_same_channels(made: TrainPlan, fields: ChipCache) -> None:
    reader, core = made.reader, Window(Span(40, 56), Span(30, 46))
    spec, grid = reader.spec, reader.cube.grid
    window = with_halo(core, grid.shape, halo=halo(spec, 2), wraps=False)
    place = TileGeometry.of(core, window, grid, spec, h=2)
    arrays = read(reader.cube, window, Span(0, 2), reader.cube.rules)
    served = assemble(arrays, spec, reader.scaler, inner=place.inner, pixel_size=place.pixel_size)
    shown = Window(place.inner.y.shift(window.y.start), place.inner.x.shift(window.x.start))
    trained, _ = fields.cut(shown, 1)
    for mine, theirs in zip(trained.tensors()[:4], served.tensors()[:4], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)


def test_chips_of_squares_are_those_of_the_cube(made: TrainPlan, fields: ChipCache) -> None:
    reader = made.reader
    reader.__dict__["fields"] = fields
    try:
        draw = Draw.of(reader, made.scanned.changed, 0.5)
        for world in (1, 2):
            ranks = [
                Chips(reader, draw, 32, batch=4, steps=3, key=(0, 0), rank=r, world=world)
                for r in range(world)
            ]
            dealt = [list(chips) for chips in ranks]
            for step in range(3):
                for slot in range(4):
                    mine = dealt[slot % world][step].seen.static[slot // world].numpy()
                    alone = ranks[0].chip(step, slot).inputs.static
                    np.testing.assert_array_equal(mine, alone)
    finally:
        del reader.__dict__["fields"]


def test_a_slot_stays_in_a_field_for_a_while_and_then_leaves(
    made: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WHOLE", 0)
    fields = ChipCache(made.reader.cube, made.reader.spec, made.reader.scaler)
    assert fields.patience == module._STAY > 1
    monkeypatch.setattr(module, "_WHOLE", 10**9)
    assert ChipCache(made.reader.cube, made.reader.spec, made.reader.scaler).patience == 1


def test_fields_are_read_once_and_forgotten_when_they_are_many(
    made: TrainPlan, fields: ChipCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    inner = ChipCache._read

    def spy(self: ChipCache, home: Window, origin: int) -> Any:
        reads.append((home, origin))
        return inner(self, home, origin)

    monkeypatch.setattr(ChipCache, "_read", spy)
    windows = [Window(Span(y, y + 16), Span(x, x + 16)) for y in (0, 60) for x in (0, 80)]
    for _ in range(2):
        for window in windows:
            fields.cut(window, 1)
    homes = 1 if fields.whole else 4
    assert len(reads) == homes
    assert fields._size == size_of(fields)
    monkeypatch.setattr(module, "_KEPT", 0)
    for window in windows:
        fields.cut(window, 2)
    assert len(fields._kept) == 1
    assert fields._size == size_of(fields)


def size_of(fields: ChipCache) -> int:
    kept = fields._kept.values()
    return sum(a.nbytes for inputs, truth in kept for a in (truth, *inputs.tensors()))


def test_areas_are_relative_to_the_mean_row(made: TrainPlan, fields: ChipCache) -> None:
    found = fields.areas(Window.of(SHAPE))
    assert found.shape == (SHAPE[0], 1)
    assert float(found.mean()) == pytest.approx(1)


def test_chips_of_a_block_share_its_field(made: TrainPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WHOLE", 0)
    fields = ChipCache(made.reader.cube, made.reader.spec, made.reader.scaler)
    block = Window(Span(32, 64), Span(64, 96))
    for y, x in ((32, 64), (32, 95), (63, 64), (63, 95)):  # centres in all of its corners
        start = min(y - 16, SHAPE[0] - 32), min(x - 16, SHAPE[1] - 32)
        chip = Window(Span(start[0], start[0] + 32), Span(start[1], start[1] + 32))
        inputs, _ = fields.cut(chip, 1, around=block)
        alone, _ = fields._read(chip, 1)
        for mine, theirs in zip(inputs.tensors(), alone.tensors(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)
    assert [origin for _, origin in fields._kept] == [1]


def test_a_field_is_read_once_by_many_threads(
    made: TrainPlan, fields: ChipCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, inner = [], ChipCache._read

    def slow(self: ChipCache, home: Window, origin: int) -> Any:
        reads.append((home, origin))
        time.sleep(0.05)
        return inner(self, home, origin)

    monkeypatch.setattr(ChipCache, "_read", slow)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(fields.cut, WINDOWS["middle"], 1) for _ in range(4)]
        first = found[0].result()[1]
        assert all(np.array_equal(one.result()[1], first, equal_nan=True) for one in found)
    assert len(reads) == 1
