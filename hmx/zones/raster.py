"""Raster of zones: whole numbers on the grid of the cube, from a file or an array."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from hmx.cube.grid import Grid, north_up
from hmx.errors import BadArgument, CubeError, GridMismatch, SourceError
from hmx.files.paths import is_url
from hmx.windows import Span, Window
from hmx.zones.cover import Cover, Ints

_ROWS = 512  # of a block that is read at once
_MOST = 100_000  # zones of a raster: with more it is a map of a quantity, passed by mistake
_DENSE = 1 << 26  # numbers between the least and the greatest that are counted in a table


def save(values: NDArray[Any], path: str) -> str:
    """Save an array whole; a process that has mapped an earlier one keeps that."""
    whole = Path(path)
    whole.parent.mkdir(parents=True, exist_ok=True)
    draft = whole.with_name(f"{whole.stem}.{os.getpid()}.draft.npy")
    np.save(draft, values)
    draft.replace(whole)
    return path


def mapped(path: str) -> NDArray[Any]:
    """Map an array into memory, once per process and state of the file."""
    stat = os.stat(path)
    return _opened(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: str, *state: int) -> NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))


@dataclass(frozen=True)
class ZoneRaster:
    """A raster on the grid of the cube, north-up."""

    source: str | NDArray[Any]  # anything GDAL reads, a ``.npy``, or the values
    nodata: float | None = None  # of an array; files declare their own

    def read(self, window: Window) -> np.ma.MaskedArray[Any, Any]:
        """Read a window within the columns of the grid; nodata is masked."""
        if not isinstance(self.source, str) or self.source.endswith(".npy"):
            array = mapped(self.source) if isinstance(self.source, str) else self.source
            values = array[window.slices]
            return np.ma.masked_array(values, values == self.nodata)
        import rasterio

        rows, columns = window.y, window.x
        at = ((rows.start, rows.stop), (columns.start, columns.stop))
        with rasterio.open(self.source) as file:
            return np.ma.asarray(file.read(1, window=at, masked=True))

    @property
    def declares_nodata(self) -> bool:
        """Whether the raster declares a value or a mask for pixels outside all zones."""
        if not isinstance(self.source, str) or self.source.endswith(".npy"):
            return self.nodata is not None
        import rasterio

        with rasterio.open(self.source) as file:
            flags = {flag.name for flag in file.mask_flag_enums[0]}
            return flags != {"all_valid"}


def open_raster(path: str, grid: Grid) -> ZoneRaster:
    """Open a raster file that lies on the cube's grid."""
    import rasterio

    if path.endswith(".npy"):
        try:
            shape = np.load(path, mmap_mode="r").shape
        except (OSError, ValueError) as error:
            raise SourceError(
                f"zones {path!r} cannot be read ({error}). Pass an array that np.save wrote."
            ) from None
        _require_shape(shape, grid)
        return ZoneRaster(path)
    try:
        with rasterio.open(path) as file:
            crs = grid.crs if file.crs is None else pyproj.CRS.from_user_input(file.crs.to_wkt())
            other = Grid(crs, file.transform, (file.height, file.width))
    except rasterio.errors.RasterioIOError as error:
        raise SourceError(
            f"zones {path!r} cannot be read ({error}). Pass a raster on the cube's grid or GeoJSON."
        ) from None
    if difference := grid.difference(other):
        raise GridMismatch(
            f"zones {path!r} lie on another grid: {difference}. Warp them to the grid of the cube."
        )
    return ZoneRaster(path)


def raster_of(given: Any, grid: Grid, flips: Iterable[str], folder: str | None) -> ZoneRaster:
    """Turn an array on the cube's grid north-up; it is saved in the folder, if there is one.

    A DataArray with coordinates must agree with those of the cube; other arrays run as the
    cube runs, and `flips` are the dims in which that is against the grid.
    """
    if isinstance(given, xr.DataArray) and set(given.squeeze().dims) <= set(given.coords):
        values = _located(given, grid)
    else:
        values = np.asarray(given)
        _require_shape(values.shape, grid)
        axes = tuple(axis for axis, dim in enumerate(("y", "x")) if dim in flips)
        values = np.flip(values, axes)
    nodata = given.rio.nodata if isinstance(given, xr.DataArray) else None
    if nodata is not None and nodata != nodata:  # NaN is outside anyway
        nodata = None
    if folder is None or is_url(folder):
        return ZoneRaster(values, nodata)
    return ZoneRaster(save(values, f"{folder.rstrip('/')}/zones.npy"), nodata)


def _located(given: xr.DataArray, grid: Grid) -> NDArray[Any]:
    inner = north_up(given.squeeze().to_dataset(name="zones"))["zones"].transpose("y", "x")
    _require_shape(inner.shape, grid)
    try:
        other = Grid.from_xarray(inner if inner.rio.crs else inner.rio.write_crs(grid.crs))
    except CubeError as error:
        raise GridMismatch(f"zones do not lie on a grid: {error}") from None
    if difference := grid.difference(other):
        raise GridMismatch(
            f"zones lie on another grid: {difference}. Pass zones.rio.reproject_match(ds.hm), "
            "or a GeoJSON."
        )
    return np.asarray(inner.values)


def _require_shape(shape: tuple[int, ...], grid: Grid) -> None:
    if shape != grid.shape:
        raise GridMismatch(
            f"zones have shape {shape} and the cube {grid.shape}: an array of zones lies on "
            "the cube's grid. Pass zones.reindex_like(ds.hm), or a GeoJSON."
        )


@dataclass(frozen=True)
class Numbered:
    """The zones of a raster: a zone is all pixels of one number."""

    raster: ZoneRaster
    numbers: Ints  # of the zones, ascending

    def cover(self, window: Window) -> Cover:
        """Return the pixels of all zones in a window; each is covered whole."""
        values = self.raster.read(window)
        there = ~np.ma.getmaskarray(values).ravel()
        flat = np.ma.getdata(values).ravel()
        there &= np.isfinite(flat)
        pixel = np.flatnonzero(there)
        found = flat[pixel].astype(np.int64)
        zone = np.minimum(np.searchsorted(self.numbers, found), len(self.numbers) - 1)
        ours = self.numbers[zone] == found
        zone, pixel = zone[ours], pixel[ours]
        order = np.argsort(zone, kind="stable")
        return Cover(zone[order].astype(np.int32), pixel[order], np.ones(len(order)))


def survey(raster: ZoneRaster, grid: Grid) -> tuple[Ints, bool, str]:
    """Read all numbers of a raster once: the numbers, whether some pixels lack one, and a hash."""
    found: set[int] = set()
    gaps = False
    digest = hashlib.sha256()
    for window in _blocks(grid.shape):
        values = raster.read(window)
        data, masked = np.ma.getdata(values), np.ma.getmaskarray(values)
        outside = masked | ~np.isfinite(data) if data.dtype.kind == "f" else masked
        known = data[~outside]
        gaps |= bool(outside.any())
        if data.dtype.kind not in "iufb" or (known != np.trunc(known)).any():
            broken = known[known != np.trunc(known)] if known.dtype.kind == "f" else known[:0]
            other = f"{broken[0]:g}" if len(broken) else "other values"
            raise BadArgument(
                "zones: a raster of zones has whole numbers, one for each zone, and this has "
                f"{data.dtype} with {other}. Pass a classified raster, or polygons."
            )
        known = known.astype(np.int64)
        found.update(_unique(known).tolist())
        if len(found) > _MOST:
            raise BadArgument(
                f"zones: the raster has more than {_MOST:,} numbers, so it is a map of a quantity. "
                "Pass a classified raster, or polygons."
            )
        digest.update(np.packbits(outside).tobytes())
        digest.update(known.tobytes())
    return np.array(sorted(found), np.int64), gaps, digest.hexdigest()[:16]


def _unique(known: Ints) -> Ints:
    if not len(known):
        return known
    low, high = int(known.min()), int(known.max())
    if high - low >= _DENSE:
        return np.unique(known)
    # a table is many times faster than sorting
    there = np.zeros(high - low + 1, bool)
    there[known - low] = True
    return np.flatnonzero(there) + low


def _blocks(shape: tuple[int, int]) -> Iterator[Window]:
    for start in range(0, shape[0], _ROWS):
        yield Window(Span(start, min(start + _ROWS, shape[0])), Span(0, shape[1]))
