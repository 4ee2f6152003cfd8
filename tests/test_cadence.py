"""Laws of the calendar step."""

import datetime

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hmx.cadence import Cadence
from hmx.errors import IrregularTime, NotEnoughData
from tests.factories import times


def axis(values, unit="ns"):
    if isinstance(values[0], str):
        values = np.array(values, f"datetime64[{unit}]")
    return xr.DataArray(np.asarray(values), dims="time")


def ahead(values, h=1):
    time = axis(values)
    return Cadence.infer(time).extend(time, h)


def dates(*texts):
    return np.array(texts, "datetime64[ns]")


def days(calendar, *triples):
    return np.array([cftime.datetime(*triple, calendar=calendar) for triple in triples])


@pytest.mark.parametrize(
    ("known", "expected", "text"),
    [
        (["2010-01-01", "2015-01-01", "2020-01-01"], ["2025-01-01", "2030-01-01"], "5 years"),
        (["2019-07-15", "2020-07-15"], ["2021-07-15", "2022-07-15"], "1 year"),
        (["2020-01-01", "2020-02-01", "2020-03-01"], ["2020-04-01", "2020-05-01"], "1 month"),
        (["2020-01-15", "2020-04-15"], ["2020-07-15", "2020-10-15"], "3 months"),
        (["2019-01-01", "2020-07-01"], ["2022-01-01", "2023-07-01"], "18 months"),
        (["2019-12-31", "2020-01-31", "2020-02-29"], ["2020-03-31", "2020-04-30"], "1 month"),
        (["2018-12-31", "2019-12-31"], ["2020-12-31", "2021-12-31"], "1 year"),
        (["1996-02-29", "2000-02-29"], ["2004-02-29", "2008-02-29"], "4 years"),
        (["2020-02-27", "2020-02-28"], ["2020-02-29", "2020-03-01"], "1 day"),
        (["2020-01-01", "2020-01-09"], ["2020-01-17", "2020-01-25"], "8 days"),
        (["2020-02-28T22", "2020-02-28T23"], ["2020-02-29T00", "2020-02-29T01"], "1:00:00"),
        (["2020-01-01", "2020-01-02T12"], ["2020-01-04", "2020-01-05T12"], "1 day, 12:00:00"),
    ],
    ids=str,
)
def test_time_continues_in_calendar_steps(known, expected, text):
    time = axis(known)
    cadence = Cadence.infer(time)
    assert cadence.extend(time, 2).tolist() == dates(*expected).tolist()
    assert str(cadence) == text


def test_months_that_end_on_the_28th_end_where_february_does():
    leap = ahead(["2019-02-28", "2019-03-31"], 11)
    assert [str(day)[:10] for day in leap[[0, -1]]] == ["2019-04-30", "2020-02-29"]


@pytest.mark.parametrize(
    ("calendar", "known", "expected"),
    [
        ("noleap", [(2010, 1, 1), (2015, 1, 1)], [(2020, 1, 1), (2025, 1, 1)]),
        ("noleap", [(2020, 2, 27), (2020, 2, 28)], [(2020, 3, 1), (2020, 3, 2)]),
        ("noleap", [(2020, 1, 31), (2020, 2, 28)], [(2020, 3, 31), (2020, 4, 30)]),
        ("360_day", [(2020, 1, 30), (2020, 2, 30)], [(2020, 3, 30), (2020, 4, 30)]),
        ("360_day", [(2020, 2, 29), (2020, 2, 30)], [(2020, 3, 1), (2020, 3, 2)]),
        ("standard", [(1582, 1, 1), (1583, 1, 1)], [(1584, 1, 1), (1585, 1, 1)]),
    ],
    ids=str,
)
def test_cftime_continues_in_its_own_calendar(calendar, known, expected):
    found = ahead(days(calendar, *known), 2)
    assert found.dtype == object
    assert found.tolist() == days(calendar, *expected).tolist()
    assert {date.calendar for date in found} == {calendar}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_come_back_in_their_unit(unit):
    for known in (["2010-01-01", "2015-01-01"], ["2010-01-30", "2010-01-31"]):
        time = axis(known, unit)
        assert Cadence.infer(time).extend(time, 2).dtype == f"datetime64[{unit}]"


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint16"])
def test_integer_years_come_back_as_integers(dtype):
    found = ahead(np.array([2010, 2015, 2020], dtype), 2)
    assert found.tolist() == [2025, 2030]
    assert found.dtype == dtype
    assert str(Cadence.infer(axis([2010, 2015]))) == "5 steps"
    assert str(Cadence.infer(axis([2010, 2011]))) == "1 step"


@pytest.mark.parametrize("dtype", ["int8", "int64"])
def test_the_months_of_a_climatology_go_round(dtype):
    found = ahead(np.arange(1, 13, dtype=dtype), 14)
    assert found.tolist() == [*range(1, 13), 1, 2]
    assert found.dtype == dtype
    assert str(Cadence.infer(axis(np.arange(1, 13)))) == "1 month of the year"


def test_a_few_integers_are_steps_not_months():
    assert ahead([1, 2, 3], 2).tolist() == [4, 5]
    assert ahead(np.arange(2, 14), 2).tolist() == [14, 15]


@given(
    st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 12, 28)).filter(lambda d: d.day <= 28),
    st.integers(1, 120),
    st.integers(2, 5),
    st.integers(1, 5),
)
def test_what_is_cut_from_a_monthly_axis_comes_back(first, months, known, h):
    whole = [pd.Timestamp(first) + pd.DateOffset(months=months * n) for n in range(known + h)]
    whole = np.array(whole, "datetime64[us]")
    if first.day == 28:  # could be the end of February, which is another law
        return
    assert ahead(whole[:known], h).tolist() == whole[known:].tolist()


@given(
    st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
    st.integers(1, 27 * 86_400_000_000 - 1),
    st.integers(3, 5),
    st.integers(1, 5),
)
def test_what_is_cut_from_an_axis_of_constant_duration_comes_back(first, step, known, h):
    whole = [first + datetime.timedelta(microseconds=step * n) for n in range(known + h)]
    whole = np.array(whole, "datetime64[us]")
    assert ahead(whole[:known], h).tolist() == whole[known:].tolist()


@given(st.integers(-5000, 5000), st.integers(1, 100), st.integers(2, 6), st.integers(1, 6))
def test_what_is_cut_from_an_integer_axis_comes_back(first, step, known, h):
    whole = first + step * np.arange(known + h)
    assert ahead(whole[:known], h).tolist() == whole[known:].tolist()


@pytest.mark.parametrize("kind", ["datetime", "cftime", "year", "month"])
def test_every_kind_of_axis_continues_in_its_kind(kind):
    known, whole = times(kind, steps=4), times(kind, steps=7)
    found = ahead(known, 3)
    assert found.tolist() == whole[4:].tolist()
    assert found.dtype == known.dtype


@pytest.mark.parametrize(
    ("values", "gap"),
    [
        (["1990-01-01", "1995-01-01", "2005-01-01", "2010-01-01"], "1995-01-01 to 2005-01-01"),
        (["2020-01-01", "2020-02-01", "2020-03-02"], "2020-0[12]-01 to 2020-0[23]-0[12]"),
        (
            ["2020-01-01T00", "2020-01-01T01", "2020-01-01T02", "2020-01-01T05"],
            "2020-01-01T02:00:00 to 2020-01-01T05:00:00",
        ),
        ([1990, 1995, 2000, 2010], "2000 to 2010"),
        (
            days("noleap", (1990, 1, 1), (1991, 1, 1), (1993, 1, 1), (1994, 1, 1)),
            "1991-01-01 00:00:00 to 1993-01-01 00:00:00",
        ),
        (["2000-01-01", "1995-01-01", "1990-01-01"], "2000-01-01 to 1995-01-01"),
        ([2000, 1995], "2000 to 1995"),
        (["2000-01-01", "2000-01-01"], "2000-01-01 to 2000-01-01"),
    ],
    ids=str,
)
def test_irregular_time_names_the_gap(values, gap):
    text = rf"time is irregular: the step from {gap} breaks the cadence .* ds\.sel\(time="
    with pytest.raises(IrregularTime, match=text):
        Cadence.infer(axis(values))


def test_one_step_has_no_cadence():
    with pytest.raises(NotEnoughData, match=r"the time axis has 1 step, .* at least two"):
        Cadence.infer(axis(["2020-01-01"]))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1990.0, 1995.0]),
        np.array([False, True]),
        np.array(["1990", "1995"]),
        np.array(["1990", "1995"], object),
        np.array([datetime.date(1990, 1, 1), datetime.date(1995, 1, 1)]),
        np.array([1, 2], "timedelta64[D]"),
    ],
    ids=lambda v: str(v.dtype),
)
def test_what_is_no_calendar_is_told_what_is(values):
    time = xr.DataArray(values, dims="time")
    text = rf"the time axis has type {time.dtype}, which is no calendar\. Use datetime64, cftime"
    with pytest.raises(IrregularTime, match=text.replace("[", r"\[").replace("]", r"\]")):
        Cadence.infer(time)


def test_a_missing_date_is_named():
    with pytest.raises(IrregularTime, match=r"time step 1 has no date \(NaT\)\. Drop it"):
        Cadence.infer(axis(["1990-01-01", "NaT", "2000-01-01"]))
