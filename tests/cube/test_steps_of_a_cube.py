"""Laws of the temporal hold-out."""

from __future__ import annotations

import datetime

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hmx.cube.steps import LearnUntil, until_index
from hmx.errors import BadArgument, NotEnoughData
from hmx.windows import Span
from tests.make.cubes import times

AXES = ["datetime", "cftime", "year"]
MONTHS = np.arange("2004-01", "2006-01", dtype="datetime64[M]").astype("datetime64[ns]")


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(
    "until",
    [
        2000,
        np.int64(2000),
        "2000",
        "2000-01-01",
        " 2000 ",
        datetime.date(2000, 1, 1),
        datetime.datetime(2000, 1, 1),
        pd.Timestamp("2000-01-01"),
        np.datetime64("2000"),
        np.datetime64("2000-01-01T00:00:00", "ns"),
        cftime.DatetimeNoLeap(2000, 1, 1),
    ],
    ids=lambda value: f"{type(value).__name__}-{value}",
)
def test_any_kind_of_label_finds_its_step_on_any_kind_of_axis(axis, until):
    time = xr.DataArray(times(axis), dims="time")  # 1990, 1995, ... 2010
    assert until_index(time, until) == until_index(time.values, until) == 2
    assert LearnUntil(until).seen(time) == Span(0, 3)
    assert LearnUntil(until).held_out(time) == Span(3, 5)


@pytest.mark.parametrize(
    ("until", "last"),
    [("2004", 11), (2004, 11), ("2004-06", 5), ("2004-06-01", 5), ("2004-06-01T00", 5)],
)
def test_a_year_means_its_last_step_and_a_month_its_own(until, last):
    assert until_index(MONTHS, until) == last


def test_months_of_a_climatology_are_labels_of_their_own():
    assert until_index(np.arange(1, 13), 3) == 2
    assert until_index(np.arange(1, 13), "11") == 10


def test_nothing_is_held_out_unless_asked_for():
    time = xr.DataArray(times(), dims="time")
    assert LearnUntil().seen(time) == Span(0, 5)
    assert len(LearnUntil().held_out(time)) == 0


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("until", [2003, "2003-01-01", datetime.date(2003, 1, 1)])
def test_a_label_that_is_not_on_the_axis_is_refused_with_the_last_before_it(axis, until):
    with pytest.raises(BadArgument, match=r"is not on the time axis \(1990.*until='2000.* before"):
        until_index(times(axis), until)


def test_a_date_between_steps_of_dates_is_not_taken_for_its_year():
    with pytest.raises(BadArgument, match=r"until='2000-07-01' is not on the time axis"):
        until_index(times(), "2000-07-01")


def test_a_label_before_the_axis_is_refused_with_one_that_is_on_it():
    with pytest.raises(BadArgument, match=r"until=1900 is not .* but before it\. .*until='2010"):
        until_index(times(), 1900)


def test_a_long_axis_is_not_listed_whole():
    with pytest.raises(BadArgument, match=r"\(2004-01-01, 2004-02-01, 2004-03-01, \.\.\., 2005-12"):
        until_index(MONTHS, 2010)


@pytest.mark.parametrize("axis", AXES)
def test_a_holdout_leaves_a_history_and_a_target(axis):
    assert until_index(times(axis), 2000, history=2) == 2
    with pytest.raises(NotEnoughData, match=r"leaves 3 of 5 steps .* history=3 needs 4.*'2005"):
        until_index(times(axis), 2000, history=3)
    with pytest.raises(NotEnoughData, match=r"Add maps, or a shorter history"):
        until_index(times(axis), 2000, history=7)


@pytest.mark.parametrize("until", ["2000-1", "yesterday", "01/02/2000", "", "20001"])
def test_a_text_that_is_no_time_is_refused(until):
    with pytest.raises(BadArgument, match=r"is not a time: write a year or an ISO date"):
        until_index(times(), until)


@pytest.mark.parametrize("axis", AXES)
def test_what_is_no_label_is_refused(axis):
    for until in (True, None):
        with pytest.raises(BadArgument, match=r"is not a time\. Pass a year or a date"):
            until_index(times(axis), until)
    with pytest.raises(BadArgument, match=r"is a float, and a time is a year"):
        until_index(times(axis), 2000.0)
    zoned = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    with pytest.raises(BadArgument, match=r"has a time zone, and cubes have none"):
        until_index(times(axis), zoned)
