"""What older code wrote is read and resumed.

``make/older.tar.xz`` was written by revision a52480c of 27 November 2026, when the modules of hmx
stood in one flat folder: a cube, a model, its forecast in 12 tiles, the same forecast stopped
after five tiles, and a mapper. Its numbers are those of that code.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.cli.main import hmx as cli
from hmx.cube.integrity.examine import require_whole
from hmx.progress import Progress
from tests.make.faults import tree
from tests.make.mapworlds import make_covariates

ASKED = {"h": 2, "level": [80], "tile": 16}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).parent / "make" / "older.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "older"


def same(found: xr.Dataset, want: xr.Dataset) -> None:
    """To rounding, of values between 0 and 1."""
    assert found.data_vars.keys() == want.data_vars.keys()
    for name in want.data_vars:
        np.testing.assert_allclose(found[name], want[name], rtol=0, atol=1e-6)


def test_a_cube_and_a_model_forecast_what_they_did(older: Path) -> None:
    cube, model = hmx.open_cube(older / "toy.zarr"), hmx.load(older / "toy.model")
    same(cube.hm.forecast(model=model, **ASKED), hmx.open_cube(older / "toy_forecast.zarr"))
    # else a forecast that this model began would be that of another
    _, header = (older / "half.zarr.ledger" / "job.json").read_text(encoding="utf-8").splitlines()
    assert model.digest == json.loads(header)["facts"]["bundle"]


def test_a_mapper_is_what_it_was(older: Path) -> None:
    mapper = hmx.load(older / "soc.model")
    assert mapper.digest == "81e9282c69e82fc059cb1d01829b8e77a41c36ac34c5e981dae40cc151c02e94"
    soc = make_covariates((32, 36)).soc.map(model=mapper, level=[90])
    assert float(soc["soc"].mean()) == pytest.approx(3.112978, rel=1e-5)


def test_a_forecast_half_done_is_resumed(older: Path) -> None:
    before, notes = tree(older / "half.zarr"), []
    hmx.open_cube(older / "toy.zarr").hm.forecast_to_zarr(
        older / "half.zarr", model=older / "toy.model", progress=Progress(notes.append), **ASKED
    )
    assert "forecast: 5 tiles are done and proven, 7 are to do" in notes
    after = tree(older / "half.zarr")
    assert all(after[name] == data for name, data in before.items() if "/c/" in name)
    same(hmx.open_cube(older / "half.zarr"), hmx.open_cube(older / "toy_forecast.zarr"))


def test_a_finished_forecast_is_current_sealed_exported_and_compared(older: Path) -> None:
    store, cube, notes = older / "toy_forecast.zarr", hmx.open_cube(older / "toy.zarr"), []
    before = tree(store)
    cube.hm.forecast_to_zarr(
        store, model=older / "toy.model", progress=Progress(notes.append), **ASKED
    )
    assert any("exists and is current" in note for note in notes)
    assert tree(store) == before
    for path in (store, older / "toy.zarr"):
        require_whole(str(path))
    done = CliRunner().invoke(cli, ["export", str(store), "--output", str(older / "maps")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (older / "maps").glob("hm_2*.tif")} == {
        "hm_2010.tif",
        "hm_2015.tif",
    }
    fresh = cube.hm.forecast(model=older / "toy.model", **ASKED)
    table = hmx.compare(fresh, store, fresh, block=16)
    assert float(table["rmse_b"][-1]) < 1e-6
