"""Lazy results: one small task per tile, nothing read or computed until asked.

Each tile task takes its core and halo as slices of the cube's own dask arrays,
so whatever was done to the cube before (crops, edits, reprojection) is part of
the result. Where nothing was done, and an array is as its store was opened (its
dask layers prove it), the slice travels inside the tile's task and is read there:
tasks share nothing, and memory stays flat however large the raster. The graph
carries the bundle's path and digest, never weights.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from hmx.cube.cube import Cubelike
from hmx.cube.field import CubeView
from hmx.engine.order import Run
from hmx.windows import Span, Window, pieces


def lay(order: Run) -> Cubelike:
    """Lay out what is ordered as an xarray object; nothing is read or computed.

    Parameters
    ----------
    order : Order or MapOrder
        Checked and complete.
    """
    return order.cube.restore(order.describe(_arrays(order)))


def _arrays(order: Run) -> dict[str, da.Array]:
    """Lay out the tasks under a window; return the lazy arrays, cropped to it."""
    cube, tiles, frame = order.cube, order.tiles, order.frame
    sources = {name: _array(cube, name) for name in cube.variables}
    spans, nx = frame.steps(cube), cube.grid.shape[1]
    token = tokenize(order.request, tiles, spans, *(source.name for source in sources.values()))
    name = f"hmx-{order.job}-{token}"
    layer: dict[Any, Task] = {}
    inputs: list[da.Array] = []
    for tile in tiles.covering(order.window):
        parts: list[da.Array | TaskRef] = []
        for variable, source in sources.items():
            cut = _cut(source, tile.read, times=spans.get(variable), nx=nx)
            if _as_opened(source):
                parts.append(cut)
            else:
                parts.append(TaskRef((cut.name, *(0,) * cut.ndim)))
                inputs.append(cut)
        key = (name, *tile.index)
        place = frame.place(tile.core, tile.read, cube.grid)
        layer[key] = Task(key, _run, frame.work, order.request, place, *parts)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    return {output: _pick(graph, name, output, order) for output in order.outputs()}


def _run(
    work: Callable[..., dict[str, np.ndarray]],
    request: Any,
    place: Any,
    *parts: np.ndarray | da.Array,
) -> dict[str, np.ndarray]:
    """Run one tile: read what travels in the task, then compute."""
    raw = [
        part.compute(scheduler="synchronous") if isinstance(part, da.Array) else part
        for part in parts
    ]
    return work(request, place, *raw)


def _as_opened(source: da.Array) -> bool:
    """Tell whether an array is a store as xarray or dask opened it, untouched since."""
    names = (name.removeprefix("original-") for name in source.dask.layers)
    return all(name.startswith(("open_dataset-", "from-zarr-")) for name in names)


def _array(cube: CubeView, name: str) -> da.Array:
    """Return a variable as dask, all its steps: cut, it is no longer as it was opened."""
    variable = cube.stored(name)
    if variable.chunks is None:
        variable = variable.chunk(dict.fromkeys(variable.dims, "auto"))
    array: da.Array = variable.data
    return array


def _cut(source: da.Array, window: Window, *, times: Span | None, nx: int) -> da.Array:
    """Slice some steps of a window out of a dask array, as one chunk."""
    steps = () if times is None else (times.slice,)
    parts = [source[(*steps, window.y.slice, part)] for part in pieces(window.x, nx)]
    joined = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=-1)
    return joined if joined.npartitions == 1 else joined.rechunk(-1)


def _pick(graph: HighLevelGraph, tasks: str, output: str, order: Run) -> da.Array:
    """Make the lazy array of one output from the tile tasks."""
    name, shape = f"{tasks}-{output}", order.outputs()[output]
    covered = list(order.tiles.covering(order.window))
    first = covered[0]
    layer: dict[Any, Task] = {}
    for tile in covered:
        at = (tile.index[0] - first.index[0], tile.index[1] - first.index[1])
        key = (name, *(0,) * len(shape), *at)
        layer[key] = Task(key, operator.getitem, TaskRef((tasks, *tile.index)), output)
    rows = {tile.index[0]: len(tile.core.y) for tile in covered}
    cols = {tile.index[1]: len(tile.core.x) for tile in covered}
    chunks = (*((size,) for size in shape), tuple(rows.values()), tuple(cols.values()))
    picked = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {tasks}})
    whole = da.Array(picked, name, chunks=chunks, dtype=order.dtype(output))
    inner = order.window.within(Window(first.core.y, first.core.x))
    return _regular(whole[(..., *inner.slices)], order.tiles.tile)


def _regular(array: da.Array, tile: Sequence[int]) -> da.Array:
    """Rechunk where a region cut the first tile, so that any store can take it."""
    ragged = any(
        len(sizes) > 1 and sizes[0] != side
        for sizes, side in zip(array.chunks[-2:], tile, strict=True)
    )
    return array.rechunk({array.ndim - 2: tile[0], array.ndim - 1: tile[1]}) if ragged else array
