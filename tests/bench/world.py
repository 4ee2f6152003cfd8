"""Synthetic cubes of any size and tiny models, for benchmarks of jobs."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from hmx.cube.cube import open_cube
from hmx.engine.job import Job
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.networks.options import ModelOptions
from tests.make.cubes import make_bundle, make_cube, times

CHUNK = 512
GLOBE = (17_111, 40_000)  # 0.009 degrees from 84 N to 70 S: the global 1 km grid


def write_world(
    path: Path, shape: tuple[int, int], *, land: float = 1.0, steps: int = 3, seed: int = 0
) -> Path:
    """Write a cube chunk by chunk; the sea is not stored at all.

    Parameters
    ----------
    path : Path
        Store to write.
    shape : tuple of int
        Rows and columns, px; :data:`GLOBE` is in degrees and wraps.
    land : float
        Share of the chunks that hold data.
    steps : int
        Maps.
    seed : int
        Decides which chunks are land, and the values.
    """
    geographic = shape == GLOBE
    pixel, west, north = (0.009, -180.0, 84.0) if geographic else (1000.0, 5e5, 6e6)
    chunks = (steps, CHUNK, CHUNK)
    hm = da.full((steps, *shape), np.nan, chunks=chunks, dtype="float32")
    elevation = da.full(shape, np.nan, chunks=chunks[1:], dtype="float32")
    ds = xr.Dataset(
        {
            "hm": (("time", "y", "x"), hm, {"valid_range": [0.0, 1.0], "hmx_role": "target"}),
            "elevation": (("y", "x"), elevation, {"units": "m", "hmx_role": "static"}),
        },
        {
            "time": times(steps=steps),
            "y": north - pixel * (np.arange(shape[0]) + 0.5),
            "x": west + pixel * (np.arange(shape[1]) + 0.5),
        },
    ).rio.write_crs("EPSG:4326" if geographic else "EPSG:32632")
    fill = {"fill_value": np.float32("nan")}
    encoding = {"hm": {"chunks": chunks, **fill}, "elevation": {"chunks": chunks[1:], **fill}}
    ds.to_zarr(path, compute=False, zarr_format=3, consolidated=False, encoding=encoding)
    _fill(zarr.open_group(path, mode="r+"), land, np.random.default_rng(seed))
    return path


def _fill(group: zarr.Group, land: float, draw: np.random.Generator) -> None:
    """Write land: a field that grows, in a share of the chunks."""
    hm, elevation = group["hm"], group["elevation"]
    assert isinstance(hm, zarr.Array)
    assert isinstance(elevation, zarr.Array)
    steps = hm.shape[0]
    base = np.round(draw.random((CHUNK, CHUNK), dtype="float32") ** 8, 3)
    grown = np.clip(base + 0.01 * np.arange(steps, dtype="float32")[:, None, None], 0, 1)
    for y in range(0, hm.shape[1], CHUNK):
        for x in range(0, hm.shape[2], CHUNK):
            if draw.random() < land:
                rows, columns = min(CHUNK, hm.shape[1] - y), min(CHUNK, hm.shape[2] - x)
                hm[:, y : y + rows, x : x + columns] = grown[:, :rows, :columns]
                elevation[y : y + rows, x : x + columns] = base[:rows, :columns] * 1000


def make_model(
    path: Path, cube: Path, network: ModelOptions, *, h: int = 4, members: int = 1
) -> Bundle:
    """Save a model with random weights and a calibration that fits a cube."""
    ds = open_cube(cube)
    # the grid of a corner is enough to know what fits
    corner = make_cube((16, 16), steps=ds.sizes["time"])
    spec_of = {"cadence": _cadence(ds), "pixel_size_m": ds.hm.grid.pixel_size_m, "h": h}
    spec_of["members"] = members
    bundle = make_bundle(corner, network, weights="random", calibrated=True, **spec_of)
    return bundle.save(path)


def _cadence(ds: xr.Dataset) -> str:
    return str(ds.hm.cadence)


def make_job(cube: Path, model: Bundle, store: Path, **options: object) -> Job:
    """ForecastRun a forecast of a stored cube."""
    chosen = ForecastOptions.model_validate(options)
    return Job(
        ForecastRun.check(open_cube(cube, chunks=None), model, chosen), str(cube), str(store)
    )
