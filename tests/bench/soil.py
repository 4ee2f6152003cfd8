"""Measure the skill of the map job on real samples of soil carbon: the scorecard of the product.

Run from the root of the project::

    python -m tests.bench.soil
    python -m tests.bench.soil --seed 1 --out build/soil_scorecard
    python -m tests.bench.soil --card build/soil_scorecard

Samples and covariates of North Macedonia (found through HMX_REAL_DATA, by default
``../shared/data`` from the root): twelve months of surface temperature by day and night,
near and middle infrared, precipitation and cloud; elevation, slope and wetness index.
Every row is predicted out of fold by ``ds.soc.evaluate``, which ``hmx evaluate`` calls too, with
the options of the product: blocks of 20 km and folds by site, scored over all folds at once on the
logarithm of 1 + soil carbon. ``--out`` keeps all fits and the scorecard, so a run that was stopped
goes on; ``--card`` reads a scorecard that was made before, also one of ``hmx evaluate``.

``network`` is the mean of the scores of single networks, ``blend`` the product's estimate.
``with forest`` and ``with process`` are half networks and half of one regression, from the same
fits and without kriging. ``R2 map`` pools both foldings, weighted to the distances and landscapes
of the map. Below each table: by how much R2 differs between rows, with a 95 % interval from drawing
whole blocks; and the 90 % interval of the blend, learnt from the other folds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmx.catalog import MapCatalog
from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import open_cube
from hmx.ingest.ingest import ingest
from hmx.mapping.api import setup_of
from hmx.mapping.evaluate.rounds import BLEND, PLAIN, Blend
from hmx.mapping.evaluate.score import score
from hmx.mapping.evaluate.scorecard import ENSEMBLE, MapScorecard
from hmx.mapping.evaluate.weighting import WEIGHTED
from hmx.mapping.options import MapScoreOptions, Regression
from hmx.mapping.spec import MapSpec
from hmx.networks.options import MapperOptions
from hmx.points.joining import join
from hmx.points.samples import Samples
from hmx.points.table import read_points
from hmx.progress import Progress
from hmx.scores import paired_bootstrap, regression_scores
from hmx.settings import parse
from tests.bench.settings import setting

ROOT = Path(__file__).resolve().parents[2]
BANDS = ("LST_DAY", "LST_NIGHT", "NIR", "MIR", "PRECIP", "CLOUD")
STATIC = ("elevation", "slope", "twi")
BLENDS: dict[str, Regression] = {"with forest": "forest", "with process": "gaussian_process"}
FIGURES = ("r2", "rmse", "ccc", "rpiq", "bias")
LEVEL = 90
Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Score all rows and print the tables; with --json also JSON."""
    args = arguments(argv)
    clock = time.process_time()
    if args.card is not None:
        card = MapScorecard.load(str(args.card))
    else:
        with tempfile.TemporaryDirectory(prefix="hmx-soil-") as folder:
            card = scored(args, Path(folder))
    found = study(card) | {"cpu_seconds": time.process_time() - clock}
    print(text(found), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(found))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of folds and fits")
    parser.add_argument("--every", type=int, default=1, help="keep every n-th row of the table")
    parser.add_argument("--beside", nargs="*", default=["random"], help="foldings beside blocks")
    parser.add_argument("--split", type=setting, action="append", default=[], metavar="K=V")
    parser.add_argument("--option", type=setting, action="append", default=[], metavar="K=V",
                        help="of network and fit")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of fits and scorecard, kept")
    parser.add_argument("--card", type=Path, help="a scorecard that was made before")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def scored(args: argparse.Namespace, folder: Path) -> MapScorecard:
    """Score as ``ds.soc.evaluate`` and ``hmx evaluate`` do."""
    macedonia(real_data(), folder)
    table = pd.read_csv(real_data() / "points.csv").iloc[:: args.every]
    plain = {"target": "soc", "crs": "EPSG:4326", "units": "%", "device": "cpu"}
    options = {**plain, "seed": args.seed, "split": dict(args.split), **dict(args.option)}
    return score(
        open_cube(str(folder / "soil.zarr")),
        table,
        setup_of(options, dynamic=None, static=None),
        parse(MapScoreOptions, {"beside": args.beside}),
        out=args.out,
        progress=Progress(on_note=lambda line: print(line, file=sys.stderr, flush=True)),
    )


def real_data() -> Path:
    """Find the folder of the samples and covariates."""
    return Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data") / "macedonia"


def macedonia(data: Path, folder: Path) -> Bands:
    """Make a cube of the covariates, ``soil.zarr``."""
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
    """Join the points to the cube, and print what did not become a sample."""
    points = read_points(data / "points.csv", target="soc", crs="EPSG:4326", units="%")
    samples, report = join(points, bands)
    print(report, file=sys.stderr)
    return samples


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
        regression="both",
    )


def study(card: MapScorecard) -> Facts:
    """Return the figures of a scorecard, and of the blends of one regression, by folding."""
    splits = {split: of_split(card, split) for split in card.splits}
    for rows in splits.values():
        for row in rows["rows"]:
            row["r2_map"] = card.value("r2", row["name"], split=WEIGHTED)
    known = {name: card.value(f"{name}_{LEVEL}", BLEND) for name in ("picp", "width", "score")}
    effective = card.value("n_effective", split=WEIGHTED)
    digest = {name: one.folds.digest for name, one in card.splits.items()}
    return {"samples": len(card.truth), "splits": splits, "interval": known,
            "kriged": card.facts.get("blend kriged in"), "effective": effective,
            "digest": digest}  # fmt: skip


def of_split(card: MapScorecard, split: str) -> Facts:
    """Score the rows of one folding, and pairs of them."""
    own, names = card.splits[split], ("r2_sd", *FIGURES)
    rows = [
        {"name": name, **{key: card.value(key, name, split=split) for key in names}}
        for name in card.forecasters
    ]
    centers = {name: card.center(name, split) for name in card.forecasters}
    for name, regression in BLENDS.items():
        centers[name] = Blend(regression=regression).of(own.estimates).center
        rows.append({"name": name, **regression_scores(own.truth, centers[name])})
    plain = PLAIN if PLAIN in centers else BLEND
    pairs = [(BLEND, name) for name in ("forest", "gaussian_process", f"network{ENSEMBLE}")]
    pairs += [(plain, name) for name in BLENDS] + [(BLEND, PLAIN)] * (PLAIN in centers)
    gains = {
        f"{one} - {other}": vars(
            paired_bootstrap(own.truth, centers[one], centers[other], own.folds.group)
        )
        for one, other in pairs
    }
    return {"rows": rows, "gains": gains}


def text(found: Mapping[str, Any]) -> str:
    """Write the tables."""
    lines = [f"{found['samples']:,} samples, log(1 + soil carbon), out of fold"]
    for split, one in found["splits"].items():
        lines += ["", f"{split:23}" + "".join(f"{n:>8}" for n in ("R2", "RMSE", "CCC", "RPIQ"))
                  + f"{'bias':>9}{'R2 map':>8}"]  # fmt: skip
        for row in one["rows"]:
            figures = "".join(f"{row[name]:8.3f}" for name in FIGURES[:-1])
            weighted = f"{row['r2_map']:8.3f}" if np.isfinite(row["r2_map"]) else ""
            lines.append(f"{row['name']:23}{figures}{row['bias']:+9.4f}{weighted}")
        for name, gain in one["gains"].items():
            low, high = gain["low"], gain["high"]
            lines.append(f"R2 of {name}: {gain['value']:+.4f} ({low:+.4f} ... {high:+.4f})")
        lines.append(f"folds {found['digest'][split][:12]}")
    inside, width, score_of = (found["interval"][name] for name in ("picp", "width", "score"))
    lines += ["", f"90 % interval of the blend on {next(iter(found['splits']))}: "
              f"{100 * inside:.1f} % inside, width {width:.3f}, score {score_of:.3f}",
              f"kriged {found['kriged']}",
              f"R2 map: predictions worth {found['effective']:.0f} samples of equal weight",
              f"{found['cpu_seconds']:.0f} CPU seconds in all"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
