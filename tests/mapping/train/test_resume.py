"""Laws of a mapper's training and scoring that are stopped: what is finished is not done again."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import hmx
from hmx.mapping.evaluate.score import score
from hmx.mapping.options import MapScoreOptions
from hmx.mapping.train import learning
from hmx.mapping.train.fitting import fit_network
from hmx.mapping.train.train import train
from hmx.progress import Outlook, Progress
from hmx.training.work import Finished, work_folder
from tests.make.soilworlds import make_points
from tests.make.wandb_files import records
from tests.mapping.train.test_train import recipe_of
from tests.training.test_tracking import items


class Heard:
    """Progress that keeps what it is given, and stops the work at a text."""

    def __init__(self, stop: str = "never"):
        self.notes: list[str] = []
        self.steps: list[tuple[int, int, str]] = []
        self.stop = stop

    @property
    def progress(self) -> Progress:
        return Progress(self.notes.append, self.step)

    def step(self, done: int, total: int, text: str) -> None:
        self.steps.append((done, total, text))
        if text.startswith(self.stop):
            raise KeyboardInterrupt

    def about(self, word: str) -> list[str]:
        return [note for note in self.notes if word in note]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the networks that are fitted."""
    seeds: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        seeds.append(options["fit"].seed)
        return fit_network(*args, **options)

    monkeypatch.setattr(learning, "fit_network", counted)
    return seeds


@pytest.mark.parametrize(
    ("stop", "kept", "said"),
    [
        ("training network 2 of 2", 1, "1 of 2 networks were trained before"),
        ("holding out: fold 2 of 2, network 2", 5, "2 of 2 networks, 1 of 2 folds were trained"),
        ("calibration", 6, "2 of 2 networks, 2 of 2 folds were trained before"),
    ],
)
def test_a_stopped_training_goes_on_and_ends_with_the_same_bytes(
    land: xr.Dataset,
    trained_mapper: hmx.MapBundle,
    tmp_path: Path,
    fits: list[int],
    stop: str,
    kept: int,
    said: str,
) -> None:
    out, heard = tmp_path / "m", Heard(stop)
    with pytest.raises(KeyboardInterrupt):
        train(land, make_points(land), recipe_of(), out=out, progress=heard.progress)
    assert [path.name for path in tmp_path.iterdir()] == [".m.training"]
    fits.clear()
    again = Heard()
    train(land, make_points(land), recipe_of(), out=out, progress=again.progress)
    assert len(fits) == 6 - kept
    assert again.about(said), again.notes
    for name in ("weights.safetensors", "training.csv"):
        assert (out / name).read_bytes() == (trained_mapper.path / name).read_bytes(), name
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def _train_until_killed(land: xr.Dataset, out: Path, threads: int) -> None:
    """Train a mapper in a process that dies after an epoch of the fourth of six networks."""
    torch.set_num_threads(threads)  # sums of a network depend on them

    def step(done: int, total: int, text: str) -> None:
        if text.startswith("holding out: fold 1 of 2, network 2"):
            os.kill(os.getpid(), signal.SIGKILL)

    train(land, make_points(land), recipe_of(), out=out, progress=Progress(on_step=step))


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path: Path, fits: list[int]
) -> None:
    out = tmp_path / "m"
    process = multiprocessing.get_context("spawn").Process(
        target=_train_until_killed, args=(land, out, torch.get_num_threads())
    )
    process.start()
    process.join(timeout=300)
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    heard = Heard()
    again = train(land, make_points(land), recipe_of(), out=out, progress=heard.progress)
    assert len(fits) == 3  # the fourth anew, and the two of the other fold
    assert heard.about("2 of 2 networks were trained before"), heard.notes
    for name in ("weights.safetensors", "training.csv"):
        assert (out / name).read_bytes() == (trained_mapper.path / name).read_bytes(), name
    assert again.digest == trained_mapper.digest
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_training_that_went_on_after_its_last_network_sends_all_of_them(
    land: xr.Dataset, tmp_path: Path
) -> None:
    recipe = replace(recipe_of(epochs=1), track={"wandb": "offline", "project": "soils"})
    out, sent = tmp_path / "m", []
    for heard in (Heard("holding out"), Heard()):
        with suppress(KeyboardInterrupt):
            train(land, make_points(land), recipe, out=out, progress=heard.progress)
        names: set[str] = set()
        for folder in (tmp_path / "wandb").glob("offline-run-*"):
            for record in records(folder):
                names |= set(items(record.history)) if record.HasField("history") else set()
                names |= {record.artifact.name} if record.HasField("artifact") else set()
        sent.append(names & {"scatter/path", "residuals/path", "runs/path", "m"})
    assert sent == [set(), {"scatter/path", "residuals/path", "runs/path", "m"}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda table: (table, recipe_of(epochs=3)), "epochs is 3, and was 2"),
        (lambda table: (table, recipe_of(seed=4)), "seed is 4, and was 0"),
        (lambda table: (table.assign(soc=table["soc"] + 1), recipe_of()), "other points"),
    ],
)
def test_work_of_other_options_or_points_is_never_used(
    land: xr.Dataset,
    tmp_path: Path,
    fits: list[int],
    change: Callable[[Any], Any],
    why: str,
) -> None:
    out, table = tmp_path / "m", make_points(land)
    with pytest.raises(KeyboardInterrupt):
        train(land, table, recipe_of(), out=out, progress=Heard("training network 2").progress)
    fits.clear()
    points, recipe = change(table)
    heard = Heard("holding out")
    with pytest.raises(KeyboardInterrupt):
        train(land, points, recipe, out=out, progress=heard.progress)
    assert len(fits) == 3  # both networks, and the first of a fold
    assert heard.about(f"unfinished work is left unused ({why})"), heard.notes
    assert not heard.about("trained before")


def test_folds_of_a_scorecard_decide_no_training(
    land: xr.Dataset, tmp_path: Path, fits: list[int]
) -> None:
    out, table = tmp_path / "m", make_points(land)
    for folds in (3, 2):
        recipe = recipe_of()
        recipe = recipe_of(split=recipe.split.model_copy(update={"folds": folds}))
        with pytest.raises(KeyboardInterrupt):
            train(land, table, recipe, out=out, progress=Heard("training network 2").progress)
    assert fits == [0, 1, 1]  # the first network is kept


def test_a_stopped_scorecard_goes_on_and_ends_the_same(
    land: xr.Dataset, tmp_path: Path, fits: list[int]
) -> None:
    table, out, options = make_points(land), tmp_path / "s", MapScoreOptions(beside=())
    whole = score(land, table, recipe_of(), options, out=tmp_path / "whole")
    assert len(fits) == 6
    heard = Heard("evaluate: boosting")
    with pytest.raises(KeyboardInterrupt):
        score(land, table, recipe_of(), options, out=out, progress=heard.progress)
    fits.clear()
    again = Heard()
    card = score(land, table, recipe_of(), options, out=out, progress=again.progress)
    assert not fits
    assert again.about("evaluate: 7 of 18 fits were made before"), again.notes
    assert again.steps[-1][:2] == (18, 18)
    for name, estimates in card.splits[card.main].estimates.items():
        expected = whole.splits[whole.main].estimates[name]
        np.testing.assert_array_equal(estimates.members, expected.members)
    files = [(folder / "predictions.csv").read_bytes() for folder in (out, tmp_path / "whole")]
    assert files[0] == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "whole"]


def test_progress_names_what_is_still_to_come_and_about_how_long(
    land: xr.Dataset, tmp_path: Path
) -> None:
    heard = Heard()
    train(land, make_points(land), recipe_of(), progress=heard.progress)
    texts = [text for *_, text in heard.steps]
    first = next(text for text in texts if text.startswith("training network 1"))
    later = "importance, Gaussian process and forest, calibration; about "
    assert f"; then 1 network, 2 folds, {later}" in first
    fold = next(text for text in texts if text.startswith("holding out: fold 1 of 2, network 2"))
    assert f"; then 1 fold, {later}" in fold
    last = next(text for text in texts if text.startswith("importance"))
    assert last.startswith("importance; then Gaussian process and forest, calibration; about ")
    assert texts[-1] == "calibration"


# the parts ---------------------------------------------------------------------------------


def test_an_outlook_learns_its_times_and_spares_what_was_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hmx import progress

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    outlook = Outlook({"network": (4, 1.0), "fold": (2, 3.0), "forest": (1, 0.5)})
    assert str(outlook) == "then 4 networks, 2 folds, forest"
    outlook.spare("network")
    clock.now = 10
    outlook.reach("network", 2)  # 10 s for one
    assert outlook.seconds() == pytest.approx(2 * 10 + 2 * 30 + 5)
    assert str(outlook) == "then 2 networks, 2 folds, forest; about 90 s left"
    clock.now = 30
    outlook.reach("network", 4)
    clock.now = 50
    outlook.reach("fold", 1)  # 20 s instead of the expected 30
    assert outlook.seconds() == pytest.approx(20 + 0.5 * 50 / 6)
    assert str(outlook) == "then 1 fold, forest; about 30 s left"


def test_a_part_is_whole_or_absent(tmp_path: Path) -> None:
    finished, x = Finished(tmp_path), np.arange(6, dtype="f4").reshape(2, 3)
    assert finished.read("a") is None
    finished.write("a", {"x": x.T}, {"loss": float("nan"), "rows": [{"lr": 0.1}]})
    arrays, facts = finished.read("a") or ({}, {})
    np.testing.assert_array_equal(arrays["x"], x.T)
    assert np.isnan(facts["loss"])
    assert facts["rows"] == [{"lr": 0.1}]
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:20])
    assert finished.read("a") is None
    assert Finished().read("a") is None


def test_a_work_folder_belongs_to_its_facts_and_a_stranger_is_left_alone(tmp_path: Path) -> None:
    folder, out = tmp_path / ".m.training", tmp_path / "m"

    def work(error: type[BaseException]) -> list[str]:
        with work_folder(folder, out, {"lr": 1}):
            found = [path.name for path in folder.glob("*.safetensors")]
            (folder / "a.safetensors").touch()
            raise error(found)

    for error, found in ((KeyboardInterrupt, "[]"), (RuntimeError, "['a.safetensors']")):
        with pytest.raises(error, match=re.escape(found)):
            work(error)
    heard = Heard()
    with work_folder(folder, out, {"lr": 2}, progress=heard.progress):
        assert not (folder / "a.safetensors").exists()
    assert heard.notes == ["model: unfinished work is left unused (lr is 2, and was 1)"]
    assert not folder.exists()
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(hmx.errors.OutputExists), work_folder(folder, out, {"lr": 1}):
        pass
    assert json.dumps([p.name for p in folder.iterdir()]) == '["thesis.txt"]'
