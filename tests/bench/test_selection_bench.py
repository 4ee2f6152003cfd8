"""The benchmark of the selection of covariates is run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import selection


def test_the_benchmark_of_the_selection_compares_the_chosen_with_all(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    small = ["--every", "8", "--most", "2", "--learner", "linear", "--method", "random", "--json"]
    assert selection.main(small) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert len(found["best"]) in (2, 9)  # the pair, or all
    assert found["r2_best"] >= max(found["r2"], found["r2_all"]) > 0
    assert len(found["importance"]["mean"]) == 9
    assert "CPU seconds in all" in captured.err
