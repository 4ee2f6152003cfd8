"""The benchmark of a soil map by samples is run once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import soilmap


def test_the_soil_map_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert soilmap.main(["--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["samples"] for row in rows] == [100, 300]
    assert all(row["job"] > row["process"] > 0 and row["off"] < 1e-5 for row in rows)
