"""Write: a lazy forecast to a Zarr store, one row of tiles at a time.

The store is laid out first and says ``hmx_status: incomplete`` until its last
row of tiles is on disk. Each row is a small graph of its own, so memory and
scheduling do not grow with the raster.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import fsspec
import numpy as np
import xarray as xr
import zarr

from hmx.cube import enter, find_axes
from hmx.draft import attributes, finish
from hmx.errors import OutputExists
from hmx.geozarr import array_attributes, group_attributes
from hmx.progress import Progress, silent


def write(result: xr.Dataset, path: str, *, progress: Progress = silent) -> None:
    """Write a lazy result whole, tile row by tile row.

    Parameters
    ----------
    result : Dataset
        Of ``forecast``; dask-backed, regularly chunked.
    path : str
        A place that is free or that :func:`clear` has freed.
    progress : callable
        Told (tile rows done, tile rows, text).
    """
    grid = enter(result, target=_series(result), dynamic=(), static=()).grid
    result = result.assign_attrs(hmx_status="incomplete", **group_attributes(grid))
    for name in result.data_vars:
        result[name].attrs |= array_attributes(grid)
    result.to_zarr(
        path,
        mode="w-",
        compute=False,
        consolidated=False,
        zarr_format=3,
        encoding=_encoding(result),
    )
    rows = find_axes(result)["y"]
    moving = result.drop_vars([n for n, v in result.variables.items() if rows not in v.dims])
    edges = np.concatenate([[0], np.cumsum(result.chunksizes[rows])])
    for done, (start, stop) in enumerate(pairwise(edges.tolist()), start=1):
        part = moving.isel({rows: slice(start, stop)})
        part.to_zarr(path, region={rows: slice(start, stop)}, consolidated=False)
        progress(done, len(edges) - 1, "forecasting: rows of tiles")
    finish(zarr.open_group(path, mode="r+"), path)


def _series(result: xr.Dataset) -> str:
    """Name a variable with time, any of them: all lie on one grid."""
    return next(str(name) for name, variable in result.data_vars.items() if variable.ndim == 3)


def _encoding(result: xr.Dataset) -> dict[str, Any]:
    """Choose whole dask chunks as storage chunks; times as CF integers."""
    encoding: dict[str, Any] = {
        str(name): {"chunks": tuple(sizes[0] for sizes in variable.chunks)}
        for name, variable in result.data_vars.items()
        if variable.chunks
    }
    for name, coord in result.coords.items():
        if coord.dtype.kind == "M":
            encoding[str(name)] = {"dtype": "int64"}
    return encoding


def is_ours(attrs: Mapping[str, Any]) -> bool:
    """Tell whether attributes are those of a store that :func:`write` made.

    A forecast that its owner saved with ``to_zarr`` has no status: it is theirs.
    """
    return {"hmx_provenance", "hmx_status"} <= attrs.keys()


def clear(path: str, *, what: str) -> None:
    """Free a place that holds a product of hmx; refuse to touch anything else.

    Parameters
    ----------
    path : str
        A folder, or a URL that fsspec understands.
    what : str
        How the message calls the product.

    Raises
    ------
    OutputExists
        If something is there that hmx did not write.
    """
    files, place = fsspec.core.url_to_fs(path)
    if not files.exists(place) or (files.isdir(place) and not files.ls(place)):
        return
    if not is_ours(attributes(path)):
        raise OutputExists(
            f"{path} holds something that hmx did not write, so it is left alone, also with "
            f"--overwrite. Choose another place for the {what}."
        )
    files.rm(place, recursive=True)
