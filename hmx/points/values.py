"""Values of a column: as numbers or dates, or refused with the rows and the reason.

Dates are ISO dates, years and decimal years.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hmx.cube.bands import Bands
from hmx.errors import BadArgument, missing_variable
from hmx.points.tabular import RowNames, Table
from hmx.points.text import as_point

_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_BOTH = re.compile(r"\s*[+-]?\d{1,3}(?:([.,' \u00a0\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?\s*")
_GROUPED = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")
_POINT = re.compile(r"\s*[+-]?\d*\.\d+\s*")
_ANGLE = re.compile(r"[\u00b0\u00ba'\"\u2032\u2033]|\d\s*[NSEWOnsewo]$|^[NSEWO]\s*\d")
_LIMIT = re.compile(r"\s*[<>\u2264\u2265~]")
# Years 1000 to 2999: a number such as 150 in a column of dates is a value in the wrong column.
_YEAR = r"[12]\d{3}"
_WHOLE, _DECIMAL = re.compile(rf"({_YEAR})(?:[.,]0*)?"), re.compile(rf"({_YEAR})[.,](\d+)")
_MONTH, _DAY = re.compile(rf"({_YEAR})-(\d\d?)"), re.compile(rf"({_YEAR})(\d\d)(\d\d)(?:\.0)?")
_ISO = re.compile(r"\d{4}-\d\d?-\d\d?(?:[T ].*)?")
# 03/04/2015 is March or April: such texts are refused, never interpreted.
_SWAPPED = re.compile(r"\d{1,2}[./ -]\d{1,2}[./ -]\d{2,4}(?:[ T].*)?")


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


def dates_of(
    table: Table,
    name: str,
    rows: np.ndarray,
    *,
    missing: Sequence[float | str] = (),
    names: RowNames,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read dates; a year alone stands for its last day, a month for its last one."""
    column = column_of(table, name)
    if column.dtype.kind == "M":
        # Dates without a zone are UTC everywhere in hmx, and numpy has no zones. Microseconds reach
        # from 290,000 BC on, nanoseconds, pandas' default, only from 1677 to 2262.
        zoned = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz else column
        dates, notes = np.asarray(zoned.to_numpy("datetime64[us]")), []
    else:
        if column.dtype.kind == "f":  # years of a column with gaps: 2015.0 is the year 2015
            texts = column.map(
                lambda v: str(int(v)) if float(v).is_integer() else repr(float(v)),
                na_action="ignore",
            ).astype(object)
        else:
            texts = texts_of(column)
        numbers = pd.to_numeric(texts, errors="coerce")
        codes = [str(code).strip() for code in missing]
        texts = texts.mask(numbers.isin(codes_of(missing)) | texts.isin(codes) | ~rows, None)
        # One value such as 2015.5 makes the whole column decimal: 2016 then is its first moment
        # and not the last day of 2016.
        decimal = texts.map(lambda t: _has_part(str(t)), na_action="ignore").eq(True).any()
        parsed = texts.map(lambda t: _date(str(t), decimal=bool(decimal)), na_action="ignore")
        iso = pd.to_datetime(parsed.astype("string"), errors="coerce", format="ISO8601", utc=True)
        dates = np.asarray(iso.dt.tz_localize(None).to_numpy("datetime64[us]"))
        # Codes and rows that are filtered out are masked in texts, so they may hold anything.
        odd = np.flatnonzero(np.isnat(dates) & texts.notna().to_numpy())
        if odd.size:
            text, alone = str(texts.iloc[odd[0]]), names.column is None and len(odd) == 1
            raise BadArgument(
                f"date column {name!r} of {table.name} has {text!r} in row {odd[0]}, which is not "
                f"a date{'' if alone else f' ({names.listed(odd)})'}{_cause(text, name)}. Write "
                "ISO dates (2015-06-30) or years; a code for missing goes into "
                f"missing=[{text!r}] (in a catalog, points.missing)."
            )
        notes = [f"Column {name!r} holds decimal years."] if decimal else []
    return dates, (*notes, *_ahead(dates, rows, names))


def _has_part(text: str) -> bool:
    """Return True for a year with a part of a year: 2015.5, not 2015.0."""
    found = _DECIMAL.fullmatch(text)
    return found is not None and found[2].strip("0") != ""


def _date(text: str, *, decimal: bool) -> str | None:
    """Return the ISO date of a text, or None if it is not a date."""
    if (decimal and (found := _DECIMAL.fullmatch(text))) or (found := _WHOLE.fullmatch(text)):
        if not decimal:
            return f"{found[1]}-12-31"
        part = float(f"0.{found[2]}") if found.re is _DECIMAL else 0.0
        start, end = (np.datetime64(f"{int(found[1]) + more:04d}", "s") for more in (0, 1))
        return str(start + np.timedelta64(int(part * int((end - start).astype("int64"))), "s"))
    if found := _MONTH.fullmatch(text):
        if not 1 <= int(found[2]) <= 12:
            return None
        month = np.datetime64(f"{found[1]}-{int(found[2]):02d}", "M")
        return str((month + 1).astype("datetime64[D]") - 1)
    if found := _DAY.fullmatch(text):
        return "-".join(found.groups())
    return text if _ISO.fullmatch(text) else None


def _cause(text: str, name: str) -> str:
    if _SWAPPED.fullmatch(text):
        return (
            ": day and month cannot be distinguished. Where the day is first, type "
            f"table[{name!r}] = pd.to_datetime(table[{name!r}], dayfirst=True)"
        )
    number = pd.to_numeric(text, errors="coerce")
    # 10,000 to 70,000 are spreadsheet days of 1927 to 2091: no year has five digits
    if re.fullmatch(r"'?\d{2}", text):
        return f": a year has four digits, and {text} may be of any century"
    if 10_000 <= number <= 70_000:
        return ": it looks like the day number of a spreadsheet. Format the column as yyyy-mm-dd"
    if re.fullmatch(rf"{_YEAR}\d\d", text):
        return f": a year and month are written {text[:4]}-{text[4:]}"
    return ""


def _ahead(dates: np.ndarray, rows: np.ndarray, names: RowNames) -> list[str]:
    """Note dates in the future: they are often typing errors."""
    # From next January on: a year alone, this one too, stands for its 31 December.
    year = np.datetime64("now", "Y") + 1
    late = np.flatnonzero((dates >= year.astype("datetime64[us]")) & rows)
    if not late.size:
        return []
    what = "date lies" if late.size == 1 else "dates lie"
    return [f"{late.size:,} {what} in the future, such as {str(dates[late[0]])[:10]} "
            f"({names.listed(late)})."]  # fmt: skip


def steps_at(dates: np.ndarray, bands: Bands) -> np.ndarray:
    """Find the step whose period holds each date.

    A step of whole years holds the calendar year it is labelled with, and those up to
    the next step; one of months likewise; a shorter one the time from its label on.
    """
    axis, cadence = bands.data["time"].values, bands.cadence
    if cadence.unit == "steps":  # an axis of integers counts years
        numbers, wanted, step = axis, _years(dates), cadence.step
    elif cadence.unit == "months" and cadence.step % 12 == 0:
        numbers, wanted, step = _years(axis), _years(dates), cadence.step // 12
    elif cadence.unit == "months":
        numbers, wanted, step = _months(axis), _months(dates), cadence.step
    else:
        end = cadence.extend(bands.data["time"], 1)
        numbers, wanted = _microseconds(axis), _microseconds(dates)
        step = int(_microseconds(end)[0] - numbers[-1])
    # -1 before the first step, len(axis) after the last: join counts these rows by reason.
    found = np.searchsorted(numbers, wanted, side="right") - 1
    return np.where(wanted >= numbers[-1] + step, len(axis), found)


def _years(dates: np.ndarray) -> np.ndarray:
    return _months(dates) // 12


def _months(dates: np.ndarray) -> np.ndarray:
    """Count months from the year 0."""
    if dates.dtype.kind == "M":
        return dates.astype("datetime64[M]").astype("int64") + 1970 * 12
    # cftime dates of other calendars, such as noleap, which numpy cannot convert.
    return np.array([date.year * 12 + date.month - 1 for date in dates])


def _microseconds(dates: np.ndarray) -> np.ndarray:
    plain: Any = dates if dates.dtype.kind == "M" else [date.isoformat() for date in dates]
    return np.asarray(plain, "datetime64[us]").astype("int64")
