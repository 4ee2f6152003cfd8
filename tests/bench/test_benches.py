"""Benchmarks are run once, small, so that they never rot; nothing here is timed."""

from __future__ import annotations

import json

import pytest

from tests.bench import ingest, memory, skill


def test_the_memory_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--sides", "64", "128", "--tile", "64", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["side"] for row in report["rows"]] == [64, 128]
    assert all(row["peak_mib"] > 50 for row in report["rows"])


def test_the_ingest_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main(["--shape", "600", "700", "--years", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["peak_mib"] > 50
    assert figures["stack_mib"] == pytest.approx(3.2, abs=0.1)


def test_the_skill_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "demo", "--seeds", "1", "--train", "epochs=1", "--train", "steps=1"]
    assert skill.main([*words, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["persistence"]["skill"] == [[0.0], [0.0]]
    assert rows["ridge on neighbourhoods"]["skill"][0][0] > 0.1
    assert len(rows["model"]["train_seconds"]) == 1
