"""Laws of units of samples: one table, one unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hmx.errors import BadArgument
from hmx.points.table import read_points
from hmx.points.units import factor_of, range_of

TABLE = pd.DataFrame(
    {
        "lon": [21.0, 21.5, 22.0, 22.5],
        "lat": [41.5, 41.6, 41.7, 41.8],
        "soc": [12.0, 1.5, 30.0, 2500.0],
        "unit": ["g/kg", "%", "g kg-1", "mg/kg"],
    }
)


def test_a_column_of_units_converts_each_row() -> None:
    for units, want in (("g/kg", [12, 15, 30, 2.5]), ("%", [1.2, 1.5, 3.0, 0.25])):
        points = read_points(TABLE, target="soc", crs="EPSG:4326", units=units, units_column="unit")
        np.testing.assert_allclose(points.value, want, rtol=1e-15)
        assert points.units == units


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"lists 4 units \(g/kg, %, g kg-1, mg/kg\).*Pass units_column='unit'"),
        ({"units_column": "unit"}, "the unit that the target shall have is missing"),
        ({"table_units": "%"}, "table_units='%' is the unit of the table, and the unit that"),
        (
            {"units_column": "unit", "table_units": "%", "units": "g/kg"},
            "table_units='%' is one for all. Leave out one of both",
        ),
        ({"units_column": "unit", "units": "t/ha"}, "'t/ha' is not a known share of mass"),
    ],
)
def test_units_that_would_be_mixed_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        read_points(TABLE, target="soc", crs="EPSG:4326", **options)


def test_a_row_without_a_unit_is_named() -> None:
    table = TABLE.assign(unit=["g/kg", None, "%", "%"])
    with pytest.raises(BadArgument, match=r"no unit in 1 rows with a value \(row 1\)"):
        read_points(table, target="soc", crs="EPSG:4326", units="%", units_column="unit")
    one = TABLE.assign(unit="g/kg")  # one unit for all rows mixes nothing
    assert len(read_points(one, target="soc", crs="EPSG:4326")) == 4


def test_a_table_in_one_unit_is_converted_and_never_relabelled() -> None:
    one = TABLE.assign(unit="%", soc=[1.2, 1.5, 3.0, 0.25])
    for way in ({"table_units": "%"}, {"units_column": "unit"}):
        points = read_points(
            one, target="soc", crs="EPSG:4326", units="g/kg", valid_range=(5, 100), **way
        )
        np.testing.assert_allclose(points.value, [12, 15, 30])  # the range is in units, too
    with pytest.raises(
        BadArgument, match=r"'unit' of .* lists %, and units='g/kg'\. Pass units_col"
    ):
        read_points(one, target="soc", crs="EPSG:4326", units="g/kg")
    assert len(read_points(one, target="soc", crs="EPSG:4326", units="g/100g")) == 4


def test_a_share_of_mass_has_the_range_of_its_unit_where_the_samples_have_it() -> None:
    values = np.array([0.0, 3.0, np.nan])
    assert range_of("%", values) == (0, 100)
    assert range_of("g/kg", values) == pytest.approx((0, 1000))
    assert range_of("mg/kg", values) == pytest.approx((0, 1e6))
    assert range_of("t/ha", values) is None
    assert range_of("%", np.array([-1.0, 2.0])) is None  # a change
    assert range_of("%", np.array([1.0, 101.0])) is None  # another unit, in truth


def test_units_convert_there_and_back() -> None:
    for unit in ("%", "mg/kg", "g/100 g", "kg/kg", "‰"):
        assert factor_of("g/kg", unit) * factor_of(unit, "g/kg") == pytest.approx(1)
    assert 12 * factor_of("g/kg", "%") == pytest.approx(1.2)
