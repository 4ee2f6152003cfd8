"""Run: zone totals of a forecast or a map, tile by tile, in this process or on workers.

The network computes each tile once; its quantiles are then drawn from and added up, so memory
depends neither on the size of the raster nor on the number of draws. Tiles are those of the cube,
whatever the region, so a zone has the same totals whatever else is asked for. A job keeps the
counts of each finished tile in a file, so a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from dask.system import CPU_COUNT

from hmx.cube.read import CubeView
from hmx.engine.inventory import Inventory
from hmx.engine.options import DaskSection
from hmx.engine.order import Openable, Request, Run, WindowRunner, opened
from hmx.engine.pool.runner import Task, run_windows
from hmx.engine.recall import Check
from hmx.errors import JobFailed
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.lock import building
from hmx.independent import independent
from hmx.progress import Meter, Progress
from hmx.provenance import fingerprint
from hmx.uncertainty.joint.dependence import LEVELS, Dependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Index, Tile, TileGrid, Window
from hmx.zones.layer import ZoneLayer
from hmx.zones.sums import ALL, Measures, TileValues, Units, ZoneSums, ZoneTotals, tile_sums

_THREADS = 8  # more share the bandwidth of memory


@dataclass(frozen=True)
class ZonalRun:
    """Zone totals, checked and complete, before any pixel is read."""

    run: Run[Request]  # of the forecast or map, with quantiles at LEVELS
    layer: ZoneLayer
    groups: Mapping[str, np.ndarray]  # numbers of the zones of each group
    measures: Measures
    dependence: Dependence
    draws: int
    seed: int

    def __post_init__(self) -> None:
        assert self.run.outputs()["quantile"][0] == len(LEVELS)

    @cached_property
    def units(self) -> Units:
        """What one count stands for."""
        grid = self.run.cube.grid
        return Units.of(float(grid.cell_areas().sum() * grid.shape[1]), self.run.largest())

    @cached_property
    def work(self) -> ZonalWork:
        """The function that computes each tile."""
        return ZonalWork(
            self.run.runner, self.run.tiles, self.run.window, self.layer.without_properties(),
            self.measures, self.units, self.dependence, self.draws, self.seed,
        )  # fmt: skip

    @cached_property
    def tiles(self) -> list[Tile]:
        """The tiles that touch the window."""
        return list(self.run.tiles.covering(self.run.window))

    def facts(self) -> dict[str, object]:
        """Return what decides the totals, in JSON values."""
        return {
            **self.run.facts(),
            "zones": self.layer.digest,
            "groups": {name: np.asarray(rows).tolist() for name, rows in self.groups.items()},
            "above": list(self.measures.above),
            "classes": list(self.measures.classes),
            "moves": list(self.measures.moves),
            "draws": self.draws,
            "draw_seed": self.seed,
            "dependence": self.dependence.as_dict(),
        }

    def state(self, source: str) -> str:
        """Hash the state of all input in a stored cube."""
        inventory = self.run.inventory(source)
        return fingerprint([_state(inventory, tile) for tile in self.tiles])

    def empty(self) -> ZoneSums:
        """Return counts of nothing, with a row for each zone and one for the whole."""
        rows = np.append(np.arange(len(self.layer)), ALL)
        h = (*self.run.outputs()["mean"], 1)[0]
        return ZoneSums.empty(rows, h, self.draws, self.measures)

    def totals(self, sums: ZoneSums) -> ZoneTotals:
        """Convert counts to the user's units."""
        has_origin = self.run.runner.has_origin
        found = ZoneTotals.of(
            sums, self.units, self.layer.names, self.measures,
            groups=self.groups, origin=has_origin,
        )  # fmt: skip
        # without an area of applicability, what is unlike the training is unknown
        return found if "applicable" in self.run.outputs() else replace(found, unlike=None)


@dataclass(frozen=True)
class ZonalWork:
    """Computes the counts of tiles; small, as it travels to each worker."""

    runner: WindowRunner[Request]
    tiles: TileGrid  # of the cube
    window: Window  # the part of the cube that counts
    layer: ZoneLayer
    measures: Measures
    units: Units
    dependence: Dependence
    draws: int
    seed: int
    source: Openable | None = None  # the stored cube; None in this process
    parts: str = ""  # folder of the counts of finished tiles
    run: str = ""  # fingerprint of the job

    def __call__(self, index: Index, state: str, threads: int | None = None) -> None:
        """Compute the counts of one tile and store them."""
        assert self.source is not None
        cube = opened(self.source, self.run)
        sums = self.sums(self.tiles[index], cube, threads=threads)
        Parts(self.parts, self.run).write(index, state, sums)

    def sums(
        self,
        tile: Tile,
        cube: CubeView,
        *,
        threads: int | None = None,
        check: Check | None = None,
        on_draw: Callable[[], None] = lambda: None,
    ) -> ZoneSums:
        """Compute the counts of one tile; ``check`` gets its means and their window."""
        runner = self.runner.with_threads(threads)
        found = runner.task(tile.core, tile.read, cube.grid)(*runner.read(tile.read, cube))
        inside = tile.core.clip(self.window)
        crop = inside.within(tile.core).slices
        mean, quantiles = found["mean"], found["quantile"]
        if mean.ndim == 2:  # a map has no leads
            mean, quantiles = mean[None], quantiles[:, None]
        mean = mean[(..., *crop)]
        if check is not None:
            check(inside, mean)
        applicable = found.get("applicable")  # of maps: 0 outside the area of applicability
        values = TileValues(
            mean,
            runner.origin(inside, cube),
            cube.grid.cell_areas()[inside.y.slice],
            None if applicable is None else applicable[crop] == 0,
        )
        field = Field(cube.grid, inside, self.dependence, self.seed)
        return tile_sums(
            values,
            self.layer.cover(inside),
            Draws(field, quantiles[(..., *crop)]),
            range(self.draws),
            measures=self.measures,
            units=self.units,
            threads=threads or min(CPU_COUNT, _THREADS),
            on_draw=on_draw,
        )


@dataclass(frozen=True)
class Parts:
    """The counts of finished tiles, one file each, which prove themselves by a hash."""

    path: str
    run: str

    @cached_property
    def folder(self) -> Folder:
        """Files of the folder."""
        return Folder(self.path)

    def write(self, index: Index, state: str, sums: ZoneSums) -> None:
        """Store the counts of a tile."""
        data = io.BytesIO()
        arrays: dict[str, Any] = sums.arrays()
        np.savez_compressed(data, **arrays)
        facts = {"run": self.run, "state": state, "hash": _hash(data.getvalue())}
        head = as_json(facts, sort_keys=True).encode()
        self.folder.write(_part_name(index), head + b"\n" + data.getvalue())

    def read(self, index: Index, state: str) -> ZoneSums | None:
        """Return the counts of a tile, if they are whole, of this run and of this input."""
        head, _, data = (self.folder.read(_part_name(index)) or b"").partition(b"\n")
        try:
            facts = json.loads(head)
        except ValueError:
            return None
        if facts != {"run": self.run, "state": state, "hash": _hash(data)}:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return ZoneSums(**arrays)


def _part_name(index: Index) -> str:
    return f"{index[0]:04d}-{index[1]:04d}"


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@independent
def add_up(
    zonal: ZonalRun, *, check: Check | None = None, progress: Progress = Progress()
) -> ZoneTotals:
    """Compute zone totals in this process, tile after tile, with threads over draws."""
    sums, total = zonal.empty(), len(zonal.tiles) * zonal.draws
    report = Meter(progress, total, "zonal: ", start="starting")
    for number, tile in enumerate(zonal.tiles, start=1):
        work = zonal.work.sums(tile, zonal.run.cube, check=check, on_draw=report)
        sums.add(work)
        report(number * zonal.draws)  # a tile without data has no draws
    return zonal.totals(sums)


@independent
def add_up_job(
    zonal: ZonalRun,
    source: str,
    parts: str,
    section: DaskSection | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = Progress(),
) -> ZoneTotals:
    """Compute zone totals on workers; ``parts`` is the folder for the counts of tiles."""
    digest = fingerprint(zonal.facts())
    work = replace(zonal.work, source=zonal.run.source(source), parts=parts, run=digest)
    with building(parts, progress):
        store = Parts(parts, digest)
        if overwrite:
            store.folder.remove()
        inventory = zonal.run.inventory(source)
        done = {tile.index for tile, part in _stored(zonal, store, inventory) if part is not None}
        calls = [
            Task(tile.index, (_state(inventory, tile),))
            for tile in zonal.tiles
            if tile.index not in done
        ]
        if done and calls:
            progress.note(f"zonal: {len(done)} tiles are done, {len(calls)} are to do")
        _work_off(zonal, work, calls, section or DaskSection(), progress)
        _require_same(zonal, source, calls)
        sums = zonal.empty()
        for tile, part in _stored(zonal, store, inventory):
            if part is None:
                raise JobFailed(
                    f"{parts} lost the counts of tile {tile.index} while it was read. Run the "
                    "same command again: only they are computed."
                )
            sums.add(part)
    return zonal.totals(sums)


def _stored(
    zonal: ZonalRun, store: Parts, inventory: Inventory
) -> Iterator[tuple[Tile, ZoneSums | None]]:
    for tile in zonal.tiles:
        yield tile, store.read(tile.index, _state(inventory, tile))


def _state(inventory: Inventory, tile: Tile) -> str:
    return inventory.state(tile.read)


def _work_off(
    zonal: ZonalRun, work: ZonalWork, calls: list[Task], section: DaskSection, progress: Progress
) -> None:
    """Compute tiles on the workers that the section describes."""
    if not calls:
        return
    from hmx.engine.pool.cluster import connect  # loads distributed

    with connect(section, tasks=len(calls), device=zonal.run.options.device) as pool:
        tiles = "tile" if len(calls) == 1 else "tiles"
        progress.note(
            f"zonal: {len(zonal.layer)} zones, {zonal.draws} draws, {len(calls)} {tiles} of "
            f"{zonal.run.tiles.tile[0]} px, by {pool.described}"
        )
        report = Meter(progress, len(calls), "zonal: ", start="starting")
        failures = run_windows(pool, work, calls, on_done=lambda index, result: report())
    if failures:
        first = failures[0]
        raise JobFailed(
            f"zone totals are incomplete: {len(failures)} tiles failed, the others are kept. Tile "
            f"{first.index}: {type(first.error).__name__}: {first.error}. Repair their input, then "
            "run the same command again."
        )


def _require_same(zonal: ZonalRun, source: str, calls: list[Task]) -> None:
    """Refuse totals whose cube changed during the run."""
    now = zonal.run.inventory(source)
    if any(call.arguments != (_state(now, zonal.run.tiles[call.index]),) for call in calls):
        raise JobFailed(
            f"{source} was written to while it was read. Run the same command again: the tiles "
            "that it changed are computed anew."
        )
