"""Read one source of a cube, window by window: GDAL rasters, mosaics, NetCDF, Zarr.

A :class:`Part` is one or more steps of a variable on one north-up grid. Opening
it reads headers only; :meth:`Part.read` reads the pixels of one window, so that
memory follows the window and not the raster. South-up rasters are flipped on
reading. The scale and offset *tags* of a GeoTIFF are not applied (give ``scale``
and ``offset`` in the catalog); NetCDF and Zarr are decoded by CF rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window as RasterWindow

from hmx.axes import find_axes
from hmx.catalog import Source
from hmx.cube import CHUNK, Rules
from hmx.errors import CatalogError, CubeError, missing_variable
from hmx.grid import Grid
from hmx.mosaic import probe, reading, union, virtual
from hmx.windows import Span, TileGrid, Window

_WARP_ERROR_PX = 1e-3  # at GDAL's 1/8 px the borders of windows show: .1 of white noise
_LAZY = (".nc", ".nc4", ".cdf", ".zarr")


class Part(Protocol):
    """Some steps of one variable on one north-up grid, read by window."""

    @property
    def name(self) -> str:
        """File, URL or glob, as messages call it."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie, north-up."""

    @property
    def steps(self) -> int:
        """Number of time steps."""

    def read(self, window: Window) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""


@dataclass(frozen=True)
class Raster:
    """Bands of anything GDAL opens, a virtual mosaic or warp included.

    Parameters
    ----------
    name : str
        File or glob, as messages call it.
    source : Source, optional
        What is missing and how values scale; ``None``: nothing is left to do.
    grid : Grid
        North-up grid of the pixels read.
    connection : str
        Path, URL or VRT as XML.
    bands : tuple of int
        One band for each step, from 1.
    flipped : bool
        Whether the file's first row is the southernmost.
    align : str, optional
        Resampling onto ``grid``, where the file is on another one.
    """

    name: str
    source: Source | None
    grid: Grid
    connection: str
    bands: tuple[int, ...] = (1,)
    flipped: bool = False
    align: str | None = None

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return len(self.bands)

    def read(self, window: Window) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        rows = window.y
        if self.flipped:
            rows = Span(self.grid.shape[0] - rows.stop, self.grid.shape[0] - rows.start)
        at = RasterWindow.from_slices(rows.slice, window.x.slice)
        with reading(self.name), self._open() as dataset:
            raw = dataset.read(list(self.bands), window=at, masked=True)
        values = clean(raw.data, self.source)
        values[np.ma.getmaskarray(raw)] = np.nan
        return values[:, ::-1] if self.flipped else values

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with rasterio.open(self.connection) as dataset:
            if self.align is None:
                yield dataset
                return
            with WarpedVRT(
                dataset,
                crs=self.grid.crs.to_wkt(),
                transform=self.grid.transform,
                height=self.grid.shape[0],
                width=self.grid.shape[1],
                resampling=Resampling[self.align],
                src_nodata=np.nan,
                nodata=np.nan,
                tolerance=_WARP_ERROR_PX,
                **_scale(dataset, self.grid),
            ) as warped:
                yield warped


@dataclass(frozen=True)
class Lazy:
    """A lazily opened variable of a NetCDF or Zarr file.

    Parameters
    ----------
    name : str
        File, as messages call it.
    source : Source, optional
        What is missing and how values scale; ``None``: nothing is left to do.
    grid : Grid
        North-up grid of the pixels.
    data : DataArray
        Dims (y, x) or (time, y, x), north-up; not read yet.
    """

    name: str
    source: Source | None
    grid: Grid
    data: xr.DataArray

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return int(self.data.sizes.get("time", 1))

    @property
    def time(self) -> xr.DataArray | None:
        """The file's own time axis, if it has one."""
        return self.data["time"] if "time" in self.data.dims else None

    def at(self, indices: Sequence[int]) -> Lazy:
        """Select time steps by position."""
        return replace(self, data=self.data.isel(time=list(indices)))

    def read(self, window: Window) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        with reading(self.name):
            raw = self.data.isel(y=window.y.slice, x=window.x.slice).values
        return clean(raw.reshape(self.steps, *window.shape), self.source)


def clean(raw: np.ndarray, source: Source | None) -> np.ndarray:
    """Turn a file's values into a cube's: float32, NaN for what is missing.

    Parameters
    ----------
    raw : ndarray
        As stored; its undeclared ``nodata`` is compared here.
    source : Source or None
        Its scale and offset apply next, and its valid range to the result.
    """
    if source is None:
        return np.asarray(raw, dtype="float32")
    missing = np.zeros(raw.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        if source.nodata is not None:
            missing = raw == source.nodata
        if (source.scale, source.offset) != (1.0, 0.0):
            raw = raw.astype("float64") * source.scale + source.offset
        values = Rules(source.valid_range).clean(raw)
    values[missing] = np.nan
    return values


def open_part(source: Source, files: Sequence[str], name: str) -> Raster | Lazy:
    """Open the file or the tiles of one step, headers only.

    Parameters
    ----------
    source : Source
        Names the variable or band, and how values are read.
    files : sequence of str
        One file, or the tiles of a mosaic.
    name : str
        What messages call it.

    Raises
    ------
    SourceError
        If a file cannot be read.
    MissingCRS
        If a file has no CRS.
    CatalogError
        If the band or the variable is not said.
    GridMismatch
        If the tiles of a mosaic do not share one pixel lattice.
    """
    if files[0].rstrip("/").lower().endswith(_LAZY):
        return _open_lazy(source, files, name)
    tiles = [probe(file, source.variable) for file in files]
    stored = union(tiles)
    grid = _north_up(stored, name)
    plain = len(tiles) == 1 and source.align is None
    connection = files[0] if plain else virtual(tiles, stored, source)
    bands = (tiles[0].band,) if plain else (1,)
    return Raster(name, source, grid, connection, bands, flipped=stored.transform.e > 0)


def aligned(part: Part, grid: Grid, source: Source, *, scratch: Path) -> Part:
    """Bring a part to a grid, as its source's ``align`` says; warped on reading.

    Parameters
    ----------
    part : Part
        As opened.
    grid : Grid
        The cube's.
    source : Source
        Names the resampling.
    scratch : Path
        Folder for the copy that GDAL needs of a NetCDF or Zarr variable.

    Raises
    ------
    GridMismatch
        If the grids differ and the source does not say how to align.
    """
    if source.align is None:
        grid.require_same(part.grid, part.name)
    if grid.difference(part.grid) is None:
        return part
    raster = part if isinstance(part, Raster) else _spool(part, scratch)
    return replace(raster, grid=grid, align=source.align, flipped=False)


def _north_up(stored: Grid, name: str) -> Grid:
    """Turn a stored grid north-up, if a flip of rows does it."""
    at, (ny, nx) = stored.transform, stored.shape
    if at.b or at.d or at.a < 0:
        raise CubeError(
            f"{name} is rotated (transform {tuple(at)[:6]}), and rows of a cube run west to east. "
            f"Straighten it: gdalwarp {name} straight.tif"
        )
    if at.e < 0:
        return stored
    return Grid(stored.crs, Affine(at.a, 0.0, at.c, 0.0, -at.e, at.f + ny * at.e), (ny, nx))


def _scale(dataset: Any, grid: Grid) -> dict[str, float]:
    """Fix the width of the kernel, which GDAL guesses anew for each window."""
    row, column = grid.shape[0] // 2, grid.shape[1] // 2
    (left, above), (right, below) = grid.corner(row, column), grid.corner(row + 1, column + 1)
    cell = (left, below, right, above)
    with suppress(RasterioError):
        west, south, east, north = transform_bounds(grid.crs.to_wkt(), dataset.crs, *cell)
        scales = np.divide(dataset.res, (east - west, north - south))
        if np.isfinite(scales).all():
            return {"XSCALE": float(f"{scales[0]:.6g}"), "YSCALE": float(f"{scales[1]:.6g}")}
    return {}


def _spool(part: Part, scratch: Path) -> Raster:
    """Copy a part into a GeoTIFF, window by window, because GDAL warps only rasters."""
    scratch.mkdir(exist_ok=True)
    file = scratch / f"{len(list(scratch.iterdir()))}.tif"
    ny, nx = part.grid.shape
    how: dict[str, Any] = {"crs": part.grid.crs.to_wkt(), "transform": part.grid.transform}
    how |= {"tiled": True, "blockxsize": CHUNK, "blockysize": CHUNK, "compress": "deflate"}
    how |= {"interleave": "band", "bigtiff": "if_safer", "nodata": np.nan, "dtype": "float32"}
    with rasterio.open(file, "w", "GTiff", nx, ny, part.steps, **how) as copy:
        for tile in TileGrid(part.grid.shape, (CHUNK, CHUNK), 0):
            at = RasterWindow.from_slices(*tile.core.slices)
            copy.write(part.read(tile.core), window=at)
    return Raster(part.name, None, part.grid, str(file), tuple(range(1, part.steps + 1)))


def _open_lazy(source: Source, files: Sequence[str], name: str) -> Lazy:
    if len(files) > 1:
        raise CatalogError(
            f"{name} stands for {len(files)} files, and only rasters can be tiles of a mosaic. "
            "Name one NetCDF or Zarr file, or put {year} in the path."
        )
    zarr = files[0].rstrip("/").lower().endswith(".zarr")
    how: dict[str, Any] = {"engine": "zarr", "consolidated": False} if zarr else {}
    with reading(name):
        data = xr.open_dataset(files[0], chunks=None, decode_coords="all", **how)
    variable = source.variable or (str(next(iter(data))) if len(data.data_vars) == 1 else None)
    if variable is None:
        raise CatalogError(
            f"{name} has several variables ({', '.join(sorted(map(str, data.data_vars)))}). "
            "Say which in the catalog: variable: ..."
        )
    if variable not in data.data_vars:
        raise missing_variable(variable, data.data_vars, where=name)
    try:
        placed = _placed(data[variable])
        return Lazy(name, source, Grid.from_xarray(placed), placed)
    except CubeError as error:
        raise type(error)(f"{name}: {error}") from None


def _placed(data: xr.DataArray) -> xr.DataArray:
    """Name and orient the axes as inside a cube, without reading pixels."""
    thin = [dim for dim in data.dims if data.sizes[dim] == 1][: max(0, data.ndim - 2)]
    flat = data.squeeze(thin, drop=True)
    if flat.ndim not in (2, 3):
        raise CubeError(
            f"{data.name!r} has dimensions {tuple(data.dims)}, and a source has y, x and at most "
            "time. Save one level of it: ds.isel(...).to_netcdf(...)."
        )
    # coordinates alone, because expand_dims would read the pixels
    axes = flat.coords.to_dataset()
    names = find_axes(axes if flat.ndim == 3 else axes.expand_dims({"time": [0]}))
    flat = flat.rename({o: n for n, o in names.items() if o in flat.dims and o != n})
    flat = flat.transpose(..., "y", "x")
    south_up = flat.sizes["y"] > 1 and bool(flat["y"][0] < flat["y"][-1])
    east_up = flat.sizes["x"] > 1 and bool(flat["x"][0] > flat["x"][-1])
    flips = {dim: slice(None, None, -1) for dim, flip in (("y", south_up), ("x", east_up)) if flip}
    return flat.isel(flips)
