"""The benchmarks of the map job are run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from hmx.cli.main import hmx
from hmx.mapping.evaluate.scorecard import MapScorecard
from tests.bench import soil, soilcli, soiloptions

TINY = {"runs": 2, "epochs": 1, "window": 1}
EVERY = 8


def test_the_soil_benchmark_is_the_scorecard_of_the_command_line(
    real_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    options = [word for name, value in TINY.items() for word in ("--option", f"{name}={value}")]
    words = [*options, "--split", "folds=2", "--every", str(EVERY), "--json"]
    assert soil.main([*words, "--out", str(tmp_path / "card")]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    blocks, random = found["splits"].values()
    rows = {row["name"]: row for row in blocks["rows"]}
    assert 400 < found["samples"] < 500
    assert rows["mean"]["r2"] < min(0.0, rows["forest"]["r2"])
    mixed = {rows[name]["r2"] for name in ("blend", "with forest", "with process")}
    assert len(mixed) == len(blocks["rows"]) - len(random["rows"]) + 3 == 3
    gain = blocks["gains"]["blend - forest"]
    assert gain["low"] < gain["high"]
    assert 0.5 < found["interval"]["picp"] <= 1
    assert "CPU seconds in all" in captured.err
    (tmp_path / "land").mkdir()
    table = pd.read_csv(real_data / "macedonia" / "points.csv").iloc[::EVERY]
    table.to_csv(tmp_path / "land" / "points.csv", index=False)
    raw = soilcli.monthly(real_data / "macedonia", tmp_path / "land", tmp_path)
    raw["points"]["units"] = "%"
    raw["model"] = {"window": TINY["window"]}
    fit = {"runs": TINY["runs"], "epochs": TINY["epochs"], "device": "cpu"}
    raw["train"] = {**fit, "split": {"folds": 2}}
    raw["evaluate"] = {"output": str(tmp_path / "typed")}
    catalog = tmp_path / "soil.yaml"
    catalog.write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(hmx, ["evaluate", str(catalog)])
    assert done.exit_code == 0, done.output
    ours, theirs = (MapScorecard.load(str(tmp_path / name)) for name in ("card", "typed"))
    assert ours.scores() == theirs.scores()
    assert ours.verdict == theirs.verdict


def test_the_benchmark_of_options_pairs_each_row_with_the_first_and_learns_none_twice(
    real_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    words = ["--every", "12", "--folds", "2", "--epochs", "1", "--keep", str(tmp_path / "k.npz")]
    words += ["--table", "losses", "--rows", "none, mse"]
    assert soiloptions.main([*words, "--json"]) == 0
    first, other = json.loads(capsys.readouterr().out)["rows"]
    assert (first["name"], other["name"]) == ("log1p, huber", "none, mse")
    assert first["gain"] == 0 != other["gain"]
    assert other["gain"] == pytest.approx(other["r2"] - first["r2"])
    assert other["low"] < other["high"]
    monkeypatch.setattr(soiloptions, "learn", lambda *_, **__: 1 / 0)
    assert soiloptions.main(words) == 0
    assert f"{other['r2']:.3f}" in capsys.readouterr().out


def test_the_benchmark_of_the_command_line_scores_sites_that_were_held_out(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_process(*words: str) -> float:
        CliRunner().invoke(hmx, list(words), catch_exceptions=False, standalone_mode=False)
        return 1.0

    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    monkeypatch.setattr(soilcli, "hmx", in_process)
    tiny = ("train.runs=1", "train.epochs=1", "train.inner=2", "train.split.folds=2",
            "model.widths=[4, 4]", "model.hidden=4")  # fmt: skip
    words = [word for one in tiny for word in ("--set", one)]
    assert soilcli.main(["--static", "--every", "16", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert rows["hmx"]["samples"] + found["trained"] in (243, 242)  # one lies outside
    assert 0.5 < rows["hmx"]["coverage"] <= 1
    assert rows["forest"]["samples"] == rows["hmx"]["samples"]
    assert list(found["cpu_seconds"]) == ["init", "train", "predict"]
