"""Laws of the calibration: what is said comes true as often as it is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.errors import BadArgument
from hmx.networks.options import KNOTS
from hmx.uncertainty.calibration import (
    FEWEST,
    PROBABILITIES,
    Calibration,
    fit_ranks,
    memberships,
    strata,
)
from hmx.uncertainty.distribution import quantile, rank

NODES = strata(30.0)
STRETCH = (0.05, 0.08)
CHANCE = st.floats(0.001, 0.999)
TIED = 0.8  # of the truths are exactly the origin


def land(n, seed, *, ties=TIED):
    """Networks' knots, truths and distances: too narrow near change, too wide far from it."""
    rng = np.random.default_rng(seed)
    distance = rng.choice(NODES, n)
    origin = rng.random(n)
    spread = 0.02 + 0.05 * np.exp(-distance / 5)
    said = spread * np.where(distance < 3, 0.4, 2.0)  # what the network takes for its spread
    tie = rng.random(n) < ties
    truth = np.where(tie, origin, origin + spread * rng.gamma(2.0, 0.7, n))
    normal = np.array([-2.3, -2, -1.6, -1.3, -0.8, -0.4, 0, 0.4, 0.8, 1.3, 1.6, 2, 2.3])
    knots = origin + said * np.maximum(normal[:, None], 0)  # half of it is "as it was"
    return knots, truth, distance, origin


def learnt(n=60_000, leads=1, *, nodes=NODES):
    rng = np.random.default_rng(9)
    ranks, near = [], []
    for lead in range(leads):
        knots, truth, distance, _ = land(n, seed=lead)
        ranks.append(rank(knots, KNOTS, truth, rng.random(n), stretch=STRETCH[lead]))
        near.append(distance)
    return fit_ranks(ranks, near, nodes=nodes, stretch=STRETCH[:leads])


CALIBRATION = learnt()


def covered(calibration, level, *, seed=99, n=60_000):
    """Whether randomised truths lie in an interval, and where they are."""
    knots, truth, distance, origin = land(n, seed)
    values, near = knots[:, None], distance[None]
    low, high = (
        calibration.quantile(values, KNOTS, near, lead=1, probability=p)[0]
        for p in (0.5 - level / 200, 0.5 + level / 200)
    )
    # a truth on an end lies inside for as much of its point mass as the interval holds
    draw = np.random.default_rng(seed + 1).random(n)
    found = rank(knots, KNOTS, truth, draw, stretch=STRETCH[0])
    share = calibration.probability(found[None], near, lead=1)[0]
    strict = (low < truth) & (truth < high)
    on_end = ((truth == low) | (truth == high)) & ~strict
    within = (share > 0.5 - level / 200) & (share <= 0.5 + level / 200)
    return np.where(on_end, within, strict), distance, truth == origin


@pytest.mark.parametrize("level", [50, 80, 95])
def test_an_interval_covers_as_often_as_it_says_in_every_stratum(level):
    inside, distance, tied = covered(CALIBRATION, level)
    assert 0.79 < tied.mean() < 0.81
    assert 100 * inside.mean() == pytest.approx(level, abs=2)
    for node in NODES:
        part = distance == node
        assert part.sum() > 5_000
        assert 100 * inside[part].mean() == pytest.approx(level, abs=2)


@pytest.mark.parametrize("level", [50, 80, 95])
def test_without_calibration_it_would_not(level):
    """The network of these tests says less than a half where it should say more."""
    flat = Calibration((PROBABILITIES[None],), (np.array([1000.0]),), (0.0,), STRETCH[:1])
    inside, distance, _ = covered(flat, level)
    off = [abs(100 * inside[distance == node].mean() - level) for node in NODES]
    assert max(off) > 2.5


@pytest.mark.parametrize("probability", [0.9, 0.95, 0.99])
def test_a_quantile_above_the_ties_is_passed_as_often_as_it_says(probability):
    knots, truth, distance, _ = land(60_000, 98)
    found = CALIBRATION.quantile(
        knots[:, None], KNOTS, distance[None], lead=1, probability=probability
    )[0]
    for node in NODES:
        part = distance == node
        assert (truth <= found)[part].mean() == pytest.approx(probability, abs=0.02)


@given(CHANCE, CHANCE, st.integers(0, 20), st.integers(1, 5))
def test_quantiles_never_cross(one, other, seed, lead):
    knots, _, distance, _ = land(50, seed)
    low, high = (
        CALIBRATION.quantile(knots[:, None], KNOTS, distance[None], lead=lead, probability=p)
        for p in sorted((one, other))
    )
    assert (low <= high + 1e-12).all()


@given(st.floats(0.04, 0.96), st.sampled_from([0.0, 1.0, 3.0, 7.0, 10.0, 99.0]))
def test_probability_inverts_quantile(probability, near):
    """Where the distribution has no point mass; between strata, which average quantiles in one
    and probabilities in the other, up to how much they differ."""
    knots = np.linspace(0, 1, len(KNOTS))[:, None, None]
    distance = np.full((1, 1), near)
    at = CALIBRATION.quantile(knots, KNOTS, distance, lead=1, probability=probability)
    found = rank(knots, KNOTS, at, np.full((1, 1), 0.5), stretch=STRETCH[0])
    back = CALIBRATION.probability(found, distance, lead=1)
    between = near not in NODES and near < NODES[-1]
    assert back.item() == pytest.approx(probability, abs=0.1 if between else 0.003)


def test_probability_without_a_calibration_is_the_rank():
    ranks = np.linspace(0, 1, 7)
    assert Calibration().probability(ranks, None, lead=1) is ranks


@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
def test_a_probability_climbs_with_the_rank_and_stays_one(one, other):
    low, high = (
        CALIBRATION.probability(np.full((1, 1), r), np.full((1, 1), 3.0), lead=1).item()
        for r in sorted((one, other))
    )
    assert 0 <= low <= high <= 1


def test_leads_beyond_the_calibrated_ones_use_the_last():
    two = learnt(leads=2, n=20_000)
    knots, _, distance, _ = land(100, 0)
    found = [
        two.quantile(knots[:, None], KNOTS, distance[None], lead=lead, probability=0.9)
        for lead in (1, 2, 3, 9)
    ]
    assert not np.allclose(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_array_equal(found[1], found[3])


def test_maps_have_no_contours_between_strata():
    sweep = np.linspace(0, 40, 20_001)[None]
    knots = np.repeat(np.linspace(0, 1, len(KNOTS))[:, None, None], sweep.size, axis=2)
    most = 0.0
    for probability in (0.05, 0.5, 0.9, 0.95):
        found = CALIBRATION.quantile(knots, KNOTS, sweep, lead=1, probability=probability)
        assert np.abs(np.diff(found)).max() < 2e-3
        most = max(most, np.ptp(found))
    assert most > 0.05, "strata must differ to be compared"


@given(st.lists(st.floats(0, 200), min_size=1, max_size=20), st.sampled_from([None, 3, 5, 30, 100]))
def test_memberships_sum_to_one(distances, cap):
    weights = memberships(np.array(distances), strata(cap))
    np.testing.assert_allclose(sum(np.broadcast_to(w, len(distances)) for w in weights), 1)
    assert all((np.asarray(w) >= 0).all() for w in weights)


def test_strata_are_at_change_near_it_and_as_far_as_is_known():
    assert strata(None) == (0.0,)
    assert strata(2.0) == (0.0, 2.0)
    assert strata(3.0) == (0.0, 3.0)
    assert strata(5.0) == (0.0, 3.0, 5.0)
    assert strata(30.0) == (0.0, 3.0, 10.0)


def test_too_few_ranks_of_a_stratum_take_the_whole_lead():
    rng = np.random.default_rng(0)
    ranks, distance = rng.random(2000) ** 2, np.zeros(2000)
    distance[: FEWEST // 2] = 30.0
    ranks[: FEWEST // 2] = 0.5
    found = fit_ranks([ranks], [distance], nodes=NODES, stretch=(0.1,))
    np.testing.assert_array_equal(found.ranks[0][1], found.ranks[0][2])
    assert found.counts[0].tolist() == [2000 - FEWEST // 2, 0, FEWEST // 2]
    assert not np.array_equal(found.ranks[0][0], found.ranks[0][2])


@pytest.mark.parametrize(("sizes", "leads"), [((500, 500, 9), 2), ((9, 500), 0), ((), 0)])
def test_leads_are_calibrated_as_far_as_there_are_truths(sizes, leads):
    rng = np.random.default_rng(0)
    found = fit_ranks(
        [rng.random(n) for n in sizes], [None] * len(sizes), nodes=(0.0,), stretch=(1.0,) * 3
    )
    assert found.leads == leads == len(found.stretch)


def test_ranks_are_read_with_the_correction_of_a_finite_sample():
    ranks = np.arange(1, 400) / 400  # n + 1 = 400
    found = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,))
    assert np.interp([0.1, 0.5, 0.9], PROBABILITIES, found.ranks[0][0]) == pytest.approx(
        [0.1, 0.5, 0.9]
    )


def test_the_order_of_pixels_does_not_matter():
    rng = np.random.default_rng(3)
    ranks, distance, turned = rng.random(5000), rng.random(5000) * 30, rng.permutation(5000)
    one = fit_ranks([ranks], [distance], nodes=NODES, stretch=(1.0,))
    other = fit_ranks([ranks[turned]], [distance[turned]], nodes=NODES, stretch=(1.0,))
    np.testing.assert_allclose(one.ranks[0], other.ranks[0], rtol=0, atol=1e-12)


def test_a_tail_beyond_the_knots_is_found_again():
    """Ranks above 1 count how far: a sharp network is widened by adding."""
    rng = np.random.default_rng(0)
    knots = np.broadcast_to(np.linspace(0, 0.001, len(KNOTS))[:, None], (len(KNOTS), 20_000))
    truth = rng.normal(0, 1.0, 20_000)
    ranks = rank(knots, KNOTS, truth, rng.random(20_000), stretch=0.3)
    found = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(0.3,))
    for p, wanted in ((0.05, -1.645), (0.9, 1.2816), (0.975, 1.96)):
        value = found.quantile(knots[:, None, :1], KNOTS, None, lead=1, probability=p)
        assert value.item() == pytest.approx(wanted, abs=0.06)


def test_quantiles_have_the_shape_and_type_of_the_knots():
    knots = np.zeros((len(KNOTS), 3, 4), "float32")
    knots[:, 0, 0] = np.nan
    distance = np.zeros((3, 4), "float32")
    found = CALIBRATION.quantile(knots, KNOTS, distance, lead=1, probability=0.1)
    assert (found.shape, found.dtype) == ((3, 4), "float32")
    assert (np.isnan(found) == np.isnan(knots[0])).all()


def test_an_identity_is_the_quantile_itself():
    flat = Calibration((PROBABILITIES[None],), (np.array([1000.0]),), (0.0,), (0.1,))
    knots = np.sort(np.random.default_rng(0).random((len(KNOTS), 4, 5)), axis=0)
    for p in (0.1, 0.5, 0.95):
        found = flat.quantile(knots, KNOTS, None, lead=1, probability=p)
        np.testing.assert_allclose(found, quantile(knots, KNOTS, p), rtol=0, atol=1e-12)


def test_it_survives_json():
    again = Calibration.from_dict(json.loads(json.dumps(CALIBRATION.as_dict())))
    np.testing.assert_array_equal(again.ranks[0], CALIBRATION.ranks[0])
    assert (again.nodes, again.stretch) == (CALIBRATION.nodes, CALIBRATION.stretch)


def test_an_uncalibrated_model_says_how_to_calibrate_it():
    knots = np.zeros((15, 1, 1))
    for ask in (
        Calibration().require,
        lambda: Calibration().quantile(knots, KNOTS, None, lead=1, probability=0.5),
    ):
        with pytest.raises(BadArgument) as caught:
            ask()
        assert str(caught.value) == (
            "this model has no calibration, so it cannot give intervals or quantiles. "
            "Train it with calibration=0.1, or leave out level= and quantiles=."
        )
    CALIBRATION.require()


def test_probabilities_ascend_and_are_symmetric():
    assert (np.diff(PROBABILITIES) > 0).all()
    np.testing.assert_allclose(PROBABILITIES + PROBABILITIES[::-1], 1)


def ranked_blocks(shift: np.ndarray, *, pixels: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of blocks, each with a share of its truths moved below the median."""
    rng = np.random.default_rng(5)
    drawn = rng.random((len(shift), pixels))
    moved = np.clip(drawn ** (1 + shift[:, None]), 0, 1)
    return moved.ravel(), np.repeat(np.arange(len(shift)), pixels)


def test_what_blocks_agree_on_is_corrected() -> None:
    ranks, blocks = ranked_blocks(np.full(8, 0.6))
    plain = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,))
    shrunk = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,), blocks=[blocks])
    off = np.abs(plain.ranks[0] - PROBABILITIES).max()
    assert off > 0.1
    assert np.abs(shrunk.ranks[0] - plain.ranks[0]).max() < 0.05 * off


def test_what_blocks_disagree_about_is_left_alone() -> None:
    ranks, blocks = ranked_blocks(np.array([0.9, -0.45, 0.8, -0.4]))
    plain = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,))
    shrunk = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,), blocks=[blocks])
    assert np.abs(plain.ranks[0] - PROBABILITIES).max() > 0.02
    np.testing.assert_allclose(
        shrunk.ranks[0], np.broadcast_to(PROBABILITIES, (1, len(PROBABILITIES)))
    )


@pytest.mark.parametrize(("blocks", "believed"), [(1, False), (3, False), (4, True)])
def test_three_blocks_that_agree_may_do_so_by_chance(blocks: int, believed: bool) -> None:
    ranks, whose = ranked_blocks(np.full(blocks, 0.6))
    found = fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,), blocks=[whose]).ranks[0]
    assert np.allclose(found, PROBABILITIES) is not believed


def test_far_from_change_distributions_can_be_persistence() -> None:
    """All the residual is kept at change, none where it is far, and nothing jumps between."""
    knots, _, _, origin = land(60, 4)
    values = np.repeat(knots[None, :, None], 2, axis=0).astype("float32")
    start, before = origin[None].astype("float32"), values.copy()
    distance = np.linspace(0, 20, 60)[None]
    found = Calibration(nodes=NODES, far=0.0).damp(values, start, distance)
    kept = (found - start)[:, -1] / (before - start)[:, -1]
    np.testing.assert_array_equal(found[..., distance[0] <= 3], before[..., distance[0] <= 3])
    assert (found == start)[..., distance[0] >= 10].all()
    assert (np.diff(kept[0, 0]) <= 1e-6).all()
    assert np.abs(np.diff(kept[0, 0])).max() < 0.15


@pytest.mark.parametrize(("far", "near"), [(1.0, np.full((1, 9), 99.0)), (0.0, None)])
def test_where_nothing_is_damped_distributions_stay_the_very_same(far, near) -> None:
    values = np.random.default_rng(0).random((2, 3, 1, 9)).astype("float32")
    found = Calibration(nodes=NODES, far=far).damp(values.copy(), np.zeros((1, 9)), near)
    np.testing.assert_array_equal(found, values)


def test_few_blocks_are_believed_less_than_what_they_say_of_their_own_variance() -> None:
    """By the mean of an inverse variance: n / (n - 2), n blocks less one."""
    ranks, whose = ranked_blocks(np.array([0.9, 0.1, 0.7, 0.2, 0.5, 0.4]))
    plain, drawn = (
        fit_ranks([ranks], [None], nodes=(0.0,), stretch=(1.0,), **how).ranks[0]
        for how in ({}, {"blocks": [whose]})
    )
    deciles = np.arange(0.1, 0.95, 0.1)
    off = (ranks.reshape(6, -1)[:, :, None] <= deciles).mean(axis=1) - deciles
    doubt = off.var(axis=0, ddof=1).sum() / 6 / np.square(off.mean(axis=0)).sum()
    wanted = PROBABILITIES + (1 - 5 / 3 * doubt) * (plain - PROBABILITIES)
    assert 0.05 < doubt < 0.5
    np.testing.assert_allclose(drawn, wanted, atol=1e-9)
