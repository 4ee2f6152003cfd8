"""Worlds whose dependence is known: do intervals of zones contain their share?

``python -m tests.bench.zones --case worlds`` calls :func:`worlds`. Each pixel has a known
distribution, as in a forecast of human modification, and errors vary together by a known law,
one of the fitted family or another one. The dependence is fitted on the errors of one or four
origins, and totals of zones are drawn with it. Further errors of the same law are what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from scipy.spatial import cKDTree

from hmx.cube.grid import Grid
from hmx.uncertainty.joint.dependence import Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.uncertainty.joint.fit import DependenceFit
from hmx.windows import Window
from tests.make.fields import (
    Correlation,
    exponential,
    growing_quantiles,
    in_family,
    normal_field,
    read_quantiles,
)

Array = NDArray[np.float64]
Row = dict[str, Any]

PIXEL = 300.0  # m
REGION = 0.05  # share of the whole region in the true law
LAWS: Mapping[str, Correlation] = {
    "in the family": in_family((0.10, 0.20, 0.15, 0.10, 0.05)),
    "exponential": exponential(20.0, 0.4),
}
SQUARES = (10, 30, 60)  # px
LEVELS = (50, 80, 95)  # percent


def worlds(
    *,
    side: int = 300,
    origins: tuple[int, ...] = (1, 4),
    fits: int = 3,
    tests: int = 16,
    draws: int = 200,
    seed: int = 0,
    note: Callable[[str], object] = lambda text: None,
) -> list[Row]:
    """Score intervals of zone means in worlds of known dependence.

    Returns a row for each law, number of origins and kind of zone: shares of true means inside
    the intervals of 50, 80 and 95 % (``c50`` ...), and the interval score of 95 % over that of as
    many draws of the true law (``score``).
    """
    zones, rows = zones_of(side, seed), []
    for law, correlation in LAWS.items():
        world = World.of(np.random.default_rng([seed, 0]), side, correlation)
        true = world.truths(np.random.default_rng([seed, 1]), zones, draws)
        came = world.truths(np.random.default_rng([seed, 2]), zones, fits * tests)
        for number in origins:
            parts: dict[str, list[list[float]]] = {kind: [] for kind in zones}
            for fit in range(fits):
                errors = np.random.default_rng([seed, 3, number, fit])
                at = Dependence(world.fit(errors, number).fit(), PIXEL)
                drawn = means_of(zones, _maps(world, at, draws, seed + fit))
                for kind in zones:
                    now = came[kind][fit * tests : (fit + 1) * tests]
                    shares = [inside(drawn[kind], now, level) for level in LEVELS]
                    parts[kind].append([*shares, score(drawn[kind], now), score(true[kind], now)])
                note(f"{law}, {number} origins: fit {fit + 1} of {fits}")
            for kind in zones:
                *shares, ours, best = np.mean(parts[kind], axis=0)
                row = {f"c{p}": round(float(c), 3) for p, c in zip(LEVELS, shares, strict=True)}
                found = {"law": law, "origins": number, "zones": kind, **row}
                rows.append({**found, "score": round(float(ours / best), 3)})
    return rows


@dataclass(frozen=True)
class World:
    """Distributions of a square map, and the law of its errors."""

    quantiles: Array  # (level, y, x)
    correlation: Correlation

    @classmethod
    def of(cls, draw: np.random.Generator, side: int, correlation: Correlation) -> World:
        """Draw the distributions of a map."""
        return cls(growing_quantiles(draw, (side, side)), correlation)

    def map(self, draw: np.random.Generator) -> Array:
        """Draw what comes, (y, x)."""
        z = np.sqrt(1 - REGION) * normal_field(draw, self.quantiles.shape[1:], self.correlation)
        return read_quantiles(self.quantiles, z + np.sqrt(REGION) * draw.standard_normal())

    def truths(
        self, draw: np.random.Generator, zones: Mapping[str, NDArray[np.intp]], n: int
    ) -> dict[str, Array]:
        """Draw what comes so many times, as means of zones, (n, zone) by kind."""
        return means_of(zones, (self.map(draw) for _ in range(n)))

    def fit(self, draw: np.random.Generator, origins: int) -> DependenceFit:
        """Gather the errors of so many past origins."""
        fit = DependenceFit()
        for origin in range(origins):
            truth = self.map(draw)
            fit.add(1, origin, self.quantiles, truth, np.ones(truth.shape, bool))
        return fit


def _maps(world: World, at: Dependence, draws: int, seed: int) -> Iterable[Array]:
    """Draw maps with a fitted dependence; each is valid until the next."""
    shape = world.quantiles.shape[1:]
    grid = Grid(CRS(32622), Affine(PIXEL, 0, 5e5, 0, -PIXEL, 1e6), shape)
    field = Field(grid, Window.of(shape), at, seed)
    drawn = Draws(field, world.quantiles[:, None].astype("float32"))
    return (values for _, _, values in drawn(range(draws)))


def zones_of(side: int, seed: int) -> dict[str, NDArray[np.intp]]:
    """Number the zones of each kind, (y, x) by kind; -1 is no zone."""
    rows, columns = np.mgrid[:side, :side]
    found = {}
    for size in SQUARES:
        number = side // size
        labels = rows // size * number + columns // size
        inside_ = (rows < number * size) & (columns < number * size)
        found[f"{size} px"] = np.where(inside_, labels, -1)
    points = np.random.default_rng([seed, 9]).random((max(2, (side // 45) ** 2), 2)) * side
    _, near = cKDTree(points).query(np.stack([rows.ravel(), columns.ravel()], axis=1))
    return found | {"Voronoi": near.reshape(side, side), "region": np.zeros((side, side), np.intp)}


def means_of(zones: Mapping[str, NDArray[np.intp]], maps: Iterable[Array]) -> dict[str, Array]:
    """Compute the means of all zones in all maps, (map, zone) by kind."""
    found: dict[str, list[Array]] = {kind: [] for kind in zones}
    counts = {kind: np.bincount(labels.ravel() + 1)[1:] for kind, labels in zones.items()}
    for values in maps:
        for kind, labels in zones.items():
            total = np.bincount(labels.ravel() + 1, values.ravel(), len(counts[kind]) + 1)[1:]
            found[kind].append(total / np.maximum(1, counts[kind]))
    return {kind: np.stack(means) for kind, means in found.items()}


def _ends(drawn: Array, level: float) -> tuple[Array, Array]:
    tail = (1 - level / 100) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return low, high


def inside(drawn: Array, came: Array, level: float) -> float:
    """Return the share of means, (n, zone), inside the interval of draws, (draw, zone)."""
    low, high = _ends(drawn, level)
    return float(((came >= low) & (came <= high)).mean())


def score(drawn: Array, came: Array, level: float = 95) -> float:
    """Return the mean interval score (Gneiting & Raftery 2007, eq. 43)."""
    low, high = _ends(drawn, level)
    penalty = np.maximum(low - came, 0) + np.maximum(came - high, 0)
    return float((high - low + penalty * 2 / (1 - level / 100)).mean())
