"""Laws of visits: how many steps an epoch has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hmx.cube.cube import as_cube
from hmx.forecast.options import split_fitting
from hmx.forecast.train.data import Chips, Draw
from hmx.forecast.train.recipe import TrainSetup, chip_of, plan
from hmx.forecast.train.visits import steps_per_epoch
from hmx.splits import TRAIN
from hmx.windows import Window
from tests.make.cubes import make_cube

SMALL: dict[str, Any] = {
    "trunk": [1],
    "width": 4,
    "hidden": 4,
    "context": [1],
    "history": 2,
    "h": 1,
    "chip": 48,
}


def steps_of(side: int, **options: Any) -> tuple[int, float]:
    """Return the steps of an epoch on a raster of a side, and the visits to a training pixel."""
    setup = TrainSetup(None, (), (), *split_fitting({**SMALL, **options}))
    planned = plan(as_cube(make_cube((side, side), steps=4, holes=False)), setup)
    reader, fit = planned.reader, setup.fit
    draw = Draw.of(reader, planned.scanned.changed, 0.0)
    steps = steps_per_epoch(reader, draw, fit, valid=planned.scanned.valid)
    side = chip_of(fit, reader.spec, reader.cube.grid.shape)
    chips = Chips(reader, draw, side, batch=fit.batch, steps=steps, key=(5, 5))
    seen = sum(int((batch.weight[:, 0] > 0).sum()) for batch in chips)
    ours = (reader.split.roles(Window.of(reader.cube.grid.shape)) == TRAIN).sum()
    return steps, seen * fit.epochs / float(ours)


def test_a_training_pixel_is_seen_about_60_times() -> None:
    steps, visits = steps_of(104)
    assert 3 < steps < 13
    assert visits == pytest.approx(60, rel=0.25)


def test_epochs_share_the_visits() -> None:
    few, many = (steps_of(104, epochs=epochs)[0] for epochs in (20, 40))
    assert few == pytest.approx(2 * many, abs=1)


def test_an_epoch_has_3_steps_at_least_and_13_at_most() -> None:
    assert steps_of(48, epochs=40)[0] == 3
    assert steps_of(64, epochs=1)[0] == 13


def test_steps_that_are_given_are_kept() -> None:
    assert steps_of(64, steps=3)[0] == 3
    assert np.isfinite(steps_of(64, steps=3)[1])
