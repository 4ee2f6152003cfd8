"""Mosaic: tiles lie next to each other, and each step has all of them.

A pattern also matches an older version, a map of changes or half a download. Two files for
one area and time are not a mosaic, so they are refused. Neighbours may share a rim if their
values are equal there; otherwise the user decides which is right and joins them first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine

from hmx.cube.dates import short
from hmx.cube.grid import Grid
from hmx.errors import GridMismatch, SourceError
from hmx.ingest.sources import MosaicTile, Part
from hmx.windows import Span, TileGrid, Window

_OFF_LATTICE_PX = 0.01  # as Grid: coordinates may be rounded, pixels may not be shared
# of a tile: an overlap larger than this is a second file for the same area, not a neighbour
_RIM = 0.5
_SQUARE = 1024  # px of a rim that are compared at once
_ROUNDING = 1e-6  # of a value: what float32 and a resampling may differ by
_NAMED = 6  # files in an error


@dataclass(frozen=True)
class _Rect:
    """Rows and columns of a tile on the lattice of a grid."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def of(cls, tile: Grid, lattice: Grid) -> _Rect:
        west, south, east, north = tile.bounds
        corners = [lattice.locate(x, y) for x in (west, east) for y in (south, north)]
        # rounding is safe: `union` has refused tiles that are off the lattice
        rows, columns = ([round(at[i]) for at in corners] for i in (0, 1))
        return cls(min(rows), min(columns), max(rows), max(columns))

    @property
    def area(self) -> int:
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def meet(self, other: _Rect) -> _Rect:
        """Return the intersection; its area may be 0."""
        return _Rect(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def within(self, others: Sequence[_Rect]) -> bool:
        """Return True if others cover it together."""
        parts = [part for part in map(self.meet, others) if part.area]
        rows = sorted({self.top, self.bottom, *(n for p in parts for n in (p.top, p.bottom))})
        columns = sorted({self.left, self.right, *(n for p in parts for n in (p.left, p.right))})
        # one cell between two edges, not one pixel: memory follows the tiles
        covered = np.zeros((len(rows) - 1, len(columns) - 1), bool)
        for part in parts:
            down = slice(rows.index(part.top), rows.index(part.bottom))
            covered[down, columns.index(part.left) : columns.index(part.right)] = True
        return bool(covered.all())

    def bounds_text(self, lattice: Grid) -> str:
        """Write the bounds: west, south, east, north."""
        west, north = lattice.corner(self.top, self.left)
        east, south = lattice.corner(self.bottom, self.right)
        return ", ".join(f"{edge:.10g}" for edge in (west, south, east, north))


def require_apart(path: str, tiles: Sequence[MosaicTile], pattern: str) -> None:
    """Refuse tiles of which several cover one area, or that differ where they overlap."""
    lattice = tiles[0].grid
    rects = [_Rect.of(tile.grid, lattice) for tile in tiles]
    rims, stacked = [], set()
    for i, j in _meeting(rects):
        common = rects[i].meet(rects[j])
        if common.area > _RIM * min(rects[i].area, rects[j].area):
            stacked |= {i, j}
        else:
            rims.append((tiles[i], tiles[j], common))
    if stacked:
        raise _stacked(path, [tiles[i].file for i in sorted(stacked)], pattern)
    for one, other, common in rims:
        _require_equal(one, other, common, lattice)


def _meeting(rects: Sequence[_Rect]) -> list[tuple[int, int]]:
    """Find the pairs of tiles that share pixels."""
    top, left, bottom, right = np.array(
        [(rect.top, rect.left, rect.bottom, rect.right) for rect in rects]
    ).T
    pairs = []
    # one tile against all later ones, so that memory grows with the tiles, not their square
    for i in range(len(rects)):
        rows = (top[i + 1 :] < bottom[i]) & (bottom[i + 1 :] > top[i])
        columns = (left[i + 1 :] < right[i]) & (right[i + 1 :] > left[i])
        pairs += [(i, int(j) + i + 1) for j in np.flatnonzero(rows & columns)]
    return pairs


def _stacked(path: str, files: Sequence[str], pattern: str) -> SourceError:
    names = [file.rpartition("/")[2] for file in files]
    more = f" and {len(files) - _NAMED} more" * (len(files) > _NAMED)
    plain = path.replace("*", "").rpartition("/")[2]
    is_one = any(name in pattern.replace("*", "") for name in names)
    advice = f"such as path: {plain}, " if is_one else ""
    return SourceError(
        f"{pattern} finds {len(files)} files for one location and time: "
        f"{', '.join(files[:_NAMED])}{more}. Tiles of a mosaic lie next to each other, and each "
        f"location has one. Write a path that finds one of them, {advice}or move the others away."
    )


def _require_equal(one: MosaicTile, other: MosaicTile, rim: _Rect, lattice: Grid) -> None:
    """Raise :class:`SourceError` if two tiles have different values where they overlap."""
    corners = [_Rect.of(tile.grid, lattice) for tile in (one, other)]
    worst = 0.0
    for square in TileGrid((rim.bottom - rim.top, rim.right - rim.left), (_SQUARE, _SQUARE), 0):
        first, second = (
            tile.read(
                Window(
                    square.core.y.shift(rim.top - at.top), square.core.x.shift(rim.left - at.left)
                )
            )
            for tile, at in zip((one, other), corners, strict=True)
        )
        with np.errstate(invalid="ignore"):
            off = np.abs(first - second)
            off[off <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))] = 0
        # NaN: a pixel that one of the two lacks contradicts nothing
        worst = max(worst, float(np.nanmax(off, initial=0.0)))
    if worst:
        raise SourceError(
            f"{one.file} and {other.file} both cover {rim.bounds_text(lattice)} (west, south, "
            f"east, north), with values that differ by up to {worst:.4g}: which of them is right? "
            f"Join them as you want, e.g. gdalbuildvrt joined.vrt {one.file} {other.file} (the "
            "last one wins), and name that file in the path."
        )


def require_complete(name: str, parts: Mapping[str, Part]) -> None:
    """Refuse a step that lacks a tile which another step has."""
    rasters = {key: p for key, p in parts.items() if p.tiles}
    if not rasters or max(len(part.tiles) for part in rasters.values()) < 2:
        return
    lattice = next(iter(rasters.values())).grid
    # pixels of another CRS have no rows and columns on this lattice
    mosaics = {key: part for key, part in rasters.items() if part.grid.crs == lattice.crs}
    rects = {
        key: {_Rect.of(tile.grid, lattice): tile for tile in part.tiles}
        for key, part in mosaics.items()
    }
    every = {rect: (key, tile) for key, found in rects.items() for rect, tile in found.items()}
    for key, found in rects.items():
        for rect, (other, tile) in every.items():
            if rect not in found and not rect.within(list(found)):
                raise SourceError(
                    f"{name} lacks a tile in {short(key)} that {short(other)} has, at "
                    f"{rect.bounds_text(lattice)} (west, south, east, north): {tile.file} has no "
                    f"counterpart among {mosaics[key].name}. Add the missing tile, or leave out "
                    f"the step {short(key)}."
                )


def union(tiles: Sequence[MosaicTile]) -> Grid:
    """Find the grid that covers all tiles."""
    first = tiles[0].grid
    corners = [(_offset(tile, tiles[0]), tile.grid.shape) for tile in tiles]
    row, col = (min(at[i] for at, _ in corners) for i in (0, 1))
    rows, cols = (max(at[i] + shape[i] for at, shape in corners) for i in (0, 1))
    moved = first.transform * Affine.translation(col, row)
    return Grid(first.crs, moved, (rows - row, cols - col))


def within(grid: Grid, tile: MosaicTile) -> Window:
    """Return the part of a mosaic that a tile covers, in pixels of the mosaic."""
    row, col = (round(n) for n in grid.locate(*tile.grid.corner(0, 0)))
    rows, cols = tile.grid.shape
    return Window(Span(row, row + rows), Span(col, col + cols))


def _offset(tile: MosaicTile, first: MosaicTile) -> tuple[int, int]:
    """Row and column of a tile's corner on the lattice of the first."""
    ours, theirs = first.grid, tile.grid
    start = ~ours.transform * (theirs.transform * (0, 0))
    # the opposite corner too, which shows another pixel size
    end = ~ours.transform * (theirs.transform * theirs.shape[::-1])
    span = np.subtract(end, start) - theirs.shape[::-1]
    off = np.abs([*(np.subtract(start, np.round(start))), *span]).max()
    if off > _OFF_LATTICE_PX or not ours.crs.equals(theirs.crs, ignore_axis_order=True):
        raise GridMismatch(
            f"{tile.file} is off the lattice of {first.file}: tiles of a mosaic share CRS, pixel "
            f"size and lattice (this one is {off:.3g} px off). Resample it: gdalwarp -tap -tr ..., "
            "or narrow the glob in the path."
        )
    return round(start[1]), round(start[0])
