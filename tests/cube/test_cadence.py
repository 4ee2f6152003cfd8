"""Laws of the calendar step."""

import datetime
import re

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hmx.cube.cadence import Cadence
from hmx.errors import IrregularTime, NotEnoughData
from tests.make.cubes import times


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


@pytest.mark.parametrize(
    ("step", "unit", "years"),
    [
        (60, "months", 5.0),
        (3, "month of year", 0.25),
        (8, "days of year", 8 / 365.25),
        (10, "days of month", 10 / 365.25),
        (86_400_000_000, "microseconds", 1 / 365.25),
        (5, "steps", None),  # years, or anything else
    ],
)
def test_a_step_has_a_length_in_years(step, unit, years):
    assert Cadence(step, unit).years == (years if years is None else pytest.approx(years))


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
@pytest.mark.parametrize("said", ["name", "long_name", "units"])
def test_the_months_of_a_climatology_go_round(dtype, said):
    time = axis(np.arange(1, 13, dtype=dtype))
    if said == "name":
        time = time.rename("month")
    else:
        time.attrs[said] = "month of year"
    found = Cadence.infer(time).extend(time, 14)
    assert found.tolist() == [*range(1, 13), 1, 2]
    assert found.dtype == dtype
    assert str(Cadence.infer(time)) == "1 month of the year"


def test_quarters_of_a_climatology_go_round():
    time = axis([1, 4, 7, 10]).rename("month")
    assert Cadence.infer(time).extend(time, 2).tolist() == [1, 4]
    assert str(Cadence.infer(time)) == "3 months of the year"


def test_one_to_twelve_are_months_only_if_the_axis_says_so():
    text = r"time is 1 to 12, which can be the months .* months: ds = ds\.rename\(time='month'\)"
    with pytest.raises(IrregularTime, match=text):
        Cadence.infer(axis(np.arange(1, 13)))


def test_a_few_integers_are_steps_not_months():
    assert ahead([1, 2, 3], 2).tolist() == [4, 5]
    assert ahead(np.arange(2, 14), 2).tolist() == [14, 15]


MIDDLES = {
    "months, to the hour": (
        ["2000-01-16T12", "2000-02-15T12", "2000-03-16T12", "2000-04-16T00"],
        ["2000-05-16T12", "2000-06-16T00"],
        "1 month",
    ),
    "months, to the day": (
        ["2001-01-16", "2001-02-15", "2001-03-16", "2001-04-16"],
        ["2001-05-16", "2001-06-16"],
        "1 month",
    ),
    "years, to the hour": (
        ["1999-07-02T12", "2000-07-02", "2001-07-02T12"],
        ["2002-07-02T12", "2003-07-02T12"],
        "1 year",
    ),
    "seasons": (
        ["2001-01-16T12", "2001-04-16", "2001-07-16T12"],
        ["2001-10-16T12", "2002-01-16T12"],
        "3 months",
    ),
    "quarters": (
        ["2001-02-15", "2001-05-16T12", "2001-08-16", "2001-11-16"],
        ["2002-02-15", "2002-05-16T12"],
        "3 months",
    ),
    "month ends, at noon": (
        ["2001-01-31T12", "2001-02-28T12"],
        ["2001-03-31T12", "2001-04-30T12"],
        "1 month",
    ),
}


@pytest.mark.parametrize(("known", "expected", "text"), MIDDLES.values(), ids=MIDDLES)
def test_means_stamped_in_the_middle_of_their_period_go_on_there(known, expected, text):
    assert ahead(known, 2).tolist() == dates(*expected).tolist()
    assert str(Cadence.infer(axis(known))) == text


def test_a_part_of_a_mid_month_axis_goes_on_as_the_whole_does():
    time = axis(MIDDLES["months, to the hour"][0])
    found = Cadence.infer(time).extend(time.isel(time=[0]), 1)
    assert found.tolist() == dates("2000-02-15T12").tolist()


def test_middles_of_model_years_go_on_in_their_calendar():
    known = days("noleap", (2000, 1, 16, 12), (2000, 2, 15, 0), (2000, 3, 16, 12))
    assert ahead(known, 1).tolist() == days("noleap", (2000, 4, 16, 0)).tolist()


RESTARTS = {
    "8 days": (["2000-12-18", "2000-12-26", "2001-01-01"], ["2001-01-09", "2001-01-17"], "8 days"),
    "8 days of one year": (["2000-12-18", "2000-12-26"], ["2001-01-01", "2001-01-09"], "8 days"),
    "16 days": (["2001-12-03", "2001-12-19", "2002-01-01"], ["2002-01-17"], "16 days"),
    "16 days from the 9th": (["2001-12-11", "2001-12-27", "2002-01-09"], ["2002-01-25"], "16 days"),
    "dekads": (
        ["2001-01-11", "2001-01-21", "2001-02-01", "2001-02-11", "2001-02-21", "2001-03-01"],
        ["2001-03-11", "2001-03-21", "2001-04-01"],
        "10 days of each month",
    ),
    "half months": (
        ["2001-01-01", "2001-01-16", "2001-02-01"],
        ["2001-02-16", "2001-03-01"],
        "15 days of each month",
    ),
}


@pytest.mark.parametrize(("known", "expected", "text"), RESTARTS.values(), ids=RESTARTS)
def test_composites_that_start_again_do_so_in_the_future(known, expected, text):
    assert ahead(known, len(expected)).tolist() == dates(*expected).tolist()
    assert str(Cadence.infer(axis(known))) == text


@pytest.mark.parametrize("step", [8, 16])
@pytest.mark.parametrize("known", [3, 23, 60])
def test_what_is_cut_from_composites_of_a_satellite_comes_back(step, known):
    years = [np.datetime64(f"{year}-01-01", "ns") for year in range(2000, 2009)]
    day = np.timedelta64(1, "D")
    whole = np.array([first + n * day for first in years for n in range(0, 365, step)])
    assert ahead(whole[:known], 50).tolist() == whole[known : known + 50].tolist()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([2000, 1995], r"not in order: 2000 comes before 1995, .* ds\.sortby\('when'\)"),
        (["2000-01-01", "1995-01-01", "1990-01-01"], r"2000-01-01 comes before 1995-01-01"),
        (["2000-01-01", "2000-01-01"], r"2000-01-01 comes twice .* ds\.drop_duplicates\('when'\)"),
        ([1990, 1995, 1995, 2000], r"1995 comes twice"),
        (days("noleap", (1995, 1, 1), (1990, 1, 1)), r"ds\.sortby\('when'\)"),
    ],
    ids=str,
)
def test_steps_out_of_order_or_repeated_are_named_and_not_a_gap(values, text):
    with pytest.raises(IrregularTime, match=text) as error:
        Cadence.infer(axis(values).rename("when"))
    assert "missing maps" not in str(error.value)


WANDERING = {
    "months": (["2000-01-03", "2000-02-05", "2000-03-02", "2000-04-04"], "1 month"),
    "years": (["2000-06-28", "2001-07-03", "2002-07-01"], "1 year"),
}


@pytest.mark.parametrize(("values", "text"), WANDERING.values(), ids=WANDERING)
def test_one_map_a_month_or_year_on_changing_days_is_told_the_line_to_type(values, text):
    ds = xr.Dataset(coords={"time": axis(values)})
    with pytest.raises(IrregularTime, match=r"ds\.assign_coords") as error:
        Cadence.infer(ds["time"])
    line = re.search(r"ds = (ds\.assign_coords.*)\.$", str(error.value))[1]
    assert str(Cadence.infer(eval(line, {"ds": ds})["time"])) == text


FOREIGN = {
    "a time zone": (
        pd.DatetimeIndex(["1990-01-01", "1995-01-01"], tz="Africa/Maputo"),
        "tz_localize",
    ),
    "years since": ([0, 5, 10], r"'years since 2000-01-01', and was not decoded"),
    "months since": ([0, 1, 2], r"A month has no fixed length"),
    "decimal years": (np.array([1990.5, 1991.5]), r"date_range\('2000-01', periods=2"),
    "years as floats": (np.array([1990.0, 1995.0]), r"ds\.time\.astype\(int\)"),
    "texts": (np.array(["1990-01-01", "1995-01-01"]), r"pd\.to_datetime"),
    "dates": (np.array([datetime.date(1990, 1, 1), datetime.date(1995, 1, 1)]), r"pd\.to_datetime"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_typed_makes_a_calendar_of_it(kind):
    values, text = FOREIGN[kind]
    ds = xr.Dataset(coords={"time": ("time", values)})
    if kind.endswith("since"):
        ds["time"].attrs["units"] = f"{kind} 2000-01-01"
    with pytest.raises(IrregularTime, match=text) as error:
        Cadence.infer(ds["time"])
    line = re.search(r"ds = (ds\.assign_coords.*)\.$", str(error.value))[1]
    mended = eval(line, {"ds": ds, "pd": pd})["time"]
    assert str(Cadence.infer(mended)) in ("5 years", "1 month", "5 steps")
    if kind == "a time zone":
        assert mended.values[0] == np.datetime64("1989-12-31T22:00")


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
            "2020-01-01T02 to 2020-01-01T05",
        ),
        ([1990, 1995, 2000, 2010], "2000 to 2010"),
        (
            days("noleap", (1990, 1, 1), (1991, 1, 1), (1993, 1, 1), (1994, 1, 1)),
            "1991-01-01 to 1993-01-01",
        ),
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
    text = rf"the time axis has type {time.dtype}, which is not a calendar\. Use datetime64, cftime"
    with pytest.raises(IrregularTime, match=text.replace("[", r"\[").replace("]", r"\]")):
        Cadence.infer(time)


def test_a_missing_date_is_named():
    with pytest.raises(IrregularTime, match=r"time step 1 has no date \(NaT\)\. Drop it"):
        Cadence.infer(axis(["1990-01-01", "NaT", "2000-01-01"]))
