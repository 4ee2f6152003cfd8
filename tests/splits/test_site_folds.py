"""Laws of the splits of samples, whatever dealt them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.errors import BadArgument, NotEnoughData
from hmx.points.samples import Samples
from hmx.splits import CALIBRATION, ROLES, TEST, TRAIN, UNUSED, VALIDATION
from hmx.splits.distances import nearest
from hmx.splits.methods import block_folds, distance_folds, knndm_folds, random_folds, region_folds
from hmx.splits.site_folds import SiteFolds, Sites, SiteSplit, balance
from tests.make.sites import clustered, make_samples, scattered

SHARES = {VALIDATION: 0.1, CALIBRATION: 0.2}
GEOD = pyproj.Geod(ellps="WGS84")
DIGESTS = {"blocks": "867afc990385a9cc", "distance": "3cf7b017479f3fe2"}


def pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances of all pairs, m, by pyproj alone."""
    a, b = np.repeat(one, len(other), axis=0), np.tile(other, (len(one), 1))
    return np.asarray(GEOD.inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])[2])


def ways(samples: Samples, seed: int) -> dict[str, SiteFolds]:
    """Folds by each method."""
    region = np.where(samples.lonlat[:, 0] > 21.5, "east", "west")
    around = scattered(500, seed=9).lonlat
    return {
        "random": random_folds(samples, k=4, seed=seed),
        "blocks": block_folds(samples, side_km=15, k=4, seed=seed, buffer_km=2),
        "distance": distance_folds(samples, distance_km=3, k=4, seed=seed),
        "regions": region_folds(samples, region, buffer_km=4, seed=seed),
        "knndm": knndm_folds(samples, around, k=4, seed=seed),
    }


@pytest.fixture(scope="module", params=["scattered", "clustered", "replicated"])
def samples(request: pytest.FixtureRequest) -> Samples:
    made = {
        "scattered": lambda: scattered(400),
        "clustered": lambda: clustered(40, 10),
        "replicated": lambda: scattered(900, replicates=3),
    }
    return made[request.param]()


@pytest.fixture(scope="module")
def dealt(samples: Samples) -> dict[str, SiteFolds]:
    return ways(samples, seed=1)


METHODS = ["random", "blocks", "distance", "regions", "knndm"]


@pytest.mark.parametrize("method", METHODS)
def test_every_sample_is_tested_exactly_once(dealt: dict[str, SiteFolds], method: str) -> None:
    folds = dealt[method]
    tested = np.concatenate([test for _, test in folds.rounds()])
    assert sorted(tested) == list(range(len(folds.sites)))
    assert folds.method == method


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_a_site_never_straddle(dealt: dict[str, SiteFolds], method: str) -> None:
    folds = dealt[method]
    for fold in range(len(folds)):
        role = folds.split(fold, SHARES).role
        for site in np.unique(folds.sites.site):
            assert len(set(role[folds.sites.site == site])) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_buffer_holds_between_all_roles(dealt: dict[str, SiteFolds], method: str) -> None:
    folds = dealt[method]
    at = folds.sites.lonlat
    for fold in [0, len(folds) - 1, None]:
        split = folds.split(fold, SHARES)
        for one, other in [(TRAIN, TEST), (TRAIN, VALIDATION), (TRAIN, CALIBRATION),
                           (VALIDATION, CALIBRATION), (CALIBRATION, TEST)]:  # fmt: skip
            if len(split.rows(one)) and len(split.rows(other)):
                least = pairs(at[split.rows(one)], at[split.rows(other)]).min()
                assert least >= folds.buffer_km * 1000


@pytest.mark.parametrize("method", ["blocks", "distance", "regions"])
def test_no_more_is_left_out_than_the_buffer_takes(
    dealt: dict[str, SiteFolds], method: str
) -> None:
    folds = dealt[method]
    split, at = folds.split(0), folds.sites.lonlat
    left = split.rows(UNUSED)
    assert len(left)
    sites = np.isin(folds.sites.site, folds.sites.site[left])
    near = nearest(at, at[split.rows(TEST)]) < folds.buffer_km * 1000
    assert set(folds.sites.site[sites]) == set(folds.sites.site[near & (folds.fold != 0)])


@pytest.mark.parametrize("method", METHODS)
def test_whole_groups_share_a_role_before_the_buffer(
    dealt: dict[str, SiteFolds], method: str
) -> None:
    folds = dealt[method]
    role = folds.split(1, SHARES).role
    for group in np.unique(folds.group):
        assert len({*role[folds.group == group]} - {UNUSED}) <= 1


def test_shares_are_those_asked_for_and_drawn_anew_for_each_fold() -> None:
    folds = random_folds(scattered(1000), k=5)
    first, second = (folds.split(fold, SHARES) for fold in (0, 1))
    assert [first.count(role) for role in (TRAIN, VALIDATION, CALIBRATION, TEST)] == [
        560, 80, 160, 200,
    ]  # fmt: skip
    both = (folds.fold > 1) & (first.role == VALIDATION)
    assert (second.role[both] != VALIDATION).any()
    whole = folds.split(shares=SHARES)
    assert whole.count(TEST) == 0
    assert whole.count(VALIDATION) == 100


def test_inner_folds_keep_groups_and_leave_tested_samples_alone() -> None:
    folds = block_folds(scattered(400), side_km=15, k=4, buffer_km=1)
    train, test = next(folds.rounds())
    inner = folds.inner(train, 3)
    assert len(inner) == 3
    assert inner.buffer_km == 1
    np.testing.assert_array_equal(inner.group, folds.group[train])
    for rows, held in inner.rounds():
        assert not set(folds.group[train[rows]]) & set(folds.group[train[held]])
        assert not {*train[rows], *train[held]} & {*test}


def test_folds_and_splits_come_back_from_json(dealt: dict[str, SiteFolds]) -> None:
    for folds in dealt.values():
        back = SiteFolds.from_dict(json.loads(json.dumps(folds.as_dict())))
        assert back.digest == folds.digest
        assert back.as_dict() == folds.as_dict()
        np.testing.assert_array_equal(back.sites.lonlat, folds.sites.lonlat)
        split = folds.split(0, SHARES)
        again = SiteSplit.from_dict(json.loads(json.dumps(split.as_dict())))
        assert again.digest == split.digest
        np.testing.assert_array_equal(again.role, back.split(0, SHARES).role)


def test_the_saved_places_are_those_of_the_samples_to_a_centimetre() -> None:
    samples = scattered(50)
    saved = random_folds(samples, k=2).as_dict()
    np.testing.assert_allclose(saved["lon"], samples.lonlat[:, 0], atol=1e-7)
    np.testing.assert_allclose(saved["lat"], samples.lonlat[:, 1], atol=1e-7)


def test_the_digest_follows_places_folds_and_buffer() -> None:
    samples = scattered(200)
    moved = make_samples(samples.lonlat + np.eye(200, 2) * 1e-4)
    told = {
        random_folds(samples, k=4).digest, random_folds(samples, k=4, seed=1).digest,
        random_folds(moved, k=4).digest, block_folds(samples, side_km=9, k=4).digest,
        block_folds(samples, side_km=9, k=4, buffer_km=1).digest,
    }  # fmt: skip
    assert len(told) == 5


def test_two_processes_deal_the_same_folds() -> None:
    code = (
        "from tests.splits.test_site_folds import ways, clustered\n"
        "print(*(f.digest for f in ways(clustered(40, 10), 1).values()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    ).stdout.split()  # fmt: skip
    assert other == [folds.digest for folds in ways(clustered(40, 10), 1).values()]
    assert len(set(other)) == 5


def test_digests_are_the_same_on_every_machine() -> None:
    lonlat = np.stack([21 + np.arange(60) % 8 / 10, 41 + np.arange(60) // 8 / 10], axis=1)
    samples = make_samples(lonlat)
    assert block_folds(samples, side_km=20, k=3).digest == DIGESTS["blocks"]
    assert distance_folds(samples, distance_km=9, k=3).digest == DIGESTS["distance"]


@settings(max_examples=40)
@given(st.integers(0, 99), st.integers(2, 7), st.integers(1, 30))
def test_folds_differ_by_no_more_than_the_largest_group(seed: int, k: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(groups + k), rng.integers(1, 9, groups + k)))
    sizes = np.bincount(balance(group, k, seed, method="any"), minlength=k)
    assert np.ptp(sizes) <= np.bincount(group).max()


def test_a_test_distance_is_to_the_nearest_site_trained_on() -> None:
    folds = distance_folds(scattered(120), distance_km=4, k=3)
    found, at = folds.test_distances(), folds.sites.lonlat
    assert found.min() >= 4000
    for train, test in folds.rounds():
        every = pairs(at[test], at[train]).reshape(len(test), len(train))
        np.testing.assert_allclose(found[test], every.min(axis=1), rtol=1e-4)


def test_a_site_on_two_sides_is_refused() -> None:
    places = Sites.of(make_samples(np.array([[21.0, 41], [21, 41], [22, 42]]), [4, 4, 7]))
    with pytest.raises(BadArgument, match=r"site 4 has samples of more than one fold.*together"):
        SiteFolds(places, np.array([0, 1, 1]), np.array([0, 0, 1]), "random")
    with pytest.raises(BadArgument, match=r"site 4 has samples of more than one group"):
        SiteFolds(places, np.array([0, 0, 1]), np.array([0, 1, 1]), "random")
    with pytest.raises(BadArgument, match=r"site 4 has samples of more than one role"):
        SiteSplit(places, np.array([TRAIN, TEST, TRAIN], "uint8"))


def test_a_split_whose_buffer_does_not_hold_is_refused() -> None:
    places = Sites.of(make_samples(np.array([[21.0, 41], [21.001, 41], [22, 42]])))
    role = np.array([TRAIN, TEST, TRAIN], "uint8")
    with pytest.raises(
        BadArgument, match=r"nearer than the buffer of 5 km.*SiteSplit\.with_buffer"
    ):
        SiteSplit(places, role, 5)
    assert SiteSplit.with_buffer(places, role, 5).role.tolist() == [UNUSED, TEST, TRAIN]


def test_a_buffer_that_takes_all_of_a_role_is_refused() -> None:
    places = Sites.of(make_samples(np.array([[21.0, 41], [21.001, 41]])))
    with pytest.raises(NotEnoughData, match=r"5 km leaves no sample for train.*below 5 km"):
        SiteSplit.with_buffer(places, np.array([TRAIN, TEST], "uint8"), 5)


def test_roles_without_a_group_each_are_refused() -> None:
    region = np.repeat(["a", "b"], 10)
    lonlat = np.repeat([[20.0, 41], [25, 45]], 10, axis=0)
    folds = region_folds(make_samples(lonlat), region)
    with pytest.raises(NotEnoughData, match=r"1 groups of samples \(regions\) cannot fill 3 roles"):
        folds.split(0, SHARES)
    assert folds.split(0, dict.fromkeys(ROLES, 0.0)).count(TRAIN) == 10


def test_each_role_takes_one_group_where_there_are_no_more() -> None:
    lonlat = np.repeat([[20.0, 41], [22, 42], [24, 43], [26, 44]], 10, axis=0)
    folds = region_folds(make_samples(lonlat), np.repeat(["a", "b", "c", "d"], 10))
    for shares in ((0.1, 0.1), (0.4, 0.4)):
        split = folds.split(0, dict(zip((VALIDATION, CALIBRATION), shares, strict=True)))
        assert [split.count(role) for role in (TRAIN, VALIDATION, CALIBRATION)] == [10, 10, 10]


def broken(saved: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**saved, **changes}


def test_what_is_no_split_or_was_changed_is_refused() -> None:
    folds = random_folds(scattered(40), k=2)
    split = folds.split(0)
    with pytest.raises(BadArgument, match=r"cannot read the folds .*KeyError.*as_dict"):
        SiteFolds.from_dict({"fold": [0]})
    with pytest.raises(BadArgument, match=r"cannot read the split .*KeyError.*as_dict"):
        SiteSplit.from_dict(broken(split.as_dict(), role="?" * 40))
    with pytest.raises(BadArgument, match=r"folds .*saved as \w+ reads as \w+, so it was"):
        SiteFolds.from_dict(broken(folds.as_dict(), seed=5))
    with pytest.raises(BadArgument, match=r"split .*saved as \w+ reads as \w+, so it was"):
        SiteSplit.from_dict(broken(split.as_dict(), role="t" * 40))
