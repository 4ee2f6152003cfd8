"""Laws of files of zones: each holds the figures of the table, whole, and spares others."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from hypothesis import example, given
from hypothesis import strategies as st

from hmx.errors import BadArgument, OutputExists
from hmx.pictures.zones import plot_zones
from hmx.zones.conservation import conservation_table
from hmx.zones.files import read_csv, save_zones
from hmx.zones.frames import zone_frame
from hmx.zones.geopackage import LAYER, wide_frame
from hmx.zones.options import ZonalOptions
from hmx.zones.qgis import style_of
from hmx.zones.report import MARKER
from hmx.zones.table import difference_table, zone_table
from tests.make.zonetotals import (
    NAMES,
    STEP,
    make_polygons,
    make_times,
    make_totals,
    without_origin,
)

ABOUT = {"intervals": "Intervals are quantiles over 80 joint draws (seed 0)."}


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    options = {"level": (50, 95), "grows": (0, 1), "step": STEP, "attrs": ABOUT}
    return zone_table(make_totals(), times=make_times(), **options)


@pytest.fixture(scope="module")
def conserved() -> xr.Dataset:
    return conservation_table(make_totals(), times=make_times(), attrs=ABOUT)


def test_a_csv_gives_back_the_figures(
    table: xr.Dataset, conserved: xr.Dataset, tmp_path: Path
) -> None:
    for made, frame in ((table, zone_frame(table)), (conserved, zone_frame(conserved))):
        (path,) = save_zones(made, tmp_path / "new" / "zones.csv")
        again = read_csv(path)
        assert again.columns.tolist() == frame.columns.tolist()
        assert again["zone"].tolist() == frame["zone"].tolist()
        for name in frame.select_dtypes("number"):
            np.testing.assert_allclose(again[name], frame[name], rtol=1e-5, atol=1e-12)


def test_a_csv_is_as_its_standard_has_it(table: xr.Dataset, tmp_path: Path) -> None:
    (path,) = save_zones(table, tmp_path / "zones.csv")
    data = path.read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n") == 1 + 8 * 3
    assert "Île | d'Or, 2".encode() in data
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1
    assert rows[0][:8] == ["zone", "kind", "time", "lead", "area_km2", "missing", "hm", "hm_lo_50"]
    assert not [cell for row in rows[1:] for cell in row[4:] if "e" in cell or "nan" in cell]
    assert [row[0] for row in rows[1:4]] == ["north"] * 3
    assert [row[2] for row in rows[1:4]] == ["2025", "2030", "2035"]
    assert rows[13][0] == "sea"
    assert set(rows[13][6:]) == {""}


def test_large_and_small_numbers_have_no_exponent(tmp_path: Path, table: xr.Dataset) -> None:
    large = table.assign(hm=table["hm"] * 1e9, hm_change=table["hm_change"] * 1e-7)
    (path,) = save_zones(large, tmp_path / "zones.csv")
    row = read_csv(path).iloc[0]
    assert row["hm"] == pytest.approx(float(large["hm"][0, 0]), rel=1e-6)
    assert row["hm_change"] == pytest.approx(float(large["hm_change"][0, 0]), rel=1e-5)
    assert b"e-" not in path.read_bytes()


@pytest.fixture
def package(table: xr.Dataset, tmp_path: Path) -> tuple[Path, Path]:
    made = save_zones(table, tmp_path / "zones.gpkg", zones=make_polygons())
    return made[0], made[1]


def test_a_geopackage_has_the_figures_of_each_zone(
    table: xr.Dataset, package: tuple[Path, Path]
) -> None:
    found = geopandas.read_file(package[0], layer=LAYER)
    assert found["zone"].tolist() == list(NAMES)  # groups and the whole have no polygon
    assert found.crs.equals("EPSG:4326", ignore_axis_order=True)
    # the order of the layer is another than that of the table
    assert found.geometry.bounds["minx"].tolist() == [0, 1, 2, 3, 4]
    assert found["ward"].tolist() == ["w0", "w1", "w2", "w3", "w4"]
    for lead, year in enumerate((2025, 2030, 2035)):
        for column, values in {
            f"hm_{year}": table["hm"],
            f"hm_hi_95_{year}": table["hm_hi_95"],
            f"km2_above_0.4_lo_95_{year}": table["area_above_lo_95"].sel(threshold=0.4),
            f"p_above_0.1_grows_1_percent_{year}": table["p_grows"].sel(threshold=0.1, growth=1),
        }.items():
            np.testing.assert_array_equal(found[column], values.isel(time=lead)[: len(NAMES)])
    assert np.isfinite(found["hm_2030"]).sum() == 4


def test_the_style_is_xml_and_its_attribute_is_in_the_geopackage(
    table: xr.Dataset, package: tuple[Path, Path]
) -> None:
    path, style = package
    assert style == path.with_suffix(".qml")
    root = ET.fromstring(style.read_text(encoding="utf-8"))
    renderer = root.find("renderer-v2")
    assert renderer is not None
    found = geopandas.read_file(path, layer=LAYER)
    assert renderer.attrib["attr"] == "hm_change_2035"
    assert renderer.attrib["attr"] in found.columns
    ranges, symbols = renderer.findall("ranges/range"), renderer.findall("symbols/symbol")
    assert [r.attrib["symbol"] for r in ranges] == [s.attrib["name"] for s in symbols]
    values = found["hm_change_2035"].dropna()
    assert float(ranges[0].attrib["lower"]) <= values.min()
    assert float(ranges[-1].attrib["upper"]) >= values.max()
    with closing(sqlite3.connect(path)) as base:  # QGIS opens the layer with this style
        rows = base.execute(
            "SELECT f_table_name, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
    assert rows == [(LAYER, 1, style.read_text(encoding="utf-8"))]


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
@example([0.19, 0.69])  # classes of 0.1 from 0.18 on would end before it
def test_every_value_is_in_a_class_of_the_style(values: list[float]) -> None:
    text = style_of("x", np.array(values), title="x", about="a < b & c")
    ranges = ET.fromstring(text).findall("renderer-v2/ranges/range")
    edges = [float(r.attrib["lower"]) for r in ranges] + [float(ranges[-1].attrib["upper"])]
    assert edges == sorted(edges)
    assert edges[0] <= min(values) <= max(values) <= edges[-1]


def test_the_figure_that_colours_can_be_chosen(
    conserved: xr.Dataset, table: xr.Dataset, tmp_path: Path
) -> None:
    def coloured(made: xr.Dataset, figure: str | None) -> str:
        options = {"zones": make_polygons(), "figure": figure}
        _, style = save_zones(made, tmp_path / "z.gpkg", **options)
        renderer = ET.fromstring(style.read_text(encoding="utf-8")).find("renderer-v2")
        assert renderer is not None
        return renderer.attrib["attr"]

    assert coloured(conserved, None) == "km2_below_0.1_lost_2035"
    assert coloured(table, "km2_above_0.4") == "km2_above_0.4_2035"
    assert coloured(table, "hm_2025") == "hm_2025"
    with pytest.raises(BadArgument, match=r"figure='km2_above' is not in the table \(has: hm, "):
        coloured(table, "km2_above")


def test_zones_of_a_raster_become_polygons(table: xr.Dataset, tmp_path: Path) -> None:
    values = np.array([[1, 1, 2], [0, 2, 1]], "int64")
    path = tmp_path / "zones.tif"
    profile = {"driver": "GTiff", "height": 2, "width": 3, "count": 1, "dtype": "int64"}
    where = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(0, 200, 100, 100)}
    with rasterio.open(path, "w", nodata=0, **profile, **where) as file:
        file.write(values, 1)
    two = table.isel(zone=[0, 1]).assign_coords(zone=["1", "2"])
    made, _ = save_zones(two, tmp_path / "zones.gpkg", zones=str(path))
    found = geopandas.read_file(made, layer=LAYER)
    assert found.geometry.area.tolist() == [30_000, 20_000]
    assert found.crs == "EPSG:32632"


def test_zones_that_cannot_be_drawn_are_refused(
    table: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zones.gpkg"
    with pytest.raises(BadArgument, match=r"needs the polygons of the zones.* Pass zones="):
        save_zones(table, path)
    with pytest.raises(BadArgument, match="these zones are an array"):
        save_zones(table, path, zones=np.ones((3, 3), int))
    with pytest.raises(BadArgument, match=r"zone 'north' of the table is not among the polygons"):
        save_zones(table, path, zones=make_polygons(), id="ward")
    with pytest.raises(BadArgument, match=r"ends with .xlsx: .* as .csv, .gpkg, .md"):
        save_zones(table, tmp_path / "zones.xlsx")
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(BadArgument, match="a GeoPackage needs pyogrio, which is not installed"):
        save_zones(table, path, zones=make_polygons())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["zones.csv", "zones.md", "zones.gpkg"])
def test_our_own_files_are_replaced_and_others_only_on_demand(
    table: xr.Dataset, tmp_path: Path, name: str
) -> None:
    path, options = tmp_path / name, {"zones": make_polygons()}
    path.write_text("zone,area\nmy notes,1\n")
    with pytest.raises(OutputExists, match=r"is a file that hmx did not write.*--overwrite"):
        save_zones(table, path, **options)
    assert path.read_text() == "zone,area\nmy notes,1\n"
    save_zones(table, path, overwrite=True, **options)
    first = path.read_bytes()
    assert b"my notes" not in first
    save_zones(table.isel(time=[0]), path, **options)
    assert path.read_bytes() != first
    assert {p.name for p in tmp_path.iterdir()} <= {name, "zones.qml"}
    folder = tmp_path / f"folder{path.suffix}"
    folder.mkdir()
    with pytest.raises(OutputExists, match="is a folder"):
        save_zones(table, folder, overwrite=True, **options)


def test_a_table_that_is_too_wide_for_a_geopackage_is_refused(
    conserved: xr.Dataset, tmp_path: Path
) -> None:
    years = [f"{2025 + n}-01-01" for n in range(90)]
    wide = conserved.isel(time=[0] * 90).assign_coords(time=np.array(years, "datetime64[ns]"))
    with pytest.raises(BadArgument, match=r"columns as one row.* Take fewer times"):
        save_zones(wide, tmp_path / "zones.gpkg", zones=make_polygons())
    assert not list(tmp_path.iterdir())


def test_a_style_of_the_user_is_spared(table: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "zones.qml").write_text("<qgis>mine</qgis>")
    with pytest.raises(OutputExists, match=r"zones.qml is a file that hmx did not write"):
        save_zones(table, tmp_path / "zones.gpkg", zones=make_polygons())
    assert (tmp_path / "zones.qml").read_text() == "<qgis>mine</qgis>"
    assert not (tmp_path / "zones.gpkg").exists()


def test_what_fails_leaves_the_old_geopackage(
    table: xr.Dataset, package: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyogrio

    before, write = package[0].read_bytes(), pyogrio.write_dataframe

    def broken(frame: pd.DataFrame, path: Path, **options: object) -> None:
        if options["layer"] != LAYER:
            raise OSError("disk full")
        write(frame, path, **options)

    monkeypatch.setattr(pyogrio, "write_dataframe", broken)
    with pytest.raises(OSError, match="disk full"):
        save_zones(table.isel(time=[0]), package[0], zones=make_polygons())
    assert package[0].read_bytes() == before
    assert {p.name for p in package[0].parent.iterdir()} == {"zones.gpkg", "zones.qml"}


def test_markdown_has_a_row_for_each_zone_and_the_caveats(
    table: xr.Dataset, conserved: xr.Dataset, tmp_path: Path
) -> None:
    for made in (table, conserved):
        (path,) = save_zones(made, tmp_path / "zones.md")
        text = path.read_text(encoding="utf-8")
        assert text.startswith(MARKER)
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(rows) == 3 * (1 + 8)
        bars = {line.replace("\\|", "").count("|") for line in rows}
        assert len(bars) == 1  # a bar in a name ends no cell
        assert r"| Île \| d'Or, 2 |" in text
        assert "| sea | 5.8 | no data |" in text
        assert ABOUT["intervals"] in text
        assert made.attrs["limits"] in text
        assert "Up to 33.3 % of a zone has no data" in text
        assert "In brackets: intervals of 95 %." in text


def test_brackets_contain_the_interval(table: xr.Dataset, tmp_path: Path) -> None:
    (path,) = save_zones(table, tmp_path / "zones.md")
    lines = path.read_text(encoding="utf-8").replace("\\|", "").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    rows = [row for row in rows if row[0] not in ("| zone", "| sea")]
    figures = {2: "hm", 3: "hm_change", 4: "area_above", 6: "area_above_change"}
    known = table.drop_sel(zone="sea").isel(threshold=0)
    for number, row in enumerate(rows):
        at = {"time": number // 7, "zone": number % 7}
        for column, name in figures.items():
            text = row[column].replace(",", "").replace(" to ", " ").replace("|", "")
            mean, low, high = (float(part.strip("()")) for part in text.split())
            assert low <= float(known[f"{name}_lo_95"].isel(at)) + 1e-9
            assert high >= float(known[f"{name}_hi_95"].isel(at)) - 1e-9
            width = max(high - low, 1e-3)
            assert mean == pytest.approx(float(known[name].isel(at)), abs=0.05 * width + 5e-5)
    assert len(rows) == 3 * 7


def test_a_property_of_the_layer_keeps_its_column_and_ours_win(package: tuple[Path, Path]) -> None:
    found = geopandas.read_file(package[0], layer=LAYER)
    assert "Missing" not in found.columns  # SQLite ignores case: it is our missing
    assert found["missing"].tolist()[:2] == [0, 0.25]
    assert "name" in found.columns


def test_wide_frames_have_a_column_for_each_figure_and_time(table: xr.Dataset) -> None:
    wide, long = wide_frame(table), zone_frame(table)
    assert len(wide) == len(NAMES)
    changing = [name for name in long.columns[6:] if not name.endswith("_origin")]
    assert {f"{name}_{year}" for name in changing for year in (2025, 2030, 2035)} <= {*wide.columns}


def test_differences_and_maps_are_written_too(tmp_path: Path) -> None:
    sides, options = (make_totals(), make_totals(seed=1)), ZonalOptions(above=(0.1, 0.4))
    about = {"times": make_times(), "target": "hm", "units": "1", "step": STEP, "attrs": ABOUT}
    compared = difference_table(*sides, options, **about)
    dated = make_times(1).drop_vars(["lead", "forecast_reference_time"])
    options = {"times": dated, "target": "soc", "units": "g/kg", "attrs": ABOUT}
    soil = zone_table(without_origin(make_totals(h=1)), **options)
    for made, columns, head in (
        (compared, ["missing_b", "hm_difference", "hm_difference_lo_50"], "mean hm, a minus b |"),
        (soil, ["missing", "soc", "soc_lo_95"], "| mean soc (g/kg) |"),
    ):
        for _ in range(2):  # hmx recognises its own file
            (path,) = save_zones(made, tmp_path / "zones.csv")
        frame = read_csv(path)
        at = frame.columns.get_loc(columns[0])
        assert frame.columns.tolist()[at : at + 3] == columns
        assert frame["zone"].nunique() == 8
        (path,) = save_zones(made, tmp_path / "zones.md")
        assert head in path.read_text(encoding="utf-8")
        _, style = save_zones(made, tmp_path / "zones.gpkg", zones=make_polygons())
        assert f'attr="{columns[1]}_20' in style.read_text(encoding="utf-8")
        assert plot_zones(made).axes
    assert "lead" not in frame.columns
    assert "km2_above_0.4_difference_hi_95" in zone_frame(compared).columns


def test_what_is_no_table_of_zones_is_refused(cube: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match=r"a table of zones has zone and time. Make one: "):
        save_zones(cube, tmp_path / "zones.csv")
    assert json.dumps(make_polygons())  # plain GeoJSON
