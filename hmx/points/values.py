"""Values of a column: as numbers, or refused with the rows and the reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmx.errors import BadArgument, missing_variable
from hmx.points.tabular import RowNames, Table
from hmx.points.text import as_point

_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_BOTH = re.compile(r"\s*[+-]?\d{1,3}(?:([.,' \u00a0\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?\s*")
_GROUPED = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")
_POINT = re.compile(r"\s*[+-]?\d*\.\d+\s*")
_ANGLE = re.compile(r"[\u00b0\u00ba'\"\u2032\u2033]|\d\s*[NSEWOnsewo]$|^[NSEWO]\s*\d")
_LIMIT = re.compile(r"\s*[<>\u2264\u2265~]")


def column_of(table: Table, name: str) -> pd.Series:
    """Return a column."""
    if name not in table.columns:
        raise missing_variable(name, table.columns, where=table.name)
    found = table.columns[name]
    if found.ndim > 1:
        raise BadArgument(
            f"{table.name} has {found.shape[1]} columns called {name!r}, and one is meant. Rename "
            "the others."
        )
    return found


def numbers_of(
    column: pd.Series, *, decimal: str = ".", missing: Sequence[float | str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Read a column as numbers."""
    if column.dtype.kind in "iufb":
        numbers, odd = column.to_numpy("float64", na_value=np.nan), np.zeros(len(column), bool)
    else:
        texts = texts_of(column)
        plain = texts.map(lambda value: as_point(value, decimal), na_action="ignore")
        dated = column.dtype.kind in "mM"  # pandas would count nanoseconds
        parsed = pd.to_numeric(plain.mask(plain.notna()) if dated else plain, errors="coerce")
        numbers = parsed.to_numpy("float64", na_value=np.nan)
        odd = (np.isnan(numbers) & texts.notna()).to_numpy()
        odd = (
            odd
            & ~texts.isin([code.strip() for code in missing if isinstance(code, str)]).to_numpy()
        )
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    for code in codes_of(missing):
        # Relative 1e-6: codes in float32 differ from their text in the last digits.
        numbers[np.isclose(numbers, code, rtol=1e-6, atol=0)] = np.nan
    return numbers, odd


def codes_of(missing: Sequence[float | str]) -> list[float]:
    """Return the codes that are numbers, also where they are written as text."""
    found = pd.to_numeric(pd.Series(list(missing), dtype=object), errors="coerce")
    return [float(code) for code in found if np.isfinite(code)]


def texts_of(column: pd.Series) -> pd.Series:
    """Return values as stripped text; empty text is missing."""
    texts = column.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    return texts.mask(texts == "", None)


def require_numbers(
    table: Table, name: str, rows: np.ndarray, names: RowNames, *, role: str
) -> None:
    """Refuse text in a column of numbers."""
    counted, odd = rows.T
    found = np.flatnonzero(odd)
    if not found.size:
        return
    texts = [str(table.columns[name].iloc[row]) for row in found]
    where = "" if names.column is None else f" ({names.listed(found)})"
    raise BadArgument(
        f"{role} column {name!r} of {table.name} is not numeric: {found.size} of "
        f"{int(counted.sum())} rows hold text, such as {texts[0]!r} in row {found[0]}{where}. "
        f"{_remedy(texts, table.decimal, role)}"
    )


def checked_numbers(
    table: Table,
    name: str,
    rows: np.ndarray,
    names: RowNames,
    *,
    role: str,
    missing: Sequence[float | str] = (),
) -> np.ndarray:
    """Return a column of numbers, float64; refuse text in the rows that count."""
    values, odd = numbers_of(column_of(table, name), decimal=table.decimal, missing=missing)
    require_numbers(table, name, np.stack([rows, odd & rows], axis=1), names, role=role)
    return values


def _remedy(texts: Sequence[str], decimal: str, role: str) -> str:
    """Return the likely cause for texts that are not numbers, and what to type."""
    other = f"name another column: {'target' if role == 'target' else 'x'}='...'"
    if all(_GROUPED.fullmatch(text) for text in texts):
        return (
            f"{texts[0]} is {texts[0].replace(',', '.')} with a decimal comma and "
            f"{texts[0].replace(',', '')} with a comma between thousands: write numbers without "
            f"commas for the second, or pass decimal=',' for the first. Or {other}."
        )
    if decimal == "," and all(_POINT.fullmatch(text) for text in texts):
        return (
            "They have a decimal point, and the table a decimal comma: write one sign in all "
            f"columns, and pass it, e.g. decimal='.'. Or {other}."
        )
    if decimal == "." and all(_COMMA.fullmatch(text) for text in texts):
        return (
            "They are numbers with a decimal comma: pass decimal=','; in a catalog, "
            f"points.decimal: ','. Or {other}."
        )
    if all(_BOTH.fullmatch(text) or _COMMA.fullmatch(text) for text in texts):
        return (
            "A sign or blank between thousands is not read, for it may be a decimal sign: write "
            f"{_ungrouped(texts[0])}, or pass decimal=',' where the comma is decimal. Or {other}."
        )
    if role == "coordinate" and any(_ANGLE.search(text) for text in texts):
        return f"Write decimal degrees, such as 50.7088, south and west negative. Or {other}."
    distinct = list(dict.fromkeys(text.strip() for text in texts))
    codes = ", ".join(repr(text) for text in distinct[:5])
    limit = " (values below a limit of detection: a number such as half of it is less biased)"
    note = limit if any(_LIMIT.match(text) for text in distinct) else ""
    return (
        f"Write numbers there{note}, or, where they mean missing, pass missing=[{codes}]; in a "
        f"catalog, points.missing. Or {other}."
    )


def _ungrouped(text: str) -> str:
    sign = max(text.rfind("."), text.rfind(","))
    tail = text[sign + 1 :] if sign >= 0 else ""
    if len(tail) == 3 or not tail:
        return re.sub(r"[^\d+-]", "", text)
    return re.sub(r"[^\d+-]", "", text[:sign]) + "." + tail
