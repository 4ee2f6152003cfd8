"""Laws of what strangers made: nothing of the user is changed, fetched or broken by it."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import hmx
from hmx.engine.ledger import Ledger, _parse, _sealed
from hmx.engine.verify import verify
from hmx.errors import BundleError, HmxError, OutputExists, VerifyFailed
from hmx.files.lock import building, lock_file
from tests.bench.mutants import try_bundles, try_catalogs
from tests.make.cubes import make_bundle, make_cube


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cube, a model, and a forecast that is finished."""
    folder = tmp_path_factory.mktemp("product")
    ds = make_cube((24, 28))
    ds.to_zarr(folder / "cube.zarr", zarr_format=3, consolidated=False)
    model = make_bundle(ds).save(folder / "model").path
    cube = hmx.open_cube(folder / "cube.zarr")
    cube.hm.forecast_to_zarr(folder / "fc.zarr", h=1, model=model, tile=32)
    return folder


@pytest.fixture
def folder(product: Path, tmp_path: Path) -> Path:
    place = Path(shutil.copytree(product, tmp_path / "copy"))
    ledger = Ledger(str(place / "fc.zarr"))
    header = ledger.job() | {"source": str(place / "cube.zarr"), "bundle": str(place / "model")}
    ledger.folder.write("job.json", _sealed(header))
    return place


def test_the_copy_is_sound(folder: Path) -> None:
    verify(str(folder / "fc.zarr"), sample=1)


LINKED: dict[str, Callable[[Path], Path]] = {
    "ledger": lambda f: f / "fc.zarr.ledger",
    "job": lambda f: f / "fc.zarr.ledger/job.json",
    "tiles": lambda f: f / "fc.zarr.ledger/tiles",
    "record": lambda f: next((f / "fc.zarr.ledger/tiles").iterdir()),
    "root": lambda f: f / "fc.zarr/zarr.json",
    "variable": lambda f: f / "fc.zarr/hm",
    "chunk": lambda f: next(p for p in (f / "fc.zarr/hm").rglob("*") if p.is_file()),
    "lock": lambda f: lock_file(f / "fc.zarr"),
}


@pytest.mark.parametrize("name", LINKED)
def test_nothing_is_written_through_a_link_inside_a_product(folder: Path, name: str) -> None:
    mine, linked = folder / "mine", LINKED[name](folder)
    if linked.exists():
        linked.rename(mine)
    else:
        mine.write_text("my own file")
    linked.symlink_to(mine)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in mine.rglob("*") if p.is_file()}
    before |= {mine: (mine.stat().st_mtime_ns, mine.read_bytes() if mine.is_file() else b"")}
    with pytest.raises(OutputExists, match="is a symbolic link, which hmx never puts into"):
        verify(str(folder / "fc.zarr"), sample=1)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in mine.rglob("*") if p.is_file()}
    after |= {mine: (mine.stat().st_mtime_ns, mine.read_bytes() if mine.is_file() else b"")}
    assert after == before


def test_the_path_of_a_product_may_be_a_link(folder: Path) -> None:
    (folder / "link.zarr").symlink_to(folder / "fc.zarr")
    verify(str(folder / "link.zarr"), sample=1)


def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    lock_file(tmp_path / "a.zarr").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputExists, match="is a symbolic link"), building(tmp_path / "a.zarr"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("key", ["source", "bundle"])
def test_nothing_is_fetched_because_a_ledger_names_it(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(str(folder / "fc.zarr"))
    url = "http://127.0.0.1:9/cube.zarr" if key == "source" else "wandb:a/b/c:v1"
    ledger.folder.write("job.json", _sealed(ledger.job() | {key: url}))
    monkeypatch.setattr("socket.socket.connect", lambda *a: pytest.fail("connected"))
    with pytest.raises(VerifyFailed, match="a ledger alone is not enough to fetch anything"):
        verify(str(folder / "fc.zarr"), sample=1)
    if key == "source":
        verify(str(folder / "fc.zarr"), sample=1, source=str(folder / "cube.zarr"))


@pytest.mark.parametrize(
    "change",
    [
        {"job": "cook"}, {"window": [0, 10**9, 0, 5]}, {"window": "x"}, {"options": {"h": -1}},
        {"options": {"tile": 10**20}}, {"facts": []}, {"source": 5}, {"more": 1}, {"run": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_ledger_that_is_none_is_refused(folder: Path, change: dict[str, Any]) -> None:
    ledger = Ledger(str(folder / "fc.zarr"))
    ledger.folder.write("job.json", _sealed(ledger.job() | change))
    with pytest.raises(HmxError):
        verify(str(folder / "fc.zarr"), sample=1)


def test_a_record_names_no_file_outside_of_its_store(folder: Path) -> None:
    ledger = Ledger(str(folder / "fc.zarr"))
    os.mkfifo(folder / "fifo")
    assert ledger.data.read("../fifo") is None
    assert ledger.data.read(str(folder / "fifo")) is None
    assert _parse(_sealed({"a": 1})) == {"a": 1}


def test_a_ledger_has_no_secret(tmp_path: Path, product: Path) -> None:
    from hmx.engine.job import Job

    cube = hmx.open_cube(product / "cube.zarr")
    header = json.loads((product / "fc.zarr.ledger/job.json").read_text().partition("\n")[2])
    job = Job.restore(str(product / "fc.zarr"), header)
    object.__setattr__(job, "source", "https://me:pw@example.org/cube.zarr?sig=SECRET")
    assert job.header()["source"] == "https://***@example.org/cube.zarr?sig=***"
    assert isinstance(cube, xr.Dataset)


def test_a_model_in_whose_place_a_fifo_lies_is_refused_at_once(folder: Path) -> None:
    for name in ("bundle.json", "weights.safetensors"):
        (folder / "model" / name).rename(folder / name)
        os.mkfifo(folder / "model" / name)
        with pytest.raises(BundleError):
            hmx.load(folder / "model")
        (folder / "model" / name).unlink()
        (folder / name).rename(folder / "model" / name)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("spec.network.width", 10**9, "must be at most 4096"),
        ("spec.network.trunk", [10**9], "must be at most"),
        ("spec.context.radii", [10**7], "must be at most 4096"),
        ("spec.h", 10**9, "must be at most 1000"),
        ("spec.members", 10**9, "must be at most 1000"),
        ("spec.pixel_size_m", [float("nan"), 1], "must be a finite number"),
        ("spec.target", "elevation", "a variable stands twice"),
        ("scaler.std.hm", 0, "must be greater than"),
        ("scaler.change", [0.05], "scaler.change has 1 leads, and h=4"),
        ("calibration.nodes", [3, 0], "nodes ascend"),
        ("calibration.far", 2, "must be at most 1"),
        ("training", [], "must be a mapping of keys to values"),
        ("spec.transforms", {"elevation": "sqrt"}, "spec.transforms.elevation"),
        ("extra", 1, "unknown option 'extra'"),
        ("calibration.ranks", [[[10**20] * 201]], "ranks"),
    ],
)
def test_a_description_says_what_can_be(tmp_path: Path, key: str, value: Any, words: str) -> None:
    make_bundle(make_cube((24, 28)), calibrated=True).save(tmp_path / "m")
    raw = json.loads((tmp_path / "m/bundle.json").read_text())
    *parents, last = key.split(".")
    place = raw
    for parent in parents:
        place = place[parent]
    place[last] = value
    (tmp_path / "m/bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BundleError) as caught:
        hmx.load(tmp_path / "m")
    assert words in str(caught.value)
    assert "does not describe a model" in str(caught.value)


def test_damaged_models_and_wrong_catalogs_end_in_our_errors(tmp_path: Path) -> None:
    """A part of ``python -m tests.bench.mutants``."""
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = try_bundles(60, 7, tmp_path / "b")
        catalogs = try_catalogs(150, 7, tmp_path / "c")
    assert models["broken"] == []
    assert catalogs["broken"] == []
    assert sum(models["counts"].values()) == 60
    assert catalogs["counts"]["refused: CatalogError"] > 75
    assert random.Random("0-1").random() == random.Random("0-1").random()
