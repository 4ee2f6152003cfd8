"""Polygons: the edges of all zones of a layer, and what they cover in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hmx.errors import BadArgument
from hmx.windows import Window
from hmx.zones.cover import UNIT, WHOLE, Cover, Ints, runs_of

_LARGE = 1 << 20  # bytes; more edges go to a file, so that a layer stays small when it travels
_CROSSED = 1e-6  # of a pixel: more than the whole of it, or less than nothing, is covered


@dataclass(frozen=True)
class Polygons:
    """Edges on the lattice of a grid, sorted by zone."""

    edges: Ints | str  # (n, 4) x0 y0 x1 y1, or the file of them
    first: Ints  # (z + 1,) where the edges of each zone begin
    boxes: Ints  # (z, 4) west, north, east and south of each zone, lattice steps

    @classmethod
    def of(cls, zones: Sequence[Ints]) -> Polygons:
        """Collect the edges of each zone."""
        boxes = [[*e.reshape(-1, 2).min(axis=0), *e.reshape(-1, 2).max(axis=0)] for e in zones]
        counts = [len(edges) for edges in zones]
        first = np.cumsum([0, *counts]).astype(np.int64)
        return cls(np.concatenate(zones), first, np.array(boxes, np.int64))

    def stored(self, folder: str | None, digest: str) -> Polygons:
        """Move many edges to a file of a folder."""
        if folder is None or isinstance(self.edges, str) or self.edges.nbytes < _LARGE:
            return self
        path = Path(folder) / f"zones-{digest}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft.npy")
        np.save(draft, self.edges)
        draft.replace(path)
        return Polygons(str(path), self.first, self.boxes)

    def cover(self, window: Window) -> Cover:
        """Return what zones cover of a window within the columns of the grid."""
        west, north, east, south = self.boxes.T
        near = (west < window.x.stop * UNIT) & (east > window.x.start * UNIT)
        near &= (north < window.y.stop * UNIT) & (south > window.y.start * UNIT)
        zones = np.flatnonzero(near)
        first, count = self.first[zones], self.first[zones + 1] - self.first[zones]
        at = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
        edges = _mapped(self.edges) if isinstance(self.edges, str) else self.edges
        runs = runs_of(np.repeat(zones, count), np.asarray(edges[at]), window)
        return runs.cover(len(window.x))


@lru_cache(maxsize=2)
def _mapped(path: str) -> Ints:
    """Map the edges of this machine's disk into memory, once per process."""
    return np.asarray(np.load(path, mmap_mode="r"))


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
