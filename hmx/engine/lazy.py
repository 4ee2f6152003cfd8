"""Lazy results: one small task per tile; nothing is read or computed until the user asks.

Each tile's task takes its core and halo as slices of the cube's own dask arrays, so anything
done to the cube before (crops, edits, reprojection) is part of the result. Where an array is
as its store was opened (its dask layers prove it), the task reads its window from the store
itself: tasks then share nothing, and memory stays flat however large the raster. Tasks are made
when they are asked for, so that a result of any number of tiles is there at once and small.
The graph carries the model's path and digest, never weights.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import DataNode, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from hmx.cube.cube import Cubelike
from hmx.cube.grid import Grid
from hmx.cube.read import CubeView
from hmx.engine.order import Request, Run, WindowRunner
from hmx.windows import Index, Span, TileGrid, Window, pieces

Key = tuple[Any, ...]


def lay(run: Run[Request]) -> Cubelike:
    """Return a checked run as a lazy xarray object; nothing is read or computed."""
    cube, tiles, runner = run.cube, run.tiles, run.runner
    sources = {name: _dask_array(cube, name) for name in cube.variables}
    names = (source.name for source in sources.values())
    name = f"hmx-{run.job}-{tokenize(run.request, tiles, runner.steps, *names)}"
    stores = {variable: _as_opened(source) for variable, source in sources.items()}
    parts: dict[Index, list[TaskRef]] = {}
    inputs: list[da.Array] = []
    sliced = [variable for variable, store in stores.items() if store is None]
    for tile in tiles.covering(run.window) if sliced else ():
        for variable in sliced:
            part = _cut(
                sources[variable],
                tile.read,
                times=runner.steps.get(variable),
                nx=cube.grid.shape[1],
            )
            parts.setdefault(tile.index, []).append(TaskRef((part.name, *(0,) * part.ndim)))
            inputs.append(part)
    shared = f"{name}-run"
    layer = _Tiles(name, shared, _touched(tiles, run.window), parts)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    node = DataNode(shared, _Shared(runner, tiles, cube.grid, stores))
    layers: dict[str, Any] = {**graph.layers, shared: MaterializedLayer({shared: node})}
    dependencies = {**graph.dependencies, shared: set()}
    dependencies[name] = {*dependencies[name], shared}
    graph = HighLevelGraph(layers, dependencies)
    arrays = {output: _output_array(graph, name, output, run) for output in run.outputs()}
    return cube.restore(run.result(arrays))


@dataclass(frozen=True)
class _Shared:
    """What all tiles of a result have in common."""

    runner: WindowRunner[Request]
    tiles: TileGrid
    grid: Grid
    stores: Mapping[str, Any]  # by variable: the array behind dask's; None where a part is given

    def read(self, variable: str, window: Window) -> np.ndarray:
        """Read a window of a variable, as its dask array would."""
        steps = self.runner.steps.get(variable)
        leading = () if steps is None else (steps.slice,)
        store = self.stores[variable]
        parts = [
            np.asarray(store[(*leading, window.y.slice, part)])
            for part in pieces(window.x, self.grid.shape[1])
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _compute(shared: _Shared, row: int, column: int, *parts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute one tile: read the variables that are not given, then run the window's task."""
    tile, given = shared.tiles[row, column], iter(parts)
    raw = [
        next(given) if store is None else shared.read(variable, tile.read)
        for variable, store in shared.stores.items()
    ]
    return shared.runner.task(tile.core, tile.read, shared.grid)(*raw)


class _Made(Layer):  # type: ignore[misc]
    """A layer of one task for each tile, which is made when it is asked for."""

    def __init__(self, name: str, span: tuple[range, range], zeros: int = 0):
        super().__init__()
        self._name, self._span, self._zeros = name, span, zeros

    def make(self, key: Key, at: Index) -> Task:
        """Return the task of a tile."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Task:
        if key not in self:
            raise KeyError(key)
        return self.make(key, key[-2:])

    def __contains__(self, key: object) -> bool:
        return (
            isinstance(key, tuple)
            and len(key) == 3 + self._zeros
            and key[0] == self._name
            and not any(key[1:-2])
            and key[-2] in self._span[0]
            and key[-1] in self._span[1]
        )

    def __iter__(self) -> Iterator[Any]:
        return ((self._name, *(0,) * self._zeros, *at) for at in product(*self._span))

    def __len__(self) -> int:
        return len(self._span[0]) * len(self._span[1])

    @property
    def has_legacy_tasks(self) -> bool:
        """Return False: tasks are of the present kind. Dask would make them all to see that."""
        return False

    def is_materialized(self) -> bool:
        """Return False: there is no task before it is asked for."""
        return False

    def get_output_keys(self) -> set[Any]:
        """Return the keys of all tiles."""
        return set(self)

    def get_dependencies(self, key: Any, all_hlg_keys: Collection[Any]) -> set[Any]:
        """Return what the task of a key needs."""
        return set(self[key].dependencies)

    def cull(self, keys: set[Any], all_hlg_keys: Collection[Any]) -> tuple[Layer, Any]:
        """Make the tasks of some keys alone."""
        tasks = {key: self[key] for key in keys if key in self}
        layer = MaterializedLayer(tasks, annotations=self.annotations)
        return layer, {key: set(task.dependencies) for key, task in tasks.items()}


class _Tiles(_Made):
    """The computation of each tile."""

    def __init__(
        self,
        name: str,
        shared: str,
        span: tuple[range, range],
        parts: Mapping[Index, list[TaskRef]],
    ):
        super().__init__(name, span)
        self._shared, self._parts = shared, parts

    def make(self, key: Key, at: Index) -> Task:
        """Return the task of a tile."""
        return Task(key, _compute, TaskRef(self._shared), *at, *self._parts.get(at, ()))


class _Output(_Made):
    """One output of each tile; tiles are counted from the first one of the window."""

    def __init__(self, name: str, tasks: str, output: str, span: tuple[range, range], zeros: int):
        super().__init__(name, (range(len(span[0])), range(len(span[1]))), zeros)
        self._tasks, self._output, self._first = tasks, output, (span[0].start, span[1].start)

    def make(self, key: Key, at: Index) -> Task:
        """Return the task that takes the output from the tile's others."""
        tile = (self._tasks, at[0] + self._first[0], at[1] + self._first[1])
        return Task(key, operator.getitem, TaskRef(tile), self._output)


def _touched(tiles: TileGrid, window: Window) -> tuple[range, range]:
    """Return the rows and columns of the tiles under a window."""
    rows, columns = (
        range(span.start // side, -(-span.stop // side))
        for span, side in zip((window.y, window.x), tiles.tile, strict=True)
    )
    return rows, columns


def _as_opened(source: da.Array) -> Any:
    """Return the array behind one that is a store as xarray or dask opened it, else None."""
    prefixes = ("open_dataset-", "from-zarr-")
    names = {name: name.removeprefix("original-") for name in source.dask.layers}
    first = f"original-{source.name}"
    if first not in names or not all(own.startswith(prefixes) for own in names.values()):
        return None
    node = source.dask.layers[first][first]
    return node.value if isinstance(node, DataNode) else node


def _dask_array(cube: CubeView, name: str) -> da.Array:
    """Return a variable as dask with all its steps: a slice would hide its store."""
    variable = cube.stored(name)
    if variable.chunks is None:
        variable = variable.chunk(dict.fromkeys(variable.dims, "auto"))
    array: da.Array = variable.data
    return array


def _cut(source: da.Array, window: Window, *, times: Span | None, nx: int) -> da.Array:
    """Slice some steps of a window out of a dask array, as one chunk."""
    steps = () if times is None else (times.slice,)
    # a window that crosses the date line of a global cube comes in two pieces
    parts = [source[(*steps, window.y.slice, part)] for part in pieces(window.x, nx)]
    joined = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=-1)
    return joined if joined.npartitions == 1 else joined.rechunk(-1)


def _output_array(graph: HighLevelGraph, tasks: str, output: str, run: Run[Request]) -> da.Array:
    """Return the lazy array of one output, cropped to the run's window."""
    name, shape = f"{tasks}-{output}", run.outputs()[output]
    span = _touched(run.tiles, run.window)
    first = run.tiles[span[0].start, span[1].start]
    layer = _Output(name, tasks, output, span, len(shape))
    heights, widths = run.tiles.chunks()
    rows, columns = heights[span[0].start : span[0].stop], widths[span[1].start : span[1].stop]
    chunks = (*((size,) for size in shape), rows, columns)
    picked = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {tasks}})
    whole = da.Array(picked, name, chunks=chunks, dtype=run.dtype(output))
    inner = run.window.within(Window(first.core.y, first.core.x))
    array = whole[(..., *inner.slices)]
    sides = run.tiles.tile
    ragged = any(
        len(sizes) > 1 and sizes[0] != side
        for sizes, side in zip(array.chunks[-2:], sides, strict=True)
    )
    if not ragged:
        return array
    # a region cuts the first tile, and Zarr refuses chunks whose first one is smaller
    return array.rechunk({array.ndim - 2: sides[0], array.ndim - 1: sides[1]})
