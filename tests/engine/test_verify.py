"""Laws of the audit: it passes what is right and finds what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import hmx
from hmx.cube.integrity.seal import seal_store
from hmx.engine.job import Job, run
from hmx.engine.ledger import Ledger, Record
from hmx.engine.verify import verify
from hmx.errors import OutputBusy, OutputFailed, VerifyFailed
from tests.engine.test_job import make_job
from tests.make.faults import tree


@pytest.fixture(scope="module")
def stored(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    cube.isel(y=slice(None, None, -1)).to_zarr(path, zarr_format=3, consolidated=False)
    return path


@pytest.fixture(scope="module")
def done(stored: Path, trained: hmx.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make_job(stored, trained, tmp_path_factory.mktemp("done") / "fc.zarr")
    run(job)
    return job


@pytest.fixture
def copy(done: Job, tmp_path: Path) -> str:
    for end in ("", ".ledger"):
        shutil.copytree(done.store + end, str(tmp_path / "fc.zarr") + end)
    return str(tmp_path / "fc.zarr")


def test_a_good_store_passes_and_says_so(copy: str) -> None:
    steps: list[str] = []
    audit = verify(copy, sample=9, progress=lambda done, total, text: steps.append(text))
    assert (audit.tiles, audit.empty, audit.windows) == (12, 0, 9)
    assert audit.chunks == 12 * 5
    assert 0 <= audit.largest <= audit.tolerance == 1e-6
    assert audit.pixels > 9 * 16 * 16
    assert set(steps) == {
        "verify: checksums of chunks",
        "verify: checksums of tiles",
        "verify: windows across tiles",
    }
    said = json.loads(xr.open_zarr(copy).attrs["hmx_audit"])
    assert said["windows"] == 9
    assert said["hmx"]
    assert hmx.open_cube(copy).attrs["hmx_status"] == "complete"


def test_windows_lie_across_tiles(copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hmx.engine import verify as module

    seen = []
    inner = module._recompute

    def spy(job: Job, windows: list[object], progress: object) -> float:
        seen.extend(windows)
        return inner(job, windows, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_recompute", spy)
    verify(copy, sample=30)
    assert len(set(seen)) > 20
    assert all(window.y.start % 32 or window.x.start % 32 for window in seen)
    assert sum(w.y.start // 32 != (w.y.stop - 1) // 32 for w in seen) > 15


def flip_a_byte(store: str) -> None:
    path = Path(store, "hm/c/0/1/1")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def forge(store: str) -> None:
    """Change a pixel and sign for it, as a faulty worker would."""
    job_run = Ledger(store).job()["run"]
    array = zarr.open_group(store, mode="r+")["hm"]
    block = array[0, 32:64, 32:64]
    block[block > 0.1] += np.float32(1e-3)
    array[0, 32:64, 32:64] = block
    ledger = Ledger(store)
    old = next(r for r in ledger.records() if r.index == (1, 1))
    ledger.sign(Record((1, 1), job_run, old.source, ledger.checksum(list(old.chunks))))
    seal_store(store)


def forge_interval(store: str) -> None:
    job_run, ledger = Ledger(store).job()["run"], Ledger(store)
    array = zarr.open_group(store, mode="r+")["hm_hi_80"]
    array[:, 0:32, 0:32] = array[:, 0:32, 0:32] + np.float32(1e-5)
    old = next(r for r in ledger.records() if r.index == (0, 0))
    ledger.sign(Record((0, 0), job_run, old.source, ledger.checksum(list(old.chunks))))
    seal_store(store)


def nudge(store: str) -> None:
    """Change every interval by what rounding may, and sign for it."""
    job_run, ledger = Ledger(store).job()["run"], Ledger(store)
    array = zarr.open_group(store, mode="r+")["hm_hi_80"]
    array[:, 0:32, 0:32] = array[:, 0:32, 0:32] - np.float32(3e-7)
    old = next(r for r in ledger.records() if r.index == (0, 0))
    ledger.sign(Record((0, 0), job_run, old.source, ledger.checksum(list(old.chunks))))
    seal_store(store)


def test_intervals_may_differ_by_rounding_and_no_more(copy: str) -> None:
    nudge(copy)
    audit = verify(copy, sample=40)
    assert 2e-7 < audit.largest <= audit.tolerance


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5])
def test_exceedance_is_audited_as_well(
    stored: Path, trained: hmx.Bundle, tmp_path: Path, threshold: float
) -> None:
    job = make_job(stored, trained, tmp_path / "fc.zarr", exceed=[threshold])
    run(job)
    assert verify(job.store, sample=12).windows == 12
    ledger = Ledger(job.store)
    array = zarr.open_group(job.store, mode="r+")["hm_exceedance"]
    array[..., 0:32, 0:32] = array[..., 0:32, 0:32] * np.float32(0.99) + np.float32(0.004)
    old = next(r for r in ledger.records() if r.index == (0, 0))
    said = ledger.checksum(list(old.chunks))
    ledger.sign(Record((0, 0), ledger.job()["run"], old.source, said))
    seal_store(job.store)
    with pytest.raises(VerifyFailed, match=r"hm_exceedance in rows .* is not what"):
        verify(job.store, sample=60)


WRONGS: dict[str, tuple[Callable[[str], object], str]] = {
    "flipped bit": (
        flip_a_byte,
        r"hm/c/0/1/1: a chunk of hm is damaged, at time 2020-01-01 .* rows 32-64, columns 32-64",
    ),
    "lost record": (
        lambda s: Path(s + ".ledger/tiles/0002-0003").unlink(),
        r"no record of 1 of its tiles: \(2, 3\)",
    ),
    "forged mean": (forge, "hm in rows .* is not what its model and cube give"),
    "forged interval": (forge_interval, "hm_hi_80 in rows .* is not what"),
    "no ledger": (lambda s: shutil.rmtree(s + ".ledger"), "has no ledger next to it"),
    "incomplete": (
        lambda s: zarr.open_group(s, mode="r+").attrs.__setitem__("hmx_status", "incomplete"),
        "is incomplete, so there is nothing to vouch for",
    ),
    "nothing": (lambda s: shutil.rmtree(s), "there is no forecast or map of hmx at"),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_is_wrong_is_found_and_named(copy: str, wrong: str) -> None:
    spoil, text = WRONGS[wrong]
    spoil(copy)
    with pytest.raises(VerifyFailed, match=text) as caught:
        verify(copy, sample=40)
    assert caught.value.exit_code == 1


def test_a_store_that_fails_loses_its_old_audit(copy: str) -> None:
    verify(copy, sample=2)
    flip_a_byte(copy)
    with pytest.raises(VerifyFailed):
        verify(copy)
    assert "hmx_audit" not in xr.open_zarr(copy).attrs


def test_a_repair_takes_the_audit_away_and_gives_the_same_bytes(copy: str, done: Job) -> None:
    verify(copy, sample=2)
    flip_a_byte(copy)
    run(Job(done.run, done.source, copy))
    assert tree(copy) == tree(done.store)


def test_a_model_that_has_changed_is_named(
    stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    model = trained.save(tmp_path / "model")
    job = make_job(stored, model, tmp_path / "fc.zarr", h=1)
    run(job)
    weights = {name: weight + 1 for name, weight in trained.weights.items()}
    replace(trained, weights=weights).save(tmp_path / "model")
    with pytest.raises(VerifyFailed, match=r"was made with bundle .* has changed since"):
        verify(job.store)


def test_an_audit_that_cannot_be_written_is_told(
    copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmx.engine import verify as module

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "_write_audit", refuse)
    with pytest.raises(OutputFailed, match="cannot be written: Permission denied"):
        verify(copy, sample=1)


def test_a_store_that_is_being_written_is_not_audited(copy: str) -> None:
    with Ledger(copy).owned(), pytest.raises(OutputBusy, match="is being written"):
        verify(copy)
