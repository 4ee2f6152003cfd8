"""Stock tables: the table of samples of a concentration, with the stock of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hmx.errors import BadArgument
from hmx.points.joining import words_of
from hmx.points.table import Points
from hmx.points.values import column_of, numbers_of, require_numbers
from hmx.products.stock import carbon_stock

NOTE = "note"  # last column: why a row has no stock


def stock_table(
    points: Points,
    parts: Mapping[str, float | str | None],
    *,
    missing: Sequence[float | str] = (),
    density_units: str = "g/cm3",
    coarse_units: str = "%",
) -> pd.DataFrame:
    """Add the stock of each sample to its table, t/ha, and why a row has none.

    `parts` are ``bulk_density``, ``coarse``, ``top`` and ``bottom``: numbers, or names of columns;
    without both depths, those of the samples.
    """
    table, name = points.table, f"{points.target}_stock"
    assert table is not None
    if points.units is None:
        raise BadArgument(
            f"{points.target} has no units, so its stock is unknown. Write points: {{units: g/kg}}."
        )
    for taken in (name, NOTE):
        if taken in table.columns:
            raise BadArgument(f"{table.name} has a column {taken!r} already. Rename it.")
    columns = _columns(points, parts, missing)
    concentration = np.full(points.rows, np.nan)
    concentration[points.row] = points.value
    result = table.columns.copy()
    if table.xy is not None and points.columns is None:
        result["x"], result["y"] = table.xy.T
    result[name] = carbon_stock(
        concentration,
        columns["bulk_density"],
        top=columns["top"],
        bottom=columns["bottom"],
        coarse=columns["coarse"],
        units=points.units,
        density_units=density_units,
        coarse_units=coarse_units,
    )
    result[NOTE] = ""
    for reason, rows in points.left.items():
        result.loc[result.index[rows], NOTE] = words_of(reason)
    for what, values in columns.items():
        lacks = points.row[np.isnan(values[points.row])]
        result.loc[result.index[lacks], NOTE] = f"{what} is missing"
    return result


def _columns(
    points: Points, parts: Mapping[str, float | str | None], missing: Sequence[float | str]
) -> dict[str, np.ndarray]:
    """Return each part of the formula for all rows, NaN in rows that are no samples."""
    table = points.table
    assert table is not None
    used = np.isin(np.arange(points.rows), points.row)
    found: dict[str, np.ndarray] = {}
    for what, given in parts.items():
        if isinstance(given, str):
            values, odd = numbers_of(
                column_of(table, given), decimal=table.decimal, missing=missing
            )
            rows = np.stack([used, odd & used], axis=1)
            require_numbers(table, given, rows, points.names, role=what)
            found[what] = np.where(used, values, np.nan)
        elif given is not None:
            found[what] = np.where(used, float(given), np.nan)
    if "bottom" not in found:
        if points.depth is None:
            raise BadArgument(
                "a stock is of a layer, and its lower end is unknown. Write stock: {top: 0, "
                "bottom: 30}, cm, or name columns of depths."
            )
        found["top"], found["bottom"] = np.full((2, points.rows), np.nan)
        found["top"][points.row], found["bottom"][points.row] = points.depth.T
    found.setdefault("top", np.where(used, 0.0, np.nan))
    return found
