"""Laws of the map workflow: what is made, what is reused, and why it is made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmx
from hmx.catalog import MapCatalog
from hmx.errors import CatalogError, OutputExists
from hmx.products.describe import describe_held_out
from hmx.workflow import ensure_model, ensure_result
from tests.engine.test_job import Told
from tests.make.cubes import write_raster
from tests.make.faults import tree
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import make_points, write_map_catalog


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a map was made once; one network of one epoch."""
    folder = tmp_path_factory.mktemp("soils")
    path = write_map_catalog(folder, train={"runs": 1, "epochs": 1})
    ensure_result(MapCatalog.load(path))
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; file times are kept."""
    return Path(shutil.copytree(done, tmp_path / "soils"))


def ensure(folder: Path, *overrides: str) -> list[str]:
    told = Told()
    ensure_model(MapCatalog.load(folder / "soils.yaml", overrides), told.progress)
    return told.lines


def test_products_lie_beside_the_cube_and_are_reused(folder: Path) -> None:
    catalog, told = MapCatalog.load(folder / "soils.yaml"), Told()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert ensure_result(catalog, told.progress) == str(folder / "soils_map.zarr")
    assert len(told.lines) == 3
    assert all(line.endswith(" exists and is current") for line in told.lines)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def rewrite_points(folder: Path) -> None:
    points = make_points(make_covariates((32, 36)), seed=1)
    points.to_csv(folder / "points.csv", index=False)


def rewrite_band(folder: Path) -> None:
    twi = make_covariates((32, 36))["twi"].values + 1
    write_raster(folder / "twi.tif", twi, nodata=np.nan, pixel=250.0)
    os.utime(folder / "twi.tif", (2e9, 2e9))


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "override", "why"),
    [
        (nothing, "train.lr=0.01", "train.lr is 0.01, and was 0.002"),
        (nothing, "model.hidden=5", "model.hidden is 5, and was 4"),
        (nothing, "points.where=soc < 5", r"points.where is ['soc < 5'], and was []"),
        (nothing, "train.split.block_km=3", "train.split.block_km is 3.0, and was 2.0"),
        (rewrite_points, "name=same", "the points have changed since"),
        (rewrite_band, "name=same", "the cube has changed since"),
    ],
)
def test_a_mapper_is_trained_again_saying_why(
    folder: Path, spoil: Callable[[Path], None], override: str, why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spoil(folder)
    monkeypatch.setattr("hmx.workflow.steps.describe_held_out", lambda bundle: "")
    monkeypatch.setattr("hmx.workflow.steps.kriging_line", lambda bundle: "")
    trained: list[Any] = []
    monkeypatch.setattr("hmx.mapping.train.train.train", lambda *a, **k: trained.append(a))
    lines = ensure(folder, override)
    assert f"model: training {folder / 'soils.model'} ({why})" in lines
    assert len(trained) == 1


@pytest.mark.parametrize(
    "override",
    ["train.device=auto", "train.devices=2", "map.level=[90]", "evaluate.inner=3",
     "train.split.folds=2"],
)  # fmt: skip
def test_what_decides_no_mapper_trains_none(folder: Path, override: str) -> None:
    assert ensure(folder, override)[-1].endswith("exists and is current")


def test_a_mapper_that_was_trained_again_is_current(folder: Path) -> None:
    rewrite_points(folder)
    assert any("points have changed" in line for line in ensure(folder))
    assert ensure(folder)[-1].endswith("exists and is current")


def test_a_map_goes_on_where_it_was_stopped(folder: Path) -> None:
    catalog, store = MapCatalog.load(folder / "soils.yaml"), folder / "soils_map.zarr"
    whole = tree(store)
    (store / "soc" / "c" / "1" / "0").unlink()
    (folder / "soils_map.zarr.ledger" / "tiles" / "0000-0002").unlink()
    told = Told()
    ensure_result(catalog, told.progress)
    assert told.done == 2
    assert tree(store) == whole
    told = Told()
    ensure_result(catalog, told.progress)
    assert told.lines[-1] == f"map: {store} exists and is current"


def test_a_place_that_is_taken_is_refused_before_training(folder: Path) -> None:
    shutil.rmtree(folder / "soils.model")
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years")
    for key, what in (("model.path", "mine"), ("map.output", "mine")):
        catalog = MapCatalog.load(folder / "soils.yaml", [f"{key}={folder / what}"])
        with pytest.raises(OutputExists, match="mine"):
            ensure_result(catalog)
    assert not (folder / "soils.model").exists()
    assert (folder / "mine" / "thesis.txt").read_text() == "years"


def test_the_catalog_decides_what_mapper_is_made(folder: Path) -> None:
    catalog = MapCatalog.load(folder / "soils.yaml")
    bundle = hmx.load(catalog.model_path)
    assert bundle.spec.units == "g/kg"
    assert set(bundle.spec.dynamic) == {"lst", "rain"}
    assert set(bundle.spec.static) == {"elevation", "twi"}
    assert bundle.training["stamp"]
    assert bundle.training["cube"] == hmx.open_cube(catalog.cube.path).attrs["hmx_fingerprint"]


def test_catalogs_know_their_job(folder: Path, tmp_path: Path) -> None:
    path = folder / "soils.yaml"
    assert isinstance(hmx.load_catalog(path), hmx.MapCatalog)
    with pytest.raises(CatalogError, match="has points, so it maps and does not forecast"):
        hmx.Catalog.load(path)
    with pytest.raises(CatalogError, match=r"has no points, so it forecasts .* add points: \{path"):
        hmx.MapCatalog.load(path, ["points=null"])


def test_held_out_scores_are_told_in_a_line(trained_mapper: hmx.MapBundle) -> None:
    text = describe_held_out(trained_mapper)
    assert text.startswith(f"R2 {trained_mapper.training['held_out']['transformed']['r2']:.3f}, ")
    assert "of log1p(soc); RMSE" in text
    assert text.endswith("(81 samples, 2 folds by blocks)")
    assert describe_held_out(replace(trained_mapper, training={})) == "not scored"
