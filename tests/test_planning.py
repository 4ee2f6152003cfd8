"""Laws of a plan before anything is there: it makes nothing, and it is about what will be made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hmx
from hmx.catalog import Catalog, MapCatalog
from hmx.cube.bands import as_bands
from hmx.cube.cube import as_cube
from hmx.forecast.train.data import Draw
from hmx.forecast.train.recipe import plan as plan_forecaster
from hmx.forecast.train.visits import fit_length
from hmx.ingest.unwritten import open_unwritten
from hmx.mapping.train import train as training
from hmx.points.joining import join
from hmx.points.table import read_points
from hmx.workflow import ensure_cube, plan_result
from hmx.workflow.planning import FreshPlan
from hmx.workflow.steps import ForecastSteps, MapSteps
from tests.make.cubes import make_cube, write_catalog
from tests.make.mapworlds import make_covariates, make_mapper
from tests.make.soilworlds import UTM, make_points, write_map_catalog

LAND = make_covariates((32, 36))


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def soils(tmp_path_factory: pytest.TempPathFactory) -> MapCatalog:
    folder = tmp_path_factory.mktemp("soils")
    table = make_points(LAND)
    away = table.iloc[:7].assign(x=table["x"][:7] + 1e6)
    lost = table.iloc[:2].assign(soc=np.nan)
    return MapCatalog.load(write_map_catalog(folder, LAND, pd.concat([table, away, lost])))


def test_a_plan_of_a_fresh_map_trains_nothing_and_is_that_of_the_training(
    soils: MapCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(soils.points.path).parent
    before = tree(folder)
    monkeypatch.setattr(training, "learn", None)  # the training itself is never called
    made = plan_result(soils)
    assert tree(folder) == before
    assert isinstance(made, FreshPlan)
    ingest, cost = made.ingest, made.training
    assert ingest.steps == {"lst": 4, "rain": 4, "elevation": 1, "twi": 1}
    assert (ingest.shape, ingest.files) == ((32, 36), 10)
    assert ingest.bytes_written == 10 * 32 * 36 * 4
    samples, report = join(
        MapSteps(soils).points(), as_bands(LAND), window=3, min_valid=soils.points.min_valid
    )
    assert cost.samples == len(samples)
    assert cost.left == {why: len(rows) for why, rows in report.left.items()}
    assert (cost.left["outside"], cost.left["no value"]) == (7, 2)
    assert (cost.scored, cost.held_out, cost.networks, cost.epochs) == (3, 2, 2, 2)
    assert cost.steps == cost.samples // 32
    assert set(cost.seconds) == {"networks", "folds", "regressions", "calibration"}
    assert all(0 < seconds < 600 for seconds in cost.seconds.values())
    assert made.result.tiles == 6
    assert 0 < made.result.seconds < 600
    text, facts = str(made), json.loads(json.dumps(made.as_dict()))
    assert "7 outside the cube" in text
    assert "2 folds in training (train.inner), 3 in hmx evaluate (train.split.folds)" in text
    assert facts["training"]["samples"] == cost.samples
    assert facts["tiles"] == 6


def test_more_networks_and_epochs_cost_as_much_more(soils: MapCatalog) -> None:
    from hmx.mapping.train import cost

    setup = MapSteps(soils).setup
    cube, _ = open_unwritten(soils)
    found = cost.joined(cube, soils.points.path, setup)
    both, memory = {"forest": 50, "gaussian_process": 20}, {}
    seconds_of = {"forest": 3.0, "gaussian_process": 5.0}
    timed = cost._Timed(0.1, seconds_of, 1e-8, 0.0, make_mapper(LAND), 100, both)
    few = cost._few(found, setup)
    folds = training.training_folds(found, setup)

    def seconds(**update: int) -> dict[str, float]:
        fit = setup.fit.model_copy(update=update)
        recipe = cost.replace(setup, fit=fit)
        return cost._planned(found, few, recipe, folds, folds, 4, timed).seconds

    once, twice = seconds(runs=2, epochs=2), seconds(runs=4, epochs=2)
    assert twice["networks"] == pytest.approx(2 * once["networks"])
    assert seconds(runs=2, epochs=6)["networks"] == pytest.approx(3 * once["networks"])
    assert once["networks"] == pytest.approx(2 * 2 * (len(found.samples) // 32) * 0.1)
    for name, whole, size in (("both", 8, 70), ("gaussian_process", 5, 20), ("none", 0, 0)):
        spec = replace(few.spec, regression=name)
        made = cost._planned(found, replace(few, spec=spec), setup, folds, folds, 4, timed)
        assert made.seconds["regressions"] == whole
        assert made.model_bytes == 100 + size
        assert made.seconds["folds"] > 4  # both, on half of the samples, twice
        memory[name] = made.memory
    assert memory["both"] - memory["none"] == 2 * 8 * len(found.samples) ** 2


def test_an_unwritten_cube_is_the_cube_that_ingest_writes(soils: MapCatalog) -> None:
    lazy, _ = open_unwritten(soils)
    whole = lazy.load()
    written = hmx.open_cube(ensure_cube(soils))
    for name in written.data_vars:
        np.testing.assert_array_equal(whole[name].values, written[name].values)
        assert whole[name].dims == written[name].dims
    lazy, _ = open_unwritten(soils)
    parts = {"y": slice(3, 9), "x": [5, 2, 30]}
    np.testing.assert_array_equal(
        lazy["lst"].isel(time=[3, 1], **parts), written["lst"].isel(time=[3, 1], **parts)
    )
    assert lazy["twi"].isel(y=4, x=7).values == written["twi"].isel(y=4, x=7).values
    assert lazy.attrs["hmx_fingerprint"] == written.attrs["hmx_fingerprint"]


def test_a_join_reads_no_more_than_it_may_and_counts_what_it_did_not(soils: MapCatalog) -> None:
    points = read_points(make_points(LAND), target="soc", crs=UTM)
    samples, report = join(points, as_bands(LAND), window=3)
    every, blind = join(points, as_bands(LAND), window=3, most=0)
    assert len(samples) < len(every) == 90 - len(blind.left.get("duplicate", ()))
    assert f"{len(every)} of the samples were not looked up in the cube" in str(blind)
    assert "looked up" not in str(report)


def test_a_plan_of_a_fresh_forecast_trains_nothing_and_counts_its_steps(tmp_path: Path) -> None:
    ds = make_cube((48, 56))
    catalog = Catalog.load(write_catalog(tmp_path, ds, train={"steps": None, "epochs": 30}))
    before = tree(tmp_path)
    made = plan_result(catalog)
    assert tree(tmp_path) == before
    assert isinstance(made, FreshPlan)
    cube, _ = open_unwritten(catalog)
    setup = ForecastSteps(catalog).setup(cube)
    planned = plan_forecaster(as_cube(cube, target="hm", dynamic=(), static=("elevation",)), setup)
    draw = Draw.of(planned.reader, planned.scanned.changed, setup.fit.focus)
    valid, regular = planned.scanned.valid, planned.regular
    wanted = fit_length(planned.reader, draw, setup.fit, valid=valid, regular=regular)
    cost = made.training
    assert (cost.steps, cost.epochs, cost.networks) == (wanted.steps, wanted.epochs, 2)
    assert 3 < wanted.steps < 13  # between the bounds, or the test could not fail
    assert cost.seconds > wanted.epochs * wanted.steps * cost.seconds_per_step
    assert made.result.tiles == 4
    assert "at most about" in str(made)
