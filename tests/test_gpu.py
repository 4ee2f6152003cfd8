"""Laws of a CUDA device: it computes what the CPU computes, and jobs survive there too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import hmx
from hmx.engine.job import Job, run
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.forecast.window import engine
from hmx.hardware import choose_device
from hmx.progress import Progress
from tests.make.cubes import make_bundle, make_cube
from tests.make.faults import tree
from tests.make.networks import KINDS, options_of
from tests.make.soilworlds import TINY, UTM, make_points

ROUNDED = 1e-6  # of the value range, as between tiles on the CPU
TIGHT: dict[str, Any] = {"h": 2, "level": [80], "quantiles": [0.5]}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def land_cube() -> xr.Dataset:
    return make_cube((131, 117), steps=4)


@pytest.fixture
def careless() -> Iterator[None]:
    """A process that has allowed TF32 for everything, as many notebooks do."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    assert torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def largest(one: xr.Dataset, other: xr.Dataset) -> float:
    """Largest difference of any variable, infinite where one has data and the other has none."""
    worst = 0.0
    for name in one.data_vars:
        a, b = one[name].values.astype("float64"), other[name].values.astype("float64")
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return float("inf")
        worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0.0)))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_forecasts_the_same_on_both_devices(
    kind: str, land_cube: xr.Dataset, tmp_path: Path, careless: None
) -> None:
    bundle = make_bundle(land_cube, options_of(kind), valid_range=None).save(tmp_path / "model")
    on = {
        device: land_cube.hm.forecast(h=2, model=bundle, tile=256, device=device).load()
        for device in ("cpu", "cuda")
    }
    assert float(on["cpu"]["hm"].std()) > 0
    span = float(on["cpu"]["hm"].max() - on["cpu"]["hm"].min())
    assert largest(on["cpu"], on["cuda"]) <= ROUNDED * max(1.0, span)


@pytest.mark.parametrize("tile", [32, 50, 101])
def test_tiles_on_a_gpu_equal_one_pass(
    cube: xr.Dataset, trained: hmx.Bundle, tile: int, careless: None
) -> None:
    whole = cube.hm.forecast(h=2, model=trained, tile=256, device="cuda").load()
    tiled = cube.hm.forecast(h=2, model=trained, tile=tile, device="cuda").load()
    assert largest(whole, tiled) <= ROUNDED


def test_a_float64_forecast_on_a_gpu_is_that_of_the_cpu(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    on = [
        cube.hm.forecast(h=2, model=trained, device=device, precision="float64").load()
        for device in ("cpu", "cuda")
    ]
    assert largest(*on) <= 1e-12


def test_half_precision_passes_its_audit(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    full, half = (
        cube.hm.forecast(h=2, model=trained, device="cuda", precision=precision)["hm"].values
        for precision in ("float32", "bfloat16")
    )
    origin = cube["hm"].values[-1]
    seen = np.isfinite(full) & np.isfinite(origin)
    change = np.sqrt(np.mean(np.square((full - origin)[seen])))
    error = np.sqrt(np.mean(np.square((full - half)[seen])))
    assert 0 < error <= 0.01 * change
    chosen = cube.hm.forecast(h=2, model=trained, device="cuda", precision="auto")
    assert '"bfloat16"' in chosen.attrs["hmx_provenance"]


def test_auto_means_the_gpu() -> None:
    assert choose_device("auto").type == "cuda"
    with pytest.raises(hmx.errors.BadArgument, match="is not here"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


@pytest.fixture(scope="module")
def stored(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    cube.chunk({"time": -1, "y": 24, "x": 24}).to_zarr(path, zarr_format=3, consolidated=False)
    return path


def job_of(stored: Path, trained: hmx.Bundle, store: Path) -> Job:
    options = ForecastOptions(**TIGHT, tile=32, device="cuda")
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


def test_a_gpu_has_a_process_of_its_own(stored: Path, trained: hmx.Bundle, tmp_path: Path) -> None:
    ds = hmx.open_cube(stored)
    plan = {**TIGHT, "tile": 32, "device": "cuda"}
    apart = ds.hm.forecast_to_zarr(tmp_path / "apart.zarr", model=trained, workers=1, **plan)
    inside = ds.hm.forecast_to_zarr(tmp_path / "inside.zarr", model=trained, **plan)
    assert largest(apart.load(), inside.load()) == 0
    with pytest.raises(hmx.errors.BadArgument, match="want a GPU each"):
        ds.hm.forecast_to_zarr(tmp_path / "no.zarr", model=trained, workers=99, **plan)


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


@pytest.mark.parametrize("arch", ["dilated", "convlstm"])
def test_training_on_a_gpu_learns_as_on_the_cpu(cube: xr.Dataset, arch: str) -> None:
    how: dict[str, Any] = {
        "static": ["elevation"], "history": 2, "arch": arch, "width": 8, "trunk": (1, 2),
        "context": (1, 3), "epochs": 2, "steps": 4, "chip": 48, "final": False,
    }  # fmt: skip
    skills = {}
    for device in ("cpu", "cuda"):
        model = cube.hm.train(device=device, **how)
        assert all(np.isfinite(array).all() for array in model.weights.values())
        fc = cube.hm.forecast(h=1, model=model, device="cpu")["hm"].values
        skills[device] = fc
    seen = np.isfinite(skills["cpu"])
    apart = np.abs(skills["cpu"] - skills["cuda"])[seen]
    change = np.abs(skills["cpu"] - cube["hm"].values[-1])[seen]
    assert apart.mean() <= 0.05 * change.mean()  # rounding, carried through a few steps


def test_a_map_is_the_same_on_both_devices(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, careless: None
) -> None:
    on = [land.soc.map(model=trained_mapper, level=[90], device=d).load() for d in ("cpu", "cuda")]
    span = float(on[0]["soc"].max() - on[0]["soc"].min())
    assert largest(*on) <= 1e-5 * span


def test_a_mapper_trains_on_a_gpu(land: xr.Dataset) -> None:
    model = land.soc.train(make_points(land), crs=UTM, units="g/kg", **(TINY | {"device": "cuda"}))
    assert np.isfinite(land.soc.map(model=model)["soc"].values).any()
