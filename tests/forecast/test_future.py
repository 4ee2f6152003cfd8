"""Laws of covariates that are known ahead: read at the leads, held where unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.bundles.folder import ensure_saved
from hmx.cube.cube import as_cube, open_cube
from hmx.cube.read import read
from hmx.engine.stores import store_of
from hmx.engine.verify import verify
from hmx.errors import BadArgument, CubeError, IrregularTime
from hmx.forecast.inputs import scan
from hmx.forecast.options import TrainOptions
from hmx.forecast.order import audit
from hmx.forecast.train.fields import ChipCache
from hmx.forecast.train.recipe import TrainSetup, plan
from hmx.networks.cost import footprint
from hmx.networks.options import ModelOptions
from hmx.windows import Span, TileGrid, Window
from tests.make.cubes import make_bundle, make_cube, make_scaler, make_spec

OBSERVED, AHEAD = 5, 3  # maps of the target, and steps of population after them
NETWORKS = {
    "direct": ModelOptions(arch="dilated", strategy="direct", width=4, trunk=(1,), history=2),
    "recursive": ModelOptions(arch="dilated", strategy="recursive", width=4, trunk=(1,), history=2),
    "convlstm": ModelOptions(
        arch="convlstm", strategy="recursive", hidden=3, layers=1, trunk=(), history=2
    ),
}
CHANGES: dict[str, Any] = {"valid_range": None, "dynamic": ("population", "gdp"), "h": AHEAD}


def scenario(*, ahead: int = AHEAD, time: str = "datetime", **how: Any) -> xr.Dataset:
    """Maps of hm and gdp up to 2010, and of population up to 2025."""
    ds = make_cube(
        how.pop("shape", (48, 56)),
        steps=OBSERVED + AHEAD,
        static=(),
        dynamic=("population", "gdp"),
        time=time,
        **how,
    ).isel(time=slice(OBSERVED + ahead))
    seen = xr.DataArray(np.arange(ds.sizes["time"]) < OBSERVED, dims="time")
    for name in ("hm", "gdp"):
        ds[name] = ds[name].where(seen).assign_attrs(ds[name].attrs)
    return observed(ds)


def observed(ds: xr.Dataset, step: int = OBSERVED) -> xr.Dataset:
    """Say which map of hm is the last."""
    label = ds["time"].values[step - 1]
    said = int(label) if ds["time"].dtype.kind == "i" else str(label)[:10]
    ds = ds.copy()
    ds["hm"] = ds["hm"].assign_attrs(observed_until=said)
    return ds


def changed(ds: xr.Dataset, name: str, steps: slice, by: float = 3.0) -> xr.Dataset:
    ds = ds.copy()
    values = ds[name].values.copy()
    values[steps] = np.nan_to_num(values[steps]) + by
    ds[name] = ds[name].copy(data=values)
    return ds


def bundle(kind: str, **changes: Any) -> hmx.Bundle:
    given = {**CHANGES, "future": ("population",), **changes}
    return make_bundle(scenario(), NETWORKS[kind], weights="random", **given)


def forecast(ds: xr.Dataset, model: hmx.Bundle, h: int = AHEAD, **how: Any) -> np.ndarray:
    values: np.ndarray = ds.hm.forecast(h, model=model, **how)["hm"].values
    assert np.isfinite(values).any()
    return values


# what a cube is


@pytest.mark.parametrize("time", ["datetime", "year", "cftime"])
def test_the_cube_ends_at_the_last_map_and_knows_what_follows(time: str) -> None:
    ds = scenario(time=time)
    cube = as_cube(ds, dynamic=["population", "gdp"])
    assert cube.data.sizes["time"] == OBSERVED
    assert cube.stored("population").sizes["time"] == OBSERVED + AHEAD
    assert cube.origin_label().startswith("2010")
    fc = ds.hm.forecast(2, model=make_bundle(ds, NETWORKS["direct"], **CHANGES))
    np.testing.assert_array_equal(fc["time"], ds["time"][OBSERVED : OBSERVED + 2])


def test_entering_leaves_the_users_object_as_it_was() -> None:
    for step in (OBSERVED, OBSERVED + AHEAD):
        ds = observed(scenario(), step)
        before = dict(ds["hm"].attrs)
        as_cube(ds)
        assert ds["hm"].attrs == before


def test_a_forecast_does_not_inherit_where_the_observations_end() -> None:
    ds = scenario()
    fc = ds.hm.forecast(2, model=bundle("direct"))
    assert "observed_until" not in fc["hm"].attrs
    assert str(fc.hm.cadence) == "5 years"
    assert fc["hm"].attrs["valid_range"] == [0.0, 1.0]


def test_the_past_of_a_series_ends_with_the_last_map() -> None:
    ds = scenario()
    series = ds.hm.forecast(2, model=bundle("direct")).hm.with_history(ds)
    np.testing.assert_array_equal(series["time"], ds["time"][: OBSERVED + 2])
    assert list(series["lead"].values) == [-4, -3, -2, -1, 0, 1, 2]


def test_a_dataarray_ends_at_its_last_map_too() -> None:
    array = scenario()["hm"]
    assert as_cube(array).data.sizes["time"] == OBSERVED


def test_an_axis_that_was_cut_short_is_observed_throughout() -> None:
    ds = scenario().isel(time=slice(3))
    assert as_cube(ds, dynamic=["population"]).data.sizes["time"] == 3


@pytest.mark.parametrize("label", ["2012", 1985, "soon"])
def test_a_last_map_that_is_no_step_says_what_to_type(label: Any) -> None:
    ds = scenario()
    ds["hm"].attrs["observed_until"] = label
    with pytest.raises(
        CubeError, match=r"not a step of the time axis \(1990-01-01 to 2025-01-01\)"
    ):
        as_cube(ds)


def test_a_target_that_lost_its_attributes_is_refused() -> None:
    ds = scenario()
    ds["population"].attrs["known_until"] = 2025
    del ds["hm"].attrs["observed_until"]
    with pytest.raises(CubeError, match=r"ds\['hm'\].attrs\['observed_until'\] = '2025-01-01'"):
        as_cube(ds, dynamic=["population"])


def test_a_gap_in_what_is_known_ahead_is_an_irregular_time_axis() -> None:
    ds = scenario().isel(time=[0, 1, 2, 3, 4, 6])
    with pytest.raises(IrregularTime, match="2010-01-01 to 2020-01-01"):
        ds.hm.forecast(2, model=bundle("direct"))


# what a forecast reads


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_forecast_follows_what_is_known_ahead(kind: str) -> None:
    ds, model = scenario(), bundle(kind)
    before = forecast(ds, model)
    after = forecast(changed(ds, "population", slice(OBSERVED, None)), model)
    assert np.nanmax(np.abs(after - before)) > 1e-4


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_later_step_cannot_change_an_earlier_lead_of_a_recursive_forecast(kind: str) -> None:
    ds, model = scenario(), bundle(kind)
    after = changed(ds, "population", slice(OBSERVED + 1, None))
    moved = np.nanmax(np.abs(forecast(after, model) - forecast(ds, model)), axis=(1, 2)) > 1e-6
    assert list(moved) == [kind == "direct", True, True]


@pytest.mark.parametrize("kind", NETWORKS)
def test_nothing_that_is_held_has_a_future(kind: str) -> None:
    ds, model = scenario(), bundle(kind)
    before = forecast(ds, model)
    after = changed(changed(ds, "gdp", slice(OBSERVED, None)), "hm", slice(OBSERVED, None), by=0.5)
    np.testing.assert_array_equal(forecast(after, model), before)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_model_without_known_covariates_sees_none_ahead(kind: str) -> None:
    ds, model = scenario(), bundle(kind, future=())
    after = changed(ds, "population", slice(OBSERVED, None))
    np.testing.assert_array_equal(forecast(after, model), forecast(ds, model))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("ahead", [0, 1])
def test_beyond_the_last_known_step_it_is_held(kind: str, ahead: int) -> None:
    """Absent, missing and repeated steps are the same, and h may go beyond all of them."""
    full, model = scenario(), bundle(kind)
    absent = full.isel(time=slice(OBSERVED + ahead))
    later = np.arange(OBSERVED + AHEAD) < OBSERVED + ahead
    missing, repeated = full.copy(), full.copy()
    known = full["population"].where(xr.DataArray(later, dims="time"))
    missing["population"], repeated["population"] = known, full["population"].copy()
    repeated["population"][OBSERVED + ahead :] = full["population"].values[OBSERVED + ahead - 1]
    h = AHEAD + 2
    want = forecast(repeated, model, h)
    np.testing.assert_array_equal(forecast(absent, model, h), want)
    np.testing.assert_array_equal(forecast(missing, model, h), want)


@pytest.mark.parametrize("kind", ["direct", "recursive"])
def test_a_forecast_names_the_leads_at_which_a_covariate_is_held(kind: str) -> None:
    ds, model = scenario(), bundle(kind)
    fc = ds.hm.forecast(5, model=model)
    assert json.loads(fc.attrs["held_leads"]) == {"population": [4, 5]}
    assert "held_leads" not in ds.hm.forecast(3, model=model).attrs
    ds["population"].attrs["known_until"] = 2015
    assert json.loads(ds.hm.forecast(3, model=model).attrs["held_leads"]) == {"population": [2, 3]}


def test_an_earlier_last_map_makes_a_hindcast_that_knows_what_followed() -> None:
    ds, model = observed(scenario(), 3), bundle("recursive")
    assert str(ds.hm.forecast(2, model=model)["time"].values[0])[:4] == "2005"
    before = forecast(ds, model, 2)
    assert not np.array_equal(forecast(changed(ds, "population", slice(3, 4)), model, 2), before)
    np.testing.assert_array_equal(forecast(changed(ds, "hm", slice(3, 4), 0.2), model, 2), before)


# one forecast, however it is computed


@pytest.mark.parametrize("kind", NETWORKS)
def test_lazy_job_and_region_give_the_same_forecast(tmp_path: Path, kind: str) -> None:
    ds, model = scenario(shape=(90, 110)), bundle(kind).save(tmp_path / "model")
    whole = forecast(ds, model, tile=512)
    np.testing.assert_allclose(forecast(ds, model, tile=32), whole, atol=1e-6)
    chunked = ds.chunk({"time": 3, "y": 40, "x": 50})
    np.testing.assert_allclose(forecast(chunked, model, tile=64), whole, atol=1e-6)
    chunked.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    stored = open_cube(tmp_path / "cube.zarr")
    region = (slice(20, 61), slice(33, 90))
    part = forecast(stored, model, tile=32, region=region)
    np.testing.assert_allclose(part, whole[(..., *region)], atol=1e-6)
    fc = stored.hm.forecast_to_zarr(tmp_path / "fc.zarr", AHEAD, model=model, tile=32)
    np.testing.assert_allclose(fc["hm"].values, whole, atol=1e-6)
    assert verify(str(tmp_path / "fc.zarr"), sample=3).largest <= 1e-6


def test_a_stored_cube_is_read_inside_the_tiles_tasks(tmp_path: Path) -> None:
    scenario().chunk().to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    fc = open_cube(tmp_path / "cube.zarr").hm.forecast(2, model=bundle("direct"), tile=32)
    layers = fc["hm"].data.dask.layers
    assert not [name for name in layers if not name.startswith("hmx-forecast-")]


def test_forecasts_from_two_last_maps_share_no_task() -> None:
    ds, model = scenario().chunk(), bundle("recursive")
    one, other = (observed(ds, step).hm.forecast(1, model=model) for step in (4, 5))
    a, b = dask.compute(one["hm"].data, other["hm"].data)
    np.testing.assert_array_equal(b, other["hm"].values)
    assert not np.array_equal(a, b, equal_nan=True)


def test_a_job_computes_again_where_what_is_known_ahead_has_changed(tmp_path: Path) -> None:
    ds, model = scenario().chunk({"time": 4, "y": 24, "x": 56}), bundle("direct")
    ds.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    how: dict[str, Any] = {"h": AHEAD, "model": model, "tile": 16}
    before = open_cube(tmp_path / "cube.zarr").hm.forecast_to_zarr(tmp_path / "fc.zarr", **how)
    before = before.load()
    new = changed(ds.isel(time=slice(6, 7)), "population", slice(None))[["population"]]
    place = {"time": slice(6, 7), "y": slice(None), "x": slice(None)}
    new.drop_vars(["time", "y", "x", "spatial_ref"]).compute().to_zarr(
        tmp_path / "cube.zarr", region=place, mode="r+", consolidated=False
    )
    after = open_cube(tmp_path / "cube.zarr").hm.forecast_to_zarr(tmp_path / "fc.zarr", **how)
    want = open_cube(tmp_path / "cube.zarr").hm.forecast(AHEAD, model=model)
    np.testing.assert_allclose(after["hm"], want["hm"], atol=1e-6)
    assert np.nanmax(np.abs(after["hm"].values - before["hm"].values)) > 1e-4


def test_a_cube_whose_last_map_was_moved_is_not_the_store(tmp_path: Path) -> None:
    scenario().chunk().to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    ds = open_cube(tmp_path / "cube.zarr")
    assert store_of(ds, as_cube(ds)) == str(tmp_path / "cube.zarr")
    moved = observed(ds, 3)
    assert store_of(moved, as_cube(moved)) is None


@pytest.mark.parametrize("known", [0, 2, AHEAD])
def test_a_plan_counts_the_steps_that_are_known(known: int) -> None:
    ds = scenario(ahead=known)
    one = ds.hm.plan(AHEAD, model=bundle("direct"), tile=512).bytes_read
    two = ds.hm.plan(AHEAD, model=bundle("direct", future=()), tile=512).bytes_read
    assert one - two == known * 48 * 56 * 4


def test_memory_counts_the_maps_that_are_known_ahead() -> None:
    network = NETWORKS["convlstm"]
    held, known = (footprint(network, (3, 0, a), (512, 512), h=4) for a in (0, 1))
    assert known >= held + 4 * 512 * 512 * 4


def test_the_audit_of_precision_reads_what_is_known_ahead() -> None:
    tiles = TileGrid((48, 56), (48, 56), halo=0)
    model = ensure_saved(bundle("direct"))
    one, other = (
        audit("cpu", model, as_cube(ds, dynamic=model.spec.dynamic), tiles, AHEAD)
        for ds in (scenario(), changed(scenario(), "population", slice(OBSERVED, None)))
    )
    assert one != other


# what training reads


def reader_of(ds: xr.Dataset, **how: Any) -> Any:
    fit = TrainOptions(h=how.pop("h", AHEAD), chip=32, until=how.pop("until", None))
    network = replace_context(NETWORKS[how.pop("kind", "direct")])
    dynamic = how.pop("dynamic", ("gdp", "population"))
    cube = as_cube(ds, dynamic=dynamic)
    return plan(cube, TrainSetup(dynamic=dynamic, network=network, fit=fit, **how))


def replace_context(network: ModelOptions) -> ModelOptions:
    return network.model_copy(update={"context": (1, 3)})


def test_an_origin_is_shown_the_covariates_own_values_at_its_leads() -> None:
    ds = scenario(holes=False)
    planned = reader_of(ds, future=["population"])
    reader = planned.reader
    assert reader.spec.dynamic == ("population", "gdp")
    assert reader.spec.future == ("population",)
    whole = Window.of((48, 56))
    for origin in reader.origins:
        inputs, truth = reader.fields.cut(whole, origin)
        leads = ds["population"].values[origin + 1 : origin + 1 + AHEAD]
        scale = reader.scaler
        shown = inputs.ahead[:, 0] * scale.std["population"] + scale.mean["population"]
        np.testing.assert_allclose(shown, leads, atol=1e-5)
        there = np.isfinite(truth).all(axis=(1, 2))
        assert list(there) == [origin + lead < OBSERVED for lead in (1, 2, 3)]


def test_after_until_only_what_is_known_ahead_is_read() -> None:
    """Fingerprint, scales and inputs: of the years held out, population alone."""
    ds = scenario().drop_vars("gdp")
    how: dict[str, Any] = {"until": 2005, "future": ["population"], "dynamic": ("population",)}
    one = reader_of(ds, **how)
    target = reader_of(changed(ds, "hm", slice(4, None), 0.3), **how)
    known = reader_of(changed(ds, "population", slice(4, 6)), **how)
    beyond = reader_of(changed(ds, "population", slice(6, None)), **how)
    assert one.scanned.digest == target.scanned.digest == beyond.scanned.digest
    assert one.scanned.digest != known.scanned.digest
    assert one.reader.scaler == target.reader.scaler == known.reader.scaler
    whole, last = Window.of((48, 56)), one.reader.origins[-1]
    inputs, _ = one.reader.fields.cut(whole, last)
    others, _ = known.reader.fields.cut(whole, last)
    assert not np.array_equal(inputs.ahead, others.ahead)
    np.testing.assert_array_equal(inputs.past, others.past)


def test_training_cannot_see_beyond_its_last_lead() -> None:
    ds = scenario()
    reader = reader_of(ds, future=["population"], h=2).reader
    assert list(reader.cube.whole) == ["population"]
    assert reader.cube.whole.sizes["time"] == OBSERVED + 1  # the last origin with a truth, and 2


def test_who_is_known_ahead_is_part_of_the_fingerprint() -> None:
    ds = observed(scenario().isel(time=slice(OBSERVED)))
    cube = as_cube(ds, dynamic=["population"])
    assert scan(cube, 16).digest != scan(cube, 16, known=["population"], h=3).digest


def test_covariates_that_say_so_are_known_ahead_by_default() -> None:
    ds = scenario()
    assert reader_of(ds).reader.spec.future == ()
    ds["population"].attrs["known_until"] = "2025"
    assert reader_of(ds).reader.spec.future == ("population",)
    assert reader_of(ds, future=()).reader.spec.future == ()


def test_training_and_inference_show_the_same_leads() -> None:
    ds = scenario()
    spec = make_spec(ds, NETWORKS["direct"], **CHANGES, future=("population",))
    cube, whole = as_cube(ds, dynamic=spec.dynamic), Window.of((48, 56))
    scaler = make_scaler(spec)
    inputs, _ = ChipCache(cube, spec, scaler).cut(whole, OBSERVED - 1)
    arrays = read(cube, whole, Span(OBSERVED - 2, OBSERVED), cube.rules, known=spec.future, h=AHEAD)
    assert arrays["population"].shape[0] == 2 + AHEAD
    assert arrays["gdp"].shape[0] == arrays["hm"].shape[0] == 2
    again = hmx.forecast.inputs.assemble(arrays, spec, scaler)
    for one, other in zip(inputs.tensors(), again.tensors(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_training_learns_from_what_is_known_ahead(strategy: Any) -> None:
    """Where the target follows population, a forecast follows its scenario."""
    rng = np.random.default_rng(0)
    steps = 0.3 * rng.random((8, 1, 1)) + 0.7 * rng.random((8, 48, 48))
    ds = make_cube((48, 48), steps=8, static=(), dynamic=("population",), holes=False)
    ds["population"] = ds["population"].copy(data=steps.astype("float32"))
    ds["hm"] = ds["hm"].copy(data=(0.2 + 0.5 * steps).astype("float32"))
    ds = observed(ds, 7)
    model = ds.hm.train(
        dynamic=["population"], future=["population"], history=2, h=1, arch="dilated", width=8,
        trunk=[1], context=[1], epochs=2, steps=20, chip=24, strategy=strategy, device="cpu",
        lr=2e-2, ema=0.9, squared=0, final=False,
    )  # fmt: skip
    lower, upper = (changed(ds, "population", slice(7, 8), by) for by in (-0.1, 0.1))
    moved = forecast(upper, model, 1) - forecast(lower, model, 1)
    assert 0.02 < float(moved.mean()) < 0.2  # 0.1 would be right, 0 is who does not read it


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["gpd"],
            r"future='gpd' is not a covariate with time of this .*Pass dynamic=\['gpd'\]",
        ),
        (["hm"], "future='hm' is not a covariate with time"),
    ],
)
def test_who_cannot_be_known_ahead_is_told_why(names: list[str], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        reader_of(scenario(), future=names)


def test_a_cube_that_does_not_say_where_its_maps_end_is_told_to() -> None:
    ds = make_cube((48, 56), static=(), dynamic=("population",))
    with pytest.raises(BadArgument, match=r"ds\['hm'\]\.attrs\['observed_until'\] = '2010-01-01'"):
        ds.hm.train(dynamic=["population"], future=["population"])
