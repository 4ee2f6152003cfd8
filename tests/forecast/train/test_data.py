"""Laws of training samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, NotEnoughData
from hmx.forecast.options import split_fitting
from hmx.forecast.train.data import Chips, Draw, HeldOutWindows, Reader, Sample, rotated
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, plan
from hmx.networks.forecaster import reach
from hmx.splits import TRAIN, VALIDATION
from hmx.windows import Span, Window
from tests.make.cubes import make_cube

SMALL = {"width": 3, "trunk": (1,), "context": (1, 3), "history": 2}


def plan_of(ds: xr.Dataset, **options: Any) -> TrainPlan:
    network, fit = split_fitting({**SMALL, **options})
    recipe = TrainSetup("hm", (), ("elevation",), network, fit)
    return plan(as_cube(ds, target="hm", dynamic=(), static=("elevation",)), recipe)


def reader_of(ds: xr.Dataset, **options: Any) -> Reader:
    return plan_of(ds, **options).reader


@pytest.fixture(scope="module")
def made() -> TrainPlan:
    return plan_of(make_cube((120, 130)), h=3, chip=64)


@pytest.fixture(scope="module")
def reader(made: TrainPlan) -> Reader:
    return made.reader


def chips(made: TrainPlan, *, focus: float = 0.0, **options: Any) -> Chips:
    settings = {"batch": 4, "steps": 2, "key": (0, 0)} | options
    draw = Draw.of(made.reader, made.scanned.changed, focus)
    return Chips(made.reader, draw, 64, **settings)


def arrays_of(sample: Sample) -> list[np.ndarray]:
    return [*sample.inputs.tensors(), sample.truth, sample.weight, sample.inner, sample.distance]


def test_a_chip_is_a_function_of_seed_epoch_and_number(made: TrainPlan) -> None:
    def same(one: Sample, other: Sample) -> bool:
        return all(map(np.array_equal, arrays_of(one), arrays_of(other)))

    chip = chips(made).chip(0, 3)
    assert same(chip, chips(made).chip(0, 3))
    assert not same(chip, chips(made).chip(0, 2))
    assert not same(chip, chips(made).chip(1, 3))
    assert not same(chip, chips(made, key=(0, 1)).chip(0, 3))
    assert not same(chip, chips(made, key=(1, 0)).chip(0, 3))


def test_processes_share_an_epoch_without_overlap(made: TrainPlan) -> None:
    alone = [batch.seen.past.numpy() for batch in chips(made)]
    ranks = [[b.seen.past.numpy() for b in chips(made, rank=r, world=2)] for r in (0, 1)]
    for step in range(2):
        dealt = np.empty_like(alone[step])
        dealt[0::2], dealt[1::2] = ranks[0][step], ranks[1][step]
        np.testing.assert_array_equal(dealt, alone[step])


def test_only_training_pixels_with_truth_are_scored(reader: Reader) -> None:
    scored = np.zeros(reader.cube.grid.shape, bool)
    for window in (Window(Span(0, 64), Span(0, 64)), Window(Span(50, 114), Span(60, 124))):
        sample = reader.sample(window, 1, TRAIN)
        mask, truth = sample.weight > 0, sample.truth
        scored[window.slices] |= mask.any(axis=0)
        series = reader.cube.data["hm"].values[(slice(None), *window.slices)]
        for lead in range(3):
            assert np.isfinite(series[2 + lead][mask[lead]]).all()
            np.testing.assert_array_equal(truth[lead][mask[lead]], series[2 + lead][mask[lead]])
            assert (truth[lead][~mask[lead]] == 0).all()
    assert scored.any()
    roles = reader.split.roles(Window.of(reader.cube.grid.shape))
    assert (roles[scored] == TRAIN).all()


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_the_rim_that_the_border_could_reach_is_not_scored(strategy: str) -> None:
    window = Window(Span(20, 84), Span(0, 64))  # true edge in the west only
    everything = reader_of(
        make_cube((120, 130), holes=False), h=3, chip=64, validation=0, calibration=0,
        strategy=strategy,
    )  # fmt: skip
    mask = everything.sample(window, 1, TRAIN).weight > 0
    for lead in (1, 2, 3):
        rim = reach(everything.spec.network, lead)
        expected = np.zeros((64, 64))
        expected[rim : 64 - rim, 0 : 64 - rim] = 1
        np.testing.assert_array_equal(mask[lead - 1], expected)


def test_pixels_weigh_by_their_area() -> None:
    globe = make_cube((60, 72), crs="EPSG:4326", pixel=1.0, corner=(10.0, 75.0), holes=False)
    reader = reader_of(globe, h=1, chip=48, validation=0, calibration=0)
    weight = reader.sample(Window.of((60, 72)), 1, TRAIN).weight[0]
    rows = weight.max(axis=1)
    areas = reader.cube.grid.cell_areas()
    np.testing.assert_allclose(rows, np.ravel(areas) / np.mean(areas), rtol=1e-5)
    assert rows[-1] > 2 * rows[0], "else this says nothing"


def test_leads_without_truth_are_never_scored(reader: Reader) -> None:
    last = reader.origins[-1]
    mask = reader.sample(Window(Span(0, 64), Span(0, 64)), last, TRAIN).weight
    assert mask[0].any()
    assert not mask[1:].any()


def test_held_out_blocks_are_scored_whole_and_once(reader: Reader) -> None:
    held = HeldOutWindows(reader, VALIDATION, most=1000, seed=0)
    scored = np.zeros(reader.cube.grid.shape, int)
    halo = reach(reader.spec.network, reader.spec.h)
    for index, (core, origin) in enumerate(held.pairs):
        if origin != reader.origins[0]:
            continue
        rows = core.y.grow(halo).clip(Span(0, reader.cube.grid.shape[0]))
        cols = core.x.grow(halo).clip(Span(0, reader.cube.grid.shape[1]))
        scored[Window(rows, cols).slices] += held[index].weight[0, 0].numpy() > 0
    series = reader.cube.data["hm"].values
    roles = reader.split.roles(Window.of(reader.cube.grid.shape))
    origin = reader.origins[0]
    there = np.isfinite(series[origin]) & np.isfinite(series[origin + 1]) & (roles == VALIDATION)
    np.testing.assert_array_equal(scored, there.astype(int))


def test_missing_inputs_are_masked_never_nan(reader: Reader) -> None:
    sample = reader.sample(Window(Span(0, 64), Span(60, 124)), 1, TRAIN)
    for array in arrays_of(sample):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_arotateded_sample_is_the_sample_of_therotateded_cube(quarters: int, mirror: bool) -> None:
    """Aspect is a direction, and turns with the map."""

    def turned(array: np.ndarray) -> np.ndarray:
        moved = np.rot90(array, quarters, axes=(-2, -1))
        return moved[..., ::-1] if mirror else moved

    plain = make_cube((64, 64), pixel=100.0)
    other = plain.copy(deep=True)
    for name in ("hm", "elevation"):
        other[name].values[...] = turned(plain[name].values)
    options = {"h": 2, "chip": 32, "validation": 0, "calibration": 0, "maxima": True}
    one, two = reader_of(plain, **options), reader_of(other, **options)
    anywhere = replace(
        one.split, blocks=((TRAIN,) * len(one.split.blocks[0]),) * len(one.split.blocks)
    )
    one, two = (replace(reader, scaler=one.scaler, split=anywhere) for reader in (one, two))
    names = one.spec.static_names()
    assert any(name.endswith("aspect_sin") for name in names)
    window = Window.of((64, 64))
    want = two.sample(window, 1, TRAIN)
    got = rotated(one.sample(window, 1, TRAIN), one.spec, quarters, mirror)
    for mine, theirs in zip(arrays_of(got), arrays_of(want), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5)
    aspects = [i for i, name in enumerate(names) if "aspect" in name]
    assert np.abs(want.inputs.static[aspects]).max() > 0.5, "slopes must face somewhere"


def test_jitter_moves_known_static_covariates_and_nothing_else(lively: TrainPlan) -> None:
    """By one number per chip; validity, context and aspect stay what they are."""
    cube = make_cube((96, 96), holes=False)
    cube["elevation"].values[:, 30:50] = np.nan
    made = plan_of(cube, h=2, chip=64, validation=0, calibration=0, maxima=True)
    names = made.reader.spec.static_names()
    assert any("aspect" in name for name in names)
    known = names.index("known")
    offsets = set()
    for slot in range(4):
        plain, moved = (chips(made, jitter=by).chip(0, slot) for by in (0.0, 2.0))
        kept = replace(moved, inputs=replace(moved.inputs, static=plain.inputs.static))
        for one, other in zip(arrays_of(plain), arrays_of(kept), strict=True):
            np.testing.assert_array_equal(one, other)
        by = moved.inputs.static - plain.inputs.static
        there = plain.inputs.static[known] > 0
        assert 0 < there.mean() < 1
        assert (by[1:] == 0).all()
        assert (by[0, ~there] == 0).all()
        assert np.ptp(by[0, there]) < 1e-5
        offsets.add(round(float(by[0, there][0]), 3))
    assert len(offsets) == 4
    assert max(map(abs, offsets)) > 0.5


def test_an_oblong_chip_is_never_laid_on_its_side(reader: Reader) -> None:
    sample = reader.sample(Window(Span(0, 40), Span(0, 64)), 1, TRAIN)
    for quarters in range(4):
        assert rotated(sample, reader.spec, quarters, True).inner.shape == (40, 64)


@pytest.fixture(scope="module")
def lively() -> TrainPlan:
    """Change in one corner only."""
    cube = make_cube((192, 192), holes=False)
    still = np.ones((192, 192), bool)
    still[:60, :60] = False
    cube["hm"].values[:, still] = cube["hm"].values[0, still]
    return plan_of(cube, h=2, chip=32, block=48, buffer=0, validation=0.1, calibration=0.1)


@pytest.mark.parametrize("focus", [0.0, 0.5, 0.7])
def test_focus_keeps_the_expected_loss(lively: TrainPlan, focus: float) -> None:
    """What a block counts, times how often it is drawn, is its share of the blocks."""
    draw = Draw.of(lively.reader, lively.scanned.changed, focus)
    assert draw.odds.sum() == pytest.approx(1)
    np.testing.assert_allclose(draw.odds * draw.weights, 1 / len(draw.blocks))
    many = Chips(lively.reader, draw, 32, batch=1, steps=1, key=(0, 0))
    found = [many.chip(step, 0) for step in range(600)]
    scored = [float((chip.weight[0] > 0).sum()) for chip in found]
    sums = [float(chip.weight[0].sum()) for chip in found]
    plain = Chips(lively.reader, Draw.of(lively.reader, lively.scanned.changed, 0.0), 32,
                  batch=1, steps=1, key=(1, 0))  # fmt: skip
    wanted = np.mean([float(plain.chip(step, 0).weight[0].sum()) for step in range(600)])
    noise = 4 * np.std(sums) / np.sqrt(600)
    assert noise < 0.35 * wanted
    assert np.mean(sums) == pytest.approx(wanted, abs=noise)
    if focus:
        assert abs(np.mean(scored) - np.mean(sums)) > 0, "weights must matter"


def test_focus_draws_change_more_often(lively: TrainPlan) -> None:
    def share(focus: float) -> float:
        draw = Draw.of(lively.reader, lively.scanned.changed, focus)
        many = Chips(lively.reader, draw, 32, batch=1, steps=1, key=(0, 0))
        moved = []
        for step in range(150):
            chip = many.chip(step, 0)
            moved.append(float((chip.distance == 0).mean()))
        return float(np.mean(moved))

    anywhere, focused = share(0.0), share(0.8)
    assert focused > 2 * anywhere


def test_without_change_focus_draws_anywhere(lively: TrainPlan) -> None:
    draw = Draw.of(lively.reader, np.zeros_like(lively.scanned.changed), 0.9)
    np.testing.assert_allclose(draw.odds, 1 / len(draw.blocks))
    np.testing.assert_allclose(draw.weights, 1)


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
    (
        make_cube((200, 200)),
        {"chip": 32, "h": 4, "trunk": (4, 8)},
        BadArgument,
        r"chip=32 does not fit a network",
    ),
    (make_cube() * np.nan, {}, NotEnoughData, r"'hm' has no valid pixel to learn from"),
]


@pytest.mark.parametrize(("ds", "options", "error", "text"), BAD, ids=range(len(BAD)))
def test_a_cube_that_cannot_be_learnt_from_says_why(
    ds: xr.Dataset, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        reader_of(ds, **options)
