"""Laws of values: numbers are compared and read as numbers, and what is not a number is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hmx.errors import BadArgument, MissingVariable, NotEnoughData
from hmx.points.table import read_points
from tests.make.tables import WGS84, make_table, read

TABLE = make_table()


def test_numbers_that_stand_as_text_are_compared_as_numbers() -> None:
    table = TABLE.assign(depth=["9", "150", "20", "100", "5", None])
    assert read(table, where=["depth < 100"]).row.tolist() == [0, 2, 4]
    assert read(table, where=["depth == 9.0"]).row.tolist() == [0]
    assert read(table, where=["depth < '2'"]).row.tolist() == [1, 3]  # quotes ask for text
    comma = TABLE.assign(depth=["9,5", "150,1", "20,0", "100,5", "5,5", "7,0"])
    assert read(comma, decimal=",", where=["depth < 9.6"]).row.tolist() == [0, 4, 5]


def test_a_number_is_not_compared_with_text() -> None:
    table = TABLE.assign(depth=["9", "150", "n.d.", "100", "trace", "7"])
    text = r"where='depth < 100' .*holds text in 2 of 6 rows, such as 'n\.d\.' \(id P2, P4\)"
    with pytest.raises(BadArgument, match=text + r".*missing=\['n\.d\.'\]"):
        read(table, where=["depth < 100"])
    kept = read(table, where=["depth < 100"], missing=["n.d.", "trace"])
    assert kept.row.tolist() == [0, 5]
    mixed = TABLE.assign(horizon=["1", "2", "A", "01", "1.0", "B"])
    assert read(mixed, where=["horizon == 1"]).row.tolist() == [0, 3, 4]
    assert read(mixed, where=["horizon != 1"]).row.tolist() == [1, 2, 5]


def test_dates_are_compared_as_dates() -> None:
    days = pd.to_datetime(["2015-06-30", "2016-01-01", "2017-03-04"] * 2)
    table = TABLE.assign(day=days)
    assert read(table, where=["day >= 2016-01-01"]).row.tolist() == [1, 2, 4, 5]
    with pytest.raises(BadArgument, match=r"compares dates with soon: column 'day' holds dates"):
        read(table, where=["day > soon"])


def test_text_that_is_missing_passes_no_comparison_of_size() -> None:
    table = TABLE.assign(horizon=["A", None, "B", "C", np.nan, "A"])
    assert read(table, where=["horizon >= A"]).row.tolist() == [0, 2, 3, 5]
    assert read(table, where=["horizon == nan"], target="year").row.tolist() == []


def test_filters_come_before_values_are_read() -> None:
    table = TABLE.assign(soc=["1.5", "see note", "3.5", "", "<2", "4"], lab=list("AABAAB"))
    points = read(table, where=["lab == B"])
    assert points.value.tolist() == [3.5, 4.0]
    with pytest.raises(BadArgument, match="not numeric: 2 of 4 rows"):
        read(table, where=["lab == A"])


@pytest.mark.parametrize(
    "text", ["<0.5", "n.d.", "1 234", "-", "BDL", "12.5%", "Nov 12", "\u22120.5"]
)
def test_text_in_the_target_is_refused_with_its_rows_and_what_to_type(text: str) -> None:
    table = TABLE.astype({"soc": object})
    table.loc[[1, 4], "soc"] = text
    with pytest.raises(BadArgument) as refused:
        read(table)
    assert f"2 of 6 rows hold text, such as {text!r} in row 1 (id P1, P4)" in str(refused.value)
    thousands = text == "1 234"
    assert ("write 1234" if thousands else f"missing=[{text!r}]") in str(refused.value)
    points = read(table, missing=[text])
    assert points.left["no value"].tolist() == [1, 4]


def test_dates_in_the_target_are_no_numbers() -> None:
    with pytest.raises(BadArgument, match=r"'soc' .*not numeric: 6 of 6 rows hold text"):
        read(TABLE.assign(soc=pd.to_datetime(["2015-06-30"] * 6)))


@pytest.mark.parametrize("code", [-999, "-999", -999.0, [-999, "n.d."]])
def test_codes_mean_missing_in_target_coordinates_and_dates(code: object) -> None:
    table = TABLE.astype(object)
    table.loc[0, "soc"] = table.loc[1, "lon"] = table.loc[2, "year"] = -999
    points = read(table, missing=code, date="year")
    assert points.left["no value"].tolist() == [0]
    assert points.left["no place"].tolist() == [1]
    assert np.flatnonzero(np.isnat(points.date)).tolist() == [0]
    assert points.row[0] == 2


def test_rows_are_named_by_the_first_unique_column_of_ids() -> None:
    assert read(TABLE).names.column == "id"
    assert read(TABLE.rename(columns={"id": "PROFILE_ID"})).names.column == "PROFILE_ID"
    repeated = TABLE.assign(id=["a", "a", "b", "c", "d", "e"], sample_id=np.arange(6.0) + 100)
    names = read(repeated).names
    assert names.column == "sample_id"
    assert names.of(np.array([1, 3])) == [101, 103]
    chosen = read(repeated, id="id").names
    assert chosen.of(np.array([1, 2])) == ["a", "b"]
    assert read(TABLE.drop(columns="id")).names.column is None
    with pytest.raises(MissingVariable, match=r"'ID' is not in the table .*mean 'id'"):
        read(TABLE, id="ID")


def test_another_case_of_a_name_is_suggested() -> None:
    with pytest.raises(MissingVariable, match=r"'SOC' is not in the table .*Did you mean 'soc'"):
        read(TABLE, target="SOC")


def test_two_columns_of_one_name_are_not_chosen_from() -> None:
    double = pd.concat([TABLE, TABLE[["soc"]] + 1], axis=1)
    with pytest.raises(BadArgument, match=r"2 columns called 'soc', and one is meant"):
        read(double)


@pytest.mark.parametrize("name", ["quality", "Applicable", "time", "x", "dissimilarity"])
def test_a_target_is_not_named_like_what_a_map_holds(name: str) -> None:
    table = TABLE.rename(columns={"soc": name})
    with pytest.raises(BadArgument, match=rf"target='{name}': a map holds .*Rename the column"):
        read(table, target=name)


def test_a_target_without_any_value_is_refused() -> None:
    with pytest.raises(NotEnoughData, match=r"'soc' .* holds no value in the 6 rows that count"):
        read(TABLE.assign(soc=np.nan))
    with pytest.raises(NotEnoughData, match="no value in the 2 rows"):
        read(TABLE.assign(soc=[1, 2, 3, 4, -9, -9]), where=["id >= P4"], missing=[-9])


def test_an_unknown_option_of_points_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"unknown option 'seperator' .*mean 'separator'"):
        read_points(TABLE, target="soc", crs=WGS84, seperator=";")


@pytest.mark.parametrize("text", ["41\u00b030.5'N", "41.5N", "N 41.5", "41 30 15.2 S"])
def test_angles_are_to_be_decimal_degrees(text: str) -> None:
    with pytest.raises(BadArgument, match=r"coordinate column 'lat' .*Write decimal degrees"):
        read(TABLE.assign(lat=text))


def test_a_longer_name_with_the_word_in_it_is_suggested() -> None:
    table = TABLE.rename(columns={"soc": "SOC (g/kg)"})
    with pytest.raises(MissingVariable, match=r"Did you mean 'SOC \(g/kg\)'"):
        read(table)
    points = read(table, target="SOC (g/kg)", where=["SOC (g/kg) <= 3"])
    assert points.value.tolist() == [1.5, 2.5]
