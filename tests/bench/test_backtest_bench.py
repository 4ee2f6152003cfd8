"""The benchmark of backtests is run once, small, so that it never rots."""

from __future__ import annotations

import json

import pytest

from tests.bench import backtest


@pytest.mark.usefixtures("here")
def test_the_backtest_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest.main(["--sides", "96", "--workers", "0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["scored"] == 2 * 96 * 96
    assert row["peak_mib"] > 100
