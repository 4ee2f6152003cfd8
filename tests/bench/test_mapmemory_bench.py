"""The benchmark of a map's memory runs, small."""

from __future__ import annotations

import json

import pytest

from tests.bench.mapmemory import main


@pytest.mark.usefixtures("here")
def test_peaks_of_all_sides_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sides", "48", "64", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["side"] for row in rows] == [48, 64]
    assert all(100 < row["peak_mib"] < 6000 for row in rows)
