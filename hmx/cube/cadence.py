"""Cadence: the calendar step between two maps, inferred, checked, continued.

1990, 1995, ... 2020 is continued by 2025, not by 5 x 365.25 days. Datetime,
cftime and integer axes are understood, and every axis is continued in its own kind:

- one day of the month, or the last day of every month;
- the middle of months or years, as climate models stamp their means, to the hour
  or to the day;
- steps of whole days that start again on each 1 January (8- and 16-day composites)
  or in each month (dekads, half months);
- a constant number of microseconds;
- integers, which are steps, such as years; and the months of a climatology, which go
  round. 1 to 12 are months only where the name or attributes of the axis name months.

Anything else is refused, with the step that breaks the cadence and what to type.
"""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from hmx.cube.timeaxis import irregular, months_of_year, require_order, require_times, wandering
from hmx.errors import NotEnoughData

Unit = Literal["months", "days of year", "days of month", "microseconds", "steps", "month of year"]
_DAY = 86_400_000_000  # microseconds
_COMPOSITES = (8, 16)  # days: where they start on 1 January, they do so every year


@dataclass(frozen=True)
class MonthKind:
    """Position of each time stamp within its month or period."""

    day: int  # of the month, where it is the same; 0: the last one; -1: the middle of a period
    clock: int = 0  # microseconds since midnight
    back: int = 0  # months from the start of the period to the month of the stamp
    length: int = 1  # months of the period
    whole: bool = False  # whether the middle is cut to its day

    def at(self, like: Any, month_number: int) -> Any:
        """Stamp a month, in the kind of ``like``."""
        start = _first_of(like, month_number - self.back)
        end = _first_of(like, month_number - self.back + self.length)
        if self.day < 0:
            days, rest = divmod(_between(start, end) // 2, _DAY)
            return _add_microseconds(start, days * _DAY + rest * (not self.whole))
        # day 30 of a February is its last day
        most = _between(start, end) // _DAY
        day = min(self.day, most) if self.day else most
        return _add_microseconds(start, (day - 1) * _DAY + self.clock)


@dataclass(frozen=True)
class Cadence:
    """A constant step along a time axis."""

    step: int  # how many units lie between two maps
    # ``months`` (calendar), ``days of year`` and ``days of month`` (which start again with
    # each), ``microseconds`` (anything else of constant length), ``steps`` (integer axis,
    # such as years) or ``month of year`` (going round)
    unit: Unit
    # how calendar steps lie in their months
    kind: MonthKind | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        if self.unit == "months":
            years, months = divmod(self.step, 12)
            return _plural(years, "year") if not months else _plural(self.step, "month")
        if self.unit == "microseconds":
            return str(datetime.timedelta(microseconds=self.step)).removesuffix(", 0:00:00")
        if self.unit == "month of year":
            return f"{_plural(self.step, 'month')} of the year"
        if self.unit == "steps":
            return _plural(self.step, "step")
        return _plural(self.step, "day") + " of each month" * (self.unit == "days of month")

    @property
    def years(self) -> float | None:
        """Length of a step in years; ``None`` if steps are integers without a unit."""
        per_year = {
            "months": 12, "month of year": 12, "microseconds": 365.25 * _DAY, "steps": None,
        }.get(self.unit, 365.25)  # fmt: skip
        return None if per_year is None else self.step / per_year

    @classmethod
    def infer(cls, time: xr.DataArray) -> Cadence:
        """Find the step of a time coordinate.

        Parameters
        ----------
        time : DataArray
            1-D, ascending; datetime64, cftime or integer. Its name and attributes may
            declare that integers are months of every year.

        Raises
        ------
        NotEnoughData
            If there are fewer than two steps.
        IrregularTime
            If the steps differ, are out of order, repeated, or cannot be read as
            times; the message names the step and what to type.
        """
        if time.size < 2:
            raise NotEnoughData(
                f"the time axis has {time.size} step, and one step has no cadence. "
                "A cube needs at least two regular time steps."
            )
        require_times(time)
        require_order(time)
        if time.dtype.kind in "iu":
            gaps = [after - before for before, after in itertools.pairwise(time.values.tolist())]
            if len(set(gaps)) > 1:
                raise irregular(time, gaps)
            return Cadence(gaps[0], "month of year" if months_of_year(time) else "steps")
        values = time.values
        dates = [_Date.of(value) for value in values]
        months = np.diff([date.month_number for date in dates]).tolist()
        # two maps in one month have no calendar step of months
        kind = _month_kind(values, dates) if min(months) > 0 else None
        if kind is not None and len(set(months)) == 1:
            return cls(months[0], "months", kind)
        gaps = np.diff([_between(values[0], value) for value in values]).tolist()
        if restart := _restarting(values, gaps):
            return cls(*restart)
        if len(set(gaps)) == 1:
            return cls(gaps[0], "microseconds")
        more = "" if kind else wandering(time, [date.month_number for date in dates])
        raise irregular(time, months if kind else gaps, more)

    def extend(self, time: xr.DataArray, h: int) -> np.ndarray:
        """Continue the axis that this cadence was inferred from by ``h`` steps of its dtype."""
        values, last = time.values, time.values[-1]
        leads = range(1, h + 1)
        if self.unit in ("steps", "month of year"):
            ahead = [int(last) + self.step * lead for lead in leads]
            if self.unit == "month of year":
                ahead = [(month - 1) % 12 + 1 for month in ahead]
            return np.array(ahead, dtype=values.dtype)
        if self.unit == "microseconds":
            moved = [_add_microseconds(last, self.step * lead) for lead in leads]
        elif self.unit == "months":
            dates = [_Date.of(value) for value in values]
            # a cadence that was not inferred has no kind, so the axis gives it
            kind = self.kind or _month_kind(values, dates) or MonthKind(dates[-1].day)
            moved = [kind.at(last, dates[-1].month_number + self.step * lead) for lead in leads]
        else:
            moved = []
            for _ in leads:
                last = _next_part(last, self.step, self.unit)
                moved.append(last)
        return np.array(moved, dtype=values.dtype)


@dataclass(frozen=True)
class _Date:
    """The properties of a date that calendar steps depend on."""

    year: int
    month_number: int
    day: int
    day_of_year: int
    clock: tuple[int, ...]
    month_end: bool

    @classmethod
    def of(cls, value: Any) -> _Date:
        date = pd.Timestamp(value) if isinstance(value, np.datetime64) else value
        is_pandas = isinstance(date, pd.Timestamp)
        return cls(
            date.year,
            date.year * 12 + date.month - 1,
            date.day,
            date.day_of_year if is_pandas else date.dayofyr,
            (date.hour, date.minute, date.second, date.microsecond),
            date.day == (date.days_in_month if is_pandas else date.daysinmonth),
        )

    @property
    def time_of_day(self) -> int:
        """Microseconds since midnight."""
        hour, minute, second, micro = self.clock
        return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro


def _month_kind(values: np.ndarray, dates: list[_Date]) -> MonthKind | None:
    """Find the position that all steps of an axis share within their months, if there is one."""
    first = dates[0]
    same_clock = len({date.clock for date in dates}) == 1
    # before the same day: 30 April and 30 June are both ends of months
    if same_clock and all(date.month_end for date in dates):
        return MonthKind(0, first.time_of_day)
    if same_clock and len({date.day for date in dates}) == 1:
        return MonthKind(first.day, first.time_of_day)
    step = dates[1].month_number - first.month_number
    # middles of months, of years, or of periods as long as the step
    for length in dict.fromkeys((1, 12, step)):
        for back, whole in ((b, w) for b in range(length) for w in (False, True)):
            kind = MonthKind(-1, back=back, length=length, whole=whole)
            stamps = zip(values, dates, strict=True)
            if all(kind.at(value, date.month_number) == value for value, date in stamps):
                return kind
    return None


def _restarting(values: np.ndarray, gaps: list[int]) -> tuple[int, Unit] | None:
    """Find a step of whole days that starts again with each year or month."""
    sizes = sorted({gap // _DAY for gap in gaps if gap > _DAY and gap % _DAY == 0}, reverse=True)
    if len(set(gaps)) == 1:  # no year or month ends in between, so a restart cannot show
        if not sizes or sizes[0] not in _COMPOSITES:
            return None
        fits = all((_Date.of(value).day_of_year - 1) % sizes[0] == 0 for value in values)
        return (sizes[0], "days of year") if fits else None
    units: tuple[Unit, ...] = ("days of year", "days of month")
    for size in sizes[:4]:  # the usual step and those of the borders: 11, 10, 9 and 8 of dekads
        for unit in units:
            pairs = itertools.pairwise(values)
            if all(_next_part(value, size, unit) == after for value, after in pairs):
                return size, unit
    return None


def _next_part(value: Any, step: int, unit: Unit) -> Any:
    """Add a step of days, or move to the first part of the next year or month."""
    date = _Date.of(value)
    if unit == "days of year":
        at, parts, after = date.day_of_year - 1, 365, (date.year + 1) * 12
    else:
        at, parts, after = date.day - 1, 30, date.month_number + 1
    number, first = divmod(at, step)
    # years count 365 days and months 30, also where they have more: the last part takes the rest
    if number + 1 < -(-(parts - first) // step):
        return _add_microseconds(value, step * _DAY)
    return _add_microseconds(_first_of(value, after), first * _DAY + date.time_of_day)


def _between(start: Any, end: Any) -> int:
    if isinstance(start, np.datetime64):
        moments = [moment.astype("datetime64[us]").astype("int64") for moment in (start, end)]
        return int(moments[1] - moments[0])
    # the quotient of two timedeltas is a float
    count: int = round((end - start) / datetime.timedelta(microseconds=1))
    return count


def _first_of(like: Any, month_number: int) -> Any:
    """Return the first instant of a month, counted from the year 0, in the kind of a date."""
    if isinstance(like, np.datetime64):
        # numpy counts months from January 1970
        return np.datetime64(month_number - 1970 * 12, "M").astype("datetime64[us]")
    year, month = divmod(month_number, 12)
    return like.replace(
        year=year, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0
    )


def _add_microseconds(date: Any, amount: int) -> Any:
    if isinstance(date, np.datetime64):
        return date + np.timedelta64(amount, "us")
    return date + datetime.timedelta(microseconds=amount)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
