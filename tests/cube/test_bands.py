"""Laws of the map job's door: any cube of covariates comes in as bands, in one form."""

import numpy as np
import pytest
import xarray as xr

from hmx.cube.bands import as_bands
from hmx.errors import BadArgument, CubeError, IrregularTime, MissingVariable, NotEnoughData
from hmx.windows import Span, Window
from tests.make.pointworlds import make_covariates

NAMES = [{"y": "lat", "x": "lon"}, {"time": "month"}, {"y": "northing", "x": "easting"}, {}]
TURNS = [(), ("y",), ("x",), ("y", "x")]


@pytest.fixture(scope="module")
def months():
    return make_covariates((6, 8), gaps=False)


@pytest.fixture(scope="module")
def years():
    return make_covariates((6, 8), time="year", steps=6, gaps=False)


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_bands_enter_north_up_and_leave_as_they_came(months, names, turn):
    came = months.isel({dim: slice(None, None, -1) for dim in turn}).rename(names)
    bands = as_bands(came)
    assert (bands.dynamic, bands.static) == (("lst", "ndvi"), ("elevation", "slope"))
    for name in bands.variables:
        np.testing.assert_array_equal(bands.stored(name), months[name])
    assert bands.grid == as_bands(months).grid
    assert bands.climatology
    xr.testing.assert_equal(bands.restore(bands.data[["slope"]])["slope"], came["slope"])


def test_time_ascends_whatever_its_order(years):
    for order in ([5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 2, 4]):
        bands = as_bands(years.isel(time=order))
        xr.testing.assert_equal(bands.data["lst"], years["lst"])
        assert bands.labels == ("1990", "1995", "2000", "2005", "2010", "2015")


def test_entering_reads_nothing(months):
    def forbidden(block):
        raise AssertionError("computed")

    lazy = months.chunk(x=4).map(
        lambda v: v.copy(data=v.data.map_blocks(forbidden, dtype=v.dtype)) if v.ndim else v
    )
    bands = as_bands(lazy.assign_coords(months.coords).isel(y=slice(None, None, -1)))
    assert bands.grid.shape == (6, 8)


def test_the_cube_is_never_changed(months):
    before = months.copy(deep=True)
    bands = as_bands(months)
    bands.data["lst"].attrs["mine"] = bands.data.attrs["mine"] = 1
    xr.testing.assert_identical(months, before)


def test_further_dims_become_bands(months, years):
    seasons = xr.concat([years["lst"] + k for k in range(2)], "season").assign_coords(
        season=["DJF", "JJA"]
    )
    ds = years.assign(
        lst=seasons, rain=months["ndvi"].rename(time="month"), s2=months["lst"].rename(time="band")
    )
    ds = ds.drop_vars("band").transpose("x", "season", ...)
    bands = as_bands(ds)
    assert bands.dynamic == ("lst[season=DJF]", "lst[season=JJA]", "ndvi")
    rain = tuple(f"rain[month={m}]" for m in range(1, 13))
    assert bands.static == ("elevation", "slope", *rain, *(f"s2[band={m}]" for m in range(12)))
    assert not bands.climatology
    np.testing.assert_array_equal(bands.stored("lst[season=JJA]"), years["lst"] + 1)
    np.testing.assert_array_equal(bands.stored("rain[month=3]"), months["ndvi"][2])
    assert bands.stored("rain[month=3]").dims == ("y", "x")
    assert set(bands.data.dims) == {"time", "y", "x"}


def test_bands_are_chosen_by_their_own_name_or_that_of_their_variable(months, years):
    ds = years.assign(rain=months["ndvi"].rename(time="month"))
    bands = as_bands(ds, dynamic=["ndvi"], static=["rain[month=12]", "slope"])
    assert bands.variables == ("ndvi", "rain[month=12]", "slope")
    assert len(as_bands(ds, static=["rain"]).static) == 12
    assert as_bands(ds, dynamic=bands.dynamic, static=bands.static).variables == bands.variables


def test_bands_that_are_missing_are_all_named(months):
    text = (
        r"2 bands .* not in the cube: lts, twi \(has: elevation, lst, ndvi, slope\)\. "
        r"Did you mean 'lst'\?.*names that they had in training"
    )
    with pytest.raises(MissingVariable, match=text):
        as_bands(months, dynamic=["lts"], static=["slope", "twi"])
    with pytest.raises(MissingVariable, match="1 band is not in the cube: twi"):
        as_bands(months, static=["twi"])


def test_what_is_no_map_is_no_band(months):
    ds = months.assign(total=("time", np.arange(12)))
    assert as_bands(ds).variables == as_bands(months).variables
    with pytest.raises(CubeError, match=r"no band among \('total',\).*ds\['elevation'\]"):
        as_bands(ds[["total"]].assign_coords(y=months["y"], x=months["x"]))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.full((6, 8), "chalk"), "text"),
        (np.full((6, 8), "chalk", object), "text or objects"),
        (np.full((6, 8), "2015-06-01", "M8[ns]"), "dates"),
        (np.full((6, 8), 1j), "complex numbers"),
    ],
    ids=["text", "objects", "dates", "complex"],
)
def test_a_map_of_anything_but_numbers_is_refused_by_name(months, values, what):
    ds = months.assign(geology=(("y", "x"), values))
    text = rf"'geology' holds {what}.*a band holds numbers.*drop_vars\('geology'\)"
    with pytest.raises(CubeError, match=text):
        as_bands(ds)
    chosen = as_bands(ds, dynamic=["lst"], static=["slope"])
    assert chosen.variables == ("lst", "slope")


def test_a_band_of_yes_and_no_is_one_and_zero(months):
    forest = np.arange(48).reshape(6, 8) % 3 == 0
    bands = as_bands(months.assign(forest=(("y", "x"), forest)))
    read = bands.read(Window.of(bands.grid.shape), Span(0, 1))["forest"]
    flips = bands.outer.flips
    assert "forest" in bands.static
    np.testing.assert_array_equal(read, forest[::-1] if "y" in flips else forest)


def test_bands_without_any_time_are_one_step_of_every_year(months):
    still = months[["slope"]].drop_vars("time", errors="ignore")
    for ds in (still, still.assign_coords(time=np.datetime64("2015-01-01", "ns"))):
        bands = as_bands(ds)
        assert (bands.dynamic, bands.static) == ((), ("slope",))
        assert (bands.timeless, bands.climatology, len(bands.labels)) == (True, True, 1)
        assert bands.history() == 1


def test_an_axis_of_dates_under_another_name_is_no_axis_of_bands(months):
    days = np.arange("2015-01-01", "2015-01-13", dtype="M8[D]").astype("M8[ns]")
    ds = months[["lst"]].rename(time="obs").assign_coords(obs=days)
    with pytest.raises(CubeError, match=r"'obs' holds dates.*rename\(\{'obs': 'time'\}\)"):
        as_bands(ds)


def test_a_band_of_the_other_role_is_refused(months):
    with pytest.raises(CubeError, match=r"'slope' is asked for as dynamic, and it has no time"):
        as_bands(months, dynamic=["slope"])
    with pytest.raises(CubeError, match=r"'lst' is asked for as static, .*Name it under dynamic="):
        as_bands(months, static=["lst"])


def test_a_time_axis_without_labels_is_refused(months):
    with pytest.raises(CubeError, match=r"'time' has no coordinate.*assign_coords\(time=\[2015"):
        as_bands(months.drop_vars("time"))


def test_months_of_every_year_are_told_from_years(months, years):
    assert as_bands(months).climatology
    assert not as_bands(years).climatology
    some = months.isel(time=slice(3, 9))  # April to September
    some = some.assign_coords(time=some["time"].values)
    assert not as_bands(some).climatology
    assert as_bands(some.rename(time="month")).climatology
    said = some.assign_coords(time=some["time"].assign_attrs(long_name="month of year"))
    assert as_bands(said).climatology


def test_one_to_twelve_are_months_of_bands_only_if_something_says_so(months):
    bare = months.assign_coords(time=months["time"].values)
    with pytest.raises(IrregularTime, match=r"time is 1 to 12, .* ds\.rename\(time='month'\)"):
        as_bands(bare)
    assert as_bands(bare.rename(time="month")).climatology


def test_a_step_that_comes_twice_is_named(years):
    with pytest.raises(IrregularTime, match=r"comes twice .* ds\.drop_duplicates\('year'\)"):
        as_bands(years.isel(time=[0, 1, 1, 2]).rename(time="year"))


def test_a_dataarray_with_channels_is_a_cube(months):
    array = months[["lst", "ndvi"]].to_dataarray("band", name="s2")
    assert as_bands(array).dynamic == ("s2[band=lst]", "s2[band=ndvi]")


def test_the_history_is_all_of_a_climatology_and_five_steps_of_a_calendar(months, years):
    assert as_bands(months).history() == 12
    assert as_bands(years).history() == 5
    assert as_bands(years.isel(time=slice(3))).history() == 3
    assert as_bands(years).history(2) == 2
    with pytest.raises(NotEnoughData, match=r"history=7, and the cube has 6.*Pass history=6"):
        as_bands(years).history(7)


def test_a_date_names_the_last_step_that_is_seen(years):
    bands = as_bands(years)
    assert bands.step_of(2005) == bands.step_of("2005-07-01") == 3
    assert bands.span(2005, 3) == Span(1, 4)
    assert bands.span(None, 5) == Span(1, 6)
    with pytest.raises(BadArgument, match=r"time=2007 is not a step .*1990 to 2015.*time='2015'"):
        bands.step_of(2007)
    text = r"time='1995' needs 5 steps up to it.*begins with 1990\. Pass time='2010' or later"
    with pytest.raises(NotEnoughData, match=text):
        bands.span(1995, 5)
    with pytest.raises(NotEnoughData, match=r"needs 9 steps .*Add earlier maps"):
        bands.span(None, 9)


def test_a_climatology_has_no_date(months):
    with pytest.raises(BadArgument, match=r"time=3, and the cube holds months of every year"):
        as_bands(months).step_of(3)
    assert as_bands(months).span(None, 12) == Span(0, 12)


def test_what_is_read_beyond_the_edges_is_missing(months):
    bands = as_bands(months)
    window = Window(Span(-2, 7), Span(5, 11))
    arrays = bands.read(window, Span(3, 6))
    assert arrays["lst"].shape == (3, 9, 6)
    np.testing.assert_array_equal(arrays["lst"][:, 2:8, :3], months["lst"][3:6, :, 5:])
    np.testing.assert_array_equal(arrays["slope"][2:8, :3], months["slope"][:, 5:])
    assert np.isfinite(arrays["lst"]).sum() == 3 * 6 * 3


def test_numbers_that_are_no_data_are_missing(months):
    ds = months.copy(deep=True)
    ds["slope"] = ds["slope"].astype("int16").assign_attrs(_FillValue=int(ds["slope"][2, 3]))
    ds["lst"].attrs["valid_range"] = [0.0, 0.5]
    arrays = as_bands(ds).read(Window.of((6, 8)), Span(0, 12))
    assert np.isnan(arrays["slope"][2, 3])
    np.testing.assert_array_equal(np.isnan(arrays["lst"]), months["lst"] > 0.5)
