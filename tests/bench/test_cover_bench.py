"""The benchmark of covered shares is run once, small, so that it never rots."""

from __future__ import annotations

import json

import pytest

from tests.bench import cover


def test_the_cover_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--zones", "30", "--shape", "150", "360", "--tile", "64", "--sample", "6", "--json"]
    assert cover.main(words) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["zones"] == 30
    # cells of one layer share borders, up to the points that each adds to a side of its own
    assert row["gap"] < 1e-6
    assert row["difference"] is None or row["difference"] < 1e-6
