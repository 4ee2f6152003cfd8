"""Measure what training takes: a step and its parts, threads beside a busy core, a large raster.

Run from the root of the project::

    python -m tests.bench.training
    python -m tests.bench.training --side 4096 --crop 1024 --steps 20

The step of today, chips apart, is timed beside the same batch computed at once by the whole
network, as a GPU does it, in bfloat16, and with two threads. `busy` is the time on the clock with
one core taken by another program, relative to a quiet machine. Seconds are of CPU, and of the
clock where that is named.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from hmx.cube.cube import as_cube
from hmx.forecast.options import split_fitting
from hmx.forecast.train.anchor import fit_anchor
from hmx.forecast.train.data import Batch, Chips, Draw, batch_of
from hmx.forecast.train.losses import Criterion, loss, whole
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, plan
from hmx.networks.forecaster import Forecaster, channels_last
from tests.make.cubes import make_cube


def main(argv: Sequence[str] | None = None) -> int:
    """Print seconds of a step, of the anchor and of chips, by size of the raster."""
    args = parse(argv)
    seconds: dict[int, float] = {}
    for side in (args.crop, args.side):
        made = planned(make_cube((side, side), steps=6), args.chip)
        network = Forecaster.of(made.reader.spec, made.reader.scaler)
        anchor = cpu(lambda net=network, of=made: fit_anchor(net, of.reader, seed=0))
        batches: list[Batch] = []
        chips = cpu(lambda of=made, into=batches: into.extend(drawn(of, args.steps)))
        step = rates(made, network, batches, args.repeat)
        seconds[side] = anchor + chips + step["apart"] * args.steps
        each = chips / args.steps * 1e3
        print(f"{side:6d} px: anchor {anchor:6.1f} s, chips {each:6.1f} ms a step")
        for name, value in step.items():
            print(f"           step, chips {name}: {value * 1e3:6.1f} ms")
    ratio = seconds[args.side] / seconds[args.crop]
    print(f"{args.side} px / {args.crop} px, {args.steps} steps: {ratio:.2f}")
    if args.busy:
        for name, ratio in neighbour(made, network, batches).items():
            print(f"busy, {name}: {ratio:.2f} x the time on the clock of a quiet machine")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--crop", type=int, default=1024)
    parser.add_argument("--chip", type=int, default=None)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="also beside a program on one core")
    return parser.parse_args(argv)


def planned(ds: xr.Dataset, chip: int | None) -> TrainPlan:
    """Plan the default fit of a cube."""
    options: dict[str, Any] = {"history": 3, "h": 2, "chip": chip}
    recipe = TrainSetup("hm", (), ("elevation",), *split_fitting(options))
    return plan(as_cube(ds, target="hm", static=("elevation",)), recipe)


def drawn(made: TrainPlan, steps: int) -> list[Batch]:
    """Draw the chips of an epoch."""
    draw = Draw.of(made.reader, made.scanned.changed, 0.0)
    chips = Chips(made.reader, draw, made.chip, batch=4, steps=steps, key=(0, 0))
    return [batch_of([chips.chip(step, slot) for slot in range(4)]) for step in range(steps)]


def rates(
    made: TrainPlan, network: Forecaster, batches: Sequence[Batch], repeat: int
) -> dict[str, float]:
    """Time forward and backward of a batch in seconds of CPU, all ways in turns."""
    ways = {
        "apart": Way(loss),
        "at once": Way(whole),
        "apart, bfloat16": Way(loss, half=True),
        "apart, two threads": Way(loss, threads=2),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    before = torch.get_num_threads()
    for batch in [*batches[:1], *batches][: repeat + 1]:  # the first prepares
        for name, way in ways.items():
            torch.set_num_threads(way.threads)
            with torch.autocast("cpu", torch.bfloat16, enabled=way.half):
                found[name].append(cpu(lambda of=batch, by=way: step(made, network, of, by.loss)))
    torch.set_num_threads(before)
    return {name: median(times[1:]) for name, times in found.items()}


class Way(NamedTuple):
    """How a step is computed."""

    loss: Callable[..., Any]
    half: bool = False
    threads: int = 1


def step(made: TrainPlan, network: Forecaster, batch: Batch, way: Callable[..., Any]) -> None:
    """Compute the gradients of a batch."""
    value = way(channels_last(network), batch, made.reader.sizes, Criterion())
    torch.autograd.grad(value, [*network.parameters()], allow_unused=True)


def neighbour(made: TrainPlan, network: Forecaster, batches: Sequence[Batch]) -> dict[str, float]:
    """Time steps beside a program that keeps one core busy, relative to a quiet machine."""
    found = {}
    for name, way in {"apart": loss, "at once": whole}.items():
        quiet = clock(lambda by=way: [step(made, network, batch, by) for batch in batches[:5]])
        with busy():
            loud = clock(lambda by=way: [step(made, network, batch, by) for batch in batches[:5]])
        found[name] = loud / quiet
    return found


@contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy."""
    other = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    other.start()
    time.sleep(2)  # the process imports this module first
    try:
        yield
    finally:
        other.terminate()
        other.join()


def spin() -> None:
    """Compute without end."""
    values = np.arange(1000.0)
    while True:
        values.sum()


def cpu(work: Callable[[], Any]) -> float:
    """Return the seconds of CPU of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def clock(work: Callable[[], Any]) -> float:
    """Return the seconds on the clock of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
