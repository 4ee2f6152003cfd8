"""Dating: the step of a time axis that a sampling date belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np

from hmx.bands import Bands


def steps_at(dates: np.ndarray, bands: Bands) -> np.ndarray:
    """Find the step whose period holds each date.

    A step of whole years holds the calendar year it is labelled with, and those up to
    the next step; one of months likewise; a shorter one the time from its label on.

    Parameters
    ----------
    dates : ndarray of datetime64, (n,)
        Without NaT.
    bands : Bands
        Has a calendar.

    Returns
    -------
    ndarray of int, (n,)
        -1 before the first step; the number of steps after the last.
    """
    axis, cadence = bands.data["time"].values, bands.cadence
    if cadence.unit == "steps":  # an axis of integers counts years
        numbers, asked, step = axis, _years(dates), cadence.step
    elif cadence.unit == "months" and cadence.step % 12 == 0:
        numbers, asked, step = _years(axis), _years(dates), cadence.step // 12
    elif cadence.unit == "months":
        numbers, asked, step = _months(axis), _months(dates), cadence.step
    else:
        end = cadence.extend(bands.data["time"], 1)
        numbers, asked = _microseconds(axis), _microseconds(dates)
        step = int(_microseconds(end)[0] - numbers[-1])
    found = np.searchsorted(numbers, asked, side="right") - 1
    return np.where(asked >= numbers[-1] + step, len(axis), found)


def _years(dates: np.ndarray) -> np.ndarray:
    return _months(dates) // 12


def _months(dates: np.ndarray) -> np.ndarray:
    """Count months from the year 0."""
    if dates.dtype.kind == "M":
        return dates.astype("datetime64[M]").astype("int64") + 1970 * 12
    return np.array([date.year * 12 + date.month - 1 for date in dates])


def _microseconds(dates: np.ndarray) -> np.ndarray:
    plain: Any = dates if dates.dtype.kind == "M" else [date.isoformat() for date in dates]
    return np.asarray(plain, "datetime64[us]").astype("int64")
