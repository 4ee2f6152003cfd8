"""Laws of scoring a mapper from points and cube, into a folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hmx.errors import OutputExists
from hmx.mapping.evaluate import score as scoring
from hmx.mapping.evaluate.rounds import PLAIN
from hmx.mapping.evaluate.score import fingerprint_of, networks, score, score_folds
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.evaluate.weighting import WEIGHTED
from hmx.mapping.options import MapScoreOptions, MapTrainOptions
from hmx.mapping.target import unit_of
from hmx.mapping.train.recipe import MapTrainSetup, prepare
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from hmx.scores import regression_scores
from hmx.splits.options import SplitOptions
from tests.engine.test_job import Told
from tests.make.soils import make_soils
from tests.make.soilworlds import TINY_FIT, TINY_NETWORK, TINY_SPLIT, UTM, make_points

ALONE = MapScoreOptions(beside=())


def recipe_of(**fit: Any) -> MapTrainSetup:
    return MapTrainSetup(
        points=PointsOptions(crs=UTM, units="g/kg"),
        network=MapperOptions(**TINY_NETWORK),
        fit=MapTrainOptions(**{**TINY_FIT, "epochs": 1, **fit}),
        split=SplitOptions(**TINY_SPLIT),
    )


def score_of(land: xr.Dataset, out: Path, points: pd.DataFrame | None = None, **how: Any) -> Any:
    """Score, and return what was told beside it."""
    told = Told()
    points = make_points(land) if points is None else points
    recipe = how.pop("recipe", None) or recipe_of()
    return score(land, points, recipe, out=out, progress=told.progress, **how), told.lines


@pytest.fixture(scope="module")
def scored(land: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("scored") / "scorecard"
    return score_of(land, out)[0], out


def test_a_scorecard_is_a_folder_of_json_csv_text_and_pictures(scored: tuple[Any, Path]) -> None:
    card, out = scored
    names = {path.name for path in out.iterdir()}
    assert names == {
        "scorecard.json", "scorecard.txt", "checks.md", "scores.csv", "predictions.csv",
        "rounds.safetensors", "bands.png", "intervals.png", "residuals.png", "scatter.png",
    }  # fmt: skip
    assert (out / "scorecard.txt").read_text() == str(card)
    said = json.loads((out / "scorecard.json").read_text())
    assert said["verdict"] == card.verdict
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    key = {"split": card.main, "forecaster": "forest", "scale": "log1p(soc)", "metric": "r2"}
    (row,) = (r for r in rows if key.items() <= r.items() and r["stratum"] == "all")
    assert float(row["value"]) == pytest.approx(card.value("r2", "forest"))
    assert (out / "scatter.png").read_bytes().startswith(b"\x89PNG")


def test_everyone_is_scored_on_the_same_folds_beside_random_ones(scored: tuple[Any, Path]) -> None:
    card: MapScorecard = scored[0]
    assert list(card.splits) == ["blocks of 2 km", "random folds"]
    baselines = {"forest", "gaussian_process", "boosting", "linear", "mean"}
    assert {"network", "network ensemble", "blend", *baselines} == {*card.forecasters} - {PLAIN}
    assert card.importance is not None
    assert card.importance.bands[0] == "lst"
    assert card.distances is not None
    assert card.facts["units"] == "g/kg"
    assert card.value("r2", "linear") > card.value("r2", "mean")


def test_a_scorecard_has_the_scores_of_the_map(scored: tuple[Any, Path]) -> None:
    card = scored[0]
    assert card.weighted is not None
    assert len(card.weighted.weights) == len(card.truth) * len(card.splits)
    for name in ("blend", "network", "network ensemble", "forest"):
        assert np.isfinite(card.value("r2", name, split=WEIGHTED))
    truth = np.tile(card.truth, len(card.splits))
    center = np.concatenate([card.center("forest", split) for split in card.splits])
    found = regression_scores(truth, center, card.weighted.weights)
    assert card.value("r2", "forest", split=WEIGHTED) == found["r2"]
    assert card.value("n_effective", split=WEIGHTED) == card.weighted.effective
    assert f"on {WEIGHTED}" in str(card)
    again = MapScorecard.load(str(scored[1]))
    assert again.as_dict() == card.as_dict()


def test_a_scorecard_that_is_current_is_kept(land: xr.Dataset, scored: tuple[Any, Path]) -> None:
    card, out = scored
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    for recipe in (recipe_of(), recipe_of(device="auto")):  # where it is computed says nothing
        found, lines = score_of(land, out, recipe=recipe)
        assert (str(found), found.as_dict()) == (str(card), card.as_dict())
        assert lines[-1] == f"evaluate: {out} exists and is current"
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_other_points_options_and_cubes_are_other_scorecards(land: xr.Dataset) -> None:
    points, recipe, options = make_points(land), recipe_of(), MapScoreOptions()

    def mark(
        ds: xr.Dataset = land,
        table: pd.DataFrame = points,
        how: MapTrainSetup = recipe,
        wish: MapScoreOptions = options,
    ) -> str:
        return fingerprint_of(prepare(ds, table, how), how, wish)

    marks = [
        mark(),
        mark(table=points.assign(soc=points["soc"] + 0.01)),
        mark(table=points.assign(x=points["x"][::-1].to_numpy(), y=points["y"][::-1].to_numpy())),
        mark(ds=land.assign(twi=land["twi"] + 1)),
        mark(how=recipe_of(lr=0.01)),
        mark(how=replace(recipe, split=SplitOptions(method="random", folds=3))),
        mark(how=replace(recipe, network=MapperOptions(**{**TINY_NETWORK, "hidden": 5}))),
        mark(wish=MapScoreOptions(beside=())),
        mark(wish=MapScoreOptions(level=(80,))),
    ]
    assert len(set(marks)) == len(marks)
    assert marks[0] == mark() == mark(how=recipe_of(device="auto"))


def test_what_is_not_current_or_asked_for_again_is_scored_again(
    land: xr.Dataset, scored: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        scoring, "score_folds", lambda *given, **_: calls.append(given) or scored[0]
    )
    monkeypatch.setattr(scoring, "permuted_importance", lambda *_, **__: scored[0].importance)
    monkeypatch.setattr(scoring, "weigh", lambda *_, **__: scored[0].weighted)
    monkeypatch.setattr(MapScorecard, "plots", lambda _: {})  # which take longest
    for number, how in enumerate([{}, {"options": ALONE}, {"options": ALONE, "overwrite": True}]):
        score_of(land, tmp_path / "card", **how)
        assert len(calls) == number + 1
    score_of(land, tmp_path / "card", options=ALONE)
    assert len(calls) == 3
    (tmp_path / "card" / "rounds.safetensors").unlink()
    score_of(land, tmp_path / "card", options=ALONE)
    assert len(calls) == 4


def test_another_folder_is_left_alone_and_nothing_is_fitted(
    land: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hmx.mapping.evaluate.score.score_folds", lambda *_, **__: pytest.fail("fits")
    )
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"not a scorecard of a map, .*--output scores"):
        score_of(land, tmp_path)
    (tmp_path / "scorecard.json").write_text('{"hmx_scorecard": 1}')  # of a forecast
    with pytest.raises(OutputExists, match="left alone"):
        score_of(land, tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "scorecard.json"]


def test_intervals_learn_from_inner_folds_where_asked(land: xr.Dataset, tmp_path: Path) -> None:
    card, _ = score_of(land, tmp_path / "c", options=MapScoreOptions(beside=(), inner=2, level=80))
    assert "2 inner folds" in str(card)
    assert card.levels == (80.0,)


def test_scores_do_not_depend_on_the_unit_of_the_samples() -> None:
    """Values near 1 and near 10 too: folds on both sides of an order of magnitude."""
    soils, cards = make_soils(150), []
    around = soils.values / np.median(soils.values) * 1.02
    magnitudes = {unit_of(around[train]) for train, _ in soils.blocks(2).rounds()}
    assert len(magnitudes) == 2, "the folds have one order of magnitude"
    for unit in (1.0, 10.0):
        values, fit = around * unit, MapTrainOptions(**{**TINY_FIT, "epochs": 1})
        own = {"network": networks(soils.raw, values, soils.spec, fit, soils.samples.site)}
        folds = [soils.blocks(2)]
        cards.append(score_folds(soils.raw, values, soils.spec, folds, fit=fit, forecasters=own))
    assert [card.scale for card in cards] == ["log1p(soc)", "log1p(soc / 10)"]
    for name in cards[0].forecasters:
        pair = [card.value("r2", name) for card in cards]
        assert pair[1] == pytest.approx(pair[0], abs=1e-3)
        bias = [card.value("bias", name, scale="native") for card in cards]
        assert bias[1] / 10 == pytest.approx(bias[0], abs=1e-3)
