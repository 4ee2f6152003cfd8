"""Laws of the join: each row of a table is a sample, or counted under a reason."""

import json

import numpy as np
import pandas as pd
import pyproj
import pytest

import hmx.points.samples
from hmx.cube.bands import as_bands
from hmx.errors import BadArgument, NotEnoughData
from hmx.mapping.inputs import gather
from hmx.points.joining import join
from hmx.points.table import read_points
from tests.make.pointworlds import make_covariates, make_spec

UTM = "EPSG:32632"


def table_at(bands, row, column, **columns):
    """A table of points in given pixels, a bit off their centres."""
    grid = bands.grid
    data = {"x": grid.x[column] + 40.0, "y": grid.y[row] - 30.0}
    return pd.DataFrame(data | {"soc": np.arange(1.0, len(row) + 1)} | columns)


def read(table, **options):
    return read_points(table, **({"target": "soc", "crs": UTM} | options))


@pytest.fixture(scope="module")
def bands():
    return as_bands(make_covariates((20, 30), gaps=False))


ROW, COLUMN = np.array([0, 3, 3, 19, 7]), np.array([0, 5, 5, 29, 11])


@pytest.mark.parametrize("turn", [(), ("y",), ("x",), ("y", "x")], ids=str)
def test_a_point_is_joined_to_the_pixel_that_holds_it(turn):
    ds = make_covariates((20, 30), gaps=False)
    bands = as_bands(ds.isel({dim: slice(None, None, -1) for dim in turn}))
    samples, _ = join(read(table_at(bands, ROW, COLUMN)), bands, min_valid=0)
    np.testing.assert_array_equal(samples.row, ROW)
    np.testing.assert_array_equal(samples.column, COLUMN)
    raw = gather(bands, samples, make_spec(bands, window=1))
    truth = ds["elevation"].values[ROW, COLUMN]  # north-up
    np.testing.assert_array_equal(raw.static[:, 0, 0, 0], truth)


def test_points_in_another_crs_are_reprojected_with_x_as_east(bands):
    table = table_at(bands, ROW, COLUMN)
    to_degrees = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(table["x"], table["y"])
    degrees = pd.DataFrame({"lon": lon, "lat": lat, "soc": table["soc"]})
    samples, _ = join(read(degrees, crs="EPSG:4326"), bands, min_valid=0)
    np.testing.assert_array_equal(samples.row, ROW)
    np.testing.assert_array_equal(samples.column, COLUMN)
    np.testing.assert_allclose(samples.xy, table[["x", "y"]], atol=1e-3)
    np.testing.assert_allclose(samples.lonlat, degrees[["lon", "lat"]])


def test_longitudes_are_brought_to_the_side_of_the_cube():
    ds = make_covariates((10, 20), crs="EPSG:4326", pixel=0.5, corner=(176.0, 5.0), gaps=False)
    bands = as_bands(ds)  # 176 to 186 degrees east
    table = pd.DataFrame({"lon": [177.1, -176.9], "lat": [4.9, 4.9], "soc": [1.0, 2.0]})
    samples, _ = join(read(table, crs="EPSG:4326"), bands, min_valid=0)
    assert samples.column.tolist() == [2, 14]
    np.testing.assert_allclose(samples.lonlat[:, 0], [177.1, -176.9])


def test_each_row_is_a_sample_or_counted_once(monkeypatch):
    monkeypatch.setattr(hmx.points.samples, "CHUNK", 8)
    ds = make_covariates((20, 30), gaps=False, time="year", steps=8)  # 1990 ... 2025
    ds["elevation"][3, 5] = np.nan
    lost = ds[["lst", "ndvi"]].isel(y=slice(12, None), x=slice(20, None)) * np.nan
    ds = ds.copy(deep=True)
    ds["lst"][:, 12:, 20:] = lost["lst"]
    ds["ndvi"][:, 12:, 20:] = lost["ndvi"]
    bands = as_bands(ds)
    n = 60
    rng = np.random.default_rng(4)
    table = table_at(bands, rng.integers(20, size=n), rng.integers(30, size=n), year=2015)
    table.loc[0, "soc"] = np.nan
    table.loc[[1, 2], "x"] += 1e6
    table.loc[3, "year"] = np.nan
    table.loc[[4, 5], "year"] = [1994, 1980]
    table.loc[6, "year"] = 2031
    table.loc[8] = table.loc[7]
    table.loc[10, ["x", "y", "year"]] = table.loc[9, ["x", "y", "year"]]
    points = read(table, date="year", valid_range=(0, 59))
    samples, report = join(points, bands, history=3)
    left = {reason: rows.tolist() for reason, rows in report.left.items()}
    assert left.pop("no data")
    assert left == {
        "no value": [0],
        "invalid": [59],
        "outside": [1, 2],
        "no date": [3],
        "no history": [4, 5],
        "too late": [6],
        "duplicate": [8],
    }
    rows = np.sort(np.concatenate([samples.source, *report.left.values()]))
    np.testing.assert_array_equal(rows, np.arange(n))
    assert (report.rows, report.samples) == (n, len(samples))
    assert (samples.step == 5).all()


def test_a_duplicate_says_the_same_of_place_date_and_value():
    bands = as_bands(make_covariates((20, 30), gaps=False, time="year", steps=5))
    table = table_at(bands, np.full(4, 9), np.full(4, 9), year=[2000, 2005, 2000, 2000])
    table["soc"] = [1.0, 1.0, 1.0, 2.0]
    samples, report = join(read(table, date="year"), bands, history=1)
    assert samples.source.tolist() == [0, 1, 3]
    assert report.left["duplicate"].tolist() == [2]
    assert (report.sites, report.replicates) == (1, 3)


def test_the_report_speaks_in_plain_words_and_json(bands):
    table = table_at(bands, ROW, COLUMN)
    table.loc[5] = table.loc[4]
    points = read(table, units="%", where=["soc <= 3"])
    _, report = join(points, bands, min_valid=0)
    assert str(report) == (
        "6 rows of the table: 3 samples of soc (%) at 2 sites. 2 samples share a site with others "
        "(replicates). Left out: 3 not passing the filters (where)."
    )
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["left"] == {"filtered": [3, 4, 5]}
    assert stored["replicates"] == 2
    _, report = join(read(table_at(bands, ROW[3:], COLUMN[3:])), bands, min_valid=0)
    assert str(report).endswith("2 samples of soc at 2 sites. No row was left out.")


def test_samples_of_one_pixel_are_one_site_and_names_join_further_ones(bands):
    table = table_at(bands, ROW, COLUMN, plot=["u", "v", "w", "u", None])
    samples, report = join(read(table), bands, min_valid=0)
    assert samples.site.tolist() == [0, 1, 1, 2, 3]
    assert (report.sites, report.replicates) == (4, 2)
    samples, _ = join(read(table, site="plot"), bands, min_valid=0)
    assert samples.site.tolist() == [0, 1, 1, 0, 2]
    table.loc[[0, 4], "plot"] = None  # in two pixels
    samples, _ = join(read(table, site="plot"), bands, min_valid=0)
    assert samples.site.tolist() == [0, 1, 1, 2, 3]


def test_names_and_pixels_join_samples_in_chains(bands):
    row, column = np.array([2, 2, 9, 9, 15, 4]), np.array([3, 3, 9, 9, 20, 4])
    table = table_at(bands, row, column, plot=["u", "v", "v", "w", "w", "x"], id=list("abcdef"))
    samples, report = join(read(table, site="plot"), bands, min_valid=0)
    assert samples.site.tolist() == [0, 0, 0, 0, 0, 1]
    assert (report.sites, report.replicates) == (2, 5)
    assert "Column 'plot' names 4 sites, 3 of which share a pixel with another" in str(report)
    names = [f"S{i}" for i in range(6)]  # an id of each row as site
    samples, report = join(read(table.assign(plot=names), site="plot"), bands, min_valid=0)
    assert samples.site.tolist() == [0, 0, 1, 1, 2, 3]
    apart = table.assign(plot=["u", "u", "w", "w", "y", "x"])
    assert "names" not in str(join(read(apart, site="plot"), bands, min_valid=0)[1])


def test_a_sample_that_is_left_out_joins_no_sites(bands):
    table = table_at(bands, np.array([2, 9, 9]), np.array([3, 9, 9]), plot=["u", "u", "w"])
    table.loc[1, "soc"] = 99.0
    samples, _ = join(read(table, site="plot", valid_range=(0, 50)), bands, min_valid=0)
    assert samples.site.tolist() == [0, 1]


def test_rows_that_are_left_out_are_named_by_their_ids(bands):
    table = table_at(bands, ROW, COLUMN, profile_id=["k1", "k2", "k3", "k4", "k5"])
    table.loc[5] = table.loc[4]
    table.loc[5, "profile_id"] = "k6"
    table.loc[1, "x"] += 1e6
    table.loc[2, "soc"] = np.nan
    _, report = join(read(table), bands, min_valid=0)
    for words in (
        "1 outside the cube (profile_id k2)",
        "1 without a value (profile_id k3)",
        "as a row before) (profile_id k6)",
    ):
        assert words in str(report)
    stored = json.loads(json.dumps(report.as_dict()))
    assert stored["id"] == "profile_id"
    assert stored["ids"] == {"no value": ["k3"], "outside": ["k2"], "duplicate": ["k6"]}


AXES = {
    "year": ({"time": "year"}, [1990, 1995, 2000, 2005, 2010]),
    "datetime": ({"time": "datetime"}, None),
    "cftime": ({"time": "cftime"}, None),
}


@pytest.mark.parametrize("kind", AXES)
def test_a_date_belongs_to_the_step_whose_period_holds_it(kind):
    bands = as_bands(make_covariates((9, 9), gaps=False, steps=5, **AXES[kind][0]))
    dates = ["1990-01-01", "1994-12-31", "1995-01-01", "2011-07-01", "2014-12-31"]
    same = np.full(5, 4)
    points = read(table_at(bands, same, same, when=dates), date="when")
    samples, _ = join(points, bands, history=1)
    assert samples.step.tolist() == [0, 0, 1, 4, 4]


def test_years_that_are_labelled_at_their_end_hold_their_whole_year():
    ds = make_covariates((9, 9), gaps=False, time="datetime", steps=3)
    ends = np.array(["2014-12-31", "2015-12-31", "2016-12-31"], "M8[ns]")
    bands = as_bands(ds.assign_coords(time=ends))
    same = np.full(3, 4)
    table = table_at(bands, same, same, when=["2015-03-01", "2016", "2017-01-01"])
    samples, report = join(read(table, date="when"), bands, history=1)
    assert samples.step.tolist() == [1, 2]
    assert report.left["too late"].tolist() == [2]


def test_months_and_shorter_steps_hold_their_own_days():
    ds = make_covariates((9, 9), gaps=False, time="datetime", steps=4)
    months = np.array(["2015-10-01", "2015-11-01", "2015-12-01", "2016-01-01"], "M8[ns]")
    weeks = np.array(["2015-12-01", "2015-12-09", "2015-12-17", "2015-12-25"], "M8[ns]")
    same = np.full(4, 4)
    days = ["2015-11-30", "2015", "2015-12-16", "2016-02-01"]
    for axis, steps in ((months, [1, 2, 2]), (weeks, [3, 1])):
        bands = as_bands(ds.assign_coords(time=axis))
        points = read(table_at(bands, same, same, when=days), date="when")
        samples, report = join(points, bands, history=1)
        assert samples.step.tolist() == steps
        assert report.left["too late"].tolist() == [3]
    assert report.left["no history"].tolist() == [0]


def test_a_climatology_needs_no_date(bands):
    samples, _ = join(read(table_at(bands, ROW, COLUMN, year=1800), date="year"), bands)
    assert (samples.step == 11).all()


def test_a_date_is_missing_only_where_the_history_needs_it():
    bands = as_bands(make_covariates((20, 30), gaps=False, time="year", steps=8))
    points = read(table_at(bands, ROW, COLUMN))
    text = r"date missing: the cube has 8 time steps and a sample sees 5.*date='year'.*=8"
    with pytest.raises(BadArgument, match=text):
        join(points, bands)
    samples, _ = join(points, bands, history=8, min_valid=0)
    assert (samples.step == 7).all()


def test_a_sample_is_left_out_where_too_little_is_known():
    ds = make_covariates((20, 30), gaps=False)
    ds = ds.copy(deep=True)
    for name in ("lst", "ndvi", "elevation", "slope"):
        ds[name][..., 10:20] = np.nan
    bands = as_bands(ds)
    column = np.array([5, 7, 8, 9, 10, 15, 19, 20, 21, 22])
    points = read(table_at(bands, column * 0 + 9, column))
    shares = np.clip((10 - column + 2) / 5, 0, 1)  # columns of 5 that are west of the gap
    shares[-3:] = [0.6, 0.8, 1.0]
    for least in (0, 0.5, 0.7, 1.0):
        samples, report = join(points, bands, min_valid=least)
        expected = (shares >= least) & ~((column >= 10) & (column < 20))  # centres are known
        assert samples.column.tolist() == column[expected].tolist()
        assert report.samples + len(report.left["no data"]) == 10


def test_beyond_the_edge_nothing_is_missing(bands):
    corner = np.array([0, 0, 19, 19, 9]), np.array([0, 29, 0, 29, 9])
    samples, _ = join(read(table_at(bands, *corner)), bands, min_valid=1.0)
    assert len(samples) == 5
    ds = make_covariates((20, 30), gaps=False)
    for name in ("lst", "ndvi", "elevation", "slope"):
        ds[name][..., 0, 1:3] = np.nan  # 2 of the 9 px of the corner's window
    points = read(table_at(bands, *corner))
    for least, count in ((0.7, 5), (0.8, 4)):
        assert len(join(points, as_bands(ds), min_valid=least)[0]) == count


def test_points_that_all_lie_outside_are_refused_with_both_extents(bands):
    table = pd.DataFrame({"x": [11.0, 12.0], "y": [48.0, 49.0], "soc": [1.0, 2.0]})
    text = r"all 2 points .*span \(11, 48, 12, 49\).*cube \(500000, .*EPSG:32632.*true crs=\.\.\."
    with pytest.raises(BadArgument, match=text):
        join(read(table), bands)


def test_points_that_cannot_be_projected_are_outside(bands):
    table = pd.DataFrame({"lon": [9.003, 9.0], "lat": [54.14, 95.0], "soc": [1.0, 2.0]})
    table.loc[0, ["lon", "lat"]] = [9.02, 54.12]
    samples, report = join(read(table, crs="EPSG:4326"), bands, min_valid=0)
    assert len(samples) == 1
    assert report.left["outside"].tolist() == [1]


def test_a_table_of_which_nothing_is_left_says_why(bands):
    points = read(table_at(bands, ROW, COLUMN), where=["soc > 99"])
    text = r"no sample is left\. 5 rows of the table: 0 samples.*5 not passing the filters"
    with pytest.raises(NotEnoughData, match=text):
        join(points, bands)


def test_a_window_that_does_not_fit_is_refused(bands):
    with pytest.raises(BadArgument, match=r"window=21 is larger than the cube.*20 x 30 px"):
        join(read(table_at(bands, ROW, COLUMN)), bands, window=21)


def test_more_history_than_there_is_is_refused(bands):
    with pytest.raises(NotEnoughData, match=r"history=13, and the cube has 12 time steps"):
        join(read(table_at(bands, ROW, COLUMN)), bands, history=13)
