"""Measure the covered shares of many zones on a large grid, beside exactextract.

Run from the root of the project::

    python -m tests.bench.cover
    python -m tests.bench.cover --zones 100 --shape 2000 4000 --json

Zones are irregular cells that cover a global grid and share their borders, of 300 corners each.
Tiles are a regular sample of all. ``exactextract``, where it is installed, computes the zones
of the same tiles; both must agree to a millionth of a pixel.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import rioxarray  # noqa: F401  (registers .rio)
import shapely
import xarray as xr
from affine import Affine

from hmx.cube.grid import Grid
from hmx.windows import Tile, TileGrid, Window
from hmx.zones.layer import ZoneLayer, read_zones

SOUTH, NORTH = -70.0, 84.0


@dataclass(frozen=True)
class Row:
    """What reading and covering cost."""

    zones: int
    corners: float  # of a zone, mean
    tiles: int  # of the whole grid
    sampled: int
    read_s: float  # CPU seconds
    tile_ms: float  # CPU milliseconds of one tile
    all_tiles_s: float  # CPU seconds of all tiles
    gap: float  # largest difference of the summed shares of a pixel from 1
    reference_ms: float | None  # CPU milliseconds of one tile, exactextract
    difference: float | None  # largest difference of a share, px


def make_zones(count: int, corners: int, seed: int = 0) -> gpd.GeoDataFrame:
    """Return irregular cells that share borders."""
    rng = np.random.default_rng(seed)
    frame = shapely.box(-180, SOUTH, 180, NORTH)
    points = np.stack([rng.uniform(-180, 180, count), rng.uniform(SOUTH, NORTH, count)], 1)
    cells = shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=frame).geoms
    cells = [shapely.intersection(cell, frame) for cell in cells]
    fine = [shapely.segmentize(cell, cell.length / corners) for cell in cells]
    names = [f"zone {n}" for n in range(len(fine))]
    return gpd.GeoDataFrame({"name": names}, geometry=fine, crs="EPSG:4326")


def measure(count: int, corners: int, shape: tuple[int, int], *, tile: int, sample: int) -> Row:
    """Read zones and cover a sample of the tiles of a global grid."""
    pixel = 360 / shape[1]
    grid = Grid(pyproj.CRS(4326), Affine(pixel, 0, -180, 0, -pixel, NORTH), shape)
    zones = make_zones(count, corners)
    start = time.process_time()
    layer = read_zones(zones, grid)
    read = time.process_time() - start
    tiles = list(TileGrid(shape, (tile, tile), halo=0))
    chosen = tiles[:: max(1, len(tiles) // sample)][:sample]
    gap, start = 0.0, time.process_time()
    for each in chosen:
        cover = layer.cover(each.core)
        total = np.bincount(cover.pixel, cover.share)
        gap = max(gap, float(np.abs(total[total > 0.999] - 1).max(initial=0)))
    took = (time.process_time() - start) / len(chosen)
    reference = _reference(layer, zones, chosen[:: max(1, len(chosen) // 10)])
    return Row(
        len(layer), float(shapely.get_num_coordinates(zones.geometry.values).mean()), len(tiles),
        len(chosen), read, 1e3 * took, took * len(tiles), gap, *reference,
    )  # fmt: skip


def _reference(
    layer: ZoneLayer, zones: gpd.GeoDataFrame, tiles: list[Tile]
) -> tuple[float | None, float | None]:
    """Compute the same shares with exactextract."""
    try:
        from exactextract import exact_extract
    except ImportError:
        return None, None
    took, worst = 0.0, 0.0
    for each in tiles:
        grid, window = layer.grid.crop(each.core), each.core
        index = np.arange(window.shape[0] * window.shape[1], dtype="float64")
        raster = xr.DataArray(index.reshape(window.shape), coords=[("y", grid.y), ("x", grid.x)])
        near = zones.cx[grid.bounds[0] : grid.bounds[2], grid.bounds[1] : grid.bounds[3]]
        if not len(near):
            continue
        raster = raster.rio.write_crs(grid.crs)
        start = time.process_time()
        found = exact_extract(raster, near, ["values", "coverage"], output="pandas")
        took += time.process_time() - start
        worst = max(worst, _difference(layer, window, near.index.to_numpy(), found))
    return 1e3 * took / len(tiles), worst


def _difference(layer: ZoneLayer, window: Window, zones: np.ndarray, found: pd.DataFrame) -> float:
    cover = layer.cover(window)
    worst = 0.0
    for zone, pixels, shares in zip(zones, found["values"], found["coverage"], strict=True):
        ours = np.zeros(window.shape[0] * window.shape[1])
        mine = cover.zone == zone
        ours[cover.pixel[mine]] = cover.share[mine]
        ours[np.asarray(pixels, int)] -= shares
        worst = max(worst, float(np.abs(ours).max()))
    return worst


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zones", type=int, default=1000)
    parser.add_argument("--corners", type=int, default=300)
    parser.add_argument("--shape", type=int, nargs=2, default=(17_111, 40_000))
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--sample", type=int, default=200, help="tiles that are computed")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    row = measure(args.zones, args.corners, tuple(args.shape), tile=args.tile, sample=args.sample)
    if args.json:
        print(json.dumps(asdict(row)))
        return 0
    for name, value in asdict(row).items():
        print(f"{name:>14} {value:.4g}" if value is not None else f"{name:>14} -")
    return 0


if __name__ == "__main__":
    sys.exit(main())
