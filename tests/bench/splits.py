"""Folds of samples: how far each way of folding tests, and whether its score is the map's.

Run from the root of the project::

    python -m tests.bench.splits
    python -m tests.bench.splits --data macedonia --json

``world`` are fields that are known everywhere, sampled in clusters: the skill that each
way of folding promises stands beside the skill of the map that the same model makes of
all samples. ``macedonia`` are real samples (needs ``HMX_REAL_DATA``): distances and
seconds alone, since nobody knows the map.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import rasterio
from affine import Affine
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import RandomForestRegressor

from hmx.cube.grid import Grid
from hmx.points.samples import Samples
from hmx.splits.distances import Array, domain
from hmx.splits.methods import block_folds, distance_folds, knndm_folds, random_folds
from hmx.splits.report import FoldReport, describe_folds
from hmx.splits.site_folds import SiteFolds

ROOT = Path(__file__).resolve().parents[2]
TRUE = "true map"
TREES = 30
WAYS: dict[str, Callable[[Samples, Array], SiteFolds]] = {
    "random": lambda samples, _: random_folds(samples),
    "blocks of 20 km": lambda samples, _: block_folds(samples, side_km=20),
    "distance of 5 km": lambda samples, _: distance_folds(samples, distance_km=5),
    "kNNDM": lambda samples, places: knndm_folds(samples, places),
}


@dataclass(frozen=True)
class World:
    """A field that is known everywhere, and samples of it in clusters.

    Parameters
    ----------
    grid : Grid
        Pixels of 1 km.
    field : ndarray, (y, x)
        What is to be mapped: covariate and an unseen smooth field, sd 1 each.
    covariate : ndarray, (y, x)
        What a model sees beside coordinates.
    samples : Samples
        Of the field.
    """

    grid: Grid
    field: np.ndarray
    covariate: np.ndarray
    samples: Samples

    def inputs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return what the model sees of some pixels, (n, 3)."""
        return np.stack([rows, columns, self.covariate[rows, columns]], axis=1)


def make_world(
    *, side: int = 100, clusters: int = 40, each: int = 10, smooth: float = 6.0, seed: int = 0
) -> World:
    """Draw a field and sample it in clusters with a spread of 2 km."""
    rng = np.random.default_rng(seed)
    covariate, unseen = (_smooth(rng, side, smooth) for _ in range(2))
    grid = Grid(pyproj.CRS(32632), Affine(1000, 0, 5e5, 0, -1000, 6e6), (side, side))
    at = rng.uniform(0, side, (clusters, 1, 2)) + rng.normal(0, 2, (clusters, each, 2))
    pixels = np.unique(np.clip(at.reshape(-1, 2), 0, side - 1).astype(int), axis=0)
    field = covariate + unseen
    return World(grid, field, covariate, samples_at(grid, pixels, field[tuple(pixels.T)]))


def _smooth(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Draw a Gaussian random field of mean 0 and sd 1."""
    field = gaussian_filter(rng.normal(size=(side, side)), width, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def samples_at(grid: Grid, pixels: np.ndarray, value: np.ndarray) -> Samples:
    """Put samples in the centres of pixels, each a site."""
    rows, columns = pixels.T
    xy = np.stack([grid.x[columns], grid.y[rows]], axis=1)
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lonlat, order = np.stack(to_lonlat.transform(*xy.T), axis=1), np.arange(len(pixels))
    return Samples(rows, columns, value, order, np.zeros(len(pixels), int), lonlat, xy, order)


def promised(world: World, folds: SiteFolds) -> float:
    """Score a forest in cross-validation: 1 - MSE / variance of the true map."""
    samples, errors = world.samples, []
    inputs = world.inputs(samples.row, samples.column)
    for train, test in folds.rounds():
        model = _forest().fit(inputs[train], samples.value[train])
        errors.append(model.predict(inputs[test]) - samples.value[test])
    return float(1 - np.square(np.concatenate(errors)).mean() / world.field.var())


def true_skill(world: World) -> float:
    """Score the map that a forest makes of all samples: 1 - MSE / variance."""
    samples, pixels = world.samples, np.indices(world.field.shape).reshape(2, -1)
    model = _forest().fit(world.inputs(samples.row, samples.column), samples.value)
    error = model.predict(world.inputs(*pixels)) - world.field.ravel()
    return float(1 - np.square(error).mean() / world.field.var())


def _forest() -> RandomForestRegressor:
    return RandomForestRegressor(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)


def study(worlds: Sequence[World], ways: Sequence[str] = tuple(WAYS)) -> dict[str, list[float]]:
    """Score each way of folding, and the true map, in some worlds."""
    found: dict[str, list[float]] = {TRUE: [true_skill(world) for world in worlds]}
    for way in ways:
        folds = [WAYS[way](world.samples, domain(world.grid)) for world in worlds]
        found[way] = [promised(*pair) for pair in zip(worlds, folds, strict=True)]
    return found


def macedonia() -> tuple[Samples, Grid]:
    """Read the real samples; a pixel is a site."""
    folder = Path(os.environ.get("HMX_REAL_DATA") or ROOT.parent / "shared" / "data") / "macedonia"
    points = pd.read_csv(folder / "points.csv")
    with rasterio.open(folder / "elevation.tif") as source:
        grid = Grid(pyproj.CRS.from_user_input(source.crs), source.transform, source.shape)
    lonlat = points[["lon", "lat"]].to_numpy()
    row, column = (np.floor(part).astype(int) for part in grid.locate(*lonlat.T))  # type: ignore[arg-type]
    site = np.unique(row * grid.shape[1] + column, return_inverse=True)[1]
    order, value = np.arange(len(points)), points["soc"].to_numpy()
    return Samples(row, column, value, site, 0 * order, lonlat, lonlat, order), grid


def measure(samples: Samples, grid: Grid) -> tuple[FoldReport, dict[str, float]]:
    """Fold samples in all ways: distances, and seconds that each takes."""
    places, seconds, folded = domain(grid), {}, []
    for way, fold in WAYS.items():
        start = time.perf_counter()
        folded.append(fold(samples, places))
        seconds[way] = time.perf_counter() - start
    return describe_folds(folded, places), seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=["world", "macedonia"], default=["world"])
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--side", type=int, default=100, help="of a world, px of 1 km")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report: dict[str, Any] = {}
    out = sys.stderr if args.json else sys.stdout
    if "world" in args.data:
        worlds = [make_world(side=args.side, seed=seed) for seed in range(args.worlds)]
        report["skill"] = skill = study(worlds)
        print(f"skill in {len(worlds)} worlds, mean +- sd, and off the true map", file=out)
        for way, scores in skill.items():
            off = mean(scores) - mean(skill[TRUE])
            print(f"{way:<18}{mean(scores):6.3f} +-{pstdev(scores):.3f}{off:+8.3f}", file=out)
    if "macedonia" in args.data:
        found, seconds = measure(*macedonia())
        report["macedonia"] = {**found.as_dict(), "seconds": seconds}
        print(found, file=out)
        print("seconds", *(f"{way}: {s:.2f}" for way, s in seconds.items()), sep="  ", file=out)
    if args.json:
        print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
