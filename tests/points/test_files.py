"""Laws of other files of points: Parquet, spreadsheets, layers, and geometries in tables."""

from __future__ import annotations

import builtins
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmx.errors import BadArgument, MissingCRS, SourceError
from tests.make.tables import WGS84, make_table, read, same

geopandas = pytest.importorskip("geopandas")
pytest.importorskip("openpyxl")
TABLE = make_table()


def geo(table: pd.DataFrame = TABLE, crs: str | None = WGS84, **how: Any) -> Any:
    places = geopandas.points_from_xy(table["lon"], table["lat"], **how)
    plain = table.drop(columns=["lon", "lat"])
    return geopandas.GeoDataFrame(plain, geometry=places, crs=crs)


def test_parquet_is_read_and_geoparquet_has_its_crs(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "points.parquet")
    same(read(tmp_path / "points.parquet"), TABLE)
    for encoding in ("WKB", "geoarrow"):
        geo().to_parquet(tmp_path / "points.parquet", geometry_encoding=encoding)
        same(read(tmp_path / "points.parquet", crs=None), TABLE)
    geo(z=np.full(6, 300.0)).to_parquet(tmp_path / "points.parquet")
    same(read(tmp_path / "points.parquet", crs=None), TABLE)
    geo().to_crs(32634).to_parquet(tmp_path / "points.parquet")
    points = read(tmp_path / "points.parquet", crs=None)
    assert points.crs.to_epsg() == 32634
    assert points.x.min() > 1000
    geo(crs=None).to_parquet(tmp_path / "points.parquet")
    with pytest.raises(MissingCRS, match=r"its geometry has numbers, and points\.parquet"):
        read(tmp_path / "points.parquet", crs=None)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "points.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceError, match="not a Parquet file, or is torn"):
        read(tmp_path / "points.parquet")


@pytest.mark.parametrize(
    ("package", "name", "data"),
    [("pyarrow", "points.parquet", b""), ("openpyxl", "points.xlsx", b"PK\3\4")],
)
def test_a_reader_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, data: bytes
) -> None:
    load = builtins.__import__

    def absent(wanted: str, *rest: Any) -> Any:
        if wanted.split(".")[0] == package:
            raise ImportError(wanted)
        return load(wanted, *rest)

    def no_excel(*_: Any, **__: Any) -> None:
        raise ImportError("Missing optional dependency 'openpyxl'.")

    TABLE.to_excel(tmp_path / name) if name.endswith("xlsx") else (tmp_path / name).touch()
    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr(pd, "read_excel", no_excel)
    with pytest.raises(SourceError, match=rf"{name} needs {package}.*pip install {package}"):
        read(tmp_path / name)


def test_the_sheet_is_the_one_asked_for_or_the_only_one_with_the_target(tmp_path: Path) -> None:
    path = tmp_path / "points.xlsx"
    TABLE.to_excel(path, index=False)
    same(read(path), TABLE)
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"about": ["a survey"]}).to_excel(book, sheet_name="readme", index=False)
        TABLE.to_excel(book, sheet_name="2018", index=False)
    points = read(path)
    same(points, TABLE)
    assert points.table.found == ("sheet '2018' of 2",)
    with pd.ExcelWriter(path) as book:
        TABLE.assign(soc=99.0).to_excel(book, sheet_name="2009", index=False)
        TABLE.to_excel(book, sheet_name="2018", index=False)
    with pytest.raises(SourceError, match=r"2 of its sheets.*'2009', '2018'.*layer='2018'"):
        read(path)
    same(read(path, layer="2018"), TABLE)
    with pytest.raises(SourceError, match=r"no sheet '2081' \(has: '2009', '2018'\).*mean '2018'"):
        read(path, layer="2081")


def test_several_layers_of_points_are_listed_and_one_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "points.gpkg"
    geo(TABLE.assign(soc=99.0)).to_file(path, layer="survey_2009")
    geo().to_file(path, layer="survey_2018")
    text = r"2 layers of points: survey_2009, survey_2018\..*points\.layer: survey_2018"
    with pytest.raises(SourceError, match=text):
        read(path, crs=None)
    same(read(path, crs=None, layer="survey_2018"), TABLE)
    with pytest.raises(SourceError, match=r"no layer 'survey_2081' \(has: .*mean 'survey_2018'"):
        read(path, crs=None, layer="survey_2081")


def test_one_layer_of_points_among_others_is_taken_and_named(tmp_path: Path) -> None:
    path = tmp_path / "points.gpkg"
    shapes = geo().to_crs(32634)
    shapes["geometry"] = shapes.buffer(10)
    shapes.to_file(path, layer="plots")
    geo().to_file(path, layer="cores")
    points = read(path, crs=None)
    same(points, TABLE)
    assert points.table.found == ("its only layer of points, 'cores' of 2",)


def test_a_shapefile_in_an_archive_is_read(tmp_path: Path) -> None:
    geo().to_file(tmp_path / "points.shp")
    with zipfile.ZipFile(tmp_path / "points.zip", "w") as archive:
        for part in tmp_path.glob("points.*"):
            if part.suffix != ".zip":
                archive.write(part, part.name)
    same(read(tmp_path / "points.zip", crs=None), TABLE)


def test_multipoints_of_one_point_are_points_and_others_are_none(tmp_path: Path) -> None:
    from shapely import MultiPoint

    several = geo()
    several["geometry"] = [MultiPoint([place]) for place in several.geometry]
    several.to_file(tmp_path / "points.gpkg")
    same(read(tmp_path / "points.gpkg", crs=None), TABLE)
    several["geometry"] = [MultiPoint([(21, 41), (22, 42)])] * 6
    several.to_file(tmp_path / "pairs.gpkg")
    with pytest.raises(BadArgument, match=r"geometries of type MultiPoint.*taken at points"):
        read(tmp_path / "pairs.gpkg", crs=None)


def test_geometries_in_a_dataframe_are_places_without_a_crs() -> None:
    plain = pd.DataFrame(geo())
    same(read(plain), TABLE)
    with pytest.raises(MissingCRS, match="its geometry has numbers"):
        read(plain, crs=None)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("points.csv", {"layer": "2018"}, r"layer='2018' is of no use: points\.csv has no layer"),
        ("points.parquet", {"separator": ";"}, r"separator=';' is of no use"),
        ("points.xlsx", {"encoding": "cp1252"}, r"encoding='cp1252' is of no use"),
        (None, {"layer": "2018"}, r"a table in memory has no layer"),
    ],
)
def test_an_option_that_a_table_has_no_use_for_is_refused(
    tmp_path: Path, name: str | None, options: dict[str, str], words: str
) -> None:
    if name is not None:
        TABLE.to_csv(tmp_path / "points.csv", index=False)
        TABLE.to_parquet(tmp_path / "points.parquet")
        TABLE.to_excel(tmp_path / "points.xlsx", index=False)
    with pytest.raises(BadArgument, match=words):
        read(TABLE if name is None else tmp_path / name, **options)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a folder\. Pass the path of the table in it"):
        read(tmp_path)
