"""The map job of a real country as its user types it, on sites that the model has never seen.

Run from the root of the project (needs ``HMX_REAL_DATA``)::

    python -m tests.bench.soilcli
    python -m tests.bench.soilcli --static
    python -m tests.bench.soilcli --static --all --set train.runs=1

Sites (pixels) of North Macedonia are dealt at random; a fifth is held out. ``hmx train`` learns
from the others, ``hmx predict`` predicts the table of those held out, and both tables are joined
by their ids: R2 of log(1 + soil carbon) and of the native values, coverage and width of the 90 %
interval, beside a forest of the same samples in the same run. ``--static`` derives means of the
months first, and starts with ``hmx init`` of the folder of GeoTIFFs; ``--all`` adds the commands
plan, map, stock, evaluate, report and export, and prints what each costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import yaml
from rasterio.transform import rowcol

from hmx.cube.bands import as_bands
from hmx.cube.cube import open_cube
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import centre, fit_band_scaler, gather, scaled
from hmx.networks.options import MapperOptions
from hmx.points.joining import join
from hmx.points.table import read_points
from hmx.scores import interval_scores, regression_scores
from tests.bench.soil import BANDS, STATIC, real_data, spec_of

LEVEL = 90
MORE = {
    "plan": [],
    "map": ["--level", str(LEVEL), "--estimate", "mean"],
    "stock": ["--bulk-density", "1.3", "--bottom", "30", "--set", "map.estimate=mean",
              "--set", f"map.level=[{LEVEL}]"],
    "evaluate": [],
    "report": ["--set", "map.estimate=mean", "--set", f"map.level=[{LEVEL}]"],
    "export": [],
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Train, predict and score; print the figures or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--static", action="store_true", help="means of the months, by hmx init")
    parser.add_argument("--all", action="store_true", help="all other commands too")
    parser.add_argument("--share", type=float, default=0.2, help="of the sites, held out")
    parser.add_argument("--seed", type=int, default=0, help="of the sites")
    parser.add_argument("--every", type=int, default=1, help="keep every n-th row of the table")
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="as of hmx")
    parser.add_argument("--folder", type=Path, help="where files stay; default: nowhere")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
        found = study(args, args.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="hmx-soilcli-") as folder:
            found = study(args, Path(folder))
    print(json.dumps(found) if args.json else text(found))
    return 0


def study(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the commands, and score the predictions."""
    data = real_data()
    land = folder / "land"
    land.mkdir(exist_ok=True)
    known, hidden = dealt(data, args)
    known.to_csv(land / "points.csv", index=False)
    hidden.drop(columns="soc").to_csv(folder / "heldout.csv", index=False)
    seconds: dict[str, float] = {}
    if args.static:
        means_of_months(data, land)
        catalog = folder / "land.yaml"
        seconds["init"] = hmx("init", str(land), "--output", str(catalog), "--overwrite")
        raw = yaml.safe_load(catalog.read_text())
    else:
        raw = monthly(data, land, folder)
        catalog = folder / "soil.yaml"
        catalog.write_text(yaml.safe_dump(raw))
    more = ["--set", "points.units='%'", *(word for one in args.set for word in ("--set", one))]
    seconds["train"] = hmx("train", str(catalog), *more)
    asked = ["--points", str(folder / "heldout.csv"), "--level", str(LEVEL)]
    output = folder / "predictions.csv"
    seconds["predict"] = hmx("predict", str(catalog), *more, *asked, "--output", str(output))
    for command, words in MORE.items() if args.all else ():
        seconds[command] = hmx(command, str(catalog), *more, *words)
    cube = (catalog.parent / raw["cube"]["path"]).resolve()
    rows = {"hmx": scored(hidden, output), "forest": forest(str(cube), known, hidden)}
    return {"trained": len(known), "rows": rows, "cpu_seconds": seconds}


def hmx(*words: str) -> float:
    """Run a command, and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("$ hmx", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "hmx", *words], check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def dealt(data: Path, args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Deal the sites of the table, which are pixels of a raster: trained on, and held out."""
    table = pd.read_csv(data / "points.csv").iloc[:: args.every]
    with rasterio.open(data / "elevation.tif") as raster:
        row, column = map(np.asarray, rowcol(raster.transform, table["lon"], table["lat"]))
        site = np.unique(row * raster.width + column, return_inverse=True)[1]
    held = np.random.default_rng(args.seed).random(site.max() + 1) < args.share
    return table[~held[site]], table[held[site]]


def means_of_months(data: Path, land: Path) -> None:
    """Write the mean of the twelve months of each band, and the other bands, as GeoTIFFs."""
    for name in (*BANDS, *STATIC):
        files = [data / f"{name}.tif"]
        if name in BANDS:
            files = [data / f"{name}_{month:02d}.tif" for month in range(1, 13)]
        planes = []
        for file in files:
            with rasterio.open(file) as raster:
                planes.append(raster.read(1, masked=True).astype("float32").filled(np.nan))
                profile = raster.profile
        profile |= {"dtype": "float32", "nodata": float("nan"), "driver": "GTiff"}
        known = np.isfinite(planes).sum(axis=0)
        total = np.nansum(planes, axis=0)
        with rasterio.open(land / f"{name.lower()}.tif", "w", **profile) as raster:
            mean = np.where(known, total / np.maximum(known, 1), np.nan)
            raster.write(mean.astype("float32"), 1)


def monthly(data: Path, land: Path, folder: Path) -> dict[str, Any]:
    """Return the catalog of the months, as ``tests.bench.soil`` reads them."""
    months = {"start": 1, "stop": 12}
    sources: dict[str, Any] = {
        name: {"path": f"{data}/{name}_{{month}}.tif", "months": months} for name in BANDS
    }
    sources |= {name: {"path": f"{data}/{name}.tif"} for name in STATIC}
    points = {"path": str(land / "points.csv"), "target": "soc", "crs": "EPSG:4326"}
    cube = {"path": str(folder / "soil.zarr"), "sources": sources}
    return {"hmx": 1, "name": "soil", "points": points, "cube": cube}


def scored(hidden: pd.DataFrame, output: Path) -> dict[str, float]:
    """Score a table of predictions by the ids of its rows."""
    both = hidden[["id", "soc"]].merge(pd.read_csv(output), on="id", suffixes=("_true", ""))
    assert len(both) == len(hidden), "each held-out row has one prediction"
    known = both.dropna(subset=["soc"])
    bounds = [np.log1p(known[f"soc_{end}_{LEVEL}"].to_numpy()) for end in ("lo", "hi")]
    truth = np.log1p(known["soc_true"].to_numpy())
    intervals = interval_scores(truth, *bounds, level=LEVEL)
    native = regression_scores(known["soc_true"].to_numpy(), known["soc"].to_numpy())
    return {
        "samples": len(known),
        **figures(truth, np.log1p(known["soc"].to_numpy())),
        "native_r2": native["r2"],
        "coverage": intervals["picp"],
        "interval_score": intervals["score"],
    }


def figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the scores of log(1 + soil carbon)."""
    found = regression_scores(truth, predicted)
    return {name: float(found[name]) for name in ("r2", "rmse", "ccc", "bias")}


def forest(cube: str, known: pd.DataFrame, hidden: pd.DataFrame) -> dict[str, float]:
    """Score a forest on the pixels of the samples."""
    bands = as_bands(open_cube(cube))
    spec = spec_of(bands, MapperOptions())
    read = [read_points(t, target="soc", crs="EPSG:4326", units="%") for t in (known, hidden)]
    samples = [join(one, bands)[0] for one in read]
    raws = [gather(bands, one, spec) for one in samples]
    scaler = fit_band_scaler(raws[0], np.arange(len(samples[0])), spec)
    x, other = (centre(scaled(raw, spec, scaler)) for raw in raws)
    truth = [np.log1p(one.value) for one in samples]
    predicted = fit_forest(x, truth[0], 0, trees=100).predict(other)
    native = regression_scores(samples[1].value, np.expm1(predicted))
    return {
        "samples": len(truth[1]),
        **figures(truth[1], predicted),
        "native_r2": float(native["r2"]),
    }


def text(found: dict[str, Any]) -> str:
    """Write the figures."""
    names = ("samples", "r2", "rmse", "ccc", "bias", "native_r2", "coverage", "interval_score")
    lines = [f"trained on {found['trained']:,} samples"]
    lines.append(f"{'':8}" + "".join(f"{name:>15}" for name in names))
    for row, figures_of in found["rows"].items():
        cells = [f"{figures_of['samples']:>15,}"]
        cells += [f"{figures_of.get(name, np.nan):>15.3f}" for name in names[1:]]
        lines.append(f"{row:8}" + "".join(cells))
    seconds = (f"{command} {value:.0f}" for command, value in found["cpu_seconds"].items())
    lines.append(f"CPU seconds: {', '.join(seconds)}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
