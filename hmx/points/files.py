"""Files of points: whatever holds a table, opened by its kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmx.errors import BadArgument, SourceError
from hmx.files.paths import absolute
from hmx.points.formats import SHEETS, read_parquet, read_sheet, read_vector
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table, coordinates, crs_of, no_points
from hmx.points.text import read_text

_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
_PACKED = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
_PARQUET = (".parquet", ".geoparquet", ".pq")


def open_table(source: Any, how: PointsOptions | None = None) -> Table:
    """Open a table of points: a DataFrame, a GeoDataFrame, or a file by the end of its name."""
    how = how or PointsOptions()
    if isinstance(source, str | Path):
        return _file(absolute(source), how)
    if hasattr(source, "columns"):
        _require_use("a table in memory", how, "layer", "separator", "encoding")
    if hasattr(source, "crs") and hasattr(source, "geometry"):
        return _geometries(source, how)
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _frame(source.reset_index(drop=True), how)
    raise BadArgument(
        f"points are a {type(source).__name__}, and must be a DataFrame, a GeoDataFrame, or the "
        "path of a CSV, GeoPackage or other vector file. Pass points='points.csv'."
    )


def _require_use(what: str, how: PointsOptions, *unused: str) -> None:
    """Refuse options that have no meaning for this kind of table."""
    for name in unused:
        if (value := getattr(how, name)) is not None:
            raise BadArgument(
                f"{name}={value!r} is of no use: {what} has no {name}. Leave it out; in a catalog, "
                f"points.{name}."
            )


def _file(path: str, how: PointsOptions) -> Table:
    # Signed URLs carry a query after the name.
    name = path.partition("?")[0].rstrip("/").rpartition("/")[2]
    kind, packed = name.lower(), ""
    for suffix in _PACKED:
        if kind.endswith(suffix):
            kind, packed = kind.removesuffix(suffix), suffix
    if kind.endswith(_TEXT):
        _require_use(name, how, "layer")
        return read_text(_unpacked(_read(path), packed, path), name, how)
    if kind.endswith(_PARQUET):
        _require_use(name, how, "layer", "encoding", "separator")
        return read_parquet(_unpacked(_read(path), packed, path), name)
    if kind.endswith(SHEETS):
        _require_use(name, how, "encoding", "separator")
        return read_sheet(_read(path), name, how)
    # A file geodatabase of Esri is a folder, and GDAL opens it.
    if Path(path).is_dir() and not kind.endswith(".gdb"):
        raise SourceError(f"{path!r} is a folder. Pass the path of the table in it.")
    # GDAL reads a zipped shapefile itself, but no zipped CSV with a detected separator.
    if kind.endswith(".zip") and (text := _zipped_text(path)) is not None:
        return read_text(text, name, how)
    _require_use(name, how, "separator")
    return read_vector(path, name, how)


def _read(path: str) -> bytes:
    try:
        if "://" in path:
            import fsspec

            with fsspec.open(path, "rb") as file:
                return bytes(file.read())
        return Path(path).read_bytes()
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(path, error) from error


def _unpacked(data: bytes, packed: str, path: str) -> bytes:
    try:
        return _PACKED[packed](data) if packed else data
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> SourceError:
    return SourceError(
        f"points cannot be read from {path!r} ({error}). Pass the path of a CSV with a header."
    )


def _zipped_text(path: str) -> bytes | None:
    """Return the only table of text in an archive; nothing where it holds another kind."""
    try:
        with zipfile.ZipFile(io.BytesIO(_read(path))) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(_TEXT)]
            others = [
                name for name in archive.namelist() if name.lower().endswith((".shp", ".gpkg"))
            ]
            return archive.read(names[0]) if len(names) == 1 and not others else None
    except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: it has a password
        raise _unreadable(path, error) from None


def _geometries(source: Any, how: PointsOptions) -> Table:
    """Split a GeoDataFrame into columns and coordinates; geopandas need not be installed."""
    try:
        xy = np.stack([np.asarray(source.geometry.x), np.asarray(source.geometry.y)], axis=1)
    except ValueError:
        raise no_points("the table", "other geometries") from None
    columns = pd.DataFrame(source.drop(columns=source.geometry.name)).reset_index(drop=True)
    return _described(columns, how, xy.astype("float64"), crs_of(source.crs))


def _frame(columns: Any, how: PointsOptions) -> Table:
    """Read a DataFrame; one of its columns may hold geometries."""
    # Columns that share a name are skipped: columns[name] would be a DataFrame.
    for name in columns.columns[~columns.columns.duplicated(keep=False)]:
        known = columns[name].dropna()
        if len(known) and hasattr(known.iloc[0], "geom_type"):
            shapes = [getattr(shape, "wkb", None) for shape in columns[name]]
            xy = coordinates(shapes, "the table", known.iloc[0].geom_type)
            return _described(columns.drop(columns=name), how, xy)
    return _described(columns, how)


def _described(columns: Any, how: PointsOptions, xy: Any = None, crs: Any = None) -> Table:
    return Table("the table", columns, xy, crs, decimal=how.decimal or ".")
