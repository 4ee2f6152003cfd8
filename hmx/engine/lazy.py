"""Lazy results: one small task per tile; nothing is read or computed until the user asks.

Each tile's task takes its core and halo as slices of the cube's own dask arrays, so anything
done to the cube before (crops, edits, reprojection) is part of the result. Where an array is
as its store was opened (its dask layers prove it), the slice travels inside the tile's task
and is read there: tasks then share nothing, and memory stays flat however large the raster.
The graph carries the model's path and digest, never weights.
"""

from __future__ import annotations

import operator

import dask.array as da
import numpy as np
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from hmx.cube.cube import Cubelike
from hmx.cube.field import CubeView
from hmx.engine.order import Request, Run, WindowTask
from hmx.windows import Span, Window, pieces


def lay(run: Run[Request]) -> Cubelike:
    """Return a checked run as a lazy xarray object; nothing is read or computed."""
    cube, tiles, runner = run.cube, run.tiles, run.runner
    sources = {name: _dask_array(cube, name) for name in cube.variables}
    names = (source.name for source in sources.values())
    name = f"hmx-{run.job}-{tokenize(run.request, tiles, runner.steps, *names)}"
    layer: dict[tuple[str, int, int], Task] = {}
    inputs: list[da.Array] = []
    for tile in tiles.covering(run.window):
        parts: list[da.Array | TaskRef] = []
        for variable, source in sources.items():
            part = _cut(source, tile.read, times=runner.steps.get(variable), nx=cube.grid.shape[1])
            if _as_opened(source):
                parts.append(part)
            else:
                parts.append(TaskRef((part.name, *(0,) * part.ndim)))
                inputs.append(part)
        key = (name, *tile.index)
        layer[key] = Task(key, _compute, runner.task(tile.core, tile.read, cube.grid), *parts)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    arrays = {output: _output_array(graph, name, output, run) for output in run.outputs()}
    return cube.restore(run.result(arrays))


def _compute(window_task: WindowTask, *parts: np.ndarray | da.Array) -> dict[str, np.ndarray]:
    """Compute one tile: read the parts that travel in the task, then run the window's task."""
    # synchronous: the task already has a thread, and a nested pool would multiply the memory
    raw = [
        part.compute(scheduler="synchronous") if isinstance(part, da.Array) else part
        for part in parts
    ]
    return window_task(*raw)


def _as_opened(source: da.Array) -> bool:
    """Return True if an array is a store as xarray or dask opened it, unchanged since."""
    names = (name.removeprefix("original-") for name in source.dask.layers)
    return all(name.startswith(("open_dataset-", "from-zarr-")) for name in names)


def _dask_array(cube: CubeView, name: str) -> da.Array:
    """Return a variable as dask, all its steps: a slice of it is no longer as it was opened."""
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
    covered = list(run.tiles.covering(run.window))
    first = covered[0]
    layer: dict[tuple[str | int, ...], Task] = {}
    for tile in covered:
        at = (tile.index[0] - first.index[0], tile.index[1] - first.index[1])
        cell: tuple[str | int, ...] = (name, *(0,) * len(shape), *at)
        layer[cell] = Task(cell, operator.getitem, TaskRef((tasks, *tile.index)), output)
    rows = {tile.index[0]: len(tile.core.y) for tile in covered}
    cols = {tile.index[1]: len(tile.core.x) for tile in covered}
    chunks = (*((size,) for size in shape), tuple(rows.values()), tuple(cols.values()))
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
