"""Measure what a job costs over a bare loop, and what a second worker brings.

Run from the root of the project::

    python -m tests.bench.job
    python -m tests.bench.job --side 3072 --width 32 --json

The same tiles are run three times with one torch thread each: in a plain loop of
one process (read, compute, write, flush), as a job on one worker process and as a
job on two. Start-up (processes, imports, the first tile) is left out everywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hmx.engine.job import Job, run
from hmx.engine.options import DaskSection
from hmx.engine.pool.cluster import Pool, connect
from hmx.engine.pool.runner import Task, run_windows
from hmx.networks.options import ModelOptions
from tests.bench.world import make_job, make_model, write_world


@dataclass(frozen=True)
class Row:
    """What one way of running the tiles took."""

    name: str
    seconds: float
    kpx_per_s: float
    tasks_per_tile: float = 0.0
    scheduler_ms_per_tile: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the three ways and print one table; with --json JSON instead."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=3072, metavar="PX")
    parser.add_argument("--tile", type=int, default=256, metavar="PX")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1, help="interleaved; the best counts")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hmx-job-") as folder:
        rounds = [measure(Path(folder) / str(n), args) for n in range(args.rounds)]
    rows = [min(row, key=lambda r: r.seconds) for row in zip(*rounds, strict=True)]
    figures = {
        "tiles": (-(-args.side // args.tile)) ** 2,
        "job_over_loop": rows[1].seconds / rows[0].seconds,
        "two_over_one": rows[1].seconds / rows[2].seconds,
    }
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], **figures}, indent=2))
    else:
        print(table(rows, figures))
    return 0


def measure(folder: Path, args: argparse.Namespace) -> list[Row]:
    """Run the tiles in all three ways."""
    folder.mkdir()
    cube = write_world(folder / "cube.zarr", (args.side, args.side))
    model = make_model(folder / "model", cube, ModelOptions(width=args.width))
    wanted: dict[str, Any] = {"h": 4, "level": [80], "tile": args.tile, "device": "cpu"}
    jobs = {
        name: make_job(cube, model, folder / f"{name}.zarr", **wanted)
        for name in ("loop", "one", "two")
    }
    pixels = args.side**2 / 1e3
    seconds = {"loop": loop(jobs["loop"])}
    counts = {}
    for name, workers in (("one", 1), ("two", 2)):
        seconds[name], counts[name] = as_job(jobs[name], workers)
    tiles = len(list(jobs["one"].work.tiles))
    titles = {"loop": "bare loop", "one": "job, 1 worker", "two": "job, 2 workers"}
    return [
        Row(
            titles[name],
            took,
            pixels / took,
            counts.get(name, (0, 0))[0] / tiles,
            counts.get(name, (0, 0))[1] / tiles * 1e3,
        )
        for name, took in seconds.items()
    ]


def lay_out(job: Job) -> list[Task]:
    """Write the empty store, and list its tiles."""
    from hmx.engine import job as jobs
    from hmx.progress import Progress

    return jobs._start(job, Progress(), fresh=True)


def loop(job: Job) -> float:
    """Run all tiles one after the other in this process."""
    calls = lay_out(job)
    torch.set_num_threads(1)
    job.work(calls[0].index, *calls[0].arguments, threads=1)
    start = time.perf_counter()
    for call in calls:
        job.work(call.index, *call.arguments, threads=1)
    return time.perf_counter() - start


def as_job(job: Job, workers: int) -> tuple[float, tuple[float, float]]:
    """Run all tiles on worker processes of one torch thread; count tasks and scheduler time."""
    calls = lay_out(job)
    with connect(DaskSection(workers=workers), tasks=len(calls), device="cpu") as pool:
        pool = Pool(pool.client, 1, pool.resources, pool.where)
        run_windows(pool, job.work, calls[: 4 * workers])  # every worker has loaded the model
        before = pool.client.run_on_scheduler(spent)
        start = time.perf_counter()
        assert run_windows(pool, job.work, calls) == []
        took = time.perf_counter() - start
        after = pool.client.run_on_scheduler(spent)
    assert run(job) == job.store  # every tile is proven by the ledger
    return took, (after[0] - before[0], after[1] - before[1])


def spent(dask_scheduler: Any = None) -> tuple[int, float]:
    """Count the tasks that a scheduler has seen, and its CPU seconds."""
    done = sum(prefix.state_counts["memory"] for prefix in dask_scheduler.task_prefixes.values())
    return done, time.thread_time()


def table(rows: Sequence[Row], figures: dict[str, float]) -> str:
    """Lay out one line for each way."""
    lines = [f"{'':18}{'seconds':>9}{'kpx/s':>8}{'tasks/tile':>12}{'scheduler ms/tile':>19}"]
    for row in rows:
        line = f"{row.name:18}{row.seconds:>9.1f}{row.kpx_per_s:>8.0f}"
        if row.tasks_per_tile:
            line += f"{row.tasks_per_tile:>12.1f}{row.scheduler_ms_per_tile:>19.2f}"
        lines.append(line)
    lines.append(
        f"{figures['tiles']} tiles: job over bare loop {figures['job_over_loop']:.3f}, "
        f"two workers over one {figures['two_over_one']:.2f}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
