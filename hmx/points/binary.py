"""Tables of Parquet files and of spreadsheets, through pandas."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hmx.errors import SourceError, did_you_mean
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table, coordinates, crs_of, geo_metadata

SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_READERS = {".xls": "xlrd", ".ods": "odfpy"}  # of others openpyxl


def read_parquet(data: bytes, name: str) -> Table:
    """Read a Parquet file; of GeoParquet geometry and CRS too.

    Parameters
    ----------
    data : bytes
        Of the file.
    name : str
        What messages call it.

    Raises
    ------
    SourceError
        If it cannot be read, or pyarrow is not installed.
    """
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
            f"points cannot be read from {name!r} ({error}): it is no Parquet file, or is torn. "
            "Pass the path of a Parquet file or a CSV."
        ) from None
    columns = columns.reset_index(drop=columns.index.names == [None])
    if geo is None or geo[0] not in columns:
        return Table(name, columns)
    shape, encoding, crs = geo
    geometry = columns.pop(shape)
    xy = _native(geometry) if encoding == "point" else coordinates(_blobs(geometry), name, encoding)
    return Table(name, columns, xy, crs_of(json.dumps(crs) if isinstance(crs, Mapping) else crs))


def _native(geometry: pd.Series) -> np.ndarray:
    """Read points that are stored as their two numbers (GeoParquet 1.1)."""
    nothing = {"x": np.nan, "y": np.nan}
    given = [point if isinstance(point, Mapping) else nothing for point in geometry]
    return np.array([[p["x"], p["y"]] for p in given], "float64").reshape(-1, 2)


def _blobs(geometry: pd.Series) -> list[bytes | None]:
    return [blob if isinstance(blob, bytes) else None for blob in geometry]


def read_sheet(data: bytes, name: str, how: PointsOptions) -> Table:
    """Read a sheet of a spreadsheet: the one asked for, or the only one with the target.

    Parameters
    ----------
    data : bytes
        Of the file.
    name : str
        What messages call it.
    how : PointsOptions
        Its layer is the sheet.

    Raises
    ------
    SourceError
        If it cannot be read, its reader is not installed, or several sheets may be meant.
    """
    try:
        with warnings.catch_warnings():  # of styles and validations that openpyxl leaves out
            warnings.simplefilter("ignore")
            sheets: dict[Any, pd.DataFrame] = pd.read_excel(io.BytesIO(data), sheet_name=None)
    except ImportError:
        raise _needs(_READERS.get(name[name.rfind(".") :].lower(), "openpyxl"), name) from None
    except Exception as error:  # each reader has errors of its own: BadZipFile, KeyError ...
        raise SourceError(
            f"points cannot be read from {name!r} ({error}): it is no spreadsheet, or is torn or "
            "locked. Save the sheet as CSV."
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
