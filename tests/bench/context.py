"""Context channels: pixels per second, beside ways that are plainly right.

Run from the root of the project::

    python -m tests.bench.context
    python -m tests.bench.context --side 512 --radii 1,3,10,100 --json

Baselines, in the same run and on the same window: ``scipy.ndimage.uniform_filter``
of values and of mask for each mean (the usual way), and ``generic_filter`` with
``numpy.nanmean`` (the naive way, timed on a small piece).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from hmx.features.context import Context, derive, past_change
from hmx.windows import TileGrid

SIZE = (300.0, 300.0)


def land(shape: tuple[int, int], *, holes: bool, seed: int = 0) -> np.ndarray:
    """Three steps of a field of which one pixel in twenty changes, (3, y, x)."""
    rng = np.random.default_rng(seed)
    series = np.repeat(rng.random((1, *shape), "float32"), 3, axis=0)
    series[1:] += (rng.random((2, *shape)) < 0.05) * rng.random((2, *shape), "float32")
    if holes:
        series[:, rng.random(shape) < 0.1] = np.nan
    return series


def usual(context: Context, series: np.ndarray) -> np.ndarray:
    """Compute means with one filter for values and one for the mask, and the distance."""
    past, made = past_change(series), []
    for radius in context.radii:
        for values in (series[-1].astype("float64"), past.signed, past.absolute):
            known = np.isfinite(values)
            parts = (np.where(known, values, 0), known.astype("float64"))
            total, share = (
                ndimage.uniform_filter(part, 2 * radius + 1, mode="constant") for part in parts
            )
            made.append(
                np.divide(total, share, where=share > 1e-9, out=np.full_like(total, np.nan))
            )
    apart = ndimage.distance_transform_edt(~(past.total > context.threshold))
    return np.stack([*made, np.minimum(apart, context.radii[-1])]).astype("float32")


def naive(context: Context, series: np.ndarray) -> np.ndarray:
    """Compute means pixel by pixel."""
    past = past_change(series)
    return np.stack(
        [
            ndimage.generic_filter(values, np.nanmean, 2 * radius + 1, mode="constant", cval=np.nan)
            for radius in context.radii
            for values in (series[-1].astype("float64"), past.signed, past.absolute)
        ]
    )


def seconds(work: Callable[[], object], turns: int) -> float:
    """Time a piece of work, the best of some turns; of CPU, as one thread does it all."""
    best = np.inf
    for _ in range(turns):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return float(best)


def measure(side: int, radii: tuple[int, ...], turns: int, piece: int) -> list[dict[str, object]]:
    """Time each way on a tile with its halo, and report rates of the tile's own pixels."""
    context, rows = Context(radii=radii), []
    tile = TileGrid((3 * side, 3 * side), (side, side), halo=context.halo)[1, 1]

    def note(way: str, pixels: int, took: float) -> None:
        rows.append({"way": way, "ms": took * 1e3, "mpx_per_s": pixels / took / 1e6})

    for holes in (False, True):
        arrays = {"hm": land(tile.read.shape, holes=holes)}
        arrays["elevation"] = arrays["hm"][0] * 100
        told = ", a tenth missing" if holes else ""
        for title, chosen in {
            "default": context,
            "with terrain": Context(radii, terrain=("elevation",)),
            "with maxima": Context(radii, maxima=True),
            "one radius, 3": Context((3,), distance=False),
            "one radius, 100": Context((100,), distance=False),
        }.items():

            def work(chosen: Context = chosen, arrays: dict[str, np.ndarray] = arrays) -> object:
                return derive(chosen, arrays, "hm", pixel_size=SIZE, crop=tile.crop)

            note(title + told, side * side, seconds(work, turns))
        took = seconds(lambda arrays=arrays: usual(context, arrays["hm"]), turns)
        note("uniform filters" + told, side * side, took)
    small = arrays["hm"][:, :piece, :piece]
    note(f"pixel by pixel, {piece} px", piece**2, seconds(lambda: naive(context, small), 1))
    return rows


def agreement(side: int, radii: tuple[int, ...]) -> float:
    """Return the largest difference from the usual way, where both know a mean."""
    context, series = Context(radii=radii), land((side, side), holes=True)
    crop = TileGrid((side, side), (side, side), halo=0)[0, 0].crop
    made = derive(context, {"hm": series}, "hm", pixel_size=SIZE, crop=crop)
    return float(np.nanmax(np.abs(made - usual(context, series))))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=512, help="of a tile's core, px")
    parser.add_argument("--radii", default="1,3,10,30")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--piece", type=int, default=24, help="side for the naive way, px")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    radii = tuple(int(radius) for radius in args.radii.split(","))
    rows = measure(args.side, radii, args.turns, args.piece)
    error = agreement(min(args.side, 256), radii)
    if args.json:
        print(json.dumps({"rows": rows, "largest_difference": error}, indent=2))
        return 0
    print(f"{'tile of ' + str(args.side) + ' px, CPU time':34}{'ms':>10}{'Mpx/s':>10}")
    for row in rows:
        print(f"{row['way']:34}{row['ms']:10.1f}{row['mpx_per_s']:10.4f}")
    print(f"largest difference from uniform filters {error:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
