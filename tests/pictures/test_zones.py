"""Laws of fans: every level is a band, the past and the forecast meet at the origin."""

from __future__ import annotations

import cftime
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection

from hmx.errors import BadArgument, MissingVariable
from hmx.pictures.zones import MOST, plot_zones
from hmx.zones.conservation import conservation_table
from hmx.zones.table import zone_table
from tests.make.zonetotals import STEP, make_times, make_totals


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    return zone_table(make_totals(), times=make_times(), level=(50, 80, 95), step=STEP)


def drawn(figure):
    """Return the axes with a fan, by title."""
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def test_each_zone_with_data_has_a_fan_and_each_level_a_band(table: xr.Dataset) -> None:
    fans = drawn(plot_zones(table))
    assert list(fans) == ["north", "south", "Île | d'Or, 2", "quiet", "land", "islands", "all"]
    for name, axis in fans.items():
        bands = [each for each in axis.collections if isinstance(each, PolyCollection)]
        assert len(bands) == 3
        (line,) = [each for each in axis.lines if len(each.get_xdata()) == 4]
        np.testing.assert_allclose(line.get_xdata(), [2020, 2025, 2030, 2035])
        expected = [float(table["hm_origin"].sel(zone=name)), *table["hm"].sel(zone=name).values]
        np.testing.assert_allclose(line.get_ydata(), expected)
        high = bands[0].get_paths()[0].vertices[:, 1].max()
        assert high == pytest.approx(float(table["hm_hi_95"].sel(zone=name).max()))


def test_the_past_is_drawn_up_to_the_origin(table: xr.Dataset) -> None:
    times = np.array(["2010-01-01", "2015-01-01", "2020-01-01"], "datetime64[ns]")
    values = table["hm_origin"].values[:, None] * np.array([0.5, 0.8, 1.0])
    coords = {"zone": table["zone"].values, "time": times}
    past = xr.DataArray(values, coords, ("zone", "time"))
    figure = plot_zones(table, past, zones=["north", "all"])
    for name, axis in drawn(figure).items():
        (line,) = [each for each in axis.lines if each.get_color() == "black"]
        np.testing.assert_allclose(line.get_ydata(), past.sel(zone=name))
        assert line.get_ydata()[-1] == pytest.approx(float(table["hm_origin"].sel(zone=name)))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["maps", "expected", "95 %", "80 %", "50 %"]


def test_areas_and_changes_have_fans_too(table: xr.Dataset) -> None:
    figure = plot_zones(table, figure="area_above_change", threshold=0.4, zones=["all"])
    (axis,) = drawn(figure).values()
    (line,) = [each for each in axis.lines if len(each.get_xdata()) == 4]
    expected = table["area_above_change"].sel(zone="all", threshold=0.4).values
    np.testing.assert_allclose(line.get_ydata(), [0, *expected])
    assert "area with hm above 0.4" in figure.get_suptitle().replace("\n", " ")
    conserved = conservation_table(make_totals(), times=make_times(), level=(50, 95))
    assert "lowest class" in plot_zones(conserved).get_suptitle().replace("\n", " ")


def test_many_zones_are_the_largest_and_the_whole(table: xr.Dataset) -> None:
    many = xr.concat([table.isel(zone=[0])] * 20 + [table.isel(zone=[-1])], dim="zone")
    names = [*(f"z{n}" for n in range(20)), "all"]
    many = many.assign_coords(zone=names, area_km2=("zone", [*range(1, 21), 99]))
    figure = plot_zones(many)
    fans = list(drawn(figure))
    assert len(fans) == MOST
    assert fans[0] == "z9"
    assert fans[-2:] == ["z19", "all"]
    assert figure.legends[0].get_title().get_text() == "9 more zones are in the table"


def test_any_calendar_is_drawn(table: xr.Dataset) -> None:
    dates = [cftime.DatetimeNoLeap(2025 + 5 * n, 7, 1) for n in range(3)]
    origin = cftime.DatetimeNoLeap(2020, 7, 1)
    for times, start in ((dates, origin), ([2025, 2030, 2035], 2020)):
        other = table.assign_coords(time=times, forecast_reference_time=start)
        axis = drawn(plot_zones(other, zones=["north"]))["north"]
        (line,) = [each for each in axis.lines if len(each.get_xdata()) == 4]
        np.testing.assert_allclose(np.diff(line.get_xdata()), 5)


def test_what_is_not_in_the_table_is_named(table: xr.Dataset) -> None:
    with pytest.raises(MissingVariable, match=r"'nort' is not in the table .* Did you mean 'nort"):
        plot_zones(table, zones=["nort"])
    with pytest.raises(MissingVariable, match="'hmm' is not in the table of zones"):
        plot_zones(table, figure="hmm")
    with pytest.raises(MissingVariable, match=r"threshold=0.3 is not in the table .*above="):
        plot_zones(table, figure="area_above", threshold=0.3)
    with pytest.raises(BadArgument, match="no zone of this table has data"):
        plot_zones(table.sel(zone=["sea"]))
