"""Laws of ``hmx select``, and of the line of a catalog that it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import hmx as library
from hmx.cli.main import hmx
from tests.make.cubes import write_catalog
from tests.make.soilworlds import write_map_catalog


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, [str(word) for word in words])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_map_catalog(tmp_path_factory.mktemp("select"), train={"runs": 1, "epochs": 1})


@pytest.fixture(scope="module")
def done(catalog: Path) -> Result:
    return run("select", catalog, "--most", 2)


def test_select_prints_the_path_the_importance_and_the_lines_to_type(
    catalog: Path, done: Result
) -> None:
    assert done.exit_code == 0, done.output
    folder = catalog.parent / "soils_selection"
    assert done.stdout.splitlines()[-1] == str(folder)
    assert "In the catalog:\n\ntrain:\n  covariates: [lst, elevation]\n" in done.stdout
    assert "Importance: loss of R2" in done.stdout
    assert "optimistic" in done.stdout
    assert "select: 4 covariates on blocks of 2 km: at most 7 sets" in done.stderr
    assert {"selection.json", "selection.csv", "selection.png"} <= {
        p.name for p in folder.iterdir()
    }
    assert not (catalog.parent / "soils.model").exists()
    again = run("select", catalog, "--most", 2)
    assert "soils_selection exists and is current" in again.stderr
    assert again.stdout == done.stdout
    assert run("select", catalog, "--most", 2, "--quiet").output == f"{folder}\n"


def test_a_model_changes_only_when_the_line_is_typed(
    catalog: Path, done: Result, tmp_path: Path
) -> None:
    assert run("train", catalog).exit_code == 0
    whole = library.load(catalog.parent / "soils.model")
    assert whole.spec.dynamic + whole.spec.static == ("lst", "rain", "elevation", "twi")
    assert "exists and is current" in run("train", catalog).stderr.splitlines()[-1]
    typed = catalog.with_name("typed.yaml")
    raw = yaml.safe_load(catalog.read_text())
    lines = yaml.safe_load(done.stdout.partition("In the catalog:\n\n")[2].rpartition("\n\n")[0])
    raw["train"] |= lines["train"]
    typed.write_text(yaml.safe_dump(raw))
    made = run("train", typed)
    assert made.exit_code == 0, made.output
    assert "it reads other covariates" in made.stderr
    assert "exists and is current" in made.stderr  # the cube: it is not ingested again
    some = library.load(catalog.parent / "soils.model")
    assert (some.spec.dynamic, some.spec.static) == (("lst",), ("elevation",))
    assert "exists and is current" in run("train", typed).stderr.splitlines()[-1]
    # and the selection still sees all of the cube
    assert "select: 4 covariates" in run("select", typed, "--most", 2).stderr


def test_covariates_of_a_catalog_without_time_need_no_dates(catalog: Path) -> None:
    only = "train.covariates=[elevation, twi]"
    made = run("train", catalog, "--set", only, "--set", "model.history=3")
    assert made.exit_code == 0, made.output
    model = library.load(catalog.parent / "soils.model")
    assert (model.spec.dynamic, model.spec.steps) == ((), 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[lst, elevatoin]", "train.covariates names 'elevatoin', and cube.sources does not"),
        ("[]", "train.covariates is empty, and a mapper reads at least one source"),
    ],
)
def test_covariates_that_are_no_sources_are_named(catalog: Path, value: str, words: str) -> None:
    result = run("train", catalog, "--set", f"train.covariates={value}")
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_forecast_selects_nothing(tmp_path: Path) -> None:
    result = run("select", write_catalog(tmp_path))
    assert result.exit_code == 2
    assert "this catalog has no points, so it forecasts and does not map" in result.stderr
