"""Laws of a fit that starts from the weights of another model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

import hmx
from hmx.catalog import load_catalog
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, BundleError, CatalogError
from hmx.forecast.options import split_fitting
from hmx.forecast.train.recipe import Start, TrainSetup, plan
from hmx.forecast.train.train import facts
from hmx.networks.forecaster import Forecaster
from hmx.workflow.steps import ForecastSteps
from tests.make.cubes import write_catalog

# the network of the fixture `trained`
SAME = {"static": ["elevation"], "history": 2, "width": 8, "trunk": (1, 2), "context": (1, 3)}
BRIEF = {"epochs": 1, "steps": 1, "chip": 48, "final": False, "ema": 0, "calibration": 0}


@pytest.fixture(scope="module")
def elsewhere(cube: xr.Dataset) -> xr.Dataset:
    """Another region: another level, and half the change."""
    other = cube.copy(deep=True)
    other["hm"] = 0.4 + 0.5 * (other["hm"] - 0.4)
    other["hm"].attrs = cube["hm"].attrs
    return other


def parameters(bundle: hmx.Bundle) -> dict[str, np.ndarray]:
    names = dict(Forecaster.of(bundle.spec, bundle.scaler).named_parameters())
    return {name: bundle.weights[name] for name in names}


def test_a_fit_starts_from_the_weights_of_another_model(
    trained: hmx.Bundle, elsewhere: xr.Dataset
) -> None:
    """From all that were trained; scales and the anchor are those of the new data."""
    options: dict[str, Any] = {**SAME, **BRIEF, "lr": 1e-9}
    made = elsewhere.hm.train(init_from=trained.path, **options)
    fresh = elsewhere.hm.train(**options)
    had, new = parameters(trained), parameters(fresh)
    for name, array in parameters(made).items():
        np.testing.assert_allclose(array, had[name], atol=1e-6)
    assert not np.allclose(had["head.weight"], new["head.weight"], atol=1e-3)
    assert made.scaler == fresh.scaler != trained.scaler
    for name in made.weights.keys() - had.keys():
        np.testing.assert_array_equal(made.weights[name], fresh.weights[name])


def test_the_start_is_recorded_and_decides_the_fingerprint(
    trained: hmx.Bundle, cube: xr.Dataset, tmp_path: Path
) -> None:
    network, fit = split_fitting({k: v for k, v in (SAME | BRIEF).items() if k != "static"})
    recipe = TrainSetup("hm", (), ("elevation",), network, fit)
    known = as_cube(cube, target="hm", dynamic=(), static=("elevation",))
    plain = facts(plan(known, recipe), recipe)
    assert "init_from" not in plain
    recipe = replace(recipe, init_from=str(trained.path))
    started = facts(plan(known, recipe), recipe)
    assert started == plain | {"init_from": str(trained.path), "init_digest": trained.digest}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 6}, r"has another network: width=8 \(here 6\)\. Train with its options, or"),
        ({"h": 2}, r"h=4 \(here 2\)"),
        ({"static": []}, r"static=\['elevation'\] \(here \[\]\)"),
        ({"context": (1, 5)}, r"context=\{'radii': \[1, 3\].*\(here \{'radii': \[1, 5\]"),
        ({"trunk": (2, 1)}, r"trunk=\(1, 2\) \(here \(2, 1\)\)"),
        (
            {"arch": "dilated", "strategy": "recursive"},
            r"arch='convlstm' \(here 'dilated'\), strategy='direct' \(here 'recursive'\)",
        ),
    ],
)
def test_a_start_of_another_network_is_refused_naming_what_differs(
    trained: hmx.Bundle, cube: xr.Dataset, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(BadArgument, match=text):
        cube.hm.train(init_from=trained.path, **{**SAME, **BRIEF, **change})


def test_options_that_change_no_layer_may_differ(trained: hmx.Bundle) -> None:
    other = trained.spec.network.model_copy(update={"anchor": False, "terrain": ("elevation",)})
    Start.read(str(trained.path)).require_fits(replace(trained.spec, network=other, target="hfp"))


def test_a_start_in_other_units_is_refused(trained: hmx.Bundle) -> None:
    start = Start(replace(trained, spec=replace(trained.spec, units="%")), "m")
    text = r"init_from='m' was trained on 'hm' in '%', and the maps are in 'g/kg'"
    with pytest.raises(BadArgument, match=text):
        start.require_fits(replace(trained.spec, units="g/kg"))


def test_what_is_no_forecaster_is_no_start(cube: xr.Dataset, trained_mapper: hmx.MapBundle) -> None:
    with pytest.raises(BundleError, match="there is no model at 'nowhere'"):
        cube.hm.train(init_from="nowhere", **SAME)
    with pytest.raises(BundleError, match=r"maps .*"):
        cube.hm.train(init_from=trained_mapper.path, **SAME)


def test_a_catalog_trains_anew_when_its_start_is_another(
    trained: hmx.Bundle, tmp_path: Path
) -> None:
    """And its scorecard refits without a start, which may have learnt from what is scored."""
    shutil.copytree(trained.path, tmp_path / "start")
    file = write_catalog(tmp_path, train={"init_from": "start"})
    steps = ForecastSteps(hmx.Catalog.load(file))
    cube = xr.Dataset(attrs={"hmx_fingerprint": "x"})
    assert steps.setup(cube).init_from == str(tmp_path / "start")
    settings = {"network": steps.network, "fit": steps.fit}
    had = {name: json.loads(options.model_dump_json()) for name, options in settings.items()}
    had |= {"cube": "x", "init_from": str(tmp_path / "start"), "init_digest": trained.digest}
    bundle = replace(trained, training=had)
    assert steps.change(bundle, cube) is None
    other = replace(bundle, training=had | {"init_digest": "0"})
    assert steps.change(other, cube) == "the model that it starts from has changed since"
    shutil.rmtree(tmp_path / "start")
    assert steps.change(other, cube) is None, "the model is there, and its start no longer needed"
    anew = replace(bundle, training={k: v for k, v in had.items() if k != "init_from"})
    assert steps.change(anew, cube) == "it starts from another model"


def test_a_bundle_of_an_earlier_release_is_current_with_the_defaults_of_this_one(
    trained: hmx.Bundle, tmp_path: Path
) -> None:
    """Settings that it lacks, and those that are now chosen by the raster, make no difference."""
    file = write_catalog(tmp_path, model={"context": None, "history": None}, train={"chip": None})
    steps = ForecastSteps(hmx.Catalog.load(file))
    settings = {"network": steps.network, "fit": steps.fit}
    had = {name: json.loads(options.model_dump_json()) for name, options in settings.items()}
    for section, name in (("network", "predict"), ("fit", "loss"), ("fit", "ssim")):
        del had[section][name]
    had["network"] |= {"context": [1, 3, 10, 30], "history": 3}
    had["fit"]["chip"] = 96
    cube = xr.Dataset(attrs={"hmx_fingerprint": "x"})
    assert steps.change(replace(trained, training=had | {"cube": "x"}), cube) is None
    had["fit"]["chip"] = 64
    found = steps.change(replace(trained, training=had | {"cube": "x"}), cube)
    assert found == "train.chip is None, and was 64"


@pytest.mark.parametrize("command", ["forecast", "map"])
def test_a_catalog_whose_start_is_its_own_model_is_refused(tmp_path: Path, command: str) -> None:
    file = write_catalog(tmp_path, train={"init_from": "toy.model"})
    if command == "map":
        raw = yaml.safe_load(file.read_text("utf-8"))
        raw |= {"points": {"path": "p.csv", "target": "soc"}, "model": {"path": "toy.model"}}
        raw["train"] = {"init_from": "toy.model"}
        del raw["forecast"]
        file.write_text(yaml.safe_dump(raw), "utf-8")
    text = r"train\.init_from is '.*toy\.model', where the new model is saved.* Give model\.path"
    with pytest.raises(CatalogError, match=text):
        load_catalog(file)


def test_a_fit_takes_the_heads_of_its_start(trained: hmx.Bundle) -> None:
    start = Start(trained, "models/start")
    had = trained.spec.network
    assert start.settled(_with_heads(trained, "auto")).network.heads == had.heads
    assert start.settled(_with_heads(trained, "separate")).network.heads == "separate"
    assert Start().settled(_with_heads(trained, "auto")).network.heads == "auto"


def _with_heads(bundle: hmx.Bundle, heads: str) -> Any:
    network = bundle.spec.network.model_copy(update={"heads": heads})
    return replace(bundle.spec, network=network)
