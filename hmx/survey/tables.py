"""Tables: the samples of a folder, and what their columns mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj

from hmx.cube.grid import Grid, crs_name
from hmx.errors import HmxError
from hmx.points.extent import on_globe, pairs_in
from hmx.points.files import open_table
from hmx.points.options import RESERVED
from hmx.points.suspects import coded
from hmx.points.tabular import RowNames, Table
from hmx.points.values import dates_of, numbers_of, require_numbers
from hmx.progress import counted

ENDINGS = (
    ".csv", ".tsv", ".tab", ".csv.gz", ".parquet", ".geoparquet", ".xlsx", ".gpkg", ".shp",
    ".geojson", ".fgb",
)  # fmt: skip
_TARGETS = (
    r"^(soc|ocs|oc|c?org_?c|orgc|soil_?(organic_?)?carbon)(_|$)",
    r"carbon|biomass|^agb|^som|^ph(_|$)|clay|sand|silt|nitrogen|yield|density|height",
)
_DATES = r"^(date|year|sampling_?date|date_?sampled|sampled|survey_?(date|year)|time|obs_?date)$"
_SITES = r"^(site|plot|profile|location|station)(_?(id|name|code))?$"
_NOT = r"(^|_)(id|fid|oid|lat|lon|lng|depth|top|bottom|upper|lower|year|month|day|date|elev|alt)"
_EARLY = 0.05  # of the samples may lack maps before them
_FEWEST = 10  # samples of a table worth a map
_LISTED = 6  # columns that a remark names
_SURE = 0.5  # of the points on the rasters, from which exchanged columns are certain


@dataclass(frozen=True)
class FoundPoints:
    """A table of samples, and the options of a catalog that read it."""

    path: str  # relative to the folder
    options: dict[str, Any] = field(default_factory=dict)
    early: str | None = None  # ISO date that all but the earliest samples follow, if dated
    rows: int = 0
    values: tuple[float, float] = (0.0, 0.0)
    remarks: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    trouble: str = ""


def table_files(folder: Path) -> list[str]:
    """List what may hold samples, in the folder itself and one below."""
    below = (sub for sub in folder.iterdir() if sub.is_dir() and sub.suffix != ".zarr")
    found = [*folder.iterdir(), *(path for sub in below for path in sub.iterdir())]
    return sorted(
        path.relative_to(folder).as_posix()
        for path in found
        if path.is_file() and path.name.lower().endswith(ENDINGS) and path.name[0] != "."
    )


def points_in(folder: Path, grid: Grid | None, target: str | None) -> list[FoundPoints]:
    """Look at each table of a folder; what is not a table of samples has a trouble."""
    return [_looked(folder, path, grid, target) for path in table_files(folder)]


def _looked(folder: Path, path: str, grid: Grid | None, target: str | None) -> FoundPoints:
    try:
        table = open_table(str(folder / path))
    except HmxError as error:
        return FoundPoints(path, trouble=str(error).partition(". ")[0])
    table.columns.columns = [str(name) for name in table.columns.columns]
    names = tuple(table.columns.columns)
    quantity = _target(table, names, target)
    if quantity is None:
        return FoundPoints(path, columns=names, rows=len(table.columns),
                           trouble=_lacking(table, names, target))  # fmt: skip
    numbers, why = quantity[1], quantity[2]
    options: dict[str, Any] = {"target": quantity[0]}
    remarks = [f"target: {quantity[0]}, {why}"]
    remarks += [
        f"check: {name} is left out, for it holds text in {counted(int(odd.sum()), 'row')}, such "
        f"as {str(table.columns[name][odd].iloc[0])!r}"
        for name, others, odd in _columns(table, names, target)
        if odd.any() and np.isfinite(others).sum() >= _FEWEST
    ]
    place, trouble = _place(table, names, grid)
    if place is None:
        return FoundPoints(path, columns=names, rows=len(table.columns), trouble=trouble)
    options |= place
    remarks += [trouble] if trouble else []
    codes = sorted(coded(numbers[np.isfinite(numbers)]))
    if codes:
        options["missing"] = [float(f"{code:.12g}") for code in codes]
        listed = ", ".join(f"{code:g}" for code in codes)
        remarks.append(f"missing: {listed}, far from all other values of {quantity[0]}")
        numbers = np.where(np.isin(numbers, codes), np.nan, numbers)
    known = numbers[np.isfinite(numbers)]
    date, note, early = _date(table, names)
    if date:
        options["date"] = date
    remarks += [note] if note else []
    site = next((n for n in names if re.search(_SITES, n, re.IGNORECASE)), None)
    if site and table.columns[site].duplicated().any():
        options["site"] = site
        remarks.append(f"site: {site}, whose samples are kept together when scores are made")
    return FoundPoints(
        path, options, early, len(table.columns),
        (float(known.min()), float(known.max())), tuple(remarks), names,
    )  # fmt: skip


def _target(
    table: Table, names: Sequence[str], wanted: str | None
) -> tuple[str, np.ndarray, str] | None:
    """Choose the column of the quantity: by its name, or the first of numbers left."""
    found = _quantities(table, names, wanted)
    if wanted is not None:
        return (wanted, found[wanted], "named on the command line") if wanted in found else None
    for pattern in _TARGETS:
        for name in found:
            if re.search(pattern, name, re.IGNORECASE):
                return name, found[name], f"by its name{_others(found, name)}"
    if not found:
        return None
    name, numbers = next(iter(found.items()))
    if len(found) == 1:
        return name, numbers, "the only other column of numbers"
    return name, numbers, f"the first of several columns of numbers{_others(found, name)}"


def _others(found: Mapping[str, np.ndarray], chosen: str) -> str:
    """Name the other quantities of a table, and how one of them is chosen."""
    others = [name for name in found if name != chosen]
    if not others:
        return ""
    listed = ", ".join(others[:_LISTED]) + (", ..." if others[_LISTED:] else "")
    return f"; other columns: {listed} (--target {others[0]})"


def _lacking(table: Table, names: Sequence[str], wanted: str | None) -> str:
    """Return why a table has no quantity: too few rows, or text among its numbers."""
    count = len(table.columns)
    if count < _FEWEST:
        return f"it has {counted(count, 'row')}, and a map needs {_FEWEST} at least"
    texts = ""
    for name, numbers, odd in _columns(table, names, wanted):
        if odd.any() and np.isfinite(numbers).sum() >= _FEWEST:
            rows = np.stack([np.ones(count, bool), odd], axis=1)
            try:
                require_numbers(table, name, rows, RowNames(), role="target")
            except HmxError as error:
                return str(error)
        elif odd.any():
            first = table.columns[name].iloc[int(np.argmax(odd))]
            texts = texts or f"; {name} holds text such as {str(first)!r}"
    return f"no column of numbers that could be mapped{texts}"


def _quantities(table: Table, names: Sequence[str], wanted: str | None) -> dict[str, np.ndarray]:
    """Find the columns of numbers that are neither place, date, depth nor name of a row."""
    return {
        name: numbers
        for name, numbers, odd in _columns(table, names, wanted)
        if not odd.any()
        and np.isfinite(numbers).sum() >= _FEWEST
        and np.ptp(numbers[np.isfinite(numbers)]) > 0
    }


def _columns(
    table: Table, names: Sequence[str], wanted: str | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield columns that may be a quantity: name, numbers, and where they hold other text."""
    pairs = {name for pair in pairs_in(table.columns) for name in pair}
    for name in names:
        column = table.columns[name]
        if column.ndim > 1 or column.dtype.kind == "M" or name in pairs:
            continue
        if name.lower() in RESERVED or (re.search(_NOT, name, re.IGNORECASE) and name != wanted):
            continue
        yield name, *numbers_of(column, decimal=table.decimal)


def _place(
    table: Table, names: Sequence[str], grid: Grid | None
) -> tuple[dict[str, Any] | None, str]:
    """Find columns and CRS of the coordinates: those whose points lie on the rasters."""
    if table.xy is not None and table.crs is not None:
        return {}, ""
    options: dict[str, Any] = {}
    x = y = ""
    xy = table.xy
    if xy is None:
        pairs = pairs_in(table.columns) or _odd_pairs(names)
        if not pairs:
            return None, f"no columns of coordinates (it has {', '.join(names[:8])})"
        x, y = pairs[0]
        if not pairs_in(table.columns):
            options = {"x": x, "y": y}
        read = [numbers_of(table.columns[n], decimal=table.decimal)[0] for n in (x, y)]
        xy = np.stack(read, axis=1)
    xy = xy[np.isfinite(xy).all(axis=1)]
    if not len(xy):
        return None, "its coordinates are not numbers"
    candidates = ["EPSG:4326"] if on_globe(xy).mean() > 0.9 else []
    candidates += [] if grid is None else [crs_name(grid.crs)]
    candidates = list(dict.fromkeys(candidates))
    shares = {crs: _inside(xy, crs, grid) for crs in candidates}
    if not shares:
        return None, "the CRS of its coordinates is not known"
    best, note = max(shares, key=shares.__getitem__), ""
    if shares[best] == 0:
        shares = {crs: _inside(xy[:, ::-1], crs, grid) for crs in candidates}
        best = max(shares, key=shares.__getitem__)
        if table.xy is not None or shares[best] < _SURE:
            return None, (
                f"none of its points lies on the rasters, read as {' or as '.join(candidates)}"
            )
        note = f"check: {x} and {y} are exchanged, for so named no point lies on the rasters; "
        options = {"x": y, "y": x}
    count = round(shares[best] * len(xy))
    if "crs" not in options and table.crs is None:
        options["crs"] = best
    return (
        options,
        f"{note}crs: {best}, in which {count:,} of {len(xy):,} points lie on the rasters",
    )


def _odd_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Find pairs of columns whose names contain those of coordinates."""
    for first, second in ((r"lon|lng", r"lat"), (r"^x|_x$|east", r"^y|_y$|north")):
        x = [name for name in names if re.search(first, name, re.IGNORECASE)]
        y = [name for name in names if re.search(second, name, re.IGNORECASE)]
        if x and y:
            return [(x[0], y[0])]
    return []


def _inside(xy: np.ndarray, crs: str, grid: Grid | None) -> float:
    """Return the share of points that lie on the grid."""
    if grid is None:
        return 1.0
    turn = pyproj.Transformer.from_crs(pyproj.CRS.from_user_input(crs), grid.crs, always_xy=True)
    x, y = turn.transform(xy[:, 0], xy[:, 1])
    west, south, east, north = grid.bounds
    return float(np.mean((x >= west) & (x <= east) & (y >= south) & (y <= north)))


def _date(table: Table, names: Sequence[str]) -> tuple[str | None, str, str | None]:
    """Find the column of dates, if all of it can be read, and how early samples are."""
    for name in names:
        if not re.search(_DATES, name, re.IGNORECASE):
            continue
        try:
            dates, _ = dates_of(table, name, np.ones(len(table.columns), bool), names=RowNames())
        except HmxError as error:
            why = str(error).partition(". ")[0]
            return None, f"check: column {name} is not read as dates, because {why}", None
        known = np.sort(dates[~np.isnat(dates)])
        if len(known):
            first, last, early = (
                str(pd.Timestamp(known[at]).date()) for at in (0, -1, int(_EARLY * len(known)))
            )
            return name, f"date: {name}, {first} to {last}", early
    return None, "", None
