"""Warping: bring a part to another grid, window by window.

A window of the target is computed from the source pixels around it, read through the part,
so that voids are removed before averaging, and memory follows the window. Longitudes wrap:
a source on 0 to 360 degrees is read at the longitudes that the target needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from hmx.cube.census import Census
from hmx.cube.cube import CHUNK
from hmx.cube.grid import Grid
from hmx.ingest.options import Source
from hmx.ingest.sources import Part, Pixels
from hmx.windows import Span, TileGrid, Window

_ERROR_PX = 1e-3  # at GDAL's 1/8 px the borders of windows show: .1 of white noise
_PROBES = 33  # points along a side of a window that are looked up in the source
_SOURCE_PIXELS = 2**24  # read for one warp, of one step
_SMALL = 4  # rows and columns of a window around a pole that is warped as one
_KERNEL_PX = 3  # of the source, and of the target where the source is finer


@dataclass(frozen=True)
class Regridded:
    """A part on another grid."""

    part: Part  # as opened
    grid: Grid  # the other one

    @property
    def name(self) -> str:
        """File, URL or glob, as messages call it."""
        return self.part.name

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return self.part.steps

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the file is read."""
        return self.part.notes


@dataclass(frozen=True)
class Turned(Regridded):
    """A part whose longitudes are counted from elsewhere; pixels stay as they are."""

    columns: int  # column of the part that is the first here

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the file is read."""
        west, _, east, _ = self.part.grid.bounds
        now = self.grid.bounds
        turn = f"longitudes {west:g} to {east:g} are turned to {now[0]:g} to {now[2]:g}"
        return (*self.part.notes, turn)

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        columns = window.x.shift(self.columns)
        return _read_round(self.part, Window(window.y, columns), self.grid.shape[1], census)


@dataclass(frozen=True)
class Warped(Regridded):
    """A part as it is on another grid."""

    align: str  # resampling

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        out = np.full((self.steps, *window.shape), np.nan, "float32")
        # pixels of the source under one pixel of the target: one warp must read few of them
        fine = max(1.0, float(np.prod(self._ratio)))
        side = int(np.clip(np.sqrt(_SOURCE_PIXELS / (fine * self.steps)), 16, CHUNK))
        for part in _parts(window, (side, side)):
            out[(..., *part.within(window).slices)] = self._warp(part, census)
        return out

    def _warp(self, window: Window, census: Census | None) -> np.ndarray:
        out = np.full((self.steps, *window.shape), np.nan, "float32")
        needed, outside = self._needed(window)
        if needed is None:
            if census is not None:
                census.gap("outside of the file", out.size)
            return out
        # a window that spans so many longitudes is averaged across the seam by GDAL
        wide = self._period and len(needed.x) > self._period / 2
        if wide and max(window.shape) > _SMALL and not self.grid.crs.is_geographic:
            # smaller windows span fewer longitudes, except the last few pixels around the pole
            half = (-(-window.shape[0] // 2), -(-window.shape[1] // 2))
            for quarter in _parts(window, half):
                out[(..., *quarter.within(window).slices)] = self._warp(quarter, census)
            return out
        if census is not None:
            census.gap("outside of the file", int(outside * out.size))
        source = self.part.grid
        block = _read_round(self.part, needed, self._period, census)
        x, y = source.corner(needed.y.start, needed.x.start)
        at = Affine(source.transform.a, 0.0, x, 0.0, source.transform.e, y)
        across, down = self._ratio
        with (
            _in_memory(block, at, source.crs) as dataset,
            WarpedVRT(
                dataset,
                crs=self.grid.crs.to_wkt(),
                transform=self.grid.crop(window).transform,
                height=window.shape[0],
                width=window.shape[1],
                resampling=Resampling[self.align],
                src_nodata=np.nan,
                nodata=np.nan,
                tolerance=_ERROR_PX,
                # the width of the kernel, which GDAL guesses anew for each window
                XSCALE=float(f"{1 / across:.6g}"),
                YSCALE=float(f"{1 / down:.6g}"),
            ) as warped,
        ):
            return np.asarray(warped.read())

    @property
    def _period(self) -> int:
        """Columns of the source in 360 degrees; 0 if longitudes do not wrap."""
        return _period(self.part.grid)

    @cached_property
    def _to_source(self) -> pyproj.Transformer | None:
        own, other = self.grid.crs, self.part.grid.crs
        same = own.equals(other, ignore_axis_order=True)
        return None if same else pyproj.Transformer.from_crs(own, other, always_xy=True)

    def _located(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find corners of the target's pixels in the source: fractional rows and columns."""
        x, y = self.grid.corner(rows, columns)  # type: ignore[arg-type]
        if self._to_source is not None:
            x, y = self._to_source.transform(x, y)
        row, column = self.part.grid.locate(x, y)
        return np.asarray(row), np.asarray(column)

    @cached_property
    def _ratio(self) -> tuple[float, float]:
        """Pixels of the source across and down a pixel of the target, in the median of some."""
        # 4 x 4 pixels, none on the edges
        positions = [np.linspace(0, size - 1, 6)[1:-1] for size in self.grid.shape]
        rows, columns = (axis[..., None] for axis in np.meshgrid(*positions, indexing="ij"))
        corners = np.array([[0.0, 0, 1, 1], [0.0, 1, 0, 1]])
        row, column = self._located(rows + corners[0], columns + corners[1])
        if self._period:
            # corners of a pixel on the date line are 360 degrees from each other
            turns = np.round((column - column[..., :1]) / self._period)
            column = column - self._period * turns
        known = np.isfinite(row + column).all(axis=-1)
        if not known.any():
            return 1.0, 1.0
        across, down = (float(np.median(np.ptp(at[known], axis=-1))) for at in (column, row))
        # never 0, because the scale of the kernel is the inverse
        return max(across, 1e-6), max(down, 1e-6)

    def _needed(self, window: Window) -> tuple[Window | None, float]:
        """Find the part of the source under a window, and the share that has none."""
        rows = np.linspace(window.y.start, window.y.stop, _PROBES)
        columns = np.linspace(window.x.start, window.x.stop, _PROBES)
        row, column = self._located(*np.meshgrid(rows, columns, indexing="ij"))
        known = np.isfinite(row) & np.isfinite(column)
        if not known.any():
            return None, 1.0
        ny, nx = self.part.grid.shape
        period = self._period
        if period:  # go on past the date line, instead of round the globe
            middle = np.median(column[known])
            column = column - period * np.round((column - middle) / period)
        margin = _KERNEL_PX * max(1.0, *self._ratio)
        y = _around(row, known, margin).clip(Span(0, ny))
        x = _around(column, known, margin)
        x = x if period else x.clip(Span(0, nx))
        at = column % period if period else column
        inside = known & (row >= 0) & (row <= ny) & (at >= 0) & (at <= nx)
        return Window(y, x) if len(y) and len(x) else None, 1 - float(inside.mean())


@dataclass(frozen=True)
class Cropped(Regridded):
    """A window of a part, on the lattice of the part: its pixels, and no others, are read."""

    row: int  # of the part, that is the first here
    column: int

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        return self.part.read(Window(window.y.shift(self.row), window.x.shift(self.column)), census)


def _crop(part: Part, grid: Grid) -> Cropped | None:
    """Return the part of a larger one that a grid is, if their pixels coincide."""
    row, column = (round(float(at)) for at in part.grid.locate(*grid.corner(0, 0)))
    window = Window(Span(row, row + grid.shape[0]), Span(column, column + grid.shape[1]))
    inside = row >= 0 and column >= 0
    inside &= window.y.stop <= part.grid.shape[0] and window.x.stop <= part.grid.shape[1]
    if not inside or grid.difference(part.grid.crop(window)) is not None:
        return None
    return Cropped(part, grid, row, column)


def aligned(part: Part, grid: Grid, source: Source, *, crop: bool = False) -> Pixels:
    """Align a part with a grid by its source's ``align``; pixels are warped when read.

    With ``crop``, a part that is larger than the grid and on its lattice is cut.
    """
    if grid.difference(part.grid) is None:
        return part
    if crop and (cropped := _crop(part, grid)) is not None:
        return cropped
    columns = _turn(part.grid, grid)
    if columns is not None:
        return Turned(part, grid, columns)
    if source.align is None:
        grid.require_same(part.grid, part.name)
    return Warped(part, grid, str(source.align))


def _turn(source: Grid, target: Grid) -> int | None:
    """Return how many columns later a source begins on the target's longitudes, if that is all."""
    if not (source.crs.is_geographic and target.crs.is_geographic) or source.shape != target.shape:
        return None
    west = target.transform.c - source.transform.c
    columns = round(west / source.transform.a)
    moved = source.transform.c + columns * source.transform.a
    period = _period(source)
    whole = period == source.shape[1] or (period and columns % period == 0)
    turned = Grid(
        source.crs, Affine(source.transform.a, 0.0, moved, *source.transform[3:6]), source.shape
    )
    if not whole or target.difference(turned) is not None:
        return None
    return int(columns % period)


def _period(grid: Grid) -> int:
    """Count the columns in 360 degrees; 0 if longitudes do not wrap."""
    columns = 360 / grid.resolution[0]
    # resolutions such as 0.0083333 are written with few digits
    whole = abs(columns - round(columns)) < 0.01 and round(columns) >= grid.shape[1]
    return round(columns) if grid.crs.is_geographic and whole else 0


def _parts(window: Window, shape: tuple[int, int]) -> Iterator[Window]:
    """Cut a window into parts of a shape."""
    for tile in TileGrid(window.shape, shape, 0):
        yield Window(tile.core.y.shift(window.y.start), tile.core.x.shift(window.x.start))


@contextmanager
def _in_memory(block: np.ndarray, at: Affine, crs: pyproj.CRS) -> Iterator[Any]:
    """Open an array as a raster, because GDAL warps only these."""
    count, ny, nx = block.shape
    how = {"crs": crs.to_wkt(), "transform": at, "nodata": np.nan, "dtype": "float32"}
    with MemoryFile() as file:
        with file.open(driver="GTiff", width=nx, height=ny, count=count, **how) as dataset:
            dataset.write(block)
        with file.open() as dataset:
            yield dataset


def _read_round(part: Pixels, window: Window, period: int, census: Census | None) -> np.ndarray:
    """Read columns that may leave the part: they wrap if it has a period, else they are NaN."""
    nx = part.grid.shape[1]
    out = np.full((part.steps, *window.shape), np.nan, "float32")
    first = window.x.start // period if period else 0
    last = (window.x.stop - 1) // period if period else 0
    for turn in range(first, last + 1):
        shift = turn * period
        own = window.x.clip(Span(shift, shift + nx))
        if len(own):
            block = part.read(Window(window.y, own.shift(-shift)), census)
            out[..., own.start - window.x.start : own.stop - window.x.start] = block
    return out


def _around(at: np.ndarray, known: np.ndarray, margin: float) -> Span:
    """Return the span of all positions, widened by the largest gap between two of them."""
    steps = [np.abs(np.diff(np.where(known, at, np.nan), axis=axis)) for axis in (0, 1)]
    between = max((float(np.nanmax(s)) for s in steps if np.isfinite(s).any()), default=0.0)
    low, high = float(at[known].min()), float(at[known].max())
    return Span(int(np.floor(low - between - margin)), int(np.ceil(high + between + margin)))
