"""Laws of learning a mapper from samples."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from hmx.errors import BadArgument, NotEnoughData, TrainingFailed
from hmx.mapping.inputs import RawWindows, fit_band_scaler, scaled
from hmx.mapping.options import Loss, TargetTransform
from hmx.mapping.target import central, error_of, fit_target, forward, inverse
from hmx.mapping.train.course import Course, Session
from hmx.mapping.train.fitting import copy_trunk, fit_network, trunk_of
from hmx.mapping.train.learning import cross_fit, learn
from hmx.mapping.train.module import TrainingTensors, predict, score, scorer, training_tensors
from hmx.networks.cnn_lstm import build
from hmx.progress import Progress
from hmx.scores import regression_scores
from hmx.splits.site_folds import balance, hold_out
from hmx.training.tracking import loggers
from tests.make.planted import STEPS, fit_of, samples, spec_of

ROOT = Path(__file__).resolve().parents[3]
ROWS, NEW = np.arange(192), np.arange(192, 256)


def skills_on_new(planted: int, *moved: int, **network: object) -> list[float]:
    """R2 on samples not learnt from, if the signal then comes so many steps later."""
    raw, values = samples(600, planted=planted)
    spec, fit, every = spec_of(**network), fit_of(epochs=20), np.arange(600)
    learnt = learn(raw, values, every[:500], spec=spec, fit=fit, groups=every)
    truth, found = forward(values[500:], learnt.target), []
    for steps in moved:
        new = RawWindows(np.roll(raw.dynamic, steps, axis=1), raw.static).at(every[500:])
        found.append(regression_scores(truth, learnt.centre(learnt.predict(new)))["r2"])
    return found


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("planted", [0, -1])
def test_a_signal_of_one_step_is_learnt_and_told_from_other_steps(planted: int, skip: bool) -> None:
    as_learnt, moved = skills_on_new(planted, 0, 1, skip=skip)
    assert as_learnt > 0.6
    assert moved < 0.1  # what was last is now first


LEARNT = [
    *(("none", loss) for loss in get_args(Loss)),
    *((transform, "huber") for transform in get_args(TargetTransform)[1:]),
    ("log1p", "composite_l1"),
    ("log1p", "quantile"),
]


@pytest.mark.parametrize(("transform", "loss"), LEARNT)
def test_every_loss_and_transform_learns_the_same_in_every_unit(transform: str, loss: str) -> None:
    raw, values = samples()
    spec = spec_of(knots=(0.1, 0.5, 0.9) if loss == "quantile" else ())
    fit, found = fit_of(transform=transform, loss=loss), []
    for unit in (1.0, 10.0):
        learnt = learn(raw, values * unit, ROWS, spec=spec, fit=fit, groups=np.arange(256))
        found.append(central(learnt.centre(learnt.predict(raw.at(NEW))), learnt.target) / unit)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
    assert regression_scores(values[NEW], found[0])["r2"] > 0.4


def test_noise_is_not_learnt() -> None:
    raw, values = samples(planted=None)
    learnt = learn(raw, values, ROWS, spec=spec_of(), fit=fit_of(), groups=np.arange(256))
    z = learnt.centre(learnt.predict(raw.at(NEW)))
    assert regression_scores(forward(values[NEW], learnt.target), z)["r2"] < 0.1


def test_nothing_is_taken_from_samples_that_are_not_learnt_from() -> None:
    raw, values = samples()
    order = np.concatenate([ROWS, np.random.default_rng(1).permutation(NEW)])
    other = RawWindows(raw.dynamic[order], raw.static[order])
    other.dynamic[NEW] += 100
    truth = np.where(np.arange(256) < 192, values, 10 * values)[order]
    fit = fit_of(epochs=2)
    first, second = (
        learn(some, wanted, ROWS, spec=spec_of(), fit=fit, groups=np.arange(256))
        for some, wanted in ((raw, values), (other, truth))
    )
    assert first.scaler == second.scaler
    assert first.target == second.target
    for name, weight in first.weights().items():
        np.testing.assert_array_equal(weight, second.weights()[name])


def test_scalers_see_nothing_of_validation_samples() -> None:
    raw, values = samples()
    groups, fit = np.arange(256), fit_of(validation=0.25, epochs=1)
    held = ROWS[hold_out(groups[ROWS], fit.validation, seed=fit.seed)]
    first = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=groups)
    raw.dynamic[held] += 9
    values[held] = 10 * np.random.default_rng(1).permutation(values[held])
    second = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=groups)
    assert first.scaler == second.scaler
    assert first.target == second.target
    for name, weight in first.weights().items():  # of the only epoch, whatever its score
        np.testing.assert_array_equal(weight, second.weights()[name])


def test_the_same_seed_gives_the_same_network_and_another_does_not() -> None:
    raw, values = samples()
    first, second, third = (
        learn(raw, values, ROWS, spec=spec_of(), fit=fit_of(seed=s, epochs=2), groups=ROWS)
        for s in (0, 0, 1)
    )
    for name, weight in first.weights().items():
        np.testing.assert_array_equal(weight, second.weights()[name])
    assert any((w != third.weights()[n]).any() for n, w in first.weights().items())


def test_the_best_weights_score_again_what_was_logged_of_them() -> None:
    raw, values = samples(planted=None)  # noise: validation gets worse, and the best is early
    spec, fit = spec_of(dropout=0.3), fit_of(epochs=12, patience=3, lr=3e-2)
    target = fit_target(values[ROWS], fit.transform)
    windows = scaled(raw, spec, fit_band_scaler(raw, ROWS, spec))
    found = fit_network(
        windows, values, ROWS, options=spec.network, fit=fit, target=target, valid_rows=NEW
    )
    best = int(np.argmax([row["val_r2"] for row in found.history]))
    assert found.epochs == 1 + best < len(found.history) < 12
    assert found.loss == pytest.approx(found.history[best]["val_loss"], abs=1e-7)
    judged = training_tensors(
        windows.at(NEW),
        forward(values[NEW], target),
        error_of(values[NEW], target, sigma=1.0, relative=0.1),
    )
    again = predict(found.network, judged.dynamic, judged.static)
    assert score(scorer(spec.network, fit), again, judged.truth, judged.sigma) == pytest.approx(
        found.loss, abs=1e-7
    )
    scale = {"val": lambda v: v * target.std, "val_native": lambda v: inverse(v, target)}
    for prefix, turn in scale.items():
        pair = turn(judged.truth.numpy()), turn(again.numpy()[:, 0])
        for name, value in regression_scores(*pair).items():
            if name != "n":
                logged = found.history[best][f"{prefix}_{name}"]
                assert logged == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_without_validation_all_samples_are_learnt_from() -> None:
    raw, values = samples(64)
    fit = fit_of(epochs=2, runs=2)
    learnt = learn(raw, values, np.arange(64), spec=spec_of(), fit=fit, groups=np.arange(64))
    assert [set(one.history[-1]) for one in learnt.kept.values()] == [{"train_loss", "lr"}] * 2
    assert learnt.spec.members == 2
    assert learnt.runs["train_loss"]["n"] == 2
    assert "val_loss" not in learnt.runs


def test_of_several_runs_the_best_on_validation_is_kept() -> None:
    raw, values = samples()
    fit = fit_of(epochs=2, runs=3, ensemble=False, validation=0.25)
    learnt = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=np.arange(256))
    assert len(learnt.kept) == learnt.spec.members == 1
    assert learnt.runs["val_loss"]["n"] == 3
    assert learnt.runs["val_loss"]["sd"] > 0
    (best,) = learnt.kept.values()
    assert best.loss < learnt.runs["val_loss"]["mean"]
    assert {"val_r2", "val_rmse", "val_rpiq", "val_ccc"} <= set(learnt.runs)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    raw, values = samples()
    fit = fit_of(epochs=2, runs=2)
    learnt = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=np.arange(256))
    predicted = learnt.predict(raw.at(NEW))
    np.testing.assert_allclose(learnt.centre(predicted), predicted[:, :, 0].mean(axis=0))
    assert {name.split(".")[0] for name in learnt.weights()} == {"0", "1"}


def test_quantiles_cover_what_they_say() -> None:
    raw, values = samples(600, planted=None)
    spec = spec_of(knots=(0.1, 0.5, 0.9), skip=False)
    fit = fit_of(epochs=15, lr=3e-3)
    learnt = learn(raw, values, np.arange(400), spec=spec, fit=fit, groups=np.arange(600))
    new = np.arange(400, 600)
    low, middle, high = learnt.predict(raw.at(new))[0].T
    truth = forward(values[new], learnt.target)
    assert np.mean((low < truth) & (truth < high)) == pytest.approx(0.8, abs=0.12)
    assert np.mean(truth < middle) == pytest.approx(0.5, abs=0.12)


def test_inner_folds_give_each_sample_what_has_not_seen_it() -> None:
    raw, values = samples()
    own = slice(0, 64)  # a group that is marked, and has values of its own: seen, it is known
    raw.static[own] += 3
    values[own] *= 50
    groups, every = np.arange(256) // 64, np.arange(256)
    spec, fit = spec_of(), fit_of(runs=2)
    seen = learn(raw, values, every, spec=spec, fit=fit, groups=groups)
    target = seen.target
    rounds = [(every[groups != k], every[groups == k]) for k in range(4)]
    parts = cross_fit(raw, values, rounds, spec=spec, fit=fit, groups=groups, target=target)
    inner = np.empty((2, 256, 1))
    for train, test, said in parts:
        assert not set(groups[train]) & set(groups[test])
        inner[:, test] = said
    known, guess = (inverse(seen.centre(z), target)[own] for z in (seen.predict(raw), inner))
    assert np.median(known) > 0.5 * np.median(values[own])
    assert np.median(guess) < 0.2 * np.median(values[own])


def test_groups_stay_together_and_folds_fill_alike() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 500)
    fold = balance(groups, 5, 0, method="any")
    assert all(len(np.unique(fold[groups == group])) == 1 for group in np.unique(groups))
    assert np.ptp(np.bincount(fold)) < 30
    held = hold_out(groups, 0.2, seed=0)
    assert 0.15 < held.mean() < 0.25
    assert not set(groups[held]) & set(groups[~held])
    assert not hold_out(groups, 0.0, seed=0).any()


def test_too_few_groups_for_the_inner_folds_are_refused() -> None:
    with pytest.raises(NotEnoughData, match=r"3 groups \(any\), and k=5 folds need one each"):
        balance(np.array([0, 1, 2, 2]), 5, 0, method="any")


def test_a_loss_that_is_no_number_ends_the_fit_in_words() -> None:
    raw, values = samples(64)
    with pytest.raises(TrainingFailed, match=r"the loss became (nan|inf) at epoch \d\. Train"):
        learn(raw, values, np.arange(64), groups=np.arange(64), spec=spec_of(), fit=fit_of(lr=1e3))


def test_a_trunk_is_taken_over_and_the_head_is_new() -> None:
    raw, values = samples()
    known = learn(raw, values, ROWS, spec=spec_of(), fit=fit_of(), groups=np.arange(256))
    few = np.arange(24)
    fit = fit_of(epochs=1, lr=1e-9)
    moved = learn(
        raw, values, few, spec=spec_of(), fit=fit, groups=few, init_from=known.weights()
    ).kept[0]
    assert moved.transferred is not None
    assert not moved.transferred.skipped
    for name, weight in moved.weights().items():
        same = np.allclose(weight, known.weights()[name], atol=1e-5)
        assert same != name.startswith(("head", "skip"))
        assert (name in moved.transferred.names) == same


def test_of_another_network_what_fits_is_taken_and_the_rest_is_told() -> None:
    torch.manual_seed(0)
    options = spec_of().network
    other = build(spec_of(hidden=5).network, dynamic=3, static=2, steps=STEPS)
    weights = {name: value.numpy() for name, value in other.state_dict().items()}
    taken = copy_trunk(build(options, dynamic=3, static=2, steps=STEPS), weights)
    assert taken.names == ("convs.0.weight", "convs.0.bias", "convs.1.weight", "convs.1.bias")
    assert str(taken).startswith("4 weights copied; lstm.weight_ih_l0, ")
    with pytest.raises(BadArgument, match="init_from has no weight of this network's trunk"):
        copy_trunk(build(options, dynamic=3, static=2, steps=STEPS), {"head.bias": np.zeros(1)})


def test_other_bands_take_over_all_but_what_sees_them() -> None:
    spec = spec_of()
    made = build(spec.network, dynamic=3, static=2, steps=STEPS)
    weights = {name: value.numpy() for name, value in made.state_dict().items()}
    assert trunk_of(weights, spec, spec).keys() == weights.keys()
    for other in (replace(spec, dynamic=spec.dynamic[::-1]), spec_of(coarse=(3,))):
        assert weights.keys() - trunk_of(weights, other, spec).keys() == {"convs.0.weight"}


def test_windows_are_turned_and_mirrored_whole() -> None:
    square = torch.arange(9.0).reshape(1, 1, 1, 3, 3)
    many = TrainingTensors(
        square.expand(200, 2, 3, 3, 3), square[:, 0].expand(200, 2, 3, 3), *torch.zeros(2, 200)
    )
    turned = many.turned(np.random.default_rng(0))
    assert len({tuple(one.flatten().tolist()) for one in turned.dynamic[:, 0, 0]}) == 8
    assert (turned.dynamic == turned.static[:, None, :1]).all()  # all bands and steps alike
    assert (turned.dynamic[..., 1, 1] == 4).all()  # the centre stays
    rows, columns = turned.dynamic[:, 0, 0].diff(dim=1).abs(), turned.dynamic[:, 0, 0].diff().abs()
    assert set((rows.flatten(1)[:, 0] * columns.flatten(1)[:, 0]).tolist()) == {3.0}  # neighbours


DDP = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
import torch
from hmx.mapping.train.learning import learn
from tests.make.planted import fit_of, samples, spec_of

if __name__ == "__main__":
    torch.set_num_threads(1)
    raw, values = samples()
    fit = fit_of(epochs=2, runs=2, devices=2, parallel="ddp", augment=False, validation=0.2)
    learnt = learn(raw, values, np.arange(192), spec=spec_of(), fit=fit, groups=np.arange(256))
    rank = torch.distributed.get_rank()
    np.savez({out!r} + f"/rank{{rank}}.npz", **learnt.weights())
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(DDP.format(root=str(ROOT), out=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    raw, values = samples()
    fit = fit_of(epochs=2, runs=2, augment=False, validation=0.2)
    alone = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=np.arange(256)).weights()
    first, second = np.load(tmp_path / "rank0.npz"), np.load(tmp_path / "rank1.npz")
    for name, weight in alone.items():  # the same batches, dealt to two
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], weight, atol=1e-4)


def test_each_run_is_logged_where_it_is_told(tmp_path: Path) -> None:
    raw, values = samples()
    fit = fit_of(epochs=2, runs=2, validation=0.25)
    logs = [loggers(tmp_path / name) for name in ("first", "second")]
    every = np.arange(256)
    session = Session(logs.__getitem__)
    learnt = learn(raw, values, ROWS, spec=spec_of(), fit=fit, groups=every, session=session)
    for name, one in zip(("first", "second"), learnt.kept.values(), strict=True):
        (path,) = (tmp_path / name).glob("*/metrics.csv")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found = [float(row["val_loss"]) for row in rows if row["val_loss"]]
        assert found == pytest.approx([row["val_loss"] for row in one.history], rel=1e-6)
        assert {"train_loss", "lr"} <= set(rows[0])


def test_progress_names_the_run() -> None:
    raw, values = samples(64)
    told: list[tuple[int, int, str]] = []
    fit = fit_of(epochs=2, runs=2)
    every = np.arange(64)
    course = Course(2, progress=Progress(on_step=lambda *said: told.append(said)))
    session = course.session(lambda run: ())
    learn(raw, values, every, spec=spec_of(), fit=fit, groups=every, session=session)
    assert [(done, of) for done, of, _ in told] == [(1, 2), (2, 2)] * 2
    assert told[0][2].startswith("training network 1 of 2: train_loss ")
    assert told[-1][2].startswith("training network 2 of 2: train_loss ")
    assert "; then 1 network, 2 folds, importance, forest, calibration; about " in told[0][2]
    assert "; then 2 folds, importance, forest, calibration; about " in told[-1][2]
