"""Measure how fast a window is forecast, by the network itself and by the engine.

Run from the root of the project::

    python -m tests.bench.engine
    python -m tests.bench.engine --hidden 16 --windows 256 512 1024 --json
    python -m tests.bench.engine --trained amapa

Networks are recursive ConvLSTMs without a trunk or derived channels, which is what the
engine streams. All rows use the same weights, and one thread by default; they are timed
in turns, so that whatever else the machine does meets all of them alike, and the median
of the turns is what counts. Times go from cleaned numpy arrays to a numpy forecast.
Three ways of counting pixels, said in each table: a *window* is read and forecast
whole; a *tile* is a core that is read with the halo that makes it seamless, and only
the core's pixels count; an *area* is what overlapping tiles, blended, finish together.

The yardstick is the best rate of torch's own matrix products in the same run;
operations are counted as executed, and everything that is not a convolution
(assembling inputs, gates, head) takes time and counts nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.window import Engine
from hmx.networks.cost import flops
from hmx.networks.forecaster import Forecaster, channels_last, reach
from hmx.networks.options import ModelOptions, Precision
from hmx.uncertainty.distribution import settle
from hmx.windows import Span, Window
from tests.bench.blending import PlainForecaster, blend, run
from tests.make.cubes import STREAMED, make_bundle, make_cube, streamed_options

Arrays = dict[str, np.ndarray]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
PLAIN, CHANNELS, BLENDED = "plain network", "plain, channels-last", "plain, overlapped and blended"


@dataclass(frozen=True)
class Case:
    """One thing to time: who computes, what is finished, operations executed."""

    way: str
    who: str
    side: int
    flops: int
    work: Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What it cost: thousand finished pixels a second, and GFLOP/s, by the median turn."""

    way: str
    who: str
    side: int
    kpx_per_s: float
    best_kpx_per_s: float
    gflops: float
    share_of_gemm: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all networks and print tables; with --json JSON on stdout, tables on stderr."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    out = sys.stderr if args.json else sys.stdout
    report: dict[str, Any] = {"torch": torch.__version__, "threads": args.threads, "networks": []}
    for dilation in args.dilation:
        options = streamed_options(
            hidden=args.hidden, layers=args.layers, history=args.history, dilation=dilation
        )
        report["networks"].append(found := measure(options, args))
        print(table(options, args, found), file=out, flush=True)
    if args.trained:
        report["trained"] = [trained(args.trained, hidden, args) for hidden in args.trained_hidden]
        print("\n".join(say_trained(row) for row in report["trained"]), file=out)
    if args.json:
        print(json.dumps(report, indent=2))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; --quick overrules sizes and turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--history", type=int, default=3)
    parser.add_argument("--h", type=int, default=4)
    parser.add_argument("--dilation", type=numbers, nargs="+", default=[(1, 1), (1, 4)])
    parser.add_argument("--windows", type=int, nargs="+", default=[128, 256, 512], metavar="PX")
    parser.add_argument("--area", type=int, default=512, metavar="PX")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trained", choices=["amapa", "demo"], help="train, then compare")
    parser.add_argument("--trained-hidden", type=int, nargs="+", default=[16])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it runs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.quick:
        args.windows, args.area, args.turns, args.hidden = [24, 32], 192, 1, 4
    return args


def numbers(text: str) -> tuple[int, ...]:
    """Read 1,4 as (1, 4)."""
    return tuple(int(part) for part in text.split(","))


def measure(options: ModelOptions, args: argparse.Namespace) -> dict[str, Any]:
    """Time all cases of one network in turns, with the yardstick."""
    bundle = bundle_of(options)
    products = yardsticks(options, quick=args.quick)
    cases = list(cases_of(bundle, args))
    for case in cases:
        case.work()  # once without the clock: kernels are made at first use
    times: dict[int, list[float]] = {number: [] for number in range(len(cases))}
    rates: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(args.turns):
        for number, case in enumerate(cases):
            times[number].append(clock(case.work))
        for name, product in products.items():
            rates[name].append(product())
    gemm = {precision: max(rates[f"gemm {precision}"]) for precision in PRECISIONS}
    rows = [row_of(case, times[number], gemm) for number, case in enumerate(cases)]
    return {
        "network": options.model_dump(),
        "h": args.h,
        "gflops": {name: max(rate) for name, rate in rates.items()},
        "rows": [asdict(row) for row in rows],
        "ratios": ratios(rows, args.area),
        "accuracy": accuracy(bundle, args),
    }


def bundle_of(options: ModelOptions) -> Bundle:
    """Weights as training starts with, but for a head that moves by about one change."""
    bundle = make_bundle(make_cube(), options, weights="untrained")
    draw = np.random.default_rng(0)
    for name in ("head.weight", "head.bias"):
        shape = bundle.weights[name].shape
        bundle.weights[name][...] = draw.normal(0, 1 / options.hidden**0.5, shape)  # type: ignore
    return bundle


def clock(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cases_of(bundle: Bundle, args: argparse.Namespace) -> list[Case]:
    """Lay out windows, tiles and the blended area for each executor."""
    networks = {
        PLAIN: PlainForecaster.load(bundle),
        CHANNELS: channels_last(Forecaster.load(bundle)),
    }
    engines = {p: Engine.of(bundle, precision=p, device="cpu") for p in PRECISIONS}
    cases = []
    halo = reach(bundle.spec.network, args.h)
    for side in sorted({*args.windows, 256} if not args.quick else {*args.windows}):
        for way, rim in (("window", 0), ("tile", halo)):
            arrays, core = arrays_of(side + 2 * rim), Window(*(Span(rim, rim + side),) * 2)
            whole, shrunk = (count(bundle, side + 2 * rim, args.h, crop) for crop in (None, core))
            for who, network in networks.items():
                work = plain_work(network, bundle, arrays, core, h=args.h)
                cases.append(Case(way, who, side, whole, work))
            for precision, engine in engines.items():
                work = engine_work(engine, arrays, core, h=args.h)
                cases.append(Case(way, f"engine {precision}", side, shrunk, work))
    area = arrays_of(args.area)
    tiles = len(range(0, args.area - 64, 64)) ** 2
    operations = tiles * count(bundle, 128, args.h, None)
    work = blend_work(networks[PLAIN], bundle, area, h=args.h)
    return [*cases, Case("area", BLENDED, args.area, operations, work)]


def count(bundle: Bundle, side: int, h: int, crop: Window | None) -> int:
    """Operations of a square window."""
    spec = bundle.spec
    return flops(spec.network, spec.channels, (side, side), h=h, crop=crop)


def arrays_of(side: int) -> Arrays:
    """A land of noise with holes, cleaned."""
    rng = np.random.default_rng(0)
    past = rng.random((3, side, side), "float32")
    past[:, rng.random((side, side)) < 0.05] = np.nan
    return {"hm": past, "elevation": rng.random((side, side), "float32") * 900}


def plain_work(
    network: Forecaster, bundle: Bundle, arrays: Arrays, core: Window, *, h: int
) -> Callable[[], np.ndarray]:
    """Assemble, run the network itself on all that is read, and crop."""

    def work() -> np.ndarray:
        inputs = assemble(arrays, bundle.spec, bundle.scaler).tensors()
        ahead = run(network, inputs, h=h)[(..., *core.slices)]
        return settled(bundle, ahead, inputs[0][(-1, *core.slices)])

    return work


def settled(bundle: Bundle, knots: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Give what is as good as no change its point mass, as the engine does."""
    tolerance, limits = bundle.scaler.tolerance, bundle.spec.valid_range
    return settle(knots, origin, tolerance=tolerance, valid_range=limits)


def engine_work(
    engine: Engine, arrays: Arrays, core: Window, *, h: int
) -> Callable[[], np.ndarray]:
    """Let the engine do what a tile of a forecast asks of it."""
    spec, scaler = engine.bundle.spec, engine.bundle.scaler
    return lambda: engine.knots(assemble(arrays, spec, scaler), h, core)


def blend_work(
    network: Forecaster, bundle: Bundle, arrays: Arrays, *, h: int
) -> Callable[[], np.ndarray]:
    """Blend overlapping tiles of the network itself."""

    def work() -> np.ndarray:
        inputs = assemble(arrays, bundle.spec, bundle.scaler).tensors()
        blended = blend(lambda part: run(network, part, h=h), inputs, h=h)
        return settled(bundle, blended, inputs[0][-1])

    return work


def yardsticks(options: ModelOptions, *, quick: bool) -> dict[str, Callable[[], float]]:
    """Return what measures the machine: best GFLOP/s of products, and of a convolution."""
    wide = 4 * options.hidden
    shapes = [(n, n, n) for n in ((256,) if quick else (512, 1024, 2048))]
    shapes += [(4096, 9 * 2 * options.hidden, wide), (16384, 9 * (5 + options.hidden), wide)]
    found = {}
    for precision in PRECISIONS:
        dtype = getattr(torch, precision)
        found[f"gemm {precision}"] = lambda dtype=dtype: max(products(s, dtype) for s in shapes)
        found[f"convolution {precision}"] = lambda dtype=dtype: convolution(options, dtype)
    return found


def products(shape: tuple[int, int, int], dtype: torch.dtype, *, turns: int = 4) -> float:
    """Best GFLOP/s of mm and linear on one shape."""
    rows, inner, cols = shape
    one, two, weight = (
        torch.rand(s).to(dtype) for s in ((rows, inner), (inner, cols), (cols, inner))
    )
    with torch.inference_mode():
        works = (lambda: one @ two, lambda: functional.linear(one, weight))
        seconds = min(clock(work) for _ in range(turns) for work in works)
    return 2 * rows * inner * cols / seconds / 1e9


def convolution(options: ModelOptions, dtype: torch.dtype, *, turns: int = 4) -> float:
    """Best GFLOP/s of one 3 x 3 convolution of a strip, channels-last."""
    inputs, outputs, last = 2 * options.hidden, 4 * options.hidden, torch.channels_last
    image = torch.rand(1, inputs, 16, 258).to(dtype).contiguous(memory_format=last)
    weight = torch.rand(outputs, inputs, 3, 3).to(dtype).contiguous(memory_format=last)
    with torch.inference_mode():
        seconds = min(clock(lambda: functional.conv2d(image, weight)) for _ in range(turns))
    return 2 * 14 * 256 * inputs * outputs * 9 / seconds / 1e9


def row_of(case: Case, times: Sequence[float], gemm: dict[str, float]) -> Row:
    """Turn seconds into rates."""
    seconds, kpx = median(times), case.side**2 / 1e3
    rate = case.flops / seconds / 1e9
    precision = "bfloat16" if case.who.endswith("bfloat16") else "float32"
    return Row(
        case.way, case.who, case.side, kpx / seconds, kpx / min(times), rate, rate / gemm[precision]
    )


def ratios(rows: Sequence[Row], area: int) -> dict[str, float]:
    """Compare finished pixels a second: the engine over what it replaces."""
    rate = {(row.way, row.who, row.side): row.kpx_per_s for row in rows}
    sides = sorted({row.side for row in rows if row.way == "window"})
    side = 256 if 256 in sides else sides[-1]
    found, blended = {}, rate["area", BLENDED, area]
    for precision in PRECISIONS:
        for way in ("window", "tile"):
            mine, theirs = (
                {s: rate[way, w, s] for s in sides} for w in (f"engine {precision}", PLAIN)
            )
            found[f"{precision} over plain, {way} of {side} px"] = mine[side] / theirs[side]
            found[f"{precision} over plain, each at its best {way}"] = max(mine.values()) / max(
                theirs.values()
            )
            if way == "window":  # both finish all that they read
                whole = mine.get(area, max(mine.values()))
                found[f"{precision} over blending, an area of {area} px"] = whole / blended
    return found


def accuracy(bundle: Bundle, args: argparse.Namespace) -> dict[str, float]:
    """Compare both precisions and blending with the plain network on one window."""
    side = max(160, 2 * reach(bundle.spec.network, args.h))
    arrays = arrays_of(side)
    whole = Window.of((side, side))
    plain = PlainForecaster.load(bundle)
    want = plain_work(plain, bundle, arrays, whole, h=args.h)()
    blended = blend_work(plain, bundle, arrays, h=args.h)()
    errors = {"blending, largest": float(np.abs(blended - want).max())}
    for precision in PRECISIONS:
        engine = Engine.of(bundle, precision=precision, device="cpu")
        got = engine_work(engine, arrays, whole, h=args.h)()
        errors[f"{precision}, largest"] = float(np.abs(got - want).max())
        errors[f"{precision}, RMS over RMS change"] = relative(got, want, arrays["hm"][-1])
    return errors


def relative(got: np.ndarray, want: np.ndarray, origin: np.ndarray) -> float:
    """Root mean square error over root mean square forecast change, where there is data."""
    seen = np.isfinite(origin)
    change = np.square((want - origin)[..., seen]).mean(dtype="float64")
    return float(np.sqrt(np.square((got - want)[..., seen]).mean(dtype="float64") / change))


def trained(name: str, hidden: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train on real land use, then forecast the whole raster in each way."""
    import hmx  # noqa: F401  (registers .hm)
    from tests.bench import skill

    case = skill.CASES[name]
    past = skill.load(case).sel(time=slice(None, str(case.origin)))
    model = past.hm.train(
        target="hm",
        static=["elevation"],
        epochs=args.epochs,
        seed=0,
        layers=2,
        **{**STREAMED, "hidden": hidden},
    )
    history = model.spec.network.history
    arrays = {"hm": past["hm"].values[-history:], "elevation": past["elevation"].values}
    whole = Window.of(arrays["elevation"].shape)
    want = plain_work(PlainForecaster.load(model), model, arrays, whole, h=args.h)()
    found: dict[str, Any] = {"data": name, "hidden": hidden, "epochs": args.epochs}
    for precision in PRECISIONS:
        engine = Engine.of(model, precision=precision, device="cpu")
        got = engine_work(engine, arrays, whole, h=args.h)()
        seen = np.isfinite(arrays["hm"][-1])
        found[f"{precision} largest"] = float(np.abs(got - want)[..., seen].max())
        found[f"{precision} relative"] = relative(got, want, arrays["hm"][-1])
    return found


def say_trained(row: dict[str, Any]) -> str:
    """Put the errors of a trained model into a line."""
    parts = [
        f"{p}: largest {row[f'{p} largest']:.1e}, RMS {row[f'{p} relative']:.3%} of RMS change"
        for p in PRECISIONS
    ]
    head = f"trained on {row['data']}, hidden {row['hidden']}, {row['epochs']} epochs"
    return f"{head}: {'; '.join(parts)}"


def table(options: ModelOptions, args: argparse.Namespace, found: dict[str, Any]) -> str:
    """Lay out the rows of one network."""
    size = f"hidden {options.hidden}, {options.layers} layers, kernel {options.kernel}"
    title = f"{size}, dilation {options.dilations()}, history {options.past_steps}, h {args.h}"
    peaks = ", ".join(f"{name} {rate:.0f}" for name, rate in found["gflops"].items())
    lines = ["", title, f"GFLOP/s of the machine in {args.threads} thread(s): {peaks}", ""]
    lines += [
        f"{'finished':>9}{'px':>6}  {'by':30}{'kpx/s':>8}{'best':>8}{'GFLOP/s':>9}{'of GEMM':>9}"
    ]
    for row in sorted(
        found["rows"], key=lambda row: (row["way"] != "window", row["way"] != "tile")
    ):
        rates = f"{row['kpx_per_s']:>8.1f}{row['best_kpx_per_s']:>8.1f}{row['gflops']:>9.0f}"
        name = f"{row['way']:>9}{row['side']:>6}  {row['who']:30}"
        lines.append(f"{name}{rates}{row['share_of_gemm']:>9.0%}")
    lines += ["", *(f"{name:>48}: {ratio:.2f} x" for name, ratio in found["ratios"].items())]
    lines += [f"{name:>48}: {error:.1e}" for name, error in found["accuracy"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
