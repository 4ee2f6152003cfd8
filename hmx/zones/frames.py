"""Frames: tables of zones as pandas tables that a planner can read.

A table of zones becomes one row for each zone and time; a figure that depends on a threshold, a
class or a growth becomes a column for each, with a name in plain words: ``km2_above_0.4_lo_95``.
A conservation table also has a long form, one row for each figure.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from hmx.cube.dates import short, time_label
from hmx.errors import BadArgument
from hmx.zones.spread import mark

ROW = ("zone", "kind", "time")  # columns of every row; areas and shares follow
_SHARES = ("area_km2", "missing", "missing_a", "missing_b", "unlike")  # coordinates of zones
_END = re.compile(r"_(lo|hi)_([0-9.]+)$")
# Names of columns: {threshold} and the like stand for a label
_COLUMNS = {
    "area_above": "km2_above_{threshold}",
    "area_above_change": "km2_above_{threshold}_change",
    "area_above_origin": "km2_above_{threshold}_origin",
    "area_above_difference": "km2_above_{threshold}_difference",
    "p_greater_above": "p_greater_above_{threshold}",
    "p_grows": "p_above_{threshold}_grows_{growth}_percent",
    "transition_area": "km2_{from_class}_becomes_{to_class}",
    "class_area": "km2_{class}",
    "class_change": "km2_{class}_change",
    "class_lost": "km2_{class}_lost",
    "class_gained": "km2_{class}_gained",
    "class_area_origin": "km2_{class}_origin",
    "area_rising": "km2_rising_{move}",
    "area_falling": "km2_falling_{move}",
    "low_share": "percent_low",
    "low_share_origin": "percent_low_origin",
}


def is_conservation(table: xr.Dataset) -> bool:
    """Return True for a conservation table, False for a table of means and areas."""
    return "transition_area" in table


def require_table(table: xr.Dataset) -> None:
    """Raise :class:`BadArgument` unless a Dataset is a table of zones."""
    if not {"zone", "time"} <= set(table.dims) or "kind" not in table.coords:
        raise BadArgument(
            f"this Dataset has dimensions {', '.join(map(str, table.dims)) or 'none'}: a table of "
            "zones has zone and time. Make one: table = fc.hm.zonal(zones)."
        )


def target_of(table: xr.Dataset) -> str:
    """Return the name of the first figure of a table of zones, the mean."""
    return str(table.attrs.get("target", next(iter(table.data_vars))))


def zone_frame(table: xr.Dataset) -> pd.DataFrame:
    """Return a table of zones as one that a planner can read, as in the CSV.

    Parameters
    ----------
    table : Dataset
        Of ``fc.hm.zonal(...)``.

    Returns
    -------
    pandas.DataFrame
        One row for each zone and time: ``zone``, ``kind``, ``time``, ``lead``, ``area_km2``,
        ``missing``, then a column for each figure, such as ``km2_above_0.4_lo_95``. Of a
        conservation table one row for each figure, its tidy form: ``figure``, ``from_class``,
        ``to_class``, ``class``, ``move``, ``value``, ``lo_95``, ``hi_95`` ..., ``units``; a
        column that does not apply to a figure is empty.

    Raises
    ------
    BadArgument
        If the Dataset is not a table of zones.
    """
    return tidy_frame(table) if is_conservation(table) else plain_frame(table)


def plain_frame(table: xr.Dataset) -> pd.DataFrame:
    """Return one row for each zone and time, with a column for each figure."""
    columns = _row_columns(table)
    times = table.sizes["time"]
    for name, plane in columns_of(table):
        wide = plane.values if "time" in plane.dims else np.repeat(plane.values[:, None], times, 1)
        columns[name] = wide.reshape(-1)
    return pd.DataFrame(columns)


def tidy_frame(table: xr.Dataset) -> pd.DataFrame:
    """Return one row for each figure."""
    require_table(table)
    tails = list(dict.fromkeys(e[0][1:] for n in table if (e := _END.search(str(n)))))
    of = ("from_class", "to_class", "class", "move", "threshold")
    parts = []
    dims = [dim for dim in of if dim in table.dims]
    for name, variable in table.data_vars.items():
        if _END.search(str(name)):
            continue
        own = [dim for dim in dims if dim in variable.dims]
        rows = pd.DataFrame(_row_columns(table))
        for at in product(*(range(table.sizes[dim]) for dim in own)):
            chosen = dict(zip(own, at, strict=True))
            part = rows.assign(figure=str(name), **dict.fromkeys(dims, ""))
            for dim, number in chosen.items():
                part[dim] = _label(table[dim].values[number])
            for column, source in {"value": str(name), **{t: f"{name}_{t}" for t in tails}}.items():
                part[column] = _by_row(table, source, chosen)
            parts.append(part.assign(units=str(variable.attrs.get("units", "1"))))
    return pd.concat(parts, ignore_index=True)


def columns_of(table: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield each figure of (zone, time) or (zone,) with the plain name of its column.

    The ends of the intervals of a figure follow its expected value.
    """
    require_table(table)
    names = [str(name) for name in table.data_vars]
    for name in [name for name in names if not _END.search(name)]:
        tails = [other for other in names if (end := _END.search(other)) and _stem(other) == name]
        variable = table[name]
        own = [str(dim) for dim in variable.dims if dim not in ("zone", "time")]
        for at in product(*(range(table.sizes[dim]) for dim in own)):
            chosen: dict[Hashable, int] = dict(zip(own, at, strict=True))
            labels = {str(dim): _word(_label(table[dim].values[n])) for dim, n in chosen.items()}
            plain = _COLUMNS.get(name, name).format(**labels)
            for source in (name, *tails):
                end = _END.search(source)
                yield plain + (end[0] if end else ""), table[source].isel(chosen)


def shares_of(table: xr.Dataset) -> list[str]:
    """Return the names of the areas and shares that every row of a table has."""
    return [name for name in _SHARES if name in table.coords]


def times_of(table: xr.Dataset) -> list[str]:
    """Write the times of a table as short as they are clear: 2025."""
    return [short(time_label(value)) for value in table["time"].values]


def _row_columns(table: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the columns of every row, by zone and then time."""
    require_table(table)
    zones, times = table.sizes["zone"], table.sizes["time"]
    columns = {"zone": table["zone"].values, "kind": table["kind"].values}
    columns = {name: np.repeat(values, times) for name, values in columns.items()}
    columns["time"] = np.tile(np.array(times_of(table), dtype=object), zones)
    if "lead" in table.coords:  # a map has none
        columns["lead"] = np.tile(table["lead"].values, zones)
    for name in shares_of(table):
        columns[name] = np.repeat(table[name].values, times)
    return columns


def _by_row(table: xr.Dataset, name: str, chosen: dict[str, int]) -> np.ndarray:
    """Return a figure by zone and then time; NaN where the table does not have it."""
    shape = table.sizes["zone"], table.sizes["time"]
    if name not in table:
        return np.full(shape[0] * shape[1], np.nan)
    plane = table[name].isel(chosen)
    values = plane.values if "time" in plane.dims else plane.values[:, None]
    return np.broadcast_to(values, shape).reshape(-1)


def _stem(name: str) -> str:
    return _END.sub("", name)


def _word(label: str) -> str:
    """Write a label as a part of a name: ``below_0.1``, ``from_0.4``."""
    return label.replace("< ", "below_").replace(">= ", "from_")


def _label(value: object) -> str:
    """Write a label of a dimension: 0.4."""
    if isinstance(value, float | np.floating):
        return mark(float(value))
    return str(value)
