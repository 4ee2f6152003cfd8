"""The benchmark of zones of soil maps is run once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import soilzones as bench


def test_zone_intervals_hold_in_a_world_of_a_known_law(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--law", "middle", "--worlds", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = {(row["way"], row["side"]): row for row in rows}
    for side in (10, 30):
        ours, alone, bounds = (found[way, side] for way in ("ours", "independent", "bounds"))
        assert 0.8 <= ours["c90"] <= 1
        assert alone["c90"] < 0.5
        assert ours["score"] < 0.9 * bounds["score"]
        assert ours["score"] < 0.5 * alone["score"]
    assert "ours, middle, 30 px" in bench.as_text(rows, 1.0)
