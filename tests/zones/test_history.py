"""Laws of the history of zones: plain means of the maps, which meet the table at the origin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.zones.history import zone_history
from tests.make.cubes import make_cube


def halves(cube: xr.Dataset) -> dict[str, Any]:
    """Return two zones and a bit of each side: the border cuts through pixels."""
    west, south, east, north = cube.hm.grid.bounds
    middle = west + (east - west) * 0.3377
    boxes = {"left": (west, middle), "right": (middle, east)}
    features = [
        {
            "type": "Feature",
            "properties": {"name": name, "country": "A"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[a, south], [b, south], [b, north], [a, north], [a, south]]],
            },
        }
        for name, (a, b) in boxes.items()
    ]
    crs = {"type": "name", "properties": {"name": cube.hm.grid.crs.to_wkt()}}
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def test_the_whole_is_the_plain_mean_of_each_map_and_zones_make_it_up(cube: xr.Dataset) -> None:
    past = zone_history(cube, halves(cube), above=[0.1, 0.3], by="country")
    assert past["zone"].values.tolist() == ["left", "right", "A", "all"]
    assert past["kind"].values.tolist() == ["zone", "zone", "group", "all"]
    maps = cube["hm"].astype("float64")
    np.testing.assert_allclose(past["hm"].sel(zone="all"), maps.mean(["y", "x"]), rtol=1e-6)
    over = past["area_above"]
    pixel = np.prod(cube.hm.grid.pixel_size_m) / 1e6
    for threshold in (0.1, 0.3):
        count = (cube["hm"] > np.float32(threshold)).sum(["y", "x"])
        np.testing.assert_allclose(over.sel(zone="all", threshold=threshold), count * pixel)
    np.testing.assert_allclose(over.sel(zone="A"), over[:2].sum("zone"), rtol=1e-9)
    np.testing.assert_allclose(over.sel(zone="all"), over[:2].sum("zone"), rtol=1e-6)
    assert np.isfinite(past["hm"]).all()
    assert over.attrs["units"] == "km2"


def test_a_cube_the_other_way_up_has_the_same_history(cube: xr.Dataset) -> None:
    zones = halves(cube)
    there = zone_history(cube, zones)
    back = zone_history(cube.isel(y=slice(None, None, -1)), zones)
    xr.testing.assert_allclose(there, back)


def test_a_zone_without_data_is_nan_and_areas_are_true_on_degrees() -> None:
    cube = make_cube((40, 40), steps=3, crs="EPSG:4326", pixel=0.05, corner=(10.0, 50.0)).copy(
        deep=True
    )
    cube["hm"][:, :, 20:] = np.nan
    zones = np.repeat(np.array([[1] * 20 + [2] * 20]), 40, axis=0)
    past = zone_history(cube, zones, above=-1.0)
    assert np.isnan(past["hm"].sel(zone="2")).all()
    assert np.isfinite(past["hm"].sel(zone="1")).all()
    rows = cube.hm.grid.cell_areas()
    known = np.isfinite(cube["hm"].values).sum(axis=2)
    np.testing.assert_allclose(past["area_above"].sel(zone="1")[:, 0], known @ rows / 1e6)
    weighted = cube["hm"].isel(x=slice(20)).weighted(xr.DataArray(rows, dims="y"))
    np.testing.assert_allclose(past["hm"].sel(zone="1"), weighted.mean(["y", "x"]), rtol=1e-5)


def test_history_and_forecast_meet_at_the_origin(cube: xr.Dataset, trained: hmx.Bundle) -> None:
    zones = halves(cube)
    table = cube.hm.zonal(zones, h=1, model=trained, draws=4, above=0.1, by="country")
    past = cube.hm.zone_history(zones, above=0.1, by="country")
    assert table["zone"].values.tolist() == past["zone"].values.tolist()
    np.testing.assert_allclose(past["hm"].isel(time=-1), table["hm_origin"], rtol=1e-6)
    over = past["area_above"].isel(time=-1)
    np.testing.assert_allclose(over, table["area_above_origin"], rtol=1e-6)
    figure = table.hm.plot_zones(past["hm"])
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == list(
        past["zone"].values
    )


def test_an_unknown_group_is_named(cube: xr.Dataset) -> None:
    with pytest.raises(hmx.errors.BadArgument, match="by='contry' is not a property"):
        zone_history(cube, halves(cube), by="contry")
