"""Jobs on a GPU: one process each, resumed to the byte, in memory that the tile decides."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import hmx
from hmx.engine.job import Job, run
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.forecast.window import engine
from hmx.progress import Progress
from tests.gpu.device import DEVICE, TIGHT, cuda_only, largest, on_gpu
from tests.make.cubes import make_cube
from tests.make.faults import tree

pytestmark = on_gpu


def job_of(stored: Path, trained: hmx.Bundle, store: Path) -> Job:
    options = ForecastOptions(**TIGHT, tile=32, device=DEVICE)
    opened = hmx.open_cube(stored, chunks=None)
    return Job(ForecastRun.check(opened, trained, options), str(stored), str(store))


def test_a_job_that_was_stopped_on_a_gpu_ends_with_the_same_bytes(
    stored: Path, trained: hmx.Bundle, tmp_path: Path
) -> None:
    whole = run(job_of(stored, trained, tmp_path / "whole.zarr"))

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    halted = job_of(stored, trained, tmp_path / "halted.zarr")
    with pytest.raises(KeyboardInterrupt):
        run(halted, progress=Progress(on_step=stop))
    assert tree(run(halted)) == tree(whole)


@cuda_only
def test_a_gpu_has_a_process_of_its_own(stored: Path, trained: hmx.Bundle, tmp_path: Path) -> None:
    ds = hmx.open_cube(stored)
    plan = {**TIGHT, "tile": 32, "device": "cuda"}
    apart = ds.hm.forecast_to_zarr(tmp_path / "apart.zarr", model=trained, workers=1, **plan)
    inside = ds.hm.forecast_to_zarr(tmp_path / "inside.zarr", model=trained, **plan)
    assert largest(apart.load(), inside.load()) == 0
    with pytest.raises(hmx.errors.BadArgument, match="want a GPU each"):
        ds.hm.forecast_to_zarr(tmp_path / "no.zarr", model=trained, workers=99, **plan)


@cuda_only
def test_memory_on_the_gpu_follows_the_tile_and_not_the_raster(
    tmp_path: Path, trained: hmx.Bundle
) -> None:
    peaks = []
    for side in (256, 512):
        large = make_cube((side, side), steps=4)
        engine.cache_clear()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        large.hm.forecast(h=2, model=trained, tile=64, device="cuda")["hm"].values  # noqa: B018
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.1 * peaks[0]
