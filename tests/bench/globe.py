"""Estimate a forecast of the global 1 km grid on two CPU cores, from rates measured in this run.

Run from the root of the project::

    python -m tests.bench.globe
    python -m tests.bench.globe --side 2048 --precision float32 --json

Jobs run as ``hmx forecast`` runs them, with two workers, the default network, four leads and
two intervals: one on land alone, one with as much land in a corner of four times the pixels, one
on tiles of coasts. The CPU seconds of all processes give the cost of a tile of land (read,
compute, settle, write, seal), of sea and of a coast, where only rows and columns with land are
computed; a job of one tile gives what starting takes. How many tiles of the globe are of each kind
is counted on a synthetic earth: a random field that is rough as coasts are, cut where 27 % of it
is land. The coasts of the third job are drawn from it. A land of 4,096 px has 64 tiles: with fewer,
what each worker imports would count as work of tiles.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
    parser.add_argument("--side", type=int, default=4096, help="of the land, px")
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
        f"coast {found['coast_s']:.2f}, sea {found['sea_s']:.4f}, start {found['start_s']:.1f}; "
        f"{found['kpx_per_s']:.0f} kpx/s on {CORES} cores\n"
        f"globe: of {found['tiles']:,} tiles {found['land_tiles']:,} are land and "
        f"{found['coast_tiles']:,} have a coast; {found['land_px'] / 1e6:.0f} M px of land in "
        f"{found['covered_px'] / 1e6:.0f} M px of these tiles\n"
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
    earth = Earth.of(tile)
    shores = earth.draw(max(1, side // tile) ** 2)
    coast = cut_out(folder / "coast.zarr", land, shores, tile)
    jobs["coast"] = make_job(coast, model, folder / "coast-fc.zarr", **wanted(args, tile))
    seconds, walls = {}, {}
    for name, job in jobs.items():
        before, start = cpu(), time.perf_counter()
        run(job, DaskSection(workers=args.workers or None))
        seconds[name], walls[name] = cpu() - before, time.perf_counter() - start
    counts = {name: (-(-size // tile)) ** 2 for name, size in (("land", side), ("mixed", 2 * side))}
    each = max(0.0, seconds["land"] - seconds["one"]) / max(1, counts["land"] - 1)
    sea = (seconds["mixed"] - seconds["land"]) / (counts["mixed"] - counts["land"])
    sea, start_s = max(0.0, sea), max(0.0, seconds["one"] - each)
    shore = max(0.0, seconds["coast"] - start_s) / len(shores)
    empty = earth.tiles - earth.whole - len(earth.coasts)
    total = start_s + earth.whole * each + len(earth.coasts) * shore + empty * sea
    return {
        "tile": tile,
        "precision": order.request.precision,
        "land_s": each,
        "coast_s": shore,
        "sea_s": sea,
        "start_s": start_s,
        "wall_s": walls,
        "kpx_per_s": tile**2 / max(each, 1e-9) / 1e3 * CORES,
        "land_tiles": earth.whole,
        "coast_tiles": len(earth.coasts),
        "tiles": earth.tiles,
        "land_px": LAND_PX,
        "covered_px": (earth.whole + len(earth.coasts)) * tile**2,
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


@dataclass(frozen=True)
class Earth:
    """The tiles of the global grid on a synthetic earth."""

    tiles: int
    whole: int  # those that are land alone
    coasts: list[np.ndarray]  # where the land of the others is, of those that have any

    @classmethod
    def of(cls, tile: int) -> Earth:
        """Cut a random field, rough as coasts are, where as much of it is land as on the globe."""
        rows, columns = (size // COARSE for size in GLOBE)
        draw = np.random.default_rng(1)
        waves = np.hypot(np.fft.fftfreq(rows)[:, None] * rows, np.fft.rfftfreq(columns) * columns)
        waves[0, 0] = np.inf
        noise = draw.normal(size=(2, *waves.shape))
        field = np.fft.irfft2((noise[0] + 1j * noise[1]) * waves**-ROUGH, (rows, columns))
        land = field > np.quantile(field, 1 - LAND_PX / (GLOBE[0] * GLOBE[1]))
        starts = [range(0, size, tile) for size in GLOBE]
        cells = [
            land[y // COARSE : (y + tile) // COARSE, x // COARSE : (x + tile) // COARSE]
            for y in starts[0]
            for x in starts[1]
        ]
        coasts = [cell for cell in cells if cell.any() and not cell.all()]
        return cls(len(cells), sum(bool(cell.all()) for cell in cells), coasts)

    def draw(self, count: int) -> list[np.ndarray]:
        """Draw tiles of coasts whose mean share of land is that of all, as near as some tries get.

        The share decides most of what a tile costs, and few tiles have another one by chance.
        """
        goal = np.mean([cell.mean() for cell in self.coasts])
        draws = [
            [
                self.coasts[i]
                for i in np.random.default_rng(seed).integers(len(self.coasts), size=count)
            ]
            for seed in range(200)
        ]
        return min(draws, key=lambda some: abs(np.mean([cell.mean() for cell in some]) - goal))


def cut_out(path: Path, land: Path, shores: Sequence[np.ndarray], tile: int) -> Path:
    """Copy a cube of land, and put a shore into each of its first tiles."""
    shutil.copytree(land, path)
    group = zarr.open_group(path, mode="r+")
    side = max(1, round(len(shores) ** 0.5))
    for number, shore in enumerate(shores):
        y, x = (index * tile for index in divmod(number, side))
        fine = np.kron(shore, np.ones((COARSE, COARSE), bool))
        for name in ("hm", "elevation"):
            array = group[name]
            assert isinstance(array, zarr.Array)
            part = np.asarray(array[..., y : y + tile, x : x + tile])
            mask = fine[: part.shape[-2], : part.shape[-1]]
            # tiles at the end of the globe are smaller
            full = np.zeros(part.shape[-2:], bool)
            full[: mask.shape[0], : mask.shape[1]] = mask
            array[..., y : y + tile, x : x + tile] = np.where(full, part, np.float32("nan"))
    return path


if __name__ == "__main__":
    sys.exit(main())
