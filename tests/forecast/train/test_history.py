"""Laws of a history that is left open: decided once, by the maps that teach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import hmx
from hmx.cli.main import hmx as command
from hmx.cube.cube import as_cube
from hmx.errors import NotEnoughData
from hmx.forecast.backtest.rounds import refit_rounds
from hmx.forecast.folds import fold_plan
from hmx.forecast.options import split_fitting
from hmx.forecast.train.recipe import TrainSetup, plan, taught
from hmx.networks.options import ModelOptions
from hmx.progress import Progress
from tests.make.cubes import make_cube, write_catalog

SMALL: dict[str, Any] = {"width": 3, "trunk": (1,), "hidden": 2, "context": (1, 3), "chip": 32}
QUICK: dict[str, Any] = {**SMALL, "arch": "dilated", "epochs": 1, "steps": 1, "static": []}


def recipe_of(**options: Any) -> TrainSetup:
    network, fit = split_fitting({**SMALL, "arch": "dilated", **options})
    return TrainSetup("hm", (), (), network, fit)


def note_of(steps: int, **options: Any) -> str:
    """What training writes about a series of some steps."""
    recipe = recipe_of(**options)
    ds = make_cube((64, 64), steps=steps, static=())
    return taught(plan(as_cube(ds, target="hm", dynamic=(), static=()), recipe), recipe)


@given(maps=st.integers(1, 12), h=st.integers(1, 10))
def test_an_open_history_teaches_as_many_leads_as_any_and_is_long_if_it_can(
    maps: int, h: int
) -> None:
    found = ModelOptions().settled(maps, h).history
    learnt = {history: min(h, maps - history) for history in (2, 3)}
    assert found in learnt
    assert learnt[found] == max(learnt.values())
    assert found == 3 or learnt[2] > learnt[3]


@given(maps=st.integers(1, 12), h=st.integers(1, 10), history=st.integers(1, 8))
def test_a_given_history_is_always_obeyed(maps: int, h: int, history: int) -> None:
    options = ModelOptions(history=history)
    assert options.settled(maps, h) is options
    assert options.past_steps == options.least_history == history


@pytest.mark.parametrize(
    ("steps", "options", "text"),
    [
        (7, {}, "7 maps with a history of 3 can teach 4 leads"),
        (5, {"h": 2}, "5 maps with a history of 3 can teach 2 leads"),
        (
            5,
            {},
            "5 maps with a history of 2 can teach 3 leads (a history of 3: 2); h=4 asked: lead 4 "
            "will be extrapolated from the network's own mean",
        ),
        (
            3,
            {},
            "3 maps with a history of 2 can teach 1 lead (a history of 3: none); h=4 asked: leads "
            "2-4 will be extrapolated from the network's own mean",
        ),
        (
            7,
            {"h": 6, "history": 3},
            "7 maps with a history of 3 can teach 4 leads; h=6 asked: leads 5-6 will be "
            "extrapolated from the network's own mean",
        ),
        (7, {"until": 2010, "h": 2}, "5 maps with a history of 3 can teach 2 leads"),
        (4, {"history": 1}, "4 maps with a history of 1 can teach 3 leads; h=4 asked: lead 4 "
         "will be extrapolated from the network's own mean"),
    ],
)  # fmt: skip
def test_training_writes_how_many_leads_the_series_can_teach(
    steps: int, options: dict[str, Any], text: str
) -> None:
    assert note_of(steps, **options) == text


def test_five_maps_train_and_forecast_four_leads_with_the_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ds = make_cube((64, 64), steps=5)
    model = ds.hm.train(**QUICK)
    fc = ds.hm.forecast(h=4).load()
    assert (model.spec.network.history, model.spec.h) == (2, 3)
    assert model.training["network"]["history"] == 2
    assert fc.sizes["time"] == 4
    assert (fc["hm"].notnull().values == ds["hm"][-1].notnull().values).all()
    assert fc.attrs["extrapolated_leads"] == [4]
    lines = capsys.readouterr().err.splitlines()
    assert sum("5 maps with a history of 2 can teach 3 leads" in line for line in lines) == 1
    assert sum("lead 4 goes beyond the 3 leads" in line for line in lines) == 1


def test_three_maps_teach_one_lead_and_two_say_what_is_missing() -> None:
    ds = make_cube((64, 64), steps=3)
    model = ds.hm.train(progress=Progress(), **QUICK)
    assert (model.spec.network.history, model.spec.h) == (2, 1)
    fc = ds.hm.forecast(h=3, progress=Progress())
    assert fc.attrs["extrapolated_leads"] == [2, 3]
    assert np.isfinite(fc["hm"].values[-1]).any()
    with pytest.raises(NotEnoughData, match=r"2 time steps and this needs 3.*history=1"):
        ds.isel(time=slice(2)).hm.train(**QUICK)
    with pytest.raises(NotEnoughData, match=r"3 time steps and this needs 4.*history=2"):
        ds.hm.train(history=3, **QUICK)
    with pytest.raises(NotEnoughData, match="until=1995 leaves 2 of 3 steps"):
        ds.hm.train(until=1995, **QUICK)


def test_folds_are_those_of_the_network_that_training_settles_on() -> None:
    """The reach of a ConvLSTM, and so the buffer, depends on its history."""
    ds = make_cube((96, 96), steps=5)
    options = {"arch": "convlstm", "dilation": (1,), "trunk": (1,), "context": (), "block": 24}
    buffers = []
    for given_history in ({}, {"history": 2}, {"history": 3}):
        network, fit = split_fitting({**options, **given_history})
        buffers.append(fold_plan(ds, fit, network=network).splits[0].buffer)
    assert buffers[0] == buffers[1] != buffers[2]


@pytest.mark.parametrize(
    ("steps", "options", "origins"),
    [
        # with a history of 2 the origin of 1995 (two maps) teaches nothing
        (4, {}, [2]),
        (7, {"history": 3}, [4, 5]),
        (7, {}, [4, 5]),
    ],
)
def test_each_origin_of_a_backtest_has_a_history_of_its_own(
    steps: int, options: dict[str, Any], origins: list[int]
) -> None:
    cube = as_cube(make_cube((16, 16), steps=steps), target="hm")
    rounds = refit_rounds(cube, recipe_of(h=3, **options), None, h=3, folds=None)
    assert [round_.origin for round_ in rounds] == origins


def test_a_backtest_of_an_open_history_needs_four_maps() -> None:
    cube = as_cube(make_cube((16, 16), steps=3), target="hm")
    with pytest.raises(NotEnoughData, match=r"3 time steps and this needs 4.*history=1"):
        refit_rounds(cube, recipe_of(h=3), None, h=3, folds=None)
    with pytest.raises(NotEnoughData, match="history=2 needs 3"):
        refit_rounds(cube, recipe_of(h=3), ["1995"], h=3, folds=None)


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five maps, and a catalog that leaves history and leads at their defaults."""
    folder = tmp_path_factory.mktemp("five")
    path = write_catalog(
        folder,
        make_cube((48, 56), steps=5),
        model={"arch": "dilated", "history": None},
        train={"h": 4, "calibration": 0.3},
        forecast={"h": 4},
    )
    return Path(path)


def test_a_catalog_of_five_maps_forecasts_four_leads(catalog: Path) -> None:
    made = run("forecast", catalog)
    assert made.exit_code == 0, made.output
    notes = made.stderr.splitlines()
    assert sum("model: 5 maps with a history of 2 can teach 3 leads" in n for n in notes) == 1
    assert sum("forecast: lead 4 goes beyond the 3 leads" in n for n in notes) == 1
    store = hmx.open_cube(catalog.parent / "toy_forecast.zarr")
    assert store.sizes["time"] == 4
    assert store.attrs["extrapolated_leads"] == [4]
    shown = run("info", catalog.parent / "toy_forecast.zarr").output
    assert "later leads lead 4: extrapolated from the model's own mean" in shown
    planned = run("plan", catalog, "--h", 5)
    assert planned.exit_code == 0, planned.output
    assert "plan: leads 4-5 go beyond the 3 leads" in planned.stderr


def test_a_model_whose_history_was_left_open_is_current(catalog: Path) -> None:
    again = run("train", catalog)
    assert "toy.model exists and is current" in again.stderr
    other = run("train", catalog, "--set", "model.history=2")
    assert "toy.model exists and is current" in other.stderr  # as it was decided
    bundle = catalog.parent / "toy.model" / "bundle.json"
    assert json.loads(bundle.read_text())["spec"]["network"]["history"] == 2
    assert "dilated, direct, 3 leads" in run("info", catalog.parent / "toy.model").output


def test_a_stored_spec_always_has_a_number() -> None:
    ds = make_cube((64, 64), steps=7)
    planned = plan(as_cube(ds, target="hm", dynamic=(), static=()), recipe_of(history=None))
    assert planned.reader.spec.network.history == 3
    assert replace(planned.reader.spec, network=ModelOptions()).network.history == 3
