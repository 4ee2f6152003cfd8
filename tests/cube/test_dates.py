"""Laws of dates: texts are read in ISO alone, and labels say the whole step."""

import cftime
import numpy as np
import pandas as pd
import pytest

from hmx.cube.dates import first_date, matched, read_date, time_label


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2000", "2000-01-01"),
        ("2000-02", "2000-02-01"),
        ("2000-02-01", "2000-02-01"),
        ("20000201", "2000-02-01"),
        ("2000-02-01T06:30", "2000-02-01T06:30"),
        ("2000-02-01 06:30:15", "2000-02-01T06:30:15"),
        ("20000201T0630", "2000-02-01T06:30"),
        ("2000-02-01T06Z", "2000-02-01T06"),
        ("2000-02-01T01:00+02:00", "2000-01-31T23:00"),
        ("2000-060", "2000-02-29"),
        ("2000060", "2000-02-29"),
    ],
)
def test_iso_texts_are_dates(text, date):
    assert read_date(text) == pd.Timestamp(date)


@pytest.mark.parametrize(
    "text",
    [
        "01-02-2000", "13-02-2000", "1/2/2000", "2000/02/01", "2000-2-1", "Feb 2000", "200002",
        "2000-13-01", "2001-366", "20000230", "now", "", "2000-W05",
    ],
)  # fmt: skip
def test_other_texts_are_none(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read_date(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.datetime64("1990-01-01", "ns"), "1990-01-01"),
        (np.datetime64("1990-01-01T06", "ns"), "1990-01-01T06"),
        (np.datetime64("1990-01-01T06:30", "s"), "1990-01-01T06:30"),
        (np.datetime64("1990-01-01T00:00:15", "us"), "1990-01-01T00:00:15"),
        (cftime.DatetimeNoLeap(1990, 1, 31), "1990-01-31"),
        (cftime.Datetime360Day(1990, 2, 30, 12), "1990-02-30T12"),
        (np.int64(1990), "1990"),
        (0.5, "0.5"),
    ],
    ids=str,
)
def test_a_label_is_as_short_as_it_is_clear(value, text):
    assert time_label(value) == text


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("HM_1990", "1990"),
        ("1990_gHM", "1990"),
        ("b1 2000-02-01", "2000-02-01"),
        ("20000201_NDVI", "2000-02-01"),
        ("2000_02_01_b1", "2000-02-01"),
        ("2000-02", "2000-02"),
        ("HM 3000 m", None),
        ("band 12", None),
        ("", None),
    ],
)
def test_the_first_date_within_a_text_is_found(text, date):
    assert first_date(text) == date


def test_years_meet_the_dates_of_an_axis_with_one_a_year():
    dates = ["2000-01-01T00:00:00", "2005-01-01T00:00:00"]
    assert matched(dates, ["2000", "2005", "2010"]) == dict(
        zip(dates, ["2000", "2005"], strict=True)
    )
    assert matched(["2000"], dates) == {"2000": dates[0]}
    assert matched(dates, dates[:1]) == {dates[0]: dates[0]}
    assert matched(["2000-01-01T00:00:00", "2000-02-01T00:00:00"], ["2000"]) == {}
    assert matched(["1", "2"], dates) == {}
