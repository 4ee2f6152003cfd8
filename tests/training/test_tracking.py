"""Laws of tracking: a CSV always, Weights & Biases without a chance to do harm."""

from __future__ import annotations

import csv
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import yaml
from pytorch_lightning.loggers import CSVLogger, Logger

from hmx.pictures.panel import PanelRow, draw_panel
from hmx.training import tracking
from hmx.training.tracking import (
    artifact_name,
    close,
    log_bundle,
    log_pictures,
    log_summary,
    logged_rows,
    loggers,
    png,
    table,
)
from tests.make.wandb_files import records


def figure() -> Any:
    maps = dict.fromkeys(("truth", "forecast", "lower", "upper", "origin"), np.eye(8))
    return draw_panel([PanelRow(1, "2010 (+5 years)", **maps, valid=64)], target="hm")


def bundle(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    (folder / "deep" / "weights.safetensors").write_bytes(bytes(range(256)))
    return folder


def opened(folder: Path, **options: Any) -> list[Logger]:
    folder.mkdir(parents=True, exist_ok=True)
    return loggers(folder, **{"wandb": "offline", "project": "toy", **options})


def run_of(folder: Path) -> Path:
    (run,) = (folder / "wandb").glob("offline-run-*")
    return run


def items(record: Any) -> dict[str, Any]:
    """Keys and values of a record of history, summary or config."""
    return {
        "/".join(i.nested_key) or i.key: json.loads(i.value_json)
        for i in getattr(record, "item", None) or record.update
    }


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An offline run, with all that a fit logs."""
    place = tmp_path_factory.mktemp("tracked")
    found = opened(place / "work", config={"seed": 3}, group="five", name="seed 3")
    for step in range(3):
        for logger in found:
            logger.log_metrics({"train_loss": 1 / (step + 1), "epoch": step}, step=step)
    print("of no concern to the run")
    log_summary(
        found,
        {"split": "abc", "parameters": np.int64(9), "reach": (3, 5), "fit": {"h": 2}},
    )
    log_pictures(found, lambda: {"panel": figure()})
    log_bundle(found, bundle(place / "demo.model"), name="demo model", metadata={"skill": 0.25})
    for logger in found:
        logger.save()
    close(found)
    return place, run_of(place)


def test_an_offline_run_holds_the_history(tracked: tuple[Path, Path]) -> None:
    rows = [items(r.history) for r in records(tracked[1]) if r.HasField("history")]
    losses = {r["trainer/global_step"]: r["train_loss"] for r in rows if "train_loss" in r}
    assert losses == {0: 1.0, 1: 0.5, 2: 1 / 3}


def test_an_offline_run_holds_the_panel_as_an_image(tracked: tuple[Path, Path]) -> None:
    run = tracked[1]
    history = [items(r.history) for r in records(run) if r.HasField("history")]
    (image,) = (row for row in history if "panel/path" in row)
    assert image["panel/_type"] == "image-file"
    assert image["panel/width"] == 1200
    picture = (run / "files" / image["panel/path"]).read_bytes()
    assert picture == png(figure())


def test_an_offline_run_holds_the_bundle_as_an_artifact(tracked: tuple[Path, Path]) -> None:
    place, run = tracked
    (artifact,) = (r.artifact for r in records(run) if r.HasField("artifact"))
    assert (artifact.name, artifact.type) == ("demo-model", "model")
    assert json.loads(artifact.metadata) == {"skill": 0.25}
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(files) == {"bundle.json", "deep/weights.safetensors"}
    for name, path in files.items():
        assert path.is_relative_to(run)  # so that a sync needs nothing but the run
        assert path.read_bytes() == (place / "demo.model" / name).read_bytes()


def test_an_offline_run_knows_its_configuration_group_and_name(tracked: tuple[Path, Path]) -> None:
    found = records(tracked[1])
    (run,) = (r.run for r in found if r.HasField("run"))
    assert (run.project, run.run_group, run.display_name) == ("toy", "five", "seed 3")
    config = items(run.config)
    for record in found:
        config |= items(record.config) if record.HasField("config") else {}
    assert config["seed"] == 3
    assert (config["split"], config["parameters"], config["reach"]) == ("abc", 9, [3, 5])
    summary: dict[str, Any] = {}
    for record in found:
        summary |= items(record.summary) if record.HasField("summary") else {}
    assert (summary["split"], summary["parameters"]) == ("abc", 9)
    assert "fit" not in summary


def test_a_run_measures_nothing_of_the_machine(tracked: tuple[Path, Path]) -> None:
    run = tracked[1]
    assert not any(r.HasField("stats") or r.HasField("output_raw") for r in records(run))
    names = {path.name for path in run.rglob("*")}
    assert not names & {"wandb-metadata.json", "requirements.txt", "output.log"}
    assert [path.name for path in run.parent.iterdir()] == [run.name]  # no links to the latest


def test_the_csv_is_kept_beside_the_model_and_facts_beside_the_csv(
    tracked: tuple[Path, Path],
) -> None:
    place, _ = tracked
    log = table(logged_rows(place / "work"))
    rows = list(csv.DictReader(log.decode().splitlines()))
    assert [float(row["train_loss"]) for row in rows] == [1.0, 0.5, 1 / 3]
    facts = yaml.safe_load((place / "work" / "attempt-0" / "hparams.yaml").read_text())
    assert facts == {"split": "abc", "parameters": 9, "reach": [3, 5], "fit": {"h": 2}}


def test_a_run_prints_nothing_and_leaves_the_environment_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    found = opened(tmp_path / "work")
    log_pictures(found, lambda: {"panel": figure()})
    log_bundle(found, bundle(tmp_path / "m"), name="m")
    close(found)
    assert capfd.readouterr() == ("", "")
    theirs = {name for name in set(os.environ) - set(before) if name.startswith("WANDB_SERVICE")}
    assert {k: v for k, v in os.environ.items() if k not in theirs} == before


def test_runs_of_one_call_are_runs_of_their_own(tmp_path: Path) -> None:
    first = opened(tmp_path / "1" / "work", group="g")
    second = opened(tmp_path / "2" / "work", group="g")  # while the first is open
    for number, found in enumerate([first, second], start=1):
        found[1].log_metrics({"val_loss": number}, step=0)
    for number, found in enumerate([first, second], start=1):
        close(found)
        rows = [
            items(r.history)
            for r in records(run_of(tmp_path / str(number)))
            if r.HasField("history")
        ]
        assert [row["val_loss"] for row in rows] == [number]


def test_without_weights_and_biases_the_csv_takes_everything(tmp_path: Path) -> None:
    found = opened(tmp_path / "work", wandb="disabled")
    assert [type(logger) for logger in found] == [CSVLogger]
    log_pictures(found, lambda: {"panel": figure()})
    log_bundle(found, tmp_path / "nowhere", name="m")
    log_summary(found, {"split": "abc"})
    close(found)
    assert (tmp_path / "work" / "attempt-0" / "hparams.yaml").is_file()
    assert not (tmp_path / "wandb").exists()


def test_a_run_that_cannot_start_is_told_in_one_line_and_the_csv_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no key was configured\nand more")

    monkeypatch.setattr("wandb.init", refuse)
    said: list[str] = []
    found = opened(tmp_path / "work", wandb="online", warn=said.append)
    assert [type(logger) for logger in found] == [CSVLogger]
    (text,) = said
    assert text == (
        "Weights & Biases failed (no key was configured); the CSV goes on without it. "
        "Log in with wandb login, or write track: {wandb: offline}."
    )
    with caplog.at_level(logging.WARNING):
        opened(tmp_path / "work", wandb="online")
    assert caplog.messages == said


def test_online_without_a_key_trains_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    wandb.teardown()  # the client reads the environment once
    said: list[str] = []
    found = opened(tmp_path / "work", wandb="online", warn=said.append)
    assert len(found) == len(said) == 1
    assert "API key" in said[0]


def test_a_run_that_breaks_is_told_once_and_fails_no_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = opened(tmp_path / "work", warn=said.append)
    run = found[1].experiment
    with monkeypatch.context() as patch:
        patch.setattr(type(run), "log", lambda *_, **__: 1 / 0)
        for step in range(3):
            for logger in found:
                logger.log_metrics({"val_loss": 1.0}, step=step)
        log_pictures(found, lambda: {"panel": figure()})
        log_bundle(found, tmp_path / "nowhere", name="m")
        log_summary(found, {"split": "abc"})
        close(found)
    assert len(said) == 1
    assert "division by zero" in said[0]
    assert records(run_of(tmp_path))[-1].HasField("exit")  # finished all the same


def test_only_the_first_process_opens_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.rank_zero_only, "rank", 1)
    assert [type(logger) for logger in opened(tmp_path / "work")] == [CSVLogger]


@pytest.mark.parametrize(
    ("text", "name"),
    [("demo", "demo"), ("a b/c:d", "a-b-c-d"), ("../demo.model", "demo.model"), ("é", "model")],
)
def test_artifact_names_are_what_weights_and_biases_takes(text: str, name: str) -> None:
    assert artifact_name(text) == name
