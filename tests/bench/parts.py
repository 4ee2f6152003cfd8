"""Measure what a job of a forecast costs, part by part, here and in another commit.

Run from the root of the project::

    python -m tests.bench.parts --side 4096
    python -m tests.bench.parts --side 4096 --against v0.1 --rounds 3
    python -m tests.bench.parts --side 1024 --members 5
    python -m tests.bench.parts --cube cube.zarr --model models/demo

A model with the default network and random weights forecasts a synthetic cube in this process,
with one thread, into a store: mean and two intervals. Figures are CPU seconds of the whole
process. The *job* is one call; its share of *system* time is what the kernel took. The
*parts* are the same tiles once more, one after the other: reading, the networks alone, the rest
of the window, and writing with checksums and ledger. With ``--against`` the benchmark of another
commit measures the same with its own code and its own default network, in turns with this one,
and the medians of the ratios are printed. The synthetic forecast is noise, which hardly compresses
and so takes longest to write; ``--cube`` and ``--model`` measure a real one instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Make cube and model, measure in processes of their own, and print one table."""
    args = parse(argv)
    if args.work:
        with suppress(ImportError):  # as the command line does, in trees that have it
            from hmx.files.heap import reuse_memory

            reuse_memory()
        print(json.dumps(measure(args)))
        return 0
    from hmx.networks.options import ModelOptions
    from tests.bench.world import make_model, write_world

    with tempfile.TemporaryDirectory(prefix="hmx-parts-") as name:
        folder = Path(name)
        if args.cube:
            (folder / "cube.zarr").symlink_to(Path(args.cube).resolve())
            (folder / "model").symlink_to(Path(args.model).resolve())
        else:
            cube = write_world(folder / "cube.zarr", (args.side, args.side))
            options = ModelOptions(**({"width": args.width} if args.width else {}))
            make_model(folder / "model", cube, options, members=args.members)
        trees = {"here": ROOT}
        if args.against:
            trees[args.against] = folder / "tree"
            git = ["git", "-C", str(ROOT), "worktree"]
            subprocess.run([*git, "add", "--detach", str(trees[args.against]), args.against],
                           check=True, capture_output=True)  # fmt: skip
        try:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
            for _ in range(args.rounds):
                for name, tree in trees.items():
                    found[name].append(apart(args, folder, tree))
        finally:
            if args.against:
                subprocess.run([*git, "remove", "--force", str(folder / "tree")], check=True)
    if args.json:
        print(json.dumps(found))
    else:
        print(table(found, args))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=2048, metavar="PX")
    parser.add_argument("--tile", type=int, metavar="PX", help="default: as hmx chooses")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--width", type=int, help="channels; default: those of hmx")
    parser.add_argument("--exceed", type=float, nargs="*", default=[])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cube", metavar="PATH", help="a cube of yours, with --model")
    parser.add_argument("--model", metavar="PATH", help="a model of yours, with --cube")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if bool(args.cube) != bool(args.model) or (args.cube and args.against):
        parser.error("--cube and --model go together, and without --against")
    return args


def apart(args: argparse.Namespace, folder: Path, tree: Path) -> dict[str, float]:
    """Measure with the code of one tree, in a process with one thread."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    words = [f"--precision={args.precision}"]
    words += [f"--tile={args.tile}"] if args.tile else []
    words += ["--exceed", *map(str, args.exceed)] if args.exceed else []
    if tree == ROOT:
        words += [f"--work={folder}"]
    else:  # another release cannot read the model of this one: it makes its own
        words += [f"--side={args.side}", f"--members={args.members}", "--json"]
        words += [f"--width={args.width}"] if args.width else []
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.parts", *words], env=env | {"PYTHONPATH": str(tree)},
        cwd=tree, check=True, capture_output=True, text=True,
    )  # fmt: skip
    figures: Any = json.loads(done.stdout.splitlines()[-1])
    row: dict[str, float] = figures if tree == ROOT else figures["here"][0]
    return row


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Run the job, then its parts; return CPU seconds of each."""
    import numpy as np

    from hmx.cube.cube import open_cube
    from hmx.engine.job import Job, run
    from hmx.forecast.bundle import Bundle
    from hmx.forecast.options import ForecastOptions
    from hmx.forecast.order import ForecastRun

    folder = Path(args.work)
    chosen = ForecastOptions(h=4, level=(80.0, 95.0), tile=args.tile, device="cpu",
                             exceed=tuple(args.exceed), precision=args.precision)  # fmt: skip
    cube, store = str(folder / "cube.zarr"), folder / "forecast.zarr"
    checked = ForecastRun.check(open_cube(cube, chunks=None), Bundle.load(folder / "model"), chosen)
    job = Job(checked, cube, str(store))
    start, clock = used(), time.perf_counter()
    run(job, overwrite=True)
    stop, wall = used(), time.perf_counter() - clock
    found = {"job": stop[0] - start[0], "system": stop[1] - start[1], "wall": wall}
    sizes = {"tile": float(checked.options.tile or 0), "px": float(np.prod(checked.window.shape))}
    return {**found, **parts(job), **sizes}


def used() -> tuple[float, float]:
    """Return CPU seconds of this process so far, and those in the kernel."""
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime, now.ru_stime


def parts(job: Any) -> dict[str, float]:
    """Compute the same tiles one after the other, each step with its own clock."""
    from hmx.engine.order import opened
    from hmx.forecast.window import Engine

    seconds = dict.fromkeys(("reading", "networks", "rest of window", "writing"), 0.0)
    work, cube, plain = job.work, opened(job.work.source, job.work.run), Engine.run

    def timed(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return plain(*given, **named)
        finally:
            seconds["networks"] += time.process_time() - start

    Engine.run = timed  # type: ignore[method-assign]
    try:
        for tile in work.tiles:
            at = [time.process_time()]
            runner = work.runner.with_threads(1)
            window = runner.reads(tile.core, cube.grid)
            raw = runner.read(window, cube)
            at.append(time.process_time())
            inside = seconds["networks"]
            blocks = runner.task(runner.core(tile.core), window, cube.grid)(*raw)
            at.append(time.process_time())
            target = runner.spec.target
            named = {name_of(output, target): block for output, block in blocks.items()}
            work._write(tile.index, tile.core, named, "")
            at.append(time.process_time())
            seconds["reading"] += at[1] - at[0]
            seconds["rest of window"] += at[2] - at[1] - (seconds["networks"] - inside)
            seconds["writing"] += at[3] - at[2]
    finally:
        Engine.run = plain  # type: ignore[method-assign]
    return seconds


def name_of(output: str, target: str) -> str:
    """Name the variable of an output."""
    from hmx.engine.result import variable_of

    return variable_of(output, target)


def table(found: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> str:
    """Lay out medians, one column for each tree, and the ratios of each round."""
    names = list(found)
    lines = [f"{'CPU seconds':24}" + "".join(f"{name[:12]:>14}" for name in names)]
    middle = {n: {k: median(row[k] for row in found[n]) for k in found[n][0]} for n in names}
    for key in ("job", "wall", "system", "reading", "networks", "rest of window", "writing"):
        lines.append(f"{key:24}" + "".join(f"{middle[n][key]:>14.2f}" for n in names))
    for n in names:
        m = middle[n]
        whole = sum(m[k] for k in ("reading", "networks", "rest of window", "writing"))
        rate = m.get("px", args.side**2) / m["job"] / 1e3
        lines.append(
            f"{n[:12]}: tile {m['tile']:.0f} px, {rate:.0f} kpx per CPU second; "
            f"system {m['system'] / m['job']:.1%}; reading and writing "
            f"{(m['reading'] + m['writing']) / whole:.1%}; window over its networks "
            f"{1 + m['rest of window'] / m['networks']:.3f}"
        )
    if len(names) > 1:
        here, there = (found[n] for n in names)
        ratios = [b["job"] / a["job"] for a, b in zip(here, there, strict=True)]
        lines.append(f"{names[1]} over here, CPU seconds of the job: {median(ratios):.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
