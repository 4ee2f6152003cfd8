"""Laws of a mapper's folder: it comes back as it was, or what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmx
from hmx.bundles.folder import as_model
from hmx.errors import BundleError, OutputExists
from hmx.forecast.bundle import Bundle
from hmx.mapping.api import soc_map
from hmx.mapping.bundle import MapBundle
from hmx.networks.cnn_lstm import load as load_network
from hmx.uncertainty.joint.dependence import Dependence
from tests.make.cubes import make_bundle, make_cube
from tests.make.mapworlds import make_covariates, make_mapper


@pytest.fixture
def made() -> MapBundle:
    parts = {"forest": True, "process": True}
    bundle = make_mapper(make_covariates(), members=2, calibrated=True, coarse=(2,), **parts)
    return replace(bundle, training={"seed": 3})


def test_a_mapper_comes_back_as_it_was(made: MapBundle, tmp_path: Path) -> None:
    saved = made.save(tmp_path / "m")
    back = hmx.load(tmp_path / "m")
    assert isinstance(back, MapBundle)
    assert (back.spec, back.scaler, back.target) == (made.spec, made.scaler, made.target)
    assert back.calibration.as_dict() == made.calibration.as_dict()
    assert back.training == {"seed": 3}
    assert back.path == saved.path == (tmp_path / "m").resolve()
    for part in ("weights", "forest", "process"):
        ours, theirs = getattr(made, part), getattr(back, part)
        assert list(ours) == sorted(theirs, key=list(ours).index)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert back.digest == made.digest
    assert "MapBundle(soc, cnn_lstm, 5 px x 4 steps" in repr(back)


def test_a_unit_is_written_only_if_a_logarithm_has_one(made: MapBundle, tmp_path: Path) -> None:
    assert "unit" not in made.describe()["target"]  # so that older models keep their digest
    other = replace(made, target=replace(made.target, unit=10.0))
    other.save(tmp_path / "m")
    assert hmx.load(tmp_path / "m").target == other.target
    assert other.digest != made.digest


def test_a_loaded_mapper_maps_the_same(made: MapBundle, tmp_path: Path) -> None:
    cube = make_covariates()
    made.save(tmp_path / "m")
    maps = [soc_map(cube, model=model, level=90).load() for model in (made, tmp_path / "m")]
    for name in maps[0].data_vars:
        np.testing.assert_array_equal(maps[0][name], maps[1][name])


def test_the_digest_follows_what_decides_a_map_and_nothing_else(made: MapBundle) -> None:
    assert replace(made, training={"seed": 4}).digest == made.digest
    changes: list[dict[str, Any]] = [
        {"target": replace(made.target, std=2.0)},
        {"spec": replace(made.spec, blend=0.1)},
        {"weights": {name: w * 2 for name, w in made.weights.items()}},
        {"forest": {**made.forest, "value": made.forest["value"] * 2}},
        {"process": {**made.process, "weights": made.process["weights"] * 2}},
        {"applicability": {"samples": np.zeros((2, 3), "float32")}},
    ]
    digests = [replace(made, **change).digest for change in changes]
    assert len({made.digest, *digests}) == 7


def test_a_model_of_the_other_job_is_told_which_call_takes_it(
    made: MapBundle, tmp_path: Path
) -> None:
    mapper, forecaster = made.save(tmp_path / "m"), make_bundle(make_cube()).save(tmp_path / "f")
    for given in (mapper, tmp_path / "m"):
        with pytest.raises(BundleError, match=r"maps what was.*Pass it to ds\.soc\.map\(model="):
            as_model(Bundle, given)
        with pytest.raises(BundleError, match=r"Pass it to ds\.soc\.map"):
            make_cube().hm.forecast(h=1, model=given)
    for given in (forecaster, tmp_path / "f"):
        with pytest.raises(BundleError, match=r"forecasts.*Pass it to ds\.hm\.forecast\(model="):
            as_model(MapBundle, given)
        with pytest.raises(BundleError, match=r"Pass it to ds\.hm\.forecast"):
            soc_map(make_covariates(), model=given)
    assert as_model(MapBundle, mapper) is mapper
    assert as_model(Bundle, forecaster) is forecaster
    assert isinstance(hmx.load(tmp_path / "f"), hmx.Bundle)


def rewrite(path: Path, change: Any) -> None:
    raw = json.loads((path / "bundle.json").read_text())
    change(raw)
    (path / "bundle.json").write_text(json.dumps(raw))


FAULTS: dict[str, tuple[Any, str]] = {
    "format": (lambda raw: raw.update(format=1), r"has format 1 and this version of hmx reads"),
    "spec": (lambda raw: raw.pop("scaler"), r"does not describe a model: scaler: this key is"),
    "weights": (
        lambda raw: raw.pop("weights"),
        r"does not describe a model: weights: this key is",
    ),
    "network": (lambda raw: raw["spec"]["network"].update(arch="gpt"), "does not describe a model"),
    "weight": (lambda raw: raw["weights"].pop("weights/0.head.bias"), r"has the weight 'weights/0"),
    "job": (lambda raw: raw.update(job="cook"), r"a model for 'cook', which this version of hmx"),
}


@pytest.mark.parametrize(("change", "text"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_with_a_folder_is_named(
    made: MapBundle, tmp_path: Path, change: Any, text: str
) -> None:
    made.save(tmp_path / "m")
    rewrite(tmp_path / "m", change)
    with pytest.raises(BundleError, match=text):
        MapBundle.load(tmp_path / "m")


def test_torn_weights_and_an_empty_place_are_named(made: MapBundle, tmp_path: Path) -> None:
    made.save(tmp_path / "m")
    (tmp_path / "m" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(BundleError, match="is damaged"):
        MapBundle.load(tmp_path / "m")
    with pytest.raises(BundleError, match="there is no model at"):
        MapBundle.load(tmp_path / "nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputExists, match="something that is not a model"):
        made.save(tmp_path / "taken")


def test_weights_of_another_network_are_refused(made: MapBundle) -> None:
    fewer = {name: w for name, w in made.weights.items() if name != "1.head.bias"}
    with pytest.raises(BundleError, match=r"lacks the weight 'head\.bias'"):
        load_network(replace(made, weights=fewer), 1)


def test_a_dependence_travels_and_a_mapper_without_one_keeps_its_digest(
    made: MapBundle, tmp_path: Path
) -> None:
    assert "dependence" not in made.describe()
    with_one = replace(made, dependence=Dependence.prior(250.0))
    assert with_one.digest != made.digest
    with_one.save(tmp_path / "m")
    assert MapBundle.load(tmp_path / "m").dependence == with_one.dependence
    assert MapBundle.load(tmp_path / "m").digest == with_one.digest


def test_an_impossible_dependence_is_refused(made: MapBundle, tmp_path: Path) -> None:
    replace(made, dependence=Dependence.prior(250.0)).save(tmp_path / "m")
    file = tmp_path / "m" / "bundle.json"
    raw = json.loads(file.read_text())
    for key, value in (("weights", [0.5] * 5), ("weights", [0.1] * 4), ("region", 1.5)):
        spoilt = json.loads(json.dumps(raw))
        spoilt["dependence"]["leads"][0][key] = value
        file.write_text(json.dumps(spoilt))
        with pytest.raises(BundleError, match=key):
            MapBundle.load(tmp_path / "m")


def test_the_regression_of_a_model_is_the_one_whose_arrays_it_has(
    made: MapBundle, tmp_path: Path
) -> None:
    older = replace(made, process={}, spec=replace(made.spec, regression="forest"))
    assert "regression" not in older.describe()["spec"]  # so that older models keep their digest
    older.save(tmp_path / "older")
    assert hmx.load(tmp_path / "older").spec == older.spec
    alone = replace(made, forest={}, spec=replace(made.spec, regression="gaussian_process"))
    alone.save(tmp_path / "alone")
    assert hmx.load(tmp_path / "alone").spec.regression == "gaussian_process"
    for at, (odd, wanted, found) in enumerate((
        (replace(made, process={}), "a Gaussian process", "a forest"),
        (replace(older, process=made.process), "a forest", "a Gaussian process and a forest"),
        (replace(made, process={}, forest={}), "a Gaussian process", "no regression"),
        (replace(older, forest={}), "a forest", "no regression"),
    )):  # fmt: skip
        odd.save(tmp_path / str(at))
        words = rf"blends in {wanted} of weight 0.5, and its arrays are those of {found}\. Copy"
        with pytest.raises(BundleError, match=words):
            hmx.load(tmp_path / str(at))
    narrow = {**made.process, "centres": made.process["centres"][:, 1:]}
    replace(made, process=narrow).save(tmp_path / "narrow")
    with pytest.raises(BundleError, match=r"Gaussian process of this model has .* bands make"):
        hmx.load(tmp_path / "narrow")
