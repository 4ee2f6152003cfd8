"""Laws of the ways in which samples are dealt into folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyproj
import pytest

from hmx.errors import BadArgument, NotEnoughData
from hmx.settings import parse
from hmx.splits import TRAIN
from hmx.splits.choose import fold_samples
from hmx.splits.methods import block_folds, distance_folds, random_folds, region_folds
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds
from tests.make.sites import clustered, make_samples, scattered

GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize("south", [-70.0, 0.0, 41.0, 80.0])
def test_blocks_are_as_wide_as_high_on_the_ground(south: float) -> None:
    folds = block_folds(scattered(8000, south=south), side_km=10, k=4)
    wide, high = [], []
    for group in np.unique(folds.group):
        west, low = folds.places.lonlat[folds.group == group].min(axis=0)
        east, top = folds.places.lonlat[folds.group == group].max(axis=0)
        wide.append(GEOD.inv(west, (low + top) / 2, east, (low + top) / 2)[2])
        high.append(GEOD.inv(west, low, west, top)[2])
    assert max(wide) < 10_150
    assert max(high) < 10_100
    assert max(wide) > 8_500
    assert max(high) > 8_500


def test_blocks_do_not_depend_on_other_samples() -> None:
    samples = scattered(400)
    whole = block_folds(samples, side_km=12, k=4).group
    part = block_folds(samples.at(np.arange(200)), side_km=12, k=4).group
    same = lambda group: group[:, None] == group  # noqa: E731
    np.testing.assert_array_equal(same(part), same(whole[:200]))


def test_blocks_test_farther_from_training_sites_than_random_folds() -> None:
    samples = clustered()
    blocks = np.median(block_folds(samples, side_km=20, k=5).test_distances())
    assert blocks > 2 * np.median(random_folds(samples, k=5).test_distances())


def test_clumps_are_within_the_distance_of_their_centre() -> None:
    folds = distance_folds(scattered(300), distance_km=6, k=3)
    for group in np.unique(folds.group):
        at = folds.places.lonlat[folds.group == group]
        a, b = np.repeat(at, len(at), axis=0), np.tile(at, (len(at), 1))
        far = GEOD.inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])[2].reshape(len(at), len(at))
        assert far.max(axis=1).min() <= 6001  # from one of them all are near


def test_clumps_leave_more_to_train_on_than_single_sites_would() -> None:
    samples = scattered(2000)
    clumps = distance_folds(samples, distance_km=8, k=5)
    single = random_folds(samples, k=5)
    single = SiteFolds(single.places, single.fold, single.group, "random", buffer_km=8)
    with pytest.raises(NotEnoughData):
        single.split(0)
    assert clumps.split(0).count(TRAIN) > 500


def test_a_region_is_a_fold_under_its_name() -> None:
    samples = scattered(200)
    region = np.array(["north", "west", "east"])[np.arange(200) % 3]
    folds = region_folds(samples, region)
    assert folds.names == ("east", "north", "west")
    np.testing.assert_array_equal(np.array(folds.names)[folds.fold], region)


def test_a_site_on_a_border_belongs_to_the_region_of_its_first_sample() -> None:
    samples = scattered(60, replicates=2)
    region = np.repeat(["a", "b"], 30)
    region[1], region[0] = "b", "a"
    assert region_folds(samples, region).fold[:2].tolist() == [0, 0]


SOME = scattered(40)
REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: random_folds(SOME, k=1), BadArgument, r"k=1: cross-validation has at least 2 folds"),
    (lambda: random_folds(SOME, k=41), NotEnoughData, r"40 groups \(random\), and k=41 folds"),
    (
        lambda: random_folds(SOME, k=10),
        NotEnoughData,
        r"fold 1 of 10 has 4 sites to test on: a round needs 5 of both\. Pass fewer folds",
    ),
    (
        lambda: block_folds(SOME, side_km=5000, k=2),
        NotEnoughData,
        r"in 1 group \(blocks of 5000 km\), and k=2 folds.*smaller blocks",
    ),
    (lambda: block_folds(SOME, side_km=0), BadArgument, r"side_km=0: a length is above 0 km"),
    (
        lambda: block_folds(SOME, side_km=9, buffer_km=-1),
        BadArgument,
        r"buffer_km=-1: a buffer is 0 km or more\. Pass buffer_km=0",
    ),
    (
        lambda: distance_folds(SOME, distance_km=float("nan")),
        BadArgument,
        r"distance_km=nan: a length is above 0 km\. Pass distance_km=5",
    ),
    (
        lambda: block_folds(SOME, side_km=30, buffer_km=50, k=2),
        NotEnoughData,
        r"buffer of 50 km",
    ),
    (
        lambda: region_folds(SOME, ["a"] * 40),
        BadArgument,
        r"all sites are in region 'a': to leave one out takes two.*method='blocks'",
    ),
    (lambda: region_folds(SOME, ["a"] * 3), BadArgument, r"3 regions for 40 samples"),
    (
        lambda: region_folds(SOME, ["a", None, float("nan")] + ["b"] * 37),
        BadArgument,
        r"2 of 40 samples have no region: each has one\. Fill the column",
    ),
    (
        lambda: region_folds(SOME, ["tiny"] + ["b"] * 39),
        NotEnoughData,
        r"fold 1 of 2 \(b\) has 1 sites to train on: a round needs 5 of both\. Merge small",
    ),
]


@pytest.mark.parametrize(
    ("deal", "error", "text"), REFUSED, ids=[text[:40] for *_, text in REFUSED]
)
def test_a_deal_that_cannot_be_says_why(
    deal: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        deal()


def test_a_round_whose_buffer_leaves_few_sites_says_so() -> None:
    lonlat = np.concatenate([scattered(20).lonlat, scattered(3, west=30).lonlat])
    with pytest.raises(
        NotEnoughData,
        match=r"fold 1 of 2 \(a\) has 3 sites to train on outside its buffer of 200 km.*below 200",
    ):
        region_folds(make_samples(lonlat), ["a"] * 10 + ["b"] * 13, buffer_km=200)


def test_options_choose_the_method_and_its_lengths() -> None:
    samples, around = clustered(), scattered(400).lonlat
    region = np.where(samples.lonlat[:, 0] > 21.5, "east", "west")
    for method, given in {
        "random": {}, "blocks": {"block_km": 15, "distance_km": 1},
        "distance": {"distance_km": 2}, "regions": {"region": "land"}, "knndm": {},
    }.items():  # fmt: skip
        options = parse(SplitOptions, {"method": method, "folds": 4, **given})
        folds = fold_samples(samples, options, seed=2, domain=around, region=region)
        assert folds.method == method
        assert folds.seed == 2
        assert folds.buffer_km == given.get("distance_km", 0)
        assert len(folds) == (2 if method == "regions" else 4)


def test_the_names_of_other_systems_are_understood() -> None:
    given = {"method": "distance", "distance_threshold": 1.2, "target_val_ratio": 0.2}
    options = parse(SplitOptions, given)
    assert options.distance_km == 1.2
    assert options.folds == 5


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"method": "distance"}, r"method='distance' keeps a distance\. Pass distance_km=5"),
        ({"method": "random", "distance_km": 2}, r"method='random' keeps no distance, but.*=2"),
        ({"method": "regions"}, r"go together\. Pass method='regions', region='name"),
        ({"region": "land"}, r"go together"),
        ({"distance_km": 1, "distance_threshold": 1}, r"distance_km and distance_threshold say"),
        ({"target_val_ratio": 0.9}, r"target_val_ratio=0\.9: the share that is tested"),
        ({"folds": 1}, r"folds=1: must be at least 2"),
        ({"block_km": 0}, r"block_km=0: must be greater than 0"),
        ({"metod": "random"}, r"unknown option 'metod'.*Did you mean 'method'"),
    ],
)
def test_options_that_cannot_be_say_why(given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadArgument, match=text):
        parse(SplitOptions, given)


def test_a_method_without_what_decides_its_folds_says_what_to_pass() -> None:
    with pytest.raises(BadArgument, match=r"'knndm' without domain: it decides.*domain\(grid"):
        fold_samples(SOME, SplitOptions(method="knndm"))
    with pytest.raises(BadArgument, match=r"'regions' without region: it decides the folds"):
        fold_samples(SOME, SplitOptions(method="regions", region="land"))
