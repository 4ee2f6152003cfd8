"""Laws of synthetic lands: what decides the soils is learnt, and is lost where it is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hmx.mapping.api import soc_map, train
from hmx.mapping.bundle import MapBundle
from hmx.mapping.predict import predict
from tests.make.soillands import FIT, Land, land_of_classes, land_of_depths, land_of_statics
from tests.make.soilworlds import UTM

SHARE = 0.8  # of the R2 that can be achieved


def r2(given: tuple[xr.Dataset, pd.DataFrame, Any]) -> float:
    """R2 on held-out samples, on the logarithm."""
    ds, points, options = given
    held_out = train(ds, points, **options).training["held_out"]
    return float(held_out["transformed"]["r2"])


@pytest.fixture(scope="module")
def statics() -> Land:
    return land_of_statics()


@pytest.fixture(scope="module")
def mapper(statics: Land) -> MapBundle:
    return train(*statics.without()[:2], **FIT, **statics.options)


def test_a_land_of_classes_is_learnt_and_lost_as_numbers_or_without_them() -> None:
    land = land_of_classes()
    assert land.achievable > 0.9
    assert r2(land.without()) >= SHARE * land.achievable
    assert r2(land.without("categories")) < SHARE * land.achievable  # the codes as numbers
    assert r2(land.without("cover", "categories")) < 0.1


def test_a_land_of_depths_is_learnt_and_lost_without_depth_or_elevation() -> None:
    land = land_of_depths()
    assert land.achievable > 0.9
    assert r2(land.without()) >= SHARE * land.achievable
    assert r2(land.without("top", "bottom")) < 0.5 * land.achievable
    # kriging off: the errors of neighbours, which share the elevation, would make up for it
    assert r2(land.without("elevation", krige=False)) < SHARE * land.achievable


def test_a_land_of_statics_is_learnt_from_points_without_dates_and_lost_without_them(
    statics: Land, mapper: MapBundle
) -> None:
    assert statics.achievable > 0.9
    assert "date" not in statics.points
    own = mapper.training["held_out"]["transformed"]["r2"]
    assert own >= SHARE * statics.achievable
    # the years alone, all of them, as samples have no date; without the errors of neighbours
    alone = {"dynamic": None, "history": 6, "krige": False}
    assert r2(statics.without("elevation", "twi", **alone)) < 0.1
    assert r2(statics.without("twi")) < SHARE * statics.achievable


def test_bands_without_time_are_the_same_beside_a_series(statics: Land, mapper: MapBundle) -> None:
    fixed = statics.ds[["elevation", "twi"]]
    plain = train(fixed, statics.points, **FIT)
    for name, weight in mapper.weights.items():
        np.testing.assert_array_equal(weight, plain.weights[name])
    assert mapper.spec == plain.spec
    maps = [soc_map(ds, model=mapper, tile=20).compute() for ds in (statics.ds, fixed)]
    assert "time" not in maps[0].coords
    np.testing.assert_array_equal(*(one["soc"] for one in maps))


def test_a_model_of_bands_without_time_that_counted_the_steps_of_a_cube_still_maps(
    statics: Land, mapper: MapBundle, tmp_path: Path
) -> None:
    counted = replace(mapper.spec, steps=4, climatology=False, cadence="1 year")
    old = replace(mapper, spec=counted).save(tmp_path / "old")
    made = soc_map(statics.ds, model=old, tile=20).compute()
    assert "time" not in made.coords
    assert made["soc"].notnull().all()
    table = predict(statics.ds, statics.points[:5], model=old, crs=UTM, device="cpu")
    rows = {"y": xr.DataArray(statics.points["y"][:5]), "x": xr.DataArray(statics.points["x"][:5])}
    np.testing.assert_allclose(table["soc"], made["soc"].sel(rows), rtol=1e-5)
