"""Measure how fast windows become forecasts, beside the plain network.

Run from the root of the project::

    python -m tests.bench.engine
    python -m tests.bench.engine --networks default --precisions float32 --turns 5 --json

For each network, tiles are as large as hmx chooses them. *hmx* is a whole tile of a
forecast: from the raw window, halo included, to the mean and two levels; *call* is its network
alone, and *plain* the network's own call: eager PyTorch, float32, (b, c, y, x) in memory, on
the same window and weights. Plain runs in a process whose memory is allocated as glibc does by
itself, because that is what a script of PyTorch gets; *plain, kept* runs beside hmx, whose
process keeps freed memory. All run in turns on one thread; what counts is CPU time, and the
ratio is the median of the turns' ratios. Only the pixels of the core count.

The yardstick is the best rate of torch's own matrix products in the same run; operations are
those of the call as executed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from hmx.cube.cube import as_cube
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.window import ForecastRequest, TileGeometry, engine, forecast_window
from hmx.hardware import computing
from hmx.networks.cost import best_tile, flops
from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions, Precision
from hmx.windows import Span, Window
from tests.make.cubes import make_bundle, make_cube, streamed_options

NETWORKS = {
    "default": ModelOptions(),
    "dilated": ModelOptions(arch="dilated"),
    "recursive": streamed_options(hidden=16),
}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
Arrays = tuple[np.ndarray, ...]
H = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all networks and print tables; with --json JSON on stdout, tables on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--tile", type=int, help="px; default: as hmx chooses")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it runs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.quick:
        args.tile, args.turns = 48, 1
    torch.set_num_threads(1)
    report = {}
    for name in args.networks:
        report[name] = measure(name, args.precisions, tile=args.tile, turns=args.turns)
        print(table(name, report[name]), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps({"torch": torch.__version__, "networks": report}, indent=2))
    return 0


def measure(
    name: str, precisions: Sequence[Precision], *, tile: int | None, turns: int
) -> dict[str, Any]:
    """Time all ways of one network in turns, with the yardstick."""
    bundle = bundle_of(NETWORKS[name])
    spec = bundle.spec
    far, around = reach(spec.network, H, spec.h), spec.context.halo
    channels = spec.channels
    tile = tile or best_tile(spec.network, channels, h=H, far=far, around=around)
    core = Window(*(Span(far, far + tile),) * 2)
    raw, side = window_of(tile + 2 * (far + around)), tile + 2 * far
    with tempfile.TemporaryDirectory() as folder, plain_process(name, raw, tile) as plain:
        path = str(bundle.save(Path(folder) / "model").path)
        cases: dict[str, Callable[[], float]] = {"plain": plain}
        cases["plain, kept"] = plain_work(bundle, raw, tile)
        geometry = geometry_of(far, around, tile)
        for precision in precisions:
            request = request_of(path, bundle, precision)
            cases[f"hmx {precision}"] = clocked(partial(forecast_window, request, geometry, *raw))
            cases[f"call {precision}"] = call_work(request, raw, tile)
        for work in cases.values():
            work()  # once without the clock: kernels are made at first use
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        gemm: dict[str, list[float]] = {precision: [] for precision in precisions}
        for _ in range(turns):
            for case, work in cases.items():
                seconds[case].append(work())
            for precision in precisions:
                gemm[precision].append(products(getattr(torch, precision)))
        errors = accuracy(bundle, path, precisions)
    executed = flops(spec.network, channels, (side, side), h=H, crop=core)
    rows = {
        case: {
            "kpx_per_s": tile**2 / 1e3 / median(times),
            "over_plain": median(p / t for p, t in zip(seconds["plain"], times, strict=True)),
        }
        for case, times in seconds.items()
    }
    for precision in precisions:
        rate = executed / median(seconds[f"call {precision}"]) / 1e9
        rows[f"call {precision}"]["share_of_gemm"] = rate / max(gemm[precision])
    best = {precision: max(rates) for precision, rates in gemm.items()}
    return {"tile": tile, "rows": rows, "gflops": best, "errors": errors}


def bundle_of(options: ModelOptions) -> Bundle:
    """A calibrated bundle whose head moves by about one change."""
    bundle = make_bundle(make_cube(), options, weights="untrained", calibrated=True, h=H)
    draw = np.random.default_rng(0)
    for name, values in bundle.weights.items():
        if name.startswith(("head.", "anchor_weight", "anchor_size")):
            values[...] = draw.normal(0, 0.3 / max(1, values[0].size) ** 0.5, values.shape)
    return bundle


def request_of(path: str, bundle: Bundle, precision: Precision) -> ForecastRequest:
    """Ask for the mean and two levels."""
    rules = as_cube(make_cube(), target="hm", static=bundle.spec.static).rules
    return ForecastRequest(path, bundle.digest, rules, H, level=(80, 95), precision=precision)


def window_of(side: int) -> Arrays:
    """A land of noise that changes little, with holes; raw."""
    draw = np.random.default_rng(0)
    past = np.repeat(draw.random((1, side, side), "float32"), 3, axis=0)
    past[1:] += draw.normal(0, 0.02, (2, side, side)).astype("float32")
    past = past.clip(0, 1)
    past[:, draw.random((side, side)) < 0.05] = np.nan
    return past, draw.random((side, side), "float32") * 900


def geometry_of(far: int, around: int, tile: int) -> TileGeometry:
    """Nest a core in the network's window, and that in what is read."""
    inner = Span(around, around + tile + 2 * far)
    core = Span(far, far + tile)
    return TileGeometry(Window(inner, inner), Window(core, core))


def tensors_of(bundle: Bundle, raw: Arrays, tile: int) -> tuple[NetworkInputs, Window]:
    """Assemble the inputs of a window, and the core in it."""
    far = reach(bundle.spec.network, H, bundle.spec.h)
    geometry = geometry_of(far, bundle.spec.context.halo, tile)
    arrays = {"hm": raw[0], "elevation": raw[1]}
    inputs = assemble(arrays, bundle.spec, bundle.scaler, inner=geometry.inner)
    tensors = (torch.from_numpy(np.ascontiguousarray(array))[None] for array in inputs.tensors())
    return NetworkInputs(*tensors), geometry.core


def clocked(work: Callable[[], object]) -> Callable[[], float]:
    """Return the CPU seconds of some work."""

    def timed() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return timed


def call_work(request: ForecastRequest, raw: Arrays, tile: int) -> Callable[[], float]:
    """Run the network alone as hmx does."""
    run = engine(request.bundle, request.digest, request.precision, request.device)
    seen, core = tensors_of(run.bundle, raw, tile)
    one = NetworkInputs(*(tensor[0] for tensor in seen))

    def work() -> None:
        with computing(1):
            run.run(run.networks[0], one, H, core)

    return clocked(work)


class Plain(TorchFunctionMode):
    """Keep torch's default layout of memory, (b, c, y, x)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Ask for no other layout."""
        return func(*args, **({} if func is torch.Tensor.contiguous else kwargs or {}))


def plain_call(network: Forecaster, seen: NetworkInputs, core: Window) -> np.ndarray:
    """Run a network as it is."""
    with torch.inference_mode(), Plain():
        found: np.ndarray = network(seen, h=H, crop=core.slices)[0].numpy()
    return found


def plain_work(bundle: Bundle, raw: Arrays, tile: int) -> Callable[[], float]:
    """Run the network itself on all that is read."""
    network = Forecaster.load(bundle)
    seen, core = tensors_of(bundle, raw, tile)
    return clocked(lambda: plain_call(network, seen, core))


@contextmanager
def plain_process(name: str, raw: Arrays, tile: int) -> Iterator[Callable[[], float]]:
    """Run the network itself in a process whose allocator is as glibc has it."""
    context = get_context("spawn")
    here, there = context.Pipe()
    before = os.environ.get("GLIBC_TUNABLES")
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.perturb=0"  # hmx then leaves malloc alone
    try:
        child = context.Process(target=serve, args=(there, name, raw, tile), daemon=True)
        child.start()
    finally:
        if before is None:
            del os.environ["GLIBC_TUNABLES"]
        else:
            os.environ["GLIBC_TUNABLES"] = before

    def ask() -> float:
        here.send(True)
        seconds: float = here.recv()
        return seconds

    try:
        yield ask
    finally:
        here.send(False)
        child.join()


def serve(pipe: Connection, name: str, raw: Arrays, tile: int) -> None:
    """Answer each request with the CPU seconds of one plain call."""
    torch.set_num_threads(1)
    work = plain_work(bundle_of(NETWORKS[name]), raw, tile)
    while pipe.recv():
        pipe.send(work())


def products(dtype: torch.dtype, *, side: int = 1024, turns: int = 3) -> float:
    """Best GFLOP/s of matrix products."""
    one, two = (torch.rand(side, side).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2 * side**3 / min(clocked(lambda: one @ two)() for _ in range(turns)) / 1e9


def accuracy(bundle: Bundle, path: str, precisions: Sequence[Precision]) -> dict[str, float]:
    """Compare the network's call with the plain one on a small window."""
    tile = 128
    spec = bundle.spec
    raw = window_of(tile + 2 * (reach(spec.network, H, spec.h) + spec.context.halo))
    seen, core = tensors_of(bundle, raw, tile)
    want = plain_call(Forecaster.load(bundle), seen, core)
    origin = seen.past[(0, -1, *core.slices)].numpy()
    one, errors = NetworkInputs(*(tensor[0] for tensor in seen)), {}
    for precision in precisions:
        run = engine(path, bundle.digest, precision, "cpu")
        with computing(1):
            got = np.asarray(run.run(run.networks[0], one, H, core))
        errors[f"{precision}, largest"] = float(np.abs(got - want).max())
        change = np.square(want - origin).mean(dtype="float64")
        error = np.square(got - want).mean(dtype="float64")
        errors[f"{precision}, RMS over RMS change"] = float(np.sqrt(error / change))
    return errors


def table(name: str, found: dict[str, Any]) -> str:
    """Lay out what a network costs."""
    lines = [f"{name}, tile {found['tile']}{'kpx/s':>24}{'over plain':>14}{'of products':>14}"]
    for case, row in found["rows"].items():
        share = f"{row['share_of_gemm']:.0%}" if "share_of_gemm" in row else ""
        lines.append(f"  {case:<24}{row['kpx_per_s']:>12.0f}{row['over_plain']:>14.2f}{share:>14}")
    lines += [f"  error of {case:<40}{error:.1e}" for case, error in found["errors"].items()]
    rates = ", ".join(f"{p} {rate:.0f}" for p, rate in found["gflops"].items())
    return "\n".join([*lines, f"  matrix products, GFLOP/s: {rates}", ""])


if __name__ == "__main__":
    sys.exit(main())
