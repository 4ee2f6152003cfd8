"""Table: columns as a file has them, and the format that was detected in it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.errors import BadArgument

_SRID, _Z_OR_M = 0x20000000, 0xC0000000  # flags of extended WKB
_POINT, _MULTIPOINT = 1, 4


@dataclass(frozen=True)
class Table:
    """A table as it was found."""

    name: str  # what messages call it
    columns: pd.DataFrame  # without geometry, rows from 0
    xy: np.ndarray | None = None  # from its geometry (n, 2)
    crs: pyproj.CRS | None = None  # of its geometry
    # What was detected and is not the plain default: separator, encoding, layer
    found: tuple[str, ...] = ()
    decimal: str = "."  # decimal sign of numbers that stand in it as text


def crs_of(given: Any) -> pyproj.CRS | None:
    """Read a CRS as files and GeoDataFrames have it."""
    return None if given is None else pyproj.CRS.from_user_input(given)


def no_points(name: str, what: str) -> BadArgument:
    """Build the error for geometries that are not points."""
    return BadArgument(
        f"{name} holds {what}, and samples are taken at points. Pass points, e.g. the centroids: "
        "table.set_geometry(table.centroid)."
    )


def coordinates(blobs: Any, name: str, kind: str = "another kind") -> np.ndarray:
    """Decode well-known binary points (OGC 06-103r4, 8.2.6), (n, 2); NaN where there is none."""
    xy = np.full((len(blobs), 2), np.nan)
    for row, blob in enumerate(blobs):
        if blob is None:
            continue
        point = _point(bytes(blob))
        if point is None:
            raise no_points(name, f"geometries of type {kind}")
        xy[row] = point
    return xy


def _point(blob: bytes) -> tuple[float, float] | None:
    """Decode one point; nothing where it is another geometry."""
    order = "<" if blob[0] == 1 else ">"
    (code,) = struct.unpack_from(f"{order}I", blob, 1)
    # 1 byte of byte order, 4 of kind; extended WKB (PostGIS) may insert 4 of an SRID. The ISO form
    # adds 1000 for Z, 2000 for M and 3000 for both, so the remainder is the plain kind.
    start = 5 + 4 * bool(code & _SRID)
    kind = (code & ~(_SRID | _Z_OR_M)) % 1000
    if kind == _POINT:
        return struct.unpack_from(f"{order}2d", blob, start)
    if kind == _MULTIPOINT and struct.unpack_from(f"{order}I", blob, start) == (1,):
        return _point(blob[start + 4 :])
    return None


def geo_metadata(raw: bytes | None) -> tuple[str, str, Any] | None:
    """Read the metadata of GeoParquet 1.x: column of geometries, their encoding and CRS."""
    if raw is None:
        return None
    geo = json.loads(raw)
    name = geo["primary_column"]
    about = geo["columns"][name]
    # a CRS that is absent is longitude and latitude, one that is null is unknown (GeoParquet 1.1)
    return name, about.get("encoding", "WKB"), about.get("crs", "OGC:CRS84")
