"""Laws of training."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import load_file, save_file

import hmx
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, BundleError, OutputExists, TrainingFailed
from hmx.files.durable import Folder
from hmx.forecast.options import TrainOptions, split_fitting
from hmx.forecast.train.anchor import fit_anchor
from hmx.forecast.train.calibrate import fit_shift
from hmx.forecast.train.data import Batch, Chips, Draw, Reader
from hmx.forecast.train.fitting import fit
from hmx.forecast.train.judge import ValidationScores
from hmx.forecast.train.losses import loss
from hmx.forecast.train.module import Fit, validation_windows
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, plan
from hmx.forecast.train.train import train
from hmx.forecast.train.visits import FitLength
from hmx.networks.forecaster import Forecaster
from hmx.networks.quantile import MOST_TILT
from hmx.pictures.panel import draw_panel
from hmx.progress import Progress
from hmx.splits import CALIBRATION, TEST, TRAIN, UNUSED, VALIDATION
from hmx.training.tracking import PANEL
from hmx.uncertainty.calibration import Calibration
from hmx.windows import Window
from tests.conftest import ROOT, rms
from tests.make.cubes import make_cube

SMALL = {"width": 3, "trunk": (1,), "hidden": 2, "context": (1, 3)}
QUICK = {"history": 2, **SMALL, "chip": 32, "h": 2, "final": False}


def recipe_of(**options: Any) -> TrainSetup:
    network, fit = split_fitting({**QUICK, "epochs": 2, "steps": 2, **options})
    return TrainSetup("hm", (), ("elevation",), network, fit)


def planned(ds: xr.Dataset, recipe: TrainSetup) -> TrainPlan:
    return plan(as_cube(ds, target="hm", dynamic=(), static=("elevation",)), recipe)


def reader_of(ds: xr.Dataset, recipe: TrainSetup) -> Reader:
    return planned(ds, recipe).reader


def first_batch(ds: xr.Dataset, recipe: TrainSetup, side: int = 48) -> tuple[Reader, Batch]:
    found = planned(ds, recipe)
    draw = Draw.of(found.reader, found.scanned.changed, 0.0)
    return found.reader, next(iter(Chips(found.reader, draw, side, batch=4, steps=1, key=(0, 0))))


def same_weights(one: hmx.Bundle, other: hmx.Bundle) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(one.weights[name], other.weights[name]) for name in one.weights
    )


def text_of(bundle: hmx.Bundle) -> str:
    """All of bundle.json, but for how long it took."""
    raw = bundle.describe()
    raw["training"] = {k: v for k, v in raw["training"].items() if k != "seconds"}
    return json.dumps(raw, sort_keys=True)


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
        static=["elevation"], width=8, trunk=(1, 2), context=(1, 3), chip=48,
        epochs=6, steps=10, lr=1e-2, ema=0.9, final=False, out=tmp_path / "m",
    )  # fmt: skip
    ahead = past.hm.forecast(h=1, model=model)["hm"].isel(time=0)
    still = past["hm"].isel(time=-1)
    assert rms((ahead - truth).values) < 0.8 * rms((still - truth).values)


def test_the_stored_score_is_the_stored_weights_score(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    fit = TrainOptions(**trained.training["fit"])
    reader = reader_of(cube, TrainSetup("hm", (), ("elevation",), trained.spec.network, fit))
    network, judge = Forecaster.load(hmx.load(trained.path)), ValidationScores(reader)
    fit_anchor(network, reader, seed=fit.seed)  # a fit follows the size of each origin's last step
    windows = validation_windows(reader, fit)
    for index in range(len(windows)):
        judge.add([judge.score(network, windows[index])])
    assert {"loss": judge.loss(), "leads": judge.leads()} == trained.training["validation"]


def test_the_best_epoch_is_kept_not_the_last(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    with (trained.path / "training.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert 1 + losses.index(min(losses)) == trained.training["epochs_run"]
    # as free as in training, its means have the loss that was logged
    assert loss_with(cube, trained, MOST_TILT) == pytest.approx(min(losses), rel=1e-4)
    # they are saved closer to the anchor's, which serves this growth better
    assert trained.training["anchor"]["own_trust"] == 0
    assert trained.training["validation"]["loss"] < min(losses) / 2


def loss_with(cube: xr.Dataset, bundle: hmx.Bundle, most_tilt: float) -> float:
    """Score a model on its validation windows with another limit of its tilt."""
    fit = TrainOptions(**bundle.training["fit"])
    reader = reader_of(cube, TrainSetup("hm", (), ("elevation",), bundle.spec.network, fit))
    network, judge = Forecaster.load(hmx.load(bundle.path)), ValidationScores(reader)
    fit_anchor(network, reader, seed=fit.seed)
    network.most_tilt.fill_(most_tilt)
    windows = validation_windows(reader, fit)
    judge.add([judge.score(network, windows[index]) for index in range(len(windows))])
    return judge.loss()


def test_absent_truth_is_never_counted(cube: xr.Dataset) -> None:
    reader, batch = first_batch(cube, recipe_of(h=3))
    network = Forecaster.of(reader.spec, reader.scaler)
    assert (batch.weight == 0).any()
    spoiled = batch._replace(truth=torch.where(batch.weight > 0, batch.truth, 1e6))
    sizes = reader.sizes
    assert torch.equal(loss(network, batch, sizes), loss(network, spoiled, sizes))


def test_pixels_of_other_roles_are_not_rehearsed_either(cube: xr.Dataset) -> None:
    reader, batch = first_batch(cube, recipe_of(h=2, strategy="recursive"))
    network, sizes = Forecaster.of(reader.spec, reader.scaler), reader.sizes
    leads_only = batch._replace(inner=torch.zeros_like(batch.inner))
    nothing = leads_only._replace(weight=torch.zeros_like(batch.weight))
    assert loss(network, batch, sizes) > loss(network, leads_only, sizes) > 0
    assert loss(network, nothing, sizes) == 0


def test_the_loss_is_the_weighted_crps_in_usual_changes_of_each_step(cube: xr.Dataset) -> None:
    from hmx.networks.quantile import crps

    reader, batch = first_batch(cube, recipe_of(h=2))
    network, sizes = Forecaster.of(reader.spec, reader.scaler), reader.sizes
    sizes = sizes * torch.linspace(0.5, 2, len(sizes))[:, None]  # steps differ in size
    first = reader.origins.start
    assert len(set(batch.origin.tolist())) > 1, "chips of several steps"
    with torch.no_grad():
        knots, total = network(batch.seen, h=2), 0.0
        for chip, lead in product(range(len(batch.truth)), range(2)):
            error = crps(knots[chip, lead], batch.truth[chip, lead], network.knots)
            error = error / sizes[first + int(batch.origin[chip]), lead]
            total += float((error * batch.weight[chip, lead]).sum())
        most = max(int((batch.weight[:, lead] > 0).sum()) for lead in range(2))
        assert float(loss(network, batch, sizes)) == pytest.approx(total / most, rel=1e-5)


def test_steps_inside_the_history_are_in_usual_changes_of_their_own(cube: xr.Dataset) -> None:
    reader, batch = first_batch(cube, recipe_of(h=1, strategy="recursive"))
    network, first = Forecaster.of(reader.spec, reader.scaler), reader.origins.start
    inside = batch._replace(weight=torch.zeros_like(batch.weight))
    for chip in range(len(batch.truth)):
        one, origin = inside.window(chip), first + int(batch.origin[chip])
        whole = loss(network, one, reader.sizes)
        for step in range(origin - 1, origin + 1):  # the step that ends at the origin is inside
            sizes = reader.sizes.clone()
            sizes[step] *= 2
            assert (loss(network, one, sizes) < whole) == (step == origin - 1)


def test_weights_of_the_epoch_that_validated_best_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(losses: list[float]) -> hmx.Bundle:
        monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
        told = iter([*losses, 0.5])  # and once more for what is written down
        monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
        return train(make_cube((64, 64)), recipe_of(epochs=3, lr=1e-2))

    first, again, last = kept([0.1, 0.2, 0.3]), kept([0.1, 0.3, 0.2]), kept([0.3, 0.2, 0.1])
    assert same_weights(first, again)
    assert not same_weights(first, last)
    assert [bundle.training["epochs_run"] for bundle in (first, again, last)] == [1, 1, 3]


def test_a_running_average_is_what_is_judged_and_kept() -> None:
    cube, recipe = make_cube((64, 64)), recipe_of(epochs=1, steps=3, lr=1e-2, ema=0.99)
    averaged, last = train(cube, recipe), train(cube, recipe_of(epochs=1, steps=3, lr=1e-2, ema=0))
    assert not same_weights(averaged, last)
    assert set(averaged.weights) == set(last.weights)
    reader = reader_of(cube, recipe)
    draw = Draw.of(reader, np.ones_like(reader.split.table), 0.0)
    module = Fit(Forecaster.of(reader.spec, reader.scaler), reader, recipe.fit, draw, steps=3)
    assert module.best is module.average.module  # type: ignore[union-attr]


@pytest.mark.parametrize("cooling", [False, True])
def test_the_rate_rises_stays_and_falls_in_a_last_fit(*, cooling: bool) -> None:
    recipe = recipe_of(epochs=10, lr=1e-2, heads="shared")  # which alone has sizes of leads
    reader = reader_of(make_cube((64, 64)), recipe)
    draw = Draw.of(reader, np.ones_like(reader.split.table), 0.0)
    network = Forecaster.of(reader.spec, reader.scaler)
    module = Fit(network, reader, recipe.fit, draw, steps=10, cooling=cooling)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(100):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    body, head, sizes = np.array(rates).T
    np.testing.assert_allclose(body, 3 * head)  # the layers of the body
    np.testing.assert_array_equal(head, sizes)
    assert len(optimizer.param_groups[0]["params"]) > 1
    assert (np.diff(head[:15]) > 0).all()
    expected = 1e-2 * (1 - np.arange(100) / 100 if cooling else np.ones(100))
    np.testing.assert_allclose(head[15:], expected[15:])


NONE = Calibration()
SPLITS = {
    "held out": {},
    "with test blocks": {"test": 0.2},
    "folds": {"fold": 1, "folds": 3},
}


@pytest.mark.parametrize("options", SPLITS.values(), ids=SPLITS)
def test_no_held_out_pixel_changes_the_weights(options: dict[str, Any]) -> None:
    """Targets of held-out blocks decide when to stop and how wide, not what is learnt."""
    plain = make_cube((96, 96), holes=False)
    recipe = recipe_of(epochs=1, **options)
    reader = reader_of(plain, recipe)
    roles = reader.split.roles(Window.of((96, 96)))
    held = roles != TRAIN
    assert {VALIDATION, CALIBRATION} <= set(np.unique(roles).tolist())
    assert (TEST in roles) == bool(options)
    spoiled = plain.copy(deep=True)
    values = spoiled["hm"].values
    values[-1][held] = 1 - values[-1][held]  # the last step is a target only, never an input
    assert reader_of(spoiled, recipe).scaler == reader.scaler
    assert same_weights(train(plain, recipe), train(spoiled, recipe))


NETS = {
    "dilated": {"maxima": True, "ema": 0.9, "focus": 0.5, "runs": 2, "ensemble": True},
    "convlstm": {
        "arch": "convlstm",
        "strategy": "recursive",
        "trunk": (),
        "final": True,
        "epochs": 1,
    },
}


@pytest.mark.parametrize("options", NETS.values(), ids=NETS)
def test_nothing_after_until_changes_a_byte(options: dict[str, Any], tmp_path: Path) -> None:
    """Weights, scales, context, calibration, and all that is said of them."""
    plain = make_cube((96, 96), steps=6, dynamic=("roads",))
    recipe = recipe_of(until="2000-01-01", calibration=0.2, **options)
    recipe = replace(recipe, dynamic=("roads",))
    draw = np.random.default_rng(0)
    permuted = plain.copy(deep=True)
    for name in ("hm", "roads"):
        later = permuted[name].values[3:]
        permuted[name].values[3:] = draw.permuted(later.reshape(3, -1), axis=1).reshape(later.shape)
    one = train(plain, recipe, out=tmp_path / "one")
    assert one.calibration.leads >= 1, "there must be a calibration to compare"
    for number, spoiled in enumerate((permuted, plain.isel(time=slice(0, 3)))):
        other = train(spoiled, recipe, out=tmp_path / str(number))
        assert text_of(other) == text_of(one)
        files = [path / "weights.safetensors" for path in (one.path, other.path)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_step_up_to_until_does_change_what_is_learnt() -> None:
    """Else the law above would say nothing."""
    plain = make_cube((96, 96), steps=6)
    spoiled = plain.copy(deep=True)
    spoiled["hm"].values[2] = spoiled["hm"].values[2][::-1]
    one, other = (train(ds, recipe_of(until=2000)) for ds in (plain, spoiled))
    assert not same_weights(one, other)
    assert one.scaler != other.scaler


def test_a_final_fit_sees_all_blocks_and_keeps_the_calibration() -> None:
    cube = make_cube((96, 96))
    options = {"epochs": 2, "steps": 4, "calibration": 0.2, "lr": 1e-2}
    plain, final = (train(cube, recipe_of(**options, final=f)) for f in (False, True))
    # the networks of both promise other totals, so only the shift differs
    unshifted, other = (replace(one.calibration, shift=()) for one in (final, plain))
    assert unshifted.as_dict() == other.as_dict()
    whole, anchor = planned(cube, recipe_of(**options)).whole(), final.training["anchor"]
    network = Forecaster.load(final)
    fit_anchor(network, whole, seed=0)
    trust = anchor["trust"] * anchor.get("own_trust", 0.0)
    shift = fit_shift([network], whole, unshifted, seed=0, trust=trust)
    np.testing.assert_allclose(final.calibration.shift, shift, atol=1e-9)
    assert final.calibration.leads
    assert final.scaler == plain.scaler
    assert not same_weights(final, plain)
    assert final.training["validation"] == plain.training["validation"]
    assert final.training["roles"] is None, "no block is unseen"
    assert plain.training["roles"]["shape"] == [96, 96]
    found = planned(cube, recipe_of(**options))
    before, after = found.reader.split, found.whole().split
    assert (after.table[before.table != UNUSED] == TRAIN).all()
    assert (after.table[before.table == UNUSED] == UNUSED).all()
    assert after.buffer == 0


@pytest.mark.parametrize("small", [False, True])
def test_a_final_fit_goes_on_from_the_first_but_on_a_small_raster(
    monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    cube, seen, starts, cools = make_cube((64, 64)), [], [], []

    def spied(*given: Any, start: Any = None, **named: Any) -> Any:
        starts.append(start is not None)
        cools.append(named.get("cooling", False))
        return fit(*given, start=start, **named)

    def tell(done: int, total: int, text: str) -> None:
        seen.append((done, total, text.partition(":")[0]))

    monkeypatch.setattr("hmx.forecast.train.train.fit", spied)
    monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
    monkeypatch.setattr("hmx.forecast.train.visits._LARGE", 1e9 if small else 0)
    monkeypatch.setattr("hmx.forecast.train.visits._SHORTEST", 1)
    told = iter([0.3, 0.1, 0.2, 0.5, *[1.0] * 9])
    monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
    model = train(cube, recipe_of(epochs=3, final=True), progress=tell)
    assert model.training["epochs_run"] == 2
    assert starts == [False, not small]  # the others start from random weights
    assert cools == starts  # a rate that falls would leave random weights half learnt
    lasts = 2 if small else 1  # the best number, or half of it
    what = "training on all blocks"
    assert seen[3 : 3 + lasts] == [(1 + epoch, lasts, what) for epoch in range(lasts)]
    assert {text for *_, text in seen[3 + lasts :]} == {"dependence"}


def test_a_fit_ends_when_epochs_gain_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
    told = iter([0.5, 0.495, 0.492, 0.3, *[0.2] * 9])
    monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
    lines: list[str] = []
    cube, progress = make_cube((64, 64)), Progress(on_note=lines.append)
    ended = train(cube, recipe_of(epochs=6, patience=2, final=False), progress=progress)
    assert ended.training["epochs_run"] == 3  # of the three that were run, the last was best
    assert "training: ended after epoch 3, as 2 epochs gained nothing more" in lines


@pytest.mark.parametrize(("last", "gains"), [(0.3, True), (0.399, False)])
def test_a_fit_that_still_gains_in_its_last_epochs_names_more_of_them(
    last: float, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
    told = iter([0.5, 0.4, 0.399, last, *[0.2] * 9])
    monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
    lines: list[str] = []
    cube, progress = make_cube((64, 64)), Progress(on_note=lines.append)
    train(cube, recipe_of(epochs=4, patience=3, final=False), progress=progress)
    assert [line for line in lines if "still rose" in line] == [
        "training: the skill still rose in the last of 4 epochs; more epochs may raise it further "
        "(train.epochs: 8)"
    ] * gains


def test_a_small_raster_has_fewer_epochs_and_the_console_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    cube, progress = make_cube((64, 64)), Progress(on_note=lines.append)
    monkeypatch.setattr("hmx.forecast.train.train.fit_length", lambda *_, **__: FitLength(1, 2))
    model = train(cube, recipe_of(epochs=4, final=False), progress=progress)
    assert model.training["epochs_run"] <= 2
    assert [line for line in lines if "by heart" in line] == [
        "training: 2 epochs of 1 steps; more would learn so small a raster by heart "
        "(train.steps chooses others)"
    ]
    lines.clear()
    train(cube, recipe_of(epochs=2, final=False), progress=progress)
    assert not [line for line in lines if "by heart" in line]


def test_few_validation_blocks_choose_no_epoch_and_serve_the_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cube = make_cube((96, 96), holes=False)
    reader = reader_of(cube, recipe_of())
    few = [len(reader.split.windows(role)) for role in (VALIDATION, CALIBRATION)]
    assert 0 < few[0] < 4
    told = iter([0.1, 0.5, 0.5, 0.1])
    monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
    roles = []
    monkeypatch.setattr(
        "hmx.forecast.train.train.calibrate", lambda *_, **how: roles.append(how["roles"]) or NONE
    )
    model = train(cube, recipe_of(epochs=3, patience=1))
    assert model.training["epochs_run"] == 3
    monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
    told = iter([0.1, 0.5, 0.5, 0.1])
    assert train(cube, recipe_of(epochs=3, patience=1)).training["epochs_run"] == 1
    assert roles == [(CALIBRATION, VALIDATION), (CALIBRATION,)]


@pytest.mark.parametrize("best", [0, 1])
def test_the_better_of_two_runs_is_kept(best: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = make_cube((64, 64))
    alone = train(cube, recipe_of(epochs=1)) if best == 0 else None
    told = iter([0.5, 0.5, 0.4, 0.4] if best else [0.4, 0.4, 0.5, 0.5])
    monkeypatch.setattr(ValidationScores, "loss", lambda judge: next(told))
    both = train(cube, recipe_of(epochs=1, runs=2))
    assert both.training["kept"] == [best]
    assert both.spec.members == 1
    assert set(both.training["validation"]["runs"]["loss"]) == {"mean", "sd", "n"}
    if alone is not None:  # the split is that of the first seed
        assert same_weights(both, alone)


def test_an_ensemble_forecasts_the_mixture_of_its_members(tmp_path: Path) -> None:
    cube = make_cube((96, 96))
    options = {"runs": 2, "ensemble": True, "calibration": 0.2, "lr": 1e-2, "steps": 6}
    model = train(cube, recipe_of(**options), out=tmp_path / "m")
    assert model.spec.members == 2
    assert model.training["kept"] == [0, 1]
    members = [
        replace(
            model, spec=replace(model.spec, members=1), weights=dict(model.member(i)), path=None
        )
        for i in (0, 1)
    ]
    assert not same_weights(*members)
    asked = {"h": 2, "level": [80], "quantiles": [0.5]}
    mixed = cube.hm.forecast(model=model, **asked).load()
    apart = [cube.hm.forecast(h=2, model=m)["hm"].values for m in members]
    middle = (apart[0] + apart[1]) / 2
    spread = np.nanmax(np.abs(apart[0] - apart[1]))
    assert spread > 1e-4, "members must differ to be compared"
    np.testing.assert_allclose(mixed["hm"], middle, rtol=0, atol=0.25 * spread + 1e-3)
    again = hmx.load(hmx.load(model.path).save(tmp_path / "copy").path)
    xr.testing.assert_identical(cube.hm.forecast(model=again, **asked).load(), mixed)
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(again.weights[name], weight)


def test_a_final_ensemble_refits_every_member() -> None:
    cube = make_cube((64, 64))
    options = {"runs": 2, "ensemble": True, "epochs": 1}
    plain, final = (train(cube, recipe_of(**options, final=f)) for f in (False, True))
    for index in (0, 1):
        one, other = plain.member(index), final.member(index)
        assert any(not np.array_equal(one[name], other[name]) for name in one)


class Killed(BaseException):
    """Stands for a SIGKILL between two epochs."""


FOUR = {"epochs": 4}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    """Four epochs that nobody disturbs."""
    out = tmp_path_factory.mktemp("four") / "m"
    return train(make_cube((64, 64)), recipe_of(**FOUR), out=out)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    four: hmx.Bundle, tmp_path: Path
) -> None:
    cube, out = make_cube((64, 64)), tmp_path / "m"
    recipe = recipe_of(**FOUR)

    def kill(done: int, total: int, text: str) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        train(cube, recipe, out=out, progress=kill)
    assert not out.exists()
    assert (tmp_path / "m.training" / "run-0" / "last.ckpt").is_file()
    epochs: list[int] = []
    resumed = train(cube, recipe, out=out, progress=lambda done, total, text: epochs.append(done))
    assert epochs[0] > 1, "it started over"
    assert same_weights(resumed, four)
    assert not (tmp_path / "m.training").exists()


def test_the_best_checkpoint_is_saved_before_the_last_and_each_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmx.forecast.train.module._FEWEST_BLOCKS", 1)
    saved: list[str] = []
    inner = Folder.write

    def write(folder: Folder, name: str, data: bytes) -> None:
        saved.append(name)
        inner(folder, name, data)

    monkeypatch.setattr(Folder, "write", write)
    train(make_cube((64, 64)), recipe_of(epochs=3, final=False), out=tmp_path / "m")
    kept = [name for name in saved if name.endswith(".ckpt")]
    assert kept.count("last.ckpt") == 3
    assert kept[:2] == ["best.ckpt", "last.ckpt"]
    assert kept[-1] == "last.ckpt", (
        "a kill in between would keep a best that is later than the last"
    )


def test_the_log_of_a_killed_run_has_each_epoch_once(four: hmx.Bundle, tmp_path: Path) -> None:
    cube, recipe, rows = make_cube((64, 64)), recipe_of(**FOUR), []
    for death in range(2):

        def kill(done: int, total: int, text: str, at: int = death + 2) -> None:
            if done == at:
                raise Killed

        with pytest.raises(Killed):
            train(cube, recipe, out=tmp_path / "m", progress=kill)
    train(cube, recipe, out=tmp_path / "m")
    for path in (four.path, tmp_path / "m"):
        text = (path / "training.csv").read_text()
        rows.append([{**row, "wait_share": ""} for row in csv.DictReader(text.splitlines())])
    assert [row["epoch"] for row in rows[0]] == ["0", "1", "2", "3"]
    assert rows[0] == rows[1]


STAGES = {"epochs": 2, "runs": 2, "final": True, "patience": 9}


@pytest.fixture(scope="module")
def undisturbed() -> hmx.Bundle:
    """First run, second run, final fit: two epochs each."""
    return train(make_cube((64, 64)), recipe_of(**STAGES))


@pytest.mark.parametrize("moment", [1, 3, 5])
def test_a_run_killed_in_any_stage_ends_with_the_same_bytes(
    undisturbed: hmx.Bundle, tmp_path: Path, moment: int
) -> None:
    cube, out, recipe = make_cube((64, 64)), tmp_path / "m", recipe_of(**STAGES)
    calls = [0]

    def kill(done: int, total: int, text: str) -> None:
        calls[0] += 1
        if calls[0] == moment + 1:
            raise Killed

    with pytest.raises(Killed):
        train(cube, recipe, out=out, progress=kill)
    resumed = train(cube, recipe, out=out)
    assert same_weights(resumed, undisturbed)
    assert text_of(resumed) == text_of(undisturbed)


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
        cube.hm.train(
            static=["elevation"], lr=1e3, clip=1e9, epochs=3, steps=3, heads="shared", **QUICK
        )


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
    derived = len(model.spec.context.names("hm"))
    assert model.spec.channels == (2, 2 + derived, 0)
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
    model = cube.hm.train(
        static=[],
        epochs=1,
        steps=1,
        **{**QUICK, "h": 4, "arch": "dilated", "strategy": "recursive"},
    )
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
    (
        describe_otherwise,
        lambda r: r.pop("scaler"),
        r"a model: scaler: this key is required",
    ),
    (
        describe_otherwise,
        lambda r: r["spec"]["network"].update(width=9),
        r"the weight 'body\.trunk\.entry\.weight' has shape .* demands",
    ),
    (reweigh, lambda w: w.pop("head.bias"), r"lacks the weight 'head\.bias'"),
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
from tests.make.cubes import make_cube
if __name__ == "__main__":
    make_cube((64, 64)).hm.train(
        static=["elevation"], history=2, width=3, hidden=2, trunk=(1, 2), context=(1, 3), chip=32,
        h=2, epochs=2, steps=2, devices=2, parallel="ddp", device="cpu", out={out!r},
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
    alone = train(make_cube((64, 64)), recipe_of(final=True))
    for name, weight in alone.weights.items():  # the same chips, dealt to two
        np.testing.assert_allclose(together.weights[name], weight, atol=0.02)


def test_no_panel_is_drawn_of_a_model_that_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    inner = draw_panel

    def draw(*given: Any, **named: Any) -> Any:
        drawn.append(named["title"])
        return inner(*given, **named)

    monkeypatch.setattr("hmx.forecast.train.train.draw_panel", draw)
    cube, recipe = make_cube((64, 64)), recipe_of(epochs=1, steps=1, validation=0, calibration=0)
    train(cube, recipe)
    assert not drawn
    train(cube, recipe, out=tmp_path / "m")
    assert len(drawn) == 1
    assert (tmp_path / "m" / PANEL).read_bytes().startswith(b"\x89PNG")


def test_offline_tracking_leaves_a_run_to_sync(
    cube: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    recipe = replace(
        recipe_of(epochs=1, steps=1), static=(), track={"wandb": "offline", "project": "toy"}
    )
    train(cube, recipe, out=tmp_path / "m")
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
