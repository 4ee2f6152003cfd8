"""Row names: how rows of a table are called where they are listed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmx.errors import missing_variable

_ID = re.compile(
    r"id|fid|oid|uuid|objectid|system:index|.+[_ .-]id|id[_ .-].+"
    r"|(point|profile|sample|site|plot|lab|soil|record|survey)id",
    re.IGNORECASE,
)
_LISTED = 5


@dataclass(frozen=True)
class RowNames:
    """Names of all rows of a table."""

    column: str | None = None  # where they come from; without one, rows are counted from 0
    values: np.ndarray | None = None  # names (n,)

    def of(self, rows: np.ndarray) -> list[object]:
        """Return the names of some rows, in types of JSON."""
        if self.values is None:
            return [int(row) for row in rows]
        names = (self.values[row] for row in rows)
        return [name if isinstance(name, str | int) else str(name) for name in names]

    def listed(self, rows: np.ndarray, most: int = _LISTED) -> str:
        """List the first rows in words: ``row 2, 5`` or ``id P002, P005, ...``."""
        names = ", ".join(str(name) for name in self.of(rows[:most]))
        more = f", ... ({len(rows):,} in all)" if len(rows) > most else ""
        return f"{self.column or 'row'} {names}{more}"


def row_names(columns: pd.DataFrame, chosen: str | None, *, table: str) -> RowNames:
    """Find the column that names rows."""
    if chosen is not None:
        if chosen not in columns:
            raise missing_variable(chosen, columns, where=table)
        return RowNames(chosen, _plain(columns[chosen]))
    for name in columns.columns:
        if not _ID.fullmatch(str(name)):
            continue
        values = columns[name]
        # ndim: columns that share a name come as a DataFrame. Unique, or a site's number, which
        # several rows share, would name them.
        if values.ndim == 1 and values.notna().all() and values.map(str).is_unique:
            return RowNames(str(name), _plain(values))
    return RowNames()


def _plain(values: pd.Series) -> np.ndarray:
    """Return values as Python's own, whole numbers without a decimal point."""
    if values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return np.asarray(values.astype(object).to_numpy(), object)
