"""Measure the training of a mapper by the number of samples: learning rate, time, memory, disk.

Run from the root of the project::

    python -m tests.bench.soiltraining
    python -m tests.bench.soiltraining --samples 2000 20000 --runs 1 --inner 2 --json

Samples of a synthetic land (four months of two bands, two bands without time, and a target with
noise), trained with the product's own defaults but for `--runs` and `--inner`. Each number of
samples has a process of its own. ``lr`` is what the log of the fit has, at its first, largest and
last epoch. Beside what was measured stands what ``hmx plan`` expects of the same training.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hmx.mapping.options import MapScoreOptions, MapTrainOptions
from hmx.mapping.train.cost import plan_training
from hmx.mapping.train.recipe import MapTrainSetup
from hmx.mapping.train.train import train
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from hmx.splits.options import SplitOptions
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import UTM, make_points

SIDE = 400  # px of the land: 160,000 pixels to draw 20,000 samples from


def main(argv: Sequence[str] | None = None) -> int:
    """Train with several numbers of samples; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--runs", type=int, default=1, help="networks of the ensemble")
    parser.add_argument("--inner", type=int, default=2, help="folds of the training")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    args = parser.parse_args(argv)
    if args.quick:
        args.samples = [150, 300]
    alone = args.alone or args.quick
    rows = [measure(n, args) if alone else apart(n, args) for n in args.samples]
    if args.json:
        print(json.dumps({"rows": rows}, indent=None if args.alone else 2))
        return 0
    print(f"{'samples':>8}{'steps':>8}{'lr first':>10}{'most':>9}{'last':>9}{'CPU s':>8}"
          f"{'planned s':>11}{'MiB':>7}{'planned':>9}{'model MiB':>11}")  # fmt: skip
    for row in rows:
        print(f"{row['samples']:>8,}{row['steps']:>8,}{row['lr_first']:>10.1e}"
              f"{row['lr_most']:>9.1e}{row['lr_last']:>9.1e}{row['cpu_seconds']:>8.0f}"
              f"{row['planned_seconds']:>11.0f}{row['mib']:>7.0f}{row['planned_mib']:>9.0f}"
              f"{row['model_mib']:>11.1f}")  # fmt: skip
    return 0


def apart(count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure in a process of its own, whose peak memory is that of the training."""
    words = ["--samples", count, "--runs", args.runs, "--inner", args.inner]
    command = [sys.executable, "-m", "tests.bench.soiltraining", "--alone", "--json"]
    done = subprocess.run(
        [*command, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["rows"][0]
    return row


def measure(count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train on so many samples, once planned and once done."""
    side = 48 if args.quick else SIDE
    land = make_covariates((side, side))
    table = make_points(land, count)
    fit = {"runs": args.runs, "inner": args.inner, "device": "cpu"}
    recipe = MapTrainSetup(
        points=PointsOptions(crs=UTM),
        network=MapperOptions(),
        fit=MapTrainOptions(**fit | ({"epochs": 2, "batch": 32} if args.quick else {})),
        split=SplitOptions(method="blocks", block_km=2),
    )
    planned, _, _ = plan_training(land, table, recipe, MapScoreOptions())
    with tempfile.TemporaryDirectory(prefix="hmx-soiltraining-") as folder:
        start = time.process_time()
        made = train(land, table, recipe, out=Path(folder, "m"))
        spent = time.process_time() - start
        with Path(folder, "m", "training.csv").open(encoding="utf-8", newline="") as file:
            rates = [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]
        size = sum(path.stat().st_size for path in Path(folder, "m").iterdir())
    return {
        "samples": made.training["points"]["samples"],
        "steps": planned.steps,
        "lr_first": rates[0],
        "lr_most": max(rates),
        "lr_last": rates[-1],
        "cpu_seconds": spent,
        "planned_seconds": planned.total,
        "mib": _peak(),
        "planned_mib": planned.memory / 2**20,
        "model_mib": size / 2**20,
        "planned_model_mib": planned.model_bytes / 2**20,
    }


def _peak() -> float:
    """Return the peak resident memory of this process, MiB; Linux counts KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


if __name__ == "__main__":
    sys.exit(main())
