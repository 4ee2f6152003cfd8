"""Laws of zones in a backtest: all their pixels count once, whatever the tiles and workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument
from hmx.forecast.backtest.backtest import backtest, evaluate
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.backtest.text import zone_verdict
from hmx.forecast.backtest.zonal import SIDE, cells, past_origins, regular, squares, tiles_of
from hmx.forecast.options import BacktestOptions
from hmx.scores.zones import ZoneTally
from hmx.settings import parse
from hmx.windows import Span, Window
from tests.make.cubes import make_cube

QUICK: dict[str, Any] = {
    "static": ["elevation"], "history": 2, "width": 4, "trunk": [1], "context": [1, 3],
    "epochs": 2, "steps": 4, "chip": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """A stored cube of two tiles of zones, 1990 to 2020."""
    path = tmp_path_factory.mktemp("world") / "cube.zarr"
    ds = make_cube((64, SIDE + 32), steps=7)
    for name, role in (("hm", "target"), ("elevation", "static")):
        ds[name].attrs["hmx_role"] = role
    ds.to_zarr(path, encoding={"hm": {"chunks": (7, 32, 64)}})
    return hmx.open_cube(path)


@pytest.fixture(scope="module")
def model(world: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    out = tmp_path_factory.mktemp("early") / "model"
    return world.hm.train(h=2, until=2010, out=out, **QUICK)


def scored(ds: xr.Dataset, model: hmx.Bundle, zones: Any = None, **options: Any) -> Scorecard:
    chosen = {"h": 2, "baselines": ["persistence"], "zone_draws": 12, **options}
    return evaluate(ds, model, BacktestOptions(**chosen), zones=zones)


@pytest.fixture(scope="module")
def card(world: xr.Dataset, model: hmx.Bundle) -> Scorecard:
    return scored(world, model)


def test_squares_and_cells_cover_a_tile_once() -> None:
    whole = Window(Span(SIDE, 2 * SIDE), Span(0, SIDE))
    for name, partition in {**squares(whole), "cells": cells(whole)}.items():
        sizes = np.bincount(partition.zone.ravel())
        assert sizes.sum() == SIDE**2
        assert np.array_equal(sizes, partition.full), name
    assert cells(whole).count == (SIDE // 30) ** 2
    assert 0.3 < cells(whole).full.std() / 900 < 1
    edge = squares(Window(Span(0, 35), Span(0, 65)))["30 px"]
    assert edge.count == 6
    counts = np.bincount(edge.zone.ravel()).astype(float)
    assert edge.enough(counts).tolist() == [True, True, False, False, False, False]


def test_cells_are_the_same_whatever_is_scored_with_them() -> None:
    tile = Window(Span(0, SIDE), Span(SIDE, 2 * SIDE))
    cut = Window(tile.y, Span(SIDE, SIDE + 100))
    assert np.array_equal(np.unique(cells(tile).zone).size, 64)
    part = cells(tile).zone[:, :100]
    same = cells(cut).zone
    assert len({*zip(part.ravel(), same.ravel(), strict=True)}) == same.max() + 1


def test_many_tiles_are_thinned_regularly() -> None:
    every = [tile.index for tile in tiles_of((40 * SIDE, 40 * SIDE))]
    kept = regular(every)
    assert 16 <= len(kept) <= 72
    assert {
        (b - a)
        for a, b in zip(
            sorted({r for r, _ in kept}), sorted({r for r, _ in kept})[1:], strict=False
        )
    } == {5}
    few = every[:70]
    assert regular(few) == few
    line = [(7, column) for column in range(100)]  # no row of it lies on the regular grid
    assert 0 < len(regular(line)) <= 72


def test_earlier_origins_have_their_history_and_a_known_truth() -> None:
    assert [*past_origins(6, (1, 2), 2)] == [(5, (1,)), (4, (1, 2))]
    assert [*past_origins(3, (2, 3, 5), 1)] == [(1, (2,))]
    assert [*past_origins(1, (1,), 1)] == []


def test_all_pixels_of_the_region_are_in_its_total(card: Scorecard) -> None:
    for lead in (1, 2):
        whole = card.table["model", lead, "all", "all"]
        cell = card.whole_zones["region", lead]
        assert cell.zones == 1
        assert cell.pixels == whole["n"]
        for name in ("expected_change", "observed_change"):
            assert cell.figures()[name] == pytest.approx(whole[name], rel=1e-4), name
        small = card.whole_zones["10 px", lead]
        assert 0.8 * whole["n"] < small.pixels <= whole["n"]
        assert {*card.whole_zones.sizes} == {"10 px", "30 px", "60 px", "cells", "region"}
        assert card.zone_value("score_over_effective_95", lead, size="10 px") > 0
        assert card.zone_value("coverage_95", lead, size="10 px") <= 1


def test_intervals_are_those_of_the_draws_that_users_get(
    world: xr.Dataset, model: hmx.Bundle, card: Scorecard
) -> None:
    past = world.sel(time=slice(None, "2010"))
    futures = past.hm.draws(n=12, h=2, model=model)["hm"].load()
    truth = world["hm"].sel(time=futures["time"]).load()
    known = np.isfinite(truth) & np.isfinite(past["hm"].isel(time=-1))
    parts = [slice(start, min(start + 60, SIDE + 32)) for start in range(0, SIDE + 32, 60)]
    for number, lead in enumerate((1, 2)):
        there = known[number].values
        drawn = np.where(there, futures[:, number], np.nan)

        def width(rows: slice, columns: slice, drawn: np.ndarray = drawn) -> float:
            totals = np.nanmean(drawn[:, rows, columns], axis=(1, 2))  # pixels of one area
            return float(np.subtract(*np.quantile(totals, [0.9, 0.1])))

        everything = width(slice(None), slice(None))
        found = card.whole_zones["region", lead].intervals["draws", 80.0]
        assert found.width == pytest.approx(everything, rel=2e-3)
        wide = [width(slice(0, 60), part) for part in parts if there[:60, part].sum() >= 1800]
        found = card.whole_zones["60 px", lead].intervals["draws", 80.0]
        assert found.zones == len(wide) > 2
        assert found.wide == pytest.approx(sum(wide), rel=2e-3)


def test_zones_do_not_depend_on_the_tiles_of_other_scores(
    world: xr.Dataset, model: hmx.Bundle, card: Scorecard
) -> None:
    assert scored(world, model, tile=40).zones == card.zones


def test_the_users_zones_replace_squares_and_reach_over_tiles(
    world: xr.Dataset, model: hmx.Bundle, card: Scorecard
) -> None:
    halves = np.zeros((64, SIDE + 32), int)
    halves[32:] = 1
    found = scored(world, model, zones=halves)
    assert {*found.whole_zones.sizes} == {"zones", "region"}
    cell = found.whole_zones["zones", 1]
    assert cell.zones == 2
    assert cell.pixels == card.whole_zones["region", 1].pixels
    assert found.whole_zones["region", 1] == card.whole_zones["region", 1]
    assert "intervals of the zones (about" in str(found.zone_verdict)


def test_only_pixels_left_out_count_in_zones(world: xr.Dataset, tmp_path: Path) -> None:
    late = world.hm.train(h=1, test=0.3, block=32, final=False, out=tmp_path / "model", **QUICK)
    found = scored(world, late, h=1, origins=[2015])
    assert found.whole_zones["region", 1].pixels == found.table["model", 1, "all", "all"]["n"]
    assert found.whole_zones["10 px", 1].zones > 10


def test_zones_are_saved_read_and_reused(
    world: xr.Dataset, model: hmx.Bundle, card: Scorecard, tmp_path: Path
) -> None:
    options = {"baselines": ["persistence"], "zone_draws": 12}
    made = backtest(world, 2, model=model, out=tmp_path / "scores", **options)
    assert made.zones == card.zones
    (tmp_path / "scores" / "scorecard.json").unlink()
    again = backtest(world, 2, model=model, out=tmp_path / "scores", **options)
    assert again.zones == made.zones  # of the rounds that are kept
    saved = json.loads((tmp_path / "scores" / "scorecard.json").read_text())
    restored = Scorecard.from_dict(saved)
    assert restored.zones == made.zones
    assert saved["zone_verdict"] == restored.zone_verdict == card.zone_verdict
    lines = (tmp_path / "scores" / "zones.csv").read_text().splitlines()
    assert lines[0] == "size,lead,split,metric,value"
    assert any(line.startswith("30 px,2,from 2010,coverage_95,") for line in lines)


def test_a_scorecard_of_an_older_release_has_no_zones(card: Scorecard) -> None:
    facts = json.loads(json.dumps(card.as_dict(), default=str))
    for name in ("zones", "zone_scores", "zone_verdict"):
        del facts[name]
    old = Scorecard.from_dict(facts)
    assert old.zone_verdict is None
    assert np.isnan(old.zone_value("coverage_95", 1))
    assert "Zones" not in str(old)
    assert "zone_scores" not in old.as_dict()


def test_no_draws_no_zones(world: xr.Dataset, model: hmx.Bundle) -> None:
    none = scored(world, model, zone_draws=0)
    assert none.zones == {}
    with pytest.raises(BadArgument, match="zone_draws"):
        parse(BacktestOptions, {"zone_draws": -1})


def test_the_sentence_gives_area_share_and_score(card: Scorecard) -> None:
    sentence = card.zone_verdict
    assert sentence is not None
    cell = card.whole_zones["30 px", 1] + card.whole_zones["30 px", 2]
    share = cell.figures()["coverage_95"]
    area = cell.figures()["area_km2"]
    assert sentence.startswith(
        f"95 % intervals of {area:.3g} km2 zones held {100 * share:.0f} % of what"
    )
    assert "+10 years:" in sentence
    text = str(card)
    assert "Zones: share of means inside" in text
    assert "region" in text
    nothing = Scorecard(card.tallies, zones={"from 2010": ZoneTally()})
    assert zone_verdict(nothing) is None
