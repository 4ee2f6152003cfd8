"""Measure the memory of a map's job against the size of its raster.

Run from the root of the project::

    python -m tests.bench.mapmemory
    python -m tests.bench.mapmemory --sides 512 4096

Bands are synthetic and everywhere; the network is small, with a forest, intervals and an
area of applicability beside it, as users have them. What is measured is PSS of the whole
process tree, every 50 ms; the peak counts.
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

from tests.bench import measured
from tests.make.mapworlds import make_covariates, make_mapper

MAP = """
import hmx
if __name__ == "__main__":
    ds = hmx.open_cube({cube!r})
    ds.soc.map_to_zarr({store!r}, model={model!r}, level=[90], tile=256, chunk=256)
"""


@dataclass(frozen=True)
class Row:
    """What the map of one raster took."""

    side: int
    peak_mib: float
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all sides; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048], metavar="PX")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hmx-mapmemory-") as folder:
        rows = [measure(Path(folder), side) for side in args.sides]
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
        return 0
    print(f"{'side px':>8}{'peak PSS MiB':>14}{'seconds':>9}")
    for row in rows:
        print(f"{row.side:>8}{row.peak_mib:>14.0f}{row.seconds:>9.1f}")
    return 0


def measure(folder: Path, side: int) -> Row:
    """Map one cube in a process of its own."""
    place = folder / str(side)
    place.mkdir()
    ds = make_covariates((side, side))
    model = make_mapper(ds, forest=True, calibrated=True, near=True).save(place / "model")
    cube = place / "cube.zarr"
    ds.chunk(y=256, x=256).to_zarr(cube, consolidated=False, zarr_format=3)
    words = {"cube": str(cube), "model": str(model.path), "store": str(place / "map.zarr")}
    start = time.perf_counter()
    peak = measured.peak_pss(MAP.format(**words))
    return Row(side, peak, time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
