"""Laws of training."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import load_file, save_file

import hmx
from hmx.cube import enter
from hmx.errors import BadArgument, BundleError, OutputExists, TrainingFailed
from hmx.learn import module
from hmx.learn import train as training
from hmx.learn.module import loss
from hmx.learn.train import Recipe, plan, train
from hmx.models.forecaster import Forecaster
from hmx.options import ModelOptions, TrainOptions
from tests.conftest import ROOT, rms
from tests.factories import make_cube

QUICK = {"history": 2, "hidden": 2, "layers": 1, "chip": 32, "h": 2}


def recipe_of(**options: object) -> Recipe:
    network = ModelOptions(history=2, hidden=2, layers=1)
    fit = {"h": 2, "chip": 32, "epochs": 2, "steps": 2} | options
    return Recipe("hm", (), ("elevation",), network, TrainOptions(**fit))


def same_weights(one: hmx.Bundle, other: hmx.Bundle) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_same_seed_same_weights_another_seed_others() -> None:
    cube = make_cube((64, 64))
    one, two = (train(cube, recipe_of()) for _ in range(2))
    assert same_weights(one, two)
    assert one.digest == two.digest
    assert not same_weights(one, train(cube, recipe_of(seed=1)))


def test_training_beats_persistence_on_growth_that_can_be_learnt(
    cube: xr.Dataset, tmp_path: Path
) -> None:
    past, truth = cube.isel(time=slice(0, -1)), cube["hm"].isel(time=-1)
    model = past.hm.train(
        static=["elevation"], hidden=8, epochs=6, steps=10, chip=72, lr=1e-2, out=tmp_path / "m"
    )
    ahead = past.hm.forecast(h=1, model=model)["hm"].isel(time=0)
    still = past["hm"].isel(time=-1)
    assert rms((ahead - truth).values) < 0.8 * rms((still - truth).values)


def test_the_stored_score_is_the_stored_weights_score(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    fit = TrainOptions(**trained.training["fit"])
    recipe = Recipe("hm", (), ("elevation",), trained.spec.network, fit)
    reader = plan(enter(cube, target="hm", dynamic=(), static=("elevation",)), recipe)
    again = training._scores(Forecaster.load(hmx.load(trained.path)), reader, fit)
    assert again == trained.training["validation"]


def test_the_best_epoch_is_kept_not_the_last(trained: hmx.Bundle) -> None:
    with (trained.path / "training.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert len(losses) == trained.training["epochs_run"]
    assert trained.training["validation"]["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_absent_truth_is_never_counted(cube: xr.Dataset) -> None:
    recipe = recipe_of(h=3)
    reader = plan(enter(cube, target="hm", dynamic=(), static=("elevation",)), recipe)
    from hmx.learn.data import Chips

    batch = next(iter(Chips(reader, 48, batch=4, steps=1, seed=0, epoch=0)))
    network = Forecaster.of(reader.spec, reader.scaler)
    spoiled = batch._replace(truth=torch.where(batch.mask.bool(), batch.truth, 1e6))
    change = reader.scaler.change
    assert torch.equal(loss(network, batch, change), loss(network, spoiled, change))


def test_pixels_of_other_roles_are_not_rehearsed_either(cube: xr.Dataset) -> None:
    from hmx.learn.data import Chips

    reader = plan(enter(cube, target="hm", dynamic=(), static=("elevation",)), recipe_of(h=2))
    batch = next(iter(Chips(reader, 48, batch=4, steps=1, seed=0, epoch=0)))
    network, change = Forecaster.of(reader.spec, reader.scaler), reader.scaler.change
    leads_only = batch._replace(inner=torch.zeros_like(batch.inner))
    nothing = leads_only._replace(mask=torch.zeros_like(batch.mask))
    assert loss(network, batch, change) > loss(network, leads_only, change) > 0
    assert loss(network, nothing, change) == 0


def test_weights_of_the_epoch_that_validated_best_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(losses: list[float]) -> hmx.Bundle:
        told = iter(losses)
        monkeypatch.setattr(module, "relative_error", lambda scores: next(told))
        return train(make_cube((64, 64)), recipe_of(epochs=3, lr=1e-2))

    first, again, last = kept([0.1, 0.2, 0.3]), kept([0.1, 0.3, 0.2]), kept([0.3, 0.2, 0.1])
    assert same_weights(first, again)
    assert not same_weights(first, last)


def test_no_held_out_pixel_changes_the_weights() -> None:
    """Targets of validation and calibration blocks decide when to stop, not what is learnt."""
    plain = make_cube((96, 96), holes=False)
    options = {"epochs": 1, "steps": 2}
    reader = plan(
        enter(plain, target="hm", dynamic=(), static=("elevation",)), recipe_of(**options)
    )
    from hmx.folds import TRAIN
    from hmx.windows import Window

    held = reader.split.roles(Window.of((96, 96))) != TRAIN
    spoiled = plain.copy(deep=True)
    values = spoiled["hm"].values
    values[-1][held] = 1 - values[-1][held]  # the last step is a target only, never an input
    assert same_weights(train(plain, recipe_of(**options)), train(spoiled, recipe_of(**options)))


class Killed(BaseException):
    """Stands for a SIGKILL between two epochs."""


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    cube, out = make_cube((64, 64)), tmp_path / "m"
    recipe = recipe_of(epochs=4)

    def kill(done: int, total: int, text: str) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        train(cube, recipe, out=out, progress=kill)
    assert not out.exists()
    assert (tmp_path / "m.training" / "last.ckpt").is_file()
    epochs: list[int] = []
    resumed = train(cube, recipe, out=out, progress=lambda done, total, text: epochs.append(done))
    assert epochs[0] > 1, "it started over"
    assert same_weights(resumed, train(cube, recipe))
    assert not (tmp_path / "m.training").exists()


def test_ctrl_c_stays_ctrl_c_and_the_run_can_go_on(tmp_path: Path) -> None:
    cube, out, handler = make_cube((64, 64)), tmp_path / "m", signal.getsignal(signal.SIGINT)

    def stop(done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cube, recipe_of(epochs=3), out=out, progress=stop)
    assert signal.getsignal(signal.SIGINT) is handler
    assert same_weights(train(cube, recipe_of(epochs=3), out=out), train(cube, recipe_of(epochs=3)))


def test_checkpoints_of_another_recipe_are_not_resumed(tmp_path: Path) -> None:
    cube, out = make_cube((64, 64)), tmp_path / "m"

    def kill(done: int, total: int, text: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        train(cube, recipe_of(epochs=3), out=out, progress=kill)
    other = recipe_of(epochs=3, lr=1e-3)
    assert same_weights(train(cube, other, out=out), train(cube, other))


def test_a_place_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(
        OutputExists, match=r"holds something that is not a model.*out='models/demo'"
    ):
        make_cube((64, 64)).hm.train(out=tmp_path, static=[], **QUICK)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_loss_that_explodes_says_what_to_type() -> None:
    cube = make_cube((64, 64))
    cube["elevation"] = cube["elevation"] * np.float32(1e30)
    with pytest.raises(TrainingFailed, match=r"the loss became .* smaller learning rate: lr="):
        cube.hm.train(static=["elevation"], lr=1e30, clip=1e30, epochs=3, steps=3, **QUICK)


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(BadArgument, match=r"unknown option 'epoch'.*Did you mean 'epochs'\?"):
        make_cube().hm.train(epoch=3)
    with pytest.raises(BadArgument, match=r"^epochs=0: must be at least 1\.$"):
        make_cube().hm.train(epochs=0)


def test_several_processes_need_a_folder() -> None:
    with pytest.raises(BadArgument, match=r"needs a folder that all of them see"):
        make_cube((64, 64)).hm.train(static=[], devices=2, **QUICK)


def test_dynamic_covariates_are_learnt_from_and_held(tmp_path: Path) -> None:
    cube = make_cube((64, 64), dynamic=("population",))
    model = cube.hm.train(
        static=["elevation"], dynamic=["population"], epochs=1, steps=1, out=tmp_path / "m", **QUICK
    )
    assert model.spec.channels == (2, 2)
    assert cube.hm.forecast(h=2, model=model)["hm"].notnull().any()
    with pytest.raises(KeyError, match="'population' is not in the cube"):
        cube.drop_vars("population").hm.forecast(h=2, model=model)


def test_a_dataarray_trains_and_forecasts_on_its_own() -> None:
    cube = make_cube((64, 64))
    array = cube["hm"].assign_coords(elevation=cube["elevation"])
    model = array.hm.train(epochs=1, steps=1, **QUICK)
    assert model.spec.static == ("elevation",)
    assert isinstance(array.hm.forecast(h=2), xr.DataArray)


def test_without_held_out_blocks_there_are_no_intervals() -> None:
    cube = make_cube((64, 64))
    model = cube.hm.train(static=[], validation=0, calibration=0, epochs=1, steps=1, **QUICK)
    assert model.training["validation"]["leads"] == {}
    with pytest.raises(BadArgument, match="has no calibration"):
        cube.hm.forecast(h=1, level=80)


def test_leads_beyond_the_truth_are_marked_uncalibrated() -> None:
    cube = make_cube((64, 64), steps=4)
    model = cube.hm.train(static=[], epochs=1, steps=1, **{**QUICK, "h": 4})
    fc = cube.hm.forecast(h=3, model=model, level=80)
    assert fc["hm_lo_80"].attrs["uncalibrated_leads"] == [3]
    assert "uncalibrated_leads" not in fc["hm"].attrs


def describe_otherwise(path: Path, change: Any) -> None:
    raw = json.loads((path / "bundle.json").read_text())
    change(raw)
    (path / "bundle.json").write_text(json.dumps(raw))


def reweigh(path: Path, change: Any) -> None:
    weights = load_file(path / "weights.safetensors")
    change(weights)
    save_file(weights, path / "weights.safetensors")


DAMAGES = [
    (describe_otherwise, lambda r: r.update(format=99), r"has format 99 and this version"),
    (describe_otherwise, lambda r: r.pop("scaler"), r"does not describe a model \('scaler'\)"),
    (
        describe_otherwise,
        lambda r: r["spec"]["network"].update(hidden=9),
        r"the weight 'core\.cells\.0\.gates\.weight' has shape .* demands",
    ),
    (reweigh, lambda w: w.pop("increment.bias"), r"lacks the weight 'increment\.bias'"),
    (reweigh, lambda w: w.update(ghost=np.zeros(1)), r"has the weight 'ghost', which its spec"),
    (lambda path, _: (path / "weights.safetensors").write_bytes(b"torn"), None, r"is damaged"),
    (lambda path, _: (path / "weights.safetensors").unlink(), None, r"is damaged"),
    (lambda path, _: (path / "bundle.json").write_text("{"), None, r"is damaged"),
]


@pytest.mark.parametrize(("how", "change", "text"), DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_bundle_names_the_damage_before_any_work(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path, how: Any, change: Any, text: str
) -> None:
    shutil.copytree(trained.path, tmp_path / "m")
    how(tmp_path / "m", change)
    with pytest.raises(BundleError, match=text):
        cube.hm.forecast(h=1, model=tmp_path / "m")


DDP = """
import sys
sys.path.insert(0, {root!r})
from tests.factories import make_cube
if __name__ == "__main__":
    make_cube((64, 64)).hm.train(
        static=["elevation"], history=2, hidden=2, layers=1, chip=32, h=2, epochs=2, steps=2,
        devices=2, strategy="ddp", device="cpu", out={out!r},
    )
"""


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(DDP.format(root=str(ROOT), out=str(tmp_path / "m")))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stderr
    together = hmx.load(tmp_path / "m")
    alone = train(make_cube((64, 64)), recipe_of())
    for name, weight in alone.weights.items():  # the same chips, dealt to two
        np.testing.assert_allclose(together.weights[name], weight, atol=0.02)


def test_offline_tracking_leaves_a_run_to_sync(
    cube: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    recipe = Recipe(
        "hm", (), (), ModelOptions(history=2, hidden=2, layers=1),
        TrainOptions(h=2, chip=32, epochs=1, steps=1), {"wandb": "offline", "project": "toy"},
    )  # fmt: skip
    train(cube, recipe, out=tmp_path / "m")
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
