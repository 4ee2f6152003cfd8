"""The estimate of the globe is made once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import globe


def test_the_estimate_counts_land_coasts_and_sea(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side", "96", "--tile", "48", "--workers", "0", "--width", "2", "--h", "1"]
    assert globe.main([*words, "--precision", "float32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["minutes"] > 0
    assert found["land_tiles"] + found["coast_tiles"] < found["tiles"]
    assert found["covered_px"] > globe.LAND_PX


def test_larger_tiles_have_more_sea_beside_their_land() -> None:
    earths = [globe.Earth.of(tile) for tile in (256, 512, 1024)]
    covered = [
        (earth.whole + len(earth.coasts)) * tile**2
        for earth, tile in zip(earths, (256, 512, 1024), strict=True)
    ]
    assert globe.LAND_PX < covered[0] < covered[1] < covered[2]
    assert earths[1].tiles == 34 * 79
    drawn, every = (
        [cell.mean() for cell in cells] for cells in (earths[1].draw(16), earths[1].coasts)
    )
    assert abs(sum(drawn) / 16 - sum(every) / len(every)) < 0.02
