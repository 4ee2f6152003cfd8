"""Plan: what a forecast or a map will cost, before it is run.

Everything but the time is arithmetic on integers; the time comes from running one
real tile, twice, and keeping the second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hmx.engine.inventory import Inventory
from hmx.engine.options import DaskSection
from hmx.engine.order import Request, Run
from hmx.engine.pool.runner import IN_FLIGHT
from hmx.errors import BadArgument
from hmx.files.shown import Shown, listed
from hmx.hardware import choose_device, threads_each, torch_threads
from hmx.independent import independent
from hmx.progress import duration
from hmx.windows import Span, Tile, Window

_PROCESS = 600 << 20  # bytes of an idle worker: Python, torch, xarray, distributed
_DECODED_AT_ONCE = 10  # chunks that zarr reads at the same time
_LOOKS = 5  # tiles that are tried for one with data to be timed


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a result consists of and will cost.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the output, px.
    tile, chunk, halo : int
        Sides of a tile and of a chunk, and true pixels read around a tile, px.
    grid : tuple of int
        Rows and columns of tiles.
    tiles, skipped : int
        Tiles to compute, and tiles in which nothing is valid.
    overhead : float
        Pixels read over pixels written, minus 1, of the tiles to compute.
    bytes_read, bytes_written : int
        Uncompressed, of the tiles to compute.
    workers, threads : int
        Processes, and torch threads of each.
    device, precision : str
        Where and in what the network runs.
    ram, ram_available : int
        Bound on a worker's memory, and what this machine has for each, bytes; 0
        where the workers are elsewhere.
    device_memory : int
        Bound on the memory used of a GPU, bytes; 0 on a CPU.
    seconds_per_tile : float
        Of one whole tile, measured; NaN if it was not.
    seconds : float
        Estimate for all, with start-up left out; NaN likewise.
    """

    shape: tuple[int, int]
    tile: int
    chunk: int
    halo: int
    grid: tuple[int, int]
    tiles: int
    skipped: int
    overhead: float
    bytes_read: int
    bytes_written: int
    workers: int
    threads: int
    device: str
    precision: str
    ram: int
    ram_available: int
    device_memory: int
    seconds_per_tile: float = float("nan")
    seconds: float = float("nan")

    @property
    def pixels_per_tile(self) -> int:
        """Pixels of a whole tile; fewer than its square where the output is smaller."""
        return math.prod(min(self.tile, size) for size in self.shape)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, in bytes, seconds and pixels."""
        return {
            key: None if isinstance(value, float) and np.isnan(value) else value
            for key, value in asdict(self).items()
        }

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        kpx = self.pixels_per_tile / self.seconds_per_tile / 1e3
        return {
            "output": f"{self.shape[0]:,} rows x {self.shape[1]:,} columns, chunks of "
            f"{self.chunk} px",
            "tiles": f"{self.tiles:,} of {self.tile} px to compute, {self.skipped:,} with nothing "
            f"in them, in {self.grid[0]} rows x {self.grid[1]} columns",
            "halo": f"{self.halo} px on each side, {self.overhead:.1%} more pixels to read",
            "input": f"{_bytes(self.bytes_read)} to read, uncompressed, halos included",
            "result": f"{_bytes(self.bytes_written)} to write, uncompressed",
            "workers": f"{self.workers} with {self.threads} torch threads each, on {self.device}, "
            f"{self.precision}",
            "memory": f"at most {_bytes(self.ram)} for each worker"
            + (f", of {_bytes(self.ram_available)}" if self.ram_available else "")
            + (f"; {_bytes(self.device_memory)} on the GPU" if self.device_memory else ""),
            "time": "not measured"
            if np.isnan(self.seconds)
            else f"about {duration(self.seconds)}: one tile took {self.seconds_per_tile:.2f} s, "
            f"{kpx:,.0f} kpx/s",
        }

    def __str__(self) -> str:
        return listed(self.shown())


@independent
def plan(
    run: Run[Request],
    inventory: Inventory,
    section: DaskSection | None = None,
    *,
    timed: bool = True,
    side: int | None = None,
    beside: float = 0.0,
) -> Plan:
    """Plan a forecast or a map; ``timed`` runs one tile of it, or its middle of ``side`` px.

    ``beside`` are seconds a pixel that the timed tile lacks.

    Raises :class:`BadArgument` if what a worker needs does not fit into its memory.
    """
    from distributed.system import MEMORY_LIMIT  # bytes of the machine, or of a control group

    runner, grid, cube = run.runner, run.output_tiles, run.cube.grid
    section = section or DaskSection()
    workers, threads = _workers(section)
    tiles = [tile for tile in grid if inventory.may_hold(runner.needs(tile.core, cube))]
    read = sum(_area(runner.reads(tile.core, cube)) for tile in tiles)
    written = sum(_area(tile.core) for tile in tiles)
    here = section.scheduler is None and section.cluster is None
    device = choose_device(run.options.device).type
    gpu = device == "cuda"
    made = Plan(
        shape=run.window.shape,
        tile=grid.tile[0],
        chunk=run.options.chunk or grid.tile[0],
        halo=run.halo,
        grid=grid.counts,
        tiles=len(tiles),
        skipped=grid.counts[0] * grid.counts[1] - len(tiles),
        overhead=read / max(1, written) - 1,
        bytes_read=read * _bytes_in(run),
        bytes_written=written * _bytes_out(run),
        workers=workers,
        threads=threads,
        device=device,
        precision=run.request.precision,
        # of a worker: itself, its tiles, and its network unless a GPU holds that
        ram=_PROCESS + IN_FLIGHT * _tile_bytes(run) + (0 if gpu else run.working_bytes()),
        ram_available=MEMORY_LIMIT // workers if here else 0,  # unknown of other machines
        device_memory=run.working_bytes() if gpu else 0,
    )
    require_memory(made, run.job)
    if not timed:
        return made
    each = _seconds_per_pixel(run, tiles, threads, side) + beside
    total = each * written / workers if tiles else 0.0
    return replace(made, seconds_per_tile=each * made.pixels_per_tile, seconds=total)


def require_memory(made: Plan, job: str = "forecast") -> None:
    """Raise :class:`BadArgument` if a worker would need more memory than it has."""
    if made.ram <= made.ram_available or not made.ram_available:
        return
    smaller = max(made.chunk, made.tile // 2 // made.chunk * made.chunk)
    advice = f"{job}.tile={smaller}" if smaller < made.tile else f"{job}.chunk={smaller // 2}"
    fewer = " or fewer workers" if made.workers > 1 else ""
    raise BadArgument(
        f"tile={made.tile} may need {_bytes(made.ram)} in each of {made.workers} workers, and this "
        f"machine has {_bytes(made.ram_available)} for each. Pass --set {advice}{fewer}."
    )


def _seconds_per_pixel(
    run: Run[Request], tiles: Sequence[Tile], threads: int, side: int | None = None
) -> float:
    """Run a tile with data twice, the most central one; time the second run."""
    if not tiles:
        return float("nan")
    runner = run.runner.with_threads(threads)
    target = runner.spec.target
    middle = len(tiles) // 2
    by_distance = sorted(range(len(tiles)), key=lambda at: abs(at - middle))
    for at in by_distance[:_LOOKS]:
        core = _middle(tiles[at].core, side)
        if np.isfinite(runner.run(core, run.cube)[target]).any():
            break
    start = time.perf_counter()
    runner.run(core, run.cube)
    return (time.perf_counter() - start) / _area(core)


def _middle(window: Window, side: int | None) -> Window:
    """Return the middle of a window, of a side at most, px."""
    if side is None:
        return window
    spans = []
    for span in (window.y, window.x):
        start = span.start + max(0, len(span) - side) // 2
        spans.append(Span(start, min(span.stop, start + side)))
    return Window(*spans)


def _workers(section: DaskSection) -> tuple[int, int]:
    """Return how many processes share the work, and torch threads of each."""
    if section.cluster is not None:
        return section.jobs or 1, int((section.model_extra or {}).get("cores", 1))
    count = section.workers or 1
    return count, threads_each(count) if section.workers else torch_threads()


def _tile_bytes(run: Run[Request]) -> int:
    """Bound the memory of one tile without the network: chunks, arrays, results."""
    side = run.output_tiles.tile[0]
    rows, columns = (min(side, size) for size in run.window.shape)
    window = (rows + 2 * run.halo) * (columns + 2 * run.halo)
    decoded = 0
    for variable in run.cube.data.data_vars.values():
        chunk = variable.encoding.get("chunks") or variable.shape
        decoded += math.prod(chunk) * variable.dtype.itemsize
    # raw and cleaned, and the scaled copy that the network reads
    arrays = 3 * window * _bytes_in(run)
    arrays += 12 * window * 8  # sums of squares, in float64
    arrays += run.inner_bytes()
    return arrays + 2 * rows * columns * _bytes_out(run) + _DECODED_AT_ONCE * decoded


def _bytes_in(run: Run[Request]) -> int:
    """Bytes of all variables at one pixel."""
    steps = run.runner.steps
    return sum(
        len(steps.get(name, (0,))) * run.cube.stored(name).dtype.itemsize
        for name in run.cube.variables
    )


def _bytes_out(run: Run[Request]) -> int:
    """Bytes of all results at one pixel."""
    return sum(
        math.prod(lead) * run.dtype(output).itemsize for output, lead in run.outputs().items()
    )


def _area(window: Window) -> int:
    return len(window.y) * len(window.x)


def _bytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
