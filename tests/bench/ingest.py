"""Measure the memory and speed of an ingest that is larger than memory.

Run from the root of the project::

    python -m tests.bench.ingest
    python -m tests.bench.ingest --shape 17111 40000 --years 7

Synthetic GeoTIFFs (tiled, deflate) are written to a temporary folder, on one
cell of the globe's 0.009 degree grid, and ingested by a process of its own; its
peak resident memory stands beside the size of the stack and the idle process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from rasterio.windows import Window

from tests.bench import measured

STRIP = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one stack and print its figures; with --json JSON instead."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", type=int, nargs=2, default=[8192, 8192], metavar="PX")
    parser.add_argument("--years", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows, cols = args.shape
    with tempfile.TemporaryDirectory(prefix="hmx-ingest-") as folder:
        catalog = write_stack(Path(folder), (rows, cols), args.years)
        idle = measured.peak_rss("import hmx, torch, rasterio, zarr, dask.array")
        start = time.perf_counter()
        code = "import hmx; from hmx.ingest.ingest import ingest; ingest(hmx.Catalog.load({!r}))"
        peak = measured.peak_rss(code.format(str(catalog)))
        seconds = time.perf_counter() - start
    pixels = rows * cols * args.years
    figures = {
        "shape": args.shape,
        "years": args.years,
        "stack_mib": pixels * 4 / 2**20,
        "idle_mib": idle,
        "peak_mib": peak,
        "seconds": seconds,
        "mpx_per_s": pixels / seconds / 1e6,
    }
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"{args.years} x {rows} x {cols} px, {figures['stack_mib']:,.0f} MiB")
        print(f"peak {peak:,.0f} MiB (idle {idle:,.0f}), {figures['mpx_per_s']:.0f} Mpx/s")
    return 0


def write_stack(folder: Path, shape: tuple[int, int], years: int) -> Path:
    """Write a raster per year and their catalog."""
    steps = [1990 + 5 * index for index in range(years)]
    for year in steps:
        write_raster(folder / f"HM_{year}.tif", shape, year)
    catalog = {
        "cube": {
            "path": "stack.zarr",
            "sources": {
                "hm": {"path": "HM_{year}.tif", "years": steps, "valid_range": [0, 1]},
            },
        }
    }
    (folder / "stack.yaml").write_text(yaml.safe_dump(catalog))
    return folder / "stack.yaml"


def write_raster(path: Path, shape: tuple[int, int], year: int) -> None:
    """Write a ramp with a stripe of nodata, strip by strip."""
    profile = {
        "driver": "GTiff",
        "height": shape[0],
        "width": shape[1],
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:4326",
        "transform": Affine(0.009, 0, -180, 0, -0.009, 77),
        "nodata": -9999.0,
        "tiled": True,
        "blockxsize": STRIP,
        "blockysize": STRIP,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as file:
        for start in range(0, shape[0], STRIP):
            high = min(STRIP, shape[0] - start)
            values = np.full(
                (high, shape[1]), (start % 5000) / 1e4 + (year - 1990) / 100, "float32"
            )
            values[:, : shape[1] // 7] = -9999.0
            file.write(values, 1, window=Window(0, start, shape[1], high))


if __name__ == "__main__":
    sys.exit(main())
