"""Laws of ``hmx folds``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import hmx as library
from hmx.cli.main import hmx
from hmx.workflow import plan_folds
from tests.make.cubes import make_cube, write_catalog


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, ["folds", *map(str, words)])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(
        tmp_path_factory.mktemp("folds"), make_cube((96, 112)), train={"block": 16}
    )


def test_folds_ingests_reports_and_draws_beside_the_model(catalog: Path) -> None:
    result = run(catalog)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == str(catalog.parent / "toy_folds.png")
    assert Path(lines[-1]).read_bytes().startswith(b"\x89PNG")
    assert Path(lines[-1]).stat().st_size > 10_000
    assert (catalog.parent / "toy.zarr").is_dir()
    assert result.stdout.startswith(f"{plan_folds(library.Catalog.load(catalog))}\n")
    assert "ingest" in result.stderr
    assert "exists and is current" in run(catalog).stderr


def test_flags_decide_the_split_and_the_place(catalog: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "map.png"
    result = run(catalog, "--block-m", 3000, "--buffer", 2, "--folds", 3, "--until", 2000,
                 "--output", wanted)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(wanted)
    assert wanted.is_file()
    loaded = library.Catalog.load(catalog)
    plan = plan_folds(loaded, block_m=3000, buffer=2, folds=3, until="2000")
    assert result.stdout.startswith(f"{plan}\n")


def test_quiet_says_nothing_but_the_path(catalog: Path) -> None:
    result = run(catalog, "--quiet")
    assert result.stdout == f"{catalog.parent / 'toy_folds.png'}\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--output", "folds.tif"], "is not a PNG file on this machine"),
        (["--output", "s3://bucket/folds.png"], "Pass --output folds.png"),
        (["--buffer", "90"], "buffer=90 px leaves no pixel for train"),
        (["--until", "1991"], "is not on the time axis"),
        (["--folds", "1"], "1 is not in the range 2<=x<=1000"),
        (["--block-m", "0"], "0.0 is not in the range 0<x<="),
    ],
)
def test_what_cannot_be_is_refused_in_words(catalog: Path, words: list[str], text: str) -> None:
    result = run(catalog, *words)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
