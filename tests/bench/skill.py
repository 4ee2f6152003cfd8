"""Measure the skill of the forecaster on held-out steps, against baselines.

Run from the root of the project::

    python tests/bench/skill.py --data amapa --seeds 3
    python tests/bench/skill.py --baselines-only --json

On `amapa` (5-yearly 1985-2015) all forecasters learn from steps up to 2005 and
forecast 2010 and 2015; on `demo` they learn up to 2010 and forecast 2015 and
2020. Real data is found through the variable HMX_REAL_DATA, by default
``../shared/data`` from the root; the demo rasters come from
``python data/make_demo.py``. The model runs with hmx's defaults: change one
with ``--train epochs=5``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import rioxarray
import xarray as xr
from numpy.typing import NDArray

from hmx.evaluate.baselines import damped_trend, fit_ridge, linear_trend, persistence
from hmx.metrics import Score, skill

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data")
LEADS = (1, 2)
STEP = 5
RANGE = (0.0, 1.0)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Case:
    """Name a series of rasters and the last year that may be learned from."""

    folder: Path
    years: tuple[int, ...]
    origin: int


@dataclass(frozen=True)
class Row:
    """Hold what one forecaster reached: one tuple of scores (lead,) per seed."""

    name: str
    runs: tuple[tuple[Score, ...], ...]
    seconds: tuple[float, ...] = ()


CASES = {
    "amapa": Case(REAL / "amapa", tuple(range(1985, 2016, STEP)), 2005),
    "demo": Case(ROOT / "data" / "demo", tuple(range(1990, 2021, STEP)), 2010),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Score all forecasters and print one table; with --json also JSON."""
    args = parse(argv)
    ds = load(CASES[args.data])
    origin = CASES[args.data].origin
    rows = baseline_rows(ds, origin)
    if not args.baselines_only:
        rows = [model_row(ds, origin, args.seeds, dict(args.train)), *rows]
    print(table(args.data, rows), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(report(args, rows), indent=2))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", choices=sorted(CASES), default="amapa")
    parser.add_argument("--seeds", type=int, default=3, help="how many models to train")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, table on stderr")
    parser.add_argument("--baselines-only", action="store_true", help="train no model")
    parser.add_argument(
        "--train",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="keyword of train(), repeatable, for example --train epochs=5",
    )
    return parser.parse_args(argv)


def setting(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; the value is a Python literal or else plain text."""
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE. Try --train epochs=5.")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def load(case: Case) -> xr.Dataset:
    """Read the rasters of a case into a cube in memory."""
    if not (case.folder / "elevation.tif").exists():
        raise SystemExit(
            f"no rasters in {case.folder}. Set HMX_REAL_DATA to the folder that holds amapa/, "
            "or run: python data/make_demo.py"
        )
    layers = [raster(case.folder / f"HM_{year}.tif") for year in case.years]
    when = np.array([f"{year}-01-01" for year in case.years], dtype="datetime64[ns]")
    hm = xr.concat(layers, xr.DataArray(when, dims="time", name="time")).rename("hm")
    ds = xr.Dataset({"hm": hm, "elevation": raster(case.folder / "elevation.tif")})
    ds["hm"].attrs = {"valid_range": list(RANGE)}
    placed: xr.Dataset = ds.rio.write_crs(layers[0].rio.crs)
    return placed


def raster(path: Path) -> xr.DataArray:
    """Read one band as float32 (y, x), NaN where the file has no data."""
    opened = rioxarray.open_rasterio(path, masked=True)
    assert isinstance(opened, xr.DataArray)  # a GeoTIFF without subdatasets
    layer = opened.squeeze("band", drop=True).astype("float32").load()
    layer.attrs.clear()
    layer.encoding.clear()
    return layer


def baseline_rows(ds: xr.Dataset, origin: int) -> list[Row]:
    """Score every baseline at each lead."""
    truth = future(ds, origin).values
    made = baselines(ds.sel(time=slice(None, str(origin))))
    return [Row(name, (score(truth, forecast),)) for name, forecast in made.items()]


def baselines(past: xr.Dataset) -> dict[str, Floats]:
    """Forecast (lead, y, x) with every baseline, from the past alone."""
    history, static = past["hm"].values, past["elevation"].values[None]
    ridge = fit_ridge(history, range(2, len(history) - 1), leads=LEADS, static=static)
    limits: Mapping[str, Any] = {"valid_range": RANGE}
    return {
        "persistence": persistence(history, LEADS, **limits),
        "linear trend": linear_trend(history, LEADS, **limits),
        "damped trend": damped_trend(history, LEADS, **limits),
        "damped trend, phi -1..1": damped_trend(history, LEADS, damping=(-1, 1), **limits),
        "ridge on neighbourhoods": ridge.predict(history, LEADS, static=static, **limits),
    }


def model_row(ds: xr.Dataset, origin: int, seeds: int, options: Mapping[str, Any]) -> Row:
    """Train one model per seed on the past and score its forecast."""
    import hmx  # noqa: F401  # registers .hm; here so that baselines run without it

    past, truth = ds.sel(time=slice(None, str(origin))), future(ds, origin)
    runs, seconds = [], []
    for seed in range(seeds):
        start = time.perf_counter()
        model = past.hm.train(target="hm", static=["elevation"], seed=seed, **options)
        seconds.append(time.perf_counter() - start)
        fc = past.hm.forecast(h=len(LEADS), model=model)
        steps = fc["hm"].sel(time=truth.time).transpose("time", "y", "x")
        runs.append(score(truth.values, steps.values))
    return Row("model", tuple(runs), tuple(seconds))


def future(ds: xr.Dataset, origin: int) -> xr.DataArray:
    """Take the true steps at the leads, (time, y, x)."""
    return ds["hm"].sel(time=[f"{origin + STEP * lead}-01-01" for lead in LEADS])


def score(truth: Floats, forecast: Floats) -> tuple[Score, ...]:
    """Score each lead of a forecast (lead, y, x)."""
    return tuple(Score.of(t, f) for t, f in zip(truth, forecast, strict=True))


def figures(row: Row, reference: Row) -> dict[str, Any]:
    """Finish the figures of a row: one list over seeds per figure and lead."""
    against = reference.runs[0]
    return {
        "name": row.name,
        "pixels": [state.count for state in row.runs[0]],
        "rmse": [[run[k].rmse for run in row.runs] for k in range(len(LEADS))],
        "mae": [[run[k].mae for run in row.runs] for k in range(len(LEADS))],
        "bias": [[run[k].bias for run in row.runs] for k in range(len(LEADS))],
        "skill": [[skill(run[k], against[k]) for run in row.runs] for k in range(len(LEADS))],
        "train_seconds": list(row.seconds),
    }


def report(args: argparse.Namespace, rows: Sequence[Row]) -> dict[str, Any]:
    """Gather all figures; lists run over leads, then over seeds."""
    reference = next(row for row in rows if row.name == "persistence")
    return {
        "data": args.data,
        "origin": CASES[args.data].origin,
        "lead_years": [STEP * lead for lead in LEADS],
        "train": dict(args.train),
        "rows": [figures(row, reference) for row in rows],
    }


def table(data: str, rows: Sequence[Row]) -> str:
    """Lay out RMSE and RMSE skill against persistence, mean +- sd over seeds."""
    reference = next(row for row in rows if row.name == "persistence")
    leads = [f"+{STEP * lead} y" for lead in LEADS]
    heads = [f"{what} {lead}" for what in ("RMSE", "skill") for lead in leads]
    title = f"{data}: learned up to {CASES[data].origin}; skill is 1 - RMSE / RMSE of persistence"
    lines = [title, "", f"{'':26}" + "".join(f"{head:>19}" for head in heads)]
    for row in rows:
        found = figures(row, reference)
        cells = [spread(v, 5) for v in found["rmse"]] + [spread(v, 4) for v in found["skill"]]
        trained = ", ".join(f"{s:.0f}" for s in row.seconds)
        note = f"   trained in {trained} s" if trained else ""
        lines.append(f"{row.name:26}" + "".join(f"{cell:>19}" for cell in cells) + note)
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Write a mean, and +- the standard deviation when there are several."""
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} +-{pstdev(values):.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
