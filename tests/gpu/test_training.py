"""Training on a GPU: it learns what the CPU learns, and goes on where it was stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from tests.gpu.device import DEVICE, largest, on_gpu
from tests.make.soilworlds import TINY, UTM, make_points

pytestmark = on_gpu


@pytest.mark.parametrize("arch", ["dilated", "convlstm"])
def test_training_on_a_gpu_learns_as_on_the_cpu(cube: xr.Dataset, arch: str) -> None:
    how: dict[str, Any] = {
        "static": ["elevation"], "history": 2, "arch": arch, "width": 8, "trunk": (1, 2),
        "context": (1, 3), "epochs": 2, "steps": 4, "chip": 48, "final": False,
    }  # fmt: skip
    skills = {}
    for device in ("cpu", DEVICE):
        model = cube.hm.train(device=device, **how)
        assert all(np.isfinite(array).all() for array in model.weights.values())
        fc = cube.hm.forecast(h=1, model=model, device="cpu")["hm"].values
        skills[device] = fc
    seen = np.isfinite(skills["cpu"])
    apart = np.abs(skills["cpu"] - skills[DEVICE])[seen]
    change = np.abs(skills["cpu"] - cube["hm"].values[-1])[seen]
    assert apart.mean() <= 0.05 * change.mean()  # rounding, carried through a few steps


def test_a_map_is_the_same_on_both_devices(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, careless: None
) -> None:
    on = [land.soc.map(model=trained_mapper, level=[90], device=d).load() for d in ("cpu", DEVICE)]
    span = float(on[0]["soc"].max() - on[0]["soc"].min())
    assert largest(*on) <= 1e-5 * span


def test_a_mapper_trains_on_a_gpu(land: xr.Dataset) -> None:
    model = land.soc.train(make_points(land), crs=UTM, units="g/kg", **(TINY | {"device": DEVICE}))
    assert np.isfinite(land.soc.map(model=model)["soc"].values).any()
