"""Laws of training a mapper: what it is made of, and that it is what it says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import load_file

import hmx
from hmx.errors import BadArgument, BundleError, OutputExists
from hmx.mapping.inputs import centre, scaled
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.process import Regressions
from hmx.mapping.target import central
from hmx.mapping.train import train as training
from hmx.mapping.train.recipe import MapTrainSetup, prepare
from hmx.mapping.train.train import train
from hmx.mapping.window import mixed
from hmx.networks.cnn_lstm import load as load_network
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from hmx.progress import Progress
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from hmx.training.metrics import metric
from tests.make.soilworlds import TINY, TINY_FIT, TINY_NETWORK, TINY_SPLIT, UTM, make_points
from tests.make.wandb_files import records
from tests.training.test_tracking import items


def recipe_of(**options: Any) -> MapTrainSetup:
    """The recipe of the session's mapper; options of the fit, or whole parts."""
    parts = {n: options.pop(n) for n in ("init_from", "network", "split") if n in options}
    made = MapTrainSetup(
        points=PointsOptions(crs=UTM, units="g/kg", valid_range=(0, 200)),
        network=MapperOptions(**TINY_NETWORK),
        fit=MapTrainOptions(**{**TINY_FIT, **options}),
        split=SplitOptions(**TINY_SPLIT),
    )
    return replace(made, **parts)


def quick(**options: Any) -> MapTrainSetup:
    """One network, one epoch."""
    return recipe_of(**{"runs": 1, "epochs": 1, **options})


# what a bundle says ---------------------------------------------------------------------


def test_a_bundle_says_what_it_was_trained_on(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    said = json.loads((trained_mapper.path / "bundle.json").read_text())["training"]
    points = said["points"]
    assert points["rows"] == 90 == points["samples"] + sum(map(len, points["left"].values()))
    assert said["table"]["units"] == "g/kg"
    assert (said["network"]["widths"], said["fit"]["epochs"]) == ([4, 6], 2)
    assert (said["split"]["method"], said["seed"], said["kept"]) == ("blocks", 0, [0, 1])
    assert said["steps"] == ["1", "4", 4]
    folds = SiteFolds.from_dict(said["folds"])  # refuses what its digest was not taken of
    assert len(folds.fold) == points["samples"]
    prepared = prepare(land, make_points(land), recipe_of())
    np.testing.assert_allclose(folds.sites.lonlat, prepared.samples.lonlat, atol=1e-6)


def test_held_out_scores_and_importance_are_of_all_samples_and_bands(
    trained_mapper: hmx.MapBundle,
) -> None:
    said = trained_mapper.training
    scores, native = said["held_out"]["transformed"], said["held_out"]["native"]
    assert scores["n"] == native["n"] == said["points"]["samples"]
    assert 0 < scores["rmse"] < native["rmse"]  # log1p of about 3 g/kg
    assert 0.1 < scores["r2"] < 1
    assert set(said["importance"]["mean"]) == {"lst", "rain", "elevation", "twi"}
    assert max(said["importance"]["mean"], key=said["importance"]["mean"].get) == "lst"
    assert said["runs"]["train_loss"]["n"] == 2


def test_held_out_scores_are_of_networks_and_forests_that_have_not_seen_the_samples(
    land: xr.Dataset,
) -> None:
    noise = make_points(land).assign(soc=lambda t: np.random.default_rng(5).permutation(t["soc"]))
    said = train(land, noise, quick(blend=0.9)).training["held_out"]["transformed"]
    assert said["r2"] < 0.1  # a forest that has seen them says .8


# the same again -------------------------------------------------------------------------


def test_a_saved_mapper_maps_as_the_one_in_memory(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    in_memory = replace(trained_mapper, path=None)
    loaded = hmx.load(trained_mapper.path)
    assert loaded.digest == in_memory.digest
    maps = [land.soc.map(model=model, level=[80]).compute() for model in (in_memory, loaded)]
    xr.testing.assert_identical(*maps)
    assert np.isfinite(maps[0]["soc"]).mean() > 0.5


def test_the_same_seed_gives_the_same_mapper_and_another_another(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    again = train(land, make_points(land), recipe_of())
    assert again.digest == trained_mapper.digest
    for told in ("held_out", "importance", "folds", "runs"):
        assert again.training[told] == trained_mapper.training[told]
    first = train(land, make_points(land), quick())
    other = train(land, make_points(land), quick(seed=1))
    assert first.digest != other.digest


def test_a_training_in_the_words_of_the_study_is_the_same_training(land: xr.Dataset) -> None:
    own = {"loss": "composite_l1", "alpha": 0.3, "transform": "log", "runs": 1}
    own |= {"validation": 0.3, "validation_km": 0.3, "window": 5, "history": 2}
    study = {"loss_type": "composite_l1", "loss-alpha": 0.3, "target_transform": "log"}
    study |= {"num-runs": 1, "use_validation": True, "target_val_ratio": 0.3}
    study |= {"distance-threshold": 0.3, "window_size": 5, "time-before": 2}
    plain = {name: value for name, value in TINY.items() if name not in ("window", "runs")}
    made = [land.soc.train(make_points(land), crs=UTM, **plain, **words) for words in (own, study)]
    assert made[0].digest == made[1].digest
    assert made[0].training["runs"].keys() >= {"val_r2", "val_native_r2", "val_native_rpiq"}


def test_the_map_at_a_sample_is_what_networks_and_regressions_give_its_window(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    spec = trained_mapper.spec
    prepared = prepare(land, make_points(land), recipe_of())
    windows = scaled(prepared.raw, spec, trained_mapper.scaler)
    dynamic, static = torch.from_numpy(windows.dynamic), torch.from_numpy(windows.static)
    with torch.no_grad():
        networks = [load_network(trained_mapper, member)(dynamic, static) for member in range(2)]
    members = np.stack([said.numpy().T for said in networks])
    own = Regressions.from_arrays(trained_mapper.forest, trained_mapper.process)
    assert own.process is not None
    estimate = mixed(members, spec, own, centre(windows).T)
    expected = central(estimate.center, trained_mapper.target)
    plain = replace(trained_mapper, kriging={}, path=None)  # without the errors of neighbours
    made = land.soc.map(model=plain)["soc"].values
    samples = prepared.samples
    np.testing.assert_allclose(made[samples.row, samples.column], expected, rtol=2e-5)
    assert expected.std() > 0.1


def test_samples_in_another_unit_make_the_same_map_in_that_unit(land: xr.Dataset) -> None:
    points, maps = make_points(land), []
    for unit in (1.0, 10.0):
        table = PointsOptions(crs=UTM, valid_range=(0, 200 * unit))
        # without a forest, whose ties would be broken by rounding
        recipe = replace(quick(bias_correction="ratio", blend=0), points=table)
        model = train(land, points.assign(soc=points["soc"] * unit), recipe)
        maps.append(land.soc.map(model=model, level=[80], quantiles=[0.1]).compute())
    for name in ("soc", "soc_lo_80", "soc_hi_80", "soc_quantile"):
        np.testing.assert_allclose(maps[1][name] / 10, maps[0][name], rtol=1e-3)


# where it goes --------------------------------------------------------------------------


def test_a_foreign_folder_is_refused_before_anything_is_read(
    land: xr.Dataset, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OutputExists, match="mine"):
        train(land, tmp_path / "there is no such.csv", recipe_of(), out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_training_leaves_nothing_beside_the_bundle_and_replaces_an_old_one(
    land: xr.Dataset, tmp_path: Path
) -> None:
    (tmp_path / "m.training").mkdir()  # somebody's own
    for seed in (0, 1):
        made = train(land, make_points(land), quick(seed=seed), out=tmp_path / "m")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "m.training"]
        assert hmx.load(tmp_path / "m").digest == made.digest
    assert sorted(p.name for p in made.path.iterdir()) == [
        "bundle.json", "training.csv", "weights.safetensors",
    ]  # fmt: skip


def test_a_failed_training_leaves_nothing(
    land: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, session: Any, **__: Any) -> None:
        session.logs(0)
        raise RuntimeError("no power")

    monkeypatch.setattr(training, "learn", fails)
    with pytest.raises(RuntimeError, match="no power"):
        train(land, make_points(land), recipe_of(), out=tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_of_several_runs_the_best_is_kept_with_its_own_log(
    land: xr.Dataset, tmp_path: Path
) -> None:
    recipe = recipe_of(runs=3, ensemble=False, validation=0.3, lr=0.02, seed=1)
    notes: list[str] = []
    progress = Progress(notes.append)
    made = train(land, make_points(land), recipe, out=tmp_path / "m", progress=progress)
    (best,) = made.training["kept"]
    assert best != 0, "the test cannot tell the log of the best from that of the first"
    rows = list(csv.DictReader((tmp_path / "m" / "training.csv").read_text().splitlines()))
    losses, figure = [float(row["val_loss"]) for row in rows], made.training["runs"]["val_loss"]
    assert made.spec.members == 1
    assert figure["n"] == 3
    assert min(losses) < figure["mean"] - figure["sd"] / 2
    table = list(csv.DictReader((tmp_path / "m" / "runs.csv").read_text().splitlines()))
    own = table[best]  # figures of the epoch whose weights are kept
    logged = float(rows[int(own["epochs"]) - 1]["val_native_rmse"])
    assert logged == pytest.approx(float(own["val_native_rmse"]), rel=1e-6)
    start = notes.index("training runs:")
    assert notes[start + 1].split() == [
        "run", "seed", "epochs", "train_loss", "val_loss", "val_r2", "val_rmse", "val_native_rmse",
    ]  # fmt: skip
    shown = [line.split() for line in notes[start + 2 : start + 7]]
    assert [line[0] for line in shown] == ["0", "1", "2", "mean", "sd"]
    assert shown[best][-1] == f"{float(own['val_native_rmse']):.3f}"


# transfer -------------------------------------------------------------------------------


def test_a_mapper_starts_from_the_trunk_of_another(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    start = str(trained_mapper.path)
    made = train(land, make_points(land), quick(init_from=start, lr=1e-9))
    taken = made.training["taken"]
    assert made.training["init_digest"] == trained_mapper.digest
    assert taken["left"] == []
    assert "convs.0.weight" in taken["names"]
    assert not [name for name in taken["names"] if name.startswith(("head", "skip"))]
    had = load_file(trained_mapper.path / "weights.safetensors")
    for name in taken["names"]:
        np.testing.assert_allclose(made.weights[name], had[f"weights/0.{name}"], atol=1e-6)
    fresh = train(land, make_points(land), quick(lr=1e-9))
    assert not np.allclose(made.weights["convs.0.weight"], fresh.weights["convs.0.weight"])
    assert fresh.training["taken"] is None


def test_of_other_bands_all_but_the_first_layer_is_taken(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    recipe = quick(init_from=str(trained_mapper.path))
    other = land.rename(rain="snow")
    made = train(other, make_points(other), recipe)
    assert made.training["taken"]["left"] == ["convs.0.weight"]
    assert made.training["taken"]["names"]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"points": PointsOptions(crs=UTM, units="%")},
            BadArgument,
            r"was trained on 'soc' in 'g/kg', and the points are in '%'. Convert the points",
        ),
        (
            {"network": MapperOptions(window=3, widths=(5, 7), hidden=3)},
            BadArgument,
            "init_from has no weight of this network's trunk",
        ),
        ({"init_from": "nowhere"}, BundleError, "there is no model at 'nowhere'"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, change: Any, error: type, text: str
) -> None:
    recipe = replace(quick(init_from=str(trained_mapper.path)), **change)
    with pytest.raises(error, match=text):
        train(land, make_points(land), recipe)


def test_a_forecaster_is_no_start(land: xr.Dataset, trained: hmx.Bundle) -> None:
    with pytest.raises(BundleError, match=r"forecasts rasters.*hm\.forecast"):
        train(land, make_points(land), quick(init_from=str(trained.path)))


# tracking -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(trained_mapper: hmx.MapBundle) -> list[list[Any]]:
    """The records of each offline run."""
    folders = (trained_mapper.path.parent / "wandb").glob("offline-run-*")
    found = [records(folder) for folder in sorted(folders)]
    return sorted(
        found, key=lambda rows: next(r.run for r in rows if r.HasField("run")).display_name
    )


def test_each_network_is_a_run_with_the_configuration_and_its_figures(runs: list[Any]) -> None:
    assert len(runs) == 2
    for number, rows in enumerate(runs):
        (run,) = (r.run for r in rows if r.HasField("run"))
        assert (run.display_name, run.run_group) == (f"seed-{number}", "soils-0")
        config = items(run.config)
        assert config["network"]["widths"] == [4, 6]
        assert config["points"]["samples"] + sum(map(len, config["points"]["left"].values())) == 90
        history = [items(r.history) for r in rows if r.HasField("history")]
        losses = [row["train_loss"] for row in history if "train_loss" in row]
        assert len(losses) == 2
        assert all(0 < loss < 10 for loss in losses)


def test_scores_and_the_bundle_go_to_who_tracks(
    runs: list[Any], trained_mapper: hmx.MapBundle
) -> None:
    summary: dict[str, Any] = {}
    for record in runs[-1]:
        summary |= items(record.summary) if record.HasField("summary") else {}
    scores = trained_mapper.training["held_out"]["transformed"]
    assert {name: summary[f"held_out_{name}"] for name in scores} == pytest.approx(scores)
    artifacts = (r.artifact for rows in runs for r in rows if r.HasField("artifact"))
    (artifact,) = (a for a in artifacts if a.type == "model")  # a table is one too
    assert artifact.name == "soc.model"
    assert json.loads(artifact.metadata) == {"folds": trained_mapper.training["folds"]["digest"]}
    names = {entry.path for entry in artifact.manifest.contents}
    assert names == {"bundle.json", "runs.csv", "training.csv", "weights.safetensors"}


def test_scatter_and_residuals_of_held_out_samples_go_to_who_tracks(
    runs: list[Any], trained_mapper: hmx.MapBundle
) -> None:
    history = [items(r.history) for r in runs[-1] if r.HasField("history")]
    (row,) = (row for row in history if "scatter/path" in row)
    for name, wide in (("scatter", 550), ("residuals", 800)):
        assert (row[f"{name}/_type"], row[f"{name}/width"]) == ("image-file", wide)
        (picture,) = trained_mapper.path.parent.glob(f"wandb/*/files/{row[f'{name}/path']}")
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table_of_runs_is_a_csv_and_goes_to_who_tracks(
    runs: list[Any], trained_mapper: hmx.MapBundle
) -> None:
    written = list(csv.DictReader((trained_mapper.path / "runs.csv").read_text().splitlines()))
    assert [(row["run"], row["seed"]) for row in written] == [
        ("0", "0"), ("1", "1"), ("mean", ""), ("sd", ""),
    ]  # fmt: skip
    losses = [float(row["train_loss"]) for row in written]
    assert losses[2] == pytest.approx(np.mean(losses[:2]))
    assert losses[3] == pytest.approx(np.std(losses[:2], ddof=1))
    training = (trained_mapper.path / "training.csv").read_text()
    assert losses[0] == float(list(csv.DictReader(training.splitlines()))[-1]["train_loss"])
    history = [items(r.history) for r in runs[-1] if r.HasField("history")]
    (row,) = (row for row in history if "runs/path" in row)
    (file,) = trained_mapper.path.parent.glob(f"wandb/*/files/{row['runs/path']}")
    sent = json.loads(file.read_text())
    assert [dict(zip(sent["columns"], data, strict=True))["run"] for data in sent["data"]] == [
        "0", "1", "mean", "sd",
    ]  # fmt: skip
    at = sent["columns"].index("train_loss")
    assert [data[at] for data in sent["data"]] == pytest.approx(losses)


def test_every_logged_name_is_explained(runs: list[Any], trained_mapper: hmx.MapBundle) -> None:
    text = (trained_mapper.path / "training.csv").read_text()
    names = set(csv.DictReader(text.splitlines()).fieldnames or ()) - {"epoch", "step"}
    assert names == {"train_loss", "lr"}
    for record in runs[-1]:
        if record.HasField("history"):
            names |= set(items(record.history))
    names |= {f"held_out_{name}" for name in trained_mapper.training["held_out"]["transformed"]}
    internal = {"epoch", "trainer/global_step"}
    sent = {"scatter", "residuals", "runs"}  # pictures and a table
    ours = {n for n in names - internal if not n.startswith("_") and n.split("/")[0] not in sent}
    assert ours > {"train_loss", "lr", "held_out_r2"}
    assert [name for name in sorted(ours) if metric(name) is None] == []
