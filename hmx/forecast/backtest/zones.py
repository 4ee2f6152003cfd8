"""Zones: named parts of the map, from a raster or from polygons, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.geojson import crs_of, is_shapes, layer_of
from hmx.cube.grid import Grid
from hmx.errors import BadArgument, GridMismatch, SourceError
from hmx.files.paths import absolute
from hmx.windows import Span, Window, pieces

Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]

_KEYS = ("name", "Name", "NAME", "zone", "label", "id")
_MOST = 100  # zones of a raster: with more it is a map of a quantity, passed by mistake


@dataclass(frozen=True)
class Polygons:
    """Zones as polygons in the CRS of the grid."""

    grid: Grid  # of the cube
    # Name, GeoJSON geometry and its box (west, south, east, north), each
    shapes: tuple[tuple[str, Mapping[str, Any], Box], ...]

    def masks(self, window: Window) -> dict[str, Mask]:
        """Mark the pixels whose centre is in each zone, (y, x); empty zones are left out.

        The window is in pixels of the cube; its columns may cross the date line.
        """
        parts = [
            self._part(Window(window.y, Span(part.start, part.stop)))
            for part in pieces(window.x, self.grid.shape[1])
        ]
        names = dict.fromkeys(name for part in parts for name in part)
        widths = [part.stop - part.start for part in pieces(window.x, self.grid.shape[1])]
        blank = [np.zeros((len(window.y), width), bool) for width in widths]
        return {
            f"zone:{name}": np.concatenate(
                [part.get(name, none) for part, none in zip(parts, blank, strict=True)], axis=1
            )
            for name in names
        }

    def _part(self, window: Window) -> dict[str, Mask]:
        from rasterio.features import rasterize

        grid = self.grid.crop(window)
        west, south, east, north = grid.bounds
        inside: dict[str, list[Any]] = {}
        for name, shape, box in self.shapes:
            if box[0] < east and box[2] > west and box[1] < north and box[3] > south:
                inside.setdefault(name, []).append(shape)
        masks = {
            name: rasterize(shapes, grid.shape, transform=grid.transform, dtype="uint8") > 0
            for name, shapes in inside.items()
        }
        return {name: mask for name, mask in masks.items() if mask.any()}


@dataclass(frozen=True)
class ZoneRaster:
    """Zones as a raster of whole numbers on the grid of the cube."""

    path: str  # anything GDAL reads, or a ``.npy`` of the cube's shape
    columns: int  # of the cube, px

    def masks(self, window: Window) -> dict[str, Mask]:
        """Mark the pixels of each value, (y, x); empty zones are left out."""
        parts = [
            self._part(window.y, part.start, part.stop) for part in pieces(window.x, self.columns)
        ]
        values: Any = np.ma.concatenate(parts, axis=1)  # type: ignore[no-untyped-call]
        known = values.compressed()
        found = np.unique(known[np.isfinite(known)])
        if len(found) > _MOST:
            raise BadArgument(
                f"{self.path} has more than {_MOST} values in one window: zones are a few whole "
                "numbers. Pass a classified raster."
            )
        return {f"zone:{value:g}": np.ma.filled(values == value, False) for value in found}

    def _part(self, rows: Span, first: int, last: int) -> np.ma.MaskedArray[Any, Any]:
        if self.path.endswith(".npy"):
            return np.ma.masked_array(_mapped(self.path)[rows.slice, first:last])
        import rasterio

        at = ((rows.start, rows.stop), (first, last))
        with rasterio.open(self.path) as file:
            return np.ma.asarray(file.read(1, window=at, masked=True))


Zones = Polygons | ZoneRaster


@lru_cache(maxsize=2)
def _mapped(path: str) -> NDArray[Any]:
    """Map an array of this machine's disk into memory, once per process."""
    return np.asarray(np.load(path, mmap_mode="r"))


def zones_of(given: Any, grid: Grid, *, flips: Iterable[str] = (), folder: str) -> Zones | None:
    """Read polygons or a raster of zones, whose masks are then cut window by window.

    Polygons have a name each (property ``name``, else the first text) and are GeoJSON in
    longitude and latitude (RFC 7946) or with a ``crs`` member. A raster has whole numbers on
    the cube's grid and is a file that GDAL reads or an array, which is saved in `folder` for the
    workers. `flips` are dims in which an array runs the other way than the grid.
    """
    if given is None:
        return None
    if isinstance(given, str | Path) and not is_shapes(given):
        return _raster(absolute(given), grid)
    if is_shapes(given):
        return Polygons(grid, tuple(_shapes(layer_of(given, "zones"), grid)))
    return _array(given, grid, flips, folder)


def _shapes(layer: Mapping[str, Any], grid: Grid) -> Iterable[tuple[str, Mapping[str, Any], Box]]:
    """Name the geometries of a layer, and bring them to the grid's CRS."""
    from rasterio.features import bounds
    from rasterio.warp import transform_geom

    found, crs = layer.get("features"), crs_of(layer, "zones").to_wkt()
    for number, feature in enumerate([layer] if found is None else found):
        shape = feature.get("geometry", feature if "coordinates" in feature else None)
        if shape is None:
            raise BadArgument(
                f"zones: feature {number} has no geometry. Pass GeoJSON with polygons."
            )
        moved = transform_geom(crs, grid.crs.to_wkt(), shape)
        yield _name(feature.get("properties") or {}, number), moved, tuple(bounds(moved))


def _name(properties: Mapping[str, Any], number: int) -> str:
    keys = [*_KEYS, *(key for key, value in properties.items() if isinstance(value, str))]
    named = next((key for key in keys if properties.get(key) is not None), None)
    return str(number) if named is None else str(properties[named])


def _raster(path: str, grid: Grid) -> ZoneRaster:
    import pyproj
    import rasterio

    try:
        with rasterio.open(path) as file:
            crs = grid.crs if file.crs is None else pyproj.CRS.from_user_input(file.crs.to_wkt())
            other = Grid(crs, file.transform, (file.height, file.width))
    except rasterio.errors.RasterioIOError as error:
        raise SourceError(
            f"zones {path!r} cannot be read ({error}). Pass a raster on the cube's grid or GeoJSON."
        ) from None
    if difference := grid.difference(other):
        raise GridMismatch(
            f"zones {path!r} lie on another grid: {difference}. Warp them to the grid of the cube."
        )
    return ZoneRaster(path, grid.shape[1])


def _array(given: Any, grid: Grid, flips: Iterable[str], folder: str) -> ZoneRaster:
    values = np.asarray(given)
    if values.shape != grid.shape:
        raise GridMismatch(
            f"zones have shape {values.shape} and the cube {grid.shape}: an array of zones lies on "
            "the cube's grid. Pass zones.reindex_like(ds.hm), or a GeoJSON."
        )
    axes = tuple(axis for axis, dim in enumerate(("y", "x")) if dim in flips)
    path = f"{folder.rstrip('/')}/zones.npy"
    Path(folder).mkdir(parents=True, exist_ok=True)
    np.save(path, np.flip(values, axes))
    return ZoneRaster(path, grid.shape[1])
