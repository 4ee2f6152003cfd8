"""Samples: points joined to a cube, one row each, and the windows around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hmx.cube.bands import Bands
from hmx.cube.cube import CHUNK
from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.files.shown import Shown
from hmx.windows import Span, TileGrid, Window


@dataclass(frozen=True, repr=False)
class Samples(Shown):
    """Points that lie in a cube with data, one row each."""

    row: np.ndarray  # (n,) pixel of the cube, north-up
    column: np.ndarray  # (n,)
    value: np.ndarray  # (n,) the quantity, in its own units
    site: np.ndarray  # (n,) samples of one place share it: they never lie on two sides of a split
    step: np.ndarray  # (n,) last step of the time axis that a sample may see
    lonlat: np.ndarray  # (n, 2) degrees, WGS 84
    xy: np.ndarray  # (n, 2) in the CRS of the cube
    source: np.ndarray  # (n,) row of the table the sample came from
    depth: np.ndarray | None = None  # (n, 2) top and bottom, cm below the surface

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        facts = {"samples": f"{len(self):,} at {len(np.unique(self.site)):,} sites"}
        if len(self):
            low, middle, high = np.quantile(self.value, (0, 0.5, 1))
            west, south = self.lonlat.min(axis=0)
            east, north = self.lonlat.max(axis=0)
            facts["values"] = f"{low:.4g} to {high:.4g}, median {middle:.4g}"
            facts["longitude"] = f"{west:.3f} to {east:.3f}"
            facts["latitude"] = f"{south:.3f} to {north:.3f}"
        return facts

    def __len__(self) -> int:
        return len(self.value)

    def at(self, rows: np.ndarray) -> Samples:
        """Return some of the samples, by position or by mask."""
        parts = {name: array[rows] for name, array in vars(self).items() if array is not None}
        return Samples(**parts)


def require_fits(side: int, bands: Bands) -> None:
    """Raise :class:`BadArgument` if a window is larger than the cube."""
    ny, nx = bands.grid.shape
    if side > min(ny, nx):
        most = min(ny, nx) - (min(ny, nx) + 1) % 2
        raise BadArgument(
            f"window={side} is larger than the cube, which has {ny} x {nx} px: a window around a "
            f"point must fit into it. Pass window={min(most, 5)}."
        )


def squares(
    bands: Bands, samples: Samples, history: int
) -> Iterator[tuple[np.ndarray, Window, Span]]:
    """Yield samples by the square of whole storage chunks that they lie in."""
    columns = TileGrid(bands.grid.shape, (CHUNK, CHUNK), halo=0).counts[1]
    square = samples.row // CHUNK * columns + samples.column // CHUNK
    # Chunks are decompressed as a whole, so samples of one square of chunks are read together.
    order = np.argsort(square, kind="stable")
    ends = np.flatnonzero(np.diff(square[order])) + 1
    for rows in np.split(order, ends) if len(order) else []:
        y, x, step = samples.row[rows], samples.column[rows], samples.step[rows]
        core = Window(_span(y), _span(x))
        yield rows, core, Span(int(step.min()) + 1 - history, int(step.max()) + 1)


def inside_counts(grid: Grid, samples: Samples, side: int) -> np.ndarray:
    """Count the pixels of each window that lie in the cube, (n,)."""
    margin, (ny, nx) = side // 2, grid.shape
    rows = np.minimum(samples.row + margin, ny - 1) - np.maximum(samples.row - margin, 0) + 1
    # East of the last column comes the first again: no column lies outside.
    if grid.wraps:
        return np.asarray(rows * side)
    first = np.maximum(samples.column - margin, 0)
    return np.asarray(rows * (np.minimum(samples.column + margin, nx - 1) - first + 1))


def around(values: np.ndarray, side: int) -> np.ndarray:
    """View the windows of an array, (..., y, x, w, w), without a copy."""
    return sliding_window_view(values, (side, side), axis=(-2, -1))


def _span(indices: np.ndarray) -> Span:
    return Span(int(indices.min()), int(indices.max()) + 1)
