"""In worlds whose rule is known, models find what can be found, and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.bundle import Bundle
from hmx.forecast.train.train import train
from hmx.scores import Tally, skill
from tests.bench.forecasts import ascend, predict, uncalibrated
from tests.make import worlds
from tests.make.worlds import BEST, LEADS, STILL, World

MODEL = "model"
SMALL = {"width": 16, "trunk": [1, 2], "context": [1, 3, 10], "chip": 48, "batch": 4}
QUICK = {"final": False, "lr": 8e-3}


def reached(world: World, **options: object) -> tuple[Tally, Bundle]:
    """Train a small network in a world and score it."""
    bundle = train(world.past, world.recipe(**{**SMALL, **QUICK, **options}))
    return world.tally({MODEL: predict(world.past, bundle, LEADS)}), bundle


def model_of(tally: Tally) -> Scorecard:
    """Judge the model against persistence alone."""
    return Scorecard({"one": Tally({k: c for k, c in tally.cells.items() if k[0] != BEST})})


def test_the_rule_of_neighbourhood_terrain_and_population_is_recovered() -> None:
    tally, _ = reached(worlds.relational((96, 96), steps=8), epochs=6, steps=16)
    for lead in LEADS:
        assert worlds.recovered(tally, MODEL, lead) > 0.8
        assert worlds.recovered(tally, MODEL, lead, "crps") > 0.8


def test_where_nothing_can_be_known_persistence_is_to_be_used() -> None:
    tally, _ = reached(worlds.noise((128, 128), steps=9), epochs=4, steps=10)
    assert model_of(tally).verdict.startswith("USE PERSISTENCE, NOT THE MODEL")
    for lead in LEADS:
        ours, still = (tally[who, lead, "all"].score for who in (MODEL, STILL))
        assert ours.rmse < 1.02 * still.rmse
        assert ours.crps < 1.1 * still.crps


def test_intervals_hold_what_they_say_where_the_distribution_is_known() -> None:
    # many small blocks: with three of them chance decides by more than the tolerance
    blocks = {"calibration": 0.3, "block": 24, "buffer": 8}
    off: dict[tuple[int, float], list[float]] = {}
    for seed in range(3):  # one draw of a world and a network is off by up to three points
        world = worlds.known((128, 128), steps=9, seed=seed)
        # place matters; a high rate learns places by heart
        options = {"jitter": 0, "lr": 2e-3, "seed": seed}
        tally, bundle = reached(world, epochs=14, steps=12, **options, **blocks)
        raw = world.tally({MODEL: predict(world.past, uncalibrated(bundle), LEADS)})
        for lead in LEADS:
            cell = tally[MODEL, lead, "all"]
            true = tally[BEST, lead, "all"].coverage  # 52.2 % for 50 % in the first world
            for level, found in cell.coverage.items():
                off.setdefault((lead, level), []).append(found.share - true[level].share)
            best, still = (tally[who, lead, "all"].score for who in (BEST, STILL))
            reachable = skill(best, still, measure="crps")
            assert skill(cell.score, still, measure="crps") > 0.5 * reachable
            assert cell.coverage != raw[MODEL, lead, "all"].coverage  # there was something to do
    for shares in off.values():
        assert 100 * np.mean(shares) == pytest.approx(0, abs=2)


def test_the_best_forecast_is_right_about_itself() -> None:
    for world in (worlds.relational(), worlds.noise(moves=1.0)):
        tally = world.tally({})
        for lead in LEADS:
            cell = tally[BEST, lead, "all"]
            for level, found in cell.coverage.items():
                assert 100 * found.share == pytest.approx(level, abs=2.5)
            error = world.ds["hm"].values[-3 + lead] - world.best.mean[lead - 1]
            assert float(error.mean()) == pytest.approx(0, abs=0.2 * cell.score.rmse)


def test_the_best_forecast_of_the_growing_world_beats_what_misses_a_part_of_its_rule() -> None:
    world = worlds.relational()
    tally = world.tally({})
    state = world.origin.astype("float64")
    near = worlds._around(state)
    without = {"neighbourhood": state, "growth": state + worlds.PULL * (near - state)}
    drive = world.best.mean[0] - without["growth"]
    without["neighbourhood"] = state + drive
    for mean in without.values():
        error = world.ds["hm"].values[-2] - mean
        assert tally[BEST, 1, "all"].score.rmse < 0.97 * math.sqrt(float((error**2).mean()))


def test_quantiles_of_a_mixture_cut_off_their_probability() -> None:
    shares = np.array([[0.3], [0.7]])
    spreads = np.array([[0.0], [2.0]])
    found = worlds.quantiles(shares, spreads, (0.05, 0.36, 0.5, 0.64, 0.95))[:, 0]
    draw = np.random.default_rng(0)
    sample = np.where(draw.random(400_000) < 0.3, 0, 2 * draw.standard_normal(400_000))
    assert found[1:4].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found[[0, 4]], np.quantile(sample, [0.05, 0.95]), atol=0.03)


def test_no_change_stays_exact_in_the_knots_that_are_scored() -> None:
    origin = np.array([[0.3]], "float32")
    rounded = np.array([0.1, np.nextafter(np.float32(0.3), np.float32(0)), 0.3, 0.2999999])
    knots = ascend(rounded.astype("float32").reshape(1, 4, 1, 1), origin)[0, :, 0, 0]
    assert (knots[1:] == origin[0, 0]).all()
    assert knots[0] == np.float32(0.1)
