"""Laws of totals: expected and observed change of a whole map."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hmx.scores import Cell
from hmx.scores.totals import TotalChange


def test_totals_are_area_weighted_changes_of_forecast_and_truth() -> None:
    rng = np.random.default_rng(0)
    truth, origin, mean = rng.random((3, 8, 9))
    weight = rng.random((8, 9))
    truth[0, :3] = np.nan
    known = np.isfinite(truth)
    cell = Cell.of(truth, origin, mean, weight=weight)
    figures, area = cell.figures(), weight[known].sum()
    want = (weight * (mean - origin))[known].sum() / area
    assert figures["expected_change"] == pytest.approx(want)
    came = (weight * (truth - origin))[known].sum() / area
    assert figures["observed_change"] == pytest.approx(came)
    state = cell.states["totals"]
    assert isinstance(state, TotalChange)
    assert state.ratio == pytest.approx(want / came)


def test_totals_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    truth, origin, mean = rng.random((3, 8, 9))
    parts = [Cell.of(truth[at], origin[at], mean[at]) for at in (slice(0, 3), slice(3, 8))]
    whole, sum_ = Cell.of(truth, origin, mean).figures(), (parts[0] + parts[1]).figures()
    for name in ("expected_change", "observed_change"):
        assert sum_[name] == pytest.approx(whole[name])


def test_nothing_scored_has_no_totals() -> None:
    assert all(math.isnan(value) for value in TotalChange().figures().values())
    assert math.isnan(TotalChange().ratio)


def test_a_file_of_an_older_release_has_no_totals() -> None:
    facts = Cell.of([[1.0, 2.0]], [[0.0, 0.0]], [[0.5, 0.5]]).as_dict()
    del facts["totals"]
    assert math.isnan(Cell.from_dict(facts).figures()["expected_change"])
