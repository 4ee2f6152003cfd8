"""Laws of the anchor: the linear regression that a network starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from hmx.errors import NotEnoughData
from hmx.forecast.train import anchor
from hmx.forecast.train.anchor import channels_of_change, fit_anchor
from hmx.forecast.train.data import Reader, batch_of
from hmx.networks.forecaster import Forecaster
from hmx.splits import TRAIN, VALIDATION
from hmx.windows import Window
from tests.forecast.train.test_data import reader_of
from tests.make.cubes import make_cube

SHAPE, LEADS = (96, 112), 3


def fitted(reader: Reader, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Fit the anchor of an untrained network; its numbers by name."""
    network = Forecaster.of(reader.spec, reader.scaler)
    fit_anchor(network, reader, seed=seed)
    return {n: p.numpy() for n, p in network.state_dict().items() if n.startswith("anchor")}


def reverting(**options: Any) -> xr.Dataset:
    """Maps whose noise reverts and whose growth follows the elevation."""
    ds = make_cube(SHAPE, steps=7)
    draw = np.random.default_rng(0)
    slow = 0.3 + 1e-4 * (ds["elevation"].values - 500) * np.arange(7)[:, None, None]
    noise = 0.02 * draw.standard_normal((7, *SHAPE))
    ds["hm"].values[...] = np.where(np.isfinite(ds["hm"]), slow + noise, np.nan)
    return ds


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return reverting()


@pytest.fixture(scope="module")
def reader(ds: xr.Dataset) -> Reader:
    return reader_of(ds, h=LEADS, chip=48)


def pixels(reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """All that may be learnt from: features (n, c), and changes at each lead (n, h)."""
    network, whole = Forecaster.of(reader.spec, reader.scaler), Window.of(SHAPE)
    rows, changes = [], []
    series = reader.cube.data["hm"].values.astype("float64")
    for origin in reader.origins:
        seen = batch_of([reader.sample(whole, origin, TRAIN)]).seen
        ours = np.isfinite(series[origin]) & (reader.split.roles(whole) == TRAIN)
        rows.append(network.linear(seen)[0].numpy()[:, ours].T.astype("float64"))
        after = np.full((LEADS, *SHAPE), np.nan)
        there = series[origin + 1 : origin + 1 + LEADS]
        after[: len(there)] = there
        changes.append((after - series[origin])[:, ours].T / reader.scaler.change[0])
    return np.concatenate(rows), np.concatenate(changes)


def test_a_network_shows_the_anchor_that_was_fitted(reader: Reader) -> None:
    """In ordinary changes, per pixel, and cropped like everything else."""
    network = Forecaster.of(reader.spec, reader.scaler)
    fit_anchor(network, reader, seed=0)
    seen = batch_of([reader.sample(Window.of(SHAPE), 2, TRAIN)]).seen
    rows = network.linear(seen)[0].flatten(1).T.double()
    want = rows @ network.anchor_weight.double()[:, 0] + network.anchor_bias.double()
    crop = (slice(10, 30), slice(5, 50))
    got = network.anchor(seen, network.constant(seen), crop)[0]
    torch.testing.assert_close(got.double(), want.view(SHAPE)[crop], atol=1e-4, rtol=0)


@pytest.mark.parametrize("role", [VALIDATION, TRAIN])
def test_an_anchor_learns_from_training_blocks_alone(ds: xr.Dataset, role: int) -> None:
    """What lies in other blocks changes nothing; what lies in these does."""
    reader = reader_of(ds, h=LEADS, chip=48, context=(), terrain=(), validation=0.3, buffer=0)
    roles = reader.split.roles(Window.of(SHAPE))
    other = ds.copy(deep=True)
    other["hm"].values[:] = np.where(roles == role, other["hm"] ** 2, other["hm"])
    again = reader_of(other, h=LEADS, chip=48, context=(), terrain=(), validation=0.3, buffer=0)
    assert again.split == reader.split
    one, two = fitted(reader), fitted(replace(again, scaler=reader.scaler))
    same = [np.array_equal(one[name], two[name]) for name in one]
    assert all(same) if role != TRAIN else not any(same[:2])


def test_sums_of_blocks_are_drawn_where_there_are_very_many(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = fitted(reader)
    monkeypatch.setattr(anchor, "_MAX_BLOCKS", 2)
    one, same, other = (fitted(reader, seed=seed) for seed in (0, 0, 1))
    for name in ("anchor_weight", "anchor_bias"):
        np.testing.assert_array_equal(one[name], same[name])
        assert not np.array_equal(one[name], other[name])
        assert not np.array_equal(one[name], every[name])


def test_an_anchor_follows_the_last_step_in_training_and_in_use(reader: Reader) -> None:
    """Each origin has the size of the step before it; a forecast that of the newest step."""
    network = Forecaster.of(reader.spec, reader.scaler)
    fit_anchor(network, reader, seed=0)
    seen = batch_of([reader.sample(Window.of(SHAPE), 3, TRAIN)]).seen
    constant, whole = network.constant(seen), (slice(None), slice(None))
    number = torch.tensor([3 - reader.origins.start])
    own = network.anchor(seen, constant, whole, number)
    newest = network.anchor(seen, constant, whole)
    assert not torch.equal(own, newest)
    full = np.concatenate([network.anchor_bias.numpy(), network.anchor_weight[:, 0].numpy()])
    # what was fitted is free of scale, so both differ by factors of the channels alone
    ratios = network.paces[number[0]].numpy() / np.where(full == 0, 1, full)
    known = np.abs(full) > 1e-6 * np.abs(full).max()
    changes = np.concatenate([[False], channels_of_change(reader)["changes"]])
    for group in (known & changes, known & ~changes):
        np.testing.assert_allclose(ratios[group], ratios[group][0], rtol=1e-4)


def test_channels_of_change_are_those_that_grow_with_the_change(ds: xr.Dataset) -> None:
    reader = reader_of(ds, h=LEADS, chip=48, maxima=True)
    network = Forecaster.of(reader.spec, reader.scaler)
    last = channels_of_change(reader)["last_change"]
    sample = reader.sample(Window.of(SHAPE), 3, TRAIN)
    seen = batch_of([sample]).seen
    linear = network.linear(seen)[0]
    step = (sample.inputs.past[-1] - sample.inputs.past[-2]) / reader.scaler.change[0]
    np.testing.assert_allclose(linear[last].numpy(), step, atol=1e-5)
    # a raster whose change is twice as large, about the same state at the origin
    series = ds["hm"].values
    double = ds.copy(deep=True)
    double["hm"].values[:] = series[3] + 2 * (series - series[3])
    other = replace(reader_of(double, h=LEADS, chip=48, maxima=True), scaler=reader.scaler)
    more = network.linear(batch_of([other.sample(Window.of(SHAPE), 3, TRAIN)]).seen)[0]
    changes = channels_of_change(reader)["changes"]
    known = linear.abs().amax(dim=(1, 2)).numpy() > 0  # the oldest step has no step before it
    radii = len(reader.spec.context.radii)
    steps = reader.spec.network.past_steps - 1
    assert (changes & known).sum() == steps + 3 * radii, "steps, and three squares at each radius"
    grown = np.flatnonzero(changes)
    np.testing.assert_allclose(more[grown].numpy(), 2 * linear[grown].numpy(), atol=2e-3)
    others = np.flatnonzero(~changes & known)
    assert not any(torch.allclose(more[i], 2 * linear[i], atol=1e-3) for i in others)


def test_means_are_held_where_every_step_takes_back_what_the_others_promise() -> None:
    """The change of one step is that of the next, turned round: no regression survives that."""
    ds = make_cube(SHAPE, steps=5)
    slope = np.linspace(-0.2, 0.2, SHAPE[1])[None, None, :]
    ds["hm"].values[...] = np.where(
        np.isfinite(ds["hm"]), 0.3 + slope * np.array([0, 0, 0, 1, 0])[:, None, None], np.nan
    )
    reader = reader_of(ds, h=1, chip=48, history=3)
    assert len(reader.origins) == 2
    network = Forecaster.of(reader.spec, reader.scaler)
    found = fit_anchor(network, reader, seed=0)
    assert found is not None
    assert found.held
    assert found.mixture.total == 0
    assert not found.facts()["fitted"]
    assert not network.anchor_weight.any()
    assert network.most_tilt > 100, "means are held at the last map"


def test_one_origin_alone_follows_half_of_a_damped_trend() -> None:
    reader = reader_of(reverting().isel(time=slice(4)), h=1, chip=48, history=3)
    assert len(reader.origins) == 1
    network = Forecaster.of(reader.spec, reader.scaler)
    found = fit_anchor(network, reader, seed=0)
    assert found is not None
    assert (found.mixture.trend, found.mixture.regression) == (0.5, 0.0)
    weight = network.anchor_weight[:, 0].numpy()
    last = channels_of_change(reader)["last_change"]
    assert set(np.flatnonzero(weight)) == {last}
    assert found.held, "nothing can show that the network does better"
    assert network.most_tilt > 100


def test_maps_without_a_pixel_that_is_known_long_enough_are_refused(reader: Reader) -> None:
    ds = reverting()
    ds["hm"].values[1::2] = np.nan  # no two steps in a row
    ds["hm"].values[0] = ds["hm"].values[2]
    ds["hm"].values[1] = ds["hm"].values[2] + 0.1  # but for the first three, before any origin
    gaps = replace(reader_of(ds, h=1, chip=48, history=3), scaler=reader.scaler)
    with pytest.raises(NotEnoughData, match="Train with history=2"):
        fit_anchor(Forecaster.of(gaps.spec, gaps.scaler), gaps, seed=0)


@pytest.mark.parametrize("changes", [{"anchor": False}, {"strategy": "recursive"}])
def test_networks_without_an_anchor_are_left_alone(ds: xr.Dataset, changes: dict[str, Any]) -> None:
    assert fitted(reader_of(ds, h=2, chip=48, **changes)) == {}
