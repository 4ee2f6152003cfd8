"""Laws of the judge: figures of a network on held-out windows, against persistence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hmx.forecast.train.data import HeldOutWindows, Reader
from hmx.forecast.train.judge import ValidationScores
from hmx.networks.forecaster import Forecaster
from hmx.scores.quantile import crps
from hmx.splits import VALIDATION
from hmx.training.metrics import metric
from hmx.uncertainty.distribution import mean, settle
from tests.forecast.train.test_data import reader_of
from tests.make.cubes import fill, make_cube


@pytest.fixture(scope="module")
def reader() -> Reader:
    return reader_of(make_cube((120, 130)), h=2, chip=64, validation=0.2)


@pytest.fixture(scope="module")
def windows(reader: Reader) -> list[Any]:
    held = HeldOutWindows(reader, VALIDATION, most=6, seed=0)
    return [held[index] for index in range(len(held))]


def judged(reader: Reader, windows: list[Any], network: Any) -> ValidationScores:
    judge = ValidationScores(reader)
    for window in windows:
        judge.add([judge.score(network, window)])
    return judge


class Still(nn.Module):
    """Forecasts a point mass at the origin, moved."""

    def __init__(self, knots: int, by: float = 0.0):
        super().__init__()
        self.knots, self.by = knots, by

    def forward(self, seen: Any, *, h: int, crop: Any, origin: Any = None) -> torch.Tensor:
        origin = seen.past[(slice(None), -1, *crop)] + self.by
        return origin[:, None, None].expand(-1, h, self.knots, -1, -1)


def test_persistence_has_no_skill_and_a_loss_of_one(reader: Reader, windows: list[Any]) -> None:
    judge = judged(reader, windows, Still(len(reader.spec.network.knots)))
    assert judge.loss() == pytest.approx(1)
    for row in judge.leads().values():
        assert row["skill"] == pytest.approx(0, abs=1e-6)
        assert row["crps_skill"] == pytest.approx(0, abs=1e-6)
        assert row["crps"] == pytest.approx(row["mae"])


def test_figures_are_those_of_all_scored_pixels_at_once(reader: Reader, windows: list[Any]) -> None:
    network = fill(Forecaster.of(reader.spec, reader.scaler), "random").eval()
    found = judged(reader, windows, network).leads()
    spec, levels = reader.spec, reader.spec.network.knots
    for lead in range(2):
        truths, middles, knots, weights, origins = [], [], [], [], []
        for batch in windows:
            with torch.no_grad():
                ahead = network(batch.seen, h=2)[0].numpy()
            origin = batch.seen.past[0, -1].numpy()
            made = settle(ahead, origin, tolerance=reader.scaler.tolerance,
                          valid_range=spec.valid_range)[lead]  # fmt: skip
            weight = batch.weight[0, lead].numpy()
            kept = weight > 0
            truths.append(batch.truth[0, lead].numpy()[kept])
            middles.append(mean(made, levels)[kept])
            knots.append(made[:, kept])
            weights.append(weight[kept])
            origins.append(origin[kept])
        truth, middle, weight, origin = map(np.concatenate, (truths, middles, weights, origins))
        off = (middle - truth).astype("float64")
        row = found[str(lead + 1)]
        assert row["n"] == len(truth)
        assert row["rmse"] == pytest.approx(np.sqrt(np.average(off**2, weights=weight)), rel=1e-5)
        assert row["mae"] == pytest.approx(np.average(np.abs(off), weights=weight), rel=1e-5)
        assert row["bias"] == pytest.approx(np.average(off, weights=weight), abs=1e-6)
        score = crps(truth, np.concatenate(knots, axis=1), levels)
        assert row["crps"] == pytest.approx(np.average(score, weights=weight), rel=1e-5)
        still = np.sqrt(np.average((origin - truth).astype("float64") ** 2, weights=weight))
        assert row["skill"] == pytest.approx(1 - row["rmse"] / still, rel=1e-4)


def test_pixels_that_are_not_scored_do_not_matter(reader: Reader, windows: list[Any]) -> None:
    network = fill(Forecaster.of(reader.spec, reader.scaler), "random").eval()
    spoiled = [w._replace(truth=torch.where(w.weight > 0, w.truth, 9.0)) for w in windows]
    assert any(bool((w.weight == 0).any()) for w in windows)
    one, other = (judged(reader, given, network) for given in (windows, spoiled))
    assert one.leads() == other.leads()


def test_scores_do_not_depend_on_the_precision_of_the_training(
    reader: Reader, windows: list[Any]
) -> None:
    network = fill(Forecaster.of(reader.spec, reader.scaler), "random").eval()
    full = judged(reader, windows[:2], network).leads()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert judged(reader, windows[:2], network).leads() == full


def test_what_is_off_by_more_is_judged_worse(reader: Reader, windows: list[Any]) -> None:
    knots = len(reader.spec.network.knots)
    losses = [judged(reader, windows, Still(knots, by)).loss() for by in (0.0, -0.2, -0.5)]
    assert losses == sorted(losses)
    assert losses[1] > losses[0]


def test_every_figure_has_a_name_that_is_explained(reader: Reader, windows: list[Any]) -> None:
    figures = judged(reader, windows, Still(len(reader.spec.network.knots))).figures()
    assert {"val_rmse_h1", "val_crps_h2", "val_coverage80_h1"} <= set(figures)
    for name, value in figures.items():
        assert metric(name) is not None, name
        assert np.isfinite(value)


def test_nothing_to_judge_is_as_good_as_persistence(reader: Reader) -> None:
    judge = ValidationScores(reader)
    assert judge.loss() == 1.0
    assert judge.figures() == judge.leads() == {}
