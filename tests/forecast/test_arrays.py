"""A DataArray trains, forecasts and is judged as its Dataset is, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import CubeError, MissingVariable
from tests.conftest import ROOT
from tests.cube.test_array import KEPT, with_roles
from tests.make.cubes import make_bundle, make_cube

QUICK: dict[str, Any] = {
    "history": 2, "width": 3, "trunk": (1,), "context": (1,), "h": 2, "chip": 32,
    "epochs": 1, "steps": 2, "final": False, "until": 2005,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "cube.zarr"
    ds = with_roles(make_cube((64, 64), chunks={"y": 32, "x": 32}))
    ds.attrs["hmx_fingerprint"] = "abc"
    ds.to_zarr(path, **KEPT)
    return path


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> hmx.Bundle:
    return hmx.open_cube(store).hm.train(out=tmp_path_factory.mktemp("m") / "m", **QUICK)


def test_an_array_trains_the_weights_of_its_dataset(store: Path, model: hmx.Bundle) -> None:
    array = hmx.open_cube(store, array=True)
    found = array.hm.train(**QUICK)
    assert found.spec == model.spec
    assert found.spec.static == ("elevation",)
    assert found.weights.keys() == model.weights.keys()
    for name, weights in model.weights.items():
        np.testing.assert_array_equal(found.weights[name], weights)
    forecast = array.hm.forecast(h=2)  # of the model that this object has trained
    np.testing.assert_array_equal(forecast, array.hm.forecast(h=2, model=model))


def test_an_array_is_forecast_lazily_to_the_bits_of_its_dataset(
    store: Path, model: hmx.Bundle
) -> None:
    array, ds = hmx.open_cube(store, array=True), hmx.open_cube(store)
    found = array.hm.forecast(h=2, model=model, tile=32)
    assert isinstance(found, xr.DataArray)
    assert found.chunks is not None
    assert "elevation" not in found.coords
    assert found.rio.crs == ds.rio.crs
    ahead = ds.hm.forecast(h=2, model=model, tile=32)
    xr.testing.assert_equal(found.load(), ahead["hm"].load())
    part = array.isel(x=slice(0, 40)).hm.forecast(h=2, model=model)
    xr.testing.assert_equal(part, ds.isel(x=slice(0, 40)).hm.forecast(h=2, model=model)["hm"])
    series = found.hm.with_history(array)
    xr.testing.assert_equal(series, ahead.hm.with_history(ds)["hm"])


def test_nothing_is_read_before_a_forecast_of_an_array_is(model: hmx.Bundle) -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    ds = with_roles(make_cube((64, 64), chunks={"y": 32, "x": 32}))
    for name in ("hm", "elevation"):
        meta = np.empty((0,) * ds[name].ndim, "f4")
        lazy = ds[name].data.map_blocks(explode, dtype="f4", meta=meta)
        ds[name] = ds[name].copy(data=lazy)
    array = ds.hm.to_array()
    forecast = array.hm.forecast(h=2, model=model)
    with pytest.raises(AssertionError, match="read"):
        forecast.compute()


def test_an_array_is_judged_as_its_dataset(store: Path, model: hmx.Bundle) -> None:
    cards = [
        cube.hm.backtest(h=1, model=model, baselines=["persistence"], zone_draws=8)
        for cube in (hmx.open_cube(store), hmx.open_cube(store, array=True))
    ]
    one, other = (card.as_dict() for card in cards)
    assert one["scores"] == other["scores"]


def test_a_refit_on_an_array_is_that_on_its_dataset(store: Path) -> None:
    options = {key: value for key, value in QUICK.items() if key not in ("h", "until")}
    options |= {"zone_draws": 8}
    cards = [
        cube.hm.backtest(h=1, origins=2005, baselines=["persistence"], **options).as_dict()
        for cube in (hmx.open_cube(store), hmx.open_cube(store, array=True))
    ]
    assert cards[0]["scores"] == cards[1]["scores"]


def test_an_array_can_be_planned_and_its_store_is_found(store: Path, model: hmx.Bundle) -> None:
    from hmx.cube.cube import as_cube
    from hmx.engine.stores import store_of

    array = hmx.open_cube(store, array=True)
    assert store_of(array, as_cube(array)) == str(store)
    assert store_of(array.isel(x=slice(0, 9)), as_cube(array.isel(x=slice(0, 9)))) is None
    moved = array.assign_coords(elevation=array["elevation"] + 1)
    assert store_of(moved, as_cube(moved)) is None
    assert "tile" in str(array.hm.plan(h=2, model=model))


def test_a_job_asks_for_the_dataset(store: Path, model: hmx.Bundle, tmp_path: Path) -> None:
    array = hmx.open_cube(store, array=True)
    with pytest.raises(CubeError) as caught:
        array.hm.forecast_to_zarr(tmp_path / "fc.zarr", h=2, model=model)
    assert str(caught.value) == (
        "a job writes several variables, and a DataArray is one. Use the Dataset: "
        "hmx.open_cube('cube.zarr')."
    )


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "trains on" in line]


def test_an_array_without_covariates_trains_on_the_target_alone_and_says_so(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = QUICK | {"steps": 1, "h": 1}
    model = hmx.open_cube(store)["hm"].hm.train(**quick)
    assert model.spec.static == ()
    (line,) = notes(capsys)
    assert line == (
        "model: trains on 'hm' alone, without elevation. A DataArray has its (y, x) coordinates: "
        "ds.hm.to_array(), hmx.open_cube(path, array=True); a Dataset has all: ds.hm.train()"
    )
    unknown = make_cube((64, 64))["hm"]  # nobody knows what its cube had
    unknown.hm.train(**quick)
    (line,) = notes(capsys)
    assert line.startswith("model: trains on 'hm' alone, without covariates. ")


@pytest.mark.parametrize("asked", [{"static": []}, {}])
def test_an_array_with_what_was_asked_for_trains_in_silence(
    store: Path, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    from hmx.cube.array import without_covariates
    from hmx.cube.cube import as_cube

    array = hmx.open_cube(store, array=True)
    if asked:
        array.hm.train(**asked, **(QUICK | {"steps": 1, "h": 1}))
        assert notes(capsys) == []
    else:
        assert without_covariates(array, as_cube(array)) is None
        ds = hmx.open_cube(store)
        assert without_covariates(ds, as_cube(ds)) is None


def test_a_covariate_that_an_array_lacks_is_named_with_the_remedy(
    store: Path, model: hmx.Bundle
) -> None:
    bare = hmx.open_cube(store)["hm"]
    with pytest.raises(MissingVariable) as caught:
        bare.hm.forecast(h=2, model=model)
    assert str(caught.value) == (
        "'elevation' is not in the cube (has: hm). A DataArray has its static covariates as "
        "coordinates: hmx.open_cube(path, array=True) or ds.hm.to_array(); those with time are in "
        "a Dataset alone."
    )


def test_a_cube_that_was_replaced_is_noticed_through_its_array(tmp_path: Path) -> None:
    from hmx.cube.store import require_unreplaced
    from hmx.errors import JobFailed

    ds = with_roles(make_cube(chunks={"y": 20, "x": 25}))
    ds.attrs["hmx_fingerprint"] = "abc"
    ds.to_zarr(tmp_path / "cube.zarr", **KEPT)
    array = hmx.open_cube(tmp_path / "cube.zarr", array=True)
    require_unreplaced(array)
    ds.attrs["hmx_fingerprint"] = "xyz"
    ds.to_zarr(tmp_path / "cube.zarr", mode="w", **KEPT)
    with pytest.raises(JobFailed, match="was replaced while it was read"):
        require_unreplaced(array)


def test_a_model_of_an_array_forecasts_the_dataset(store: Path) -> None:
    ds = hmx.open_cube(store)
    model = make_bundle(with_roles(make_cube((64, 64))))
    array = ds.hm.to_array()
    np.testing.assert_array_equal(
        array.hm.forecast(h=1, model=model), ds.hm.forecast(h=1, model=model)["hm"]
    )


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_roles(make_cube((64, 64), steps=7)).to_zarr("build/demo.zarr", **KEPT)
    guide = (ROOT / "hmx" / "guide" / "forecast.md").read_text(encoding="utf-8")
    code = guide.split("## One DataArray")[1].split("```python")[1].split("```")[0]
    small = "epochs=1, steps=1, chip=32, width=3, trunk=(1,), context=(1,)"
    space: dict[str, Any] = {"hmx": hmx}
    exec(compile(code.replace("epochs=2", small), "forecast.md", "exec"), space)
    xr.testing.assert_identical(space["again"], space["da"])
    assert space["fc"].sizes["time"] == 4
    assert 'da.to_dataset(name="hm").hm.forecast(h=4, model=model, level=80)' in guide
    ds = space["da"].to_dataset(name="hm").hm.forecast(h=4, model=space["model"], level=80)
    np.testing.assert_array_equal(ds["hm"], space["fc"])
