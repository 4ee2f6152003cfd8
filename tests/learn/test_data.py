"""Laws of training samples."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hmx.cube import enter
from hmx.errors import BadArgument, NotEnoughData
from hmx.folds import TRAIN, VALIDATION
from hmx.learn.data import Chips, HeldOut, Reader
from hmx.learn.train import Recipe, plan
from hmx.models.forecaster import reach
from hmx.options import ModelOptions, TrainOptions
from hmx.samples import assemble, read
from hmx.windows import Span, Window
from tests.factories import make_cube


def reader_of(ds: xr.Dataset, **options: object) -> Reader:
    recipe = Recipe(
        "hm", (), ("elevation",), ModelOptions(hidden=2, history=2), TrainOptions(**options)
    )
    return plan(enter(ds, target="hm", dynamic=(), static=("elevation",)), recipe)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return reader_of(make_cube((120, 130)), h=3, chip=64)


def chips(reader: Reader, **options: int) -> Chips:
    settings = {"batch": 4, "steps": 2, "seed": 0, "epoch": 0} | options
    return Chips(reader, 64, **settings)


def test_a_chip_is_a_function_of_seed_epoch_and_number(reader: Reader) -> None:
    def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    chip = chips(reader).chip(3)
    assert same(chip, chips(reader).chip(3))
    assert not same(chip, chips(reader).chip(4))
    assert not same(chip, chips(reader, epoch=1).chip(3))
    assert not same(chip, chips(reader, seed=1).chip(3))


def test_processes_share_an_epoch_without_overlap(reader: Reader) -> None:
    alone = [batch.past.numpy() for batch in chips(reader)]
    ranks = [[b.past.numpy() for b in chips(reader, rank=r, world=2)] for r in (0, 1)]
    for step in range(2):
        dealt = np.empty_like(alone[step])
        dealt[0::2], dealt[1::2] = ranks[0][step], ranks[1][step]
        np.testing.assert_array_equal(dealt, alone[step])


def test_only_training_pixels_with_truth_are_scored(reader: Reader) -> None:
    scored = np.zeros(reader.cube.grid.shape, bool)
    for window in (Window(Span(0, 64), Span(0, 64)), Window(Span(50, 114), Span(60, 124))):
        arrays = reader.sample(window, 1, TRAIN)
        mask, truth = arrays[5].astype(bool), arrays[4]
        scored[window.slices] |= mask.any(axis=0)
        series = reader.cube.data["hm"].values[(slice(None), *window.slices)]
        for lead in range(3):
            assert np.isfinite(series[2 + lead][mask[lead]]).all()
            np.testing.assert_array_equal(truth[lead][mask[lead]], series[2 + lead][mask[lead]])
            assert (truth[lead][~mask[lead]] == 0).all()
    assert scored.any()
    roles = reader.split.roles(Window.of(reader.cube.grid.shape))
    assert (roles[scored] == TRAIN).all()


def test_the_rim_that_the_border_could_reach_is_not_scored(reader: Reader) -> None:
    window = Window(Span(20, 84), Span(0, 64))  # true edge in the west only
    mask = reader.sample(window, 1, TRAIN)[5]
    everything = reader_of(
        make_cube((120, 130), holes=False), h=3, chip=64, validation=0, calibration=0
    )
    mask = everything.sample(window, 1, TRAIN)[5]
    for lead in (1, 2, 3):
        rim = reach(reader.spec.network, lead)
        expected = np.zeros((64, 64))
        expected[rim : 64 - rim, 0 : 64 - rim] = 1
        np.testing.assert_array_equal(mask[lead - 1], expected)


def test_leads_without_truth_are_never_scored(reader: Reader) -> None:
    last = reader.origins[-1]
    mask = reader.sample(Window(Span(0, 64), Span(0, 64)), last, TRAIN)[5]
    assert mask[0].any()
    assert not mask[1:].any()


def test_held_out_blocks_are_scored_whole_and_once(reader: Reader) -> None:
    held = HeldOut(reader, VALIDATION, most=1000, seed=0)
    scored = np.zeros(reader.cube.grid.shape, int)
    halo = reach(reader.spec.network, reader.spec.h)
    for index, (core, origin) in enumerate(held.pairs):
        if origin != reader.origins[0]:
            continue
        rows = core.y.grow(halo).clip(Span(0, reader.cube.grid.shape[0]))
        cols = core.x.grow(halo).clip(Span(0, reader.cube.grid.shape[1]))
        scored[Window(rows, cols).slices] += held[index].mask[0, 0].numpy().astype(int)
    series = reader.cube.data["hm"].values
    roles = reader.split.roles(Window.of(reader.cube.grid.shape))
    origin = reader.origins[0]
    there = np.isfinite(series[origin]) & np.isfinite(series[origin + 1]) & (roles == VALIDATION)
    np.testing.assert_array_equal(scored, there.astype(int))


def test_training_and_inference_see_the_same_channels(reader: Reader) -> None:
    window = Window(Span(10, 74), Span(5, 69))
    arrays = read(reader.cube, window, Span(0, 2), reader.cube.rules)
    shown = assemble(arrays, reader.spec, reader.scaler).tensors()
    for trained, served in zip(reader.sample(window, 1, TRAIN)[:4], shown, strict=True):
        np.testing.assert_array_equal(trained, served)


def test_missing_inputs_are_masked_never_nan(reader: Reader) -> None:
    for array in reader.sample(Window(Span(0, 64), Span(60, 124)), 1, TRAIN):
        assert np.isfinite(array).all()


def test_the_scaler_never_sees_held_out_blocks() -> None:
    plain = make_cube((120, 130))
    reader = reader_of(plain)
    roles = reader.split.roles(Window.of((120, 130)))
    spoiled = plain.copy(deep=True)
    spoiled["hm"] = spoiled["hm"].where(roles == TRAIN, spoiled["hm"] * 0 + 0.5)
    spoiled["hm"].attrs = plain["hm"].attrs
    assert reader_of(spoiled).scaler == reader.scaler


BAD = [
    (make_cube(steps=2), {}, NotEnoughData, r"has 2 time steps and this needs 3"),
    (make_cube((200, 200)), {"chip": 32, "h": 4}, BadArgument, r"chip=32 does not fit a network"),
    (make_cube() * np.nan, {}, NotEnoughData, r"'hm' has no valid pixel to learn from"),
]


@pytest.mark.parametrize(("ds", "options", "error", "text"), BAD, ids=range(len(BAD)))
def test_a_cube_that_cannot_be_learnt_from_says_why(
    ds: xr.Dataset, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        reader_of(ds, **options)
