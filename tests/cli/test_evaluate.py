"""Laws of ``hmx evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hmx import load, open_cube
from hmx.catalog import Catalog
from hmx.cli.main import hmx
from tests.conftest import ROOT
from tests.make.cubes import make_cube, write_catalog

MODEL = {"path": "toy.model", "history": 2, "width": 4, "trunk": [1], "context": [1, 3]}
TRAIN = {"h": 2, "epochs": 2, "steps": 4, "chip": 32}


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, ["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections: dict[str, Any] = {"model": MODEL, "train": TRAIN}
    sections["evaluate"] = {"h": 2, "baselines": ["damped trend"], "level": [80]}
    sections["evaluate"]["zone_draws"] = 8  # each takes as long as the scores of a tile
    return write_catalog(
        tmp_path_factory.mktemp("evaluate"), make_cube((64, 72), steps=6), **sections
    )


@pytest.fixture(scope="module")
def done(catalog: Path) -> Result:
    return run(catalog)


def test_evaluate_ends_with_the_table_the_verdict_and_the_folder(
    catalog: Path, done: Result
) -> None:
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    folder = Path(lines[-1])
    assert folder == catalog.parent / "toy_scorecard"
    card = json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
    assert lines[-3] == card["verdict"]
    assert "damped trend" in done.stdout
    assert "ridge" not in done.stdout
    assert {p.name for p in folder.iterdir()} >= {"scores.csv", "skill.zarr", "reliability.png"}
    assert card["facts"]["origins"] == "2005, 2010"


def test_a_scorecard_that_is_current_is_kept(done: Result, catalog: Path) -> None:
    before = (catalog.parent / "toy_scorecard" / "scorecard.json").stat().st_mtime_ns
    again = run(catalog)
    assert again.exit_code == 0, again.output
    assert "exists and is current" in again.stderr
    assert again.stdout == done.stdout
    assert (catalog.parent / "toy_scorecard" / "scorecard.json").stat().st_mtime_ns == before


def test_a_model_is_scored_on_what_it_holds_out_or_refused(catalog: Path, tmp_path: Path) -> None:
    train = ["train", str(catalog), "--quiet", "--set"]
    held = CliRunner().invoke(hmx, [*train, "train.until=2000"])
    model = held.stdout.strip()
    words = [catalog, "--model", model, "--output", tmp_path / "held", "--level", 90, "--quiet"]
    scored = run(*words)
    assert scored.exit_code == 0, scored.output
    assert scored.stdout == f"{tmp_path / 'held'}\n"
    card = json.loads((tmp_path / "held" / "scorecard.json").read_text(encoding="utf-8"))
    assert card["facts"]["scored"] == "the model as it is, on targets after 2000"
    assert any("coverage_90" in row for row in card["scores"])
    CliRunner().invoke(hmx, [*train, "train.final=true"])
    refused = run(*words[:3], "--output", tmp_path / "none")
    assert refused.exit_code == 2
    assert "this model holds nothing out" in refused.stderr
    assert not (tmp_path / "none" / "scorecard.json").exists()


def test_flags_stand_above_the_catalog(catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    result = run(catalog, "--origin", 2005, "--h", 1, "--output", out, "--set",
                 "evaluate.baselines=[persistence]")  # fmt: skip
    assert result.exit_code == 0, result.output
    card = json.loads((out / "scorecard.json").read_text(encoding="utf-8"))
    assert card["facts"]["origins"] == "2005"
    assert [row["lead"] for row in card["leads"]] == [1]


def test_the_section_is_checked(catalog: Path) -> None:
    wrong = run(catalog, "--set", "evaluate.level=[180]")
    assert wrong.exit_code == 2
    assert "a level is a percentage between 0 and 100" in wrong.stderr
    unknown = run(catalog, "--set", "evaluate.origin=2005")
    assert unknown.exit_code == 2
    assert "evaluate.origin" in unknown.stderr
    dated = Catalog.load(catalog, ["evaluate.origins=2005-01-01", "evaluate.baselines=ridge"])
    assert dated.evaluate.origins == ("2005-01-01",)
    assert dated.evaluate.baselines == ("ridge",)


def test_the_first_stage_of_the_original_is_forecast_and_scored(tmp_path: Path) -> None:
    """As the shipped catalog has it, in a few steps on another cube."""
    shipped = yaml.safe_load((ROOT / "catalogs" / "hm_first_stage.yaml").read_text("utf-8"))
    file = write_catalog(
        tmp_path,
        make_cube((64, 72), steps=6),
        model=shipped["model"] | {"path": "toy.model"},
        train=shipped["train"] | {"epochs": 1, "steps": 2, "chip": 32, "calibration": 0.2},
        evaluate={"h": 1, "origins": [2010], "baselines": ["damped trend"]},
    )
    made = CliRunner().invoke(hmx, ["forecast", str(file), "--h", "3"])
    assert made.exit_code == 0, made.output
    fc = open_cube(tmp_path / "toy_forecast.zarr")
    assert fc.sizes["time"] == 3
    assert {"hm", "hm_lo_80", "hm_hi_80"} <= set(fc.data_vars)
    model = load(tmp_path / "toy.model")
    assert sum(array.size for array in model.weights.values()) == 12_529
    done = run(file)
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "toy_scorecard" / "scorecard.json").read_text("utf-8"))
    assert card["facts"]["origins"] == "2010"
