"""Where tiles lie: integers only, and no xarray.

A tile *writes* its core and *reads* its core plus a halo. Reads stop at the
true edge of the raster, except in x on a globe, where they go round: there
``read.x`` may leave ``[0, nx)`` and :func:`pieces` gives the columns it means.
Tiles are anchored to pixel (0, 0) of the raster, whatever region is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from hmx.errors import BadArgument

Index = tuple[int, int]  # row and column of a tile
STEP = 32  # px of the bounds of data: with bounds of any size, each tile needs kernels of its own


@dataclass(frozen=True, order=True)
class Span:
    """Half-open run of pixels ``[start, stop)`` along one axis."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if self.stop < self.start:
            raise BadArgument(f"a span cannot end ({self.stop}) before it starts ({self.start}).")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The same run as a slice."""
        return slice(self.start, self.stop)

    def grow(self, pixels: int) -> Span:
        """Return the run with ``pixels`` more at both ends."""
        return Span(self.start - pixels, self.stop + pixels)

    def clip(self, other: Span) -> Span:
        """Return the part inside ``other`` (empty at its near end if none)."""
        start = min(max(self.start, other.start), other.stop)
        return Span(start, max(start, min(self.stop, other.stop)))

    def shift(self, pixels: int) -> Span:
        """Return the run moved by ``pixels``."""
        return Span(self.start + pixels, self.stop + pixels)


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels: rows ``y``, columns ``x``."""

    y: Span
    x: Span

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Window:
        """Return the window that covers a raster of ``(ny, nx)`` px."""
        return cls(Span(0, shape[0]), Span(0, shape[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, px."""
        return len(self.y), len(self.x)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this window in a ``(..., y, x)`` array."""
        return self.y.slice, self.x.slice

    def grow(self, pixels: int) -> Window:
        """Return this window with a border of pixels, also beyond the raster."""
        return Window(self.y.grow(pixels), self.x.grow(pixels))

    def clip(self, outer: Window) -> Window:
        """Return the part of this window that lies in another; empty where they do not meet."""
        return Window(self.y.clip(outer.y), self.x.clip(outer.x))

    def within(self, outer: Window) -> Window:
        """Return this window in the pixel coordinates of ``outer``."""
        return Window(self.y.shift(-outer.y.start), self.x.shift(-outer.x.start))

    def flip(self, shape: tuple[int, int], dims: Collection[str]) -> Window:
        """Return this window as counted from the other end of some dims."""
        y, x = self.y, self.x
        if "y" in dims:
            y = Span(shape[0] - y.stop, shape[0] - y.start)
        if "x" in dims:
            x = Span(shape[1] - x.stop, shape[1] - x.start)
        return Window(y, x)


@dataclass(frozen=True)
class Tile:
    """What one task writes (``core``) and reads (``read``), in raster pixels."""

    index: Index
    core: Window
    read: Window

    @property
    def crop(self) -> Window:
        """The core in the pixel coordinates of what was read."""
        return self.core.within(self.read)


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a raster."""

    shape: tuple[int, int]  # rows and columns of the raster, px
    tile: tuple[int, int]  # rows and columns of one tile's core, px; edge tiles may be smaller
    halo: int  # true pixels read around a core
    wraps: bool = False  # whether the first and last column are neighbours (a globe)

    def __post_init__(self) -> None:
        if min(self.tile) < 1 or min(self.shape) < 1 or self.halo < 0:
            raise BadArgument(
                f"tile={self.tile} on a raster of {self.shape} px with halo={self.halo}: "
                "tiles and rasters have at least one pixel and halos at least zero. Pass tile=256."
            )

    @property
    def counts(self) -> tuple[int, int]:
        """Number of tile rows and tile columns."""
        return -(-self.shape[0] // self.tile[0]), -(-self.shape[1] // self.tile[1])

    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of the cores along y and x, as dask writes chunks."""
        rows = tuple(len(self._core(0, i)) for i in range(self.counts[0]))
        return rows, tuple(len(self._core(1, j)) for j in range(self.counts[1]))

    def __getitem__(self, index: Index) -> Tile:
        core = Window(self._core(0, index[0]), self._core(1, index[1]))
        read = with_halo(core, self.shape, halo=self.halo, wraps=self.wraps)
        return Tile(index, core, read)

    def __iter__(self) -> Iterator[Tile]:
        return self.covering(Window.of(self.shape))

    def covering(self, window: Window) -> Iterator[Tile]:
        """Yield the tiles whose cores touch ``window``, row by row."""
        rows, cols = self._touched(0, window.y), self._touched(1, window.x)
        return (self[i, j] for i in rows for j in cols)

    def _touched(self, axis: int, span: Span) -> range:
        inside, tile = span.clip(Span(0, self.shape[axis])), self.tile[axis]
        return range(inside.start // tile, -(-inside.stop // tile)) if len(inside) else range(0)

    def _core(self, axis: int, index: int) -> Span:
        start = index * self.tile[axis]
        return Span(start, min(start + self.tile[axis], self.shape[axis]))


def with_halo(core: Window, shape: tuple[int, int], *, halo: int, wraps: bool) -> Window:
    """Grow a window by true pixels: up to the raster's edges, or round a globe in x."""
    rows, cols = core.y.grow(halo).clip(Span(0, shape[0])), core.x.grow(halo)
    return Window(rows, cols if wraps else cols.clip(Span(0, shape[1])))


def bounding(mask: np.ndarray, *, step: int = 1) -> Window:
    """Bound the True pixels of a mask (y, x), which has one at least.

    The window starts and ends at multiples of ``step``, or at the border of the mask.
    """
    spans = []
    for axis in (1, 0):
        found = np.flatnonzero(mask.any(axis=axis))
        stop = -(-(int(found[-1]) + 1) // step) * step
        spans.append(Span(int(found[0]) // step * step, min(stop, mask.shape[1 - axis])))
    return Window(*spans)


def pieces(columns: Span, nx: int) -> list[slice]:
    """Split columns that may go round the globe into slices of ``[0, nx)``."""
    parts = []
    at = columns.start
    while at < columns.stop:
        first = at % nx
        length = min(nx - first, columns.stop - at)
        parts.append(slice(first, first + length))
        at += length
    return parts
