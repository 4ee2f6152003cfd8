"""Zone totals and draws of a forecast: exact, whoever asks, and refused where they would lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument, NotTrained
from hmx.uncertainty.joint.dependence import LEVELS

ASKED = {"above": [0.2, 0.5], "level": [50, 95], "draws": 6}


def zones_of(cube: xr.Dataset) -> np.ndarray:
    """Three zones, one of them of two parts."""
    found = np.ones((cube.sizes["y"], cube.sizes["x"]), int)
    found[::2, : cube.sizes["x"] // 2] = 2
    found[40:49, 80:89] = 3
    return found


@pytest.fixture(scope="module")
def table(cube: xr.Dataset, trained: hmx.Bundle) -> xr.Dataset:
    return cube.hm.zonal(zones_of(cube), h=2, model=trained, **ASKED)


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


def test_forecast_and_cube_give_the_same_table(cube, trained, table):
    fc = cube.hm.forecast(h=2, model=trained, level=80, tile=32)
    same(fc.hm.zonal(zones_of(cube), **ASKED), table)
    same(fc.compute().hm.zonal(zones_of(cube), **ASKED), table)


def test_stored_forecast_finds_its_model_and_cube(cube, trained, table, tmp_path):
    cube.to_zarr(tmp_path / "cube.zarr")
    stored = hmx.open_cube(tmp_path / "cube.zarr")
    stored.hm.forecast_to_zarr(tmp_path / "fc.zarr", h=2, model=trained)
    fc = hmx.open_cube(tmp_path / "fc.zarr")
    same(fc.hm.zonal(zones_of(cube), **ASKED), table)


def test_means_are_those_of_the_map(cube, trained, table):
    fc = cube.hm.forecast(h=2, model=trained).hm.load()
    zones = zones_of(cube)
    for zone in (1, 2, 3):
        wanted = fc.where(xr.DataArray(zones == zone, dims=("y", "x"))).mean(["y", "x"])
        np.testing.assert_allclose(table.hm.sel(zone=str(zone)), wanted, rtol=1e-6)
    np.testing.assert_allclose(table.hm.sel(zone="all"), fc.mean(["y", "x"]), rtol=1e-6)


def test_zones_add_up_the_draws_of_the_whole_map(cube, trained, table):
    drawn = cube.hm.draws(n=6, h=2, model=trained).hm.load()
    inside = xr.DataArray(zones_of(cube) == 2, dims=("y", "x"))
    means = drawn.where(inside).mean(["y", "x"]).astype("f8")
    ends = means.quantile([0.025, 0.975], "realization")
    row = table.sel(zone="2")
    # ends are rounded outward to half a step of the data
    assert (row.hm_lo_95 <= ends[0] + 1e-6).all()
    assert (row.hm_hi_95 >= ends[1] - 1e-6).all()
    step = 0.01
    np.testing.assert_allclose(row.hm_lo_95, ends[0], atol=step)
    np.testing.assert_allclose(row.hm_hi_95, ends[1], atol=step)


def test_region_has_the_totals_of_its_zones(cube, trained, table):
    west, south, east, north = cube.hm.grid.bounds
    part = (west, south, (west + east) / 2, north)
    asked = cube.hm.zonal(zones_of(cube), h=2, model=trained, region=part, **ASKED)
    same(asked.sel(zone=["2"]), table.sel(zone=["2"]))
    assert asked.area_km2.sel(zone="all") < table.area_km2.sel(zone="all")


def test_draws_do_not_depend_on_the_part_that_is_computed(cube, trained):
    drawn = cube.hm.draws(n=3, h=2, model=trained)
    corner = drawn.hm[:, :, 5:20, 7:31].compute()
    np.testing.assert_array_equal(corner, drawn.hm.compute()[:, :, 5:20, 7:31])
    more = cube.hm.draws(n=12, h=2, model=trained).hm[:3].compute()
    np.testing.assert_array_equal(more, drawn.hm.compute())
    turned = cube.isel(y=slice(None, None, -1)).hm.draws(n=3, h=2, model=trained)
    np.testing.assert_array_equal(turned.hm.compute()[:, :, ::-1], drawn.hm.compute())


def test_draws_have_the_distribution_of_the_forecast(cube, trained):
    drawn = cube.hm.draws(n=200, h=1, model=trained).hm.values[:, 0]
    quantile = cube.hm.forecast(h=1, model=trained, quantiles=LEVELS).hm_quantile.values[:, 0]
    known = np.isfinite(quantile[0])
    np.testing.assert_array_equal(np.isfinite(drawn).all(axis=0), known)
    for at in (4, 13, 22):
        level = quantile[at]
        below = (drawn < level).mean(axis=0)[known]
        upto = (drawn <= level + 1e-6).mean(axis=0)[known]
        # point masses reach from below their value up to it
        assert below.mean() - 0.06 <= LEVELS[at] <= upto.mean() + 0.06


def test_edited_and_cropped_forecasts_are_refused(cube, trained):
    fc = cube.hm.forecast(h=2, model=trained)
    zones = zones_of(cube)
    with pytest.raises(BadArgument, match="edited or cropped"):
        (fc * 1.1).assign_attrs(fc.attrs).hm.zonal(zones)
    edited = fc.compute()
    edited["hm"] = edited["hm"].copy(data=edited["hm"] * 1.01)
    with pytest.raises(BadArgument, match="was edited"):
        edited.hm.zonal(zones, draws=2)
    with pytest.raises(BadArgument, match="cropped"):
        fc.compute().isel(y=slice(3, None)).hm.zonal(zones, draws=2)
    with pytest.raises(BadArgument, match="h= belongs to the forecast"):
        fc.hm.zonal(zones, h=2)
    with pytest.raises(BadArgument, match="device= belongs to the forecast"):
        fc.hm.zonal(zones, device="cpu")


def test_model_of_a_forecast_is_its_own(cube, trained, table):
    fc = cube.hm.forecast(h=2, model=trained)
    same(fc.hm.zonal(zones_of(cube), model=trained.path, **ASKED), table)
    weights = {name: array + 1 for name, array in trained.weights.items()}
    other = replace(trained, weights=weights, path=None)
    with pytest.raises(BadArgument, match="another model"):
        fc.hm.zonal(zones_of(cube), model=other)


def test_cube_needs_a_model(cube):
    with pytest.raises(NotTrained, match="model='models/demo'"):
        cube.copy().hm.zonal(zones_of(cube))
    with pytest.raises(NotTrained, match="draws"):
        cube.copy().hm.draws()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"level": 180}, "percentage"),
        ({"above": [0.4, 0.1]}, "ascends"),
        ({"draws": 1}, "draws"),
        ({"seed": -1}, "seed"),
        ({"table": "areas"}, "table"),
        ({"by": "country"}, "country"),
        ({"abvoe": 0.1}, "Did you mean 'above'"),
    ],
)
def test_wrong_options_name_the_rule(cube, trained, options, text):
    with pytest.raises(BadArgument, match=text):
        cube.hm.zonal(zones_of(cube), h=2, model=trained, **options)


def test_difference_of_a_forecast_with_itself_is_zero(cube, trained):
    fc = cube.hm.forecast(h=2, model=trained)
    found = hmx.difference(fc, fc, zones_of(cube), above=0.3, draws=5)
    for name, values in found.data_vars.items():
        assert (values == 0).all(), name


def test_difference_is_narrower_than_its_sides(cube, trained):
    """Another covariate: errors that both forecasts share cancel."""
    higher = cube.assign(elevation=cube.elevation + 1).assign_attrs(cube.attrs)
    a, b = (c.hm.forecast(h=2, model=trained) for c in (higher, cube))
    found = hmx.difference(a, b, zones_of(cube), draws=40, level=95)
    alone = b.hm.zonal(zones_of(cube), draws=40, level=95)
    width = found.hm_difference_hi_95 - found.hm_difference_lo_95
    assert (width < 0.7 * (alone.hm_hi_95 - alone.hm_lo_95)).all()
    expected = a.hm.zonal(zones_of(cube), draws=2).hm - alone.hm
    np.testing.assert_allclose(found.hm_difference, expected, atol=1e-9)


def test_difference_needs_two_of_a_kind(cube, trained):
    fc = cube.hm.forecast(h=1, model=trained)
    later = cube.isel(time=slice(None, -1)).hm.forecast(h=1, model=trained)
    with pytest.raises(BadArgument, match="no time in common"):
        hmx.difference(fc, later, zones_of(cube), draws=2)
    with pytest.raises(BadArgument, match="one table"):
        hmx.difference(fc, fc, zones_of(cube), table="conservation")


def test_conservation_table_counts_all_land(cube, trained):
    found = cube.hm.zonal(
        zones_of(cube), h=2, model=trained, table="conservation", draws=4, classes=[0.2, 0.5]
    )
    area = found.transition_area.sum(["from_class", "to_class"])
    known = found.area_km2 * (1 - found.missing)
    np.testing.assert_allclose(area, known.broadcast_like(area), rtol=1e-9)
