"""Measure the skill of the map job on real samples of soil carbon, against a forest.

Run from the root of the project::

    python -m tests.bench.soil
    python -m tests.bench.soil --folds 3 --fit runs=2 --network window=3
    python -m tests.bench.soil --method random --json

Samples and covariates of North Macedonia (found through HMX_REAL_DATA, by default
``../shared/data`` from the root): twelve months of surface temperature by day and night,
near and middle infrared, precipitation and cloud; elevation, slope and wetness index.
Every row is predicted out of fold, on the same folds, and scored over all folds at once
on the logarithm of 1 + soil carbon. All that a row learns, scales too, it learns from
the other folds. Options of the network are the product's own defaults.

``network`` is the mean of the scores of single networks, ``ensemble`` the mean of their
predictions, ``process`` the Gaussian process, ``blend`` half of the ensemble and a quarter
each of process and forest, ``with forest`` half of the forest instead, ``kriged`` the blend
corrected by kriged residuals of the other folds, in rounds whose own folds gain by it.
``R2 map`` is R2 of predictions weighted to be as far from samples as pixels of the map.
Below the table: by how much R2 differs from that of the forest, and of the kriged from that
of the plain blend, with a 95 % interval from drawing whole blocks; and the 90 % intervals
of blend and kriged, learnt from the other folds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from hmx.catalog import MapCatalog
from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import open_cube
from hmx.ingest.ingest import ingest
from hmx.mapping.evaluate.rounds import krige_round
from hmx.mapping.evaluate.weighting import TaskWeights
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import RawWindows, centre, fit_band_scaler, gather, scaled
from hmx.mapping.options import Krige, MapTrainOptions
from hmx.mapping.process import GaussianProcess, together
from hmx.mapping.spec import MapSpec
from hmx.mapping.train.learning import learn
from hmx.networks.options import MapperOptions
from hmx.points.joining import join
from hmx.points.samples import Samples
from hmx.points.table import read_points
from hmx.scores import interval_scores, paired_bootstrap, regression_scores
from hmx.settings import parse
from hmx.splits.distances import domain, nearest
from hmx.splits.methods import fold_samples
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from hmx.uncertainty.conformal import Conformal
from hmx.windows import Span, Window
from tests.bench.settings import setting

ROOT = Path(__file__).resolve().parents[2]
BANDS = ("LST_DAY", "LST_NIGHT", "NIR", "MIR", "PRECIP", "CLOUD")
STATIC = ("elevation", "slope", "twi")
PAIRS = (
    ("ensemble", "forest"), ("blend", "forest"), ("blend", "with forest"), ("kriged", "forest"),
    ("kriged", "blend"),
)  # fmt: skip
FIGURES = ("r2", "rmse", "ccc", "rpiq", "bias")
RIDGE = 100.0  # of features with a spread of 1
Facts = dict[str, Any]
Fold = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    """Score all rows and print the table; with --json also JSON."""
    args = arguments(argv)
    clock = time.process_time()
    with tempfile.TemporaryDirectory(prefix="hmx-soil-") as folder:
        bands = macedonia(real_data(), Path(folder))
        samples = samples_of(bands, real_data())
        samples = samples.at(np.arange(0, len(samples), args.every))
        raw = gather(bands, samples, spec_of(bands, args.network))
        pixels = land(bands)
        found = study(samples, raw, spec_of(bands, args.network), args, pixels)
    found["cpu_seconds"] = time.process_time() - clock
    print(text(found), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(found))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--method", default="blocks", help="of the folds: blocks, random")
    parser.add_argument("--seed", type=int, default=0, help="of folds and fits")
    parser.add_argument("--folds", type=int, help="stop after so many of the ten")
    parser.add_argument("--every", type=int, default=1, help="keep every n-th sample")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--network", type=setting, action="append", default=[], metavar="K=V")
    parser.add_argument("--fit", type=setting, action="append", default=[], metavar="K=V")
    parser.add_argument(
        "--keep", type=Path, help="file of held-out predictions; rows in it are not fitted again"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    args.network = parse(MapperOptions, dict(args.network))
    plain = {"device": "cpu", "seed": args.seed}
    args.fit = parse(MapTrainOptions, {**plain, **dict(args.fit)})
    return args


def real_data() -> Path:
    """Find the folder of the samples and covariates."""
    return Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data") / "macedonia"


def macedonia(data: Path, folder: Path) -> Bands:
    """Make a cube of the covariates."""
    months = {"start": 1, "stop": 12, "step": 1}
    sources: Facts = {
        name: {"path": f"{data}/{name}_{{month}}.tif", "months": months} for name in BANDS
    }
    sources |= {name: {"path": f"{data}/{name}.tif"} for name in STATIC}
    raw = {
        "name": "soil",
        "cube": {"path": str(folder / "soil.zarr"), "sources": sources},
        "points": {"path": f"{data}/points.csv", "target": "soc"},
    }
    return as_bands(open_cube(ingest(parse(MapCatalog, raw, context={"base": str(folder)}))))


def samples_of(bands: Bands, data: Path) -> Samples:
    """Join the points to the cube, and tell what did not become a sample."""
    points = read_points(data / "points.csv", target="soc", crs="EPSG:4326", units="%")
    samples, report = join(points, bands)
    print(report, file=sys.stderr)
    return samples


def land(bands: Bands) -> np.ndarray:
    """Return longitude and latitude of pixels with an elevation, (p, 2)."""
    whole = bands.only((), ("elevation",)).read(Window.of(bands.grid.shape), Span(0, 1))
    return domain(bands.grid, np.isfinite(whole["elevation"]))


def spec_of(bands: Bands, network: MapperOptions) -> MapSpec:
    """Write down what a network of these bands is fed."""
    return MapSpec(
        target="soc",
        dynamic=bands.dynamic,
        static=bands.static,
        network=network,
        steps=bands.history(network.history),
        climatology=bands.climatology,
        cadence=str(bands.cadence),
        pixel_size_m=bands.grid.pixel_size_m,
    )


def study(
    samples: Samples,
    raw: RawWindows,
    spec: MapSpec,
    args: argparse.Namespace,
    pixels: np.ndarray,
) -> Facts:
    """Predict every sample out of fold with every row, and score them."""
    folds = fold_samples(samples, SplitOptions(method=args.method), seed=args.seed)
    truth = np.log1p(samples.value)
    guess, seconds = predictions(folds, raw, samples.value, spec, args)
    spread = guess.pop("spread")[0]
    tested = np.flatnonzero(np.isfinite(spread))
    part, known, blocks = folds.at(tested), truth[tested], folds.group[tested]
    clock = time.process_time()
    intervals = {}
    for name, krige in (("blend", False), ("kriged", "auto")):
        corrected = correct(part, known, guess["blend"][0, tested], spread[tested], krige)
        intervals[name] = corrected["interval"] | {"rounds": corrected["rounds"]}
        guess[name] = guess["blend"].copy()
        guess[name][0, tested] = corrected["center"]
    seconds["kriged"] = time.process_time() - clock
    scored = {name: mean_scores(known, some[:, tested]) for name, some in guess.items()}
    weights = map_weights(folds, tested, pixels)
    for name, one in scored.items():
        each = [regression_scores(known, some[tested], weights.weights) for some in guess[name]]
        one["r2_map"] = float(np.mean([found["r2"] for found in each]))
    rows = [{"name": n, **s, "cpu_seconds": seconds.get(n, 0.0)} for n, s in scored.items()]
    mean_of = {name: some.mean(axis=0)[tested] for name, some in guess.items()}
    gains = {
        f"{name} - {other}": vars(paired_bootstrap(known, mean_of[name], mean_of[other], blocks))
        for name, other in PAIRS
    }
    return {
        "samples": len(tested), "rows": rows, "gains": gains, "intervals": intervals,
        "effective": weights.effective, "split": folds.digest,
    }  # fmt: skip


def correct(
    folds: SiteFolds, truth: np.ndarray, center: np.ndarray, spread: np.ndarray, krige: Krige
) -> Facts:
    """Krige residuals of the other folds, and learn intervals from them: center, interval."""
    found, ends, rounds = center.copy(), np.empty((2, len(truth))), 0
    for train, test in folds.rounds():
        within = folds.at(train)
        error, trial = krige_round(within, truth[train], center[train], folds, test, krige)
        found, rounds = found + error, rounds + trial.used
        learnt = Conformal.fit(
            center[train] + trial.correction, spread[train], truth[train], folds.group[train]
        )
        ends[:, test] = learnt.interval((center + error)[test], spread[test], 90)
    return {
        "center": found, "rounds": rounds, "interval": interval_scores(truth, *ends, level=90),
    }  # fmt: skip


def map_weights(folds: SiteFolds, tested: np.ndarray, pixels: np.ndarray) -> TaskWeights:
    """Weigh samples to be as far from those trained on as pixels, degrees, are from samples."""
    sites = folds.sites
    tasks = {"distance": folds.test_distances()[sites.back][tested]}
    wanted = {"distance": nearest(pixels, sites.lonlat)}
    return TaskWeights.of(tasks, wanted, np.arange(len(tested)))


def predictions(
    folds: SiteFolds, raw: RawWindows, values: np.ndarray, spec: MapSpec, args: argparse.Namespace
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Predict out of fold, log(1 + soil carbon), (predictors of a row, n); with CPU seconds.

    ``spread`` is that of the forest.
    """
    rows = forecasters(raw, values, spec, args, groups=folds.group)
    kept = {} if args.keep is None or not args.keep.exists() else dict(np.load(args.keep))
    if kept and str(kept.pop("split")) != folds.digest:
        raise SystemExit(f"{args.keep} has predictions on other folds. Pass another --keep.")
    seconds = {name: float(kept.pop(f"seconds {name}", 0.0)) for name in rows}
    guess: dict[str, np.ndarray] = {name: kept[name] for name in rows if name in kept}
    todo = {name: row for name, row in rows.items() if name not in kept}
    for train, test in list(folds.rounds())[: args.folds]:
        for name, fold in todo.items():
            clock = time.process_time()
            some = np.atleast_2d(fold(train, test))
            out = guess.setdefault(name, np.full((len(some), len(values)), np.nan))
            out[:, test] = some
            seconds[name] += time.process_time() - clock
        print(f"{len(test):,} samples predicted", file=sys.stderr, flush=True)
    guess = {name: guess[name] for name in rows}
    if args.keep is not None:
        spent = {f"seconds {name}": value for name, value in seconds.items()}
        np.savez(args.keep, split=folds.digest, **guess, **spent)
    guess["forest"], guess["spread"] = guess["forest"][:1], guess["forest"][1:]
    guess["ensemble"] = guess["network"].mean(axis=0, keepdims=True)
    guess["blend"] = (guess["ensemble"] + together(guess["forest"], guess["process"])) / 2
    guess["with forest"] = (guess["ensemble"] + guess["forest"]) / 2
    return guess, seconds


def forecasters(
    raw: RawWindows,
    values: np.ndarray,
    spec: MapSpec,
    args: argparse.Namespace,
    *,
    groups: np.ndarray,
) -> dict[str, Fold]:
    """Name the rows: each learns from some samples and predicts others."""
    truth = np.log1p(values)

    def features(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
        scaler = fit_band_scaler(raw, train, spec)
        return centre(scaled(raw.at(rows), spec, scaler))

    def mean(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return np.full(len(test), truth[train].mean())

    def linear(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        fitted = Ridge(RIDGE).fit(features(train, train), truth[train])
        return fitted.predict(features(train, test))

    def forest(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        grown = fit_forest(features(train, train), truth[train], args.seed, trees=args.trees)
        return np.stack(grown.moments(features(train, test)))

    def process(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        fitted = GaussianProcess.fit(features(train, train), truth[train], args.seed)
        return fitted.predict(features(train, test))

    def network(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        found = learn(raw, values, train, spec=spec, fit=args.fit, groups=groups)
        z = [found.centre(one[None]) for one in found.predict(raw.at(test))]
        return np.stack(z) * found.target.std + found.target.mean

    rows = {"mean": mean, "linear": linear, "forest": forest, "process": process}
    return {**rows, "network": network}


def mean_scores(truth: np.ndarray, several: np.ndarray) -> dict[str, float]:
    """Average the scores of several predictors."""
    scored = [regression_scores(truth, one) for one in several]
    return {name: float(np.mean([one[name] for one in scored])) for name in FIGURES}


def text(found: Mapping[str, Any]) -> str:
    """Write the table."""
    head = f"{'':12}{'R2':>8}{'RMSE':>8}{'CCC':>8}{'RPIQ':>8}{'bias':>9}{'R2 map':>8}{'CPU s':>8}"
    lines = [f"{found['samples']:,} samples, log(1 + soil carbon), out of fold", "", head]
    for row in found["rows"]:
        figures = "".join(f"{row[name]:8.3f}" for name in FIGURES[:-1])
        others = f"{row['bias']:+9.4f}{row['r2_map']:8.3f}{row['cpu_seconds']:8.0f}"
        lines.append(f"{row['name']:12}{figures}{others}")
    lines.append("")
    for name, gain in found["gains"].items():
        low, high = gain["low"], gain["high"]
        lines.append(f"R2 of {name}: {gain['value']:+.4f} ({low:+.4f} ... {high:+.4f})")
    for name, one in found["intervals"].items():
        lines.append(
            f"90 % interval of {name}: {100 * one['picp']:.1f} % inside, width "
            f"{one['width']:.3f}, score {one['score']:.3f}; kriged in {one['rounds']} rounds"
        )
    lines.append(f"R2 map: predictions worth {found['effective']:.0f} samples of equal weight")
    lines.append(f"{found['cpu_seconds']:.0f} CPU seconds in all; split {found['split'][:12]}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
