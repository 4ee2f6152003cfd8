"""COG: maps and forecasts as Cloud Optimised GeoTIFFs, for QGIS and every other GIS.

One file for each variable and step of time, with overviews, and with tags of its content and
its provenance. A raster is written in squares and then rewritten by GDAL's COG driver, so memory
does not grow with its size.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from rasterio.windows import Window as RasterWindow

from hmx.cube.axes import north_up
from hmx.cube.cube import open_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid
from hmx.cube.names import file_stems
from hmx.cube.store import claim, discard
from hmx.errors import CubeError, OutputExists
from hmx.files.durable import flush
from hmx.files.lock import building, followed
from hmx.files.paths import absolute
from hmx.independent import independent
from hmx.progress import OnStep, Progress
from hmx.windows import TileGrid

SQUARE = 1024  # side, px, of the part in memory
BLOCK = 512  # side of a block in the files, px
_CACHE = 64  # MiB that GDAL may keep
_LEVEL = re.compile(r"_(?:lo|hi)_([0-9.]+)$")
_MARK = "HMX"  # tag of every exported file


@independent
def export_cog(
    source: xr.Dataset | str | Path,
    folder: str | Path,
    *,
    progress: Progress | OnStep | None = None,
) -> list[Path]:
    """Write a map or a forecast as Cloud Optimised GeoTIFFs.

    Parameters
    ----------
    source : Dataset or path
        A store that a job wrote, or a Dataset in memory; a lazy one is computed
        once for each file, so store it first.
    folder : str or Path
        Gets ``soc.tif``, ``soc_lo_90.tif`` ... or ``hm_2025.tif`` ...; exported files of
        the same names are replaced.
    progress : Progress or callable, optional
        A plain callable gets (files done, files, text).

    Returns
    -------
    list of Path
        In the order of variables and time.

    Raises
    ------
    CubeError
        If there is no raster, no CRS, or no regular grid.
    OutputExists
        If a file of another origin has one of the names.
    SourceError
        If there is no store.
    """
    progress = Progress.of(progress)
    data = source if isinstance(source, xr.Dataset) else open_cube(source)
    data = north_up(data)
    grid, folder = Grid.from_xarray(data), Path(absolute(folder))
    layers = list(layers_of(data))
    if not layers:
        raise CubeError(
            f"there is no raster among {', '.join(map(str, data.data_vars)) or 'nothing'}: a "
            "GeoTIFF holds a variable with rows and columns. Pass the store of a map or forecast."
        )
    paths = [folder / f"{stem}.tif" for stem in file_stems(name for name, _ in layers)]
    with building(folder), work_folder(folder) as work:
        for path in paths:
            _require_ours(path)
        for done, (path, (name, layer)) in enumerate(zip(paths, layers, strict=True)):
            progress.step(done, len(layers), f"export: {name}")
            write_cog(layer, path, work, grid=grid, tags=tags_of(layer, data.attrs))
    progress.step(len(layers), len(layers), "export: done")
    return paths


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Yield a private folder for incomplete files, whatever GDAL calls them."""
    followed(folder).mkdir(parents=True, exist_ok=True)
    work = folder / ".export"
    claim(work)
    try:
        yield work
    finally:
        discard(work)


def layers_of(data: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield each plane of each variable, with the name of its file."""
    dated = [name for name in ("time",) if name in data.coords and not data[name].ndim]
    for name, variable in data.data_vars.items():
        if not {"y", "x"} <= set(variable.dims):
            continue
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for at in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            chosen = dict(zip(others, at, strict=True))
            layer = variable.isel(chosen).transpose("y", "x")
            labels = []
            for dim in (*others, *dated):
                value = layer[dim].values[()] if dim in layer.coords else chosen.get(dim, 0)
                # as short as it is clear: 2025, 0.5; a colon is not allowed in names on Windows
                labels.append(time_label(value).removesuffix("-01-01").replace(":", ""))
            yield "_".join([str(name), *labels]), layer


def tags_of(layer: xr.DataArray, attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Return the tags of a plane: content and provenance."""
    tags = {_MARK: "product", "variable": str(layer.name)}
    for key in ("long_name", "units", "flag_meanings", "flag_masks", "flag_values"):
        if key in layer.attrs:
            tags[key] = " ".join(map(str, np.atleast_1d(layer.attrs[key])))
    named = {"time": "valid_time", "lead": "lead", "quantile": "quantile"}
    named |= {"threshold": "threshold", "forecast_reference_time": "forecast_reference_time"}
    for name, coord in layer.coords.items():
        if str(name) in named and not coord.ndim:
            tags[named[str(name)]] = time_label(coord.values[()])
    if level := _LEVEL.search(str(layer.name)):
        tags["level"] = level[1]
    if "hmx_provenance" in attrs:
        tags["hmx_provenance"] = str(attrs["hmx_provenance"])
    return tags


def _require_ours(path: Path) -> None:
    """Raise :class:`OutputExists` unless the path is free or holds an exported file."""
    if not path.exists():
        return
    try:
        with rasterio.open(path) as file:
            ours = _MARK in file.tags()
    except rasterio.errors.RasterioIOError:
        ours = False
    if not ours:
        raise OutputExists(
            f"{path} is not a file that hmx exported, so it is left alone. Choose another folder."
        )


def write_cog(
    layer: xr.DataArray, path: Path, work: Path, *, grid: Grid, tags: Mapping[str, str]
) -> None:
    """Write one plane, square by square; the file appears whole, or not at all."""
    plain, draft = work / "plain.tif", work / "draft.tif"
    real = layer.dtype.kind == "f"
    # no data is NaN, or the flag of that name
    meanings = str(layer.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(layer.attrs.get("flag_values", layer.attrs.get("flag_masks", ())))
    flags = dict(zip(meanings, map(float, values), strict=False))
    profile = {
        "driver": "GTiff",
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": 1,
        "dtype": layer.dtype,
        "crs": rasterio.CRS.from_wkt(grid.crs.to_wkt()),
        "transform": grid.transform,
        "nodata": float("nan") if real else flags.get("no_data"),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "sparse_ok": True,
    }
    shared = {"BIGTIFF": "IF_SAFER", "COMPRESS": "DEFLATE"}
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        with rasterio.open(plain, "w", **profile, **shared) as file:
            file.update_tags(**tags)
            file.set_band_description(1, tags.get("long_name", str(layer.name)))
            if "units" in layer.attrs:
                file.set_band_unit(1, str(layer.attrs["units"]))
            for tile in TileGrid(grid.shape, (SQUARE, SQUARE), halo=0):
                rows, columns = tile.core.slices
                square = layer.isel(y=rows, x=columns).values
                file.write(square, 1, window=RasterWindow.from_slices(rows, columns))
        # the COG driver needs a whole raster: it cannot write squares
        rasterio.shutil.copy(
            plain,
            draft,
            driver="COG",
            BLOCKSIZE=BLOCK,
            PREDICTOR="YES",
            # a mean of flags would be another flag
            OVERVIEW_RESAMPLING="AVERAGE" if real else "MODE",
            **shared,
        )
    flush(draft)
    draft.replace(path)
    plain.unlink()
