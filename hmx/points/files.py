"""Files of points: CSV through pandas, vector files through GDAL (pyogrio)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.errors import BadArgument, SourceError
from hmx.paths import absolute

_TEXT = (".csv", ".tsv", ".txt", ".csv.gz")
_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("xy", "<f8", 2)])  # WKB, little-endian


@dataclass(frozen=True)
class Table:
    """A table as it was found.

    Parameters
    ----------
    name : str
        What messages call it.
    columns : DataFrame
        Without geometry.
    xy : ndarray of float64, (n, 2), optional
        From its geometry.
    crs : pyproj.CRS, optional
        Of its geometry.
    """

    name: str
    columns: pd.DataFrame
    xy: np.ndarray | None = None
    crs: pyproj.CRS | None = None


def open_table(source: Any, layer: str | None = None) -> Table:
    """Open whatever holds points.

    Parameters
    ----------
    source : DataFrame, GeoDataFrame, str or Path
        A path or URL of a CSV, or of a vector file that GDAL opens.
    layer : str, optional
        Of a vector file with several.

    Raises
    ------
    SourceError
        If a file cannot be read.
    BadArgument
        If the source is no table, or its geometries are no points.
    """
    if isinstance(source, str | Path):
        text = absolute(source)
        return _text(text) if text.lower().endswith(_TEXT) else _vector(text, layer)
    if hasattr(source, "crs") and hasattr(source, "geometry"):
        return _geometries(source)
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return Table("the table", source.reset_index(drop=True))
    raise BadArgument(
        f"points are a {type(source).__name__}, and must be a DataFrame, a GeoDataFrame, or the "
        "path of a CSV, GeoPackage or other vector file. Pass points='points.csv'."
    )


def _geometries(source: Any) -> Table:
    """Take a GeoDataFrame apart, by what it can do and not by its type."""
    try:
        xy = np.stack([np.asarray(source.geometry.x), np.asarray(source.geometry.y)], axis=1)
    except ValueError:
        raise _no_points("the table", "other geometries") from None
    columns = pd.DataFrame(source.drop(columns=source.geometry.name)).reset_index(drop=True)
    return Table("the table", columns, xy.astype("float64"), _crs(source.crs))


def _text(path: str) -> Table:
    name = path.rpartition("/")[2]
    try:
        table = pd.read_csv(path, sep="\t" if name.lower().endswith(".tsv") else ",")
        if table.shape[1] == 1 and ";" in str(table.columns[0]):
            table = pd.read_csv(path, sep=";")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise SourceError(
            f"points cannot be read from {path!r} ({error}). Pass the path of a CSV with a header."
        ) from error
    return Table(name, table)


def _vector(path: str, layer: str | None) -> Table:
    name = path.rpartition("/")[2]
    try:
        import pyogrio
        from pyogrio.errors import DataLayerError, DataSourceError
    except ImportError:
        raise SourceError(
            f"reading {name} needs pyogrio, which is not installed. Type pip install pyogrio, or "
            "save the points as CSV."
        ) from None
    try:
        meta, _, geometry, fields = pyogrio.raw.read(path, layer=layer, force_2d=True)
    except (DataSourceError, DataLayerError) as error:
        raise SourceError(
            f"points cannot be read from {path!r} ({error}). Pass the path of a vector file or a "
            "CSV, and layer=... if it has several."
        ) from error
    columns = pd.DataFrame(dict(zip(meta["fields"], fields, strict=True)))
    if geometry is None:  # a table without geometry
        return Table(name, columns)
    return Table(name, columns, _coordinates(geometry, name, meta), _crs(meta["crs"]))


def _coordinates(geometry: np.ndarray, name: str, meta: dict[str, Any]) -> np.ndarray:
    """Decode well-known binary points (OGC 06-103r4, 8.2.6), NaN where there is none."""
    there = np.array([shape is not None for shape in geometry], bool)
    blobs = geometry[there]
    if any(len(blob) != _POINT.itemsize or blob[1] != 1 for blob in blobs):
        raise _no_points(name, f"geometries of type {meta['geometry_type']}")
    xy = np.full((len(geometry), 2), np.nan)
    xy[there] = np.frombuffer(b"".join(blobs), _POINT)["xy"]
    return xy


def _no_points(name: str, what: str) -> BadArgument:
    return BadArgument(
        f"{name} holds {what}, and samples are taken at points. Pass points, e.g. the centroids: "
        "table.set_geometry(table.centroid)."
    )


def _crs(given: Any) -> pyproj.CRS | None:
    return None if given is None else pyproj.CRS.from_user_input(given)
