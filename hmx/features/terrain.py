"""Terrain: slope and aspect of a static variable.

Gradients are metric also on lat-lon grids, where the width of a pixel depends
on its row. Aspect is a unit vector (sine, cosine), so it has no jump at north,
and :func:`turn` rotates it together with its map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.windows import Window

SLOPE, SINE, COSINE = "slope", "aspect_sin", "aspect_cos"
PixelSize = tuple[ArrayLike, ArrayLike]


def row_sizes(grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Compute the width and height on the ground of a pixel in each row of `window`, metres, (ny,).

    On a geographic grid they are arcs of the parallel and of the meridian of the CRS's own
    ellipsoid (Snyder 1987, eq. 4-20 and 4-19); a row centred on a pole has the width half-way to
    its edge.
    """
    if not grid.crs.is_geographic:
        dx, dy = grid.pixel_size_m
        return np.full(len(window.y), dx), np.full(len(window.y), dy)
    height = grid.resolution[1]
    latitude = grid.transform.f + grid.transform.e * (
        np.arange(window.y.start, window.y.stop) + 0.5
    )
    latitude = np.deg2rad(np.clip(latitude, height / 4 - 90, 90 - height / 4))
    a, b = grid.crs.ellipsoid.semi_major_metre, grid.crs.ellipsoid.semi_minor_metre
    e2 = 1 - (b / a) ** 2
    flat = 1 - e2 * np.sin(latitude) ** 2
    parallel = a * np.cos(latitude) / np.sqrt(flat)  # m per radian of longitude
    meridian = a * (1 - e2) / flat**1.5  # m per radian of latitude
    return parallel * math.radians(grid.resolution[0]), meridian * math.radians(height)


def slope_aspect(
    elevation: np.ndarray, pixel_size: PixelSize
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute slope and aspect from 3 x 3 neighbourhoods (Horn, 1981).

    `elevation` (y, x) is in metres, NaN where unknown; row 0 is the northernmost, column 0 the
    westernmost. An unknown neighbour, or one beyond the border, counts as the centre's value, so
    slopes are damped there (halved on the first row of a plane that rises towards it). `pixel_size`
    is width and height, metres, > 0: two numbers, or arrays (y,) from :func:`row_sizes`.

    Returns the slope (radians, 0 to pi/2), then sine and cosine of the direction that faces
    downslope, clockwise from north; both are 0 on flats. (y, x), float64, NaN where the centre is
    unknown. Raises :class:`BadArgument` if a pixel size does not fit the rows or is not positive.
    """
    dx, dy = (per_row(size, elevation.shape[0]) for size in pixel_size)
    heights = np.asarray(elevation, "float64")
    heights = np.where(np.isfinite(heights), heights, np.nan)
    ringed = np.pad(heights, 1, constant_values=np.nan)
    ny, nx = heights.shape

    def neighbour(down: int, right: int) -> np.ndarray:
        """Return each pixel's neighbour, or the pixel itself where the neighbour is unknown."""
        shifted = ringed[1 + down : 1 + down + ny, 1 + right : 1 + right + nx]
        return np.where(np.isnan(shifted), heights, shifted)

    n, s, w, e = (neighbour(*at) for at in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    nw, ne, sw, se = (neighbour(*at) for at in ((-1, -1), (-1, 1), (1, -1), (1, 1)))
    # the brackets give a turned map the same bits
    east = ((2 * e + (ne + se)) - (2 * w + (nw + sw))) / (8 * dx)
    north = ((2 * n + (nw + ne)) - (2 * s + (sw + se))) / (8 * dy)
    rise = np.hypot(east, north)
    run = np.where(rise > 0, rise, np.where(np.isnan(rise), np.nan, 1.0))
    return np.arctan(rise), -east / run + 0.0, -north / run + 0.0  # + 0.0: no -0


def per_row(size: ArrayLike, rows: int) -> np.ndarray:
    """Return a pixel size, metres, as one number per row: (rows, 1), float64, read-only.

    Raises :class:`BadArgument` if it does not fit the rows or is not positive.
    """
    sizes = np.asarray(size, "float64").reshape(-1, 1)
    if len(sizes) not in (1, rows) or not ((sizes > 0) & np.isfinite(sizes)).all():
        raise BadArgument(
            f"pixel_size has {len(sizes)} values from {sizes.min(initial=np.inf):g} to "
            f"{sizes.max(initial=-np.inf):g} for {rows} rows: it is positive metres, one number or "
            "one for each row. Pass pixel_size=row_sizes(grid, window)."
        )
    return np.broadcast_to(sizes, (rows, 1))


def turn(channels: np.ndarray, names: Sequence[str], quarters: int, mirror: bool) -> np.ndarray:
    """Apply one of the eight symmetries of a square to maps (c, y, x) and their aspects.

    `quarters` are turns like ``numpy.rot90(channels, quarters, axes=(-2, -1))``; `mirror` reverses
    the columns after that. The channels ``*_aspect_sin`` and ``*_aspect_cos`` are the components of
    one vector, and are rotated as well as moved. Raises :class:`BadArgument` if names and channels
    differ in number, or one component is alone.
    """
    if len(names) != len(channels):
        raise BadArgument(
            f"{len(names)} names for {len(channels)} channels: each channel has one name. "
            "Pass context.names(target)."
        )
    turned = np.rot90(channels, quarters, axes=(-2, -1))
    turned = np.ascontiguousarray(turned[..., ::-1] if mirror else turned)
    turned = turned.copy() if np.may_share_memory(turned, channels) else turned
    for sine, cosine in _vectors(names):
        east, north = turned[sine].copy(), turned[cosine].copy()
        for _ in range(quarters % 4):  # anticlockwise: east becomes north
            east, north = -north, east
        turned[sine], turned[cosine] = -east if mirror else east, north
    return turned


def _vectors(names: Sequence[str]) -> list[tuple[int, int]]:
    """Find the positions of the two components of each aspect."""
    position = {name: index for index, name in enumerate(names)}
    of = {n.removesuffix(SINE).removesuffix(COSINE) for n in names if n.endswith((SINE, COSINE))}
    for stem in sorted(of):
        if missing := {stem + SINE, stem + COSINE} - set(position):
            raise BadArgument(
                f"{missing.pop()!r} is not among the channels: an aspect turns as a vector of "
                "sine and cosine. Pass both, or neither."
            )
    return [(position[stem + SINE], position[stem + COSINE]) for stem in sorted(of)]
