"""Projecting: rings of a layer as edges on the lattice of the cube's grid.

A straight line of the layer is a curve in another CRS, so long edges get points in between
until they are within a thousandth of a pixel of it. Both zones of a border get the same points.
What lies far from a projected cube is cut off before, because its projection has no meaning
there. Longitudes go round: on a grid in degrees each polygon is also laid a turn to the west
and to the east.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from hmx.cube.grid import Grid, crs_name
from hmx.errors import BadArgument
from hmx.zones.cover import UNIT, Ints
from hmx.zones.features import Feature

Ring = NDArray[np.float64]  # (n, 2), closed: the last point is the first
Rings = list[tuple[Ring, bool]]  # and whether it is an outer one
Box = tuple[float, float, float, float]
_OFF = 0.001  # px between an edge and the line that it stands for
_LONG = 64.0  # px; a longer edge is halved before its middle is compared
_ROUNDS = 24  # of halving: a degree becomes 7 mm
_FAR = 2.0**34  # px; lattice steps of what lies further leave the integers of 64 bits
_DATUM = 0.01  # degrees or metres; positions in two datums differ by less than a kilometre
_GLOBE = (-180.0, -90.0, 180.0, 90.0)


def rings_of(feature: Feature, name: str) -> Rings:
    """Return the closed rings of the polygons of a feature."""
    rings: Rings = []
    for polygon in _polygons(feature.geometry, feature, name):
        for number, positions in enumerate(polygon):
            ring = _ring(positions, name)
            if len(ring) > 3:
                rings.append((ring, number == 0))
    if not rings:
        raise BadArgument(
            f"zone {name!r} (feature {feature.number}) is empty or has fewer than three corners. "
            "Pass polygons that cover some area, or drop it."
        )
    return rings


def _ring(positions: Any, name: str) -> np.ndarray:
    # a third number of a position is its height
    xy = np.array([position[:2] for position in positions], "float64").reshape(-1, 2)
    if not np.isfinite(xy).all():
        raise BadArgument(f"zone {name!r} has a corner that is not a number. Mend or drop it.")
    return xy if len(xy) and (xy[0] == xy[-1]).all() else np.concatenate([xy, xy[:1]])


def _polygons(shape: Mapping[str, Any], feature: Feature, name: str) -> Iterator[Any]:
    kind = shape.get("type")
    if kind == "Polygon":
        yield shape["coordinates"]
    elif kind == "MultiPolygon":
        yield from shape["coordinates"]
    elif kind == "GeometryCollection":
        for part in shape["geometries"]:
            yield from _polygons(part, feature, name)
    else:
        raise BadArgument(
            f"zone {name!r} (feature {feature.number}) is a {kind}, which has no area. Pass "
            "polygons, such as layer.to_crs('EPSG:32632').buffer(100) around points or lines."
        )


def repaired(rings: Rings) -> tuple[Rings, bool]:
    """Return valid rings, and whether those given crossed or overlapped; needs shapely.

    Where shapely is not installed the rings stay as they are.
    """
    try:
        import shapely  # type: ignore[import-untyped]
    except ImportError:
        return rings, False
    outers: list[tuple[np.ndarray, list[np.ndarray]]] = []
    for ring, outer in rings:
        if outer:
            outers.append((ring, []))
        else:
            outers[-1][1].append(ring)
    shapes = [shapely.Polygon(outer, holes) for outer, holes in outers]
    shape = shapely.MultiPolygon(shapes) if len(shapes) > 1 else shapes[0]
    if shape.is_valid:
        return rings, False
    # by structure, because the other method lets parts that overlap cancel out
    whole = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = [part for part in _flat(whole) if part.geom_type == "Polygon" and not part.is_empty]
    return [
        (np.asarray(ring.coords), number == 0)
        for part in parts
        for number, ring in enumerate([part.exterior, *part.interiors])
    ], True


def _flat(shape: Any) -> Iterator[Any]:
    for part in getattr(shape, "geoms", [shape]):
        if hasattr(part, "geoms"):
            yield from _flat(part)
        else:
            yield part


@dataclass(frozen=True)
class Placing:
    """The way from the CRS of a layer to the pixels of a cube."""

    crs: pyproj.CRS
    grid: Grid

    def edges(self, rings: Rings, name: str) -> tuple[Ints, float]:
        """Return the edges of a polygon near the cube, (n, 4), and how often they enclose it.

        Outer rings run so that the interior is on the right of an edge down the rows, holes
        the other way. The number is below 1 where parts far from the cube were cut off, and
        above 1 where the polygon a turn further is near, too.
        """
        whole = self._size(rings)
        if not whole > 0:
            raise BadArgument(
                f"zone {name!r} has no area: its corners lie on one line, or its borders cross so "
                "that its parts cancel out. Repair or drop it."
            )
        if self.crs.is_geographic:
            _require_cut(rings, name)
        near = rings if self._whole else list(self._clipped(rings))
        edges = [self._oriented(ring, outer, name) for ring, outer in near]
        one = np.concatenate(edges) if edges else np.zeros((0, 4), np.int64)
        if not self.grid.crs.is_geographic:
            return one, self._size(near) / whole
        turn = round(360 / self.grid.resolution[0] * UNIT)
        copies = [one + (np.array([1, 0, 1, 0]) * turn * way) for way in (-2, -1, 0, 1, 2)]
        east = self.grid.shape[1] * UNIT
        near_copies = [c for c in copies if c[:, 0].min() < east and c[:, 0].max() > 0]
        return np.concatenate([one[:0], *near_copies]), len(near_copies)

    @cached_property
    def _same(self) -> bool:
        return bool(self.crs.equals(self.grid.crs, ignore_axis_order=True))

    @property
    def _whole(self) -> bool:
        """Whether every point of the layer has a position on the grid."""
        return self._same or bool(self.grid.crs.is_geographic)

    @cached_property
    def _ahead(self) -> pyproj.Transformer:
        return pyproj.Transformer.from_crs(self.crs, self.grid.crs, always_xy=True)

    @cached_property
    def _box(self) -> Box | None:
        """West, south, east and north of a projected cube in the CRS of the layer, widened."""
        none = _GLOBE if self.crs.is_geographic else None
        back = pyproj.Transformer.from_crs(self.grid.crs, self.crs, always_xy=True)
        rows, columns = (np.linspace(0, size, 65) for size in self.grid.shape)
        x, y = self.grid.corner(*np.meshgrid(rows, columns))  # type: ignore[arg-type]
        again = np.stack(self._ahead.transform(*back.transform(x, y)))
        # a map of the world has corners beyond it
        off = np.abs(again - np.stack([x, y])).max() / min(self.grid.resolution)
        west, south, east, north = back.transform_bounds(*self.grid.bounds, densify_pts=101)
        if not off < 1 or not np.isfinite([west, south, east, north]).all():
            return none
        if self.crs.is_geographic and west > east:
            east += 360
        dx, dy = 0.02 * (east - west), 0.02 * (north - south)
        west, south, east, north = west - dx, south - dy, east + dx, north + dy
        if not self.crs.is_geographic:
            return west, south, east, north
        if east - west > 360:
            west, east = _GLOBE[0], _GLOBE[2]
        return west, max(south, -90.0), east, min(north, 90.0)

    def near(self, rings: Rings) -> list[float]:
        """Return the turns of longitude that bring a polygon near the cube, 0 if there are none.

        The list is empty for polygons that are outside for sure.
        """
        if self._whole and not (self._same or self.crs.is_geographic):
            return [0.0]  # longitudes are known after the projection
        box = self.grid.bounds if self._whole else self._box
        if box is None:
            return [0.0]
        west, south, east, north = box
        low = np.min([ring.min(axis=0) for ring, _ in rings], axis=0)
        high = np.max([ring.max(axis=0) for ring, _ in rings], axis=0)
        if not (low[1] < north + _DATUM and high[1] > south - _DATUM):
            return []
        turns = (0.0, -360.0, 360.0, -720.0, 720.0) if self.crs.is_geographic else (0.0,)
        return [t for t in turns if low[0] + t < east + _DATUM and high[0] + t > west - _DATUM]

    def _clipped(self, rings: Rings) -> Iterator[tuple[Ring, bool]]:
        """Yield the parts of rings near a projected cube, counting longitudes as it does."""
        for turn in self.near(rings):
            for ring, outer in rings:
                cut = ring + np.array([turn, 0.0])
                cut = cut if self._box is None else _cut(cut, self._box)
                if len(cut) > 3:
                    yield cut, outer

    def _oriented(self, ring: Ring, outer: bool, name: str) -> Ints:
        lattice = self._lattice(ring, name)
        # positive: clockwise on the map, where rows run down
        if (_area(lattice) > 0) == outer:
            lattice = lattice[::-1]
        return np.hstack([lattice[:-1], lattice[1:]])

    def _lattice(self, ring: Ring, name: str) -> Ints:
        points = self._pixels(ring) if self._same else self._bent(ring, name)
        if not np.isfinite(points).all() or np.abs(points).max() > _FAR:
            raise BadArgument(
                f"zone {name!r} has points without a position in {crs_name(self.grid.crs)}, the "
                f"CRS of the cube; its own is {crs_name(self.crs)}. Check the CRS of the layer, or "
                "clip the zone to the surroundings of the cube."
            )
        if (points[0] != points[-1]).any():
            raise BadArgument(
                f"zone {name!r} goes round a pole, and a grid in degrees has no such shape. Pass "
                "its border in degrees, from longitude -180 to 180 and along the pole."
            )
        return np.rint(points * UNIT).astype(np.int64)

    def _bent(self, ring: Ring, name: str) -> Ring:
        """Return a ring in pixels, with the points between its corners that its bends need."""
        for _ in range(_ROUNDS):
            points = self._pixels(ring)
            if not np.isfinite(points).all():
                return points
            halves = (ring[:-1] + ring[1:]) / 2
            off = self._pixels(halves) - (points[:-1] + points[1:]) / 2
            far = np.abs(off - self._turns(off)).max(axis=1) > _OFF
            far |= np.abs(np.diff(points, axis=0)).max(axis=1) > _LONG
            if not far.any():
                return points
            ring = np.insert(ring, np.flatnonzero(far) + 1, halves[far], axis=0)
        raise BadArgument(
            f"zone {name!r} lies across the seam of {crs_name(self.grid.crs)}, the CRS of the "
            "cube, where the map is cut. Cut the zone there."
        )

    def _pixels(self, xy: Ring) -> Ring:
        """Return columns and rows of points, px; longitudes go on where they would jump."""
        x, y = xy.T
        if not self._same:
            both = self.crs.is_geographic and self.grid.crs.is_geographic
            # transformations give longitudes of -180 to 180
            turn = 360 * np.floor((x + 180) / 360) if both else 0.0
            moved, y = self._ahead.transform(x - turn, y)
            moved = np.asarray(moved) + turn
            x = moved - 360 * np.rint((moved - x) / 360) if both else moved
        row, column = self.grid.locate(x, y)
        points = np.stack([column, row], axis=1)
        if not self.crs.is_geographic and self.grid.crs.is_geographic:
            jumps = np.cumsum(self._turns(np.diff(points, axis=0)), axis=0)
            points[1:] -= jumps
        return points

    def _turns(self, steps: Ring) -> Ring:
        """Return the whole turns round the globe in steps between points, px."""
        if self.crs.is_geographic or not self.grid.crs.is_geographic:
            return np.zeros_like(steps)
        turn = 360 / self.grid.resolution[0]
        return np.stack([turn * np.rint(steps[:, 0] / turn), np.zeros(len(steps))], axis=1)

    def _size(self, rings: Rings) -> float:
        """Compute the area of a polygon, in degrees proportional to the true one to a per cent."""
        total = 0.0
        for ring, outer in rings:
            flat = ring
            if self.crs.is_geographic:
                flat = np.stack([ring[:, 0], np.sin(np.deg2rad(ring[:, 1]))], axis=1)
            total += abs(_area(flat)) * (1 if outer else -1)
        return total


def _area(xy: NDArray[np.float64] | Ints) -> float:
    """Compute the signed area of a ring (shoelace formula)."""
    x, y = np.asarray(xy - xy[0], "float64").T
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


def _cut(ring: Ring, box: Box) -> Ring:
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
