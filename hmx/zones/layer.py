"""ZoneLayer: the zones of a study area on the grid of a cube, from any source of zones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.grid import Grid
from hmx.errors import BadArgument, SourceError
from hmx.files.paths import absolute, is_url
from hmx.provenance import fingerprint
from hmx.windows import Span, Window, pieces
from hmx.zones.cover import UNIT, WHOLE, Cover, Ints, runs_of
from hmx.zones.features import is_layer, names_of, read_features
from hmx.zones.projecting import Placing, repaired, rings_of
from hmx.zones.raster import Numbered, mapped, open_raster, raster_of, save, survey

_LARGE = 1 << 20  # bytes; more edges go to a file, so that a layer stays small when it travels
_BLOCK = 128  # edges that are looked up together
_CROSSED = 1e-6  # of a pixel: more than the whole of it, or less than nothing, is covered

_ROUNDING = 1e-5  # share of a zone along the edge of the cube that another CRS puts outside
_NAMED = 5  # zones that a note lists


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


@dataclass(frozen=True)
class ZoneLayer:
    """Named zones on the grid of a cube."""

    grid: Grid  # of the cube, north-up
    names: tuple[str, ...]  # unique, in the order of the layer
    properties: tuple[Mapping[str, object], ...]  # of each zone, as read
    shapes: Polygons | Numbered  # where the zones lie
    outside: tuple[float, ...]  # share of each zone's area that lies outside the cube
    # what the owner of the layer should read: zones left out, cut or repaired
    notes: tuple[str, ...]
    digest: str  # hash of the grid, the names and the shapes

    def __len__(self) -> int:
        return len(self.names)

    def cover(self, window: Window) -> Cover:
        """Return which zones cover which pixels of a window, and their share of each.

        The window is in pixels of the cube, north-up; its columns may cross the date line. Any
        window gives the shares that the whole grid has, to the bit.
        """
        rows, columns = window.y, len(window.x)
        parts: list[Cover] = []
        before = 0
        for piece in pieces(window.x, self.grid.shape[1]):
            width = piece.stop - piece.start
            part = self.shapes.cover(Window(rows, Span(piece.start, piece.stop)))
            row, column = np.divmod(part.pixel, width)
            parts.append(replace(part, pixel=row * columns + column + before))
            before += width
        if len(parts) == 1:
            return parts[0]
        zone = np.concatenate([part.zone for part in parts])
        pixel = np.concatenate([part.pixel for part in parts])
        order = np.lexsort([pixel, zone])
        share = np.concatenate([part.share for part in parts])
        return Cover(zone[order], pixel[order], share[order])

    def pixel_km2(self, rows: Span) -> np.ndarray:
        """Return the true area of a pixel in each of some rows, km2, shape (y,)."""
        return self.grid.cell_areas()[rows.slice] / 1e6

    def without_properties(self) -> ZoneLayer:
        """Return the layer as small as workers need it."""
        return replace(self, properties=())


def read_zones(
    given: Any,
    grid: Grid,
    *,
    id: str | None = None,
    flips: Iterable[str] = (),
    folder: str | None = None,
) -> ZoneLayer:
    """Read zones and bring them to the grid of a cube.

    Parameters
    ----------
    given : path, GeoJSON, GeoDataFrame or array
        Polygons: GeoJSON (a path, a text or an object), GeoPackage, Shapefile, FlatGeobuf,
        GeoParquet or a GeoDataFrame, in any CRS. ``file.gpkg|layername=parks`` names a layer
        of a file with several. Or a raster of whole numbers on the cube's grid: a file that
        GDAL reads, ``.npy``, a DataArray or an array. Pixels of one number are a zone. NaN and
        nodata are outside; where a raster has neither, 0 is.
    grid : Grid
        Of the cube.
    id : str, optional
        Property that names the zones; ``"#"`` numbers them. Default: ``name``, ``zone``,
        ``label``, ``id``, else the first text, else the number.
    flips : iterable of str
        Dims in which an array without coordinates runs against the north-up grid.
    folder : str, optional
        Where large layers and arrays are kept for workers. Default: in the object.

    Returns
    -------
    ZoneLayer
        Zones that touch the cube, in the order of the layer. ``notes`` has what was left
        out, lies partly outside or was repaired.

    Raises
    ------
    BadArgument
        For points and lines, names that are not unique, empty zones, rasters of quantities,
        and layers wholly outside the cube.
    GridMismatch
        For rasters on another grid.
    SourceError
        For files that cannot be read.
    """
    if is_layer(given):
        return _from_polygons(given, grid, id, folder)
    if id is not None:
        raise BadArgument(
            f"id={id!r} with a raster of zones: its numbers are the names. Leave out id=."
        )
    path = isinstance(given, str | Path)
    raster = open_raster(absolute(given), grid) if path else raster_of(given, grid, flips, folder)
    numbers, gaps, state = survey(raster, grid)
    notes = []
    if not (gaps or raster.declares_nodata) and 0 in numbers:
        numbers = numbers[numbers != 0]
        notes = ["zones: 0 is outside all zones, because the raster has no nodata value"]
    if not len(numbers):
        raise BadArgument("zones: the raster has no zone. Pass whole numbers above 0.")
    return ZoneLayer(
        grid,
        tuple(str(number) for number in numbers),
        tuple({"id": int(number)} for number in numbers),
        Numbered(raster, numbers),
        (0.0,) * len(numbers),
        tuple(notes),
        fingerprint([_grid_facts(grid), state]),
    )


def require_zones(given: str | Path, id: str | None = None) -> None:
    """Raise now what :func:`read_zones` would raise for a file later, after hours of work."""
    if is_layer(given):
        names_of(read_features(given)[0], id)
    elif not is_url(path := absolute(given)) and not Path(path).exists():
        raise SourceError(
            f"zones {path!r} does not exist. Pass the path of a layer of polygons or of a raster."
        )


def _from_polygons(given: Any, grid: Grid, id: str | None, folder: str | None) -> ZoneLayer:
    features, crs = read_features(given)
    names, placing = names_of(features, id), Placing(crs, grid)
    zones, kept, outside, mended = [], [], [], []
    for feature, name in zip(features, names, strict=True):
        rings = rings_of(feature, name)
        if not placing.near(rings):
            continue
        rings, broken = repaired(rings)
        edges, times = placing.edges(rings, name)
        share = times * _inside(edges, grid, name) if len(edges) else 0.0
        if broken and share > 0:
            mended.append(name)
        if share > 0:
            zones.append(edges)
            kept.append(feature.number)
            outside.append(1 - share if 1 - share > _ROUNDING else 0.0)
    if not zones:
        raise BadArgument(
            f"zones lie outside the cube, whose bounds are {_bounds(grid)}. Pass zones of its "
            "area, and check the CRS of the layer."
        )
    inside, left = [names[number] for number in kept], set(names) - {names[n] for n in kept}
    most = f"{100 * max(outside):.4g} %"
    notes = [
        *_note([n for n in names if n in left], "outside the cube and left out"),
        *_note(
            [n for n, out in zip(inside, outside, strict=True) if out],
            f"partly outside the cube (up to {most}); the part inside counts",
        ),
        *_note(mended, "repaired: their borders crossed or overlapped"),
    ]
    shapes = Polygons.of(zones)
    digest = hashlib.sha256(np.concatenate(zones).tobytes())
    digest.update(fingerprint([_grid_facts(grid), inside, shapes.zone.tolist()]).encode())
    name = digest.hexdigest()[:16]
    return ZoneLayer(
        grid,
        tuple(inside),
        tuple(features[number].properties for number in kept),
        shapes.stored(folder, name),
        tuple(outside),
        tuple(notes),
        name,
    )


def _inside(edges: np.ndarray, grid: Grid, name: str) -> float:
    """Return the share of a zone's area that lies within the grid."""
    x0, y0, x1, y1 = (edges - edges[0, [0, 1, 0, 1]]).astype("float64").T
    # of rows that run down: outer rings count below zero
    whole = -(x0 * y1 - x1 * y0).sum() / WHOLE
    if whole <= 0:
        return 0.0
    return covered_area(edges, Window.of(grid.shape), name) / float(whole)


def _note(names: list[str], what: str) -> list[str]:
    if not names:
        return []
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    one = len(names) == 1
    return [f"{len(names)} zone{'' if one else 's'} {'is' if one else 'are'} {what}: {listed}"]


def _grid_facts(grid: Grid) -> list[object]:
    return [grid.crs.to_wkt(), [*grid.transform][:6], list(grid.shape)]


def _bounds(grid: Grid) -> str:
    return "(" + ", ".join(f"{edge:.10g}" for edge in grid.bounds) + ")"
