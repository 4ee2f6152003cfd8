"""Lazy forecast: one small task per tile, nothing read or computed until asked.

Each tile task takes its core and halo as slices of the cube's own dask arrays,
so whatever was done to the cube before (crops, edits, reprojection) is part of
the forecast. Where nothing was done, and an array is as its store was opened (its
dask layers prove it), the slice travels inside the tile's task and is read there:
tasks share nothing, and memory stays flat however large the raster. The graph
carries the bundle's path and digest, never weights.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from hmx.bundle import Bundle, load
from hmx.cube import Cube, Cubelike, enter
from hmx.errors import BadArgument
from hmx.models import forecaster
from hmx.options import ForecastOptions, parse
from hmx.predict.describe import describe
from hmx.predict.precision import resolve
from hmx.predict.region import Region, window_of
from hmx.predict.spill import on_disk
from hmx.predict.step import Request, choose_device, forecast_window
from hmx.provenance import provenance
from hmx.windows import TileGrid, Window, pieces


def forecast(
    obj: Cubelike, model: Bundle | str | Path, *, region: Region = None, **options: Any
) -> Cubelike:
    """Forecast the next steps of a cube, lazily.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's variables, on pixels of the model's size.
    model : Bundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to forecast; equals the crop of the full forecast.
    **options
        Fields of :class:`hmx.options.ForecastOptions`.

    Returns
    -------
    Dataset or DataArray
        As ``obj`` came; dask-backed, float32, NaN where the origin has no data.

    Raises
    ------
    BadArgument
        If an option is impossible.
    BundleError, CubeError, MissingVariable
        If the model and the cube do not fit.
    """
    chosen = parse(ForecastOptions, options)
    bundle = model if isinstance(model, Bundle) else load(model)
    cube = enter(
        obj,
        target=bundle.spec.target,
        dynamic=bundle.spec.dynamic,
        static=bundle.spec.static,
    )
    _check(chosen, bundle, cube)
    window = window_of(region, cube)
    plan = _plan(chosen, on_disk(bundle), cube)
    result = describe(_lay(plan, cube, window), cube, window, bundle, chosen)
    result.attrs["hmx_provenance"] = plan.provenance(cube, chosen, window)
    return cube.leave(result)


@dataclass(frozen=True)
class Plan:
    """Everything about a forecast but its pixels.

    Parameters
    ----------
    request : Request
        What is asked of each window.
    bundle : Bundle
        On disk.
    tiles : TileGrid
        Anchored to the cube, whatever the region.
    """

    request: Request
    bundle: Bundle
    tiles: TileGrid

    def provenance(self, cube: Cube, options: ForecastOptions, window: Window) -> str:
        """Say in JSON how the result came about."""
        whole = window == Window.of(cube.grid.shape)
        return provenance(
            bundle=self.bundle.digest,
            data=cube.data.attrs.get("hmx_fingerprint"),
            origin=cube.origin_label(),
            h=options.h,
            level=list(options.level),
            quantiles=list(options.quantiles),
            region=None if whole else cube.grid.crop(window).bounds,
            seed=self.bundle.training.get("seed"),
            tile=self.tiles.tile[0],
            halo=self.tiles.halo,
            precision=self.request.precision,
        )


def _check(options: ForecastOptions, bundle: Bundle, cube: Cube) -> None:
    """Refuse early what a tile would only find out late."""
    bundle.spec.require_fits(cube)
    if options.level or options.quantiles:
        bundle.calibration.require()
    if cube.door.dataarray and (options.level or options.quantiles):
        raise BadArgument(
            "level= and quantiles= give several variables, and a DataArray is one. "
            "Use a Dataset: da.to_dataset(name='hm').hm.forecast(..., level=80)."
        )
    choose_device(options.device)
    # a weight that does not fit is told here, not by the first tile
    forecaster.Forecaster.load(bundle)


def _plan(options: ForecastOptions, bundle: Bundle, cube: Cube) -> Plan:
    tiles = TileGrid(
        cube.grid.shape,
        (options.tile, options.tile),
        halo=forecaster.reach(bundle.spec.network, options.h),
        wraps=cube.grid.wraps,
    )
    request = Request(
        bundle=str(bundle.path),
        digest=bundle.digest,
        rules=cube.rules,
        h=options.h,
        level=options.level,
        quantiles=options.quantiles,
        precision=resolve(options.precision, options.device, bundle, cube, tiles, options.h),
        device=options.device,
    )
    return Plan(request, bundle, tiles)


def _lay(plan: Plan, cube: Cube, window: Window) -> dict[str, da.Array]:
    """Lay out the tasks under a window; return the lazy arrays, cropped to it."""
    sources = [_array(cube, name) for name in cube.variables]
    history, nx = plan.bundle.spec.network.history, cube.grid.shape[1]
    token = tokenize(plan.request, plan.tiles, *(source.name for source in sources))
    name = f"hmx-forecast-{token}"
    layer: dict[Any, Task] = {}
    inputs: list[da.Array] = []
    covered = list(plan.tiles.covering(window))
    for tile in covered:
        parts: list[da.Array | TaskRef] = []
        for source in sources:
            cut = _cut(source, tile.read, history=history, nx=nx)
            if _as_opened(source):
                parts.append(cut)
            else:
                parts.append(TaskRef((cut.name, *(0,) * cut.ndim)))
                inputs.append(cut)
        key = (name, *tile.index)
        layer[key] = Task(key, _run, plan.request, tile.crop, *parts)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=inputs)
    outputs = _outputs(plan.request)
    return {
        output: _pick(graph, name, output, shape, plan, window) for output, shape in outputs.items()
    }


def _run(request: Request, crop: Window, *parts: np.ndarray | da.Array) -> dict[str, np.ndarray]:
    """Run one tile: read what travels in the task, then compute."""
    raw = [
        part.compute(scheduler="synchronous") if isinstance(part, da.Array) else part
        for part in parts
    ]
    return forecast_window(request, crop, *raw)


def _as_opened(source: da.Array) -> bool:
    """Tell whether an array is a store as xarray or dask opened it, untouched since."""
    names = (name.removeprefix("original-") for name in source.dask.layers)
    return all(name.startswith(("open_dataset-", "from-zarr-")) for name in names)


def _outputs(request: Request) -> dict[str, tuple[int, ...]]:
    """Name the arrays a window gives, with their leading shape."""
    ends = [f"{end}_{level:g}" for level in request.level for end in ("lo", "hi")]
    outputs: dict[str, tuple[int, ...]] = dict.fromkeys(["mean", *ends], (request.h,))
    if request.quantiles:
        outputs["quantile"] = (len(request.quantiles), request.h)
    return {**outputs, "quality": ()}


def _array(cube: Cube, name: str) -> da.Array:
    """Return a variable as dask."""
    variable = cube.data[name]
    if variable.chunks is None:
        variable = variable.chunk(dict.fromkeys(variable.dims, "auto"))
    array: da.Array = variable.data
    return array


def _cut(source: da.Array, window: Window, *, history: int, nx: int) -> da.Array:
    """Slice the last steps of a window out of a dask array, as one chunk."""
    steps = (slice(-history, None),) * (source.ndim - 2)
    parts = [source[(*steps, window.y.slice, part)] for part in pieces(window.x, nx)]
    joined = parts[0] if len(parts) == 1 else da.concatenate(parts, axis=-1)
    return joined if joined.npartitions == 1 else joined.rechunk(-1)


def _pick(
    graph: HighLevelGraph,
    tasks: str,
    output: str,
    shape: tuple[int, ...],
    plan: Plan,
    window: Window,
) -> da.Array:
    """Make the lazy array of one output from the tile tasks."""
    name = f"{tasks}-{output}"
    covered = list(plan.tiles.covering(window))
    first = covered[0]
    layer: dict[Any, Task] = {}
    for tile in covered:
        at = (tile.index[0] - first.index[0], tile.index[1] - first.index[1])
        key = (name, *(0,) * len(shape), *at)
        layer[key] = Task(key, operator.getitem, TaskRef((tasks, *tile.index)), output)
    rows = {tile.index[0]: len(tile.core.y) for tile in covered}
    cols = {tile.index[1]: len(tile.core.x) for tile in covered}
    chunks = (*((size,) for size in shape), tuple(rows.values()), tuple(cols.values()))
    dtype = np.dtype("uint8") if output == "quality" else _float(plan.request)
    picked = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {tasks}})
    whole = da.Array(picked, name, chunks=chunks, dtype=dtype)
    inner = window.within(Window(first.core.y, first.core.x))
    return _regular(whole[(..., *inner.slices)], plan.tiles.tile)


def _float(request: Request) -> np.dtype[Any]:
    return np.dtype("float64" if request.precision == "float64" else "float32")


def _regular(array: da.Array, tile: Sequence[int]) -> da.Array:
    """Rechunk where a region cut the first tile, so that any store can take it."""
    ragged = any(
        len(sizes) > 1 and sizes[0] != side
        for sizes, side in zip(array.chunks[-2:], tile, strict=True)
    )
    return array.rechunk({array.ndim - 2: tile[0], array.ndim - 1: tile[1]}) if ragged else array
