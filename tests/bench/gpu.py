"""Measure forecasts on a CUDA device: correct first, then fast.

Run from the root of the project, on a machine with a GPU::

    python -m tests.bench.gpu
    python -m tests.bench.gpu --tiles 512 1024 2048 --networks dilated convlstm

Four questions, one table each. How far is the device from the CPU (float64 beside it)?
How many million finished pixels a second does a network make by tile and precision: the
network alone, with its inputs and outputs, and a whole window (context, settling, two
intervals), and which share of the device's own best rate of matrix products is that?
How much of a job's time is reading, computing and writing, and how much of it overlaps?
And what does that make of a global grid of 1 km? Times are medians of a few turns, after
one turn that is not counted; a device is waited for before the clock is read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import xarray as xr

import hmx
from hmx.engine.job import Job, run
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.forecast.window import Engine, TileGeometry, forecast_window
from hmx.hardware import computing
from hmx.networks.cost import flops
from hmx.networks.forecaster import Forecaster
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions, Precision
from hmx.windows import Window
from tests.make.cubes import make_bundle, make_cube

NETWORKS: dict[str, dict[str, Any]] = {
    "dilated": {"arch": "dilated"},
    "convlstm": {"arch": "convlstm"},
    "recursive": {"arch": "convlstm", "strategy": "recursive", "trunk": (), "context": (),
                  "terrain": (), "hidden": 64, "layers": 2},
}  # fmt: skip
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
LEVELS = [80.0, 95.0]
GLOBE_PX = 184.6e6  # land pixels of the 1 km grid of the global human modification forecasts


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; with --json the figures as well, last."""
    args = parse(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured", file=sys.stderr)
        return 1
    found: dict[str, Any] = {"torch": torch.__version__, "device": name_of(args.device)}
    print(f"torch {torch.__version__}, {found['device']}")
    # three digits, as a busy CPU has less than 0.05 TFLOP/s
    found["gemm"] = {p: float(f"{gemm(args.device, p, args.turns) / 1e12:.3g}") for p in PRECISIONS}
    print(
        "best matrix products, TFLOP/s: " + ", ".join(f"{k} {v}" for k, v in found["gemm"].items())
    )
    started = time.perf_counter()
    if not args.quick and not args.no_tests:  # no figure of a device that computes wrongly
        words = ["-m", "pytest", "-n", "0", "-q", "-m", "gpu", "tests/gpu"]
        environment = {**os.environ, "HMX_TEST_DEVICE": args.device}
        done = subprocess.run([sys.executable, *words], env=environment, check=False)
        found["tests"] = done.returncode
        print(f"tests of the device: {'failed' if found['tests'] else 'passed'}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.networks:
            if time.perf_counter() - started > args.budget:
                print(f"{kind}: left out, as {args.budget:g} s have passed")
                continue
            bundle = bundle_of(kind).save(Path(folder, kind))
            found[kind] = {"errors": errors(bundle, args), "rates": rates(bundle, args, found)}
            found[kind]["batches"] = batches(bundle, args)
        args.networks = [kind for kind in args.networks if kind in found]
        found["job"] = [job(Path(folder), kind, args) for kind in args.networks[:2]]
    if args.json:
        print(json.dumps(found))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; --quick is small and once, on whatever device."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--tiles", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--h", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--side", type=int, default=4096, help="of the job's raster, px")
    parser.add_argument("--budget", type=float, default=330, help="s after which no network begins")
    parser.add_argument("--no-tests", action="store_true", help="skip tests/gpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.quick:
        args.tiles, args.turns, args.side, args.networks = [48], 1, 128, ["convlstm"]
    return args


def name_of(device: str) -> str:
    """Name a device."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def bundle_of(kind: str) -> Bundle:
    """Weights that matter, a calibration, and no bound that could hide an error."""
    options = ModelOptions(**NETWORKS[kind])
    return make_bundle(make_cube(), options, weights="random", calibrated=True)


def clock(work: Callable[[], object], device: str, turns: int) -> float:
    """Return the median seconds of some work, the first turn left out."""
    seconds = []
    for _ in range(turns + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:] or seconds)


def gemm(device: str, precision: str, turns: int) -> float:
    """Return the best rate of a matrix product, FLOP/s; float32 without TF32."""
    side = 8192 if device == "cuda" else 512
    dtype = getattr(torch, precision)
    one, two = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / clock(lambda: one @ two, device, turns)


def arrays_of(side: int) -> dict[str, np.ndarray]:
    """A land of noise with holes."""
    rng = np.random.default_rng(0)
    past = rng.random((3, side, side), "float32")
    past[:, rng.random((side, side)) < 0.05] = np.nan
    return {"hm": past, "elevation": rng.random((side, side), "float32") * 900}


def errors(bundle: Bundle, args: argparse.Namespace) -> dict[str, float]:
    """Compare a window's knots on the device with float64 on the CPU."""
    side = min(args.tiles)
    inputs = assemble(arrays_of(side), bundle.spec, bundle.scaler)
    truth = Engine.of(bundle, precision="float64", device="cpu").knots(inputs, args.h)
    origin = inputs.past[-1]
    seen = np.broadcast_to(np.isfinite(origin), truth.shape)
    change = np.sqrt(np.mean(np.square((truth - origin)[seen])))
    found = {}
    for precision in PRECISIONS:
        got = Engine.of(bundle, precision=precision, device=args.device).knots(inputs, args.h)
        off = (got - truth)[seen]
        found[f"{precision}, largest"] = float(np.abs(off).max())
        found[f"{precision}, RMS over RMS change"] = float(np.sqrt(np.mean(off**2)) / change)
    print(f"\n{bundle.spec.network.arch}, {bundle.spec.network.strategy}: error of knots, "
          + ", ".join(f"{k} {v:.2g}" for k, v in found.items()))  # fmt: skip
    return found


def rates(bundle: Bundle, args: argparse.Namespace, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Time the network, the network with its inputs and outputs, and a whole window."""
    rows = []
    print("  tile  precision   network  +in/out   window  Mpx/s   share of products  memory GiB")
    for side in args.tiles:
        arrays = arrays_of(side)
        for precision in PRECISIONS:
            row = rate(bundle, arrays, precision, args, found["gemm"][precision])
            rows.append(row)
            print(
                f"  {side:4d}  {precision:9s} {row['network']:8.2f} {row['knots']:8.2f} "
                f"{row['window']:8.2f} {row['share']:21.3f} {row['gib']:12.2f}"
            )
    return rows


def rate(
    bundle: Bundle, arrays: dict[str, np.ndarray], precision: Precision,
    args: argparse.Namespace, best: float,
) -> dict[str, Any]:  # fmt: skip
    """Million finished pixels a second, of one tile that is read without a halo."""
    device, side = args.device, arrays["hm"].shape[-1]
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    engine = Engine.of(bundle, precision=precision, device=device)
    inputs = assemble(arrays, bundle.spec, bundle.scaler)
    request, place, raw = window_of(bundle, arrays, precision, args)
    with computing():
        seen = NetworkInputs(*(engine.to_device(array) for array in inputs.tensors()))
    seconds = {
        "network": clock(lambda: alone(engine, seen, args.h), device, args.turns),
        "knots": clock(lambda: engine.knots(inputs, args.h), device, args.turns),
        "window": clock(lambda: forecast_window(request, place, *raw), device, args.turns),
    }
    spec = bundle.spec
    operations = flops(spec.network, spec.channels, (side, side), h=args.h)
    gib = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    share = operations / seconds["network"] / 1e12 / best
    millions = {name: side**2 / 1e6 / value for name, value in seconds.items()}
    return {"tile": side, "precision": precision, "share": share, "gib": gib, **millions}


def alone(engine: Engine, seen: NetworkInputs, h: int) -> None:
    """Run the network on tensors that are on the device, and leave the result there."""
    network, whole = engine.networks[0], Window.of(tuple(seen.past.shape[-2:])).slices
    half = engine.precision == "bfloat16" and isinstance(network, torch.nn.Module)
    with computing(), torch.autocast(engine.device.type, torch.bfloat16, enabled=half):
        network(NetworkInputs(*(t[None] for t in seen)), h=h, crop=whole)


def batches(bundle: Bundle, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time several tiles in a launch, and on CUDA the same launch recorded as a graph."""
    side, rows = min(args.tiles), []
    inputs = assemble(arrays_of(side), bundle.spec, bundle.scaler)
    whole = Window.of((side, side)).slices
    network = Forecaster.load(bundle).to(args.device)
    for precision in PRECISIONS:
        for count in (1, 2) if args.quick else (1, 4, 16):
            tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in inputs.tensors())
            seen = NetworkInputs(*(torch.stack([t] * count).to(args.device) for t in tensors))

            def launch(seen: NetworkInputs = seen, half: bool = precision == "bfloat16") -> None:
                # a cache of casted weights would outlive the recording of a graph
                with torch.autocast(args.device, torch.bfloat16, enabled=half, cache_enabled=False):
                    network(seen, h=args.h, crop=whole)

            mpx = count * side**2 / 1e6
            row: dict[str, Any] = {"precision": precision, "tiles": count, "side": side}
            with computing():
                row["mpx_per_s"] = mpx / clock(launch, args.device, args.turns)
                if args.device == "cuda":
                    row["graph"] = mpx / clock(recorded(launch), args.device, args.turns)
            rows.append(row)
            graph = f", as a CUDA graph {row['graph']:.2f}" if "graph" in row else ""
            print(f"  {count:2d} tiles of {side} px a launch, {precision}: "
                  f"{row['mpx_per_s']:.2f} Mpx/s{graph}")  # fmt: skip
    return rows


def recorded(launch: Callable[[], None]) -> Callable[[], None]:
    """Record a launch as a CUDA graph, after a run on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        launch()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    replay: Callable[[], None] = graph.replay
    return replay


def window_of(
    bundle: Bundle, arrays: dict[str, np.ndarray], precision: Precision, args: argparse.Namespace
) -> Any:
    """Ask for a window as a tile of a forecast does."""
    side = arrays["hm"].shape[-1]
    cube = make_cube((side, side), steps=3, holes=False)
    options = ForecastOptions(h=args.h, level=LEVELS, device=args.device, precision=precision)
    order = ForecastRun.check(cube, bundle, options)
    whole = Window.of((side, side))
    geometry = TileGeometry.of(whole, whole, cube.hm.grid, bundle.spec, h=args.h)
    return order.request, geometry, [arrays["hm"], arrays["elevation"]]


def job(folder: Path, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a job on a stored raster; compare with its parts, each alone."""
    cube = folder / f"{args.side}.zarr"
    if not cube.exists():
        small = make_cube((args.side // 4, args.side // 4), steps=3)
        ys, xs = (np.arange(args.side) // 4 for _ in range(2))
        large = small.isel(y=ys, x=xs).assign_coords(
            y=small.y.values[0] - 300.0 * np.arange(args.side),
            x=small.x.values[0] + 300.0 * np.arange(args.side),
        )
        chunks = {"time": -1, "y": min(512, args.side), "x": min(512, args.side)}
        large.chunk(chunks).to_zarr(cube, zarr_format=3, consolidated=False)
    opened: xr.Dataset = hmx.open_cube(cube, chunks=None)
    options = ForecastOptions(h=args.h, level=LEVELS, device=args.device)
    order = ForecastRun.check(opened, folder / kind, options)
    start = time.perf_counter()
    run(Job(order, str(cube), str(folder / f"{kind}-fc.zarr")))
    whole = time.perf_counter() - start
    parts = pieces(order, opened)
    mpx = args.side**2 / 1e6
    minutes = GLOBE_PX / (mpx / whole) / 6e7
    shorter = max(min(parts["read"], parts["compute"]), 1e-9)
    overlap = min(1.0, max(0.0, parts["read"] + parts["compute"] - whole) / shorter)
    tile = order.options.tile
    print(
        f"\njob, {kind}, {args.side} x {args.side} px, tiles of {tile} px: {whole:.1f} s, "
        f"{mpx / whole:.2f} Mpx/s; alone: reading {parts['read']:.1f} s, windows "
        f"{parts['compute']:.1f} s, {overlap:.0%} of the shorter one overlaps; "
        f"184.6 M land pixels at that rate: {minutes:.0f} min"
    )
    result = {
        "network": kind,
        "seconds": whole,
        "mpx_per_s": mpx / whole,
        "overlap": overlap,
        **parts,
    }
    return {**result, "tile": tile, "globe_minutes": minutes}


def pieces(order: Any, cube: xr.Dataset) -> dict[str, float]:
    """Read all tiles, then compute them, one after the other, each with its own clock."""
    seconds = {"read": 0.0, "compute": 0.0}
    for tile in order.output_tiles:
        start = time.perf_counter()
        window = order.runner.reads(tile.core, order.cube.grid)
        raw = order.runner.read(window, order.cube)
        seconds["read"] += time.perf_counter() - start
        start = time.perf_counter()
        order.runner.task(order.runner.core(tile.core), window, order.cube.grid)(*raw)
        seconds["compute"] += time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
