"""Laws of tables of points: what is read is told, what is odd is said."""

import builtins
import sqlite3

import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest

from hmx.errors import BadArgument, MissingCRS, MissingVariable, SourceError
from hmx.points.extent import PAIRS
from hmx.points.table import read_points

WGS84 = "EPSG:4326"


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "lon": [21.0, 21.1, 21.2, 21.3],
            "lat": [41.0, 41.1, 41.2, 41.3],
            "soc": [1.0, 2.0, 80.0, 4.0],
            "year": [2015, 2016, 2016, 2017],
            "horizon": ["A", "A", "B", "A"],
        }
    )


class Geometry:
    """What hmx asks of a GeoSeries."""

    name = "geometry"

    def __init__(self, x, y):
        self._x, self._y = x, y

    @property
    def x(self):
        if self._x is None:
            raise ValueError("x attribute access only provided for Point geometries")
        return self._x

    y = property(lambda self: self._y)


class GeoTable:
    """A GeoDataFrame, as far as hmx looks."""

    def __init__(self, frame, crs=WGS84, x="lon", y="lat"):
        self.frame, self.crs = frame, None if crs is None else pyproj.CRS(crs)
        self.geometry = Geometry(None if x is None else frame[x], frame[y])

    def drop(self, columns):
        return self.frame


def write_vector(path, table, *, crs=WGS84, kind="Point", layer=None, lost=()):
    blobs = []
    for x, y in zip(table["lon"], table["lat"], strict=True):
        point = np.array([(1, 1, (x, y))], [("o", "u1"), ("t", "<u4"), ("xy", "<f8", 2)])
        line = b"\x01\x02\x00\x00\x00\x02\x00\x00\x00" + np.array([x, y, x + 1, y]).tobytes()
        blobs.append(point.tobytes() if kind == "Point" else line)
    for row in lost:
        blobs[row] = None
    fields = {name: table[name].to_numpy(object) for name in ("id", "horizon")}
    fields |= {name: table[name].to_numpy() for name in ("soc", "year")}
    pyogrio.raw.write(
        path, np.array(blobs, object), list(fields.values()), list(fields),
        geometry_type=kind, crs=crs, layer=layer,
    )  # fmt: skip
    return path


def same(points, other):
    for name in ("x", "y", "value", "row"):
        np.testing.assert_array_equal(getattr(points, name), getattr(other, name))
    assert points.crs.equals(other.crs, ignore_axis_order=True)


def test_a_table_a_csv_and_vector_files_say_the_same(table, tmp_path):
    points = read_points(table, target="soc", crs=WGS84)
    assert (len(points), points.rows, points.left) == (4, 4, {})
    np.testing.assert_array_equal(points.x, table["lon"])
    np.testing.assert_array_equal(points.value, table["soc"])
    same(read_points(GeoTable(table), target="soc"), points)
    for sep, name in ((",", "p.csv"), (";", "q.csv"), ("\t", "p.tsv")):
        table.to_csv(tmp_path / name, sep=sep, index=False)
        same(read_points(tmp_path / name, target="soc", crs=WGS84), points)
    for name in ("p.gpkg", "p.geojson", "p.shp"):
        write_vector(tmp_path / name, table)
        same(read_points(str(tmp_path / name), target="soc"), points)


def test_the_layer_of_a_geopackage_can_be_named(table, tmp_path):
    path = tmp_path / "p.gpkg"
    write_vector(path, table.iloc[:2], layer="old")
    write_vector(path, table, layer="new")
    assert len(read_points(path, target="soc", layer="old")) == 2
    with pytest.raises(SourceError, match=r"cannot be read from '.*p\.gpkg'.*layer=\.\.\."):
        read_points(path, target="soc", layer="none")


def test_a_row_without_geometry_is_counted(table, tmp_path):
    points = read_points(write_vector(tmp_path / "p.gpkg", table, lost=[1]), target="soc")
    assert points.left["no place"].tolist() == [1]
    assert points.row.tolist() == [0, 2, 3]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_usual_names_of_coordinates_are_known(table, pair, change):
    named = table.rename(columns={"lon": change(pair[0]), "lat": change(pair[1])})
    same(read_points(named, target="soc", crs=WGS84), read_points(table, target="soc", crs=WGS84))


def test_named_coordinates_come_before_the_geometry_and_usual_names(table):
    table = table.assign(e=5.0, n=6.0)
    for source in (table, GeoTable(table, crs=None)):
        points = read_points(source, target="soc", x="e", y="n", crs="EPSG:32634")
        assert (points.x == 5).all()
        assert (points.y == 6).all()


def test_points_without_crs_are_refused(table, tmp_path):
    text = r"points without CRS: columns 'lon' and 'lat' are numbers.*crs='EPSG:4326'.*points\.crs"
    with pytest.raises(MissingCRS, match=text):
        read_points(table, target="soc")
    with pytest.raises(MissingCRS, match="points without CRS: its geometry has numbers"):
        read_points(GeoTable(table, crs=None), target="soc")
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        path = write_vector(tmp_path / "p.shp", table, crs=None)
    with pytest.raises(MissingCRS, match=r"p\.shp names no coordinate system"):
        read_points(path, target="soc")
    assert len(read_points(path, target="soc", crs=WGS84)) == 4


def test_a_crs_that_is_none_or_contradicts_the_table_is_refused(table):
    with pytest.raises(BadArgument, match=r"crs='EPSG:0' is not a coordinate reference system"):
        read_points(table, target="soc", crs="EPSG:0")
    text = r"crs='EPSG:32634', and the table has EPSG:4326\. Leave out crs"
    with pytest.raises(BadArgument, match=text):
        read_points(GeoTable(table), target="soc", crs="EPSG:32634")


def test_missing_columns_are_named(table):
    with pytest.raises(MissingVariable, match=r"'sov' is not in the table .*Did you mean 'soc'"):
        read_points(table, target="sov", crs=WGS84)
    with pytest.raises(MissingVariable, match=r"'yaer' is not in the table .*mean 'year'"):
        read_points(table, target="soc", crs=WGS84, date="yaer")
    with pytest.raises(MissingVariable, match=r"'plot' is not in the table"):
        read_points(table, target="soc", crs=WGS84, site="plot")
    text = r"no columns of coordinates .*\(has: id, soc, .*\)\. Name them: x='\.\.\.', y='\.\.\.'"
    with pytest.raises(MissingVariable, match=text):
        read_points(table.drop(columns=["lon", "lat"]), target="soc", crs=WGS84)
    with pytest.raises(BadArgument, match="x is given and y is not"):
        read_points(table, target="soc", crs=WGS84, x="lon")


def test_a_target_that_is_not_numeric_is_refused(table):
    text = r"target column 'horizon' of the table is not numeric: 4 of 4 rows.*'A' in row 0"
    with pytest.raises(BadArgument, match=text):
        read_points(table, target="horizon", crs=WGS84)
    mixed = table.assign(soc=["1.5", "2", "<0.1", None])
    with pytest.raises(BadArgument, match=r"1 of 4 rows hold text, such as '<0\.1' in row 2"):
        read_points(mixed, target="soc", crs=WGS84)
    assert len(read_points(mixed.drop(index=2), target="soc", crs=WGS84)) == 2


def test_coordinates_that_are_not_numeric_are_refused(table):
    odd = table.assign(lat="41N")
    with pytest.raises(BadArgument, match=r"coordinate column 'lat' .* is not numeric"):
        read_points(odd, target="soc", crs=WGS84)


def test_rows_that_do_not_count_are_counted_by_their_first_reason(table):
    more = pd.concat([table] * 2, ignore_index=True)
    more.loc[1, "lon"] = np.nan
    more.loc[3, ["lat", "soc"]] = np.nan
    more.loc[4, "soc"] = np.nan
    more.loc[7, "soc"] = np.inf
    points = read_points(
        more, target="soc", crs=WGS84, where="horizon == 'A'", valid_range=(0, 1.5)
    )
    left = {reason: rows.tolist() for reason, rows in points.left.items()}
    assert left == {
        "filtered": [2, 6],
        "no place": [1, 3],
        "no value": [4, 7],
        "invalid": [5],
    }
    assert points.row.tolist() == [0]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["soc <= 4"], [0, 1, 3]),
        (["soc<4"], [0, 1]),
        (["soc >= 4", "soc < 80"], [3]),
        (["soc > 4"], [2]),
        (["year == 2016"], [1, 2]),
        (["year != 2016"], [0, 3]),
        (["horizon == A"], [0, 1, 3]),
        (['horizon != "A"'], [2]),
        (["id > b"], [2, 3]),
        (["`soc` <= 2.5e0"], [0, 1]),
        ([], [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_filters_keep_the_rows_that_pass_them_all(table, where, kept):
    assert read_points(table, target="soc", crs=WGS84, where=where).row.tolist() == kept


def test_what_is_missing_passes_no_comparison_of_size(table):
    table.loc[0, "soc"] = np.nan
    points = read_points(table, target="year", crs=WGS84, where=["soc < 100"])
    assert points.row.tolist() == [1, 2, 3]


@pytest.mark.parametrize("text", ["soc", "soc < = 3", "soc = 3", "<= 3", "soc <="])
def test_a_filter_that_cannot_be_read_is_refused(table, text):
    with pytest.raises(BadArgument, match=r"where='.*' is not a filter.*where=\['soc <= 150'\]"):
        read_points(table, target="soc", crs=WGS84, where=[text])


def test_a_filter_of_another_kind_or_column_is_refused(table):
    with pytest.raises(BadArgument, match=r"compares numbers with many: column 'soc' is numeric"):
        read_points(table, target="soc", crs=WGS84, where=["soc <= many"])
    with pytest.raises(MissingVariable, match=r"'sox' is not in the table.*mean 'soc'"):
        read_points(table, target="soc", crs=WGS84, where=["sox <= 3"])


def test_dates_are_iso_or_years_and_a_year_means_its_last_day(table):
    ends = ["2015-12-31", "2016-12-31", "2016-12-31", "2017-12-31"]
    for years in (table["year"], table["year"].astype(float), table["year"].astype(str)):
        points = read_points(table.assign(when=years), target="soc", crs=WGS84, date="when")
        np.testing.assert_array_equal(points.date, np.array(ends, "M8[us]"))
    days = ["2015-06-30", "2016-06-30T12:00:00Z", None, "2017-01-01 00:00"]
    points = read_points(table.assign(when=days), target="soc", crs=WGS84, date="when")
    expected = np.array(["2015-06-30", "2016-06-30T12", "NaT", "2017-01-01"], "M8[us]")
    np.testing.assert_array_equal(points.date, expected)
    real = table.assign(when=pd.to_datetime(["2015-06-30"] * 4))
    assert (read_points(real, target="soc", crs=WGS84, date="when").date == expected[0]).all()


def test_a_date_that_is_none_is_refused(table):
    odd = table.assign(when=["2015-06-30", "30.06.2016", None, "2017"])
    with pytest.raises(BadArgument, match=r"has '30\.06\.2016' in row 1, which is not a date.*ISO"):
        read_points(odd, target="soc", crs=WGS84, date="when")


def test_a_range_that_descends_is_refused_in_the_words_of_the_catalog(table):
    with pytest.raises(BadArgument, match=r"valid_range.*the range ascends\. Try \[0, 5\]"):
        read_points(table, target="soc", crs=WGS84, valid_range=(5, 0))


def test_what_is_no_table_of_points_is_refused(table, tmp_path):
    with pytest.raises(BadArgument, match=r"points are a list.*points='points\.csv'"):
        read_points([1, 2], target="soc", crs=WGS84)
    with pytest.raises(SourceError, match=r"cannot be read from '.*gone\.csv'.*with a header"):
        read_points(tmp_path / "gone.csv", target="soc", crs=WGS84)
    with pytest.raises(SourceError, match=r"cannot be read from '.*gone\.gpkg'"):
        read_points(tmp_path / "gone.gpkg", target="soc", crs=WGS84)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SourceError, match="cannot be read"):
        read_points(tmp_path / "empty.csv", target="soc", crs=WGS84)
    text = "holds .* and samples are taken at points"
    with pytest.raises(BadArgument, match=text):
        read_points(GeoTable(table, x=None), target="soc")
    path = write_vector(tmp_path / "l.gpkg", table, kind="LineString")
    with pytest.raises(BadArgument, match=text):
        read_points(path, target="soc")


def test_without_pyogrio_vector_files_say_what_to_install(table, tmp_path, monkeypatch):
    load = builtins.__import__

    def absent(name, *rest):
        if name.startswith("pyogrio"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SourceError, match=r"p\.gpkg needs pyogrio.*pip install pyogrio"):
        read_points(tmp_path / "p.gpkg", target="soc")


def test_a_table_of_a_geopackage_without_geometry_is_read_by_its_columns(table, tmp_path):
    path = write_vector(tmp_path / "p.gpkg", table)
    with sqlite3.connect(path) as store:
        table.to_sql("plain", store, index=False)
        store.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('plain', 'attributes', 'plain')"
        )
    store.close()
    points = read_points(path, target="soc", layer="plain", crs=WGS84)
    np.testing.assert_array_equal(points.x, table["lon"])
