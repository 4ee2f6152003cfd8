"""Measure the whole job of a soil map by the number of samples that its model has learnt from.

Run from the root of the project::

    python -m tests.bench.soilmap
    python -m tests.bench.soilmap --samples 1000 20000 --json

Pixels are those of a real country (``HMX_REAL_DATA``), 75 features each, or synthetic bands with
``--quick``; samples are drawn from them, with a tenth of a standard deviation of noise. Seconds
are those of this process's CPU for a million pixels: the job as ``hmx map`` runs it (read,
scale, network, Gaussian process, forest, intervals, area of applicability, write), the process,
the forest and the area alone, and the area by all distances at once, which is the baseline.
Differences are of dissimilarity.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from hmx.hardware import matrix_threads
from hmx.mapping.api import map_to_zarr
from hmx.mapping.forest import TREES, Forest, fit_forest
from hmx.mapping.process import GaussianProcess
from hmx.networks.options import MapperOptions
from hmx.uncertainty.applicability import Applicability
from tests.bench.densemap import country
from tests.make.mapworlds import make_covariates, make_mapper

_CHUNK = 2048  # rows of all distances at once
_COMPARED = 4096  # pixels of the baseline, one after the other


def main(argv: Sequence[str] | None = None) -> int:
    """Map with models of several numbers of samples; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 4000, 20_000])
    parser.add_argument("--trees", type=int, default=TREES)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.quick:
        args.samples, args.trees = [100, 300], 5
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ds = make_covariates((48, 48)) if args.quick else country()
        with matrix_threads(1):  # threads that wait for each other would count as work
            rows = [measure(ds, count, args) for count in args.samples]
    finally:
        torch.set_num_threads(threads)
    if args.json:
        print(json.dumps({"rows": rows}, indent=2))
        return 0
    print(f"{'samples':>8}{'job':>9}{'process':>9}{'forest':>9}{'area':>9}{'at once':>10}"
          f"{'times':>7}{'off':>10}   CPU s/Mpx")  # fmt: skip
    for row in rows:
        print(f"{row['samples']:>8,}{row['job']:>9.1f}{row['process']:>9.1f}{row['forest']:>9.1f}"
              f"{row['area']:>9.2f}{row['at_once']:>10.2f}{row['times']:>7.1f}"
              f"{row['off']:>10.1e}")  # fmt: skip
    return 0


def measure(ds: xr.Dataset, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Make a model of so many samples, and map with it."""
    plain = MapperOptions()
    model = make_mapper(ds, widths=plain.widths, hidden=plain.hidden, calibrated=True)
    pixels = features_of(ds, model)
    process, forest, area = learnt(pixels, count, args.trees)
    model = replace(
        model,
        spec=replace(model.spec, blend=0.5, regression="both"),
        process=process.arrays(),
        forest=forest.arrays(),
        applicability=area.arrays(),
    )
    with tempfile.TemporaryDirectory(prefix="hmx-soilmap-") as folder:
        cube = str(Path(folder, "cube.zarr"))
        ds.chunk(y=256, x=256).to_zarr(cube, consolidated=False, zarr_format=3)
        saved = model.save(Path(folder, "model"))
        store = Path(folder, "map.zarr")
        job = clock(lambda: map_to_zarr(_opened(cube), store, model=saved, level=[90]))
    mpx = ds.sizes["y"] * ds.sizes["x"] / 1e6
    some = pixels[: min(_COMPARED, len(pixels))]
    found, wanted = area(some), at_once(some, area)
    share = len(pixels) / 1e6
    seconds = {
        "job": job / mpx,
        "process": clock(lambda: process.predict(pixels)) / share,
        "forest": clock(lambda: forest.moments(pixels)) / share,
        "area": clock(lambda: area(pixels)) / share,
        "at_once": clock(lambda: at_once(some, area)) / len(some) * 1e6,
    }
    off = float(np.abs(found - wanted).max())
    times = seconds["at_once"] / seconds["area"]
    return {"samples": count, **seconds, "times": times, "off": off}


def _opened(cube: str) -> xr.Dataset:
    import hmx

    return hmx.open_cube(cube)


def features_of(ds: xr.Dataset, model: Any) -> np.ndarray:
    """Return the features of all whole pixels, float32 (n, f), row by row as a map reads them."""
    names = (*model.spec.dynamic, *model.spec.static)
    steps = model.spec.steps
    planes = [ds[n].values[-steps:] if ds[n].ndim == 3 else ds[n].values[None] for n in names]
    values = np.concatenate(planes).reshape(-1, ds.sizes["y"] * ds.sizes["x"]).T
    values = values[np.isfinite(values).all(axis=1)].astype("float64")
    return ((values - values.mean(axis=0)) / values.std(axis=0)).astype("float32")


def learnt(
    pixels: np.ndarray, count: int, trees: int
) -> tuple[GaussianProcess, Forest, Applicability]:
    """Learn regressions and an area from pixels with noise; two features make the target."""
    draw = np.random.default_rng(0)
    at = draw.choice(len(pixels), count, replace=count > len(pixels))
    x = pixels[at] + 0.1 * draw.normal(size=(count, pixels.shape[1])).astype("float32")
    y = np.tanh(x[:, 0] + 0.3 * x[:, -1]) + 0.5 * draw.normal(size=count)
    weights = draw.exponential(size=x.shape[1])  # few features matter much, as in real models
    area = Applicability.fit(x, np.arange(count) % 5, weights)
    return GaussianProcess.fit(x, y, 0), fit_forest(x, y, 0, trees=trees), area


def at_once(features: np.ndarray, area: Applicability) -> np.ndarray:
    """Compute dissimilarity from all distances, by one product of matrices in float32."""
    z = ((features - area.mean) * area.factor).astype(np.float32)
    squares, found = (area.samples**2).sum(axis=1), np.empty(len(z))
    for at in range(0, len(z), _CHUNK):
        part = z[at : at + _CHUNK]
        which = (part @ (-2 * area.samples.T) + squares).argmin(axis=1)
        apart = part.astype(np.float64) - area.samples[which]
        found[at : at + _CHUNK] = np.sqrt((apart**2).sum(axis=1))
    return found / area.typical


def clock(work: Callable[[], object]) -> float:
    """Return the seconds of CPU that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
