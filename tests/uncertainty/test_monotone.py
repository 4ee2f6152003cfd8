"""Quantiles ascend and nest to the bit, on a million random distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hmx.mapping.target import TargetScaler, inverse
from hmx.networks.options import KNOTS
from hmx.uncertainty.calibration import PROBABILITIES, Calibration, Strata, memberships
from hmx.uncertainty.conformal import Conformal
from hmx.uncertainty.distribution import ascend, between, mean, quantile, settle
from hmx.uncertainty.exceed import exceedance
from hmx.uncertainty.mixing import mixture

NODES = (0.0, 3.0, 10.0)
SHAPE = (500, 400)
# in pairs that differ by rounding too, and beyond the ends of the tables
ASKED = sorted(
    {0.0, 1e-9, 0.0005, 0.9999, 1.0, *KNOTS, *(p for p in PROBABILITIES[::5])}
    | {(1 - level / 100) / 2 for level in (50, 80, 90, 95, 99)}
    | {1 - (1 - level / 100) / 2 for level in (50, 80, 90, 95, 99)}
    | {float(np.nextafter(p, 1)) for p in KNOTS}
)
WORLDS = ("smooth", "near equal", "huge", "tiny", "ties")


def random_knots(world: str, dtype: str, seed: int = 0) -> NDArray[np.floating[Any]]:
    """Ascending knots, (q, y, x), of one kind; each has point masses too."""
    rng = np.random.default_rng(seed)
    size = (len(KNOTS), *SHAPE)
    start = rng.normal(0.3, 0.5, SHAPE)
    gaps = rng.exponential(0.1, size) * (rng.random(size) < 0.6)
    if world == "ties":
        gaps *= rng.random(SHAPE) < 0.2
    values = (start + gaps.cumsum(0)).astype(dtype)
    if world == "near equal":  # knots are a few floats apart
        steps = rng.integers(0, 3, size).cumsum(0).astype(dtype)
        values = start.astype(dtype) + steps * np.spacing(np.abs(start).astype(dtype))
    if world == "huge":
        values = values * values.dtype.type(np.finfo(dtype).max / 32)
    if world == "tiny":
        values = values * values.dtype.type(np.finfo(dtype).smallest_subnormal * 64)
    return np.sort(values, axis=0)


def random_calibration(seed: int = 0) -> Calibration:
    """Rank tables that descend here and there, reach beyond the knots, and have flat parts."""
    rng = np.random.default_rng(seed)
    rough = PROBABILITIES ** rng.uniform(0.5, 2, (3, 1)) + rng.normal(0, 0.02, (3, 1))
    rough = rough + rng.normal(0, 3e-3, rough.shape)
    rough[:, 50:60] = rough[:, 50:51]
    rough[:, :4] -= rng.random((3, 4))
    rough[:, -4:] += rng.random((3, 4))
    return Calibration((rough,), (np.full(3, 1e4),), NODES, (0.03,))


def random_distances(dtype: str, seed: int = 0) -> NDArray[np.floating[Any]]:
    """Distances of every membership: on nodes, next to them, between, beyond."""
    rng = np.random.default_rng(seed)
    found = rng.uniform(0, 12, SHAPE).astype(dtype)
    for row, node in zip((0, 1, 2), NODES, strict=True):
        found[row] = np.nextafter(found.dtype.type(node), 99) if row % 2 else node
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world", WORLDS)
def test_calibrated_quantiles_ascend_to_the_bit(world: str, dtype: str) -> None:
    seed = WORLDS.index(world)
    knots, distance = random_knots(world, dtype, seed), random_distances(dtype, seed)
    calibration = random_calibration(seed)
    found = calibration.quantiles(knots, KNOTS, distance, lead=1, probabilities=ASKED)
    assert (found.dtype, found.shape) == (dtype, (len(ASKED), *SHAPE))
    assert (found[1:] >= found[:-1]).all()
    clipped = np.clip(found, -0.1, 0.4)
    assert (clipped[1:] >= clipped[:-1]).all()
    spread = (found[-1] > found[0]).mean()
    assert spread > 0.2, "distributions must have a width to be compared"


@pytest.mark.parametrize("distance", [None, random_distances("float32")])
def test_a_quantile_does_not_depend_on_the_others(distance: Any) -> None:
    knots, calibration = random_knots("near equal", "float32"), random_calibration()
    together = calibration.quantiles(knots, KNOTS, distance, lead=1, probabilities=ASKED)
    for at in range(0, len(ASKED), 7):
        alone = calibration.quantile(knots, KNOTS, distance, lead=1, probability=ASKED[at])
        np.testing.assert_array_equal(alone, together[at])


@pytest.mark.parametrize("world", WORLDS)
def test_the_mean_lies_within_the_outermost_knots_to_the_bit(world: str) -> None:
    for dtype in ("float32", "float64"):
        knots = random_knots(world, dtype)
        found = mean(knots, KNOTS)
        assert ((knots[0] <= found) & (found <= knots[-1])).all()
        point = np.broadcast_to(knots[:1], knots.shape)
        np.testing.assert_array_equal(mean(point, KNOTS), knots[0])


@pytest.mark.parametrize("world", WORLDS)
def test_what_makes_knots_keeps_their_order_to_the_bit(world: str) -> None:
    knots = random_knots(world, "float32")[:, :100]
    origin = knots[4] * np.float32(1 + 1e-6)
    for tolerance in (1e-7, 0.01):
        found = settle(knots, origin, tolerance=tolerance, valid_range=(0.0, 1.0))
        assert (found[1:] >= found[:-1]).all()
    damped = Calibration(nodes=NODES, far=0.3).damp(
        knots[None].copy(), origin, random_distances("float32")[:100]
    )[0]
    assert (damped[1:] >= damped[:-1]).all()
    small = knots[:, :20]
    mixed = mixture([small, random_knots(world, "float32", 1)[:, :20]], KNOTS)
    assert (mixed[1:] >= mixed[:-1]).all()


def scales(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Pairs of a large negative and a small number, whose difference is rounded."""
    rng = np.random.default_rng(seed)
    small = rng.random(count) * 10.0 ** rng.integers(-17, -3, count)
    return np.stack([-1 - rng.random(count), small])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_between_two_values_nothing_overshoots(dtype: str) -> None:
    low, high = scales(100_000).astype(dtype)
    before = low
    nearly = float(np.nextafter(low.dtype.type(1), 0))
    for part in [0.0, 1e-12, 0.1, 0.5, 0.7, 0.999999, nearly, 1.0]:
        found = between(low, high, part)
        assert ((before <= found) & (found <= high)).all()
        before = found
    np.testing.assert_array_equal(before, high)


def test_an_interpolation_never_descends() -> None:
    for low, high in scales(2000).T:
        xs = np.cumsum([0.0, -low, 1.0])
        ys = np.array([low, high, high + 1e-14])
        asked = [-1.0, 0.5, np.nextafter(xs[1], 0), xs[1], np.nextafter(xs[1], 9), 2.5, 9.0]
        found = [ascend(x, xs, ys) for x in asked]
        assert (np.diff(found) >= 0).all()
        np.testing.assert_allclose(found, np.interp(asked, xs, ys), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world", WORLDS)
def test_mixtures_ascend_and_equal_members_keep_their_bits(world: str, dtype: str) -> None:
    members = [random_knots(world, dtype, seed)[:, :20] for seed in range(5)]
    for count in (2, 3, 5):
        found = mixture(members[:count], KNOTS)
        assert found.dtype == dtype
        assert (found[1:] >= found[:-1]).all()
        assert (found[0] >= np.min([m[0] for m in members], axis=0)).all()
        assert (found[-1] <= np.max([m[-1] for m in members], axis=0)).all()
        np.testing.assert_array_equal(mixture(members[:1] * count, KNOTS), members[0])


def test_a_mixture_is_near_the_pooled_values_of_its_members() -> None:
    """Quantiles of 2,000 values of each member, within 3 % of the width of the mixture."""
    base = random_knots("smooth", "float64")[:, :4, :50]
    members = [0.1 * n + base * (0.8 + 0.1 * n) for n in range(5)]
    probable = (np.arange(2000) + 0.5) / 2000
    pool = np.sort([quantile(m, KNOTS, p) for m in members for p in probable], axis=0)
    wanted = np.stack([pool[round(p * len(pool))] for p in KNOTS])
    found = mixture(members, KNOTS)
    off = (found - wanted) / (wanted[-1] - wanted[0])
    assert np.sqrt(np.mean(off**2)) < 0.03
    assert np.abs(off).max() < 0.12
    near = [m.astype("float32") for m in members]
    np.testing.assert_allclose(mixture(near, KNOTS), found, rtol=0, atol=2e-6)
    tensors: Any = [torch.from_numpy(m) for m in near]
    np.testing.assert_array_equal(mixture(tensors, KNOTS), mixture(near, KNOTS))


def test_rank_tables_of_older_models_are_made_to_ascend() -> None:
    falling = np.stack([PROBABILITIES, PROBABILITIES])
    falling[1, 7] -= 0.1
    found = Calibration((falling,), (np.full(2, 9.0),), (0.0, 3.0), (0.1,))
    again = Calibration.from_dict({**found.as_dict(), "ranks": [falling.tolist()]})
    for table in (found.ranks[0], again.ranks[0]):
        assert (np.diff(table, axis=1) >= 0).all()
        np.testing.assert_array_equal(table[0], PROBABILITIES)
    soil = Conformal(table=falling, nodes=(0.0, 1.0), count=500)
    assert (np.diff(Conformal.from_dict(soil.as_dict()).table, axis=1) >= 0).all()
    assert (np.diff(soil.table, axis=1) >= 0).all()


def test_pixels_are_located_as_ranks_were_weighed() -> None:
    distance = random_distances("float64")
    strata = Strata.of(distance, NODES, distance.dtype)
    assert strata is not None
    values = np.random.default_rng(0).random((3, *SHAPE))
    weighed = sum(w * v for w, v in zip(memberships(distance, NODES), values, strict=True))
    np.testing.assert_allclose(strata.mix(list(values)), weighed, rtol=0, atol=1e-12)
    same = [values[0]] * 3  # where strata agree, their bits are kept
    np.testing.assert_array_equal(strata.mix(same), values[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world", ["smooth", "ties"])
@pytest.mark.parametrize("near", [True, False])
def test_exceedance_and_quantiles_are_one_distribution(world: str, dtype: str, near: bool) -> None:
    """Where the quantile for p lies above a threshold, it is exceeded with 1 - p or more."""
    knots, calibration = random_knots(world, dtype)[:, :80], random_calibration()
    distance = random_distances(dtype)[:80] if near else None
    asked = [*PROBABILITIES[::8], 0.9985]
    reached = calibration.quantiles(knots, KNOTS, distance, lead=1, probabilities=asked)
    slack = 1e-5 if dtype == "float32" else 1e-10
    for threshold in (0.1, 0.4, float(knots[6, 5, 5])):
        above = exceedance(calibration, knots, KNOTS, distance, lead=1, threshold=threshold)
        assert ((above >= 0) & (above <= 1)).all()
        for p, value in zip(asked, reached, strict=True):
            assert (above >= 1 - p - slack)[value > threshold + slack].all()
            assert (above <= 1 - p + slack)[value < threshold - slack].all()
        assert 0.01 < above.mean() < 0.99


def test_the_distribution_of_one_number_is_read_and_inverted() -> None:
    """It has one knot; its width comes from the calibration alone."""
    knots, calibration = random_knots("smooth", "float64")[6:7, :9], random_calibration()
    distance = random_distances("float64")[:9]
    asked = list(PROBABILITIES[::9])
    found = calibration.quantiles(knots, (0.5,), distance, lead=1, probabilities=asked)
    assert (found[1:] >= found[:-1]).all()
    np.testing.assert_array_equal(mean(knots, (0.5,)), knots[0])
    for p, values in zip(asked, found, strict=True):
        threshold = float(values[3, 3])
        above = exceedance(calibration, knots, (0.5,), distance, lead=1, threshold=threshold)
        assert (above >= 1 - p - 1e-9)[values > threshold + 1e-9].all()
        assert (above <= 1 - p + 1e-9)[values < threshold - 1e-9].all()


def test_an_exceedance_is_missing_where_the_distribution_is() -> None:
    knots = random_knots("smooth", "float32")[:, :2]
    knots[:, 0, :9] = np.nan
    for calibration in (random_calibration(), Calibration()):
        found = exceedance(calibration, knots, KNOTS, None, lead=3, threshold=0.3)
        assert found.dtype == "float32"
        assert (np.isnan(found) == np.isnan(knots[0])).all() or not calibration.leads


@pytest.mark.parametrize("transform", ["none", "normalize", "log", "log1p"])
def test_quantiles_of_a_soil_map_ascend_to_the_bit(transform: Any) -> None:
    rng = np.random.default_rng(0)
    table = np.sort(rng.normal(0, 1, (5, PROBABILITIES.size)), axis=1)
    table[:, 20:40] = table[:, 20:21]
    table[:, 100:] = (
        np.spacing(table[:, 100:101]) * np.arange(PROBABILITIES.size - 100) + table[:, 100:101]
    )
    nodes = tuple(np.sort(rng.normal(0, 1, 5)).tolist())
    found = Conformal(table=table, nodes=nodes, trust=0.65, typical=0.7, count=9999)
    center = rng.normal(0, 1.5, 100_000)
    spread = rng.exponential(1, center.size)
    spread[:1000] = 0
    scaler = TargetScaler(transform, 0.7, 1e-9 if transform == "log" else 1.3)
    before: Any = -np.inf
    for p in ASKED:
        values = inverse(found.quantile(center, spread, p), scaler).astype("float32")
        assert (values >= before).all()
        before = values


def test_an_exponential_is_taken_of_values_that_it_cannot_exchange() -> None:
    """It is exact to some floats only, so neighbours that are closer get one result."""
    values = np.arange(-3, 3, 2.0**-12)
    scaler = TargetScaler("log", 0.0, 1.0)
    np.testing.assert_array_equal(inverse(values + 1e-14, scaler), inverse(values, scaler))
    assert (inverse(values + 2.0**-40, scaler) > inverse(values, scaler)).all()


def test_a_quantile_function_keeps_the_bits_of_its_knots() -> None:
    knots = random_knots("near equal", "float32")
    for index, p in enumerate(KNOTS):
        np.testing.assert_array_equal(quantile(knots, KNOTS, p), knots[index])


def test_tensors_give_the_bits_of_arrays() -> None:
    knots, distance = random_knots("smooth", "float32")[:, :40], random_distances("float32")[:40]
    origin, calibration = knots[4] * np.float32(1.01), random_calibration()
    steps = {"far": 0.3, "shift": (0.2,)}
    damped = Calibration(calibration.ranks, calibration.counts, NODES, (0.03,), **steps)
    strata = Strata.of(distance, NODES, np.dtype("float32"))
    assert strata is not None
    found = []
    for values, start in ((knots, origin), (torch.from_numpy(knots), torch.from_numpy(origin))):
        given: Any = values
        settled = settle(given, start, tolerance=0.01, valid_range=(0.0, 1.0))
        moved = damped.adjust(settled[None], KNOTS, start, distance)[0]
        near = strata.beside(moved)
        asked = damped.quantiles(moved, KNOTS, near, lead=1, probabilities=[0.05, 0.5, 0.99])
        found.append([np.asarray(part) for part in (settled, moved, mean(moved, KNOTS), asked)])
    for array, tensor in zip(*found, strict=True):
        np.testing.assert_array_equal(array, tensor)
