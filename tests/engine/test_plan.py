"""Laws of the plan: its integers are those of the job that follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.engine import plan as module
from hmx.engine.job import run
from hmx.engine.options import DaskSection
from hmx.engine.plan import plan
from hmx.errors import BadArgument
from hmx.networks.options import ModelOptions
from tests.bench.world import make_job as world_job
from tests.bench.world import make_model, write_world
from tests.engine.test_job import Told, make_job
from tests.make.cubes import STREAMED, make_cube

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube a quarter of which is not stored at all."""
    ds = make_cube((96, 112), steps=6)
    ds["hm"][:, :48, :64] = np.nan
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    encoding = {"hm": {"fill_value": np.float32("nan"), "write_empty_chunks": False}}
    ds.chunk({"time": -1, "y": 16, "x": 16}).to_zarr(
        path, zarr_format=3, consolidated=False, encoding=encoding
    )
    return path


def test_the_plan_counts_what_the_job_does(
    stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    job, told = make_job(stored, trained, tmp_path / "fc.zarr", tile=16), Told()
    made = plan(job.run, job.inventory, timed=False)
    run(job, progress=told.progress)
    assert made.tiles == told.done
    assert made.skipped == 6 * 7 - told.done >= 12
    assert made.grid == (6, 7)
    assert made.halo == job.run.halo == job.run.tiles.halo


def test_pixels_and_bytes_are_those_of_the_tiles(stored: Path, trained: hmx.Bundle) -> None:
    job = make_job(stored, trained, Path("nowhere.zarr"), tile=32)
    made, halo = plan(job.run, job.inventory, timed=False), job.run.halo
    read = written = 0
    for top in range(0, 96, 32):
        for left in range(0, 112, 32):
            bottom, right = min(top + 32, 96), min(left + 32, 112)
            if bottom <= 48 and right <= 64:
                continue  # nothing is stored there
            written += (bottom - top) * (right - left)
            rows = min(96, bottom + halo) - max(0, top - halo)
            read += rows * (min(112, right + halo) - max(0, left - halo))
    assert made.overhead == pytest.approx(read / written - 1)
    assert made.bytes_read == read * 4 * (2 + 1)  # two steps and elevation
    assert made.bytes_written == written * (4 * 2 * 4 + 1)  # mean, two ends, a quantile; quality


def test_one_tile_is_timed_and_the_rest_is_proportional(
    stored: Path, trained: hmx.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(stored, trained, Path("nowhere.zarr"), tile=32)
    monkeypatch.setattr(module, "_seconds_per_pixel", lambda *_: 1e-3)
    made = plan(job.run, job.inventory, DaskSection(workers=2))
    assert made.seconds_per_tile == pytest.approx(32 * 32 * 1e-3)
    assert made.seconds == pytest.approx((96 * 112 - 32 * 64) * 1e-3 / 2)
    assert made.workers == 2


def test_a_tile_larger_than_the_raster_is_counted_by_the_pixels_it_has(
    stored: Path, trained: hmx.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(stored, trained, Path("nowhere.zarr"), tile=128)
    monkeypatch.setattr(module, "_seconds_per_pixel", lambda *_: 1e-3)
    made = plan(job.run, job.inventory)
    assert made.seconds_per_tile == made.seconds == pytest.approx(96 * 112 * 1e-3)
    assert "1 kpx/s" in str(made)


def test_a_real_tile_is_run_and_torch_is_left_as_it_was(
    stored: Path, trained: hmx.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    job, before = make_job(stored, trained, Path("nowhere.zarr"), tile=32), torch.get_num_threads()
    monkeypatch.setattr(module, "threads_each", lambda count: before + 1)
    made = plan(job.run, job.inventory, DaskSection(workers=1))
    assert made.threads == before + 1
    assert torch.get_num_threads() == before
    assert 0 < made.seconds_per_tile < 60
    assert made.seconds > 0


def test_a_tile_that_does_not_fit_in_memory_is_refused_with_what_to_type(
    stored: Path, trained: hmx.Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = make_job(stored, trained, tmp_path / "fc.zarr", tile=64, chunk=32)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 500 << 20)
    with pytest.raises(BadArgument, match=r"tile=64 may need .* in each of 2 workers.*tile=32"):
        plan(job.run, job.inventory, DaskSection(workers=2))
    with pytest.raises(BadArgument, match="tile=64 may need"):
        run(job)
    assert not (tmp_path / "fc.zarr").exists()


PEAK = """
from pathlib import Path
from tests.bench.world import make_job
from hmx.forecast.bundle import Bundle
from hmx.windows import Span, Window
job = make_job({cube!r}, Bundle.load({model!r}), "nowhere.zarr", h=4, level=[80], quantiles=[0.5],
               exceed=[0.1], tile=256, precision={precision!r})
core = Window(Span(128, 384), Span(128, 384))
job.run.runner.run(core, job.run.cube)
# of this program: ru_maxrss would count the test process that it was forked from
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""
LARGE = {
    "default": ({}, "float32"),
    "recursive": ({"strategy": "recursive", "maxima": True}, "float32"),
    "streamed": ({**STREAMED, "hidden": 32, "layers": 2}, "float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGE)
def test_a_worker_stays_below_its_bound(tmp_path: Path, kind: str) -> None:
    """Reads, context, network and distribution of one tile, in a process of its own."""
    options, precision = LARGE[kind]
    cube = write_world(tmp_path / "cube.zarr", (512, 512))
    model = make_model(tmp_path / "model", cube, ModelOptions(**options))
    words = {"cube": str(cube), "model": str(model.path), "precision": precision}
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(**words)],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    job = world_job(cube, model, Path("nowhere.zarr"), h=4, level=[80], quantiles=[0.5],
                    exceed=[0.1], tile=256, precision=precision)  # fmt: skip
    real, bound = int(done.stdout), plan(job.run, job.inventory, timed=False).ram
    assert real <= bound <= 3 * real, (real, bound)


def test_more_pixels_need_more_memory(stored: Path, trained: hmx.Bundle) -> None:
    bounds = []
    for tile in (16, 48, 96):
        job = make_job(stored, trained, Path("nowhere.zarr"), tile=tile)
        bounds.append(plan(job.run, job.inventory, timed=False).ram)
    assert bounds == sorted(set(bounds))


def test_python_plans_any_cube(cube: xr.Dataset, trained: hmx.Bundle, stored: Path) -> None:
    memory = cube.hm.plan(h=2, model=trained, level=80, tile=32)
    assert memory.tiles == 12
    ds = hmx.open_cube(stored)
    blocks = ds["hm"].coarsen(y=16, x=16).max().max("time").isnull()
    assert ds.hm.plan(h=2, model=trained, tile=16).skipped == int(blocks.sum()) > 12
    assert cube.chunk({"x": 30}).hm.plan(h=2, model=trained, tile=32).skipped == 0


def test_the_text_and_the_json_say_the_same(stored: Path, trained: hmx.Bundle) -> None:
    job = make_job(stored, trained, Path("nowhere.zarr"), tile=32)
    made = plan(job.run, job.inventory, timed=False)
    text, facts = str(made), json.loads(json.dumps(made.as_dict()))
    assert f"{made.halo} px on each side" in text
    assert "10 of 32 px to compute, 2 with nothing in them" in text
    assert facts["tiles"] == 10
    assert facts["seconds"] is None
    assert "not measured" in text


def test_an_empty_cube_takes_no_time(trained: hmx.Bundle, tmp_path: Path) -> None:
    ds = make_cube((32, 32), steps=6)
    ds["hm"][:] = np.nan
    encoding: Any = {"hm": {"fill_value": np.float32("nan"), "write_empty_chunks": False}}
    ds.to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False, encoding=encoding)
    job = make_job(tmp_path / "c.zarr", trained, tmp_path / "fc.zarr")
    made = plan(job.run, job.inventory)
    assert (made.tiles, made.seconds) == (0, 0.0)
    assert np.isnan(hmx.open_cube(run(job))["hm"]).all()
