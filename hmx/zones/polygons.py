"""Polygons: the edges of all zones of a layer, and what they cover in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmx.errors import BadArgument
from hmx.files.paths import is_url
from hmx.windows import Window
from hmx.zones.cover import UNIT, WHOLE, Cover, Ints, runs_of
from hmx.zones.mapped import mapped, save

_LARGE = 1 << 20  # bytes; more edges go to a file, so that a layer stays small when it travels
_BLOCK = 128  # edges that are looked up together
_CROSSED = 1e-6  # of a pixel: more than the whole of it, or less than nothing, is covered


@dataclass(frozen=True)
class Polygons:
    """Edges on the lattice of a grid, sorted by zone, in blocks of neighbours along a border."""

    edges: Ints | str  # (n, 4) x0 y0 x1 y1, or the file of them
    first: Ints  # (b + 1,) where the edges of each block begin
    zone: Ints  # (b,) of each block
    boxes: Ints  # (b, 4) west, north, east and south of each block, lattice steps
    east: Ints  # (b,) of the zone of each block: what lies west of a window may reach into it

    @classmethod
    def of(cls, zones: Sequence[Ints]) -> Polygons:
        """Collect the edges of each zone."""
        counts = np.array([len(edges) for edges in zones])
        starts = np.cumsum(counts) - counts
        blocks = -(-counts // _BLOCK)
        zone = np.repeat(np.arange(len(zones)), blocks)
        within = np.arange(len(zone)) - np.repeat(np.cumsum(blocks) - blocks, blocks)
        first = starts[zone] + _BLOCK * within
        edges = np.concatenate(zones)
        low = np.minimum.reduceat(np.minimum(edges[:, :2], edges[:, 2:]), first)
        high = np.maximum.reduceat(np.maximum(edges[:, :2], edges[:, 2:]), first)
        east = np.maximum.reduceat(high[:, 0], np.flatnonzero(within == 0))[zone]
        return cls(edges, np.append(first, len(edges)), zone, np.hstack([low, high]), east)

    def stored(self, folder: str | None, digest: str) -> Polygons:
        """Move many edges to a file of a folder."""
        if (
            folder is None
            or is_url(folder)
            or isinstance(self.edges, str)
            or self.edges.nbytes < _LARGE
        ):
            return self
        path = save(self.edges, f"{folder.rstrip('/')}/zones-{digest}.npy")
        return replace(self, edges=path)

    def cover(self, window: Window) -> Cover:
        """Return what zones cover of a window within the columns of the grid."""
        west, north, _, south = self.boxes.T
        near = (west < window.x.stop * UNIT) & (self.east > window.x.start * UNIT)
        near &= (north < window.y.stop * UNIT) & (south > window.y.start * UNIT)
        blocks = np.flatnonzero(near)
        first, count = self.first[blocks], self.first[blocks + 1] - self.first[blocks]
        at = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
        edges = mapped(self.edges) if isinstance(self.edges, str) else self.edges
        runs = runs_of(np.repeat(self.zone[blocks], count), np.asarray(edges[at]), window)
        return runs.cover(len(window.x))


def covered_area(edges: Ints, window: Window, name: str) -> float:
    """Return the area of a zone within a window, px2; refuse one that overlaps itself."""
    runs = runs_of(np.zeros(len(edges), np.int64), edges, window)
    slack = int(_CROSSED * WHOLE)
    if ((runs.area < -slack) | (runs.area > WHOLE + slack)).any():
        raise BadArgument(
            f"zone {name!r} crosses or overlaps itself, so its area is not defined. Repair it "
            "(shapely.make_valid, or Fix geometries in QGIS), or type pip install shapely, with "
            "which hmx repairs it."
        )
    return float((runs.area / WHOLE * runs.length).sum())
