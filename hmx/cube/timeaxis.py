"""Time axes: axes that are not dates, unordered or irregular, and what to type about them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr

from hmx.cube.dates import time_label
from hmx.errors import IrregularTime


def months_of_year(time: xr.DataArray, name: str | None = None) -> bool:
    """Return True for an axis of months of every year, by its name or attributes."""
    values = time.values
    if values.dtype.kind not in "iu" or not ((values >= 1) & (values <= 12)).all():
        return False
    title = _name(time) if name is None else name
    words = [title, *(str(time.attrs.get(key, "")) for key in ("long_name", "units"))]
    if any(word.lower().startswith("month") and " since " not in word for word in words):
        return True
    if np.array_equal(values, np.arange(1, 13)):
        raise IrregularTime(
            f"{title} is 1 to 12, which can be the months of every year or twelve "
            f"steps, such as bands. For months: ds = ds.rename({title}='month'). For "
            f"steps, write their years or dates: ds = ds.assign_coords({title}=[2001, 2002, ...])."
        )
    return False


def require_times(time: xr.DataArray) -> None:
    """Raise :class:`IrregularTime` for an axis of neither dates nor whole numbers."""
    name, kind, zone = _name(time), time.dtype.kind, getattr(time.dtype, "tz", None)
    units = str(time.attrs.get("units", ""))
    if kind in "iuf" and re.match(r"\w+ since ", units):
        raise IrregularTime(
            f"{name} is in {units!r}, and was not decoded to dates: numbers alone are neither "
            f"years nor days. {undecoded(name, units)}"
        )
    if zone is not None or (
        kind == "O" and any(getattr(value, "tzinfo", None) is not None for value in time.values)
    ):
        raise IrregularTime(
            f"{name} has a time zone ({zone or 'UTC offset'}), and cubes have none. Drop it: ds = "
            f"ds.assign_coords({name}=ds.indexes[{name!r}].tz_convert('UTC').tz_localize(None))."
        )
    if kind == "M":
        if np.isnat(time.values).any():
            raise IrregularTime(
                f"time step {int(np.argmax(np.isnat(time.values)))} has no date (NaT). "
                f"Drop it: ds = ds.sel({name}=ds.{name}.notnull())."
            )
    elif kind not in "iu" and not (
        kind == "O" and all(hasattr(v, "hour") and hasattr(v, "daysinmonth") for v in time.values)
    ):
        raise IrregularTime(
            f"the time axis has type {time.dtype}, which is not a calendar. Use datetime64, "
            f"cftime or integer years, e.g. ds = ds.assign_coords({name}={_remedy(time, name)})."
        )


def undecoded(name: str, units: str) -> str:
    """Write what turns an axis of numbers since a date into dates."""
    unit, _, start = units.partition(" since ")
    if not unit.lower().startswith(("year", "month")):
        return "Decode it: ds = xr.decode_cf(ds)."
    freq = "DateOffset(years=" if unit.lower().startswith("year") else "DateOffset(months="
    return (
        f"A {unit.rstrip('s')} has no fixed length, so write the dates: ds = ds.assign_coords("
        f"{name}=[pd.Timestamp({start.split(' ')[0]!r}) + pd.{freq}int(n)) "
        f"for n in ds[{name!r}].values])."
    )


def _remedy(time: xr.DataArray, name: str) -> str:
    """Write the expression that turns an axis into dates or whole numbers."""
    values = time.values
    if time.dtype.kind == "f":
        if np.isfinite(values).all() and (values == np.round(values)).all():
            return f"ds.{name}.astype(int)"
        return f"pd.date_range('2000-01', periods={time.size}, freq='MS')"
    if time.dtype.kind in "USO" and all(isinstance(value, str) for value in values):
        if all(re.fullmatch(r"\d{4}", value) for value in values):
            return f"ds.{name}.astype(int)"
        return f"pd.to_datetime(ds.{name}.values, format='ISO8601')"
    if time.dtype.kind == "O":
        return f"pd.to_datetime(ds.{name}.values)"
    return f"pd.date_range('2000', periods={time.size}, freq='YS')"


def require_order(time: xr.DataArray) -> None:
    """Raise :class:`IrregularTime` if steps are unordered or repeated."""
    values, name = time.values, _name(time)
    later = values[1:] > values[:-1]
    if later.all():
        return
    again = next((value for i, value in enumerate(values[1:]) if value == values[i]), None)
    if again is not None and (later | (values[1:] == values[:-1])).all():
        raise IrregularTime(
            f"{time_label(again)} comes twice on the time axis, and each step has one map. "
            f"Keep the first: ds = ds.drop_duplicates({name!r})."
        )
    at = int(np.argmin(later))
    raise IrregularTime(
        f"the time steps are not in order: {time_label(values[at])} comes before "
        f"{time_label(values[at + 1])}, and time must ascend. Sort it: ds = ds.sortby({name!r})."
    )


def irregular(time: xr.DataArray, gaps: list[int], more: str = "") -> IrregularTime:
    """Build the error that names the first step with another gap."""
    sizes, counts = np.unique(gaps, return_counts=True)
    usual = int(sizes[counts.argmax()])  # of equals the smallest: a lost map widens a gap
    at = next(i for i, gap in enumerate(gaps) if gap != usual)
    before, after = (time_label(time.values[i]) for i in (at, at + 1))
    return IrregularTime(
        f"time is irregular: the step from {before} to {after} breaks "
        f"the cadence of the other steps. Time must ascend in one constant calendar step: add the "
        f"missing maps, or select regular ones with ds.sel({_name(time)}=[...]).{more}"
    )


def wandering(time: xr.DataArray, months: Sequence[int]) -> str:
    """Write what to type if each month (from year 0) or year has one map, on varying days."""
    name = _name(time)
    for unit, numbers in (("year", [month // 12 for month in months]), ("month", months)):
        steps = set(np.diff(numbers).tolist())
        if len(steps) > 1 or min(steps) < 1:
            continue
        start = "day=1, hour=0, minute=0, second=0, microsecond=0"
        start = f"month=1, {start}" if unit == "year" else start
        line = f"[t.replace({start}) for t in ds[{name!r}].values]"
        if time.dtype.kind == "M":
            line = f"ds.indexes[{name!r}].to_period({unit[0].upper()!r}).to_timestamp()"
        return (
            f" If each map stands for its whole {unit}, write the {unit}s: "
            f"ds = ds.assign_coords({name}={line})."
        )
    return ""


def _name(time: xr.DataArray) -> str:
    return "time" if time.name is None else str(time.name)
