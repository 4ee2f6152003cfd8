"""Files of points: whatever holds a table, opened by its kind.

Text is read by :mod:`hmx.points.text`, Parquet files and spreadsheets by pandas, vector files by
GDAL.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmx.errors import BadArgument, SourceError, did_you_mean
from hmx.files.paths import absolute
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table, coordinates, crs_of, geo_metadata, no_points
from hmx.points.text import read_text

_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
_PACKED = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
_PARQUET = (".parquet", ".geoparquet", ".pq")
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_READERS = {".xls": "xlrd", ".ods": "odfpy"}  # of others openpyxl
# Kinds of OGR. Unknown and GeometryCollection are decided by the features themselves.
_MAY_HOLD_POINTS = ("Point", "MultiPoint", "Unknown", "GeometryCollection")


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


def read_parquet(data: bytes, name: str) -> Table:
    """Read a Parquet file; of GeoParquet geometry and CRS too."""
    try:
        from pyarrow import ArrowException
        from pyarrow import parquet as arrow
    except ImportError:
        raise _needs("pyarrow", name) from None
    try:
        raw = arrow.read_schema(io.BytesIO(data)).metadata or {}
        columns = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
        geo = geo_metadata(raw.get(b"geo"))
    except (ArrowException, OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"points cannot be read from {name!r} ({error}): it is not a Parquet file, or is torn. "
            "Pass the path of a Parquet file or a CSV."
        ) from None
    # An index with a name was a column of the user's before pandas wrote the file.
    columns = columns.reset_index(drop=columns.index.names == [None])
    # A tool that dropped the geometry may have left its metadata.
    if geo is None or geo[0] not in columns:
        return Table(name, columns)
    shape, encoding, crs = geo
    geometry = columns.pop(shape)
    if encoding == "point":
        xy = _native(geometry)
    else:
        blobs = [blob if isinstance(blob, bytes) else None for blob in geometry]
        xy = coordinates(blobs, name, encoding)
    return Table(name, columns, xy, crs_of(json.dumps(crs) if isinstance(crs, Mapping) else crs))


def _native(geometry: pd.Series) -> np.ndarray:
    """Read points that are stored as their two numbers (GeoParquet 1.1)."""
    nothing = {"x": np.nan, "y": np.nan}
    given = [point if isinstance(point, Mapping) else nothing for point in geometry]
    return np.array([[p["x"], p["y"]] for p in given], "float64").reshape(-1, 2)


def read_sheet(data: bytes, name: str, how: PointsOptions) -> Table:
    """Read a sheet of a spreadsheet: the one asked for, or the only one with the target."""
    try:
        with warnings.catch_warnings():  # of styles and validations that openpyxl leaves out
            warnings.simplefilter("ignore")
            sheets: dict[Any, pd.DataFrame] = pd.read_excel(io.BytesIO(data), sheet_name=None)
    except ImportError:
        raise _needs(_READERS.get(name[name.rfind(".") :].lower(), "openpyxl"), name) from None
    except Exception as error:  # each reader has errors of its own: BadZipFile, KeyError ...
        raise SourceError(
            f"points cannot be read from {name!r} ({error}): it is not a spreadsheet, or is torn "
            "or locked. Save the sheet as CSV."
        ) from None
    sheet = _sheet({str(title): table for title, table in sheets.items()}, name, how)
    columns = sheets[sheet].rename(columns=lambda title: str(title).strip())
    found = (f"sheet {sheet!r} of {len(sheets)}",) if len(sheets) > 1 else ()
    return Table(name, columns, found=found)


def _sheet(sheets: Mapping[str, pd.DataFrame], name: str, how: PointsOptions) -> str:
    listed = ", ".join(repr(title) for title in sheets)
    if how.layer is not None:
        if how.layer not in sheets:
            raise SourceError(
                f"{name} has no sheet {how.layer!r} (has: {listed})."
                f"{did_you_mean(how.layer, sheets)} Pass layer=... with one of them; in a catalog, "
                "points.layer."
            )
        return how.layer
    # Sheets next to the data often hold a legend or notes; the target's name finds the data.
    having = [t for t, table in sheets.items() if how.target in map(str, table.columns)]
    if len(having) == 1 or len(sheets) == 1:
        return (having or list(sheets))[0]
    what = f"{len(having) or 'none'} of its sheets with a column {how.target!r}"
    raise SourceError(
        f"{name} has {what} ({', '.join(map(repr, having)) if having else listed}). Name the sheet "
        f"that is meant: layer={(having or list(sheets))[-1]!r}; in a catalog, points.layer."
    )


def _needs(package: str, name: str) -> SourceError:
    return SourceError(
        f"reading {name} needs {package}, which is not installed. Type pip install {package}, or "
        "save the points as CSV."
    )


def read_vector(path: str, name: str, how: PointsOptions) -> Table:
    """Read a layer of a vector file."""
    try:
        import pyogrio
        from pyogrio.errors import DataLayerError, DataSourceError
    except ImportError:
        raise SourceError(
            f"reading {name} needs pyogrio, which is not installed. Type pip install pyogrio, or "
            "save the points as CSV."
        ) from None
    try:
        with warnings.catch_warnings():  # which layer is read is decided and named here
            warnings.simplefilter("ignore")
            layer, found = _choose_layer(pyogrio.list_layers(path), path, name, how.layer)
            meta, _, geometry, fields = pyogrio.raw.read(
                path, layer=layer, force_2d=True, encoding=how.encoding
            )
    except SourceError:
        raise
    except (DataSourceError, DataLayerError, LookupError, UnicodeDecodeError) as error:
        raise SourceError(
            f"points cannot be read from {path!r} ({error}). Pass the path of a vector file or a "
            "CSV, and layer=... if it has several."
        ) from error
    columns = pd.DataFrame(dict(zip(meta["fields"], fields, strict=True)))
    if geometry is None:  # a table without geometry
        return Table(name, columns, found=found)
    xy = coordinates(geometry, name, str(meta["geometry_type"]))
    return Table(name, columns, xy, crs_of(meta["crs"]), found)


def _choose_layer(
    listed: np.ndarray, path: str, name: str, chosen: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """Choose the layer: the one asked for, the only one, or the only one with points."""
    names = [str(layer) for layer, _ in listed]
    if chosen is not None:
        if chosen not in names:
            raise SourceError(
                f"points cannot be read from {path!r}: it has no layer {chosen!r} (has: "
                f"{', '.join(names)}).{did_you_mean(chosen, names)} Pass layer=... with one of "
                "them; in a catalog, points.layer."
            )
        return chosen, ()
    # None is GDAL's own choice, which also works for formats that list no layer.
    if len(names) < 2:
        return None, ()
    dotted = [
        str(layer)
        for layer, kind in listed  # OGR writes Point Z as "Point Z", and None without geometry
        if kind is not None and str(kind).split(" ")[0] in _MAY_HOLD_POINTS
    ]
    if len(dotted) == 1:
        return dotted[0], (f"its only layer of points, {dotted[0]!r} of {len(names)}",)
    what = "layers of points" if dotted else "layers, none of them of points"
    choice = dotted or names
    raise SourceError(
        f"{name} holds {len(choice)} {what}: {', '.join(choice)}. Name the one that is meant: "
        f"layer={choice[-1]!r}; in a catalog, points.layer: {choice[-1]}."
    )
