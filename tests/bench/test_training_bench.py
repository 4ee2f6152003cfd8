"""The bench of training runs, on rasters of a few blocks."""

from __future__ import annotations

import pytest

from tests.bench import training


def test_the_bench_prints_steps_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--side", "72", "--crop", "64", "--chip", "48", "--steps", "2", "--repeat", "1"]
    assert training.main(sizes) == 0
    assert "72 px / 64 px, 2 steps" in capsys.readouterr().out
