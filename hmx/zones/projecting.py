"""Projecting: rings of a layer as edges on the lattice of the cube's grid.

A straight line of the layer is a curve in another CRS, so long edges get points in between
until they are within a hundredth of a pixel of it. Both zones of a border get the same points.
What lies far from the cube is cut off before, because a projection has no meaning there.
Longitudes go round: each polygon is tried a turn to the west and to the east.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyproj
from numpy.typing import NDArray

from hmx.cube.grid import Grid, crs_name
from hmx.errors import BadArgument
from hmx.zones.cover import UNIT, Ints

Ring = NDArray[np.float64]  # (n, 2), closed: the last point is the first
Rings = list[tuple[Ring, bool]]  # and whether it is an outer one

_OFF = 0.01  # px between an edge and the line that it stands for
_LONG = 64.0  # px; a longer edge is halved before its middle is compared
_ROUNDS = 24  # of halving: a degree becomes 7 mm
_FAR = 2.0**34  # px; lattice steps of what lies further leave the integers of 64 bits


@dataclass(frozen=True)
class Placing:
    """The way from the CRS of a layer to the pixels of a cube."""

    crs: pyproj.CRS
    grid: Grid

    def edges(self, rings: Rings, name: str) -> tuple[Ints, float]:
        """Return the edges of a polygon near the cube, (n, 4), and how much of it they enclose.

        Outer rings run so that the interior is on the right of an edge down the rows, holes
        the other way. The area of the edges is that of the polygon times the number: below 1
        where parts far from the cube were cut off, above it where copies a turn further are near.
        """
        if self.crs.is_geographic:
            _require_cut(rings, name)
        parts: list[Ints] = []
        kept = 0.0
        for ring, outer in self._copies(rings):
            sign = 1.0 if outer else -1.0
            kept += sign * abs(_area(self._flattened(ring)))
            lattice = self._lattice(ring, name)
            # positive: clockwise on the map, where rows run down
            if (_area(lattice - lattice[0]) > 0) == outer:
                lattice = lattice[::-1]
            parts.append(np.hstack([lattice[:-1], lattice[1:]]))
        whole = sum(
            (1 if outer else -1) * abs(_area(self._flattened(ring))) for ring, outer in rings
        )
        if not whole > 0:
            raise BadArgument(
                f"zone {name!r} has no area: its corners lie on one line, or its borders cross so "
                "that its parts cancel out. Repair or drop it."
            )
        return np.concatenate(parts) if parts else np.zeros((0, 4), np.int64), kept / whole

    def _copies(self, rings: Rings) -> Iterator[tuple[Ring, bool]]:
        """Yield the rings, on a globe also a turn further, without what is far from the cube."""
        west, south, east, north = self._box
        turns = (0.0, -360.0, 360.0) if self.crs.is_geographic else (0.0,)
        low = np.min([ring.min(axis=0) for ring, _ in rings], axis=0)
        high = np.max([ring.max(axis=0) for ring, _ in rings], axis=0)
        for turn in turns:
            if not (low[0] + turn < east and high[0] + turn > west):
                continue
            if not (low[1] < north and high[1] > south):
                continue
            for ring, outer in rings:
                moved = ring + np.array([turn, 0.0])
                if not self._same:
                    moved = _clipped(moved, self._box)
                if len(moved) > 3:
                    yield moved, outer

    @cached_property
    def _same(self) -> bool:
        return bool(self.crs.equals(self.grid.crs, ignore_axis_order=True))

    @cached_property
    def _box(self) -> tuple[float, float, float, float]:
        """West, south, east and north of the cube in the CRS of the layer, with a margin."""
        west, south, east, north = self.grid.bounds
        if self._same:
            return west, south, east, north
        if self.crs.is_geographic and self.grid.crs.is_geographic:
            # datums differ by less than a kilometre
            return west - 0.01, south - 0.01, east + 0.01, north + 0.01
        back = pyproj.Transformer.from_crs(self.grid.crs, self.crs, always_xy=True)
        west, south, east, north = back.transform_bounds(*self.grid.bounds, densify_pts=101)
        if not np.isfinite([west, south, east, north]).all():
            limit = 1e12
            return -limit, -limit, limit, limit
        if self.crs.is_geographic and west > east:
            east += 360
        dx, dy = 0.02 * (east - west), 0.02 * (north - south)
        west, south, east, north = west - dx, south - dy, east + dx, north + dy
        if self.crs.is_geographic:
            if east - west > 360:
                west, east = -180.0, 180.0
            south, north = max(south, -90.0), min(north, 90.0)
        return west, south, east, north

    @cached_property
    def _ahead(self) -> pyproj.Transformer:
        return pyproj.Transformer.from_crs(self.crs, self.grid.crs, always_xy=True)

    def _pixels(self, xy: Ring) -> Ring:
        """Return columns and rows of points, px."""
        x, y = xy.T
        if not self._same:
            both = self.crs.is_geographic and self.grid.crs.is_geographic
            # transformations give longitudes of -180 to 180
            turn = 360 * np.floor((x + 180) / 360) if both else 0.0
            moved, y = self._ahead.transform(x - turn, y)
            moved = np.asarray(moved) + turn
            x = moved - 360 * np.rint((moved - x) / 360) if both else moved
        row, column = self.grid.locate(x, y)
        return np.stack([column, row], axis=1)

    def _lattice(self, ring: Ring, name: str) -> Ints:
        points = self._pixels(ring)
        for _ in range(0 if self._same else _ROUNDS):
            if not np.isfinite(points).all():
                break
            halves = (ring[:-1] + ring[1:]) / 2
            chord = (points[:-1] + points[1:]) / 2
            off = np.abs(self._pixels(halves) - chord).max(axis=1) > _OFF
            off |= np.abs(np.diff(points, axis=0)).max(axis=1) > _LONG
            if not off.any():
                break
            ring = np.insert(ring, np.flatnonzero(off) + 1, halves[off], axis=0)
            points = self._pixels(ring)
        if not np.isfinite(points).all() or np.abs(points).max() > _FAR:
            raise BadArgument(
                f"zone {name!r} has points without a position in {crs_name(self.grid.crs)}, the "
                f"CRS of the cube; its own is {crs_name(self.crs)}. Check the CRS of the layer, or "
                "clip the zone to the surroundings of the cube."
            )
        return np.rint(points * UNIT).astype(np.int64)

    def _flattened(self, ring: Ring) -> Ring:
        """Return points in whose plane areas are proportional to true ones, to a per cent."""
        if not self.crs.is_geographic:
            return ring
        return np.stack([ring[:, 0], np.sin(np.deg2rad(ring[:, 1]))], axis=1)


def _area(xy: NDArray[np.float64] | Ints) -> float:
    """Compute the signed area of a ring (shoelace formula)."""
    x, y = np.asarray(xy, "float64").T
    x, y = x - x[0], y - y[0]
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _require_cut(rings: Rings, name: str) -> None:
    """Refuse edges that may go round the globe on either side."""
    for ring, _ in rings:
        step = np.abs(np.diff(ring[:, 0]))
        if (wide := (step > 180) & (step < 360 - 1e-9)).any():
            at = int(np.flatnonzero(wide)[0])
            first, second = ring[at : at + 2, 0]
            raise BadArgument(
                f"zone {name!r} has an edge from longitude {first:.10g} to {second:.10g}, which "
                "may go round the globe on either side. If it crosses longitude 180, cut the "
                "polygon there (RFC 7946) or count on (179 to 181); else add a point in between."
            )


def _clipped(ring: Ring, box: tuple[float, float, float, float]) -> Ring:
    """Cut a ring along a box (Sutherland and Hodgman 1974, doi:10.1145/360767.360802).

    Edges that then run along the box to and fro enclose no area.
    """
    for axis, limit, sign in ((0, box[0], 1), (1, box[1], 1), (0, box[2], -1), (1, box[3], -1)):
        inside = sign * (ring[:, axis] - limit) >= 0
        if inside.all():
            continue
        if not inside.any():
            return ring[:0]
        a, b, within = ring[:-1], ring[1:], inside[:-1]
        crossing = within != inside[1:]
        # from the inner end, so that both zones of a border are cut at one point
        near = np.where(within[:, None], a, b)
        far = np.where(within[:, None], b, a)
        length = np.where(crossing, far[:, axis] - near[:, axis], 1.0)
        cut = near + (far - near) * ((limit - near[:, axis]) / length)[:, None]
        cut[:, axis] = limit
        both = np.stack([a, cut], axis=1).reshape(-1, 2)
        ring = both[np.stack([within, crossing], axis=1).ravel()]
        ring = np.concatenate([ring, ring[:1]])
    return ring
