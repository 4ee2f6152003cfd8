"""Laws of dates: years, decimal years and ISO dates are read, all else is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmx.cube.bands import as_bands
from hmx.errors import BadArgument
from hmx.points.joining import join
from hmx.points.table import read_points
from tests.make.pointworlds import make_covariates
from tests.make.tables import make_table, read

TABLE = make_table(3)


def dated(values: Any, **options: Any) -> Any:
    return read(TABLE.assign(when=values), date="when", **options)


def test_decimal_years_are_days() -> None:
    for values in ([2015.5, 2016.0, 2016.25], ["2015.5", "2016.0", "2016,25"]):
        points = dated(values)
        days = points.date.astype("datetime64[D]").astype(str).tolist()
        assert days == ["2015-07-02", "2016-01-01", "2016-04-01"]
        assert "Column 'when' holds decimal years." in points.notes


def test_whole_years_stay_years_however_they_are_written() -> None:
    for values in ([2015, 2016, 2017], [2015.0, 2016, 2017], ["2015", "2016.0", " 2017 "]):
        points = dated(values)
        assert [str(day)[5:10] for day in points.date] == ["12-31"] * 3
        assert points.notes == ()


def test_a_decimal_year_finds_its_month_and_its_year() -> None:
    months = np.arange("2015-01", "2017-01", dtype="M8[M]").astype("M8[ns]")
    ds = make_covariates((9, 9), gaps=False, time="datetime", steps=24)
    table = pd.DataFrame({"when": [2015.5, 2016.99, 2015.01], "soc": [1.0, 2.0, 3.0]})
    grid = as_bands(ds).grid
    table = table.assign(x=grid.x[4], y=grid.y[4])
    points = read_points(table, target="soc", crs="EPSG:32632", date="when")
    samples, _ = join(points, as_bands(ds.assign_coords(time=months)), history=1, min_valid=0)
    assert samples.step.tolist() == [6, 23, 0]
    years = make_covariates((9, 9), gaps=False, time="datetime", steps=2)
    ends = np.array(["2015-01-01", "2016-01-01"], "M8[ns]")
    samples, _ = join(points, as_bands(years.assign_coords(time=ends)), history=1, min_valid=0)
    assert samples.step.tolist() == [0, 1, 0]


def test_a_month_stands_for_its_last_day_and_eight_digits_for_a_day() -> None:
    assert str(dated(["2015-02", "2016-02", "2015-12"]).date.tolist()[1])[:10] == "2016-02-29"
    assert str(dated([20150630, 20160701, 20170101]).date[0])[:10] == "2015-06-30"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("30/06/2015", r"day and month cannot be distinguished.*dayfirst=True"),
        ("30.06.15", r"day and month cannot be distinguished.*dayfirst=True"),
        ("06-30-2015", "day and month cannot be distinguished"),
        ("15", "a year has four digits, and 15 may be of any century"),
        (98, "a year has four digits"),
        (42185, "day number of a spreadsheet"),
        (201506, "a year and month are written 2015-06"),
        ("June 2015", "not a date"),
        ("2015-13", "not a date"),
        ("2015-02-30", "not a date"),
        (9999, r"missing=\['9999'\]"),
        (0, "not a date"),
    ],
)
def test_what_is_no_date_is_refused_with_its_likely_cause(value: Any, words: str) -> None:
    with pytest.raises(BadArgument, match=rf"'when' .* has '{value}' in row 1, .*{words}"):
        dated(pd.Series([2015, value, 2016], dtype=object))


def test_dates_of_rows_that_do_not_count_are_not_looked_at() -> None:
    points = dated(["2015", "unknown", "2016"], where=["id != P1"])
    assert points.row.tolist() == [0, 2]


def test_dates_of_years_to_come_are_named() -> None:
    points = dated([2015, 2105, 2016])
    assert points.notes == ("1 date lies in the future, such as 2105-12-31 (id P1).",)
