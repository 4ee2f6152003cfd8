"""Cadence: the calendar step between two maps, inferred, checked, continued.

1990, 1995, ... 2020 is continued by 2025, not by 5 x 365.25 days. Datetime,
cftime and integer axes are understood, and the twelve months of a climatology
(values 1 to 12), which go round; every axis is continued in its own kind.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from hmx.errors import IrregularTime, NotEnoughData

Unit = Literal["months", "microseconds", "steps", "month of year"]


@dataclass(frozen=True)
class Cadence:
    """A constant step along a time axis.

    Parameters
    ----------
    step : int
        How many units lie between two maps.
    unit : str
        ``months`` (calendar), ``microseconds`` (anything shorter or not
        aligned to months), ``steps`` (integer axis, such as years) or
        ``month of year`` (1 to 12, going round).
    """

    step: int
    unit: Unit

    def __str__(self) -> str:
        if self.unit == "months":
            years, months = divmod(self.step, 12)
            return _plural(years, "year") if not months else _plural(self.step, "month")
        if self.unit == "microseconds":
            return str(datetime.timedelta(microseconds=self.step)).removesuffix(", 0:00:00")
        return "1 month of the year" if self.unit == "month of year" else _plural(self.step, "step")

    @classmethod
    def infer(cls, time: xr.DataArray) -> Cadence:
        """Find the step of a time coordinate.

        Parameters
        ----------
        time : DataArray
            1-D, ascending; datetime64, cftime or integer.

        Raises
        ------
        NotEnoughData
            If there are fewer than two steps.
        IrregularTime
            If the steps differ; the message names the gap that breaks them.
        """
        if time.size < 2:
            raise NotEnoughData(
                f"the time axis has {time.size} step, and one step has no cadence. "
                "A cube needs at least two regular time steps."
            )
        values = time.values
        if values.dtype.kind in "iu":
            return _infer_integer(values)
        _require_dates(values)
        dates = [_Date.of(value) for value in values]
        months = [date.month_number for date in dates]
        if len({date.within_month for date in dates}) == 1 or all(d.month_end for d in dates):
            return cls(_constant(months, values), "months")
        return cls(_constant(_microseconds(values), values), "microseconds")

    def extend(self, time: xr.DataArray, h: int) -> np.ndarray:
        """Continue a time axis in its own kind.

        Parameters
        ----------
        time : DataArray
            The axis this cadence was inferred from.
        h : int
            Number of new steps.

        Returns
        -------
        ndarray
            Shape (h,), same dtype as ``time``.
        """
        values, last = time.values, time.values[-1]
        leads = np.arange(1, h + 1)
        if self.unit == "steps":
            return np.asarray(last + self.step * leads, dtype=values.dtype)
        if self.unit == "month of year":
            return np.asarray((last - 1 + self.step * leads) % 12 + 1, dtype=values.dtype)
        if self.unit == "microseconds":
            ahead = [_add_microseconds(last, self.step * int(lead)) for lead in leads]
        else:
            month_end = all(_Date.of(value).month_end for value in values)
            ahead = [_add_months(last, self.step * int(lead), month_end) for lead in leads]
        return np.array(ahead, dtype=values.dtype)


@dataclass(frozen=True)
class _Date:
    """What of a date matters to a calendar step."""

    month_number: int
    within_month: tuple[Any, ...]
    month_end: bool

    @classmethod
    def of(cls, value: Any) -> _Date:
        date = pd.Timestamp(value) if isinstance(value, np.datetime64) else value
        clock = (date.hour, date.minute, date.second, date.microsecond)
        return cls(
            date.year * 12 + date.month - 1,
            (date.day, *clock),
            date.day == _days_in_month(date) and not any(clock),
        )


def _require_dates(values: np.ndarray) -> None:
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            raise IrregularTime(
                f"time step {int(np.argmax(np.isnat(values)))} has no date (NaT). "
                "Drop it: ds = ds.sel(time=ds.time.notnull())."
            )
    elif values.dtype.kind != "O" or not all(hasattr(value, "hour") for value in values):
        raise IrregularTime(
            f"the time axis has type {values.dtype}, which is no calendar. Use datetime64, "
            "cftime or integer years, e.g. ds = ds.assign_coords(time=ds.time.astype(int))."
        )


def _days_in_month(date: Any) -> int:
    return int(date.days_in_month if isinstance(date, pd.Timestamp) else date.daysinmonth)


def _infer_integer(values: np.ndarray) -> Cadence:
    if np.array_equal(values, np.arange(1, 13)):
        return Cadence(1, "month of year")
    return Cadence(_constant(values.tolist(), values), "steps")


def _microseconds(values: np.ndarray) -> list[int]:
    if values.dtype.kind == "M":
        return [int(n) for n in values.astype("datetime64[us]").astype("int64")]
    zero = values[0]
    return [round((value - zero) / datetime.timedelta(microseconds=1)) for value in values]


def _constant(numbers: list[int], labels: np.ndarray) -> int:
    """Return the one positive difference between neighbours, or say which is off."""
    steps = np.diff(numbers)
    sizes, counts = np.unique(steps, return_counts=True)
    usual = int(sizes[counts.argmax()])  # of equals the smallest: a lost map widens a gap
    odd = int(np.argmax(steps != usual)) if (steps != usual).any() else None
    if odd is None and usual > 0:
        return usual
    at = odd or 0
    raise IrregularTime(
        f"time is irregular: the step from {_label(labels[at])} to {_label(labels[at + 1])} breaks "
        f"the cadence of the other steps. Time must ascend in one constant calendar step: add the "
        "missing maps, or select regular ones with ds.sel(time=[...])."
    )


def _add_months(date: Any, months: int, month_end: bool) -> Any:
    if isinstance(date, np.datetime64):
        moved = pd.Timestamp(date) + pd.DateOffset(months=months)
        return (moved + pd.offsets.MonthEnd(0) if month_end else moved).to_datetime64()
    year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
    first = date.replace(year=year, month=month + 1, day=1)
    last_day = _days_in_month(first)
    return first.replace(day=last_day if month_end else min(date.day, last_day))


def _add_microseconds(date: Any, amount: int) -> Any:
    if isinstance(date, np.datetime64):
        return date + np.timedelta64(amount, "us")
    return date + datetime.timedelta(microseconds=amount)


def _label(value: Any) -> str:
    if not isinstance(value, np.datetime64):
        return str(value)
    return str(np.datetime_as_string(value, unit="s")).removesuffix("T00:00:00")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
