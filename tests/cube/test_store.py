"""Laws of drafts: whole or not at all, finished by the next run, and never a stranger's."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.cube.store import claim, discard, discard_work, is_private, mark_done, recover, swap, sweep
from hmx.engine import job as machine
from hmx.engine.job import run
from hmx.errors import JobFailed, OutputExists
from hmx.exports.cog import export_cog
from hmx.files.lock import building, hidden_sibling, lock_file
from hmx.ingest.ingest import ingest
from tests.engine.test_job import make_job
from tests.ingest.test_ingest import YEARS, make_catalog, write_years
from tests.make.cubes import make_bundle, make_cube


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, text: str) -> None:
    with swap(path) as new:
        new.mkdir()
        (new / "data").write_text(text)


def test_a_draft_replaces_what_is_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write(tmp_path / "m", text)
        assert (tmp_path / "m" / "data").read_text() == text
        assert names(tmp_path) == ["m"]


def test_a_draft_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "m", "one")

    def fail() -> None:
        with swap(tmp_path / "m") as new:
            new.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == ["m"]
    assert (tmp_path / "m" / "data").read_text() == "one"


def died_early(desk: Path) -> None:
    desk.mkdir()


def died_writing(desk: Path) -> None:
    claim(desk)
    (desk / "new").mkdir()
    (desk / "new" / "data").write_text("ha")


def died_discarding(desk: Path) -> None:
    claim(desk)
    (desk / "old").mkdir()


@pytest.mark.parametrize("died", [died_early, died_writing, died_discarding])
def test_what_a_dead_run_left_is_swept(tmp_path: Path, died: Callable[[Path], None]) -> None:
    write(tmp_path / "m", "one")
    died(hidden_sibling(tmp_path / "m", "draft"))
    lock_file(tmp_path / "m").touch()
    sweep(tmp_path / "m")
    assert names(tmp_path) == ["m"]
    died(hidden_sibling(tmp_path / "m", "draft"))
    write(tmp_path / "m", "two")
    assert names(tmp_path) == ["m"]
    assert (tmp_path / "m" / "data").read_text() == "two"


def test_a_swap_that_died_between_its_renames_is_finished(tmp_path: Path) -> None:
    write(tmp_path / "m", "one")
    desk = hidden_sibling(tmp_path / "m", "draft")
    died_writing(desk)
    (tmp_path / "m").rename(desk / "old")
    recover(tmp_path / "m")
    assert names(tmp_path) == ["m"]
    assert (tmp_path / "m" / "data").read_text() == "ha"


def test_half_of_what_was_replaced_never_comes_back(tmp_path: Path) -> None:
    died_discarding(hidden_sibling(tmp_path / "m", "draft"))
    recover(tmp_path / "m")
    assert names(tmp_path) == []


def test_a_live_run_keeps_its_draft(tmp_path: Path) -> None:
    write(tmp_path / "m", "one")
    with building(tmp_path / "m"), swap(tmp_path / "m") as new:
        new.mkdir()
        thread = threading.Thread(target=sweep, args=[tmp_path / "m"])
        thread.start()
        thread.join(60)
        assert new.is_dir()
        (new / "data").write_text("two")
    assert (tmp_path / "m" / "data").read_text() == "two"


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_folder_without_the_mark_is_never_touched(tmp_path: Path, kind: str) -> None:
    desk = hidden_sibling(tmp_path / "m", "draft")
    (tmp_path / "else").mkdir()
    if kind == "link":
        desk.symlink_to(tmp_path / "else")
    elif kind == "file":
        desk.write_text("mine")
    else:
        desk.mkdir()
        (desk / "thesis.txt").write_text("mine")
    assert not is_private(desk)
    sweep(tmp_path / "m")
    with pytest.raises(OutputExists, match=r"\.m\.draft holds something that hmx did not write"):
        write(tmp_path / "m", "one")
    with pytest.raises(OutputExists, match="Move it away"):
        discard(desk)
    assert os.path.lexists(desk)


def test_the_work_of_a_model_is_swept_only_when_it_is_over(tmp_path: Path) -> None:
    work = tmp_path / "m.training"
    claim(work)
    sweep(tmp_path / "m")
    assert work.is_dir(), "a killed fit goes on from it"
    mark_done(work)
    sweep(tmp_path / "m")
    assert names(tmp_path) == []


def test_work_that_is_over_goes_under_a_name_that_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last bit is an empty folder, which by its own name could be anybody's."""
    claim(tmp_path / "m.training")
    monkeypatch.setattr(Path, "rmdir", lambda path: None)  # dies just before
    discard_work(tmp_path / "m.training", tmp_path / "m")
    monkeypatch.undo()
    assert names(tmp_path) == [".m.draft"]
    sweep(tmp_path / "m")
    assert names(tmp_path) == []


def link(kind: str, path: Path, disk: Path) -> Path:
    """Make ``path`` a link; return where the product has to be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = disk / "deep" / "product"
    if kind == "dangling":
        path.symlink_to(target)
    elif kind == "empty":
        target.mkdir(parents=True)
        path.symlink_to(target)
    elif kind == "chain":
        (path.parent / "between").symlink_to(target)
        path.symlink_to("between")
    else:  # its folder
        path.parent.rmdir()
        target.parent.mkdir(parents=True)
        path.parent.symlink_to(target.parent)
        target = target.with_name(path.name)
    return target


LINKS = ["dangling", "empty", "chain", "parent"]


@pytest.mark.parametrize("kind", LINKS)
def test_a_cube_that_is_a_link_stays_one(tmp_path: Path, kind: str) -> None:
    write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path)
    path = Path(catalog.cube.path)
    target = link(kind, path, tmp_path / "disk")
    for overwrite in (False, True, True):
        ingest(catalog, overwrite=overwrite)
        assert (path.parent if kind == "parent" else path).is_symlink()
        assert (target / "zarr.json").is_file()
        assert names(target.parent) == [target.name]
    assert hmx.open_cube(path)["hm"].sizes["time"] == len(YEARS)


@pytest.mark.parametrize("kind", LINKS)
def test_a_model_that_is_a_link_stays_one(tmp_path: Path, kind: str) -> None:
    bundle, path = make_bundle(make_cube((8, 8))), tmp_path / "out" / "model"
    target = link(kind, path, tmp_path / "disk")
    for _ in range(2):
        bundle.save(path)
        assert (path.parent if kind == "parent" else path).is_symlink()
        assert names(target.parent) == [target.name]
    assert hmx.load(path).digest == bundle.digest


@pytest.mark.parametrize("kind", LINKS)
def test_a_forecast_and_an_export_that_are_links_stay_links(tmp_path: Path, kind: str) -> None:
    cube = make_cube((40, 48))
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    bundle = make_bundle(cube, calibrated=True).save(tmp_path / "model")
    path, files = tmp_path / "out" / "fc.zarr", tmp_path / "gis" / "tifs"
    target, folder = (link(kind, p, tmp_path / d) for p, d in ((path, "one"), (files, "two")))
    job = make_job(tmp_path / "cube.zarr", bundle, path, h=1)
    for overwrite in (False, True, True):
        run(job, overwrite=overwrite)
        assert (path.parent if kind == "parent" else path).is_symlink()
        assert names(target.parent) == [target.name, f"{target.name}.ledger"]
    made = export_cog(path, files)
    assert (files.parent if kind == "parent" else files).is_symlink()
    assert {name for name in names(folder) if name.endswith(".tif")} == {p.name for p in made}


@pytest.fixture
def umask() -> object:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_of_a_model_are_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    bundle = make_bundle(make_cube((8, 8))).save(tmp_path / "model", files={"log.csv": b"a\n"})
    assert bundle.path is not None
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in bundle.path.iterdir()}
    assert modes == dict.fromkeys(("bundle.json", "weights.safetensors", "log.csv"), 0o640)


def test_a_cube_that_is_replaced_under_a_job_is_noticed(tmp_path: Path) -> None:
    cube = make_cube((40, 48))
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    bundle = make_bundle(cube, calibrated=True).save(tmp_path / "model")
    job = make_job(tmp_path / "cube.zarr", bundle, tmp_path / "fc.zarr", h=1)
    inner = machine._work_off

    def replaced(*args: object) -> object:
        found = inner(*args)  # type: ignore[arg-type]
        other = cube.assign(hm=cube["hm"] * np.float32(0.5))
        other.to_zarr(tmp_path / "cube.zarr", mode="w", zarr_format=3, consolidated=False)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_work_off", replaced)
        with pytest.raises(JobFailed, match=r"cube\.zarr was written to while it was read"):
            run(job)
    assert (
        xr.open_zarr(tmp_path / "fc.zarr", consolidated=False).attrs["hmx_status"] == "incomplete"
    )
