"""Laws of the registry of metrics: one class is in every cell, file and sum."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from hmx.errors import BadArgument
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.scores import (
    Cell,
    CellMetric,
    ScoredPixels,
    Settings,
    Tally,
    metric,
    metrics,
    pooled,
    sums,
)
from tests.scores.test_tally import WHOLE, WORLD, flat, tile_by_tile

OWN = ["score", "coverage", "pit", "structure", "events"]  # the order of files that are stored


@dataclass(frozen=True, slots=True)
class SignAgreement(CellMetric):
    """A toy: the share of pixels whose change has the forecast sign."""

    weight: float = 0.0
    agreed: float = 0.0

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> SignAgreement:
        same = np.sign(pixels.mean - pixels.origin) == np.sign(pixels.truth - pixels.origin)
        return cls(float(pixels.weight.sum()), float(pixels.weight[same].sum()))

    def figures(self) -> dict[str, float]:
        return {"sign_agreement": self.agreed / self.weight if self.weight else math.nan}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics()
    monkeypatch.setattr(sums, "_METRICS", dict(sums._METRICS))
    metric("sign")(SignAgreement)


def test_the_metrics_of_hmx_keep_the_order_of_their_files() -> None:
    found = metrics()
    assert [key for key in found if key in OWN] == OWN
    assert list(found) == sorted(found, key=lambda key: (found[key].rank, key))
    assert list(Cell().as_dict()) == list(found)


def test_figures_come_in_the_order_of_metrics_and_those_of_a_histogram_last() -> None:
    cell = Cell.of([[0.0]], [[0.0]], [[0.0]])
    kinds = sorted(metrics().values(), key=lambda kind: kind.last)
    names = list(cell.figures())
    assert names == [name for kind in kinds for name in cell.states[kind.key].figures()]
    assert names[:6] == ["n", "weight", "mae", "rmse", "bias", "crps"]
    assert names[-20:] == [f"pit_{i:02d}" for i in range(20)]


def test_a_new_metric_adds_up_over_tiles(toy: None) -> None:
    whole, tiled = (flat(tile_by_tile(*WORLD, side)) for side in ((13, 19), (5, 6)))
    assert tiled == pytest.approx(whole, rel=1e-9, abs=1e-9, nan_ok=True)
    found = whole["model", 1, "all", "sign_agreement"]
    assert 0 < found < 1
    scene, predictions = WORLD
    one = Tally.of(scene, predictions)["model", 1, "all"]
    assert one.figures()["sign_agreement"] == pytest.approx(found)
    assert (one + Cell.zero()).states["sign"] == one.states["sign"]


def test_a_new_metric_is_in_the_json_and_csv_of_a_scorecard(toy: None) -> None:
    card = Scorecard({"a": Tally.of(*WORLD), "b": Tally.of(*WORLD)})
    again = Scorecard.from_dict(json.loads(json.dumps(card.as_dict(), default=str)))
    assert again.whole == card.whole == pooled(card.tallies)
    rows = list(csv.DictReader(io.StringIO(card.scores_csv().decode())))
    values = [
        float(row["value"])
        for row in rows
        if (row["metric"], row["forecaster"], row["lead"]) == ("sign_agreement", "model", "1")
    ]
    assert values
    assert values[0] == card.value("sign_agreement", "model", 1)


def test_files_that_are_older_than_a_metric_can_be_read(toy: None) -> None:
    older = Tally.from_dict(WHOLE.as_dict())
    cell = older["model", 1, "all"]
    assert math.isnan(cell.figures()["sign_agreement"])
    assert cell.score == WHOLE["model", 1, "all"].score


def test_a_key_that_is_taken_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"metric 'score' is registered by hmx\.scores\.score"):
        metric("score")(SignAgreement)
