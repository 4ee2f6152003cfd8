"""The benchmarks of the map job are run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hmx.cli.main import hmx
from tests.bench import soil, soilcli, soiloptions

SMALL = ["--folds", "2", "--every", "8", "--trees", "5", "--fit", "runs=2", "--fit", "epochs=1"]


def test_the_soil_benchmark_scores_all_rows_on_the_same_samples(
    real_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    words = [*SMALL, "--network", "window=1", "--json", "--keep", str(tmp_path / "kept.npz")]
    assert soil.main(words) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    rows = {row["name"]: row for row in found["rows"]}
    single = ["mean", "linear", "forest", "process", "network"]
    assert list(rows) == [*single, "ensemble", "blend", "with forest", "kriged"]
    assert rows["blend"]["r2"] != rows["with forest"]["r2"]
    assert 80 < found["samples"] < 120
    assert rows["mean"]["r2"] < min(0.0, rows["forest"]["r2"])
    assert rows["blend"]["r2"] != rows["forest"]["r2"]
    gain = found["gains"]["blend - forest"]
    assert gain["low"] < gain["high"]
    assert 0.5 < found["intervals"]["kriged"]["picp"] <= 1
    assert 0 < found["effective"] <= found["samples"]
    assert "CPU seconds in all" in captured.err
    monkeypatch.setattr(soil, "learn", None)  # what was kept is not fitted again
    assert soil.main(words) == 0
    assert json.loads(capsys.readouterr().out)["rows"][-1]["r2"] == rows["kriged"]["r2"]


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
