"""Worlds whose best forecast is known: how much of it is reached.

Run from the root of the project::

    python -m tests.bench.synthetic
    python -m tests.bench.synthetic --side 256 --seeds 3 --train epochs=30 --json

Per world and lead: RMSE and CRPS skill against persistence of the trained model and of
the best forecast there can be, the share of it that the model recovers, and coverage
of 50, 80 and 95 % intervals, randomised for ties. ``relational`` goes by neighbourhood,
terrain and population; ``noise`` has rare jumps at random and ``walk`` a jump everywhere,
so that persistence is the best centre; ``known`` has a spread, with a point mass of no
change, that follows from covariates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, pstdev
from typing import Any

from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.train.train import train
from hmx.scores import Tally, skill
from tests.bench.forecasts import predict
from tests.bench.settings import setting
from tests.make import worlds
from tests.make.worlds import BEST, LEADS, STILL, World

MODEL = "model"
LEVELS = (50.0, 80.0, 95.0)
LEAST = 0.02  # achievable skill of which a share means anything
WORLDS: dict[str, Callable[..., World]] = {
    "relational": worlds.relational,
    "noise": worlds.noise,
    "walk": partial(worlds.noise, moves=1.0),
    "known": worlds.known,
}
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Train in each world, and print a table or JSON."""
    args = parse(argv)
    report = {}
    for name in args.worlds:
        report[name] = study(name, args)
        print(table(name, report[name]), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps({"train": dict(args.train), "worlds": report}, indent=2))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", nargs="+", choices=[*WORLDS], default=[*WORLDS])
    parser.add_argument("--side", type=int, default=192, help="of a world, px")
    parser.add_argument("--steps", type=int, default=10, help="the last two are forecast")
    parser.add_argument("--seeds", type=int, default=1, help="worlds and models of each kind")
    parser.add_argument("--train", type=setting, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def study(name: str, args: argparse.Namespace) -> Row:
    """Train once per seed in worlds of a kind, and sum up."""
    tallies, seconds = {}, []
    for seed in range(args.seeds):
        world = WORLDS[name]((args.side, args.side), steps=args.steps, seed=seed)
        start = time.process_time()
        bundle = train(world.past, world.recipe(seed=seed, **dict(args.train)))
        seconds.append(time.process_time() - start)
        tallies[f"seed {seed}"] = world.tally({MODEL: predict(world.past, bundle, LEADS)})
    rows = [figures([*tallies.values()], lead) for lead in LEADS]
    return {"leads": rows, "verdict": verdict(tallies), "train_cpu_seconds": seconds}


def verdict(tallies: dict[str, Tally]) -> str:
    """Say whether to use the model, without telling it that the best possible beats it."""
    kept = {
        label: Tally({key: cell for key, cell in tally.cells.items() if key[0] != BEST})
        for label, tally in tallies.items()
    }
    return Scorecard(kept, model=MODEL, reference=STILL).verdict


def figures(tallies: Sequence[Tally], lead: int) -> Row:
    """Gather the figures of a lead, a list over seeds each."""
    row: Row = {"lead": lead}
    for measure in ("rmse", "crps"):
        for name, key in ((MODEL, "skill"), (BEST, "achievable")):
            row[f"{measure}_{key}"] = [
                skill(t[name, lead, "all"].score, t[STILL, lead, "all"].score, measure=measure)
                for t in tallies
            ]
        row[f"{measure}_recovered"] = [
            worlds.recovered(t, MODEL, lead, measure) if most > LEAST else None
            for t, most in zip(tallies, row[f"{measure}_achievable"], strict=True)
        ]
    for level in LEVELS:
        for name, key in ((MODEL, "coverage"), (BEST, "true_coverage")):
            shares = [t[name, lead, "all"].coverage[level].share for t in tallies]
            row[f"{key}_{level:g}"] = shares
    return row


def table(name: str, found: Row) -> str:
    """Lay out one world, mean +- sd over seeds, percent."""
    seconds = ", ".join(f"{s:.0f}" for s in found["train_cpu_seconds"])
    lines = [f"{name} (trained in {seconds} s of CPU)"]
    heads = ("RMSE", "best", "share", "CRPS", "best", "share", "50 %", "80 %", "95 %")
    lines.append(f"{'lead':6}" + "".join(f"{head:>14}" for head in heads))
    keys = [f"{m}_{k}" for m in ("rmse", "crps") for k in ("skill", "achievable", "recovered")]
    keys += [f"coverage_{level:g}" for level in LEVELS]
    for row in found["leads"]:
        lines.append(f"{row['lead']:<6}" + "".join(f"{percent(row[key]):>14}" for key in keys))
    return "\n".join([*lines, found["verdict"], ""])


def percent(values: Sequence[float | None]) -> str:
    """Write a mean, and +- the standard deviation when there are several."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.1f}" + (f" +-{pstdev(known):.1f}" if len(known) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
