"""Table of points: which columns are where, when and how much, and which rows count."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.errors import BadArgument, MissingCRS, MissingVariable, missing_variable
from hmx.grid import crs_name
from hmx.map_options import PointsOptions
from hmx.parsing import parse
from hmx.points.files import Table, open_table

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
FILTERED, NO_PLACE, NO_VALUE, INVALID = "filtered", "no place", "no value", "invalid"

_FILTER = re.compile(
    r"\s*(?P<column>.+?)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<value>[^<>=!\s].*?)\s*$"
)
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt,
}  # fmt: skip


@dataclass(frozen=True)
class Points:
    """Samples where they were taken, not yet joined to a cube.

    Parameters
    ----------
    name : str
        Of the table.
    target : str
        Name of the quantity.
    x, y : ndarray of float64, (n,)
        In ``crs``; x is longitude where that is geographic.
    crs : pyproj.CRS
        Of the coordinates.
    value : ndarray of float64, (n,)
        The quantity, in ``units``.
    row : ndarray of int, (n,)
        Of the table, from 0.
    date : ndarray of datetime64, (n,), optional
        NaT where unknown.
    site : ndarray of object, (n,), optional
        Names of sites; missing where unknown.
    units : str, optional
        Of the target.
    valid_range : tuple of float, optional
        Of the target.
    rows : int
        Of the table.
    left : dict of str to ndarray of int
        Rows of the table that were left out, by reason.
    """

    name: str
    target: str
    x: np.ndarray
    y: np.ndarray
    crs: pyproj.CRS
    value: np.ndarray
    row: np.ndarray
    date: np.ndarray | None
    site: np.ndarray | None
    units: str | None
    valid_range: tuple[float, float] | None
    rows: int
    left: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.value)

    def require_units(self, units: str | None) -> None:
        """Raise :class:`BadArgument` if others were declared.

        Parameters
        ----------
        units : str, optional
            Of the model; where either is unknown, nothing is compared.
        """
        if None not in (units, self.units) and units != self.units:
            raise BadArgument(
                f"{self.name} holds {self.target!r} in {self.units!r} and the model predicts it "
                f"in {units!r}. Convert the column, and declare units={units!r}."
            )


def read_points(
    source: Any,
    *,
    target: str,
    x: str | None = None,
    y: str | None = None,
    crs: Any = None,
    date: str | None = None,
    site: str | None = None,
    where: Sequence[str] = (),
    units: str | None = None,
    valid_range: tuple[float, float] | None = None,
    layer: str | None = None,
) -> Points:
    """Read samples from a table; rows that do not count are told, not dropped in silence.

    Parameters
    ----------
    source : DataFrame, GeoDataFrame, str or Path
        A path or URL of a CSV, a GeoPackage or another vector file.
    target : str
        Column of the sampled quantity.
    x, y : str, optional
        Columns of the coordinates. Default: the geometry, or columns with usual names.
    crs : CRS-like, optional
        Of the coordinates, where the table does not say it itself.
    date : str, optional
        Column of sampling dates: ISO dates, or years, which mean their last step.
    site : str, optional
        Column of sites.
    where : sequence of str
        Filters, all of which a row must pass: ``"soc <= 150"``, ``"horizon == 'A'"``.
        They compare numbers as numbers and all else as text.
    units : str, optional
        Of the target.
    valid_range : tuple of float, optional
        Smallest and largest valid value; rows beyond are left out, and counted.
    layer : str, optional
        Of a file with several.

    Raises
    ------
    SourceError
        If a file cannot be read.
    MissingVariable
        If a column is not in the table.
    MissingCRS
        If nothing says what the coordinates mean.
    BadArgument
        If a column holds what it must not, or a filter cannot be read.

    Examples
    --------
    >>> table = pd.DataFrame({"lon": [21.0, 21.5], "lat": [41.5, 41.6], "soc": [2.0, 99.0]})
    >>> points = read_points(table, target="soc", crs="EPSG:4326", where=["soc <= 50"])
    >>> len(points), points.left["filtered"]
    (1, array([1]))
    """
    chosen: dict[str, Any] = {
        "target": target,
        "x": x,
        "y": y,
        "date": date,
        "site": site,
        "where": where,
    }
    chosen |= {"units": units, "valid_range": valid_range}
    options = parse(PointsOptions, chosen)  # one set of words for the catalog and this call
    return _points(open_table(source, layer), options, crs)


def _points(table: Table, options: PointsOptions, crs: Any) -> Points:
    """Take from a table the rows that count."""
    value = _numbers(table, options.target, "target")
    xy, system = _placed(table, options, crs)
    low, high = options.valid_range or (-np.inf, np.inf)
    kept, left = np.ones(len(value), bool), {}
    for reason, passed in {
        FILTERED: _passed(table, options.where),
        NO_PLACE: np.isfinite(xy).all(axis=1),
        NO_VALUE: np.isfinite(value),
        INVALID: (value >= low) & (value <= high),
    }.items():
        lost = kept & ~passed
        if lost.any():
            left[reason] = np.flatnonzero(lost)
        kept &= passed
    date, site = options.date, options.site
    return Points(
        name=table.name,
        target=options.target,
        x=xy[kept, 0],
        y=xy[kept, 1],
        crs=system,
        value=value[kept],
        row=np.flatnonzero(kept),
        date=None if date is None else _dates(table, date)[kept],
        site=None if site is None else _column(table, site).to_numpy(object)[kept],
        units=options.units,
        valid_range=options.valid_range,
        rows=len(kept),
        left=left,
    )


def _column(table: Table, name: str) -> pd.Series:
    if name not in table.columns:
        raise missing_variable(name, table.columns, where=table.name)
    return table.columns[name]


def _numbers(table: Table, name: str, role: str) -> np.ndarray:
    """Read a column as numbers, NaN where it is empty or infinite."""
    column = _column(table, name)
    numbers = pd.to_numeric(column, errors="coerce")
    odd = np.flatnonzero(numbers.isna() & column.notna())
    if odd.size:
        raise BadArgument(
            f"{role} column {name!r} of {table.name} is not numeric: {odd.size} of {len(column)} "
            f"rows hold text, such as {column.iloc[odd[0]]!r} in row {odd[0]}. Write numbers "
            f"there, or name another column: {'target' if role == 'target' else 'x'}='...'."
        )
    values = numbers.to_numpy("float64", na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _placed(table: Table, options: PointsOptions, crs: Any) -> tuple[np.ndarray, pyproj.CRS]:
    """Find the coordinates, (n, 2), and their CRS."""
    x, y = options.x, options.y
    if x is None and table.xy is not None:
        return table.xy, _system(table, crs, "its geometry has")
    x, y = _pair(table) if x is None or y is None else (x, y)
    xy = np.stack([_numbers(table, x, "coordinate"), _numbers(table, y, "coordinate")], axis=1)
    return xy, _system(table, crs, f"columns {x!r} and {y!r} are")


def _pair(table: Table) -> tuple[str, str]:
    """Guess the columns of the coordinates by their names."""
    names = {str(name).lower(): str(name) for name in table.columns}
    for x, y in PAIRS:
        if x in names and y in names:
            return names[x], names[y]
    listed = ", ".join(map(str, table.columns))
    raise MissingVariable(
        f"{table.name} has no columns of coordinates that can be told by their names (has: "
        f"{listed}). Name them: x='...', y='...'."
    )


def _system(table: Table, given: Any, what: str) -> pyproj.CRS:
    """Find the CRS of the coordinates; what is said twice must agree."""
    if given is None and table.crs is None:
        raise MissingCRS(
            f"points without CRS: {what} numbers, and {table.name} does not say in which system. "
            "Pass crs='EPSG:4326' (longitude and latitude) or another; in a catalog, points.crs."
        )
    try:
        said = table.crs if given is None else pyproj.CRS.from_user_input(given)
    except pyproj.exceptions.CRSError:
        raise BadArgument(
            f"crs={given!r} is no coordinate reference system. Pass crs='EPSG:4326'."
        ) from None
    if table.crs is not None and not table.crs.equals(said, ignore_axis_order=True):
        raise BadArgument(
            f"crs={crs_name(said)!r}, and {table.name} says {crs_name(table.crs)}. Leave out "
            "crs=..., or correct the table."
        )
    return said


def _passed(table: Table, where: Sequence[str]) -> np.ndarray:
    """Tell the rows that pass all filters."""
    passed = np.ones(len(table.columns), bool)
    for text in where:
        parts = _FILTER.match(text)
        if parts is None:
            raise BadArgument(
                f"where={text!r} is no filter: a filter is a column, one of {' '.join(_SIGNS)}, "
                "and a value. Pass where=['soc <= 150']."
            )
        column, value = _column(table, parts["column"].strip("`'\"")), parts["value"]
        if column.dtype.kind not in "iuf":
            found = _SIGNS[parts["sign"]](column.astype(str), value.strip("'\""))
        else:
            found = _SIGNS[parts["sign"]](column, _number(value, text, str(column.name)))
        passed &= np.asarray(found.fillna(False), bool)
    return passed


def _number(value: str, text: str, column: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise BadArgument(
            f"where={text!r} compares numbers with {value}: column {column!r} is numeric. "
            f"Pass where=['{column} <= 150']."
        ) from None


def _dates(table: Table, name: str) -> np.ndarray:
    """Read dates; a year alone stands for its last day, and what is empty for none."""
    column = _column(table, name)
    text = (
        column.astype("string").str.strip().str.replace(r"^(\d{4})(\.0)?$", r"\1-12-31", regex=True)
    )
    dates = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
    odd = np.flatnonzero(dates.isna() & column.notna())
    if odd.size:
        raise BadArgument(
            f"date column {name!r} of {table.name} has {column.iloc[odd[0]]!r} in row {odd[0]}, "
            "which is no date. Write ISO dates (2015-06-30) or years."
        )
    return np.asarray(dates.dt.tz_localize(None).to_numpy("datetime64[us]"))
