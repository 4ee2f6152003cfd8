"""Measure the skill of the forecaster on held-out steps, against baselines.

Run from the root of the project::

    python -m tests.bench.skill --data amapa --seeds 3
    python -m tests.bench.skill --data amapa --blocks 5 --seeds 1
    python -m tests.bench.skill --models default --train ema=0.98 --train epochs=30
    python -m tests.bench.skill --models none --json

`amapa` is 5-yearly, learned up to 2005 and forecast to 2010 and 2015; `amapa-2010` is learned up
to 2010; `amapa-annual` up to 2011, and forecast four years. `europe` is small and its change
persists: 5-yearly, learned up to 2003 from a single origin; `europe-annual` up to 2004, forecast
four years; `europe-4` and `europe-3` have steps of four and three years, and two origins.
`north_carolina` is learned up to 2013 or 2014, with a history of two; `demo` up to 2010. Real data
is found through HMX_REAL_DATA, by default ``../shared/data`` from the root.

RMSE and CRPS are weighted by area and relative to persistence; CRPS, coverage and width
are of the calibrated quantiles that users get, coverage randomised for ties. The stratum
`far` lies farther from past change than ``--far`` px. With ``--blocks K`` the models and
baselines learn from K - 1 of K folds of spatial blocks, with buffers, and only blocks
that they never saw are scored, in the same held-out years.

Costs stand beside skill: operations and parameters per pixel, reach, and the rate of a
forecast of the mean in seconds of CPU on one thread, which gives the time of the global
1 km grid; seconds of training, on the clock and of CPU. The last column of a lead is the expected
total change in percent of the observed one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import mean, pstdev
from typing import Any

import numpy as np
import xarray as xr

from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.bundle import Bundle
from hmx.scores import Prediction, Settings, Tally, skill
from hmx.splits import TEST, TRAIN, Split
from hmx.windows import Window
from tests.bench.cases import CASES, STILL, Case, baselines, load, past_of, scene_of
from tests.bench.settings import setting

LAND = 184_600_000  # pixels of the global 1 km grid
BLOCK = 96  # px, so that networks of any reach are scored on the same blocks
STRATA = ("all", "near", "far")
LEVELS = (50.0, 80.0, 95.0)
Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Score all forecasters and print the tables; with --json also JSON."""
    args = parse(argv)
    case = CASES[args.data]
    found = study(load(case), case, args)
    print(text(args, case, found), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(finite(found), indent=2))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", choices=sorted(CASES), default="amapa")
    parser.add_argument("--seeds", type=int, default=3, help="how many models of each kind")
    parser.add_argument(
        "--models",
        default="default,dilated",
        help="of: default, dilated, ensemble (five of the default), or none",
    )
    parser.add_argument("--blocks", type=int, default=0, metavar="K", help="score unseen blocks")
    parser.add_argument("--folds", type=int, help="of the K folds, train only so many")
    parser.add_argument("--raw", action="store_true", help="also score without calibration")
    parser.add_argument("--far", type=float, default=10.0, help="px from past change")
    parser.add_argument("--boosted", type=int, default=100_000, help="pixels for boosting, 0: none")
    parser.add_argument("--trees", type=int, default=100, help="of each boosted forest")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, tables on stderr")
    parser.add_argument(
        "--train",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of every model, repeatable, for example --train epochs=5",
    )
    return parser.parse_args(argv)


def networks(args: argparse.Namespace) -> dict[str, Facts]:
    """Choose the models to train: options by name."""
    known: dict[str, tuple[str, Facts]] = {
        "default": ("model", {}),
        "dilated": ("model, dilated", {"arch": "dilated"}),
        "ensemble": ("ensemble of 5", {"runs": 5, "ensemble": True}),
    }
    wanted = [] if args.models == "none" else args.models.split(",")
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"{unknown.pop()!r} is not one of: {', '.join(known)}, none.")
    return {known[name][0]: {**known[name][1], **dict(args.train)} for name in wanted}


def study(ds: xr.Dataset, case: Case, args: argparse.Namespace) -> Facts:
    """Train, forecast and score: every figure, JSON values."""
    empty = ("train_seconds", "train_cpu_seconds")
    costs: dict[str, Facts] = {name: {key: [] for key in empty} for name in networks(args)}
    if args.blocks:
        tallies = [on_blocks(ds, case, args, seed, costs) for seed in range(args.seeds)]
    else:
        tallies = on_years(ds, case, args, costs)
    labelled = {f"seed {seed}": tally for seed, tally in enumerate(tallies)}
    names = {lead: case.name(lead) for lead in case.leads}
    verdicts = {
        name: Scorecard(labelled, model=name, reference=STILL, names=names).verdict
        for name in costs
    }
    return {
        "data": args.data,
        "origin": case.origin,
        "blocks": args.blocks,
        "lead_years": [case.step * lead for lead in case.leads],
        "train": dict(args.train),
        "rows": [figures(tallies, name) | costs.get(name, {}) for name in tallies[0].forecasters],
        "verdicts": verdicts,
    }


def on_years(
    ds: xr.Dataset, case: Case, args: argparse.Namespace, costs: dict[str, Facts]
) -> list[Tally]:
    """Score all pixels of the held-out years, once per seed."""
    past, scene = past_of(ds, case), scene_of(ds, case, far=args.far)
    still = baselines(past, case, boosted=args.boosted, trees=args.trees)
    tallies = []
    for seed in range(max(args.seeds if costs else 1, 1)):
        made = {}
        for name, options in networks(args).items():
            bundle = fitted(ds, case, {**options, "seed": seed}, costs[name])
            made |= forecasts(past, bundle, case, name, costs[name], raw=args.raw)
            costs[name].setdefault("learnt_totals", []).append(learnt_totals(past, bundle))
        tallies.append(Tally.of(scene, made | still, settings=settings(case)))
    return tallies


def on_blocks(
    ds: xr.Dataset, case: Case, args: argparse.Namespace, seed: int, costs: dict[str, Facts]
) -> Tally:
    """Score blocks that were never trained on, of all folds or of the first few."""
    past, total = past_of(ds, case), Tally()
    if not costs:
        raise SystemExit("--blocks scores the blocks of a model's split. Name one in --models.")
    for fold in range(args.folds or args.blocks):
        split = {"seed": seed, "fold": fold, "folds": args.blocks, "block": BLOCK, "final": False}
        made, roles = {}, []
        for name, options in networks(args).items():
            bundle = fitted(ds, case, {**options, **split}, costs[name])
            made |= forecasts(past, bundle, case, name, costs[name], raw=args.raw)
            costs[name]["areas"] = bundle.training["areas"]
            roles.append(roles_of(bundle, past))
        unseen = np.logical_and.reduce([role == TEST for role in roles])
        learnable = np.logical_or.reduce([role == TRAIN for role in roles])
        how = {"boosted": args.boosted, "trees": args.trees, "seed": seed}
        still = baselines(past, case, learnable=learnable, **how)
        scene = scene_of(ds, case, far=args.far, only=unseen)
        total += Tally.of(scene, made | still, settings=settings(case))
    return total


def settings(case: Case) -> Settings:
    """Measure in units of the case's range."""
    span = case.bounds[1] - case.bounds[0]
    return Settings(LEVELS, threshold=span / 100, data_range=span)


def roles_of(bundle: Bundle, past: xr.Dataset) -> np.ndarray:
    """Read the role of each pixel that a bundle records, (y, x)."""
    split = Split.from_dict(bundle.training["roles"])
    return split.roles(Window.of((past.sizes["y"], past.sizes["x"])))


def fitted(ds: xr.Dataset, case: Case, options: Mapping[str, Any], costs: Facts) -> Bundle:
    """Train on the steps up to the origin, and note the seconds, on the clock and of CPU."""
    from hmx.forecast.options import split_fitting
    from hmx.forecast.train.recipe import TrainSetup
    from hmx.forecast.train.train import train

    chosen = {"history": case.history, "h": len(case.leads), "until": case.origin, **options}
    recipe = TrainSetup("hm", (), ("elevation",), *split_fitting(chosen))
    start, used = time.perf_counter(), time.process_time()
    bundle = train(ds, recipe)
    costs["train_seconds"].append(time.perf_counter() - start)
    costs["train_cpu_seconds"].append(time.process_time() - used)
    return bundle


def forecasts(
    past: xr.Dataset, bundle: Bundle, case: Case, name: str, costs: Facts, *, raw: bool
) -> dict[str, Prediction]:
    """Forecast the leads; the first time, note what the network costs."""
    from tests.bench.forecasts import predict, uncalibrated

    if "kpx_per_s" not in costs:
        costs |= cost_of(past, bundle, len(case.leads))
    made = {name: predict(past, bundle, case.leads)}
    if raw:
        made[f"{name}, uncalibrated"] = predict(past, uncalibrated(bundle), case.leads)
    return made


def learnt_totals(past: xr.Dataset, bundle: Bundle) -> list[float]:
    """Return expected over observed total change of the steps that were learnt, by lead."""
    from hmx.forecast.api import forecast

    maps, first = past["hm"].values, bundle.spec.network.past_steps - 1
    expected, observed = np.zeros(bundle.spec.h), np.zeros(bundle.spec.h)
    for at in range(first, len(maps) - 1):
        truth = maps[at + 1 : at + 1 + bundle.spec.h]
        until = past.isel(time=slice(None, at + 1))
        made = forecast(until, model=bundle, h=len(truth))["hm"].compute(scheduler="synchronous")
        for lead, (ours, true) in enumerate(zip(made.values, truth, strict=True)):
            known = np.isfinite(ours) & np.isfinite(true)
            expected[lead] += (ours - maps[at])[known].sum(dtype="float64")
            observed[lead] += (true - maps[at])[known].sum(dtype="float64")
    with np.errstate(all="ignore"):  # a lead without truth, or without change
        return (expected / observed).tolist()


def cost_of(past: xr.Dataset, bundle: Bundle, h: int, *, turns: int = 2) -> Facts:
    """Measure the rate of forecasting a raster on one thread, beside counted costs."""
    import torch

    from hmx.forecast.api import forecast
    from hmx.networks.cost import per_pixel
    from hmx.networks.forecaster import reach

    spec, threads = bundle.spec, torch.get_num_threads()
    pixels, seconds = int(np.isfinite(past["hm"].values[-1]).sum()), []
    torch.set_num_threads(1)
    for _ in range(turns):
        start = time.process_time()  # one thread does it all, whoever else is at work
        forecast(past, model=bundle, h=h)["hm"].compute(scheduler="synchronous")
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    rate = pixels / min(seconds)
    return {
        "mflop_per_pixel": spec.members * per_pixel(spec.network, spec.channels, h=h) / 1e6,
        "parameters": sum(array.size for array in bundle.weights.values()),
        "reach": reach(spec.network, h),
        "context_radius": spec.context.halo,
        "kpx_per_s": rate / 1e3,
        "global_minutes": LAND / rate / 60,
    }


def figures(tallies: Sequence[Tally], name: str) -> Facts:
    """Finish the figures of a forecaster: one list over seeds per figure and lead."""

    def over(stratum: str, measure: str) -> list[list[float]]:
        return [
            [
                skill(t[name, lead, stratum].score, t[STILL, lead, stratum].score, measure=measure)
                for t in tallies
            ]
            for lead in tallies[0].leads
        ]

    def each(figure: str) -> list[list[float]]:
        return [[t[name, n, "all"].figures()[figure] for t in tallies] for n in tallies[0].leads]

    found: Facts = {"name": name, "skill": over("all", "rmse")}
    for stratum in STRATA:
        suffix = "" if stratum == "all" else f"_{stratum}"
        found[f"rmse_skill{suffix}"] = over(stratum, "rmse")
        found[f"crps_skill{suffix}"] = over(stratum, "crps")
    kept = ["n", "rmse", "mae", "bias", "crps"]
    kept += ["expected_change", "observed_change"]
    kept += [f"{what}_{level:g}" for what in ("coverage", "width") for level in LEVELS]
    found |= {figure: each(figure) for figure in kept}
    far = [[t[name, n, "far"].score.crps for t in tallies] for n in tallies[0].leads]
    return found | {"crps_far": far}


def finite(value: Any) -> Any:
    """Turn what JSON has no number for into null."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def text(args: argparse.Namespace, case: Case, found: Facts) -> str:
    """Lay out skill lead by lead, then costs, then the verdicts."""
    where = f", on blocks never trained on ({args.blocks} folds)" if args.blocks else ""
    lines = [
        f"{args.data}: learned up to {case.origin}{where}; "
        f"skill in % against persistence, far: > {args.far:g} px from past change"
    ]
    keys = {"RMSE": "rmse_skill", "CRPS": "crps_skill", "CRPS far": "crps_skill_far"}
    keys |= {f"in {level:g} %": f"coverage_{level:g}" for level in LEVELS}
    for index, lead in enumerate(case.leads):
        heads = "".join(f"{head:>14}" for head in (*keys, "width 80 %", "total % true"))
        lines += ["", f"{case.name(lead):26}{heads}"]
        for row in found["rows"]:
            cells = [spread([100 * v for v in row[key][index]], 1) for key in keys.values()]
            cells.append(spread(row["width_80"][index], 4))
            came = row["observed_change"][index]
            ratios = [
                100 * e / o for e, o in zip(row["expected_change"][index], came, strict=True) if o
            ]
            cells.append(spread(ratios, 0) if ratios else "-")
            if not any(row["width_80"][index]):  # a point has no intervals
                cells[3:7] = ["-"] * 4
            lines.append(f"{row['name']:26}" + "".join(f"{cell:>14}" for cell in cells))
    lines += learnt_text(case, found["rows"])
    return "\n".join([*lines, *costs_text(found["rows"]), "", *said(found["verdicts"])])


def learnt_text(case: Case, rows: Sequence[Facts]) -> list[str]:
    """Lay out the totals of the steps that were learnt, one column for each lead."""
    rows = [row for row in rows if "learnt_totals" in row]
    heads = "".join(f"{case.name(lead):>14}" for lead in case.leads)
    lines = ["", f"{'total % true, learnt steps':26}{heads}"] if rows else []
    for row in rows:
        leads = zip(*row["learnt_totals"], strict=True)
        cells = "".join(f"{spread([100 * total for total in lead], 0):>14}" for lead in leads)
        lines.append(f"{row['name']:26}{cells}")
    return lines


def costs_text(rows: Sequence[Facts]) -> list[str]:
    """Lay out what the networks cost."""
    heads = (
        "MFLOP/px",
        "parameters",
        "reach",
        "context",
        "kpx/s",
        "globe min",
        "trained s",
        "CPU s",
    )
    lines = ["", f"{'':26}" + "".join(f"{head:>14}" for head in heads)]
    for row in rows:
        if "kpx_per_s" in row:
            cells = [
                f"{row['mflop_per_pixel']:.3f}",
                f"{row['parameters']:,}",
                f"{row['reach']} px",
                f"{row['context_radius']} px",
                f"{row['kpx_per_s']:.0f}",
                f"{row['global_minutes']:.0f}",
                spread(row["train_seconds"], 0),
                spread(row["train_cpu_seconds"], 0),
            ]
            lines.append(f"{row['name']:26}" + "".join(f"{cell:>14}" for cell in cells))
    return lines if len(lines) > 2 else []


def said(verdicts: Mapping[str, str]) -> list[str]:
    """Write the verdict on each model."""
    return [f"{name}: {verdict}" for name, verdict in verdicts.items()]


def spread(values: Sequence[float], digits: int) -> str:
    """Write a mean, and +- the standard deviation where seeds differ."""
    if not np.isfinite(values).all():
        return "-"  # where persistence makes no error at all, no skill can be told
    if mean(values) < -999:
        return "<-999"  # persistence makes next to no error
    written = f"{mean(values):.{digits}f}"
    return written if max(values) == min(values) else f"{written} +-{pstdev(values):.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
