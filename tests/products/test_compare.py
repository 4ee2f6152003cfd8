"""Laws of comparisons: same pixels for both, intervals from blocks, any kind of maps as B."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.cli.main import hmx as command
from hmx.cube.grid import Grid
from hmx.errors import BadArgument, GridMismatch
from hmx.forecast.backtest.baselines.trends import linear_trend
from hmx.scores import crps
from tests.make.cubes import make_cube


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return make_cube((96, 112), steps=6)[["hm"]]


def with_error(truth: xr.Dataset, size: float, *, seed: int) -> xr.Dataset:
    """The last two maps, with errors that are alike over 8 px."""
    last = truth.isel(time=slice(-2, None))
    rough = np.random.default_rng(seed).normal(0, size, (2, 12, 14))
    noisy = last["hm"].values + np.kron(rough, np.ones((8, 8)))
    return last.copy(data={"hm": noisy.clip(0, 1).astype("float32")})


def test_the_scores_are_those_of_the_pixels_that_all_have(truth: xr.Dataset) -> None:
    a, b = with_error(truth, 0.05, seed=1), with_error(truth, 0.1, seed=2)
    b["hm"][0, :5] = np.nan
    table = hmx.compare(a, b, truth, block=16)
    true = truth["hm"].values[-2:]
    known = np.isfinite(true) & np.isfinite(b["hm"].values)
    off = {n: np.where(known, s["hm"].values - true, 0.0) for n, s in (("a", a), ("b", b))}
    for name, error in off.items():
        np.testing.assert_allclose(
            table[f"rmse_{name}"][-1], np.sqrt((error**2).sum() / known.sum()), rtol=1e-6
        )
        np.testing.assert_allclose(
            table[f"mae_{name}"][0], np.abs(error[0]).sum() / known[0].sum(), rtol=1e-6
        )
    assert table["time"].values.tolist()[-1] == "all"
    assert int(table["count"][-1]) == known.sum()
    assert float(table["rmse_skill_lo"][-1]) > 0
    assert table.attrs["verdict"].startswith("A errs less than B: RMSE skill of A against B +")
    # the other way round it is the other's
    back = hmx.compare(b, a, truth, block=16)
    assert back.attrs["verdict"].startswith("B errs less than A")


def test_alike_forecasts_differ_by_no_more_than_chance(truth: xr.Dataset) -> None:
    found = [
        hmx.compare(
            with_error(truth, 0.1, seed=2 * n), with_error(truth, 0.1, seed=2 * n + 1), truth,
            block=16,
        )
        for n in range(20)
    ]  # fmt: skip
    outside = sum("No difference" not in table.attrs["verdict"] for table in found)
    assert outside <= 4  # of 20, one is expected
    same = hmx.compare(found_a := with_error(truth, 0.1, seed=0), found_a, truth, block=16)
    assert float(same["rmse_skill"][-1]) == 0
    # blocks smaller than the errors are alike count one error many times: too narrow
    wide, narrow = (
        hmx.compare(
            with_error(truth, 0.1, seed=0), with_error(truth, 0.1, seed=1), truth, block=side
        )
        for side in (16, 2)
    )
    width = [float(t["rmse_skill_hi"][-1] - t["rmse_skill_lo"][-1]) for t in (wide, narrow)]
    assert width[0] > 2 * width[1]


def test_netcdf_and_geotiffs_are_compared_as_arrays_are(truth: xr.Dataset, tmp_path: Path) -> None:
    a, b = with_error(truth, 0.05, seed=1), with_error(truth, 0.1, seed=2)
    plain = hmx.compare(a, b, truth, block=16)
    b.drop_encoding().to_netcdf(tmp_path / "b.nc")
    for number, year in enumerate(b["time"].dt.year.values):
        b["hm"].isel(time=number, drop=True).rio.to_raster(tmp_path / f"b_{year}.tif")
    truth.drop_encoding().to_zarr(tmp_path / "truth.zarr", zarr_format=3, consolidated=False)
    a.drop_encoding().to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    for other in ("b.nc", "b_{year}.tif"):
        table = hmx.compare(
            tmp_path / "a.zarr", tmp_path / other, tmp_path / "truth.zarr", block=16
        )
        xr.testing.assert_allclose(table, plain, rtol=1e-5)
    south_up = b.isel(y=slice(None, None, -1))
    xr.testing.assert_allclose(hmx.compare(a, south_up, truth, block=16), plain)
    words = [str(tmp_path / "a.zarr"), str(tmp_path / "b_{year}.tif"), "--block", "16"]
    told = CliRunner().invoke(command, ["compare", *words, "--truth", str(tmp_path / "truth.zarr")])
    assert told.exit_code == 0, told.output
    assert plain.attrs["verdict"] in told.output
    assert "all" in told.output


def test_pixels_count_by_their_area_on_a_globe() -> None:
    truth = make_cube((96, 112), steps=6, crs=4326, pixel=0.5, corner=(10.0, 60.0))[["hm"]]
    a, b = with_error(truth, 0.05, seed=1), with_error(truth, 0.1, seed=2)
    table = hmx.compare(a, b, truth, block=16)
    true = truth["hm"].values[-2:]
    known = np.isfinite(true)
    area = np.broadcast_to(Grid.from_xarray(truth["hm"]).cell_areas()[:, None], true.shape) * known
    error = np.where(known, a["hm"].values - true, 0.0)
    want = np.sqrt((area * error**2).sum() / area.sum())
    np.testing.assert_allclose(table["rmse_a"][-1], want, rtol=1e-6)
    plain = np.sqrt((error**2).sum() / known.sum())
    assert abs(want / plain - 1) > 1e-3  # weights matter here


def test_distributions_have_their_crps_and_baselines_know_the_past_alone(
    truth: xr.Dataset,
) -> None:
    a, b = with_error(truth, 0.05, seed=1), with_error(truth, 0.1, seed=2)
    wide = {
        f"hm_{end}_80": (a["hm"] + sign * 0.06).clip(0, 1) for end, sign in (("lo", -1), ("hi", 1))
    }
    levels = [0.25, 0.5, 0.75]
    inner = np.stack([(a["hm"].values + shift).clip(0, 1) for shift in (-0.03, 0.0, 0.03)])
    wide["hm_quantile"] = xr.DataArray(inner, {"quantile": levels}, ("quantile", *a["hm"].dims))
    given = a.assign(wide)
    table = hmx.compare(given, b, truth, block=16)
    true, known = truth["hm"].values[-2:], np.isfinite(truth["hm"].values[-2:])
    knots = np.stack([wide["hm_lo_80"].values, *inner, wide["hm_hi_80"].values])
    ranked = crps(true, knots, [0.1, *levels, 0.9])
    np.testing.assert_allclose(table["crps_a"][-1], ranked[known].mean(), rtol=1e-6)
    np.testing.assert_allclose(table["crps_b"], table["mae_b"])
    assert "CRPS of A from 5 percentiles, of B as a map" in table.attrs["made of"]
    assert "CRPS skill" in table.attrs["verdict"]
    origin = truth["hm"].values[-3]
    still = np.sqrt(np.nanmean((true - origin) ** 2))
    np.testing.assert_allclose(table["rmse_persistence"][-1], still, rtol=1e-6)
    line = linear_trend(truth["hm"].values[-5:-2], (1, 2), valid_range=(0, 1))
    trend = np.sqrt(np.nanmean((true - line) ** 2))
    np.testing.assert_allclose(table["rmse_linear_trend"][-1], trend, rtol=1e-6)
    skill = 1 - float(table["rmse_a"][-1]) / still
    np.testing.assert_allclose(table["rmse_skill_a_vs_persistence"][-1], skill, rtol=1e-6)
    # an origin that a forecast names decides, and a truth without it has no baselines
    early = given.assign_coords(forecast_reference_time=truth["time"].values[-4])
    older = np.sqrt(np.nanmean((true - truth["hm"].values[-4]) ** 2))
    found = hmx.compare(early, b, truth, block=16)
    np.testing.assert_allclose(found["rmse_persistence"][-1], older, rtol=1e-6)
    alone = hmx.compare(given, b, truth.isel(time=slice(-2, None)), block=16)
    assert "rmse_persistence" not in alone
    assert "no baselines" in alone.attrs["made of"]


def test_what_cannot_be_compared_is_refused(truth: xr.Dataset) -> None:
    a = with_error(truth, 0.1, seed=0)
    with pytest.raises(BadArgument, match=r"no time in common.*Forecast from an earlier origin"):
        hmx.compare(a, a, truth.isel(time=slice(0, 3)))
    with pytest.raises(GridMismatch, match=r"b=Dataset is on another grid"):
        hmx.compare(a, a.isel(x=slice(1, None)), truth)
    with pytest.raises(BadArgument, match=r"blocks of 90 px have data.*block=45"):
        hmx.compare(a, a, truth, block=90)
    with pytest.raises(BadArgument, match="b has no 'hm' \\(it has population\\)"):
        hmx.compare(a, a.rename(hm="population"), truth)
