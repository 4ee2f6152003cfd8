"""Region: a box, slices, GeoJSON or a GeoDataFrame, as a window of the cube.

A box (west, south, east, north) is in the cube's CRS; slices count pixels of
the cube as its owner sees it; GeoJSON is longitude and latitude (RFC 7946) unless a
``crs`` member names another CRS; a GeoDataFrame brings its own CRS. On a cube in degrees,
longitudes go round. What comes out covers every pixel touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hmx.cube.cube import OuterForm, Region
from hmx.cube.geojson import bounds_of, crs_of, is_shapes, layer_of
from hmx.cube.grid import Grid, crs_name
from hmx.errors import BadArgument
from hmx.windows import Span, Window


class Located(Protocol):
    """A raster whose pixels have a location: a cube, or a product."""

    @property
    def grid(self) -> Grid:
        """Grid of the pixels."""

    @property
    def outer(self) -> OuterForm:
        """How it came in."""


def window_of(region: Region, cube: Located) -> Window:
    """Turn a region into the window of the cube that covers it."""
    if region is None:
        return Window.of(cube.grid.shape)
    if isinstance(region, Mapping) and "type" not in region:
        return _sliced([_taken(region, cube, dim) for dim in ("y", "x")], cube)
    if isinstance(region, Sequence) and any(isinstance(part, slice) for part in region):
        return _sliced(list(region), cube)
    return window_on(region, cube.grid)


def window_on(region: Region, grid: Grid) -> Window:
    """Turn a box or shapes into the window of a grid that covers them."""
    return _boxed(_bounds(region, grid), grid)


def _taken(region: Mapping[str, Any], cube: Located, dim: str) -> Any:
    known = {dim: cube.outer.names.get(dim, dim) for dim in ("y", "x")}
    if unknown := set(region) - {*known, *known.values()}:
        raise BadArgument(
            f"region names {sorted(unknown)[0]!r}; the cube has {' and '.join(known.values())}. "
            f"Pass region={{'{known['y']}': slice(0, 100)}}."
        )
    return region.get(known[dim], region.get(dim, slice(None)))


def _sliced(parts: list[Any], cube: Located) -> Window:
    spans = []
    for dim, part, size in zip(("y", "x"), parts, cube.grid.shape, strict=False):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise BadArgument(
                f"region has {part!r} for {dim}: pass a slice of pixels, slice(0, 100)."
            )
        start, stop, _ = part.indices(size)
        if dim in cube.outer.flips:
            start, stop = size - stop, size - start
        if stop <= start:
            raise BadArgument(f"region slice {part!r} holds no pixel of {dim}, which has {size}.")
        spans.append(Span(start, stop))
    return Window(*spans)


def _bounds(region: Region, grid: Grid) -> tuple[float, float, float, float]:
    """Find the box of a region in the cube's CRS."""
    if hasattr(region, "total_bounds") and hasattr(region, "to_crs"):
        if region.crs is None:
            raise BadArgument("region has no CRS. Write one: region.set_crs('EPSG:4326').")
        west, south, east, north = region.to_crs(grid.crs).total_bounds
        return float(west), float(south), float(east), float(north)
    if is_shapes(region):
        return _shape_bounds(layer_of(region, "region"), grid)
    try:
        west, south, east, north = (float(part) for part in region)
    except (TypeError, ValueError):
        raise BadArgument(
            f"region={region!r} is not a region. Pass (west, south, east, north) in the cube's "
            "CRS, a pair of slices, a GeoJSON geometry or a GeoDataFrame."
        ) from None
    return west, south, east, north


def _shape_bounds(layer: Mapping[str, Any], grid: Grid) -> tuple[float, float, float, float]:
    import pyproj

    box, crs = bounds_of(layer, "region"), crs_of(layer, "region")
    if crs.equals(grid.crs, ignore_axis_order=True):
        return box
    to_cube = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True)
    west, south, east, north = box
    # transformations take longitudes of -180 to 180, and a box may count from 0 to 360
    turn = 360 if crs.is_geographic and west >= 180 else 0
    turned = (west - turn, south, east - turn, north)
    west, south, east, north = to_cube.transform_bounds(*turned, densify_pts=21)
    if not all(map(math.isfinite, (west, south, east, north))):
        raise BadArgument(
            f"region={box} in {crs_name(crs)} has no place in {crs_name(grid.crs)}, the CRS "
            "of the cube. Pass a region within the area of that CRS."
        )
    return west, south, east + 360 * (west > east), north


def _turned(west: float, east: float, grid: Grid) -> tuple[float, float]:
    """Count the longitudes of a box from where the cube's begin."""
    left, _, right, _ = grid.bounds
    if not grid.crs.is_geographic:
        return west, east
    if east - west >= 360:
        return left, right
    turns = [turn for turn in (0, 360, -360) if west + turn < right and east + turn > left]
    whole = [turn for turn in turns if west + turn >= left and east + turn <= right]
    if len(turns) > 1 and not whole:
        raise BadArgument(
            f"region from longitude {west:.10g} to {east:.10g} lies at both ends of the cube, "
            f"whose longitudes go from {left:.10g} to {right:.10g}. Pass its two parts one by one."
        )
    turn = next(iter((*whole, *turns)), 0)
    return west + turn, east + turn


def _boxed(box: tuple[float, float, float, float], grid: Grid) -> Window:
    west, south, east, north = box
    if not (west < east and south < north):
        raise BadArgument(f"region={box} is empty: a box is (west, south, east, north), ascending.")
    west, east = _turned(west, east, grid)
    (top, left), (bottom, right) = grid.locate(west, north), grid.locate(east, south)
    whole = Window.of(grid.shape)
    # edges that agree with a pixel's to rounding do not touch the next pixel
    rows = Span(math.floor(top + 1e-6), math.ceil(bottom - 1e-6)).clip(whole.y)
    cols = Span(math.floor(left + 1e-6), math.ceil(right - 1e-6)).clip(whole.x)
    if not len(rows) or not len(cols):
        bounds = ", ".join(f"{value:.10g}" for value in grid.bounds)
        raise BadArgument(
            f"region={box} lies outside the cube, whose bounds are ({bounds}) in "
            f"{crs_name(grid.crs)}. Pass west, south, east, north within them."
        )
    return Window(rows, cols)
