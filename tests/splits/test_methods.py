"""Laws of the ways in which samples are dealt into folds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyproj
import pytest

from hmx.errors import BadArgument, NotEnoughData
from hmx.mapping.options import MapScoreOptions, MapTrainOptions, split_mapping
from hmx.points.samples import Samples
from hmx.settings import parse
from hmx.splits import TRAIN, registry
from hmx.splits.distances import nearest
from hmx.splits.methods import (
    block_folds,
    checked,
    distance_folds,
    fold_samples,
    random_folds,
    region_folds,
)
from hmx.splits.options import SplitOptions
from hmx.splits.registry import method_of, split_method
from hmx.splits.report import describe_folds, name_folds
from hmx.splits.site_folds import SiteFolds, Sites, linked
from tests.make.sites import clustered, make_samples, scattered

GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize("south", [-70.0, 0.0, 41.0, 80.0])
def test_blocks_are_as_wide_as_high_on_the_ground(south: float) -> None:
    folds = block_folds(scattered(8000, south=south), side_km=10, k=4)
    wide, high = [], []
    for group in np.unique(folds.group):
        west, low = folds.sites.lonlat[folds.group == group].min(axis=0)
        east, top = folds.sites.lonlat[folds.group == group].max(axis=0)
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
        at = folds.sites.lonlat[folds.group == group]
        a, b = np.repeat(at, len(at), axis=0), np.tile(at, (len(at), 1))
        far = GEOD.inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])[2].reshape(len(at), len(at))
        assert far.max(axis=1).min() <= 6001  # from one of them all are near


def test_clumps_leave_more_to_train_on_than_single_sites_would() -> None:
    samples = scattered(2000)
    clumps = distance_folds(samples, distance_km=8, k=5)
    single = random_folds(samples, k=5)
    single = SiteFolds(single.sites, single.fold, single.group, "random", buffer_km=8)
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
        folds_of = {} if method == "regions" else {"folds": 4}
        options = parse(SplitOptions, {"method": method, **folds_of, **given})
        folds = fold_samples(samples, options, seed=2, domain=around, region=region)
        assert folds.method == method
        assert folds.seed == 2
        assert folds.buffer_km == given.get("distance_km", 0)
        assert len(folds) == (2 if method == "regions" else 4)


def test_the_names_of_other_systems_are_understood() -> None:
    given = {"method": "distance", "distance_threshold": 1.2, "folds": 5}
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
        ({"distance_km": 1, "distance_threshold": 1}, r"distance_km and distance_threshold mean"),
        ({"target_val_ratio": 0.2}, r"an option of the fit: train\.target_val_ratio"),
        ({"folds": 1}, r"folds=1: must be at least 2"),
        (
            {"method": "regions", "region": "land", "folds": 4},
            r"regions are a fold each\), but folds=4 was given\. Leave out folds",
        ),
        ({"inner": 3}, r"inner is not an option of a split.*train\.inner=5.*evaluate\.inner=5"),
        ({"block_km": 0}, r"block_km=0: must be greater than 0"),
        ({"metod": "random"}, r"unknown option 'metod'.*Did you mean 'method'"),
    ],
)
def test_options_that_cannot_be_say_why(given: dict[str, Any], text: str) -> None:
    with pytest.raises(BadArgument, match=text):
        parse(SplitOptions, given)


def test_folds_of_a_scorecard_decide_groups_only_of_clusters_that_are_sought_for_them() -> None:
    samples, around = clustered(), scattered(400).lonlat
    for method in ("random", "blocks", "distance", "knndm"):
        own = {"distance_km": 2} if method == "distance" else {}
        two = [SplitOptions(method=method, folds=k, **own) for k in (3, 5)]
        groups = [fold_samples(samples, options, domain=around).group for options in two]
        same = two[0].grouping() == two[1].grouping()
        assert same is (method != "knndm")
        assert not same or (groups[0] == groups[1]).all()


def test_folds_in_the_wrong_section_name_the_right_one() -> None:
    with pytest.raises(
        BadArgument, match=r"folds is not an option of the fit.*train\.split\.folds"
    ):
        split_mapping({"folds": 5})
    with pytest.raises(BadArgument, match=r"folds is not an option of the fit.*train\.inner=5"):
        parse(MapTrainOptions, {"folds": 5})
    with pytest.raises(BadArgument, match=r"an option of its split.*train\.split\.folds"):
        parse(MapScoreOptions, {"folds": 5})


def test_a_method_without_what_decides_its_folds_says_what_to_pass() -> None:
    with pytest.raises(BadArgument, match=r"'knndm' without domain: it decides.*domain\(grid"):
        fold_samples(SOME, SplitOptions(method="knndm"))
    with pytest.raises(BadArgument, match=r"'regions' without region: it decides the folds"):
        fold_samples(SOME, SplitOptions(method="regions", region="land"))


@pytest.fixture
def halves() -> Iterator[str]:
    """A method of a user: one function, known by its name from here on."""

    @split_method("halves", question="how well the east is predicted")
    def halves(samples: Samples, *, seed: int = 0, buffer_km: float = 0.0) -> SiteFolds:
        sites = Sites.of(samples)
        east = sites.lonlat[:, 0] > np.median(sites.lonlat[:, 0])
        folds = SiteFolds(sites, east.astype("int64"), sites.back, "halves", seed, buffer_km)
        return checked(folds)

    yield "halves"
    registry._METHODS.pop("halves")


def names() -> list[str]:
    method_of("random")
    return list(registry._METHODS)


def test_a_method_of_a_user_is_an_option_a_way_to_deal_and_a_line_of_the_report(
    halves: str,
) -> None:
    options = parse(SplitOptions, {"method": halves, "distance_km": 2})
    folds = fold_samples(clustered(), options, seed=3)
    assert (folds.method, folds.seed, folds.buffer_km, len(folds)) == (halves, 3, 2, 2)
    assert name_folds(folds) == halves
    report = describe_folds([folds], scattered(200).lonlat)
    assert "how well the east is predicted" in report.sentence
    assert parse(MapScoreOptions, {"beside": halves}).beside == (halves,)
    with pytest.raises(BadArgument, match=r"'halvs' is not a way of .* Did you mean 'halves'"):
        parse(SplitOptions, {"method": "halvs"})


@pytest.mark.parametrize("name", [*names(), "halves"])
def test_laws_of_every_method(halves: str, name: str) -> None:
    samples, method = clustered(), method_of(name)
    given: dict[str, Any] = {"distance_km": 2} if "distance_km" in method.parameters else {}
    given |= {"region": "land"} if "region" in method.parameters else {}
    given |= {"folds": 4} if "k" in method.parameters else {}
    options = parse(SplitOptions, {"method": name, **given})
    region = np.where(samples.lonlat[:, 0] > 21.5, "east", "west")
    domain = scattered(400).lonlat
    one, two = (
        fold_samples(samples, options, seed=5, domain=domain, region=region) for _ in range(2)
    )
    assert one.method == name
    assert one.digest == two.digest  # the same in every process
    assert SiteFolds.from_dict(json.loads(json.dumps(one.as_dict()))).digest == one.digest
    tested = np.concatenate([test for _, test in one.rounds()])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(samples)))
    for train, test in one.rounds():
        assert not set(samples.site[train]) & set(samples.site[test])


def test_linked_groups_are_a_distance_apart() -> None:
    rng = np.random.default_rng(4)
    lonlat = rng.uniform([10, 48], [10.5, 48.3], (120, 2))
    joined = linked(np.arange(120), lonlat, 1.2)
    apart = [nearest(lonlat[joined == g], lonlat[joined != g]).min() for g in np.unique(joined)]
    assert len(apart) > 10
    assert min(apart) > 1200
    assert (np.bincount(joined) > 1).any()  # some samples are nearer, and stay together
    np.testing.assert_array_equal(linked(np.arange(120), lonlat, None), np.arange(120))
    with pytest.raises(NotEnoughData, match="validation_km=500 joins all samples"):
        linked(np.arange(120), lonlat, 500)
