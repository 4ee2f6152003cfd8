"""Strata: parts of a raster that are scored separately, each computed from its window alone.

The distance of a pixel to past change follows from the history up to the origin, whatever the
model; the size of its true change from the truth. Zones are strata of the pixels whose centre lies
in them: zones of one name are one stratum, and each value of a raster is one, 0 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.features.context import past_change
from hmx.files.paths import absolute
from hmx.windows import Span, Window, pieces
from hmx.zones.features import is_layer, read_features
from hmx.zones.raster import ZoneRaster, open_raster, raster_of

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

CAP = 30  # px: from here on a pixel is far from past change; also a halo that tiles can afford
_NEAR = 3  # px: one 7 x 7 window of SSIM
_SMALL = 0.05  # of the range of values: a larger change is one that people see on the map
_SAME = 1e-6  # of the range: float32 rounds by less
MEANINGS = {
    "near": f"near: up to {_NEAR} px from past change",
    "middle": "middle: farther",
    "far": f"far: {CAP} px and more",
    "unchanged": "unchanged: truly the same",
    "small": f"small: a true change of up to {100 * _SMALL:g} % of the range",
    "large": "large: of more",
}
Box = tuple[float, float, float, float]
_MOST = 100  # zones of a raster: with more it is a map of a quantity, passed by mistake


def by_distance(history: Floats) -> dict[str, Mask]:
    """Mark the pixels near, at a middle distance and far from past change, (y, x) each.

    The history (time, y, x) needs :data:`CAP` true pixels around the pixels wanted. A missing
    pixel has not changed.
    """
    moved = past_change(history).total > 0
    distance = np.full(moved.shape, float(CAP))
    if moved.any():  # the transform of a mask without targets is undefined
        distance = np.minimum(distance_transform_edt(~moved), CAP)
    near, far = distance <= _NEAR, distance >= CAP
    return {"near": near, "middle": ~near & ~far, "far": far}


def by_change(truth: Floats, origin: Floats, span: float) -> dict[str, Mask]:
    """Mark pixels whose true change is zero, small or large, (y, x) each; missing ones nowhere."""
    size = np.abs(truth - origin) / span
    return {
        "unchanged": size <= _SAME,
        "small": (size > _SAME) & (size <= _SMALL),
        "large": size > _SMALL,
    }


def cut(
    masks: Mapping[str, Mask], window: tuple[slice, slice], core: tuple[slice, slice]
) -> dict[str, Mask]:
    """Cut masks to a window, and drop those that mark nothing in its core."""
    parts = {name: mask[window] for name, mask in masks.items()}
    return {name: part for name, part in parts.items() if part[core].any()}


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
