"""Fixtures of tests of a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import xarray as xr

from tests.make.cubes import make_cube


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def stored(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "cube.zarr"
    cube.chunk({"time": -1, "y": 24, "x": 24}).to_zarr(path, zarr_format=3, consolidated=False)
    return path
