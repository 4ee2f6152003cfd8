"""The benchmark of a mapper's training by samples is run once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import soiltraining


def test_the_soil_training_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert soiltraining.main(["--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    few, many = rows
    assert 100 < few["samples"] < many["samples"] <= 300
    assert few["steps"] < many["steps"] == many["samples"] // 32
    for row in rows:
        assert 0 < row["lr_last"] <= row["lr_most"] <= 2e-3
        assert row["cpu_seconds"] > 0
        assert row["mib"] > 100
        # the size that a plan expects is that of the file, but for the trees' depth
        assert row["planned_model_mib"] == pytest.approx(row["model_mib"], rel=0.5)
