"""Laws of tiling: the result does not depend on how the work was cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.features.context import Context
from hmx.forecast import window as module
from hmx.networks.options import ModelOptions
from tests.make.cubes import make_bundle, make_cube
from tests.make.networks import KINDS, options_of

SHAPE = (131, 117)  # odd, and no multiple of any tile
WHOLE = 256
TILES = [32, 50, 101]
# What is derived is rounded to float32, which does depend on where sums began.
ROUNDED = 1e-6

PLAIN = {kind: options_of(kind, context=(), terrain=()) for kind in KINDS}
SEEING = {
    "squares": options_of("dilated, direct, shared", context=(1, 4), terrain=()),
    "maxima": options_of("dilated, direct, separate", context=(3,), maxima=True, terrain=()),
    "terrain": options_of("convlstm, direct, shared", context=(), terrain=("elevation",)),
    "all": options_of("convlstm, direct, shared", context=(2, 5), maxima=True),
    "fed back": options_of("dilated, recursive", context=(1, 4)),
}
# Enters behind the ConvLSTM, so that the halo has pixels to spare.
LATE = {"late": options_of("convlstm, recursive, trunk", context=(2, 5))}
# A direct network that has learnt one lead of the three that are asked: it runs three times.
RUNS = 3
BEYOND = {kind: options for kind, options in PLAIN.items() if options.strategy == "direct"}
Made = tuple[ModelOptions, hmx.Bundle, xr.Dataset]


@pytest.fixture(scope="module")
def coast() -> xr.Dataset:
    return make_cube(SHAPE, steps=4)


@pytest.fixture(scope="module", params=PLAIN.values(), ids=PLAIN)
def exact(
    request: pytest.FixtureRequest, coast: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """Positive non-zero weights, no clipping that could hide a seam, nothing derived.

    Few convolutions in a row: the outermost pixel's influence is a product of
    single weights, and must stay above float64's rounding to be seen.
    """
    return made(request.param, coast, tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module", params=SEEING.values(), ids=SEEING)
def seeing(
    request: pytest.FixtureRequest, coast: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """Likewise, with channels that look around."""
    return made(request.param, coast, tmp_path_factory.mktemp("seeing"))


def made(options: ModelOptions, cube: xr.Dataset, folder: Path) -> Made:
    bundle = make_bundle(cube, options, valid_range=None).save(folder / "model")
    return options, bundle, forecast(cube, bundle, WHOLE).load()


def forecast(cube: xr.Dataset, bundle: hmx.Bundle, tile: int) -> xr.Dataset:
    return cube.hm.forecast(h=2, model=bundle, tile=tile, precision="float64")


@pytest.fixture(scope="module", params=BEYOND.values(), ids=BEYOND)
def again(
    request: pytest.FixtureRequest, coast: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[hmx.Bundle, xr.Dataset]:
    """Likewise, beyond the leads that were learnt."""
    bundle = make_bundle(coast, request.param, valid_range=None, h=1)
    bundle = bundle.save(tmp_path_factory.mktemp("again") / "model")
    return bundle, beyond(coast, bundle, WHOLE).load()


def beyond(cube: xr.Dataset, bundle: hmx.Bundle, tile: int) -> xr.Dataset:
    return cube.hm.forecast(h=RUNS, model=bundle, tile=tile, precision="float64")


def largest(one: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """Largest difference at each lead."""
    return np.nanmax(np.abs(one["hm"].values - other["hm"].values), axis=(1, 2))


@pytest.mark.parametrize("tile", TILES)
def test_forecast_does_not_depend_on_tile_size(coast: xr.Dataset, exact: Made, tile: int) -> None:
    _, bundle, whole = exact
    tiled = forecast(coast, bundle, tile)
    assert (largest(tiled, whole) <= 1e-13).all()
    np.testing.assert_array_equal(np.isnan(tiled["hm"]), np.isnan(whole["hm"]))
    change = np.abs(whole["hm"] - coast["hm"].isel(time=-1)).max()
    assert change > 0.05, "it must move to be compared"


@pytest.mark.parametrize("tile", TILES)
def test_a_halo_one_pixel_short_leaves_a_seam(
    coast: xr.Dataset, exact: Made, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle, whole = exact
    full = module.reach
    monkeypatch.setattr(module, "reach", lambda *given: full(*given) - 1)
    assert largest(forecast(coast, bundle, tile), whole)[-1] > 1e-11


@pytest.fixture(scope="module")
def island(coast: xr.Dataset) -> xr.Dataset:
    """The same series, but the last map has an island alone: the maps before show what it was."""
    rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    last = coast["hm"].isel(time=-1).where(np.hypot(rows - 60, cols - 50) < 9)
    return coast.assign(hm=xr.concat([coast["hm"].isel(time=slice(-1)), last], "time"))


def test_rows_and_columns_of_sea_around_a_coast_are_not_computed(
    island: xr.Dataset, exact: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[int, int]] = []
    run = module.Engine.run

    def watched(self, network, seen, h, crop):
        computed.append(crop.shape)
        return run(self, network, seen, h, crop)

    monkeypatch.setattr(module.Engine, "run", watched)
    found = forecast(island, exact[1], WHOLE).load()
    assert computed == [(64, 32)], "from multiples of 32 px to multiples of 32 px"
    monkeypatch.setattr(module, "STEP", WHOLE)
    whole = forecast(island, exact[1], WHOLE).load()
    assert computed[1:] == [SHAPE]
    assert (largest(found, whole) <= 1e-13).all()
    for name in whole.data_vars:
        np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(whole[name]), err_msg=name)
    monkeypatch.undo()
    if exact[0].strategy == "recursive":
        return  # what it forecasts at sea is no input of the next step
    full = module.TileGeometry.narrowed
    monkeypatch.setattr(
        module.TileGeometry, "narrowed", lambda self, part, far: full(self, part, far - 1)
    )
    monkeypatch.setattr(module, "STEP", 1)  # the bounds touch the island
    short = forecast(island, exact[1], WHOLE)
    assert largest(short, whole)[-1] > 1e-12, "the halo around the bounds must be needed"


def test_extrapolated_leads_do_not_depend_on_tile_size(
    coast: xr.Dataset, again: tuple[hmx.Bundle, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, whole = again
    tiled = beyond(coast, bundle, TILES[0])
    assert (largest(tiled, whole) <= 1e-12).all()
    np.testing.assert_array_equal(np.isnan(tiled["hm"]), np.isnan(whole["hm"]))
    if bundle.spec.network.arch != "dilated":
        return  # so many convolutions in a row that the outermost pixel is below rounding
    full = module.reach
    monkeypatch.setattr(module, "reach", lambda *given: full(*given) - 1)
    assert largest(beyond(coast, bundle, TILES[0]), whole)[-1] > 1e-11, "the halo must be needed"


@pytest.mark.parametrize("tile", TILES)
def test_what_is_derived_does_not_depend_on_tile_size(
    coast: xr.Dataset, seeing: Made, tile: int
) -> None:
    options, bundle, whole = seeing
    assert bundle.spec.context.halo >= 1
    assert module.halo(bundle.spec, 2) == module.reach(options, 2) + bundle.spec.context.halo
    assert (largest(forecast(coast, bundle, tile), whole) <= ROUNDED).all()


@pytest.mark.parametrize("tile", TILES[:2])
def test_a_context_one_pixel_short_leaves_a_seam(
    coast: xr.Dataset, seeing: Made, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle, whole = seeing
    full = bundle.spec.context.halo
    monkeypatch.setattr(Context, "halo", full - 1)
    assert largest(forecast(coast, bundle, tile), whole)[-1] > ROUNDED


def test_what_is_derived_may_enter_late(coast: xr.Dataset, tmp_path: Path) -> None:
    _, bundle, whole = made(LATE["late"], coast, tmp_path)
    for tile in TILES:
        assert (largest(forecast(coast, bundle, tile), whole) <= ROUNDED).all()


def test_in_float32_a_trained_model_agrees_to_a_millionth(
    cube: xr.Dataset, trained: hmx.Bundle
) -> None:
    asked = {"h": 4, "model": trained, "level": [80], "quantiles": [0.3]}
    whole = cube.hm.forecast(tile=WHOLE, **asked).load()
    for tile in (32, 50):
        tiled = cube.hm.forecast(tile=tile, **asked).load()
        for name in whole.data_vars:
            np.testing.assert_allclose(tiled[name], whole[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("rows", "cols"), [((0, 50), (0, 50)), ((40, 100), (33, 117)), ((120, 131), (101, 102))]
)
def test_a_region_equals_the_crop_of_the_full_forecast(
    coast: xr.Dataset, exact: Made, rows: tuple[int, int], cols: tuple[int, int]
) -> None:
    options = {"h": 2, "model": exact[1], "tile": 32, "precision": "float64"}
    full = coast.hm.forecast(**options).isel(y=slice(*rows), x=slice(*cols))
    part = coast.hm.forecast(region=(slice(*rows), slice(*cols)), **options)
    xr.testing.assert_equal(part.load(), full.load())


@pytest.mark.parametrize("options", (PLAIN | SEEING | LATE).values(), ids=PLAIN | SEEING | LATE)
def test_a_globe_wraps_at_the_date_line(options: ModelOptions, tmp_path: Path) -> None:
    globe = make_cube(
        (30, 72), steps=4, crs="EPSG:4326", pixel=5.0, corner=(-180.0, 75.0), holes=False
    )
    bundle = make_bundle(globe, options, valid_range=None).save(tmp_path / "model")
    asked = {"h": 2, "model": bundle, "precision": "float64"}
    ahead = globe.hm.forecast(tile=20, **asked)["hm"].values
    turned = globe.roll(x=31, roll_coords=False).hm.forecast(tile=32, **asked)["hm"].values
    rounded = ROUNDED if bundle.spec.context.halo else 1e-12
    np.testing.assert_allclose(np.roll(turned, -31, axis=-1), ahead, rtol=0, atol=rounded)


def test_a_map_that_is_no_globe_does_not_wrap(coast: xr.Dataset, exact: Made) -> None:
    changed = coast.copy(deep=True)
    changed["hm"][:, :, -1] = 0.7
    options = {"h": 1, "model": exact[1], "tile": 32, "precision": "float64"}
    before, after = (d.hm.forecast(**options)["hm"].values[..., 0] for d in (coast, changed))
    np.testing.assert_array_equal(before, after)


def test_an_ensemble_has_no_seams_either(coast: xr.Dataset, tmp_path: Path) -> None:
    options = options_of("dilated, direct, shared", context=(), terrain=())
    bundle = make_bundle(coast, options, members=2, valid_range=None).save(tmp_path / "m")
    whole, tiled = (forecast(coast, bundle, tile) for tile in (WHOLE, 50))
    assert (largest(tiled, whole) <= 1e-12).all()
