"""The benchmark of dense inference is run once, small, so that it never rots."""

from __future__ import annotations

import json

import pytest

from tests.bench import densemap


def test_the_dense_map_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert densemap.main(["--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 4
    assert all(row["times"] > 0 for row in rows)
    assert all(row["difference"] <= 1e-5 for row in rows)
