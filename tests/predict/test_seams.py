"""Laws of tiling: the result does not depend on how the work was cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.models import forecaster
from hmx.options import ModelOptions
from tests.factories import make_bundle, make_cube

SHAPE = (301, 277)  # odd, and no multiple of any tile
WHOLE = 512


@pytest.fixture(scope="module")
def coast() -> xr.Dataset:
    return make_cube(SHAPE, steps=4)


@pytest.fixture(
    scope="module",
    params=[
        {"layers": 1, "kernel": 5, "history": 2},
        {"layers": 2, "dilation": (1, 2), "history": 1},
    ],
    ids=str,
)
def exact(
    request: pytest.FixtureRequest, coast: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> hmx.Bundle:
    """Positive non-zero weights, and no clipping that could hide a seam.

    Few convolutions in a row: the outermost pixel's influence is a product of
    single weights, and must stay above float64's rounding to be seen.
    """
    network = ModelOptions(hidden=2, **request.param)
    bundle = make_bundle(coast, network, valid_range=None)
    return bundle.save(tmp_path_factory.mktemp("exact") / "model")


@pytest.fixture(scope="module")
def whole(coast: xr.Dataset, exact: hmx.Bundle) -> xr.Dataset:
    return coast.hm.forecast(h=2, model=exact, tile=WHOLE, precision="float64").load()


def largest(one: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """Largest difference at each lead."""
    return np.nanmax(np.abs(one["hm"].values - other["hm"].values), axis=(1, 2))


@pytest.mark.parametrize("tile", [64, 100, 257])
def test_forecast_does_not_depend_on_tile_size(
    coast: xr.Dataset, exact: hmx.Bundle, whole: xr.Dataset, tile: int
) -> None:
    tiled = coast.hm.forecast(h=2, model=exact, tile=tile, precision="float64")
    assert (largest(tiled, whole) <= 1e-13).all()
    np.testing.assert_array_equal(np.isnan(tiled["hm"]), np.isnan(whole["hm"]))


@pytest.mark.parametrize("tile", [64, 100, 257])
def test_a_halo_one_pixel_short_leaves_a_seam(
    coast: xr.Dataset,
    exact: hmx.Bundle,
    whole: xr.Dataset,
    tile: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = forecaster.reach
    monkeypatch.setattr(forecaster, "reach", lambda options, h: full(options, h) - 1)
    tiled = coast.hm.forecast(h=2, model=exact, tile=tile, precision="float64")
    assert largest(tiled, whole)[-1] > 1e-11


def test_in_float32_a_trained_model_agrees_to_a_millionth(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    whole = cube.hm.forecast(h=4, model=trained, tile=WHOLE)
    for tile in (32, 50):
        assert largest(cube.hm.forecast(h=4, model=trained, tile=tile), whole).max() <= 1e-6


@pytest.mark.parametrize(
    ("rows", "cols"), [((0, 50), (0, 50)), ((70, 200), (33, 277)), ((250, 301), (101, 102))]
)
def test_a_region_equals_the_crop_of_the_full_forecast(
    coast: xr.Dataset, exact: hmx.Bundle, rows: tuple[int, int], cols: tuple[int, int]
) -> None:
    options = {"h": 2, "model": exact, "tile": 64, "precision": "float64"}
    full = coast.hm.forecast(**options).isel(y=slice(*rows), x=slice(*cols))
    part = coast.hm.forecast(region=(slice(*rows), slice(*cols)), **options)
    xr.testing.assert_equal(part.load(), full.load())


def test_a_globe_wraps_at_the_date_line(tmp_path: Path) -> None:
    globe = make_cube(
        (30, 72), steps=4, crs="EPSG:4326", pixel=5.0, corner=(-180.0, 75.0), holes=False
    )
    bundle = make_bundle(globe, ModelOptions(hidden=2, dilation=(1, 2)), valid_range=None)
    bundle = bundle.save(tmp_path / "model")
    options = {"h": 2, "model": bundle, "precision": "float64"}
    ahead = globe.hm.forecast(tile=20, **options)["hm"].values
    turned = globe.roll(x=31, roll_coords=False).hm.forecast(tile=32, **options)["hm"].values
    np.testing.assert_allclose(np.roll(turned, -31, axis=-1), ahead, rtol=0, atol=1e-12)


def test_a_map_that_is_no_globe_does_not_wrap(coast: xr.Dataset, exact: hmx.Bundle) -> None:
    changed = coast.copy(deep=True)
    changed["hm"][:, :, -1] = 0.7
    options = {"h": 1, "model": exact, "tile": 64, "precision": "float64"}
    before, after = (d.hm.forecast(**options)["hm"].values[..., 0] for d in (coast, changed))
    np.testing.assert_array_equal(before, after)
