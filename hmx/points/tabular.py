"""Table: columns as a file has them, names of their rows, and the format that was detected."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.errors import BadArgument, missing_variable

_ID = re.compile(
    r"id|fid|oid|uuid|objectid|system:index|.+[_ .-]id|id[_ .-].+"
    r"|(point|profile|sample|site|plot|lab|soil|record|survey)id",
    re.IGNORECASE,
)
_LISTED = 5

_SRID, _Z_OR_M = 0x20000000, 0xC0000000  # flags of extended WKB
_POINT, _MULTIPOINT = 1, 4


@dataclass(frozen=True)
class RowNames:
    """Names of all rows of a table."""

    column: str | None = None  # where they come from; without one, rows are counted from 0
    values: np.ndarray | None = None  # names (n,)

    def of(self, rows: np.ndarray) -> list[object]:
        """Return the names of some rows, in types of JSON."""
        if self.values is None:
            return [int(row) for row in rows]
        names = (self.values[row] for row in rows)
        return [name if isinstance(name, str | int) else str(name) for name in names]

    def listed(self, rows: np.ndarray, most: int = _LISTED) -> str:
        """List the first rows in words: ``row 2, 5`` or ``id P002, P005, ...``."""
        names = ", ".join(str(name) for name in self.of(rows[:most]))
        more = f", ... ({len(rows):,} in all)" if len(rows) > most else ""
        return f"{self.column or 'row'} {names}{more}"


def row_names(columns: pd.DataFrame, chosen: str | None, *, table: str) -> RowNames:
    """Find the column that names rows."""
    if chosen is not None:
        if chosen not in columns:
            raise missing_variable(chosen, columns, where=table)
        return RowNames(chosen, _plain(columns[chosen]))
    for name in columns.columns:
        if not _ID.fullmatch(str(name)):
            continue
        values = columns[name]
        # ndim: columns that share a name come as a DataFrame. Unique, or a site's number, which
        # several rows share, would name them.
        if values.ndim == 1 and values.notna().all() and values.map(str).is_unique:
            return RowNames(str(name), _plain(values))
    return RowNames()


def _plain(values: pd.Series) -> np.ndarray:
    """Return values as Python's own, whole numbers without a decimal point."""
    if values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return np.asarray(values.astype(object).to_numpy(), object)


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
