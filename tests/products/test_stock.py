"""Laws of stocks of carbon: the formula, its units, and numbers that cannot be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument


def test_a_layer_of_one_metre_is_the_sum_of_its_parts() -> None:
    # 20 g/kg in 30 cm at 1.3 g/cm3 are 78 t/ha (worked out by hand: 3,900 t of soil a hectare)
    assert hmx.carbon_stock(20.0, 1.3, bottom=30) == pytest.approx(78)
    assert hmx.carbon_stock(20.0, 1.3, bottom=30, coarse=10) == pytest.approx(70.2)
    parts = [hmx.carbon_stock(20.0, 1.3, top=t, bottom=t + 10) for t in range(0, 100, 10)]
    assert sum(parts) == pytest.approx(hmx.carbon_stock(20.0, 1.3, bottom=100))


def test_units_give_the_same_stock() -> None:
    want = hmx.carbon_stock(20.0, 1.3, bottom=30, coarse=10)
    assert hmx.carbon_stock(2.0, 1.3, bottom=30, coarse=10, units="%") == pytest.approx(want)
    assert hmx.carbon_stock(
        20.0, 1300.0, bottom=30, coarse=0.1, density_units="kg/m3", coarse_units="1"
    ) == pytest.approx(want)


def test_columns_and_maps_are_taken_and_missing_stays_missing() -> None:
    table = pd.DataFrame({"soc": [20.0, np.nan], "bd": [1.3, 1.2], "top": [0, 0], "to": [30, 20]})
    stock = hmx.carbon_stock(table["soc"], table["bd"], top=table["top"], bottom=table["to"])
    assert stock[0] == pytest.approx(78)
    assert np.isnan(stock[1])
    soc = xr.DataArray(np.full((2, 3), 2.0), dims=("y", "x"), attrs={"units": "%"}).chunk()
    made = hmx.carbon_stock(soc, 1.3, bottom=30)
    assert made.chunks is not None
    assert made.attrs["units"] == "t/ha"
    np.testing.assert_allclose(made, 78)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bulk_density": 1300.0}, r"bulk_density has 1 numbers outside 0 to 3.*kg/m3"),
        ({"coarse": 130.0}, "coarse has 1 numbers outside 0 to 1"),
        ({"top": 40.0}, "bottom - top has 1 numbers"),
        ({"units": "t/ha"}, "'t/ha' is not a known share of mass"),
        ({"density_units": "oz"}, "density_units='oz' is not one of g/cm3"),
    ],
)
def test_numbers_that_cannot_be_are_refused(given: dict[str, object], words: str) -> None:
    options: dict[str, object] = {"soc": 20.0, "bulk_density": 1.3, "bottom": 30.0} | given
    with pytest.raises(BadArgument, match=words):
        hmx.carbon_stock(**options)
