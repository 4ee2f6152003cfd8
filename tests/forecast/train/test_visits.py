"""Laws of visits: how many steps an epoch has."""

from __future__ import annotations

from typing import Any

import pytest

from hmx.cube.cube import as_cube
from hmx.forecast.options import TrainOptions, split_fitting
from hmx.forecast.train.data import Chips, Draw
from hmx.forecast.train.recipe import TrainSetup, chip_of, plan
from hmx.forecast.train.visits import fit_length, last_epochs, length_of
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


def length_on(side: int, regular: bool = False, **options: Any) -> tuple[int, int, float]:
    """Return steps and epochs of a fit on a raster of a side, and visits to a training pixel."""
    setup = TrainSetup(None, (), (), *split_fitting({**SMALL, **options}))
    planned = plan(as_cube(make_cube((side, side), steps=4, holes=False)), setup)
    reader, fit = planned.reader, setup.fit
    draw = Draw.of(reader, planned.scanned.changed, 0.0)
    valid = planned.scanned.valid
    steps, epochs, _ = fit_length(reader, draw, fit, valid=valid, regular=regular)
    side = chip_of(fit, reader.spec, reader.cube.grid.shape)
    chips = Chips(reader, draw, side, batch=fit.batch, steps=steps, key=(5, 5))
    seen = sum(int((batch.weight[:, 0] > 0).sum()) for batch in chips)
    ours = (reader.split.roles(Window.of(reader.cube.grid.shape)) == TRAIN).sum()
    return steps, epochs, seen * epochs / float(ours)


@pytest.mark.parametrize("epochs", [20, 40])
@pytest.mark.parametrize(("side", "regular", "goal"), [(104, False, 60), (76, True, 120)])
def test_a_training_pixel_is_seen_about_60_times(
    side: int, regular: bool, goal: int, epochs: int
) -> None:
    """And twice as often where past steps foresee one another."""
    steps, run, visits = length_on(side, regular, epochs=epochs)
    assert 3 <= steps < 13
    assert run <= epochs
    assert visits == pytest.approx(goal, rel=0.25)


@pytest.mark.parametrize("wanted", [0.0, 45.0, 61.0, 100.0, 259.0, 300.0, 519.0, 1e6])
@pytest.mark.parametrize("most", [1, 5, 20, 40, 200])
def test_steps_and_epochs_share_the_steps_of_a_fit(wanted: float, most: int) -> None:
    steps, epochs, large = length_of(wanted, TrainOptions(epochs=most))
    assert 3 <= steps <= 13
    assert 1 <= epochs <= most
    assert large == (wanted >= 260)
    if most >= 20:
        goal = min(max(wanted, 60), 13 * most)
        assert abs(steps * epochs - goal) <= max(steps, epochs) / 2, "to rounding"
    elif most * 13 < wanted:
        assert (steps, epochs) == (13, most)


def test_steps_that_are_given_are_kept_and_so_are_their_epochs() -> None:
    assert length_on(64, steps=3, epochs=40)[:2] == (3, 40)
    assert length_of(1e6, TrainOptions(steps=3, epochs=7)) == (3, 7, True)


def test_the_last_fit_has_half_the_epochs_and_ten_at_least() -> None:
    assert [last_epochs(first, most=40) for first in (1, 9, 20, 21, 40)] == [10, 10, 10, 11, 20]
    assert last_epochs(3, most=4) == 4, "and no more than a fit may have"
