"""Extent: coordinates that do not fit their CRS or the cube, with the likely cause named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.cube.bands import Bands
from hmx.cube.grid import crs_name
from hmx.errors import BadArgument

# Names of coordinates seen in the field, in the order in which they are looked for.
PAIRS = (
    ("lon", "lat"),
    ("longitude", "latitude"),
    ("long", "lat"),
    ("x", "y"),
    ("easting", "northing"),
    ("eastings", "northings"),
    ("x_coord", "y_coord"),
)
_WGS84 = pyproj.CRS("EPSG:4326")


def pairs_in(columns: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of columns with usual names of coordinates."""
    # reversed: of two columns that differ in case only, the first one stays.
    names = {str(name).lower(): str(name) for name in reversed(list(columns.columns))}
    return [(names[x], names[y]) for x, y in PAIRS if x in names and y in names]


def on_globe(xy: np.ndarray) -> np.ndarray:
    """Find pairs that can be longitude and latitude, (n,)."""
    # 360: tables of climate models count longitudes from 0 to 360.
    return np.asarray((np.abs(xy[:, 0]) <= 360) & (np.abs(xy[:, 1]) <= 90))


def require_on_globe(
    xy: np.ndarray, crs: pyproj.CRS, where: str, others: list[tuple[str, str]]
) -> None:
    """Refuse coordinates read as degrees if no point can be on the globe; name the likely cause."""
    known = xy[np.isfinite(xy).all(axis=1)]
    if not crs.is_geographic or not len(known) or on_globe(known).any():
        return
    if on_globe(known[:, ::-1]).all():
        why = f"x and y look swapped: {_swap(where)}"
    else:
        # 720 is twice the largest longitude. The median, because one bad row must not decide.
        metres = np.median(np.abs(known)) > 720
        looks = "so these look like metres: pass" if metres else "so pass the right columns, or"
        why = (
            f"{known.ravel()[np.abs(known).argmax()]:,.6g} is not a longitude or latitude, {looks} "
            "their true crs=..., e.g. crs='EPSG:32634'"
        )
    raise BadArgument(
        f"{where} hold {ranges(known)}, and are read as {crs_name(crs)}, longitude and latitude "
        f"in degrees. {why[0].upper()}{why[1:]}{_also(others)}."
    )


def _swap(where: str) -> str:
    # Names in quotes: two columns give five parts, a geometry gives one.
    names = where.split("'")
    return f"pass x={names[3]!r}, y={names[1]!r}" if len(names) == 5 else "x is east and y north"


def ranges(xy: np.ndarray) -> str:
    """Write the ranges of two columns: ``20 to 23 and 40 to 42``."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    return " and ".join(f"{a:.7g} to {b:.7g}" for a, b in zip(low, high, strict=True))


def _also(others: list[tuple[str, str]]) -> str:
    named = " and ".join(f"x={x!r}, y={y!r}" for x, y in others)
    return f"; the table also has columns for {named}" if others else ""


def require_overlap(points: Any, bands: Bands, inside: np.ndarray) -> None:
    """Refuse a table of which no point lies in the cube, with both extents and the likely cause."""
    if inside.any() or not len(points):
        return
    xy = np.stack([points.x, points.y], axis=1)
    low, high = xy.min(axis=0), xy.max(axis=0)
    here = ", ".join(f"{edge:.6g}" for edge in (*low, *high))
    why = _causes(points, bands, xy)
    also = _also([pair for pair in points.pairs if pair != points.columns])
    raise BadArgument(
        f"all {len(points)} points lie outside the cube: they span ({here}), from {points.where}, "
        f"and the cube {_bounds(bands, points.crs)}, both west, south, east, north in "
        f"{crs_name(points.crs)}{also}. {why}The points were read as {crs_name(points.crs)}: pass "
        "their true crs=..., and check that x is east."
    )


def _bounds(bands: Bands, crs: pyproj.CRS) -> str:
    """Write the bounds of the cube, in the CRS of the points."""
    bounds = bands.grid.bounds
    if not bands.grid.crs.equals(crs, ignore_axis_order=True):
        to_points = pyproj.Transformer.from_crs(bands.grid.crs, crs, always_xy=True)
        bounds = to_points.transform_bounds(*bounds)
    return f"({', '.join(f'{edge:.6g}' for edge in bounds)})"


def _causes(points: Any, bands: Bands, xy: np.ndarray) -> str:
    """Try frequent mistakes, and name the one whose remedy puts points into the cube."""
    # In the order of how often it is the cause; the first that puts a point into the cube wins.
    tried: list[tuple[np.ndarray, Any, str]] = [
        (xy[:, ::-1], points.crs, f"With x and y swapped {{}} lie in it: {_swap(points.where)}. "),
        (xy, bands.grid.crs, f"Read in the CRS of the cube {{}} lie in it: pass "
                             f"crs={crs_name(bands.grid.crs)!r}. "),
    ]  # fmt: skip
    if on_globe(xy).all() and not points.crs.is_geographic:
        text = "The numbers look like degrees"
        tried.append((xy, _WGS84, f"{text}, and as such {{}} lie in it: pass crs='EPSG:4326'. "))
        turned = f"{text} with x and y swapped, of which {{}} lie in it: {_swap(points.where)}, "
        tried.append((xy[:, ::-1], _WGS84, f"{turned}crs='EPSG:4326'. "))
    for pairs, crs, words in tried:
        count = int(_inside(pairs, crs, bands).sum())
        if count:
            return words.format(f"{count:,} of {len(xy):,}")
    degrees = on_globe(xy).all() and not points.crs.is_geographic
    return "The numbers look like degrees, and the CRS is in metres. " if degrees else ""


def _inside(xy: np.ndarray, crs: pyproj.CRS, bands: Bands) -> np.ndarray:
    west, south, east, north = bands.grid.bounds
    to_cube = pyproj.Transformer.from_crs(crs, bands.grid.crs, always_xy=True)
    x, y = to_cube.transform(xy[:, 0], xy[:, 1])
    return np.asarray((x >= west) & (x <= east) & (y >= south) & (y <= north))
