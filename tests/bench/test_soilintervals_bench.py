"""The benchmark of soil intervals is run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import soilintervals as bench


def test_the_benchmark_of_intervals_puts_plain_ones_beside(
    real_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (real_data / "macedonia").is_dir():
        pytest.skip(f"no macedonia in {real_data}")
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    words = ["--rows", "400", "--folds", "3", "--networks", "0"]
    assert bench.main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {(row["way"], row["level"]) for row in report["rows"]} == {
        (way, level) for way in ("plain", "ours") for level in (50, 80, 90)
    }
    assert all(0.3 < row["inside"] <= 1 for row in report["rows"])
    assert "forest 90 %, ours" in bench.as_text(report)
