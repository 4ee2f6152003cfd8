"""Dates: texts and time axes are read and written here, by one rule.

A text is a date only in ISO 8601: 2000, 2000-02, 2000-02-01, 2000-02-01T06:30, also
without separators (20000201), or as year and day of the year (2000-049, 2000049).
01-02-2000 is two dates, one for each half of the world, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

_CLOCK = r"(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,9})?)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_ISO = re.compile(rf"\d{{4}}(?:-\d{{2}}(?:-\d{{2}}{_CLOCK})?)?|\d{{8}}{_CLOCK}", re.ASCII)
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})", re.ASCII)
_YEAR = re.compile(r"\d{4}", re.ASCII)
_WRITTEN = re.compile(
    r"(?<!\d)((?:1[6-9]|2[0-2])\d\d)(?:([-_.]?)(0[1-9]|1[0-2])(?:\2(0[1-9]|[12]\d|3[01]))?)?(?!\d)"
)


def read_date(text: str) -> pd.Timestamp:
    """Read an ISO text; a time zone is converted to UTC."""
    text = text.strip()
    if ordinal := _ORDINAL.fullmatch(text):
        first = pd.Timestamp(f"{ordinal[1]}-01-01")
        date = first + pd.Timedelta(days=int(ordinal[2]) - 1)
        if date.year != first.year:
            raise ValueError(f"{first.year} has no day {ordinal[2]}")
        return date
    if not _ISO.fullmatch(text):
        raise ValueError(f"{text!r} is not written in ISO 8601")
    date = pd.Timestamp(text)
    return date if date.tzinfo is None else date.tz_convert("UTC").tz_localize(None)


def first_date(text: str) -> str | None:
    """Find the first year or ISO date within a text, such as ``HM_1990`` or ``2000_02_01_b1``."""
    found = _WRITTEN.search(text)
    if found is None:
        return None
    year, joint, month, day = found.groups()
    if month is None or (joint == "" and day is None):  # 200002 may be 20-00-02
        return year if month is None else None
    return "-".join(part for part in (year, month, day) if part)


def time_label(value: object) -> str:
    """Write a value of a time axis as short as it is clear: 1990, 1990-01-31, 1990-01-31T06."""
    if isinstance(value, np.datetime64):
        text = str(np.datetime_as_string(value))
    elif hasattr(value, "isoformat"):
        text = str(value.isoformat())
    else:
        return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
    date, _, clock = text.partition("T")
    clock = re.sub(r"\.0+$", "", clock)
    # seconds, then minutes
    for _ in range(2):
        clock = clock.removesuffix(":00")
    return date if clock in ("", "00") else f"{date}T{clock}"


def short(key: str) -> str:
    """Shorten the ISO label of a year or a day."""
    return key.removesuffix("T00:00:00").removesuffix("-01-01")


def matched(wanted: Sequence[str], have: Sequence[str]) -> dict[str, str]:
    """Match labels of two axes; a year matches the only date of that year on the other axis."""
    found = {key: key for key in wanted if key in set(have)}
    if found or not wanted or not have or _are_years(wanted) == _are_years(have):
        return found
    years = {key[:4]: key for key in have}
    if len(years) < len(have) or len({key[:4] for key in wanted}) < len(wanted):
        return found
    return {key: years[key[:4]] for key in wanted if key[:4] in years}


def _are_years(labels: Sequence[str]) -> bool:
    return all(map(_YEAR.fullmatch, labels))
