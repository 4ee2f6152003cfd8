"""Units: shares of mass (g/kg, % ...), tables that mix them, and depths in cm."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hmx.errors import BadArgument, did_you_mean
from hmx.points.options import PointsOptions
from hmx.points.tabular import RowNames, Table
from hmx.points.values import checked_numbers, column_of, texts_of

# g/kg in one of each unit; names are compared without blanks and case
_SHARES = {
    "g/kg": 1.0, "gkg-1": 1.0, "mg/g": 1.0, "permille": 1.0, "‰": 1.0,
    "%": 10.0, "percent": 10.0, "pct": 10.0, "g/100g": 10.0, "dag/kg": 10.0, "cg/g": 10.0,
    "mg/kg": 1e-3, "mgkg-1": 1e-3, "ppm": 1e-3, "ug/g": 1e-3, "µg/g": 1e-3,
    "kg/kg": 1e3, "g/g": 1e3, "dg/kg": 0.1,
}  # fmt: skip
_NAMES = {"unit", "units", "uom", "unit_of_measure", "measurement_unit"}
_LISTED = 5

DEEPEST = 10_000.0  # cm; more is another unit
_INTERVAL = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*(?:cm)?\s*")


def factor_of(given: str, wanted: str) -> float:
    """Return the number that turns a share of mass in one unit into another.

    Raises :class:`BadArgument` for a unit that is not a share of mass.
    """
    parts = []
    for unit in (given, wanted):
        size = _SHARES.get(unit.replace(" ", "").casefold())
        if size is None:
            raise BadArgument(
                f"{unit!r} is not a known share of mass: g/kg, %, mg/kg, g/100g or kg/kg."
                f"{did_you_mean(unit, _SHARES)} Convert the values before, or leave out the "
                "conversion."
            )
        parts.append(size)
    # one division, so that 12 g/kg is 1.2 % and not 1.2000000000000002
    return parts[0] / parts[1]


def range_of(units: str | None, values: np.ndarray) -> tuple[float, float] | None:
    """Return the range that a unit has by itself: a share of mass is between none and all of it.

    None of another unit, and where `values` lie outside, as changes of a concentration do.
    """
    size = None if units is None else _SHARES.get(units.replace(" ", "").casefold())
    known = values[np.isfinite(values)]
    if size is None or not len(known):
        return None
    most = 1 / (size / 1e3)
    return (0.0, most) if known.min() >= 0 and known.max() <= most else None


def in_one_unit(
    table: Table, options: PointsOptions, values: np.ndarray, rows: np.ndarray, names: RowNames
) -> np.ndarray:
    """Convert the values of rows that count to ``units``, by the unit of each row or of all.

    Raises :class:`BadArgument` if a unit is unknown or missing, or if a table lists several units
    and the option does not name their column.
    """
    given = {name: getattr(options, name) for name in ("units_column", "table_units")}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        _require_one_unit(table, options, rows)
        return values
    name, value = next(iter(given.items()))
    if options.units is None:
        raise BadArgument(
            f"{name}={value!r} is the unit of the table, and the unit that the target shall have "
            "is missing. Pass units='g/kg' too."
        )
    if len(given) > 1:
        raise BadArgument(
            f"units_column={value!r} has a unit for each row, and "
            f"table_units={options.table_units!r} is one for all. Leave out one of both."
        )
    if options.units_column is None:
        return values * factor_of(str(value), options.units)
    texts = texts_of(column_of(table, options.units_column))
    counted = rows & np.isfinite(values)
    without = np.flatnonzero(counted & texts.isna().to_numpy())
    if without.size:
        raise BadArgument(
            f"column {options.units_column!r} of {table.name} has no unit in {without.size:,} rows "
            f"with a value ({names.listed(without)}). Fill them in, or leave these rows out: "
            f"where=[\"{options.units_column} != ''\"]."
        )
    factors = {str(unit): factor_of(str(unit), options.units) for unit in texts[counted].unique()}
    scale = texts.map(lambda unit: factors.get(str(unit), np.nan)).to_numpy("float64")
    return np.where(counted, values * scale, values)


def _require_one_unit(table: Table, options: PointsOptions, rows: np.ndarray) -> None:
    """Refuse a table that lists several units of the target."""
    own = {f"{options.target}_{name}".casefold() for name in ("unit", "units", "uom")}
    for name in table.columns.columns:
        if str(name).casefold() not in _NAMES | own:
            continue
        texts: Any = column_of(table, str(name))
        if texts.dtype.kind in "iufb":
            continue
        found = [str(unit) for unit in texts_of(texts)[rows].dropna().unique()]
        if len(found) == 1 and options.units is not None:
            _require_same_unit(found[0], options.units, str(name), table)
        if len(found) > 1:
            listed = ", ".join(found[:_LISTED])
            raise BadArgument(
                f"column {str(name)!r} of {table.name} lists {len(found)} units ({listed}), and "
                f"values of several units would be mixed. Pass units_column={str(name)!r} and "
                f"units={found[0]!r}, which converts them, or where=[\"{name} == '{found[0]}'\"]; "
                "in a catalog, under points."
            )


def _require_same_unit(listed: str, units: str, name: str, table: Table) -> None:
    """Refuse a table whose unit is another share of mass than that of the target."""
    sizes = [_SHARES.get(unit.replace(" ", "").casefold()) for unit in (listed, units)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise BadArgument(
            f"column {name!r} of {table.name} lists {listed}, and units={units!r}. Pass "
            f"units_column={name!r}, which converts the values, or units={listed!r}; in a catalog, "
            "under points."
        )


def depths_of(
    table: Table, options: PointsOptions, rows: np.ndarray, names: RowNames
) -> np.ndarray | None:
    """Read the depths of a table, (n, 2), NaN where they are missing or impossible."""
    if options.top is None or options.bottom is None:
        return None
    ends = []
    for name in (options.top, options.bottom):
        missing = options.missing
        ends.append(checked_numbers(table, name, rows, names, role="depth", missing=missing))
    depth = np.stack(ends, axis=1)
    possible = (depth[:, 0] >= 0) & (depth[:, 0] < depth[:, 1]) & (depth[:, 1] <= DEEPEST)
    return np.where(possible[:, None], depth, np.nan)


def as_interval(value: Any) -> Any:
    """Read a depth interval: ``0-5``, ``"15-30 cm"`` or a pair of numbers, cm."""
    if isinstance(value, str):
        found = _INTERVAL.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is not an interval of depths, cm. Write '0-5'")
        value = (float(found[1]), float(found[2]))
    pair = value if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(end, int | float) for end in pair):
        raise ValueError(f"{value!r} is not an interval of depths, cm. Write '0-5'")
    top, bottom = pair
    if not 0 <= top < bottom <= DEEPEST:
        raise ValueError(
            f"{top:g}-{bottom:g} is not an interval of depths: the top comes first, at 0 cm or "
            f"more, and the bottom is at most {DEEPEST:g} cm. Write '0-5'"
        )
    return (float(top), float(bottom))


def label_of(interval: tuple[float, float]) -> str:
    """Return how an interval is called: ``0-5``."""
    return f"{interval[0]:g}-{interval[1]:g}"
