"""Laws of extents: coordinates that fit nowhere are refused with what stands in the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest

from hmx.cube.bands import as_bands
from hmx.errors import BadArgument
from hmx.points.joining import join
from hmx.points.table import read_points
from tests.make.pointworlds import make_covariates

UTM = "EPSG:32632"


@pytest.fixture(scope="module")
def bands() -> Any:
    return as_bands(make_covariates((20, 30), gaps=False))


@pytest.fixture(scope="module")
def table(bands: Any) -> pd.DataFrame:
    column, row = np.array([3, 8, 14, 20]), np.array([4, 9, 12, 15])
    x, y = bands.grid.x[column], bands.grid.y[row]
    to_degrees = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    data = {"id": list("abcd"), "x": x, "y": y, "lon": lon, "lat": lat}
    return pd.DataFrame(data | {"soc": [1.0, 2.0, 3.0, 4.0]})


def refusal(table: pd.DataFrame, bands: Any, **options: Any) -> str:
    with pytest.raises(BadArgument) as refused:
        join(read_points(table, target="soc", **options), bands, min_valid=0)
    said = str(refused.value)
    assert "inf" not in said
    return said


def test_metres_are_no_degrees(table: pd.DataFrame, bands: Any) -> None:
    said = refusal(table, bands, x="x", y="y", crs="EPSG:4326")
    assert said.startswith("columns 'x' and 'y' of the table hold ")
    assert f"{table['x'].min():.7g} to {table['x'].max():.7g}" in said
    assert "look like metres" in said
    assert "the table also has columns for x='lon', y='lat'" in said


def test_degrees_in_a_projected_crs_are_recognised(table: pd.DataFrame, bands: Any) -> None:
    said = refusal(table, bands, crs=UTM)
    assert "from columns 'lon' and 'lat' of the table" in said
    assert "look like degrees, and as such 4 of 4 lie in it: pass crs='EPSG:4326'" in said
    assert "the table also has columns for x='x', y='y'" in said


def test_swapped_coordinates_are_recognised(table: pd.DataFrame, bands: Any) -> None:
    said = refusal(table, bands, x="lat", y="lon", crs="EPSG:4326")
    assert "With x and y swapped 4 of 4 lie in it: pass x='lon', y='lat'" in said
    said = refusal(table, bands, x="y", y="x", crs=UTM)
    assert "With x and y swapped 4 of 4 lie in it: pass x='x', y='y'" in said
    far = table.assign(lon=150.0)  # 150 is not a latitude
    said = refusal(far, bands, x="lat", y="lon", crs="EPSG:4326")
    assert "X and y look swapped: pass x='lon', y='lat'" in said


def test_another_projection_is_recognised_as_that_of_the_cube(
    table: pd.DataFrame, bands: Any
) -> None:
    said = refusal(table, bands, x="x", y="y", crs="EPSG:3035")
    assert f"Read in the CRS of the cube 4 of 4 lie in it: pass crs='{UTM}'" in said


def test_a_row_that_is_no_place_on_earth_is_outside_and_named(
    table: pd.DataFrame, bands: Any
) -> None:
    odd = table.copy()
    odd.loc[2, ["lon", "lat"]] = table.loc[2, ["x", "y"]].to_numpy()
    points = read_points(odd, target="soc", crs="EPSG:4326")
    _, report = join(points, bands, min_valid=0)
    assert report.left["outside"].tolist() == [2]
    assert "1 outside the cube (id c)" in str(report)
