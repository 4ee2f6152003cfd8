"""Laws of the path: from a public call to the library that does the work it is a few hops.

A hop is a function of hmx on the stack. Comprehensions do not count, because Python 3.12
inlines them (PEP 709), and neither does the decorator ``independent``. Each law runs a real
call on a toy model and looks at the stack when torch, or the scheduler, is first reached. A
long chain has functions that only pass arguments on: inline them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_pre_hook

import hmx
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun


def hmx_frames() -> list[str]:
    """Distinct functions of hmx on this thread's stack, the outermost first."""
    frame, chain = inspect.currentframe(), []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("hmx.") and module != "hmx.independent":
            name = frame.f_code.co_qualname.removesuffix(".<locals>.<listcomp>")
            chain.append(f"{module}.{name.removesuffix('.<locals>.<genexpr>')}")
        frame = frame.f_back
    return list(dict.fromkeys(reversed(chain)))


@contextmanager
def first_forward(within: str = "") -> Iterator[list[str]]:
    """Record the chain to the first torch module, or convolution of a part, that is run.

    ``within`` is a part of a function's name that the chain has to have.
    """
    chain: list[str] = []
    conv2d = functional.conv2d

    def record() -> None:
        frames = hmx_frames()
        if not chain and any(within in name for name in frames):
            chain.extend(frames)

    def recorded(*args: Any, **kwargs: Any) -> Any:
        record()  # forecasts and training run no module: their convolutions are functions
        return conv2d(*args, **kwargs)

    handle = register_module_forward_pre_hook(lambda *_: record())
    functional.conv2d = recorded
    try:
        yield chain
    finally:
        functional.conv2d = conv2d
        handle.remove()


@pytest.fixture
def first_submit(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The chain to the first task that is given to a scheduler."""
    chain: list[str] = []
    submit: Callable[..., object] = Client.submit

    def recorded(*args: object, **kwargs: object) -> object:
        chain.extend([] if chain else hmx_frames())
        return submit(*args, **kwargs)

    monkeypatch.setattr(Client, "submit", recorded)
    return chain


def require(chain: list[str], most: int) -> None:
    lines = "\n  ".join(chain)
    print(f"{len(chain)} hops (at most {most}):\n  {lines}", file=sys.stderr)
    assert 0 < len(chain) <= most, f"{len(chain)} hops, at most {most}:\n  {lines}"


def test_a_task_of_a_forecast_reaches_torch_in_seven_hops(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    lazy = cube.hm.forecast(h=1, model=trained)
    with first_forward() as chain:
        lazy.isel(x=slice(0, 4), y=slice(0, 4)).compute(scheduler="synchronous")
    require(chain, 7)


def test_a_task_of_a_map_reaches_torch_in_seven_hops(
    land: xr.Dataset, trained_mapper: hmx.MapBundle
) -> None:
    lazy = land.soc.map(model=trained_mapper)
    with first_forward() as chain:
        lazy.compute(scheduler="synchronous")
    require(chain, 7)


@pytest.mark.parametrize("part", ["Fit.training_step", "Fit.validation_step"])
def test_training_reaches_the_network_in_eight_hops(cube: xr.Dataset, part: str) -> None:
    with first_forward(within=part) as chain:
        cube.hm.train(
            static=["elevation"], history=2, width=8, trunk=(1,), context=(1,), epochs=1, steps=1,
            chip=48, final=False,
        )  # fmt: skip
    # to the call of the network, as if it were a module; how far its executor has to go counts in
    # the law of a task
    inside = [name.startswith("hmx.networks.") for name in chain]
    require(chain[: inside.index(True)] if any(inside) else chain, 8)


def test_a_command_reaches_the_scheduler_in_seven_hops(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path, first_submit: list[str]
) -> None:
    cube.chunk().to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    stored = hmx.open_cube(tmp_path / "cube.zarr", chunks=None)
    run = ForecastRun.check(stored, trained, ForecastOptions(h=1))
    from hmx.engine.job import Job
    from hmx.engine.job import run as run_job

    run_job(Job(run, str(tmp_path / "cube.zarr"), str(tmp_path / "fc.zarr")))
    # three more above a job: the command, the workflow and its step
    require(first_submit, 7 - 3)


def test_a_backtest_reaches_the_scheduler_in_ten_hops(
    cube: xr.Dataset, first_submit: list[str]
) -> None:
    cube.hm.backtest(
        h=1, origins="2010", baselines=["persistence"], static=["elevation"], history=2, width=8,
        trunk=(1,), context=(1,), epochs=1, steps=1, chip=48,
    )  # fmt: skip
    require(first_submit, 10)
