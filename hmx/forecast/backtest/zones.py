"""Zones as strata of a scorecard: masks of the pixels whose centre lies in each zone.

Zones of one name are one stratum, and each value of a raster is one, 0 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.files.paths import absolute
from hmx.windows import Span, Window, pieces
from hmx.zones.features import is_layer, read_features
from hmx.zones.raster import ZoneRaster, open_raster, raster_of

Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]

_MOST = 100  # zones of a raster: with more it is a map of a quantity, passed by mistake


@dataclass(frozen=True)
class PolygonStrata:
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
class RasterStrata:
    """Zones as a raster of whole numbers on the grid of the cube."""

    raster: ZoneRaster
    columns: int  # of the cube, px

    def masks(self, window: Window) -> dict[str, Mask]:
        """Mark the pixels of each value, (y, x); empty zones are left out."""
        parts = [
            self.raster.read(Window(window.y, Span(part.start, part.stop)))
            for part in pieces(window.x, self.columns)
        ]
        values: Any = np.ma.concatenate(parts, axis=1)  # type: ignore[no-untyped-call]
        known = values.compressed()
        found = np.unique(known[np.isfinite(known)])
        if len(found) > _MOST:
            raise BadArgument(
                f"{self.raster.source} has more than {_MOST} values in one window: zones are a few "
                "whole numbers. Pass a classified raster."
            )
        return {f"zone:{value:g}": np.ma.filled(values == value, False) for value in found}


Zones = PolygonStrata | RasterStrata


def zones_of(given: Any, grid: Grid, *, flips: Iterable[str] = (), folder: str) -> Zones | None:
    """Read polygons or a raster of zones, whose masks are then cut window by window.

    Arrays are saved in `folder` for the workers. `flips` are dims in which an array runs the
    other way than the grid.
    """
    if given is None:
        return None
    if is_layer(given):
        return PolygonStrata(grid, tuple(_shapes(given, grid)))
    path = isinstance(given, str | Path)
    raster = open_raster(absolute(given), grid) if path else raster_of(given, grid, flips, folder)
    return RasterStrata(raster, grid.shape[1])


def _shapes(given: Any, grid: Grid) -> Iterator[tuple[str, Mapping[str, Any], Box]]:
    """Name the geometries of a layer, and bring them to the grid's CRS."""
    from rasterio.features import bounds
    from rasterio.warp import transform_geom

    features, crs = read_features(given)
    for feature in features:
        moved = transform_geom(crs.to_wkt(), grid.crs.to_wkt(), feature.geometry)
        yield feature.default_name, moved, tuple(bounds(moved))
