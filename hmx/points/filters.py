"""Filters: rows of a table that count, by comparisons of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import numpy as np
import pandas as pd

from hmx.errors import BadArgument
from hmx.points.options import PointsOptions
from hmx.points.tabular import RowNames, Table
from hmx.points.values import column_of, numbers_of, texts_of

_FILTER = re.compile(
    r"\s*(?P<column>.+?)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<value>[^<>=!\s].*?)\s*$"
)
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt,
}  # fmt: skip


def passed(table: Table, options: PointsOptions, names: RowNames) -> np.ndarray:
    """Find the rows that pass all filters, (n,).

    Numbers are compared as numbers, also where a column holds them as text; with a quoted
    or non-numeric value, text is compared.
    """
    kept = np.ones(len(table.columns), bool)
    for text in options.where:
        parts = _FILTER.match(text)
        if parts is None:
            raise BadArgument(
                f"where={text!r} is not a filter: a filter is a column, one of {' '.join(_SIGNS)}, "
                "and a value. Pass where=['soc <= 150']."
            )
        column = column_of(table, parts["column"].strip("`'\""))
        wanted = _Filter(text, parts["sign"], parts["value"])
        if column.dtype.kind in "iuf":
            kept &= _numeric(column, wanted, options.missing)
        elif column.dtype.kind == "M":
            kept &= _dated(column, wanted)
        else:
            kept &= _textual(column, wanted, table, options.missing, names)
    return kept


class _Filter:
    """One filter: its text, sign and value."""

    def __init__(self, text: str, sign: str, value: str):
        self.text, self.sign, self.value = text, sign, value

    def compare(self, left: Any, right: Any) -> np.ndarray:
        """Compare a column with the value; a missing cell equals no value."""
        return np.asarray(_SIGNS[self.sign](left, right), bool)

    @property
    def number(self) -> float | None:
        """The value as a number; nothing where it is quoted or text."""
        try:
            return float(self.value)
        except ValueError:
            return None


def _numeric(column: pd.Series, wanted: _Filter, missing: Sequence[float | str]) -> np.ndarray:
    if wanted.number is None:
        raise BadArgument(
            f"where={wanted.text!r} compares numbers with {wanted.value}: column {column.name!r} "
            f"is numeric. Pass where=['{column.name} <= 150']."
        )
    numbers, _ = numbers_of(column, missing=missing)
    return wanted.compare(numbers, wanted.number)


def _dated(column: pd.Series, wanted: _Filter) -> np.ndarray:
    try:
        when = pd.Timestamp(wanted.value.strip("'\""))
    except ValueError:
        raise BadArgument(
            f"where={wanted.text!r} compares dates with {wanted.value}: column {column.name!r} "
            f"holds dates. Pass where=['{column.name} >= 2015-01-01']."
        ) from None
    naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz else column
    return wanted.compare(naive.to_numpy(), when.to_datetime64())


def _textual(
    column: pd.Series,
    wanted: _Filter,
    table: Table,
    missing: Sequence[float | str],
    names: RowNames,
) -> np.ndarray:
    """Compare text; with a number, the numbers that it holds."""
    texts, number = texts_of(column), wanted.number
    known = texts.notna().to_numpy()
    if number is not None:
        numbers, odd = numbers_of(column, decimal=table.decimal, missing=missing)
        rows = np.flatnonzero(odd)
        if not rows.size:
            return wanted.compare(numbers, number)
        if wanted.sign not in ("==", "!="):
            raise BadArgument(
                f"where={wanted.text!r} compares with a number, and column {column.name!r} of "
                f"{table.name} holds text in {rows.size} of {len(column)} rows, such as "
                f"{texts.iloc[rows[0]]!r} ({names.listed(rows)}). Write numbers there, pass "
                f"missing=[{texts.iloc[rows[0]]!r}], or compare as text with quotes: "
                f"\"{column.name} {wanted.sign} '{wanted.value}'\"."
            )
        # 2 finds 2.0 among numbers and "2" among mixed text, such as names of horizons.
        same = (numbers == number) | (texts == wanted.value).to_numpy(bool)
        return np.asarray(same if wanted.sign == "==" else ~same)
    value = wanted.value.strip("'\"")
    # str(True) is True, and tables as well as users write true.
    if column.dtype.kind == "b":
        texts, value = texts.str.lower(), value.lower()
    # A missing text is unequal to every value, as NaN is.
    found = np.full(len(texts), wanted.sign == "!=")
    found[known] = wanted.compare(texts[known].to_numpy(object), value)
    return found
