"""Run: what jobs, plans, audits and the lazy graph need to know of an order.

Forecasts and maps are run by the same code: it cuts the output into tiles, and what
a tile reads, computes and is called is the order's to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import dask.array as da
import numpy as np
import xarray as xr

from hmx.cube.cube import CHUNK, Cubelike
from hmx.cube.field import CubeView
from hmx.cube.grid import Grid
from hmx.cube.read import cut
from hmx.engine.inventory import Inventory
from hmx.engine.region import Region
from hmx.engine.result import variable_of
from hmx.provenance import provenance
from hmx.settings import Options
from hmx.windows import Span, TileGrid, Window, with_halo


@dataclass(frozen=True)
class Run(ABC):
    """Everything about a result but its pixels.

    Parameters
    ----------
    cube : Cube or Bands
        What is read.
    bundle : Bundle or MapBundle
        What computes; on disk.
    options : ForecastOptions or MapOptions
        As asked, and the tile_and_chunk of tile and chunk, both decided.
    window : Window
        The part of the cube that is asked for.
    request : Request or MapRequest
        What is asked of each window.
    """

    cube: CubeView
    bundle: Any
    options: Any
    window: Window
    request: Any

    job: ClassVar[str]  # the word for the result in messages and ledgers
    option_type: ClassVar[type[Options]]
    decides: ClassVar[tuple[str, ...]]  # facts that make two results different ones

    @classmethod
    @abstractmethod
    def of(cls, obj: Cubelike, model: Any, options: Any, *, region: Region = None) -> Self:
        """Check what is asked for, and complete it."""

    @property
    @abstractmethod
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""

    @property
    @abstractmethod
    def frame(self) -> WindowRunner:
        """How windows of the result are computed from the cube."""

    @property
    @abstractmethod
    def deciding(self) -> tuple[str, ...]:
        """Variables of which one must have data where anything is to come out."""

    @abstractmethod
    def source(self, path: str) -> Any:
        """Name a stored cube for workers, who call ``open`` of what is returned."""

    @abstractmethod
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Name the arrays a window gives, with their leading shape."""

    @abstractmethod
    def dtype(self, output: str) -> np.dtype[Any]:
        """Tell the type of one output's pixels."""

    @abstractmethod
    def dressed(self, arrays: Mapping[str, Any]) -> xr.Dataset:
        """Put names, coordinates and attributes around the arrays of the window."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Say how the result comes about, in JSON values."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Write down the options for another job, in JSON values."""

    @abstractmethod
    def summary(self) -> str:
        """Say in words what is computed."""

    @abstractmethod
    def tolerance(self, name: str = "") -> float:
        """Return what a variable may differ by if it is computed again, native units."""

    @abstractmethod
    def working_bytes(self) -> int:
        """Bound the working memory of the network on one window."""

    @abstractmethod
    def inner_bytes(self) -> int:
        """Bound what else one tile needs, beside its input and output."""

    @property
    def output_tiles(self) -> TileGrid:
        """Tiles of the output's own chunk grid, in its own pixels, for who writes it."""
        return TileGrid(self.window.shape, self.tiles.tile, halo=0)

    @property
    def halo(self) -> int:
        """True pixels read around a tile."""
        return self.tiles.halo

    def region(self) -> list[float] | None:
        """Return the bounds of what is asked for; ``None`` if that is everything."""
        grid = self.cube.grid
        whole = self.window == Window.of(grid.shape)
        return None if whole else list(grid.crop(self.window).bounds)

    def inventory(self, path: str | None) -> Inventory:
        """List the stored chunks of the cube; none if it is not stored."""
        return Inventory.of(self.cube, path, deciding=self.deciding)

    def describe(self, arrays: Mapping[str, Any]) -> xr.Dataset:
        """Put names, coordinates and provenance around the arrays of the window.

        Parameters
        ----------
        arrays : mapping
            Dask arrays by output.
        """
        result = self.dressed(arrays)
        result.attrs["hmx_provenance"] = provenance(**self.facts())
        return result

    def template(self) -> xr.Dataset:
        """Describe the output with arrays of one huge chunk that is never computed."""
        arrays = {
            output: da.zeros((*lead, *self.window.shape), chunks=-1, dtype=self.dtype(output))
            for output, lead in self.outputs().items()
        }
        result = self.cube.restore(self.describe(arrays))
        assert isinstance(result, xr.Dataset)  # a stored cube is one
        return result


def tile_and_chunk(options: Any, best: int) -> dict[str, int]:
    """Decide the tile_and_chunk of a tile and of an output chunk, px.

    Parameters
    ----------
    options : ForecastOptions or MapOptions
        With none, one or both of them given; a tile is a whole number of chunks.
    best : int
        Side of a tile that the device computes best, px.
    """
    tile, chunk = options.tile, options.chunk
    if tile is None:
        tile = best if chunk is None else chunk * max(1, best // chunk)
    if chunk is None:
        # the largest whole part of a tile that is no larger than a usual chunk
        fits = (side for side in range(min(CHUNK, tile), CHUNK // 4, -1) if tile % side == 0)
        chunk = next(fits, tile)
    return {"tile": tile, "chunk": chunk}


@dataclass(frozen=True)
class WindowRunner(ABC):
    """An output's place in its cube, and what is asked of each window.

    Parameters
    ----------
    area : Window
        The part of the cube that the output covers (north-up, west to east).
    flips : tuple of str
        Dims that run the other way in the output.
    spec : Spec or MapSpec
        What the network is fed.
    request : Request or MapRequest
        What is computed.
    """

    area: Window
    flips: tuple[str, ...]
    spec: Any
    request: Any

    # numpy in, numpy out: called with the request, a place and the variables as stored
    work: ClassVar[Callable[..., dict[str, np.ndarray]]]

    @property
    @abstractmethod
    def halo(self) -> int:
        """True pixels read around a window."""

    @abstractmethod
    def steps(self, cube: Any) -> Mapping[str, Span]:
        """Say which steps are read of each variable that has time."""

    @abstractmethod
    def place(self, core: Window, read: Window, grid: Grid) -> Any:
        """Find the place of a core in what is read for it, both in pixels of the cube."""

    def core(self, part: Window) -> Window:
        """Turn a window of the output into one of the cube."""
        turned = part.flip(self.area.shape, self.flips)
        return Window(turned.y.shift(self.area.y.start), turned.x.shift(self.area.x.start))

    def reads(self, part: Window, cube: CubeView) -> Window:
        """Return what is read of the cube for a window of the output."""
        grid = cube.grid
        return with_halo(self.core(part), grid.shape, halo=self.halo, wraps=grid.wraps)

    def needs(self, part: Window, cube: CubeView) -> Window:
        """Return the part of the cube without which a window of the output is empty."""
        return self.core(part)

    def threaded(self, threads: int | None) -> Self:
        """Return the same, computed with so many torch threads."""
        return replace(self, request=replace(self.request, threads=threads))

    def run(self, part: Window, cube: CubeView) -> dict[str, np.ndarray]:
        """Compute a window of the output from its true neighbours.

        Parameters
        ----------
        part : Window
            In pixels of the output.
        cube : Cube or Bands
            Only the window and its halo are read.

        Returns
        -------
        dict of ndarray
            By variable, (..., rows, columns), oriented as the output.
        """
        window = self.reads(part, cube)
        place = self.place(self.core(part), window, cube.grid)
        results = self.work(self.request, place, *self._read(window, cube))
        return {
            variable_of(output, self.spec.target): self.turned(block)
            for output, block in results.items()
        }

    def _read(self, window: Window, cube: CubeView) -> list[np.ndarray]:
        """Read a window of each variable as it is stored, its own steps of it."""
        steps, nx = self.steps(cube), cube.grid.shape[1]
        raw = []
        for name in cube.variables:
            variable = cube.stored(name)
            if name in steps:
                variable = variable.isel(time=steps[name].slice)
            raw.append(cut(variable, window, nx).values)
        return raw

    def turned(self, block: np.ndarray) -> np.ndarray:
        """Turn a block of the cube the way the output runs."""
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in self.flips]
        return np.flip(block, tuple(axes))
