"""Measure the memory and time of a backtest against the size of its raster.

Run from the root of the project::

    python -m tests.bench.backtest
    python -m tests.bench.backtest --globe

Cubes are synthetic and mostly sea, which is not stored; the network is tiny; the
grids are not shrunk. A model that has seen two of four steps is scored at two leads
beside persistence and trends, with skill maps. What is measured is PSS of the whole
process tree, every 50 ms; the peak counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hmx.networks.options import ModelOptions
from tests.bench import measured
from tests.bench.world import GLOBE, make_model, write_world

TINY = ModelOptions(history=2, width=4, trunk=(1,), context=(3,))
SCRIPT = """
from hmx.forecast.bundle import Bundle
from hmx.cube.cube import open_cube
from hmx.forecast.backtest.backtest import backtest
from hmx.progress import Progress
if __name__ == "__main__":
    backtest(open_cube({cube!r}), 2, model=Bundle.load({model!r}), out={out!r}, workers={workers},
             baselines={baselines!r}, progress=Progress.console())
"""


@dataclass(frozen=True)
class Row:
    """What the backtest of one raster took."""

    shape: tuple[int, int]
    land: float
    peak_mib: float
    seconds: float
    scored: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure sides, and with --globe the global grid; print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 8192], metavar="PX")
    parser.add_argument("--land-chunks", type=int, default=16, help="chunks with data, each side")
    parser.add_argument("--globe", action="store_true", help="17,111 x 40,000 px, 30 %% land")
    parser.add_argument("--land", type=float, default=0.3, help="share of land of the globe")
    parser.add_argument("--workers", type=int, default=2, help="0: this process")
    parser.add_argument("--baselines", nargs="+", default=["linear trend", "damped trend"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory(prefix="hmx-backtest-") as folder:
        for side in args.sides:
            land = min(1.0, args.land_chunks / (-(-side // 512)) ** 2)
            rows.append(measure(Path(folder), (side, side), land, args))
        if args.globe:
            rows.append(measure(Path(folder), GLOBE, args.land, args))
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(table(rows))
    return 0


def measure(folder: Path, shape: tuple[int, int], land: float, args: argparse.Namespace) -> Row:
    """Score one cube in a process of its own, with workers."""
    place = folder / f"{shape[0]}x{shape[1]}"
    place.mkdir()
    cube = write_world(place / "cube.zarr", shape, land=land, steps=4)
    model = make_model(place / "model", cube, TINY, h=2)
    replace(model, training={"fit": {"until": 1995}, "seed": 0}).save(place / "model")
    words = {"cube": str(cube), "model": str(place / "model"), "out": str(place / "scores")}
    script = place / "backtest.py"  # a file: workers that are spawned read it again
    text = SCRIPT.format(**words, workers=args.workers or None, baselines=args.baselines)
    script.write_text(text, encoding="utf-8")
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    start = time.perf_counter()
    peak = measured.peak_pss(code)
    took = time.perf_counter() - start
    card = json.loads((place / "scores" / "scorecard.json").read_text(encoding="utf-8"))
    counts = [
        cell["score"]["count"]
        for tally in card["tallies"].values()
        for cell in tally["cells"]
        if (cell["forecaster"], cell["stratum"]) == ("model", "all")
    ]
    return Row(shape, land, peak, took, sum(counts))


def table(rows: Sequence[Row]) -> str:
    """Lay out one line for each raster."""
    lines = [
        f"{'px':>18}{'land':>7}{'scored px':>16}{'peak PSS MiB':>14}{'seconds':>9}{'kpx/s':>8}"
    ]
    for row in rows:
        shape = f"{row.shape[0]:,} x {row.shape[1]:,}"
        lines.append(
            f"{shape:>18}{row.land:>7.0%}{row.scored:>16,}{row.peak_mib:>14.0f}"
            f"{row.seconds:>9.1f}{row.scored / row.seconds / 1e3:>8.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
