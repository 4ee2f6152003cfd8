"""Laws of folds that are matched to the map, and of what folds are said to answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import Delaunay
from scipy.stats import wasserstein_distance

from hmx.errors import BadArgument, NotEnoughData
from hmx.splits import methods
from hmx.splits.distances import domain, nearest
from hmx.splits.methods import (
    block_folds,
    distance_folds,
    knndm_folds,
    mapping_distances,
    random_folds,
    region_folds,
)
from hmx.splits.report import describe_folds
from tests.bench import splits as bench
from tests.make.sites import clustered, make_samples, scattered

AROUND = scattered(3000, seed=7).lonlat


def test_w_is_the_area_between_the_distributions_of_distances() -> None:
    folds = random_folds(clustered(), k=5)
    found = mapping_distances(folds, AROUND)
    at = np.linspace(0, max(found.map.max(), found.test.max()), 200_001)
    ecdf = [np.searchsorted(np.sort(d), at, side="right") / len(d) for d in (found.map, found.test)]
    area = np.trapezoid(np.abs(ecdf[0] - ecdf[1]), at)
    assert found.w == pytest.approx(area, rel=1e-3)


def test_matched_folds_are_nearer_to_the_map_than_any_other() -> None:
    for seed in range(3):
        samples = clustered(seed=seed)
        region = np.where(samples.lonlat[:, 0] > 21.5, "east", "west")
        matched = knndm_folds(samples, AROUND, k=5)
        w = mapping_distances(matched, AROUND).w
        assert matched.parameters["w_m"] == pytest.approx(w, abs=0.001)
        for other in (
            random_folds(samples, k=5), block_folds(samples, side_km=20, k=5),
            distance_folds(samples, distance_km=5), region_folds(samples, region),
        ):  # fmt: skip
            assert w < mapping_distances(other, AROUND).w


def test_what_is_kept_is_the_best_of_all_numbers_of_clusters() -> None:
    samples = clustered()
    sites, target = samples.lonlat, nearest(AROUND, samples.lonlat)
    kept = knndm_folds(samples, AROUND, k=4)
    candidates = methods._candidates(methods.earth_centred(sites), 4, np.random.default_rng(0))
    scores = {}
    for cluster, fold in candidates:
        test = np.empty(len(sites))
        for number in range(4):
            test[fold == number] = nearest(sites[fold == number], sites[fold != number])
        scores[int(cluster.max()) + 1] = wasserstein_distance(test, target)
    assert kept.parameters["w_m"] == pytest.approx(min(scores.values()), abs=0.01)
    assert scores[kept.parameters["clusters"]] == min(scores.values())
    assert len(scores) > 30


def test_folds_are_random_where_samples_are_spread_like_the_map() -> None:
    even = np.stack(np.meshgrid(np.linspace(21, 22, 20), np.linspace(41, 42, 20)), -1)
    folds = knndm_folds(make_samples(even.reshape(-1, 2)), AROUND, k=5, seed=3)
    assert folds.parameters["clusters"] == 0
    random = random_folds(make_samples(even.reshape(-1, 2)), k=5, seed=3)
    np.testing.assert_array_equal(folds.fold, random.fold)
    assert knndm_folds(clustered(), AROUND, k=5).parameters["clusters"] > 0


def test_no_fold_holds_more_than_half_or_fewer_than_five() -> None:
    for seed in range(3):
        folds = knndm_folds(clustered(12, 15, seed=seed), AROUND, k=3)
        sizes = np.bincount(folds.fold)
        assert sizes.max() <= 90
        assert sizes.min() >= 5


def test_large_clusters_stay_alone_and_neighbours_on_the_line_part() -> None:
    sizes = [40, 10, 10, 10, 10, 10]
    cluster, along = np.repeat(np.arange(6), sizes), np.repeat([50.0, 1, 3, 5, 2, 4], sizes)
    by_cluster = methods._merge(cluster, along, 3)[np.searchsorted(cluster, np.arange(6))]
    assert by_cluster[0] not in by_cluster[1:]
    on_the_line = by_cluster[[1, 4, 2, 5, 3]]
    assert all(np.diff(on_the_line) != 0)
    assert set(on_the_line[::2]) != set(on_the_line[1::2])


def test_sites_deep_in_their_fold_are_measured_as_well() -> None:
    sites = scattered(300).lonlat
    fold = (sites[:, 0] > 21.5).astype(int) + (sites[:, 1] > 41.5)
    tree = methods.scipy.spatial.cKDTree(methods.earth_centred(sites))
    known = tree.query(methods.earth_centred(sites), k=4)[1]
    found = methods._test_distances(sites, fold, known)
    for number in range(3):
        here = fold == number
        np.testing.assert_array_equal(found[here], nearest(sites[here], sites[~here]))


def test_more_sites_than_can_be_clustered_join_the_nearest_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = clustered(20, 30)
    whole = knndm_folds(samples, AROUND, k=5).parameters["w_m"]
    monkeypatch.setattr(methods, "_LINKED", 200)
    part = knndm_folds(samples, AROUND, k=5)
    assert part.digest == knndm_folds(samples, AROUND, k=5).digest
    assert part.parameters["w_m"] < 2 * whole
    assert part.parameters["w_m"] < mapping_distances(random_folds(samples, k=5), AROUND).w / 2


def test_sites_that_cannot_be_matched_say_why() -> None:
    with pytest.raises(BadArgument, match=r"k=1: cross-validation has at least 2 folds"):
        knndm_folds(clustered(), AROUND, k=1)
    with pytest.raises(NotEnoughData, match=r"30 sites cannot be clustered into k=7 folds of 5"):
        knndm_folds(clustered(3, 10), AROUND, k=7)


def test_the_report_tells_distances_and_which_question_they_answer() -> None:
    samples = clustered()
    region = np.where(samples.lonlat[:, 0] > 21.5, "east", "west")
    several = [
        random_folds(samples, k=5), block_folds(samples, side_km=20, k=5, buffer_km=1),
        distance_folds(samples, distance_km=5), region_folds(samples, region),
        knndm_folds(samples, AROUND, k=5),
    ]  # fmt: skip
    report = describe_folds(several, AROUND)
    assert report.map_m == pytest.approx(np.median(nearest(AROUND, samples.lonlat)), abs=0.01)
    for row, folds in zip(report.rows, several, strict=True):
        assert row.distance_m == np.median(folds.test_distances())
        assert (row.unused > 0) == (folds.buffer_km > 0)
    text = str(report)
    for words in (
        "random folds (tested 1.", "blocks of 20 km, 1 km apart", "clumps 5 km apart",
        "how well gaps between samples are filled", "how well the map as a whole is predicted",
        f"Half of the map is within {report.map_m / 1000:.1f} km", "kNNDM folds come nearest",
    ):  # fmt: skip
        assert words in text
    assert report.sentence.count(". ") == 0  # one sentence
    assert report.as_dict()["rows"][1]["name"] == "blocks of 20 km, 1 km apart"


def test_a_report_of_one_way_compares_it_with_the_map_alone() -> None:
    sentence = describe_folds([random_folds(clustered(), k=5)], AROUND).sentence
    assert sentence.endswith("tell how well gaps between samples are filled.")


def test_random_folds_overstate_the_map_of_clustered_samples_and_matched_folds_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the mean of 12 known fields; a single one strays by 0.1 (one sd)."""
    # folds overstate the skill of small forests as that of large ones
    monkeypatch.setattr(bench, "TREES", 10)
    worlds = [bench.make_world(seed=seed) for seed in range(12)]
    skill = {way: np.array(s) for way, s in bench.study(worlds, ("random", "kNNDM")).items()}
    overstated = skill["random"] - skill[bench.TRUE]
    assert overstated.min() > 0.1
    assert overstated.mean() > 0.2
    assert abs(np.mean(skill["kNNDM"] - skill[bench.TRUE])) < 0.1


def test_real_samples_are_tested_as_far_away_as_a_laboratory_found(
    real_data: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Medians of 0.9 km for random folds, 4.6 km for blocks and 1.7 km for the map."""
    monkeypatch.setenv("HMX_REAL_DATA", str(real_data))
    samples, grid = bench.macedonia()
    places = domain(grid)
    random, blocks = random_folds(samples), block_folds(samples, side_km=20)
    report = describe_folds([random, blocks], places)
    assert report.rows[0].distance_m == pytest.approx(1000, rel=0.2)
    assert report.rows[1].distance_m == pytest.approx(4600, rel=0.1)
    land = places[Delaunay(samples.lonlat).find_simplex(places) >= 0]  # samples end at borders
    assert np.median(nearest(land, samples.lonlat)) == pytest.approx(1700, rel=0.1)
