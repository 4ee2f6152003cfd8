"""Laws of leads beyond those that a network has learnt: its own means, and no narrower interval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hmx
from hmx.engine.verify import verify
from hmx.forecast.beyond import extrapolated_leads, outward
from hmx.forecast.window import halo
from hmx.networks.forecaster import reach
from hmx.progress import Progress
from tests.make.cubes import make_bundle, make_cube
from tests.make.nested import require_nested
from tests.make.networks import KINDS, options_of

DIRECT = [kind for kind in KINDS if "recursive" not in kind]
L, H = 2, 5  # leads that are learnt, and asked: the last run of the network is cut short
LEVELS = [20, 50, 80, 95]
ROUNDED = 1e-6  # of a range of 1, in float32


@pytest.fixture(scope="module")
def coast() -> xr.Dataset:
    return make_cube((40, 46), steps=4)


def plain(kind: str) -> Any:
    return options_of(kind, context=(), terrain=())


def model_of(ds: xr.Dataset, kind: str = "dilated, direct, shared", **changes: Any) -> hmx.Bundle:
    """A model of two leads that looks around, with random weights and intervals."""
    given = {"weights": "random", "calibrated": True, "h": L, **changes}
    return make_bundle(ds, options_of(kind), **given)


def ends(fc: xr.Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """The ends of the central intervals, from the narrowest to the widest."""
    return [(fc[f"hm_lo_{n}"].values, fc[f"hm_hi_{n}"].values) for n in LEVELS]


# the mean


@pytest.mark.parametrize("kind", DIRECT)
def test_a_later_lead_is_the_forecast_from_the_means_of_the_learnt_ones(
    coast: xr.Dataset, kind: str
) -> None:
    """The series with its own means as maps, forecast again: a lake and the sea stay empty."""
    ds = coast.astype("float64")
    model = make_bundle(ds, plain(kind), h=L, valid_range=None)
    ds["hm"].attrs = {}  # its own means leave the range
    asked = {"model": model, "precision": "float64"}
    whole = ds.hm.forecast(H, **asked)["hm"].load()
    series = ds
    for first in range(0, H, L):
        part = series.hm.forecast(L, **asked)
        found = whole[first : first + L]
        # what is fed back is the mean before values near the origin are drawn to it
        close = 3 * model.scaler.tolerance
        np.testing.assert_allclose(part["hm"][: len(found)], found, rtol=0, atol=close)
        means = part[["hm"]].drop_vars(["lead", "forecast_reference_time"])
        maps = xr.concat([series[["hm"]], means], dim="time", combine_attrs="override")
        series = maps.assign(elevation=ds["elevation"])
    empty = np.isnan(whole.values)
    assert empty.any()
    assert (empty == np.isnan(ds["hm"].values[-1])).all()
    assert np.nanmax(np.abs(np.diff(whole, axis=0)), axis=(1, 2)).min() > 1e-3


def test_learnt_leads_do_not_change_with_the_horizon(coast: xr.Dataset) -> None:
    model = model_of(coast)
    asked = {"model": model, "level": LEVELS, "quantiles": [0.3], "exceed": [0.2]}
    near, far = (coast.hm.forecast(h, **asked) for h in (L, H))
    for name in near.data_vars:
        cut = far[name].isel(time=slice(L)) if "time" in far[name].dims else far[name]
        np.testing.assert_array_equal(cut, near[name], err_msg=str(name))


# intervals


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", DIRECT)
def test_an_interval_is_never_narrower_than_at_the_last_learnt_lead(
    coast: xr.Dataset, kind: str, members: int
) -> None:
    model = model_of(coast, kind, members=members)
    fc = coast.hm.forecast(H, model=model, level=LEVELS).load()
    bounded = 0
    for low, high in ends(fc):
        width = high - low
        assert np.nanmin(width[L:] - width[L - 1]) >= -ROUNDED
        bounded += int(((low[L:] <= 0) | (high[L:] >= 1)).sum())
    assert bounded > 100, "the bounds must cut to be tested"
    assert require_nested(fc, "hm") == 2 * len(LEVELS)
    widest = ends(fc)[-1]
    assert np.nanmin(fc["hm"].values - widest[0]) >= -ROUNDED
    assert np.nanmin(widest[1] - fc["hm"].values) >= -ROUNDED
    assert 0 <= np.nanmin(widest[0]) <= np.nanmax(widest[1]) <= 1


def test_quantiles_of_later_leads_ascend_and_are_the_ends_of_intervals(coast: xr.Dataset) -> None:
    model = model_of(coast, members=2)
    p = [0.025, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.975]
    fc = coast.hm.forecast(H, model=model, level=[80, 95], quantiles=p).load()
    quantiles = fc["hm_quantile"]
    require_nested(fc, "hm")
    for name, at in (("lo_95", 0.025), ("lo_80", 0.1), ("hi_80", 0.9), ("hi_95", 0.975)):
        np.testing.assert_allclose(fc[f"hm_{name}"], quantiles.sel(quantile=at), atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), learnt=st.integers(1, 4))
def test_knots_that_moved_outward_have_no_smaller_gap_than_the_lead_before(
    seed: int, learnt: int
) -> None:
    rng = np.random.default_rng(seed)
    knots = np.sort(rng.normal(0, rng.random((5, 1, 1, 1)), (5, 7, 3, 2)), axis=1)
    before = knots.copy()
    found = outward(knots, learnt, 3)
    np.testing.assert_array_equal(knots, before)  # the caller's array stays
    np.testing.assert_array_equal(found[:learnt], knots[:learnt])
    np.testing.assert_allclose(found[:, 3], knots[:, 3], atol=1e-12)
    assert (found[:, 4:] >= knots[:, 4:] - 1e-12).all()
    assert (found[:, :3] <= knots[:, :3] + 1e-12).all()
    gaps = np.diff(found, axis=1)
    assert (gaps[learnt:] - gaps[learnt - 1 : -1] >= -1e-12).all()


def test_exceedances_of_later_leads_agree_with_the_quantiles(coast: xr.Dataset) -> None:
    """But where a bound cuts an interval: then its other end lies farther out."""
    model = model_of(coast, valid_range=None)
    fc = coast.hm.forecast(H, model=model, quantiles=[0.2, 0.7], exceed=[0.1, 0.5]).load()
    for x in (0.1, 0.5):
        chance = fc["hm_exceedance"].sel(threshold=x).values
        for p in (0.2, 0.7):
            value = fc["hm_quantile"].sel(quantile=p).values
            assert (chance[value > x + 1e-5] >= 1 - p - 1e-5).all()
            assert (chance[value < x - 1e-5] <= 1 - p + 1e-5).all()


# marks


def test_extrapolated_leads_are_named_once_and_in_attributes(
    coast: xr.Dataset, tmp_path: Path
) -> None:
    model, notes = model_of(coast).save(tmp_path / "m"), []
    fc = hmx.forecast.api.forecast(coast, H, model=model, level=80, progress=Progress(notes.append))
    assert notes == [
        "forecast: leads 3-5 go beyond the 2 leads that the model has learnt: extrapolated from "
        "its own mean, intervals uncalibrated"
    ]
    assert fc.attrs["extrapolated_leads"] == fc["hm"].attrs["extrapolated_leads"] == [3, 4, 5]
    assert fc["hm_lo_80"].attrs["uncalibrated_leads"] == [3, 4, 5]
    fc.to_zarr(tmp_path / "fc.zarr")
    stored = xr.open_zarr(tmp_path / "fc.zarr")
    assert stored.attrs["extrapolated_leads"] == [3, 4, 5]


def test_a_method_reports_extrapolated_leads_on_standard_error(
    coast: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(coast)
    coast.hm.forecast(L, model=model)
    assert capsys.readouterr().err == ""
    coast.hm.forecast(L + 1, model=model)
    assert capsys.readouterr().err.startswith("forecast: lead 3 goes beyond the 2 leads that")


def test_learnt_leads_are_not_marked(coast: xr.Dataset) -> None:
    fc = coast.hm.forecast(L, model=model_of(coast), level=80)
    marks = {"extrapolated_leads", "uncalibrated_leads"}
    assert not marks & {*fc.attrs, *fc["hm"].attrs, *fc["hm_lo_80"].attrs}


def test_a_forecast_of_a_forecast_does_not_inherit_the_marks(coast: xr.Dataset) -> None:
    model = model_of(coast)
    series = coast.hm.forecast(H, model=model).hm.with_history(coast)
    again = series.assign(elevation=coast["elevation"]).hm.forecast(1, model=model)
    assert "extrapolated_leads" not in {*again.attrs, *again["hm"].attrs}


def test_a_dataarray_goes_beyond_its_leads_too(coast: xr.Dataset) -> None:
    model = model_of(coast)
    array = coast["hm"].assign_coords(elevation=coast["elevation"])
    ahead = array.hm.forecast(H, model=model)
    assert ahead.attrs["extrapolated_leads"] == [3, 4, 5]
    np.testing.assert_array_equal(ahead, coast.hm.forecast(H, model=model)["hm"])


def test_a_recursive_model_has_learnt_the_leads_with_a_truth(coast: xr.Dataset) -> None:
    model = model_of(coast, "dilated, recursive", h=4)
    assert extrapolated_leads(model, 6) == [5, 6]  # nothing known of its training
    trained = {"steps": ["1990", "2005", 4]}  # two steps of history, so two leads
    model = replace(model, training=trained)
    assert extrapolated_leads(model, 6) == [3, 4, 5, 6]
    fc = coast.hm.forecast(6, model=model, level=LEVELS).load()
    assert fc.attrs["extrapolated_leads"] == [3, 4, 5, 6]
    assert fc["hm_lo_80"].attrs["uncalibrated_leads"] == [3, 4, 5, 6]
    for low, high in ends(fc):
        assert np.nanmin((high - low)[2:] - (high - low)[1]) >= -ROUNDED


# one forecast, however it is computed


def test_the_halo_grows_with_each_run_of_the_network(coast: xr.Dataset) -> None:
    model = model_of(coast)
    once, context = reach(model.spec.network, 1), model.spec.context.halo
    for h, runs in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3)):
        assert halo(model.spec, h) == runs * once + context
    assert coast.hm.plan(h=H, model=model).halo == 3 * once + context


def test_lazy_job_region_and_verify_agree_beyond_the_learnt_leads(tmp_path: Path) -> None:
    make_cube((70, 90), steps=4).to_zarr(tmp_path / "cube.zarr")
    ds = hmx.open_cube(tmp_path / "cube.zarr")
    model = model_of(ds).save(tmp_path / "m")
    asked = {"model": model, "level": LEVELS}
    whole = ds.hm.forecast(H, **asked, tile=512).load()
    job = ds.hm.forecast_to_zarr(tmp_path / "fc.zarr", H, **asked, tile=32, chunk=32)
    assert job.attrs["extrapolated_leads"] == [3, 4, 5]
    part = ds.hm.forecast(H, **asked, tile=32, region=(slice(10, 40), slice(20, 61))).load()
    for name in whole.data_vars:
        np.testing.assert_allclose(job[name], whole[name], rtol=0, atol=2e-6, err_msg=str(name))
        crop = whole[name].isel(y=slice(10, 40), x=slice(20, 61))
        np.testing.assert_allclose(part[name], crop, rtol=0, atol=2e-6, err_msg=str(name))
    assert verify(str(tmp_path / "fc.zarr"), sample=2).windows == 2


def test_bfloat16_goes_beyond_the_learnt_leads(coast: xr.Dataset) -> None:
    model = model_of(coast, "convlstm, direct, shared")
    full, half = (
        coast.hm.forecast(H, model=model, level=80, precision=p).load()
        for p in ("float32", "bfloat16")
    )
    assert 0 < np.nanmax(np.abs(full["hm"] - half["hm"])) < 0.15
    width = (half["hm_hi_80"] - half["hm_lo_80"]).values
    assert np.nanmin(width[L:] - width[L - 1]) >= -ROUNDED
