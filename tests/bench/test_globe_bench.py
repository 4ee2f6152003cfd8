"""The estimate of the globe is made once, small."""

from __future__ import annotations

import json

import pytest

from tests.bench import globe


def test_the_estimate_counts_coast_tiles_whole(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side", "96", "--tile", "48", "--workers", "0", "--width", "2", "--h", "1"]
    assert globe.main([*words, "--precision", "float32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["minutes"] > 0
    assert found["computed_px"] > globe.LAND_PX


def test_larger_tiles_compute_more_sea() -> None:
    shares = [globe.tiles_of_the_globe(tile) for tile in (256, 512, 1024)]
    computed = [some * tile**2 for (some, _), tile in zip(shares, (256, 512, 1024), strict=True)]
    assert globe.LAND_PX < computed[0] < computed[1] < computed[2]
    assert shares[1][1] == 34 * 79
