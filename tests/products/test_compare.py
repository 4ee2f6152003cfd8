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
from hmx.errors import BadArgument, GridMismatch
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
