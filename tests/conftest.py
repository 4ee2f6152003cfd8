"""Fixtures shared by all tests; models are trained once per session."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    import hmx
    from tests.make.forks import Server

# Libraries are loaded by fixtures: the process that deals tests to others needs none of them.
ROOT = Path(__file__).resolve().parents[1]

# NumPy and scikit-learn read these when they are loaded, here and in the processes of tests.
# Their threads spin while they wait: on the cores of other tests, and for longer than small
# products take.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run folders of tests on two cores; run a file or a chosen test in this process.

    Each worker loads torch, which takes longer than one test.
    """
    chosen = config.option.keyword or any(not Path(name).is_dir() for name in config.args)
    return 0 if chosen else min(2, os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["HMX_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # xdist runs one test per core


@pytest.fixture(scope="session", autouse=True)
def _hears_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do the processes of tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _few_trees() -> None:
    from hmx.forecast.backtest.baselines import boosting

    boosting._TREES = {**boosting._TREES, "max_iter": 10}  # each takes as long as a small fit


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set HMX_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def cube() -> xr.Dataset:
    from tests.make.cubes import make_cube

    return make_cube((96, 112), steps=6)


@pytest.fixture(scope="session")
def trained(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    """A small model, really trained, calibrated, on disk."""
    return cube.hm.train(
        static=["elevation"],
        history=2,
        width=8,
        trunk=(1, 2),
        context=(1, 3),
        epochs=3,
        steps=6,
        chip=48,
        calibration=0.25,
        final=False,
        out=tmp_path_factory.mktemp("models") / "trained",
    )


@pytest.fixture(scope="session")
def land() -> xr.Dataset:
    """Covariates of the map job: months of every year, a lake, lost pixels."""
    from tests.make.mapworlds import make_covariates

    return make_covariates((32, 36))


@pytest.fixture(scope="session")
def trained_mapper(land: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> hmx.MapBundle:
    """A small mapper, really trained, calibrated, on disk, tracked offline."""
    from tests.make.soilworlds import TINY, UTM, make_points

    out = tmp_path_factory.mktemp("mappers") / "soc.model"
    track = {"wandb": "offline", "project": "soils"}
    return land.soc.train(
        make_points(land), crs=UTM, units="g/kg", out=out, track=track, valid_range=(0, 200), **TINY
    )


@pytest.fixture(scope="session")
def ready() -> Server:
    """A server that forks commands; it loads everything once, which takes ten seconds."""
    from tests.make.forks import ready_server

    return ready_server()


def rms(values: np.ndarray) -> float:
    import numpy as np

    return float(np.sqrt(np.nanmean(np.square(values))))
