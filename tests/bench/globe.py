"""Estimate a forecast of the global 1 km grid on two CPU cores, from rates measured in this run.

Run from the root of the project::

    python -m tests.bench.globe
    python -m tests.bench.globe --side 2048 --precision bfloat16 --json

Two jobs run as ``hmx forecast`` runs them, with two workers, the default network, four leads and
two intervals: one on land alone, one with as much land in a corner of four times the pixels. The
CPU seconds of all processes give the cost of a land tile (read, compute, settle, write, seal) and
of a sea tile; a job of one tile gives what starting takes. How many tiles of the globe have land
is counted on a synthetic earth: a random field that is rough as coasts are, cut where 27 % of it
is land. A tile of the coast is computed whole, so it costs what a land tile costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from hmx.engine.job import run
from hmx.engine.options import DaskSection
from hmx.networks.options import ModelOptions
from tests.bench.world import GLOBE, make_job, make_model, write_world

LAND_PX = 184.6e6  # of the global human modification forecasts
COARSE = 16  # px of the globe in a cell of the synthetic earth, each way
ROUGH = 1.8  # slope of its amplitude over the wave number: coasts of a fractal dimension of 1.2
CORES = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, count, and print the estimate or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=2048, help="of the land, px")
    parser.add_argument("--tile", type=int, help="px; default: as hmx chooses")
    parser.add_argument("--h", type=int, default=4)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=CORES, help="0: this process")
    parser.add_argument("--width", type=int, help="of the network; default: its own")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hmx-globe-") as folder:
        found = estimate(Path(folder), args)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(
        f"tiles of {found['tile']} px in {found['precision']}, CPU s: land {found['land_s']:.2f}, "
        f"sea {found['sea_s']:.4f}, start {found['start_s']:.1f}; "
        f"{found['kpx_per_s']:.0f} kpx/s on {CORES} cores\n"
        f"globe: {found['land_tiles']:,} of {found['tiles']:,} tiles have land, "
        f"{found['land_px'] / 1e6:.0f} M of their {found['computed_px'] / 1e6:.0f} M px\n"
        f"estimate on {CORES} cores: {found['minutes']:.1f} min"
    )
    return 0


def estimate(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run the jobs and add up what the globe takes."""
    side = args.side
    land = write_world(folder / "land.zarr", (side, side))
    mixed = in_a_corner(folder / "mixed.zarr", land, side)
    model = make_model(folder / "model", land, options_of(args), h=args.h)
    jobs = {
        "land": make_job(land, model, folder / "land-fc.zarr", **wanted(args)),
        "mixed": make_job(mixed, model, folder / "mixed-fc.zarr", **wanted(args)),
    }
    order = jobs["land"].run
    tile = order.output_tiles.tile[0]
    one = write_world(folder / "one.zarr", (tile, tile))
    jobs["one"] = make_job(one, model, folder / "one-fc.zarr", **wanted(args, tile))
    seconds, walls = {}, {}
    for name, job in jobs.items():
        before, start = cpu(), time.perf_counter()
        run(job, DaskSection(workers=args.workers or None))
        seconds[name], walls[name] = cpu() - before, time.perf_counter() - start
    counts = {name: (-(-size // tile)) ** 2 for name, size in (("land", side), ("mixed", 2 * side))}
    each = max(0.0, seconds["land"] - seconds["one"]) / max(1, counts["land"] - 1)
    sea = (seconds["mixed"] - seconds["land"]) / (counts["mixed"] - counts["land"])
    sea, start_s = max(0.0, sea), max(0.0, seconds["one"] - each)
    with_land, tiles = tiles_of_the_globe(tile)
    total = start_s + with_land * each + (tiles - with_land) * sea
    return {
        "tile": tile,
        "precision": order.request.precision,
        "land_s": each,
        "sea_s": sea,
        "start_s": start_s,
        "wall_s": walls,
        "kpx_per_s": tile**2 / max(each, 1e-9) / 1e3 * CORES,
        "land_tiles": with_land,
        "tiles": tiles,
        "land_px": LAND_PX,
        "computed_px": with_land * tile**2,
        "minutes": total / CORES / 60,
    }


def options_of(args: argparse.Namespace) -> ModelOptions:
    """Return the default network, or a narrow one."""
    return ModelOptions(**({"width": args.width} if args.width else {}))


def wanted(args: argparse.Namespace, tile: int | None = None) -> dict[str, Any]:
    """Return the options of the forecast that is asked for."""
    side = tile or args.tile
    chosen = {"tile": side} if side else {}
    return {"h": args.h, "level": [80, 95], "precision": args.precision, "device": "cpu", **chosen}


def in_a_corner(path: Path, land: Path, side: int) -> Path:
    """Write a cube of four times the pixels, with land in its first corner and sea elsewhere."""
    write_world(path, (2 * side, 2 * side), land=0.0)
    source, target = zarr.open_group(land, mode="r"), zarr.open_group(path, mode="r+")
    for name in ("hm", "elevation"):
        values, into = source[name], target[name]
        assert isinstance(values, zarr.Array)
        assert isinstance(into, zarr.Array)
        into[..., :side, :side] = values[...]
    return path


def cpu() -> float:
    """Return the CPU seconds of this process and of all it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def tiles_of_the_globe(tile: int) -> tuple[int, int]:
    """Count the tiles of the global grid that have land, and all of them."""
    rows, columns = (size // COARSE for size in GLOBE)
    draw = np.random.default_rng(1)
    waves = np.hypot(np.fft.fftfreq(rows)[:, None] * rows, np.fft.rfftfreq(columns) * columns)
    waves[0, 0] = np.inf
    noise = draw.normal(size=(2, *waves.shape))
    field = np.fft.irfft2((noise[0] + 1j * noise[1]) * waves**-ROUGH, (rows, columns))
    land = field > np.quantile(field, 1 - LAND_PX / (GLOBE[0] * GLOBE[1]))
    starts = [range(0, size, tile) for size in GLOBE]
    some = sum(
        bool(land[y // COARSE : (y + tile) // COARSE, x // COARSE : (x + tile) // COARSE].any())
        for y in starts[0]
        for x in starts[1]
    )
    return some, len(starts[0]) * len(starts[1])


if __name__ == "__main__":
    sys.exit(main())
