"""Coverage of intervals on held-out years, before and after calibration.

Run from the root of the project::

    python -m tests.bench.calibration --data amapa
    python -m tests.bench.calibration --data known amapa demo --seeds 3 --json

Coverage of 50, 80 and 95 % intervals at each lead, over all pixels, near to past change
and far from it, randomised for ties; ``closed`` beside it counts a truth that lies on
the end of an interval as inside, which flatters where much stays exactly as it was.
``known`` is a synthetic world whose true distribution is known (:mod:`tests.make.worlds`),
and is scored as well: no calibration can come nearer than that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from statistics import mean, pstdev
from typing import Any

import numpy as np
import xarray as xr

from hmx.forecast.options import split_fitting
from hmx.forecast.train.recipe import TrainSetup
from hmx.forecast.train.train import train
from hmx.scores import Prediction, Scene, Settings, Tally
from hmx.uncertainty.distribution import quantile
from tests.bench.cases import CASES, load, past_of, scene_of
from tests.bench.forecasts import predict, uncalibrated
from tests.bench.settings import setting
from tests.make import worlds

LEVELS = (50.0, 80.0, 95.0)
KNOWN, TRUE = "known", "true distribution"
FAR = 10.0  # px
Job = tuple[xr.Dataset, Scene, TrainSetup, Mapping[str, Prediction]]
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Train, forecast and count, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=[KNOWN, *CASES], default=[KNOWN, "amapa"])
    parser.add_argument("--side", type=int, default=192, help="of the known world, px")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--train", type=setting, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = [row for name in args.data for row in study(name, args)]
    if args.json:
        print(json.dumps({"train": dict(args.train), "rows": rows}, indent=2))
        return 0
    print(table(rows))
    return 0


def job(name: str, seed: int, args: argparse.Namespace) -> Job:
    """Say what to train on, and what to score: past, scene, recipe, the true forecast."""
    options = {"seed": seed, **dict(args.train)}
    if name == KNOWN:
        world = worlds.known((args.side, args.side), seed=seed)
        truth = world.ds["hm"].values[-len(worlds.LEADS) :]
        scene = Scene(truth, world.origin, worlds.LEADS)
        return world.past, scene, world.recipe(**options), {TRUE: world.best}
    case = CASES[name]
    ds = load(case)
    chosen = {"history": case.history, "h": len(case.leads), "until": case.origin, **options}
    recipe = TrainSetup("hm", (), ("elevation",), *split_fitting(chosen))
    return past_of(ds, case), scene_of(ds, case, far=FAR), recipe, {}


def study(name: str, args: argparse.Namespace) -> list[Row]:
    """Count coverage for each forecaster, lead and stratum, over seeds."""
    tallies, closed = [], []
    for seed in range(args.seeds):
        past, scene, recipe, others = job(name, seed, args)
        bundle = train(past, recipe)
        made = {
            "calibrated": predict(past, bundle, scene.leads),
            "network": predict(past, uncalibrated(bundle), scene.leads),
            **others,
        }
        span = float(np.nanmax(scene.truth) - np.nanmin(scene.truth)) or 1.0
        tallies.append(Tally.of(scene, made, settings=Settings(LEVELS, data_range=span)))
        closed.append({who: flattered(scene, one) for who, one in made.items()})
    first = tallies[0]
    return [
        {
            "data": name,
            "forecaster": who,
            "lead": lead,
            "stratum": stratum,
            "n": first[who, lead, stratum].score.count,
            **{
                f"coverage_{level:g}": [
                    t[who, lead, stratum].coverage[level].share for t in tallies
                ]
                for level in LEVELS
            },
            "closed": [found[who][index] for found in closed] if stratum == "all" else None,
        }
        for who in first.forecasters
        for index, lead in enumerate(first.leads)
        for stratum in first.strata
        if first[who, lead, stratum].score.count
    ]


def flattered(scene: Scene, made: Prediction) -> list[list[float]]:
    """Count truths inside or on the ends of intervals, by lead and level."""
    assert made.knots is not None
    assert made.levels is not None
    found = []
    for truth, knots in zip(scene.truth, made.knots, strict=True):
        kept = np.isfinite(truth) & np.isfinite(knots).all(axis=0)
        ends = [
            [
                quantile(knots, made.levels, p)
                for p in ((1 - level / 100) / 2, (1 + level / 100) / 2)
            ]
            for level in LEVELS
        ]
        found.append([float(((low <= truth) & (truth <= high))[kept].mean()) for low, high in ends])
    return found


def table(rows: Sequence[Row]) -> str:
    """Lay out coverage in percent, mean +- sd over seeds."""
    heads = "".join(f"{f'in {level:g} %':>14}" for level in LEVELS)
    lines = [f"{'data':16}{'forecaster':20}{'lead':>5}  {'stratum':9}{heads}   closed intervals"]
    for row in rows:
        cells = "".join(f"{percent(row[f'coverage_{level:g}']):>14}" for level in LEVELS)
        ties = row["closed"]
        beside = (
            ""
            if ties is None
            else "   "
            + " / ".join(percent([found[index] for found in ties]) for index in range(len(LEVELS)))
        )
        who = f"{row['data']:16}{row['forecaster']:20}{row['lead']:>5}  {row['stratum']:9}"
        lines.append(who + cells + beside)
    return "\n".join(lines)


def percent(values: Sequence[float]) -> str:
    """Write a mean, and +- the standard deviation when there are several."""
    text = f"{100 * mean(values):.1f}"
    return text + (f" +-{100 * pstdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
