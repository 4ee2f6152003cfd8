"""Windows: the pixels around samples, read from the cube once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hmx.cube.bands import Bands
from hmx.cube.cube import CHUNK
from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.points.samples import Samples
from hmx.windows import Span, TileGrid, Window


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
