"""Measure single options of a soil mapper on held-out blocks, against the default network.

Run from the root of the project (needs ``HMX_REAL_DATA``)::

    python -m tests.bench.soiloptions --table networks
    python -m tests.bench.soiloptions --table losses --unit 10
    python -m tests.bench.soiloptions --table transfer --runs 3

Samples and covariates are those of :mod:`tests.bench.soil`, in 20 km blocks. All rows of a
table learn from the same folds with the same seeds, the first row is the default, and each of
the others differs from it in the options of its name. Rows are the mean of ``--runs`` networks
without the forest. R2 is that of log(1 + %), then that of the values; below it stands by how
much it differs from that of the first row, with a 95 % interval from drawing whole blocks.

``transfer`` learns the east of the country from every n-th of its samples (``--few``), with and
without a start from a mapper of the west, which no sample of the east has been shown to.
``--keep FILE`` writes all predictions after each row, and rows that are in it are not learnt again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.bands import Bands
from hmx.mapping.inputs import RawWindows, gather
from hmx.mapping.options import MapTrainOptions, split_mapping
from hmx.mapping.target import central
from hmx.mapping.train.learning import Learnt, learn
from hmx.networks.options import MapperOptions
from hmx.points.samples import Samples
from hmx.scores import paired_bootstrap, regression_scores
from hmx.splits.methods import fold_samples
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from tests.bench.soil import macedonia, real_data, samples_of, spec_of

Options = Mapping[str, Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOSSES = ("huber", "mse", "l1", "composite_l1", "composite_l2", "quantile")
NETWORKS: dict[str, Options] = {
    "default": {},
    "coarse: [3]": {"coarse": [3]},
    "coarse: [3, 10]": {"coarse": [3, 10]},
    "window: 9": {"window": 9},
    "window: 17, pool: [1]": {"window": 17, "pool": [1]},
    "knots: 5": {"knots": QUANTILES},
    "refitted_covlstm": {"arch": "refitted_covlstm"},
}


@dataclass(frozen=True)
class Land:
    """Samples and the windows around them."""

    bands: Bands
    samples: Samples

    def windows(self, network: MapperOptions) -> RawWindows:
        """Gather the windows that a network reads."""
        return gather(self.bands, self.samples, spec_of(self.bands, network))


def main(argv: Sequence[str] | None = None) -> int:
    """Learn and score all rows of a table; print it, or JSON."""
    args = arguments(argv)
    clock = time.process_time()
    with tempfile.TemporaryDirectory(prefix="hmx-soil-") as folder:
        bands = macedonia(real_data(), Path(folder))
        samples = samples_of(bands, real_data())
        land = Land(bands, samples.at(np.arange(0, len(samples), args.every)))
        found = transferred(land, args) if args.table == "transfer" else compared(land, args)
    found["cpu_seconds"] = time.process_time() - clock
    print(json.dumps(found) if args.json else text(found))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", default="networks", choices=("networks", "losses", "transfer"))
    parser.add_argument("--rows", nargs="+", help="only these rows beside the first")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1, help="networks of a row")
    parser.add_argument("--seed", type=int, default=0, help="of folds and fits")
    parser.add_argument("--epochs", type=int, default=MapTrainOptions().epochs)
    parser.add_argument("--every", type=int, default=1, help="keep every n-th sample")
    parser.add_argument("--few", type=int, default=8, help="of transfer: learn from every n-th")
    parser.add_argument("--unit", type=float, default=1.0, help="values are in % times this")
    parser.add_argument("--keep", type=Path, help="write the predictions of all rows, .npz")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def table(args: argparse.Namespace) -> dict[str, Options]:
    """Name the rows of a table and their options."""
    rows = dict(NETWORKS)
    if args.table == "losses":
        rows = {"log1p, huber": {}} | {
            f"{transform}, {loss}": {"transform": transform, "loss": loss}
            | ({"knots": QUANTILES} if loss == "quantile" else {})
            for transform in ("log1p", "log", "none")
            for loss in (LOSSES if transform != "log" else ("huber",))
        }
    first = next(iter(rows))
    wanted = [name for name in rows if args.rows is None or name in (first, *args.rows)]
    return {name: rows[name] for name in wanted}


def chosen(options: Options, args: argparse.Namespace) -> tuple[MapperOptions, MapTrainOptions]:
    """Return network and fit of a row."""
    plain = {"device": "cpu", "seed": args.seed, "runs": args.runs, "epochs": args.epochs}
    return split_mapping({**plain, **options})


def compared(land: Land, args: argparse.Namespace) -> dict[str, Any]:
    """Predict every sample out of fold with every row, in native units, and score them."""
    folds = fold_samples(land.samples, SplitOptions(folds=args.folds), seed=args.seed)
    values, rounds = land.samples.value * args.unit, list(folds.rounds())
    guess, seconds = kept(args)
    for name, options in table(args).items():
        if name in guess:
            continue
        network, fit = chosen(options, args)
        raw, spec = land.windows(network), spec_of(land.bands, network)
        clock, guess[name] = time.process_time(), np.empty(len(values))
        for train, test in rounds:
            learnt = learn(raw, values, train, spec=spec, fit=fit, groups=folds.group)
            guess[name][test] = predict(learnt, raw.at(test))
        seconds[name] = time.process_time() - clock
        keep(args, guess, seconds)
        print(f"{name}: {seconds[name]:.0f} CPU s", file=sys.stderr, flush=True)
    return scored(values, guess, seconds, folds.group, args)


def settings(args: argparse.Namespace) -> str:
    """Write down what all rows of a file have in common."""
    return json.dumps({n: v for n, v in vars(args).items() if n not in ("rows", "keep", "json")})


def kept(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Read the rows that were learnt before."""
    if args.keep is None or not args.keep.exists():
        return {}, {}
    with np.load(args.keep) as file:
        if str(file["settings"]) != settings(args):
            raise SystemExit(f"{args.keep} has other settings: {file['settings']}")
        names = [name for name in file.files if name != "settings"]
        guess = {name: file[name][1:] for name in names}
        return guess, {name: float(file[name][0]) for name in names}


def keep(
    args: argparse.Namespace, guess: Mapping[str, np.ndarray], seconds: Mapping[str, float]
) -> None:
    """Write each row: its CPU seconds, then its predictions."""
    if args.keep is not None:
        rows = {name: np.concatenate([[seconds[name]], one]) for name, one in guess.items()}
        np.savez(args.keep, settings=np.array(settings(args)), **rows)


def transferred(land: Land, args: argparse.Namespace) -> dict[str, Any]:
    """Learn the east from few samples, with and without a mapper of the west."""
    network, fit = chosen({}, args)
    raw, spec, values = land.windows(network), spec_of(land.bands, network), land.samples.value
    values = values * args.unit
    lon = land.samples.lonlat[:, 0]
    west, east = np.flatnonzero(lon < np.median(lon)), np.flatnonzero(lon >= np.median(lon))
    own = land.samples.at(east)
    folds = fold_samples(own, SplitOptions(folds=args.folds), seed=args.seed)
    started = learn(raw, values, west, spec=spec, fit=fit, groups=land.samples.site)
    trunk = next(iter(started.kept.values())).weights()

    def of(rows: np.ndarray, start: Mapping[str, np.ndarray] | None = None) -> Learnt:
        return learn(
            raw, values, rows, spec=spec, fit=fit, groups=land.samples.site, init_from=start
        )

    rows: dict[str, Callable[[np.ndarray], Learnt]] = {
        "east alone": lambda few: of(few),
        "init_from west": lambda few: of(few, trunk),
        "west alone": lambda few: started,
        "both together": lambda few: of(np.concatenate([west, few])),
    }
    guess, seconds = {name: np.empty(len(east)) for name in rows}, dict.fromkeys(rows, 0.0)
    for train, test in thinned(folds, args.few):
        for name, fitted in rows.items():
            clock = time.process_time()
            guess[name][test] = predict(fitted(east[train]), raw.at(east[test]))
            seconds[name] += time.process_time() - clock
    return scored(values[east], guess, seconds, folds.group, args)


def thinned(folds: SiteFolds, few: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rounds with every n-th of the samples that are trained on."""
    for train, test in folds.rounds():
        yield train[::few], test


def predict(learnt: Learnt, raw: RawWindows) -> np.ndarray:
    """Predict as a map does, native units, (n,)."""
    return central(learnt.centre(learnt.predict(raw)), learnt.target)


def scored(
    values: np.ndarray,
    guess: Mapping[str, np.ndarray],
    seconds: Mapping[str, float],
    groups: np.ndarray,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Score the rows."""
    truth, first = values / args.unit, next(iter(guess))
    # an estimate on values themselves can be negative
    percent = {name: np.maximum(one / args.unit, 0.0) for name, one in guess.items()}
    logs, rows = {name: np.log1p(one) for name, one in percent.items()}, []
    for name, one in percent.items():
        log, native = regression_scores(np.log1p(truth), logs[name]), regression_scores(truth, one)
        gain = paired_bootstrap(np.log1p(truth), logs[name], logs[first], groups)
        rows.append(
            {"name": name, "r2": log["r2"], "gain": gain.value, "low": gain.low}
            | {"high": gain.high, "native_r2": native["r2"], "native_bias": native["bias"]}
            | {"mean": float(truth.mean()), "cpu_seconds": seconds[name]}
        )
    return {"samples": len(values), "rows": rows}


def text(found: Mapping[str, Any]) -> str:
    """Write the table."""
    lines = [
        f"{found['samples']:,} samples, out of fold; mean {found['rows'][0]['mean']:.2f} %", "",
        f"{'':24}{'R2':>7}{'difference':>12}{'95 % interval':>20}{'R2 of %':>9}{'bias':>7}"
        f"{'CPU s':>7}",
    ]  # fmt: skip
    for row in found["rows"]:
        interval = f"{row['low']:+.4f} ... {row['high']:+.4f}"
        lines.append(
            f"{row['name']:24}{row['r2']:7.3f}{row['gain']:+12.4f}{interval:>20}"
            f"{row['native_r2']:9.3f}{row['native_bias']:+7.2f}{row['cpu_seconds']:7.0f}"
        )
    return "\n".join([*lines, f"{found['cpu_seconds']:.0f} CPU seconds in all"])


if __name__ == "__main__":
    raise SystemExit(main())
