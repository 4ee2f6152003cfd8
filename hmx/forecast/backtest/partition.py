"""Partition: tiles of a map cut into zones of several sizes, for scores of zone means.

Squares of 10, 30 and 60 px and irregular cells of about 900 px: the cells of Voronoi around one
random point in each square of 30 px. Zones end at the edges of tiles, which are a whole number
of each square, so every zone is scored inside one task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hmx.windows import Index, TileGrid, Window

SIDE = 240  # px, of a tile
SIDES = (10, 30, 60)  # px, of the squares
CELLS = "cells"  # name of the irregular zones
_LATTICE = 30  # px: a point in each square of it
_KNOWN = 0.5  # share of a zone that must be scored
_MOST = 72  # tiles, 4 Mpx: draws of more would take longer than all other scores


@dataclass(frozen=True)
class Partition:
    """Zones of one size in a window."""

    zone: NDArray[np.intp]  # number of each pixel's zone, -1: none (y, x)
    full: NDArray[np.float64]  # pixels of a complete zone (z,)

    @property
    def count(self) -> int:
        """How many zones there are."""
        return len(self.full)

    def enough(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the zones of which enough pixels are scored."""
        return (pixels > 0) & (pixels >= _KNOWN * self.full)


def square_name(side: int) -> str:
    """Name the squares of a side."""
    return f"{side} px"


def squares(window: Window) -> dict[str, Partition]:
    """Cut a tile into squares of each side, from its first pixel on."""
    return {square_name(side): _squares(window.shape, side) for side in SIDES}


def _squares(shape: tuple[int, int], side: int) -> Partition:
    rows, columns = (np.arange(n) // side for n in shape)
    zone = rows[:, None] * (columns[-1] + 1) + columns
    return Partition(zone, np.full(int(zone[-1, -1]) + 1, float(side * side)))


def cells(window: Window, seed: int = 0) -> Partition:
    """Cut a tile into irregular cells; those at the edges of a raster are smaller."""
    draw = np.random.default_rng([seed, window.y.start, window.x.start])
    corners = np.stack(np.meshgrid(*(np.arange(0, SIDE, _LATTICE),) * 2, indexing="ij"), axis=-1)
    points = corners.reshape(-1, 2) + _LATTICE * draw.random((corners.size // 2, 2))
    rows, columns = window.shape
    at = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
    centres = np.stack(at, axis=-1)
    zone = cKDTree(points).query(centres.reshape(-1, 2))[1].reshape(rows, columns)
    zone = np.unique(zone, return_inverse=True)[1].reshape(rows, columns)
    return Partition(zone, np.bincount(zone.ravel()).astype("float64"))


def alone(mask: NDArray[np.bool_]) -> Partition:
    """Make one zone of the pixels marked."""
    return Partition(np.where(mask, 0, -1), np.array([float(mask.sum())]))


def tiles_of(shape: tuple[int, int]) -> TileGrid:
    """Lay the tiles of a raster."""
    return TileGrid(shape, (SIDE, SIDE), halo=0)


def regular(found: list[Index]) -> list[Index]:
    """Keep every k-th row and column of tiles, so that few enough are left."""
    step = 1
    while len(kept := [t for t in found if t[0] % step == 0 and t[1] % step == 0]) > _MOST:
        step += 1
    return kept or found[:_MOST]
