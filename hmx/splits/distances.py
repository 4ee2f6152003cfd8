"""Distances on the ground: metres along the WGS 84 ellipsoid, never degrees.

A tree over earth-centred coordinates finds who is nearest: the chord through the
earth grows with the way along its surface. Its length is that of the geodesic
(Karney 2013, doi:10.1007/s00190-012-0578-z). A sphere would be up to 0.56 % off.
"""

from __future__ import annotations

import numpy as np
import pyproj
import scipy
from numpy.typing import NDArray

from hmx.cube.grid import Grid
from hmx.errors import NotEnoughData

Array = NDArray[np.float64]

_WGS84 = pyproj.Geod(ellps="WGS84")
_LONLAT = "EPSG:4326"
DRAWN = 10_000  # pixels drawn to represent a map


def metres(here: Array, there: Array) -> Array:
    """Measure how far locations are from each other, pair by pair."""
    return np.asarray(_WGS84.inv(here[:, 0], here[:, 1], there[:, 0], there[:, 1])[2])


def earth_centred(lonlat: Array) -> Array:
    """Convert longitude and latitude to coordinates from the centre of the earth."""
    lon, lat = np.deg2rad(lonlat).T
    normal = _WGS84.a / np.sqrt(1 - _WGS84.es * np.sin(lat) ** 2)  # m, to the polar axis
    flat = normal * np.cos(lat)
    up = normal * (1 - _WGS84.es) * np.sin(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), up], axis=1)


def nearest(lonlat: Array, others: Array | None = None) -> Array:
    """Measure how far each location is from the nearest of some others."""
    among = lonlat if others is None else others
    rank = 2 if others is None else 1  # the nearest of its own set is the location itself
    if len(among) < rank or not len(lonlat):
        return np.full(len(lonlat), np.inf)
    _, index = scipy.spatial.cKDTree(earth_centred(among)).query(earth_centred(lonlat), k=[rank])
    return metres(lonlat, among[index[:, 0]])


def domain(
    grid: Grid, valid: NDArray[np.bool_] | None = None, *, most: int = DRAWN, seed: int = 0
) -> Array:
    """Draw the locations that a map predicts: pixels with data."""
    return lonlat_of(grid, *drawn_pixels(grid, valid, most=most, seed=seed))


def drawn_pixels(
    grid: Grid, valid: NDArray[np.bool_] | None = None, *, most: int = DRAWN, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw pixels with data: rows and columns."""
    where = np.arange(grid.shape[0] * grid.shape[1]) if valid is None else np.flatnonzero(valid)
    if not len(where):
        raise NotEnoughData(
            f"none of {grid.shape[0]:,} x {grid.shape[1]:,} pixels holds data: a map has pixels "
            "to predict. Look at the bands: ds[name].notnull().any()."
        )
    if len(where) > most:
        where = np.sort(np.random.default_rng(seed).choice(where, most, replace=False))
    return np.divmod(where, grid.shape[1])


def lonlat_of(grid: Grid, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> Array:
    """Return longitude and latitude of the centres of pixels, (n, 2)."""
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, _LONLAT, always_xy=True)
    return np.stack(to_lonlat.transform(grid.x[columns], grid.y[rows]), axis=1)
