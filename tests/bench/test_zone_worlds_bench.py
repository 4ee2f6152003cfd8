"""The benchmark of worlds with a known dependence is run once, small."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.zone_worlds import inside, means_of, score, worlds, zones_of


def test_worlds_give_a_row_for_each_law_and_kind_of_zone() -> None:
    rows = worlds(side=90, origins=(1,), fits=1, tests=4, draws=20)
    assert [row["zones"] for row in rows] == ["10 px", "30 px", "60 px", "Voronoi", "region"] * 2
    for row in rows:
        assert 0 <= row["c50"] <= row["c80"] <= row["c95"] <= 1
        assert 0.1 < row["score"] < 10
    assert np.mean([row["c95"] for row in rows if row["zones"] == "10 px"]) > 0.7


def test_zones_are_squares_cells_and_the_whole() -> None:
    zones = zones_of(70, seed=0)
    assert {kind: int(labels.max()) + 1 for kind, labels in zones.items()} == {
        "10 px": 49, "30 px": 4, "60 px": 1, "Voronoi": 2, "region": 1,
    }  # fmt: skip
    assert (zones["60 px"] < 0).sum() == 70**2 - 60**2
    rows = np.arange(70.0)[:, None] + np.zeros(70)
    means = means_of(zones, [rows, 2 * rows])
    assert means["region"].ravel().tolist() == [34.5, 69.0]
    assert means["10 px"][0, :8].tolist() == [4.5] * 7 + [14.5]


def test_intervals_are_quantiles_of_draws() -> None:
    drawn, came = np.linspace(0, 1, 1001)[:, None], np.array([[0.2], [0.26], [0.74], [1.2]])
    assert inside(drawn, came, 50) == 0.5
    assert inside(drawn, came, 95) == 0.75
    assert score(drawn, came[:3]) == pytest.approx(0.95)
    assert score(drawn, came[3:]) == pytest.approx(0.95 + 40 * (1.2 - 0.975))
