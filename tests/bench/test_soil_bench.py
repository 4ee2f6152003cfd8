"""The benchmark of the map job is run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import soil

SMALL = ["--folds", "2", "--every", "8", "--trees", "5", "--fit", "runs=2", "--fit", "epochs=1"]


def test_the_soil_benchmark_scores_all_rows_on_the_same_samples(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    assert soil.main([*SMALL, "--network", "window=1", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["mean", "linear", "forest", "network", "ensemble", "blend"]
    assert 80 < found["samples"] < 120
    assert rows["mean"]["r2"] < min(0.0, rows["forest"]["r2"])
    assert rows["blend"]["r2"] != rows["forest"]["r2"]
    assert found["gains"]["blend"]["low"] < found["gains"]["blend"]["high"]
    assert "CPU seconds in all" in captured.err
