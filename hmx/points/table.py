"""Table of points: which columns are where, when and how much, and which rows count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyproj

from hmx.cube.grid import crs_name
from hmx.errors import BadArgument, MissingCRS, MissingVariable, NotEnoughData, missing_variable
from hmx.files.shown import Shown
from hmx.points.extent import PAIRS, pairs_in, require_on_globe
from hmx.points.files import open_table
from hmx.points.filters import passed
from hmx.points.options import PointsOptions
from hmx.points.suspects import negatives, null_island, require_no_codes
from hmx.points.tabular import RowNames, Table, row_names
from hmx.points.units import depths_of, in_one_unit
from hmx.points.values import checked_numbers, column_of, dates_of
from hmx.settings import parse

__all__ = ["PAIRS", "Points", "read_points"]

FILTERED, NO_PLACE, NO_VALUE, INVALID = "filtered", "no place", "no value", "invalid"
NULL_ISLAND, NO_DEPTH = "null island", "no depth"


@dataclass(frozen=True, repr=False)
class Points(Shown):
    """Samples where they were taken, not yet joined to a cube."""

    name: str  # of the table
    target: str  # name of the quantity
    x: np.ndarray  # (n,) in ``crs``; longitude where that is geographic
    y: np.ndarray
    crs: pyproj.CRS  # of the coordinates
    value: np.ndarray  # (n,) the quantity, in ``units``
    row: np.ndarray  # (n,) of the table, from 0
    date: np.ndarray | None  # (n,) NaT where unknown
    site: np.ndarray | None  # (n,) names of sites; missing where unknown
    units: str | None  # of the target
    valid_range: tuple[float, float] | None  # of the target
    rows: int  # of the table
    left: dict[str, np.ndarray]  # rows of the table that were left out, by reason
    columns: tuple[str, str] | None = None  # of the coordinates; none of a geometry
    site_column: str | None = None  # of the sites
    names: RowNames = field(default_factory=RowNames)  # of the rows
    notes: tuple[str, ...] = ()  # further sentences of the report
    table: Table | None = None  # as it was read
    depth: np.ndarray | None = None  # (n, 2) top and bottom, cm below the surface
    # whether the rows have values of the target; without, they are places to predict
    measured: bool = True

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        left = {why: len(rows) for why, rows in self.left.items() if len(rows)}
        return {
            "table": f"{self.name}, {self.rows:,} rows",
            "samples": f"{len(self.value):,} of {self.target}"
            + (f" in {self.units}" if self.units else ""),
            "left out": ", ".join(f"{count:,} {why}" for why, count in left.items()) or "none",
        }

    def __len__(self) -> int:
        return len(self.value)

    @property
    def where(self) -> str:
        """Columns or geometry of the coordinates, as messages name them."""
        return _source_of(self.columns, self.name)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of columns that are called as coordinates are."""
        return [] if self.table is None else pairs_in(self.table.columns)

    def describe(self) -> str:
        """Describe the table before it is joined to a cube."""
        found = f" ({', '.join(self.table.found)})" if self.table and self.table.found else ""
        units = f" {self.units}" if self.units else ""
        low, high = (f"{end(self.value):.4g}" for end in (np.min, np.max))
        lost = sum(map(len, self.left.values()))
        return " ".join(
            [
                f"{self.rows:,} rows of {self.name}{found}: {len(self):,} with a place and a value "
                f"of {self.target}, {low} to {high}{units}, {lost:,} left out; {self.where} read "
                f"as {crs_name(self.crs)}.",
                *self.notes,
            ]
        )

    def column(self, name: str) -> np.ndarray:
        """Return a column of the table, all its rows."""
        if self.table is None or name not in self.table.columns:
            listed = [] if self.table is None else self.table.columns
            raise missing_variable(name, listed, where="the points")
        return np.asarray(column_of(self.table, name).to_numpy(object))


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
    **options: Any,
) -> Points:
    """Read samples from a table; rows that do not count are reported.

    Parameters
    ----------
    source : DataFrame, GeoDataFrame, str or Path
        A path or URL of a table of text (CSV, TSV, TXT, also packed), of a Parquet file, a
        spreadsheet, a GeoPackage or another vector file.
    target : str
        Column of the sampled quantity.
    x, y : str, optional
        Columns of the coordinates. Default: the geometry, or columns with usual names.
    crs : CRS-like, optional
        Of the coordinates, where the table does not have it.
    date : str, optional
        Column of sampling dates: ISO dates, decimal years, or years, which mean their last
        step.
    site : str, optional
        Column of sites; samples of one pixel are one site in any case.
    where : sequence of str
        Filters, all of which a row must pass: ``"soc <= 150"``, ``"horizon == 'A'"``.
        They compare numbers as numbers and all else as text.
    units : str, optional
        Of the target.
    valid_range : tuple of float, optional
        Smallest and largest valid value; rows beyond are left out, and counted.
    **options
        ``separator``, ``decimal``, ``encoding``, ``layer``, ``missing`` and ``id``
        (:class:`hmx.points.options.PointsOptions`).

    Raises
    ------
    SourceError
        If a file cannot be read, or a row does not fit its header.
    MissingVariable
        If a column is not in the table.
    MissingCRS
        If neither option nor table has a CRS.
    NotEnoughData
        If no row has a value.
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
    how = parse(PointsOptions, chosen | options)  # one set of words for catalog and call
    return _points(open_table(source, how), how, crs)


def places_of(table: Table, options: PointsOptions) -> Points:
    """Take the rows that have a location from a table, measured or not."""
    return _points(table, options, options.crs, measured=False)


def _points(table: Table, options: PointsOptions, crs: Any, *, measured: bool = True) -> Points:
    """Take from a table the rows that count."""
    names = row_names(table.columns, options.id, table=table.name)
    if measured:
        column_of(table, options.target)  # a wrong name is an error before any other
    kept = passed(table, options, names)  # before values: what is filtered out may hold anything
    left = {} if kept.all() else {FILTERED: np.flatnonzero(~kept)}
    xy, system, columns = _coordinates(table, options, crs, kept, names)
    # Only rows that pass the filters show whether (0, 0) lies among the others.
    island = null_island(np.where(kept[:, None], xy, np.nan), degrees=system.is_geographic)
    counted = kept & np.isfinite(xy).all(axis=1) & ~island
    value = _values(table, options, counted, names) if measured else np.zeros(len(kept))
    low, high = options.valid_range or (-np.inf, np.inf)
    depth = depths_of(table, options, kept, names)
    # A row counts under the first reason that applies, so the counts add up to the rows left out.
    for reason, fine in {
        NO_PLACE: np.isfinite(xy).all(axis=1),
        NULL_ISLAND: ~island,
        NO_VALUE: np.isfinite(value),
        INVALID: (value >= low) & (value <= high),
        NO_DEPTH: np.full(len(kept), True) if depth is None else np.isfinite(depth).all(axis=1),
    }.items():
        left |= {reason: np.flatnonzero(kept & ~fine)} if (kept & ~fine).any() else {}
        kept &= fine
    dates, notes = (
        (None, ())
        if options.date is None
        else dates_of(table, options.date, kept, missing=options.missing, names=names)
    )
    if options.valid_range is None:
        notes += negatives(np.where(kept, value, np.nan), options.target, names)
    return Points(
        name=table.name,
        target=options.target,
        x=xy[kept, 0],
        y=xy[kept, 1],
        crs=system,
        value=value[kept],
        row=np.flatnonzero(kept),
        date=None if dates is None else dates[kept],
        site=None if not options.site else column_of(table, options.site).to_numpy(object)[kept],
        units=options.units,
        valid_range=options.valid_range,
        rows=len(kept),
        left=left,
        columns=columns,
        site_column=options.site,
        names=names,
        notes=notes,
        table=table,
        depth=None if depth is None else depth[kept],
        measured=measured,
    )


def _values(table: Table, options: PointsOptions, rows: np.ndarray, names: RowNames) -> np.ndarray:
    """Read the target of the rows that count, NaN elsewhere."""
    name = options.target
    value = checked_numbers(table, name, rows, names, role="target", missing=options.missing)
    value = in_one_unit(table, options, value, rows, names)
    value = np.where(rows, value, np.nan)
    if rows.any() and not np.isfinite(value).any():
        raise NotEnoughData(
            f"column {name!r} of {table.name} holds no value in the {int(rows.sum()):,} rows that "
            "count. Name another column, target='...', or look at where and missing."
        )
    if options.valid_range is None:  # a valid range has decided already
        require_no_codes(value, name, table.name, names)
    return value


def _coordinates(
    table: Table, options: PointsOptions, crs: Any, rows: np.ndarray, names: RowNames
) -> tuple[np.ndarray, pyproj.CRS, tuple[str, str] | None]:
    """Find the coordinates, (n, 2), their CRS, and the columns that they stand in."""
    x, y = options.x, options.y
    if x is None and table.xy is not None:
        system = _system(table, crs, "its geometry has")
        require_on_globe(table.xy[rows], system, _source_of(None, table.name), [])
        return table.xy, system, None
    x, y = _pair(table) if x is None or y is None else (x, y)
    parts = []
    for name in (x, y):
        values = checked_numbers(
            table, name, rows, names, role="coordinate", missing=options.missing
        )
        known = np.where(rows, values, np.nan)
        require_no_codes(known, name, table.name, names, coordinate=True)
        parts.append(values)
    xy, system = np.stack(parts, axis=1), _system(table, crs, f"columns {x!r} and {y!r} are")
    # A table with lon, lat next to x, y is common: an error names the pair that was not read.
    others = [pair for pair in pairs_in(table.columns) if pair != (x, y)]
    require_on_globe(xy[rows], system, _source_of((x, y), table.name), others)
    return xy, system, (x, y)


def _source_of(columns: tuple[str, str] | None, table: str) -> str:
    if columns is None:
        return f"the geometry of {table}"
    return f"columns {columns[0]!r} and {columns[1]!r} of {table}"


def _pair(table: Table) -> tuple[str, str]:
    """Find the columns of the coordinates by their names."""
    found = pairs_in(table.columns)
    if found:
        return found[0]
    listed = ", ".join(map(str, table.columns))
    raise MissingVariable(
        f"{table.name} has no columns of coordinates with a usual name (has: "
        f"{listed}). Name them: x='...', y='...'."
    )


def _system(table: Table, given: Any, what: str) -> pyproj.CRS:
    """Find the CRS of the coordinates; option and table must agree if both have one."""
    if given is None and table.crs is None:
        raise MissingCRS(
            f"points without CRS: {what} numbers, and {table.name} names no coordinate system. "
            "Pass crs='EPSG:4326' (longitude and latitude) or another; in a catalog, points.crs."
        )
    try:
        system = table.crs if given is None else pyproj.CRS.from_user_input(given)
    except pyproj.exceptions.CRSError:
        raise BadArgument(
            f"crs={given!r} is not a coordinate reference system. Pass crs='EPSG:4326'."
        ) from None
    if table.crs is not None and not table.crs.equals(system, ignore_axis_order=True):
        raise BadArgument(
            f"crs={crs_name(system)!r}, and {table.name} has {crs_name(table.crs)}. Leave out "
            "crs=..., or correct the table."
        )
    return system
