"""Run: the contract between the engine and a job.

Forecasts and maps are computed by the same code: the engine cuts the output into tiles, reads
each tile with its halo, hands plain arrays to the job and stores what comes back. What differs
between jobs is written here as two abstract classes, and the engine imports no job:

- :class:`Run` is one checked request: a cube, a window of it, options, and the names, types
  and attributes of the result. It stays in the user's process.
- :class:`WindowRunner` is the part of a run that computes. It is small and travels to workers,
  so it holds paths, digests and integers, never weights, pixels or coordinates.

A job subclasses both and enters its Run in ``JOBS`` of :mod:`hmx.engine.job`, so that a ledger
can name it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import dask.array as da
import numpy as np
import xarray as xr

from hmx.bundles.folder import Model
from hmx.cube.cube import CHUNK, Cubelike, Region
from hmx.cube.grid import Grid
from hmx.cube.read import CubeView, cut
from hmx.engine.inventory import Inventory
from hmx.engine.result import variable_of
from hmx.progress import Progress
from hmx.provenance import provenance
from hmx.settings import Options
from hmx.windows import Span, TileGrid, Window, with_halo


class Request(Protocol):
    """What a job asks of each window, as far as the engine reads it; a frozen dataclass."""

    @property
    def bundle(self) -> str:
        """Folder of the model."""

    @property
    def precision(self) -> str:
        """Arithmetic of the network."""

    def with_threads(self, threads: int | None) -> Self:
        """Return the same request, computed with so many torch threads."""


class TileOptions(Protocol):
    """The options of a job that the engine reads."""

    @property
    def tile(self) -> int | None:
        """Side of a tile, px."""

    @property
    def chunk(self) -> int | None:
        """Side of an output chunk, px."""

    @property
    def device(self) -> str:
        """As torch names it, or ``auto``."""


class Openable(Hashable, Protocol):
    """A stored cube, named for workers; hashable, because each worker opens it once."""

    def open(self) -> CubeView:
        """Open the cube without dask: a task reads its own window."""


@lru_cache(maxsize=4)
def opened(source: Openable, run: str) -> CubeView:
    """Open a stored cube once per process and job, which its fingerprint names."""
    return source.open()


class WindowTask(Protocol):
    """The computation of one window: arrays as stored in, arrays of the core out."""

    def __call__(self, *raw: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs of a core, by name, from its variables in the cube's order."""


class HasTarget(Protocol):
    """The description of a model, as far as the engine reads it."""

    @property
    def target(self) -> str:
        """The variable that is predicted."""


RequestT = TypeVar("RequestT", bound=Request, covariant=True)


@dataclass(frozen=True)
class WindowRunner(ABC, Generic[RequestT]):
    """Computes windows of an output from a cube."""

    area: Window  # the part of the cube that the output covers (north-up, west to east)
    flips: tuple[str, ...]  # dims that run the other way in the output
    spec: HasTarget  # describes the model
    request: RequestT  # what is computed of each window
    steps: Mapping[str, Span]  # steps that are read of each variable that has time

    @property
    @abstractmethod
    def halo(self) -> int:
        """True pixels read around a window."""

    @abstractmethod
    def task(self, core: Window, read: Window, grid: Grid) -> WindowTask:
        """Return the computation of a core from the window read for it, both in cube pixels."""

    def core(self, part: Window) -> Window:
        """Turn a window of the output into one of the cube."""
        turned = part.flip(self.area.shape, self.flips)
        return Window(turned.y.shift(self.area.y.start), turned.x.shift(self.area.x.start))

    def reads(self, part: Window, grid: Grid) -> Window:
        """Return the window of the cube that is read for a window of the output."""
        return with_halo(self.core(part), grid.shape, halo=self.halo, wraps=grid.wraps)

    def needs(self, part: Window, grid: Grid) -> Window:
        """Return the part of the cube without which a window of the output is empty."""
        return self.core(part)

    @property
    def has_origin(self) -> bool:
        """Whether results continue a map: :meth:`origin` then returns it."""
        return False

    def origin(self, core: Window, cube: CubeView) -> np.ndarray | None:
        """Read the map that results continue, (y, x), NaN where missing; ``None`` without one."""
        return None

    def with_threads(self, threads: int | None) -> Self:
        """Return the same runner, computing with so many torch threads."""
        return replace(self, request=self.request.with_threads(threads))

    def run(self, part: Window, cube: CubeView) -> dict[str, np.ndarray]:
        """Compute a window of the output: by variable, (..., rows, columns), output's direction."""
        window = self.reads(part, cube.grid)
        results = self.task(self.core(part), window, cube.grid)(*self.read(window, cube))
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in self.flips]
        return {
            variable_of(output, self.spec.target): np.flip(block, tuple(axes))
            for output, block in results.items()
        }

    def read(self, window: Window, cube: CubeView) -> list[np.ndarray]:
        """Read a window of each variable as stored, with the steps that the model sees."""
        raw = []
        for name in cube.variables:
            variable = cube.stored(name)
            if name in self.steps:
                variable = variable.isel(time=self.steps[name].slice)
            raw.append(cut(variable, window, cube.grid.shape[1]).values)
        return raw


@dataclass(frozen=True)
class Run(ABC, Generic[RequestT]):
    """One result, checked and complete, before any pixel is read.

    The lazy graph, a stored job, a plan and an audit all start from a Run, so all of them
    mean the same result.
    """

    cube: CubeView  # the input
    options: TileOptions  # as the user chose, with the sides of tile and chunk decided
    window: Window  # the part of the cube that is computed
    request: RequestT  # what is computed of each window

    job: ClassVar[str]  # the word for the result in messages and ledgers
    option_type: ClassVar[type[Options]]
    identity: ClassVar[tuple[str, ...]]  # names of the facts that make two results different

    @classmethod
    @abstractmethod
    def check(
        cls,
        obj: Cubelike,
        model: Model | str | Path,
        options: Options | Mapping[str, Any],
        *,
        region: Region = None,
    ) -> Self:
        """Check that cube, model and options fit, and decide what the user left open."""

    @property
    @abstractmethod
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""

    @property
    @abstractmethod
    def runner(self) -> WindowRunner[RequestT]:
        """Computes the windows of the result."""

    @property
    @abstractmethod
    def required_variables(self) -> tuple[str, ...]:
        """Variables of which at least one must have data; elsewhere the result is empty."""

    @abstractmethod
    def source(self, path: str) -> Openable:
        """Name the stored cube at a path for workers."""

    @abstractmethod
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the leading shape of each array of a window, by name."""

    @abstractmethod
    def dtype(self, output: str) -> np.dtype[Any]:
        """Return the type of one output's pixels."""

    @abstractmethod
    def to_dataset(self, arrays: Mapping[str, da.Array]) -> xr.Dataset:
        """Put names, coordinates and attributes around the arrays of the window."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Return how the result is made, in JSON values."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return the options as another job would need them, in JSON values."""

    @abstractmethod
    def summary(self) -> str:
        """Describe the result in a few words."""

    def notes(self) -> tuple[str, ...]:
        """Return lines that a user should read before the result is computed."""
        return ()

    def report(self, what: str, progress: Progress, more: str | None = None) -> None:
        """Report the notes before a task, and one more if there is one."""
        for line in (*self.notes(), *([] if more is None else [more])):
            progress.note(f"{what}: {line}")

    @abstractmethod
    def tolerance(self, name: str = "") -> float:
        """Return how much a variable may differ if it is computed again, native units."""

    @abstractmethod
    def with_quantiles(self, probabilities: tuple[float, ...]) -> Self:
        """Return the same run with these quantiles, without intervals, in tiles of its choice.

        All runs that differ in tiles, levels or region alone give the same quantiles, to the bit.
        """

    @abstractmethod
    def largest(self) -> float:
        """Return a size that no predicted value exceeds, native units."""

    @abstractmethod
    def working_bytes(self) -> int:
        """Return a bound on the working memory of the network on one window."""

    @abstractmethod
    def inner_bytes(self) -> int:
        """Return a bound on what else one tile needs, without its input and output."""

    @property
    def output_tiles(self) -> TileGrid:
        """Tiles of the output's own chunk grid, in its own pixels: one writer for each chunk."""
        return TileGrid(self.window.shape, self.tiles.tile, halo=0)

    @property
    def halo(self) -> int:
        """True pixels read around a tile."""
        return self.tiles.halo

    def region(self) -> list[float] | None:
        """Return the bounds of the window; ``None`` if it is the whole cube."""
        grid = self.cube.grid
        whole = self.window == Window.of(grid.shape)
        return None if whole else list(grid.crop(self.window).bounds)

    def inventory(self, path: str | None) -> Inventory:
        """List the stored chunks of the cube; none if it is not stored."""
        return Inventory.of(self.cube, path, required=self.required_variables)

    def result(self, arrays: Mapping[str, da.Array]) -> xr.Dataset:
        """Return the result around lazy arrays of the window, with its provenance."""
        result = self.to_dataset(arrays)
        result.attrs["hmx_provenance"] = provenance(**self.facts())
        return result

    def template(self) -> xr.Dataset:
        """Return the result around arrays of one huge chunk that is never computed."""
        arrays = {
            output: da.zeros((*lead, *self.window.shape), chunks=-1, dtype=self.dtype(output))
            for output, lead in self.outputs().items()
        }
        result = self.cube.restore(self.result(arrays))
        assert isinstance(result, xr.Dataset)  # a stored cube is one
        return result


def tile_and_chunk(options: TileOptions, best: int) -> dict[str, int]:
    """Decide the sides of a tile and of an output chunk, px; ``best`` suits the device."""
    tile, chunk = options.tile, options.chunk
    if tile is None:
        # a tile is a whole number of chunks, so that no two tiles write one chunk
        tile = best if chunk is None else chunk * max(1, best // chunk)
    if chunk is None:
        # the largest whole part of a tile that is no larger than a usual chunk
        fits = (side for side in range(min(CHUNK, tile), CHUNK // 4, -1) if tile % side == 0)
        chunk = next(fits, tile)
    return {"tile": tile, "chunk": chunk}
