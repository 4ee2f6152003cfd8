"""Real rasters through the whole path: what a user brings in comes out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.windows
import xarray as xr
import yaml

import hmx
from hmx.workflow import ensure_result
from tests.make.nested import require_nested

CASES: dict[str, dict[str, Any]] = {
    "amapa": {
        "folder": "amapa",
        "file": "HM_{year}.tif",
        "years": list(range(1985, 2016, 5)),
        "ahead": ["2020", "2025", "2030", "2035"],
        "target": "hm",
        "range": [0, 1],
        "part": ((40, 240), (365, 605)),
    },
    "north_carolina": {
        "folder": "north_carolina",
        "file": "HFP_{year}.tif",
        "years": list(range(2010, 2016)),
        "ahead": ["2016", "2017", "2018", "2019"],
        "target": "hfp",
        "range": [0, 50],
        "part": ((0, 180), (180, 420)),  # a coast, and the largest value
    },
}


def cut(source: Path, target: Path, part: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Copy rows and columns of a raster with all that the file declares."""
    window = rasterio.windows.Window.from_slices(*part)
    with rasterio.open(source) as file:
        size = {"height": window.height, "width": window.width}
        profile = {**file.profile, **size, "transform": file.window_transform(window)}
        with rasterio.open(target, "w", **profile) as copy:
            copy.write(file.read(window=window))
            copy.update_tags(**file.tags())


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path, Path]:
    """Ingest, train for two steps, forecast, all through a catalog."""
    facts, out = CASES[request.param], tmp_path_factory.mktemp(request.param)
    folder = out / "rasters"
    folder.mkdir()
    names = [facts["file"].format(year=year) for year in facts["years"]]
    for name in (*names, "elevation.tif"):
        cut(real_data / facts["folder"] / name, folder / name, facts["part"])
    sources = {
        facts["target"]: {
            "path": str(folder / facts["file"]),
            "years": facts["years"],
            "valid_range": facts["range"],
        },
        "elevation": {"path": str(folder / "elevation.tif"), "units": "m"},
    }
    catalog = {
        "cube": {"path": "cube.zarr", "target": facts["target"], "sources": sources},
        "model": {"history": 2, "width": 4, "trunk": [1, 2], "context": [1, 3]},
        "train": {"epochs": 1, "steps": 2, "chip": 48, "final": False},
        "forecast": {"h": 4, "level": [80], "output": "forecast.zarr"},
    }
    (out / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    ensure_result(hmx.Catalog.load(out / "catalog.yaml"))
    return facts, folder, out


def test_grid_nodata_scale_and_names_survive(case: tuple[dict[str, Any], Path, Path]) -> None:
    facts, folder, out = case
    fc = xr.open_zarr(out / "forecast.zarr")
    with rasterio.open(folder / facts["file"].format(year=facts["years"][-1])) as raster:
        values = raster.read(1, masked=True).filled(np.nan)
        assert fc.rio.crs == raster.crs
        assert fc[facts["target"]].rio.crs == raster.crs
        assert fc.rio.transform().almost_equals(raster.transform, 1e-6)
        assert fc.rio.shape == raster.shape
    ahead = fc[facts["target"]]
    assert ahead.dtype == np.float32
    assert ahead.dims == ("time", "y", "x")
    assert [str(time)[:4] for time in ahead["time"].values] == facts["ahead"]
    for plane in ahead.values:
        np.testing.assert_array_equal(np.isnan(plane), np.isnan(values))
    assert require_nested(fc, facts["target"]) == 2
    assert float(ahead.min()) >= facts["range"][0]
    assert facts["range"][1] / 2 < float(ahead.max()) <= facts["range"][1]


def test_the_past_and_the_forecast_join(case: tuple[dict[str, Any], Path, Path]) -> None:
    facts, _, out = case
    cube, fc = hmx.open_cube(out / "cube.zarr"), hmx.open_cube(out / "forecast.zarr")
    series = fc.hm.with_history(cube)
    assert series.sizes["time"] == len(facts["years"]) + 4
    assert series.rio.crs == cube.rio.crs
    np.testing.assert_array_equal(series[facts["target"]][-4:], fc[facts["target"]])
    np.testing.assert_array_equal(series[facts["target"]][:-4], cube[facts["target"]])
