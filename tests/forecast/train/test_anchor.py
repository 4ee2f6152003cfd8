"""Laws of the anchor: the linear regression that a network starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from hmx.forecast.train import anchor
from hmx.forecast.train.anchor import LEAST_GAIN, fit_anchor
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


def test_an_anchor_is_the_ridge_regression_on_the_training_pixels(reader: Reader) -> None:
    x, y = pixels(reader)
    known = np.isfinite(y[:, 0])
    scaler = StandardScaler().fit(x[known])
    wanted = Ridge(alpha=1.0).fit(scaler.transform(x[known]), y[known, 0])
    found = fitted(reader)
    slopes = wanted.coef_ / scaler.scale_
    np.testing.assert_allclose(found["anchor_weight"][:, 0], slopes, rtol=1e-4, atol=1e-5)
    ours = x @ found["anchor_weight"][:, 0].astype("float64") + found["anchor_bias"]
    np.testing.assert_allclose(ours, wanted.predict(scaler.transform(x)), atol=1e-4)
    explained = 1 - np.var(y[known, 0] - ours[known]) / np.var(y[known, 0])
    assert explained > 0.4, "else there was nothing to find"


def test_each_lead_has_the_size_that_fits_its_truths_best(reader: Reader) -> None:
    x, y = pixels(reader)
    found = fitted(reader)
    one = x @ found["anchor_weight"][:, 0].astype("float64") + found["anchor_bias"]
    assert found["anchor_size"][0] == 1
    for lead in range(2, LEADS + 1):
        known = np.isfinite(y[:, lead - 1])
        line = LinearRegression(fit_intercept=False).fit(one[known, None], y[known, lead - 1])
        assert found["anchor_size"][lead - 1] == pytest.approx(line.coef_[0], rel=1e-3)
    assert len({round(float(size), 3) for size in found["anchor_size"]}) == LEADS


def test_a_network_shows_the_anchor_that_was_fitted(reader: Reader) -> None:
    """In ordinary changes, per pixel, and cropped like everything else."""
    network = Forecaster.of(reader.spec, reader.scaler)
    fit_anchor(network, reader, seed=0)
    seen = batch_of([reader.sample(Window.of(SHAPE), 2, TRAIN)]).seen
    rows = network.linear(seen)[0].flatten(1).T.double()
    want = rows @ network.anchor_weight.double()[:, 0] + network.anchor_bias.double()
    crop = (slice(10, 30), slice(5, 50))
    got = network.anchor(seen, network._constant(seen), crop)[0]
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


def test_an_anchor_is_judged_on_origins_that_it_has_not_seen(reader: Reader) -> None:
    """As scikit-learn's ridge is, each origin left out in turn."""
    x, y = pixels(reader)
    whose = np.repeat(np.arange(len(reader.origins)), len(x) // len(reader.origins))
    error = still = 0.0
    for left_out in np.unique(whose):
        others = (whose != left_out) & np.isfinite(y[:, 0])
        scaler = StandardScaler().fit(x[others])
        ridge = Ridge(alpha=0.1 * others.sum()).fit(scaler.transform(x[others]), y[others, 0])
        ours = (whose == left_out) & np.isfinite(y[:, 0])
        error += np.square(ridge.predict(scaler.transform(x[ours])) - y[ours, 0]).sum()
        still += np.square(y[ours, 0]).sum()
    found = fit_anchor(Forecaster.of(reader.spec, reader.scaler), reader, seed=0)
    assert found == pytest.approx(1 - np.sqrt(error / still), abs=1e-4)
    assert found > 0.2, "what reverts always does"


def test_what_one_origin_says_of_change_and_the_next_denies_is_no_gain() -> None:
    """What the elevation drives up in one step comes down in the next."""
    ds = make_cube(SHAPE, steps=5)
    slope = 1e-4 * (ds["elevation"].values - 500)
    ds["hm"].values[...] = np.where(
        np.isfinite(ds["hm"]), 0.3 + slope * np.array([0, 0, 0, 1, 0])[:, None, None], np.nan
    )
    reader = reader_of(ds, h=1, chip=48, history=3)
    assert len(reader.origins) == 2
    network = Forecaster.of(reader.spec, reader.scaler)
    assert fit_anchor(network, reader, seed=0) < LEAST_GAIN
    assert not network.anchor_weight.any()
    assert network.most_tilt > 100, "means are held at the last map"


def test_one_origin_alone_says_nothing_of_others() -> None:
    reader = reader_of(reverting().isel(time=slice(4)), h=1, chip=48, history=3)
    assert len(reader.origins) == 1
    network = Forecaster.of(reader.spec, reader.scaler)
    assert fit_anchor(network, reader, seed=0) is None
    assert network.anchor_weight.any()


def test_a_far_lead_never_runs_away(reader: Reader) -> None:
    """A size lies between 0 and twice its lead."""
    for target, want in ((-1.0, 0.0), (100.0, 2 * 2.0)):
        features = np.random.default_rng(0).standard_normal((1, 1, 500))
        both = np.stack([features[0], target * features[0]])
        gram = anchor.NormalEquations.of(features[0], both).gram
        assert anchor.lead_sizes(gram, np.array([0.0, 1.0])).tolist() == [1.0, want]
    flat = anchor.NormalEquations.zero(2, 1).gram
    assert anchor.lead_sizes(flat, np.array([0.0, 1.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("changes", [{"anchor": False}, {"strategy": "recursive"}])
def test_networks_without_an_anchor_are_left_alone(ds: xr.Dataset, changes: dict[str, Any]) -> None:
    assert fitted(reader_of(ds, h=2, chip=48, **changes)) == {}
