"""Cubes of covariates, samples and specs in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.bands import Bands
from hmx.mapping.spec import BandScaler, MapSpec
from hmx.networks.options import MapperOptions
from hmx.points.samples import Samples
from tests.make.cubes import make_cube

DYNAMIC = ("lst", "ndvi")
STATIC = ("elevation", "slope")


def make_covariates(shape: tuple[int, int] = (40, 50), *, gaps: bool = True, **options: Any):
    """Two series and two planes, some of it missing."""
    kind = {"time": "month", "steps": 12, "dynamic": DYNAMIC, "static": STATIC} | options
    ds = make_cube(shape, **{k: v for k, v in kind.items() if k != "chunks"}).drop_vars("hm")
    rng = np.random.default_rng(9)
    for name in ds.data_vars:
        if gaps and ds[name].ndim > 1:
            lost = rng.random(ds[name].shape) < 0.05
            ds[name] = ds[name].where(~xr.DataArray(lost, dims=ds[name].dims))
    return ds.chunk(kind["chunks"]) if kind.get("chunks") else ds


def make_spec(bands: Bands, *, history: int | None = None, **network: Any) -> MapSpec:
    """The spec of a mapper of these bands."""
    return MapSpec(
        target="soc",
        dynamic=bands.dynamic,
        static=bands.static,
        network=MapperOptions(**network),
        steps=bands.history(history),
        climatology=bands.climatology,
        cadence=str(bands.cadence),
        pixel_size_m=bands.grid.pixel_size_m,
    )


def make_samples(bands: Bands, n: int = 30, *, history: int | None = None, seed: int = 0):
    """Samples of random pixels and steps, all four corners among them."""
    rng = np.random.default_rng(seed)
    ny, nx = bands.grid.shape
    row, column = rng.integers(ny, size=n), rng.integers(nx, size=n)
    row[:4], column[:4] = [0, 0, ny - 1, ny - 1], [0, nx - 1, 0, nx - 1]
    last = len(bands.labels)
    step = np.full(n, last - 1)
    if not bands.climatology:
        step = rng.integers(bands.history(history) - 1, last, size=n)
    x, y = bands.grid.x[column], bands.grid.y[row]
    xy = np.stack([x, y], axis=1)
    return Samples(row, column, rng.lognormal(0, 1, n), np.arange(n), step, xy, xy, np.arange(n))


def make_scaler(bands: Bands, spec: MapSpec) -> BandScaler:
    """Statistics that differ by band, and by step where they may."""
    count = spec.steps if spec.climatology else 1
    mean = {n: tuple(0.1 * i + 0.05 * k for k in range(count)) for i, n in enumerate(spec.dynamic)}
    std = {n: tuple(0.3 + 0.01 * k for k in range(count)) for n in spec.dynamic}
    return BandScaler(
        mean | dict.fromkeys(spec.static, (500.0,)), std | dict.fromkeys(spec.static, (300.0,))
    )
