"""Measure whether the memory of a lazy forecast grows with the raster.

Run from the root of the project::

    python -m tests.bench.memory
    python -m tests.bench.memory --sides 1024 2048 8192 --json

For each side a synthetic cube is written to disk, and a process of its own
opens it, forecasts it lazily with a tiny model and writes the result with a plain
``to_zarr``. What counts is the peak resident memory of that process, beside that
of a process that only imports and opens; the first side is the baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from hmx.networks.options import ModelOptions
from tests.bench import measured
from tests.make.cubes import make_bundle, make_cube, times

TINY = ModelOptions(history=2, width=3, trunk=(1, 2), context=(1, 3))


@dataclass(frozen=True)
class Row:
    """What one side cost: MiB at the peak, over an idle process, and seconds."""

    side: int
    peak_mib: float
    over_idle_mib: float
    seconds: float
    kpx_per_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every side and print one table; with --json JSON instead."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 8192], metavar="PX")
    parser.add_argument("--tile", type=int, default=512, metavar="PX")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hmx-memory-") as folder:
        rows = [measure(Path(folder), side, tile=args.tile) for side in args.sides]
    growth = rows[-1].peak_mib / rows[0].peak_mib - 1
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "growth": growth}, indent=2))
    else:
        print(table(rows, growth))
    return 0


def measure(folder: Path, side: int, *, tile: int) -> Row:
    """Write a cube, then forecast it and idle in processes of their own."""
    store, model = folder / f"{side}.zarr", folder / "model"
    write_cube(store, side)
    if not model.exists():
        make_bundle(make_cube(), TINY).save(model)
    idle = peak_of(IDLE, store, model, tile)
    start = time.perf_counter()
    peak = peak_of(WORK, store, model, tile)
    seconds = time.perf_counter() - start
    return Row(side, peak, peak - idle, seconds, side * side / seconds / 1e3)


def write_cube(store: Path, side: int) -> None:
    """Write two steps and an elevation, chunk by chunk."""
    chunks = (2, 512, 512)
    hm = da.random.default_rng(0).random((2, side, side), chunks=chunks, dtype="float32")
    ds = xr.Dataset(
        {
            "hm": (("time", "y", "x"), da.round(hm, 2), {"valid_range": [0.0, 1.0]}),
            "elevation": (("y", "x"), da.ones((side, side), chunks=chunks[1:], dtype="float32")),
        },
        {
            "time": times(steps=2),
            "y": 6e6 - 300.0 * (np.arange(side) + 0.5),
            "x": 5e5 + 300.0 * (np.arange(side) + 0.5),
        },
    )
    ds.rio.write_crs("EPSG:32632").to_zarr(store, consolidated=False, zarr_format=3)


IDLE = "ds = hmx.open_cube({store!r}); hmx.load({model!r}); import torch"
WORK = (
    "ds = hmx.open_cube({store!r}); "
    "fc = ds.hm.forecast(h=2, model={model!r}, tile={tile}); "
    "fc.to_zarr({store!r} + '.forecast', consolidated=False)"
)


def peak_of(code: str, store: Path, model: Path, tile: int) -> float:
    """Run one of the pieces of code above on a store; return its peak, MiB."""
    return measured.peak_rss(
        "import hmx; " + code.format(store=str(store), model=str(model), tile=tile)
    )


def table(rows: Sequence[Row], growth: float) -> str:
    """Lay out one line for each side."""
    lines = [f"{'side px':>8}{'peak MiB':>10}{'over idle':>11}{'seconds':>9}{'kpx/s':>8}"]
    for row in rows:
        figures = f"{row.side:>8}{row.peak_mib:>10.0f}{row.over_idle_mib:>11.0f}"
        lines.append(f"{figures}{row.seconds:>9.1f}{row.kpx_per_s:>8.0f}")
    lines.append(f"peak of the last side over the first: {growth:+.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
