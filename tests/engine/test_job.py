"""Laws of the job: a stored forecast is the lazy one, however often it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore

import hmx
from hmx.engine.job import Job, proofs, run
from hmx.engine.ledger import Ledger, adopt
from hmx.engine.output import stored_arrays, write_tile
from hmx.errors import (
    BadArgument,
    BundleError,
    CubeError,
    JobFailed,
    OutputBusy,
    OutputExists,
    OutputFailed,
)
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.progress import Progress
from hmx.windows import Span, Window
from tests.make.cubes import make_cube
from tests.make.faults import tree
from tests.make.nested import require_nested

OPTIONS = {"h": 2, "level": [80], "quantiles": [0.5], "tile": 32}


@pytest.fixture(scope="module")
def stored(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's cube on disk, in chunks that are not the tiles'."""
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    cube.chunk({"time": -1, "y": 24, "x": 24}).to_zarr(path, zarr_format=3, consolidated=False)
    return path


@pytest.fixture(scope="module")
def whole(
    stored: Path, trained: hmx.Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, dict[str, bytes]]:
    """An uninterrupted job, and every byte it wrote."""
    job = make_job(stored, trained, tmp_path_factory.mktemp("whole") / "fc.zarr")
    run(job)
    return job, tree(job.store)


@pytest.fixture
def copy(whole: tuple[Job, dict[str, bytes]], tmp_path: Path, stored: Path, trained: Any) -> Job:
    """A copy of the finished job that a test may spoil."""
    for end in ("", ".ledger"):
        shutil.copytree(whole[0].store + end, str(tmp_path / "fc.zarr") + end)
    return make_job(stored, trained, tmp_path / "fc.zarr")


def make_job(cube: Path, model: Any, store: Path, region: Any = None, **options: Any) -> Job:
    chosen = ForecastOptions(**{**OPTIONS, **options})
    checked = ForecastRun.check(hmx.open_cube(cube, chunks=None), model, chosen, region=region)
    return Job(checked, str(cube), str(store))


class Told:
    """Progress that remembers lines and how many tiles were run."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.lines: list[str] = []
        self.done, self.stop_after = 0, stop_after

    @property
    def progress(self) -> Progress:
        return Progress(self.lines.append, self.step)

    def step(self, done: int, total: int, text: str) -> None:
        self.done = done
        if done == self.stop_after:
            raise KeyboardInterrupt


def test_what_a_killed_worker_left_half_written_is_swept_away(
    copy: Job, whole: tuple[Job, dict[str, bytes]]
) -> None:
    """Zarr writes a chunk under another name first; nobody else ever looks at it."""
    chunk = next(path for path in Path(copy.store, "hm", "c").rglob("*") if path.is_file())
    chunk.rename(chunk.with_name("0.6a8b3010.partial"))
    run(copy)
    assert tree(copy.store) == whole[1]


def test_the_stored_forecast_is_the_lazy_one(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any]
) -> None:
    lazy = hmx.open_cube(stored).hm.forecast(model=trained, **OPTIONS)
    xr.testing.assert_equal(hmx.open_cube(whole[0].store).load(), lazy.load())
    plain = xr.open_zarr(whole[0].store)
    assert plain.rio.crs == lazy.rio.crs
    assert plain.attrs["hmx_status"] == "complete"
    assert plain["hm"].encoding["chunks"] == (2, 32, 32)
    assert plain["quality"].dtype == "uint8"


@pytest.mark.parametrize(
    ("rows", "columns"), [((10, 90), (7, 100)), ((0, 20), (50, 112)), ((40, 41), (40, 41))]
)
def test_a_region_of_a_job_is_the_crop_of_the_whole(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any], tmp_path: Path,
    rows: tuple[int, int], columns: tuple[int, int],
) -> None:  # fmt: skip
    region = (slice(*rows), slice(*columns))
    job = make_job(stored, trained, tmp_path / "part.zarr", region=region)
    part = hmx.open_cube(run(job)).load()
    full = hmx.open_cube(whole[0].store).isel(y=slice(*rows), x=slice(*columns)).load()
    np.testing.assert_allclose(part["hm"], full["hm"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(part["quality"], full["quality"])
    for name in ("hm_lo_80", "hm_quantile"):  # where errors change fast, they follow faster
        np.testing.assert_allclose(part[name], full[name], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(part["y"], full["y"])


@pytest.mark.parametrize("names", [{}, {"y": "lat", "x": "lon"}], ids=["y", "lat"])
def test_a_stored_cube_that_runs_south_to_north_keeps_its_rows(
    trained: hmx.Bundle, cube: xr.Dataset, tmp_path: Path, names: dict[str, str]
) -> None:
    turned = cube.isel(y=slice(None, None, -1)).rename(names)
    turned.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    opened = hmx.open_cube(tmp_path / "c.zarr")
    fc = opened.hm.forecast_to_zarr(tmp_path / "fc.zarr", h=2, model=trained, tile=40, level=80)
    lazy = opened.hm.forecast(h=2, model=trained, tile=40, level=80)
    assert fc["hm"].dims == lazy["hm"].dims
    np.testing.assert_array_equal(fc[fc["hm"].dims[1]], lazy[fc["hm"].dims[1]])
    np.testing.assert_allclose(fc["hm"], lazy["hm"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(fc["quality"], lazy["quality"])
    part = opened.hm.forecast_to_zarr(
        tmp_path / "part.zarr", h=2, model=trained, tile=40, region=(slice(0, 30), slice(9, 50))
    )
    crop = lazy["hm"].values[:, :30, 9:50]
    np.testing.assert_allclose(part["hm"], crop, rtol=0, atol=1e-6)


def test_a_tile_may_be_several_chunks(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any], tmp_path: Path
) -> None:
    job = make_job(stored, trained, tmp_path / "fc.zarr", tile=64, chunk=16)
    other = hmx.open_cube(run(job))
    assert other["hm"].encoding["chunks"] == (2, 16, 16)
    whole_mean = hmx.open_cube(whole[0].store)["hm"]
    np.testing.assert_allclose(other["hm"], whole_mean, rtol=0, atol=1e-6)
    assert len(list(job.ledger.records())) == 4
    assert all(len(r.chunks) == 80 for r in job.ledger.records() if r.index == (0, 0))


def test_a_chunk_that_two_tiles_would_share_is_refused(whole: tuple[Job, Any]) -> None:
    with pytest.raises(
        BadArgument, match=r"not a whole number of chunks \(chunk=24\).*Try tile=24"
    ):
        hmx.open_cube(whole[0].source).hm.plan(model="x", tile=32, chunk=24)
    stored = stored_arrays(whole[0].store, ["hm"])
    block = {"hm": np.zeros((2, 32, 40), "float32")}
    with pytest.raises(BadArgument, match="two tasks would share"):
        write_tile(stored, block, Window(Span(0, 32), Span(0, 40)))


def test_metadata_of_a_store_is_read_once_whatever_the_number_of_tiles(
    whole: tuple[Job, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get = LocalStore.get

    async def counted(store: LocalStore, key: str, *words: Any, **named: Any) -> Any:
        read.append(key)
        return await get(store, key, *words, **named)

    monkeypatch.setattr(LocalStore, "get", counted)
    assert len(proofs(whole[0])) == 12
    assert sum(key == "hm/zarr.json" for key in read) == 1


def test_a_job_run_again_computes_and_writes_nothing(copy: Job) -> None:
    before, told = tree(copy.store) | tree(copy.ledger.path), Told()
    assert run(copy, progress=told.progress) == copy.store
    assert told.lines == [f"forecast: {copy.store} exists and is current"]
    assert tree(copy.store) | tree(copy.ledger.path) == before


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_stopped_job_goes_on_to_the_very_same_bytes(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any], tmp_path: Path, after: int
) -> None:
    job = make_job(stored, trained, tmp_path / "fc.zarr")
    with pytest.raises(KeyboardInterrupt):
        run(job, progress=Told(stop_after=after).progress)
    with pytest.warns(UserWarning, match="is incomplete"):
        hmx.open_cube(job.store)
    proven = len(list(job.ledger.records()))
    told = Told()
    run(job, progress=told.progress)
    assert after <= proven < 12
    assert told.done == 12 - proven, "what was proven was computed again"
    assert tree(job.store) == whole[1]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


FAULTS: dict[str, Callable[[Path, Path], None]] = {
    "chunk truncated": lambda store, _: truncate(store / "hm/c/0/1/2"),
    "chunk deleted": lambda store, _: (store / "hm_lo_80/c/0/1/2").unlink(),
    "chunk of other bytes": lambda store, _: scramble(store / "quality/c/1/2"),
    "record cut in half": lambda _, ledger: truncate(ledger / "tiles/0001-0002"),
    "record gone": lambda _, ledger: (ledger / "tiles/0001-0002").unlink(),
    "record of another run": lambda _, ledger: (ledger / "tiles/0001-0002").write_bytes(
        (ledger / "tiles/0001-0002").read_bytes().replace(b'"run": "', b'"run": "x')
    ),
}


@pytest.mark.parametrize("harm", [truncate, Path.unlink])
def test_a_lost_header_loses_no_tile(copy: Job, whole: tuple[Job, Any], harm: Any) -> None:
    zarr.open_group(copy.store, mode="r+").attrs["hmx_status"] = "incomplete"
    harm(Path(copy.ledger.path, "job.json"))
    (Path(copy.store) / "hm/c/0/0/0").unlink()
    told = Told()
    run(copy, progress=told.progress)
    assert told.done == 1
    assert tree(copy.store) == whole[1]
    assert copy.ledger.job()["run"] == copy.work.run


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("status", ["complete", "incomplete"])
def test_what_is_torn_or_missing_is_repaired_and_nothing_else(
    copy: Job, whole: tuple[Job, Any], fault: str, status: str
) -> None:
    if status == "incomplete":
        zarr.open_group(copy.store, mode="r+").attrs["hmx_status"] = status
    FAULTS[fault](Path(copy.store), Path(copy.ledger.path))
    told = Told()
    run(copy, progress=told.progress)
    assert told.done == 1
    assert tree(copy.store) == whole[1]


def test_only_tiles_whose_input_changed_are_computed_again(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    chunked = cube.chunk({"time": -1, "y": 24, "x": 24})
    chunked.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    job = make_job(tmp_path / "c.zarr", trained, tmp_path / "fc.zarr", h=1, tile=16)
    run(job)
    array = zarr.open_group(tmp_path / "c.zarr", mode="r+")["hm"]
    array[:, :24, :24] = array[:, :24, :24] * np.float32(0.5)
    again, told = make_job(tmp_path / "c.zarr", trained, tmp_path / "fc.zarr", h=1, tile=16), Told()
    run(again, progress=told.progress)
    reach = job.run.halo
    assert told.done == (-(-(24 + reach) // 16)) ** 2
    fresh = make_job(tmp_path / "c.zarr", trained, tmp_path / "fresh.zarr", h=1, tile=16)
    run(fresh)
    assert tree(again.store) == tree(fresh.store)


def test_a_corrupt_input_chunk_fails_its_tiles_alone(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "c.zarr"
    cube.chunk({"time": -1, "y": 48, "x": 56}).to_zarr(path, zarr_format=3, consolidated=False)
    good = (path / "hm/c/0/0/0").read_bytes()
    (path / "hm/c/0/0/0").write_bytes(b"poison" + good[6:])
    job = make_job(path, trained, tmp_path / "fc.zarr", h=1, tile=16)
    with pytest.raises(JobFailed) as caught:
        run(job)
    bad = (-(-(48 + job.run.halo) // 16)) * (-(-(56 + job.run.halo) // 16))
    text = str(caught.value)
    assert f"is incomplete: {bad} tiles failed" in text
    assert "rows 0-16, columns 0-16, bounds (500000, 5995200, 504800, 6000000)" in text
    assert "Repair their inputs, then run the same command again" in text
    assert caught.value.exit_code == 1
    with pytest.warns(UserWarning, match="is incomplete"):
        partial = hmx.open_cube(job.store)
    assert np.isfinite(partial["hm"].values[0, 80:, 40:60]).any()
    (path / "hm/c/0/0/0").write_bytes(good)
    told = Told()
    run(make_job(path, trained, tmp_path / "fc.zarr", h=1, tile=16), progress=told.progress)
    clean = make_job(path, trained, tmp_path / "clean.zarr", h=1, tile=16)
    run(clean)
    assert bad <= told.done < 42
    assert tree(job.store) == tree(clean.store)


def test_a_job_whose_every_tile_fails_stops_early(
    stored: Path, trained: hmx.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmx.engine import output as tiles

    calls: list[Any] = []

    def fail(*words: Any) -> None:
        calls.append(words)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tiles.WindowRunner, "run", fail)
    with pytest.raises(JobFailed, match="out of memory"):
        run(make_job(stored, trained, tmp_path / "fc.zarr", tile=16))
    assert 15 <= len(calls) < 30


def test_tiles_without_stored_data_are_skipped_and_read_as_the_lazy_ones(
    trained: hmx.Bundle, cube: xr.Dataset, tmp_path: Path
) -> None:
    sea = cube.copy(deep=True)
    sea["hm"][:, :60, :64] = np.nan
    sea.chunk({"time": -1, "y": 16, "x": 16}).to_zarr(
        tmp_path / "c.zarr", zarr_format=3, consolidated=False,
        encoding={"hm": {"write_empty_chunks": False, "fill_value": np.nan}},
    )  # fmt: skip
    told, job = Told(), make_job(tmp_path / "c.zarr", trained, tmp_path / "fc.zarr", tile=16)
    run(job, progress=told.progress)
    assert told.done <= 6 * 7 - 3 * 4
    assert not (tmp_path / "fc.zarr/hm/c/0/0/0").exists()
    assert not (tmp_path / "fc.zarr/quality/c/0/0").exists()
    lazy = hmx.open_cube(tmp_path / "c.zarr").hm.forecast(model=trained, **{**OPTIONS, "tile": 16})
    xr.testing.assert_equal(hmx.open_cube(job.store).load(), lazy.load())


@pytest.mark.parametrize("status", ["complete", "incomplete"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"h": 1}, "its h is 2 and this one's is 1"),
        ({"level": [90]}, r"its level is \[80.0\] and this one's is \[90.0\]"),
        ({"quantiles": []}, "its quantiles is"),
        ({"precision": "float64"}, "its precision is 'float32'"),
        ({"region": (slice(0, 40), slice(0, 40))}, "its region is None"),
    ],
    ids=str,
)
def test_a_store_of_another_forecast_is_refused_and_kept(
    copy: Job, stored: Path, trained: hmx.Bundle, change: Any, text: str, status: str
) -> None:
    zarr.open_group(copy.store, mode="r+").attrs["hmx_status"] = status
    before = tree(copy.store)
    other = make_job(stored, trained, Path(copy.store), **change)
    with pytest.raises(OutputExists, match=f"holds another forecast: {text}"):
        run(other)
    assert tree(copy.store) == before
    run(other, overwrite=True)
    assert hmx.open_cube(copy.store).sizes["time"] == other.run.options.h


def test_another_model_and_another_cube_are_refused(
    copy: Job, stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    from dataclasses import replace

    weights = {name: weight * 2 for name, weight in trained.weights.items()}
    other = replace(trained, weights=weights, path=None).save(tmp_path / "other")
    with pytest.raises(OutputExists, match="its bundle is"):
        run(make_job(stored, other, Path(copy.store)))
    shutil.copytree(stored, tmp_path / "cube.zarr")
    zarr.open_group(tmp_path / "cube.zarr", mode="r+").attrs["hmx_fingerprint"] = "else"
    with pytest.raises(OutputExists, match="its data is None and this one's is 'else'"):
        run(make_job(tmp_path / "cube.zarr", trained, Path(copy.store)))


def test_an_unfinished_job_keeps_its_tiles_unless_others_are_asked_for(
    copy: Job, stored: Path, trained: hmx.Bundle
) -> None:
    zarr.open_group(copy.store, mode="r+").attrs["hmx_status"] = "incomplete"
    open_wish = adopt(ForecastOptions(h=2), copy.store)
    assert (open_wish.tile, open_wish.chunk) == (32, 32)
    assert adopt(ForecastOptions(h=2, tile=64), copy.store).tile == 64
    assert adopt(ForecastOptions(precision="auto"), copy.store).precision == "float32"
    with pytest.raises(OutputExists, match="its tile is 32 and this one's is 64"):
        run(make_job(stored, trained, Path(copy.store), tile=64))


def test_a_second_job_waits_for_nobody(copy: Job) -> None:
    (Path(copy.store) / "hm/c/0/0/0").unlink()
    with (
        copy.ledger.owned(),
        pytest.raises(OutputBusy, match=r"is being written by another job \(process \d+ on .*\)"),
    ):
        run(Job(copy.run, copy.source, copy.store))
    run(Job(copy.run, copy.source, copy.store))


def test_a_job_that_finished_meanwhile_is_not_replaced_unasked(
    stored: Path, trained: hmx.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_job(stored, trained, tmp_path / "fc.zarr", h=1)
    second = make_job(stored, trained, tmp_path / "fc.zarr", h=2)
    inner = Ledger.owned

    def late(ledger: Ledger) -> Any:
        monkeypatch.setattr(Ledger, "owned", inner)
        run(first)
        return inner(ledger)

    monkeypatch.setattr(Ledger, "owned", late)
    with pytest.raises(OutputExists, match="its h is 1 and this one's is 2"):
        run(second)
    assert hmx.open_cube(tmp_path / "fc.zarr").sizes["time"] == 1


def test_a_worker_of_a_dead_job_does_not_touch_the_next_ones_store(copy: Job) -> None:
    Ledger(copy.store).begin({**copy.header(), "run": "another"})
    before = tree(copy.store)
    with pytest.raises(JobFailed, match="taken over by another job"):
        copy.work((0, 0), "state")
    assert tree(copy.store) == before


def test_a_full_disk_is_told_and_room_lets_it_go_on(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import errno

    from hmx.engine import output as tiles

    job, full = make_job(stored, trained, tmp_path / "fc.zarr"), iter([False] * 4 + [True] * 99)

    def write(*words: Any) -> list[str]:
        if next(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_tile(*words)

    with monkeypatch.context() as patch:
        patch.setattr(tiles, "write_tile", write)
        with pytest.raises(OutputFailed, match=r"cannot be written: No space left.*Make room"):
            run(job)
    assert 0 < len(list(job.ledger.records())) <= 4
    run(job)
    assert tree(job.store) == whole[1]


def test_a_model_that_changes_under_a_job_ends_it(
    stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    from dataclasses import replace

    model = trained.save(tmp_path / "model")
    job = make_job(stored, model, tmp_path / "fc.zarr")
    weights = {name: weight + 1 for name, weight in trained.weights.items()}
    replace(trained, weights=weights).save(tmp_path / "model")
    with pytest.raises(BundleError, match="has changed since"):
        run(job)


def test_python_runs_the_same_job_on_a_cube_that_is_a_store(
    stored: Path, trained: hmx.Bundle, whole: tuple[Job, Any], tmp_path: Path
) -> None:
    ds = hmx.open_cube(stored)
    fc = ds.hm.forecast_to_zarr(tmp_path / "fc.zarr", model=trained, **OPTIONS)
    assert tree(tmp_path / "fc.zarr") == whole[1]
    assert set(fc.data_vars) >= {"hm", "hm_lo_80", "hm_quantile", "quality"}
    assert require_nested(fc, "hm") >= 3
    shutil.copytree(stored, tmp_path / "other.zarr")
    other = hmx.open_cube(tmp_path / "other.zarr")
    mixed = ds.assign(elevation=other["elevation"])
    for touched in (ds.isel(x=slice(0, 100)), ds.assign(hm=ds["hm"] * 1), ds.compute(), mixed):
        with pytest.raises(CubeError, match="not a store as it was opened"):
            touched.hm.forecast_to_zarr(tmp_path / "x.zarr", model=trained, h=2)


def test_the_globe_of_a_job_wraps_at_the_date_line(trained: hmx.Bundle, tmp_path: Path) -> None:
    from tests.make.cubes import make_bundle

    globe = make_cube((24, 48), crs="EPSG:4326", pixel=7.5, corner=(-180.0, 90.0), holes=False)
    model = make_bundle(globe).save(tmp_path / "model")
    globe.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    opened = hmx.open_cube(tmp_path / "c.zarr")
    fc = opened.hm.forecast_to_zarr(tmp_path / "fc.zarr", h=2, model=model, tile=16)
    np.testing.assert_allclose(
        fc["hm"], globe.hm.forecast(h=2, model=model)["hm"], rtol=0, atol=1e-6
    )


def test_provenance_and_ledger_say_what_was_done(whole: tuple[Job, Any]) -> None:
    job, _ = whole
    facts = json.loads(hmx.open_cube(job.store).attrs["hmx_provenance"])
    assert facts["bundle"] == job.run.bundle.digest
    assert facts["tile"] == 32
    header = job.ledger.job()
    assert header["options"]["h"] == 2
    assert Job.restore(job.store, header).facts == job.facts
    assert b"weights" not in Path(job.ledger.path, "job.json").read_bytes()


def test_nothing_heavy_travels_with_a_task(whole: tuple[Job, Any]) -> None:
    import pickle

    assert len(pickle.dumps(whole[0].work)) < 4000
