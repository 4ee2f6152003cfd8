"""Laws of cells and tallies."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.scores import (
    Cell,
    Prediction,
    Scene,
    Settings,
    Tally,
    common_mask,
    crps,
    pit,
    pooled,
    uniforms,
)
from hmx.windows import Span, TileGrid, Window, with_halo

SHAPE, LEADS, LEVELS = (13, 19), (1, 2), (0.1, 0.4, 0.6, 0.9)
MEASURED = Settings(threshold=0.05)


def holes(rng, values, share=0.1):
    return np.where(rng.random(values.shape) < share, np.nan, values).astype("float32")


def world(seed=0):
    """A scene and three forecasters, all with gaps of their own and many exact ties."""
    rng = np.random.default_rng(seed)
    origin = holes(rng, rng.random(SHAPE))
    moved = np.where(rng.random((2, *SHAPE)) < 0.5, 0, 0.2 * rng.normal(size=(2, *SHAPE)))
    step = np.sort(0.1 * rng.normal(size=(2, 4, *SHAPE)), axis=1)
    knots = (origin + np.where(np.abs(step) < 0.05, 0, step)).astype("float32")
    scene = Scene(
        truth=holes(rng, np.where(moved == 0, origin, origin + moved)),
        origin=origin,
        leads=LEADS,
        weight=rng.random((SHAPE[0], 1)),
        strata={"west": np.arange(19) < 9 + np.zeros((13, 1)), "grew": moved > 0},
    )
    still = np.repeat(origin[None], 2, axis=0)
    return scene, {
        "persistence": Prediction(still),
        "model": Prediction(knots.mean(axis=1), knots, LEVELS),
        "trend": Prediction(holes(rng, still + 0.01)),
    }


def cut(scene, predictions, window, core, corner):
    at = (..., *window.slices)
    weight = np.broadcast_to(scene.weight, SHAPE)[at]
    strata = {name: mask[at] for name, mask in scene.strata.items()}
    piece = replace(
        scene,
        truth=scene.truth[at],
        origin=scene.origin[at],
        weight=weight,
        strata=strata,
        crop=core,
        corner=corner,
    )
    parts = {
        name: replace(p, mean=p.mean[at], knots=None if p.knots is None else p.knots[at])
        for name, p in predictions.items()
    }
    return piece, parts


def tile_by_tile(scene, predictions, tile, *, halo=3):
    total = Tally.zero()
    for part in TileGrid(SHAPE, tile, halo=0):
        read = with_halo(part.core, SHAPE, halo=halo, wraps=False)
        corner = part.core.y.start, part.core.x.start
        piece = cut(scene, predictions, read, part.core.within(read), corner)
        total += Tally.of(*piece, settings=MEASURED)
    return total


def flat(tally):
    return {
        (*key, name): value
        for key, cell in tally.cells.items()
        for name, value in cell.figures().items()
    }


WORLD = world()
WHOLE = Tally.of(*WORLD, settings=MEASURED)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 13), st.integers(1, 19))
def test_tiles_add_up_to_the_whole_whatever_their_size(rows, columns):
    found = flat(tile_by_tile(*WORLD, (rows, columns)))
    assert found == pytest.approx(flat(WHOLE), rel=1e-9, abs=1e-9, nan_ok=True)


def test_a_halo_too_short_is_seen_in_the_sum():
    short, whole = flat(tile_by_tile(*WORLD, (5, 6), halo=2)), flat(WHOLE)
    wrong = {
        key[3] for key in whole if short[key] != pytest.approx(whole[key], abs=1e-9, nan_ok=True)
    }
    assert wrong == {"ssim"}


def test_all_forecasters_of_a_lead_and_stratum_are_scored_on_the_same_pixels():
    for lead in LEADS:
        for stratum in WHOLE.strata:
            counted = {
                (cell.score.count, cell.score.weight, cell.structure.weight)
                for (_, at, part), cell in WHOLE.cells.items()
                if (at, part) == (lead, stratum)
            }
            assert len(counted) == 1
    scene, predictions = WORLD
    known = common_mask(scene.truth[0], scene.origin, *(p.mean[0] for p in predictions.values()))
    assert WHOLE["model", 1, "all"].score.count == known.sum() < np.isfinite(scene.truth[0]).sum()


def test_what_one_forecaster_lacks_is_hidden_from_the_windows_of_all():
    scene, predictions = WORLD
    keep = common_mask(scene.truth[0], scene.origin, *(p.mean[0] for p in predictions.values()))
    hidden = replace(scene, truth=np.where(keep, scene.truth, np.nan))
    alone = Tally.of(hidden, {"model": predictions["model"]})
    assert WHOLE["model", 1, "all"].structure == alone["model", 1, "all"].structure


def test_a_forecaster_without_a_lead_leaves_the_others_their_pixels():
    scene, predictions = WORLD
    lacking = {**predictions, "ridge": Prediction(predictions["persistence"].mean[:1], leads=(1,))}
    found = Tally.of(scene, lacking, settings=MEASURED)
    assert found["model", 2, "all"] == WHOLE["model", 2, "all"]
    assert found["ridge", 1, "all"].score == WHOLE["persistence", 1, "all"].score
    assert ("ridge", 2, "all") not in found.cells


def test_strata_that_part_the_map_add_up_to_all():
    scene, predictions = WORLD
    west = scene.strata["west"]
    parted = Tally.of(replace(scene, strata={"west": west, "east": ~west}), predictions)
    for name in predictions:
        both = parted[name, 1, "west"] + parted[name, 1, "east"]
        assert both.figures() == pytest.approx(
            parted[name, 1, "all"].figures(), rel=1e-12, nan_ok=True
        )


def test_a_stratum_may_differ_between_leads():
    scene, predictions = WORLD
    apart = replace(scene, strata={"grew": scene.strata["grew"][1]})
    same = Tally.of(apart, predictions, settings=MEASURED)
    assert same["model", 2, "grew"] == WHOLE["model", 2, "grew"]
    assert same["model", 1, "grew"] != WHOLE["model", 1, "grew"]


def test_figures_of_a_cell_equal_those_of_its_pixels():
    scene, predictions = WORLD
    cell, p = WHOLE["model", 2, "all"], predictions["model"]
    keep = common_mask(scene.truth[1], scene.origin, *(q.mean[1] for q in predictions.values()))
    y, knots = scene.truth[1][keep].astype(float), p.knots[1][:, keep]
    weight = np.broadcast_to(scene.weight, SHAPE)[keep]
    found = cell.figures()
    assert found["crps"] == pytest.approx(np.average(crps(y, knots, LEVELS), weights=weight))
    z = pit(y, knots, LEVELS, uniforms(Window.of(SHAPE), seed=2)[keep])
    inside = (z >= 0.1) & (z <= 0.9)
    assert found["coverage_80"] == pytest.approx(np.average(inside, weights=weight))
    share = np.average((z >= 0.3) & (z < 0.35), weights=weight)
    assert found["pit_06"] == pytest.approx(share)
    width = np.average(knots[3].astype(float) - knots[0], weights=weight)
    assert found["width_80"] == pytest.approx(width)
    changed = np.abs(y - scene.origin[keep]) > 0.05
    foreseen = np.abs(p.mean[1][keep] - scene.origin[keep]) > 0.05
    hits = weight[changed & foreseen].sum()
    assert found["recall"] == pytest.approx(hits / weight[changed].sum())
    assert sum(found[f"pit_{i:02d}"] for i in range(20)) == pytest.approx(1)


def test_a_forecast_without_knots_is_a_point_mass():
    figures = WHOLE["trend", 1, "all"].figures()
    assert figures["crps"] == figures["mae"]
    assert figures["width_95"] == 0
    point = Cell.of([[0.0]], [[0.0]], [[0.5]], knots=[[[0.5]]] * 2, levels=[0.1, 0.9])
    assert point == Cell.of([[0.0]], [[0.0]], [[0.5]])


def test_a_cell_equals_the_tally_of_one_forecaster():
    scene, predictions = WORLD
    p, crop = predictions["model"], Window(Span(3, 9), Span(2, 11))
    cell = Cell.of(
        scene.truth[0],
        scene.origin,
        p.mean[0],
        knots=p.knots[0],
        levels=LEVELS,
        weight=scene.weight,
        uniform=uniforms(crop, seed=1),
        crop=crop,
    )
    alone = Tally.of(replace(scene, crop=crop, corner=(3, 2)), {"model": p})
    assert cell == alone["model", 1, "all"]
    assert cell != Cell.of(scene.truth[0], scene.origin, p.mean[0])


def test_a_lead_without_truth_has_empty_cells():
    scene, predictions = WORLD
    truth = scene.truth.copy()
    truth[1] = np.nan
    found = Tally.of(replace(scene, truth=truth), predictions)
    assert found["model", 2, "all"] == Cell()
    assert found.leads == LEADS
    assert found.strata == ("all", "west", "grew")
    assert found.forecasters == ("persistence", "model", "trend")


def test_a_tally_survives_json_to_the_last_digit():
    assert Tally.from_dict(json.loads(json.dumps(WHOLE.as_dict()))) == WHOLE


def test_folds_pool_by_adding_their_states():
    other = Tally.of(*world(1), settings=MEASURED)
    assert pooled({"a": WHOLE, "b": other})["model", 1, "all"] == (
        WHOLE["model", 1, "all"] + other["model", 1, "all"]
    )
    assert pooled({}) == Tally()
    assert WHOLE + Tally.zero() == WHOLE


def test_maps_of_other_windows_are_refused():
    with pytest.raises(BadArgument, match=r"\(3, 5\) pixels comes with one of \(3, 4\)"):
        common_mask(np.zeros((3, 4)), np.zeros((2, 3, 5)))


def test_knots_without_levels_are_refused():
    with pytest.raises(BadArgument, match=r"knots and levels come together.*Pass both"):
        Prediction(np.zeros((1, 2, 2)), knots=np.zeros((1, 3, 2, 2)))


def test_truth_has_a_plane_for_each_lead():
    with pytest.raises(BadArgument, match=r"truth has 1 planes for 2 leads.*NaN"):
        Scene(np.zeros((1, 2, 2)), np.zeros((2, 2)), (1, 2))


def test_the_stratum_of_all_pixels_cannot_be_replaced():
    with pytest.raises(BadArgument, match="called 'all'"):
        replace(WORLD[0], strata={"all": np.ones(SHAPE, dtype=bool)})
