"""Laws of masks: land without soil gets no value, and nothing else of the map moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import HmxError
from hmx.mapping.masks import _layer
from tests.make.soilworlds import UTM


def square(ds: xr.Dataset, rows: slice, columns: slice) -> dict[str, Any]:
    """A polygon around some pixels, and half a pixel of their neighbours in the west."""
    y, x = ds["y"].values[rows], ds["x"].values[columns]
    half = 125.0
    west, east, south, north = x.min() - 2 * half, x.max() + half, y.min() - half, y.max() + half
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{UTM.split(':')[1]}"}}
    return {"type": "FeatureCollection", "crs": crs, "features": [feature]}


@pytest.mark.parametrize("tile", [16, 32])
def test_polygons_take_pixels_that_they_cover_by_more_than_half(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path: Path, tile: int
) -> None:
    path = tmp_path / "rock.geojson"
    path.write_text(json.dumps(square(land, slice(20, 27), slice(10, 19))))
    _layer.cache_clear()
    options: dict[str, Any] = {"model": trained_mapper, "level": 80, "tile": tile}
    plain = land.soc.map(**options).compute()
    masked = land.soc.map(mask=str(path), **options).compute()
    wanted = np.zeros(plain["soc"].shape, bool)
    wanted[20:27, 10:19] = True  # the neighbours in the west are covered by half, and no more
    np.testing.assert_array_equal((masked["quality"].values & 16) > 0, wanted)
    assert "masked" in masked["quality"].attrs["flag_meanings"]
    for name in ("soc", "soc_lo_80", "soc_hi_80", "dissimilarity"):
        want = plain[name].where(xr.DataArray(~wanted, dims=("y", "x")))
        np.testing.assert_array_equal(masked[name], want)
    assert np.isfinite(plain["soc"].values[wanted]).any()


def test_classes_of_a_band_take_their_pixels_whether_the_model_reads_it_or_not(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    cover = rng.choice([10, 80, 90], land["twi"].shape).astype("int16")
    ds = land.assign(cover=(("y", "x"), cover))
    masked = ds.soc.map(model=trained_mapper, mask={"cover": [80, 90]}).compute()
    np.testing.assert_array_equal((masked["quality"].values & 16) > 0, cover != 10)
    assert np.isnan(masked["soc"].values[cover != 10]).all()
    plain = ds.soc.map(model=trained_mapper).compute()["soc"].values[cover == 10]
    np.testing.assert_array_equal(masked["soc"].values[cover == 10], plain)
    stored = tmp_path / "cube.zarr"
    ds.drop_encoding().to_zarr(stored, zarr_format=3)
    job = hmx.open_cube(stored).soc.map_to_zarr(
        tmp_path / "map.zarr", model=trained_mapper, mask={"cover": [80, 90]}
    )
    np.testing.assert_array_equal(job["soc"], masked["soc"])
    provenance = json.loads(job.attrs["hmx_provenance"])
    assert provenance["mask"] == {"cover": [80, 90]}


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"cover": [1]}, "cover"),
        ("nowhere.gpkg", "nowhere.gpkg"),
        ({"lst": [1]}, "band 'lst' of the mask has time"),
    ],
)
def test_a_mask_that_is_not_there_is_an_error(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, mask: Any, words: str
) -> None:
    with pytest.raises(HmxError, match=words):
        land.soc.map(model=trained_mapper, mask=mask)
