"""Laws of what is blended in: every product of each choice of regressions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import hmx
from hmx.cli.main import hmx as command_line
from hmx.mapping.evaluate.score import score
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.options import MapScoreOptions, MapTrainOptions, Regression
from hmx.mapping.predict import predict
from hmx.mapping.train.recipe import MapTrainSetup
from hmx.mapping.train.train import train
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from hmx.splits.options import SplitOptions
from hmx.workflow import ensure_cube
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import TINY_NETWORK, TINY_SPLIT, UTM, make_points, write_map_catalog

WORDS: dict[Regression, str] = {
    "both": "a Gaussian process and a forest",
    "gaussian_process": "a Gaussian process",
    "forest": "a forest",
    "none": "no regression",
}
ONE = {"runs": 1, "epochs": 1, "inner": 2, "batch": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose cube is there."""
    path = write_map_catalog(
        tmp_path_factory.mktemp("blends"), make_covariates((24, 24)), train={**ONE},
        evaluate={"beside": [], "level": [80]},
    )  # fmt: skip
    ensure_cube(hmx.MapCatalog.load(path))
    return path


@pytest.mark.parametrize("regression", WORDS)
def test_every_command_works_with_each_regression(catalog: Path, regression: Regression) -> None:
    folder, words = catalog.parent, WORDS[regression]
    own = {
        "train.regression": regression,
        "model.path": f"{regression}.model",
        "map.output": f"{regression}.zarr",
        "evaluate.output": f"{regression}_scores",
    }

    def run(command: str, *more: str) -> Result:
        given = [word for key, value in own.items() for word in ("--set", f"{key}={value}")]
        done = CliRunner().invoke(command_line, [command, str(catalog), *given, *more])
        assert done.exit_code == 0, done.output
        return done

    assert f"{words}: about" in run("plan").stdout
    trained = run("train").stderr
    assert (words.replace("a ", "") in trained) == (regression != "none")
    members = f"{words} of weight 0.5" if regression != "none" else "1 network\n"
    assert members in run("info").stdout
    bundle = hmx.load(folder / f"{regression}.model")
    assert bundle.spec.regression == regression
    assert bool(bundle.forest) == (regression in ("forest", "both"))
    assert bool(bundle.process) == (regression in ("gaussian_process", "both"))
    run("map")
    table = folder / f"{regression}.csv"
    run("predict", "--points", str(folder / "points.csv"), "--output", str(table), "--level", "80")
    made, found = hmx.open_cube(folder / f"{regression}.zarr"), pd.read_csv(table)
    at = {axis: xr.DataArray(found[axis].to_numpy()) for axis in ("x", "y")}
    for name in ("soc", "soc_lo_80", "soc_hi_80"):
        pixels = made[name].sel(at, method="nearest").values
        known = np.isfinite(pixels)
        np.testing.assert_allclose(found[name][known], pixels[known], rtol=2e-5)
        assert known.sum() > 50
    run("evaluate")
    card = MapScorecard.load(str(folder / f"{regression}_scores"))
    assert ("gaussian_process" in card.forecasters) == bool(bundle.process)
    assert ("blend" in card.forecasters) == (regression != "none")
    assert json.loads((folder / f"{regression}_scores/scorecard.json").read_text())["verdict"]
    report = run("report", "--output", str(folder / f"{regression}.html"))
    assert Path(report.stdout.split()[-1]).stat().st_size > 50_000
    exported = run("export", "--format", "cog").stdout.split()[-1]
    assert {"soc.tif", "soc_lo_80.tif"} <= {path.name for path in Path(exported).iterdir()}


@pytest.mark.parametrize("regression", ["both", "gaussian_process", "none"])
def test_a_scorecard_judges_what_a_map_without_the_fold_predicts(
    land: xr.Dataset, regression: Regression
) -> None:
    table = make_points(land)
    knots = (0.1, 0.5, 0.9) if regression == "none" else ()  # whose spread widens intervals
    recipe = MapTrainSetup(
        points=PointsOptions(crs=UTM),
        network=MapperOptions(**TINY_NETWORK, knots=knots),
        fit=MapTrainOptions(**ONE, regression=regression, krige=False),
        split=SplitOptions(**TINY_SPLIT),
    )
    card = score(land, table, recipe, MapScoreOptions(beside=()))
    own, fold = card.splits[card.main], card.splits[card.main].folds.fold
    rows = np.array([int(name) for name in card.ids])
    test = rows[fold == 0]
    mapper = train(land, table.drop(index=test), recipe)
    assert mapper.spec.regression == regression
    there = predict(land, table.loc[test], model=mapper, crs=UTM)["soc"]
    name = "network" if regression == "none" else "blend"
    np.testing.assert_allclose(there, card.native(own.estimates[name].center)[fold == 0], rtol=2e-3)
    assert there.std() > 0.02
    spread = own.estimates[name].spread_or_zero
    assert (np.ptp(spread) > 0) == (regression != "gaussian_process")


def test_no_regression_is_a_blend_of_weight_0() -> None:
    none = MapTrainOptions(regression="none")
    assert (none.blend, none.blended) == (0, "none")
    assert MapTrainOptions(blend=0).blended == "none"
    assert MapTrainOptions(blend=0.3).blended == "both"
    with pytest.raises(ValueError, match=r"regression='none' is blend=0, and blend=0.5"):
        MapTrainOptions(regression="none", blend=0.5)
