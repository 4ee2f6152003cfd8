"""The bench of exports is run once, with the libraries that are always there."""

from __future__ import annotations

import json

import pytest

from tests.bench import gis


def test_exports_open_in_python_with_the_mean_of_the_product(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gis.main(["--side", "40", "--only", "python", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    opens = {(row["program"].split()[0], row["format"]) for row in rows if row["result"] == "opens"}
    assert {("xarray", "netcdf"), ("xarray", "zarr2"), ("xarray", "geozarr")} <= opens
    assert {("GDAL", "cog"), ("GDAL", "netcdf"), ("GDAL", "zarr2")} <= opens


def test_a_gdal_of_another_wheel_opens_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyogrio")
    assert gis.main(["--side", "40", "--only", "library", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    if not rows:
        pytest.skip("this pyogrio is no wheel with a GDAL of its own")
    assert "opens" in {row["result"] for row in rows if row["format"] == "cog"}


def test_another_mean_is_reported() -> None:
    assert gis.compared(lambda: 1.0, 2.0) == "mean 1 is not 2"
    assert gis.compared(lambda: float("x"), 2.0).startswith("fails: could not convert")
