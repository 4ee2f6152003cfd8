"""The zones of a backtest: means of zones with intervals from draws, compared with what came.

After the pixels of a round are scored, its map is forecast once more, tile by tile, and drawn
as often as asked. Squares and irregular cells lie within one tile and are scored there; the
user's zones and the whole region are added up over tiles first. Before it, forecasts of earlier
origins, without draws, measure the errors that zones had in the past, for the cross-check by an
effective number of pixels (:mod:`hmx.scores.zones`).

Zones are squares of 10, 30 and 60 px and irregular cells of about 900 px: the cells of Voronoi
around one random point in each square of 30 px. Zones end at the edges of tiles, which are a
whole number of each square, so every zone is scored inside one task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hmx.cube.cube import Cube, StoredCube
from hmx.cube.read import read
from hmx.forecast.backtest.case import InProcessCube, opened
from hmx.forecast.backtest.judging import truth_of, window_knots
from hmx.forecast.backtest.strata import Zones
from hmx.forecast.beyond import learnt_leads, outward
from hmx.forecast.window import ForecastRequest, calibrated, engine, halo
from hmx.scores.sums import Array
from hmx.scores.zones import (
    REGION,
    Past,
    PastErrors,
    ZoneCell,
    ZoneMeans,
    ZoneTally,
    joined,
    ratio_of,
)  # fmt: skip
from hmx.splits import TEST, Split
from hmx.uncertainty.distribution import mean
from hmx.uncertainty.joint.dependence import LEVELS, Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.uncertainty.joint.hermite import expansion
from hmx.windows import Index, Span, TileGrid, Window, with_halo

SIDE = 240  # px, of a tile
SIDES = (10, 30, 60)  # px, of the squares
CELLS = "cells"  # name of the irregular zones
_LATTICE = 30  # px: a point in each square of it
_KNOWN = 0.5  # share of a zone that must be scored
_MOST = 72  # tiles, 4 Mpx: draws of more would take longer than all other scores

Floats = NDArray[np.floating[Any]]
ZONES = "zones"  # name of the user's zones in scores
# Half a step of an index that is published in thousandths, as share of its range: what a zone is
# off by less, no map shows
TOLERANCE = 0.0005
_PAST = 3  # earlier origins: each costs a forecast of the map
OpenZones = Mapping[tuple[str, int], ZoneMeans]  # zones of more than one tile, by name and lead


@dataclass(frozen=True)
class Partition:
    """Zones of one size in a window."""

    zone: NDArray[np.intp]  # number of each pixel's zone, -1: none (y, x)
    full: NDArray[np.float64]  # pixels of a complete zone (z,)

    @property
    def count(self) -> int:
        """How many zones there are."""
        return len(self.full)

    def enough(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the zones of which enough pixels are scored."""
        return (pixels > 0) & (pixels >= _KNOWN * self.full)


def square_name(side: int) -> str:
    """Name the squares of a side."""
    return f"{side} px"


def squares(window: Window) -> dict[str, Partition]:
    """Cut a tile into squares of each side, from its first pixel on."""
    return {square_name(side): _squares(window.shape, side) for side in SIDES}


def _squares(shape: tuple[int, int], side: int) -> Partition:
    rows, columns = (np.arange(n) // side for n in shape)
    zone = rows[:, None] * (columns[-1] + 1) + columns
    return Partition(zone, np.full(int(zone[-1, -1]) + 1, float(side * side)))


def cells(window: Window, seed: int = 0) -> Partition:
    """Cut a tile into irregular cells; those at the edges of a raster are smaller."""
    draw = np.random.default_rng([seed, window.y.start, window.x.start])
    corners = np.stack(np.meshgrid(*(np.arange(0, SIDE, _LATTICE),) * 2, indexing="ij"), axis=-1)
    points = corners.reshape(-1, 2) + _LATTICE * draw.random((corners.size // 2, 2))
    rows, columns = window.shape
    at = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
    centres = np.stack(at, axis=-1)
    zone = cKDTree(points).query(centres.reshape(-1, 2))[1].reshape(rows, columns)
    zone = np.unique(zone, return_inverse=True)[1].reshape(rows, columns)
    return Partition(zone, np.bincount(zone.ravel()).astype("float64"))


def alone(mask: NDArray[np.bool_]) -> Partition:
    """Make one zone of the pixels marked."""
    return Partition(np.where(mask, 0, -1), np.array([float(mask.sum())]))


def tiles_of(shape: tuple[int, int]) -> TileGrid:
    """Lay the tiles of a raster."""
    return TileGrid(shape, (SIDE, SIDE), halo=0)


def regular(found: list[Index]) -> list[Index]:
    """Keep every k-th row and column of tiles, so that few enough are left."""
    step = 1
    while len(kept := [t for t in found if t[0] % step == 0 and t[1] % step == 0]) > _MOST:
        step += 1
    return kept or found[:_MOST]


@dataclass(frozen=True)
class TileZones:
    """What a tile gives: scores of the zones inside, sums of the others, and past errors."""

    tally: ZoneTally = field(default_factory=ZoneTally)
    wide: OpenZones = field(default_factory=dict)
    past: Past = field(default_factory=dict)

    def __add__(self, other: TileZones) -> TileZones:
        """Join two pieces."""
        keys = dict.fromkeys([*self.wide, *other.wide])
        wide = {
            key: reduce(ZoneMeans.__add__, [p.wide[key] for p in (self, other) if key in p.wide])
            for key in keys
        }
        return TileZones(self.tally + other.tally, wide, joined([self.past, other.past]))


@dataclass(frozen=True)
class ZoneTiles:
    """One model and origin, whose zones are scored tile by tile."""

    source: StoredCube | InProcessCube  # the cube
    run: str  # names the round, so that a process opens each cube once
    request: ForecastRequest  # the bundle and how it computes
    origin: int  # step that forecasts start from
    leads: tuple[int, ...]  # steps ahead that are scored
    split: Split | None  # only pixels of its test blocks are held out; ``None``: all are
    tiles: TileGrid  # in pixels of the cube
    dependence: Dependence
    levels: tuple[float, ...]  # of the intervals, percent
    tolerance: float  # native units
    draws: int  # 0: errors of the past alone are summed
    seed: int = 0
    zones: Zones | None = None  # the user's, instead of squares and cells
    past: Past = field(default_factory=dict)  # errors of earlier origins

    def __call__(self, index: Index, threads: int | None = None) -> TileZones:
        """Score the zones of one tile."""
        cube, core = opened(self.source, self.run), self.tiles[index].core
        seen = self._forecast(cube, core, threads)
        if seen is None:
            return TileZones()
        inside, wide = self._partitions(core)
        sums = self._sums(cube, seen, inside | wide)
        kept = {
            (name, lead): found.take(inside[name].enough(found.pixels)) if name in inside else found
            for (name, lead), found in sums.items()
        }
        if not self.draws:
            return TileZones(past={key: PastErrors.of(found) for key, found in kept.items()})
        scored = {key: self.score(key[1], found) for key, found in kept.items() if key[0] in inside}
        across = {key: found for key, found in kept.items() if key[0] in wide}
        return TileZones(ZoneTally(scored), across)

    def score(self, lead: int, sums: ZoneMeans) -> ZoneCell:
        """Score the means of zones that are complete."""
        ratio = ratio_of(self.past, lead)
        ends = sums.intervals(
            self.levels,
            None if ratio is None else ratio(sums.pixels),
            self.dependence.at(lead).region,
        )
        return sums.score(ends, self.tolerance)

    def finish(self, found: TileZones) -> ZoneTally:
        """Score the zones that were added up over tiles, all of the user's under one name."""
        tally = found.tally
        for (name, lead), sums in found.wide.items():
            if sums.pixels.sum():
                size = REGION if name == REGION else ZONES
                tally += ZoneTally({(size, lead): self.score(lead, sums)})
        return tally

    def _partitions(self, core: Window) -> tuple[dict[str, Partition], dict[str, Partition]]:
        """Return the zones inside the tile, and those that other tiles go on with."""
        if not self.draws:
            return squares(core), {}
        wide = {REGION: alone(np.ones(core.shape, bool))}
        if self.zones is not None:
            masks = self.zones.masks(core)
            return {}, wide | {name: alone(mask) for name, mask in masks.items()}
        return {**squares(core), CELLS: cells(core, self.seed)}, wide

    def _forecast(self, cube: Cube, core: Window, threads: int | None) -> ForecastTile | None:
        """Forecast a tile and read what came; None if nothing of it is scored."""
        request, grid = self.request, cube.grid
        run = engine(request.bundle, request.digest, request.precision, request.device)
        spec = run.bundle.spec
        scored = np.ones(core.shape, bool)
        if self.split is not None:
            scored = self.split.roles(core) == TEST
        origin, truth = (
            array.astype("float32", copy=False)
            for array in truth_of(cube, core, self.origin, self.leads)
        )
        known = scored & np.isfinite(origin) & np.isfinite(truth)
        if not known.any():
            return None
        around = with_halo(core, grid.shape, halo=halo(spec, request.h), wraps=grid.wraps)
        first = self.origin + 1 - spec.network.past_steps
        arrays = read(cube, around, Span(first, self.origin + 1), cube.rules)
        arrays = {name: array.astype("float32", copy=False) for name, array in arrays.items()}
        knots, distance = window_knots(
            run, arrays, core, around, grid, h=request.h, threads=threads
        )
        knots[..., ~np.isfinite(origin)] = np.nan
        centre, own = mean(knots, spec.network.knots), spec.network.knots
        knots = outward(knots, learnt_leads(run.bundle), own.index(0.5))
        tails = [(1 - level / 100) / 2 for level in self.levels]
        asked = [*LEVELS, *tails, *(1 - tail for tail in tails)]
        values = calibrated(run.bundle, knots, distance, asked)
        return ForecastTile(
            core, known, origin, truth, centre, values[: len(LEVELS)],
            values[len(LEVELS) :].reshape(2, len(tails), *values.shape[1:]),
        )  # fmt: skip

    def _sums(
        self, cube: Cube, seen: ForecastTile, partitions: Mapping[str, Partition]
    ) -> dict[tuple[str, int], ZoneMeans]:
        """Add up the pixels of all zones at all leads, and those of their draws."""
        area = np.broadcast_to(cube.grid.cell_areas()[seen.window.y.slice, None], seen.window.shape)
        parts: dict[tuple[str, int], _Pixels] = {}
        found: dict[tuple[str, int], ZoneMeans] = {}
        for number, lead in enumerate(self.leads):
            values = seen.values(number, lead)
            for name, partition in partitions.items():
                part = _Pixels.of(partition, seen.known[number], area)
                parts[name, lead] = part
                layers = {key: part.take(layer) for key, layer in values.items()}
                found[name, lead] = ZoneMeans.of(part.zone, partition.count, part.area, layers)
        field_ = Field(cube.grid, seen.window, self.dependence, self.seed)
        drawn = {key: np.zeros((self.draws, partitions[key[0]].count)) for key in parts}
        h = max(self.leads)
        for number, lead, values_of in Draws(field_, seen.quantiles[:, :h])(range(self.draws)):
            for name in partitions if lead in self.leads else ():
                part = parts[name, lead]
                drawn[name, lead][number] = part.total(values_of, partitions[name].count)
        return {key: replace(sums, draws=drawn[key]) for key, sums in found.items()}


@dataclass(frozen=True)
class ForecastTile:
    """The forecast of a tile, and what came."""

    window: Window  # in pixels of the cube
    known: NDArray[np.bool_]  # pixels that are scored (lead, y, x)
    origin: Floats  # the last map known (y, x)
    truth: Floats  # (lead, y, x)
    centre: Floats  # mean of the distribution (h, y, x)
    quantiles: Floats  # at LEVELS (27, h, y, x)
    ends: Floats  # of the intervals (2, level, h, y, x)

    def values(self, number: int, lead: int) -> dict[str, Floats]:
        """Return what is added up at a lead, (..., y, x)."""
        _, a, rest = expansion(self.quantiles[:, lead - 1].astype("float64"))
        return {
            "origin": self.origin,
            "truth": self.truth[number],
            "expected": self.centre[lead - 1],
            "variance": rest + np.square(a).sum(axis=0),
            "shift": a[0],
            "ends": self.ends[:, :, lead - 1],
        }


@dataclass(frozen=True)
class _Pixels:
    """The scored pixels of some zones."""

    at: NDArray[np.intp]  # flat index (p,)
    zone: NDArray[np.intp]
    area: Array

    @classmethod
    def of(cls, partition: Partition, known: NDArray[np.bool_], area: Array) -> _Pixels:
        at = np.flatnonzero(known & (partition.zone >= 0))
        return cls(at, partition.zone.ravel()[at], area.ravel()[at].astype("float64"))

    def take(self, layers: Floats) -> Array:
        """Take the pixels, (..., y, x) to (..., p)."""
        rows, columns = layers.shape[-2:]
        return layers.reshape(*layers.shape[:-2], rows * columns)[..., self.at].astype("float64")

    def total(self, layer: Floats, count: int) -> Array:
        """Add up one layer (y, x) by zone, (z,)."""
        weighted = self.area * layer.reshape(-1)[self.at]
        return np.asarray(np.bincount(self.zone, weighted, count), "float64")


def past_origins(
    origin: int, leads: Sequence[int], first: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield earlier origins, the latest first, and the leads whose truth was known by then."""
    for back in range(1, min(_PAST, max(leads)) + 1):
        known = tuple(lead for lead in leads if lead <= back)
        if origin - back >= first and known:
            yield origin - back, known
