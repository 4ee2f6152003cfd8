"""Laws of bands of codes: what looks like classes is named, quantities are left in peace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from hmx.mapping.train.recipe import MapTrainSetup, prepare
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from tests.make.soilworlds import UTM, make_points

RNG = np.random.default_rng(5)
SHAPE = (32, 36)


def warnings(land: xr.Dataset, values: np.ndarray, **attrs: Any) -> tuple[str, ...]:
    ds = land.assign(band=(("y", "x"), values, attrs))
    recipe = MapTrainSetup(points=PointsOptions(crs=UTM), network=MapperOptions(window=3))
    return prepare(ds, make_points(land), recipe).warnings


def patches(codes: list[int]) -> np.ndarray:
    small = RNG.choice(codes, (8, 9))
    return np.kron(small, np.ones((4, 4))).astype("int16")


@pytest.mark.parametrize("codes", [[11, 311, 512], list(range(1, 9)), [0, 1, 2, 3], [10, 20, 95]])
def test_codes_of_classes_are_named_with_what_to_type(land: xr.Dataset, codes: list[int]) -> None:
    values = patches(codes)
    (said,) = warnings(land, values)
    assert said.startswith(f"'band' looks like codes of {len(codes)} classes")
    assert "(ds['band'] == " in said


def test_flags_are_codes_without_a_doubt(land: xr.Dataset) -> None:
    steps = np.add.outer(np.arange(32), np.arange(36)).astype("float32")
    assert len(warnings(land, steps, flag_values=[0, 1], flag_meanings="dry wet")) == 1


def test_quantities_in_whole_numbers_are_none(land: xr.Dataset) -> None:
    rows, columns = np.mgrid[:32, :36]
    slope = np.round(10 + 8 * np.sin(rows / 9) * np.cos(columns / 8)).astype("int16")
    percent = np.round(50 + 50 * np.sin(rows / 5) * np.cos(columns / 4))
    for values in (slope, percent, patches([0, 1]), RNG.normal(size=SHAPE)):
        assert warnings(land, values.astype("float32")) == ()
