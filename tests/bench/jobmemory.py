"""Measure the memory of a whole job against the size of its raster.

Run from the root of the project::

    python -m tests.bench.jobmemory
    python -m tests.bench.jobmemory --globe

Cubes are synthetic and mostly sea, which is not stored; the network is tiny; the
grids are not shrunk. What is measured is PSS, each shared page counted once, of the
whole process tree (client, scheduler, workers), every 50 ms; the peak counts.
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

from hmx.networks.options import ModelOptions
from tests.bench import measured
from tests.bench.world import GLOBE, make_model, write_world

TINY = ModelOptions(history=2, width=3, trunk=(1, 2), context=(1, 3))
FORECAST = """
from tests.bench.world import make_job
from hmx.forecast.bundle import Bundle
from hmx.engine.options import DaskSection
from hmx.engine.job import run
if __name__ == "__main__":
    job = make_job({cube!r}, Bundle.load({model!r}), {store!r}, h=2, level=[80], tile={tile})
    run(job, DaskSection(workers={workers}))
"""
VERIFY = """
from hmx.engine.verify import verify
if __name__ == "__main__":
    print(verify({store!r}, sample=20))
"""
REPORT = """
from hmx.cube.cube import open_cube
from hmx.engine.options import DaskSection
from hmx.engine.recall import recall
from hmx.products.report import write_report
if __name__ == "__main__":
    found = recall(open_cube({store!r}))
    write_report(found, {page!r}, (), section=DaskSection(workers={workers}))
"""


@dataclass(frozen=True)
class Row:
    """What one piece of work took at its peak."""

    work: str
    shape: tuple[int, int]
    peak_mib: float
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure two sides, and with --globe the global grid; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 32768], metavar="PX")
    parser.add_argument("--land-chunks", type=int, default=16, help="chunks with data, each side")
    parser.add_argument("--globe", action="store_true", help="17,111 x 40,000 px, 30 %% land")
    parser.add_argument("--tile", type=int, default=512, metavar="PX")
    parser.add_argument("--workers", type=int, default=2, help="0: this process")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="hmx-jobmemory-") as folder:
        for side in args.sides:
            land = min(1.0, args.land_chunks / (-(-side // 512)) ** 2)
            rows += measure(Path(folder), (side, side), land, args)
        if args.globe:
            rows += measure(Path(folder), GLOBE, 0.3, args)
    peaks = [row.peak_mib for row in rows if row.work == "forecast" and row.shape != GLOBE]
    growth = peaks[-1] / peaks[0] - 1
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "growth": growth}, indent=2))
    else:
        print(table(rows, growth))
    return 0


def measure(
    folder: Path, shape: tuple[int, int], land: float, args: argparse.Namespace
) -> list[Row]:
    """Forecast, verify and report one cube, in processes of their own."""
    place = folder / f"{shape[0]}x{shape[1]}"
    place.mkdir()
    cube = write_world(place / "cube.zarr", shape, land=land, steps=2)
    model = make_model(place / "model", cube, TINY, h=2)
    words = {"cube": str(cube), "model": str(model.path), "store": str(place / "fc.zarr")}
    words["page"] = str(place / "report.html")
    rows = []
    for work, code in (("forecast", FORECAST), ("verify", VERIFY), ("report", REPORT)):
        text = code.format(**words, tile=args.tile, workers=args.workers or None)
        script = place / f"{work}.py"  # a file: workers that are spawned read it again
        script.write_text(text, encoding="utf-8")
        start = time.perf_counter()
        run = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
        peak = measured.peak_pss(run)
        rows.append(Row(work, shape, peak, time.perf_counter() - start))
    return rows


def table(rows: Sequence[Row], growth: float) -> str:
    """Lay out one line for each piece of work."""
    lines = [f"{'work':10}{'px':>18}{'peak PSS MiB':>14}{'seconds':>9}"]
    for row in rows:
        shape = f"{row.shape[0]:,} x {row.shape[1]:,}"
        lines.append(f"{row.work:10}{shape:>18}{row.peak_mib:>14.0f}{row.seconds:>9.1f}")
    lines.append(f"forecast, peak of the last side over the first: {growth:+.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
