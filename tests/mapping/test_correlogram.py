"""Laws of the correlogram of a map's errors, and of the dependence that is fitted to it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import hmx
from hmx.mapping.correlogram import Correlogram, pairs_within
from hmx.splits.distances import earth_centred
from hmx.uncertainty.joint.dependence import PRIOR_WEIGHTS, RANGES

DEGREE = 111_195.0  # m


def scattered(n: int, side_m: float, *, seed: int = 0) -> np.ndarray:
    """Places in a square at the equator, where a degree is the same both ways."""
    return np.random.default_rng(seed).random((n, 2)) * side_m / DEGREE


def chords(lonlat: np.ndarray) -> np.ndarray:
    places = earth_centred(lonlat)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def correlated(lonlat: np.ndarray, share: float, length_m: float, *, seed: int = 1) -> np.ndarray:
    """Scores of a known law: an exponential structure and independent noise."""
    covariance = share * np.exp(-chords(lonlat) / length_m) + (1 - share) * np.eye(len(lonlat))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).normal(size=len(lonlat))


def test_semivariances_are_those_of_all_pairs() -> None:
    lonlat = scattered(60, 20e3)
    scores = np.random.default_rng(2).normal(3.0, 1.0, 60)
    found = Correlogram.of(lonlat, scores, 300.0)
    one, other = np.triu_indices(60, 1)
    apart = chords(lonlat)[one, other]
    half = 0.5 * (scores[one] - scores[other]) ** 2 / scores.var()
    for at, (low, high) in enumerate(zip(found.edges, found.edges[1:], strict=False)):
        inside = (apart > low) & (apart <= high)
        assert found.pairs[at] == inside.sum()
        if inside.any():
            assert found.semivariance[at] == pytest.approx(half[inside].mean())
        else:
            assert np.isnan(found.semivariance[at])
    assert found.near == (apart <= found.edges[0]).sum()
    assert found.pairs.sum() > 1000


def test_the_correlation_of_a_field_in_a_class_is_its_mean_over_the_ring() -> None:
    found = Correlogram.of(scattered(50, 50e3), np.arange(50.0), 250.0)
    for at, (low, high) in enumerate(zip(found.edges, found.edges[1:], strict=False)):
        d = np.linspace(low, high, 4001)
        for field, sigma in enumerate(np.array(RANGES) * found.unit_m):
            rho = np.exp(-(d**2) / (4 * sigma**2))
            expected = np.trapezoid(rho * d, d) / np.trapezoid(d, d)
            assert found.fields[at, field] == pytest.approx(expected, abs=1e-6)


def test_independent_errors_of_many_samples_are_mostly_nugget() -> None:
    lonlat = scattered(1200, 100e3)
    fitted = Correlogram.of(lonlat, correlated(lonlat, 0.0, 1.0), 250.0).fit()
    assert fitted is not None
    weights = np.array(fitted.at(1).weights)
    # no two samples lie within a pixel or two, so only the prior speaks of the two shortest ranges
    assert weights[2:].sum() < 0.1
    assert fitted.at(1).region < 0.01


@pytest.mark.parametrize(("share", "length"), [(0.5, 10e3), (0.7, 5e3)])
def test_the_fit_gives_zones_about_the_spread_of_the_true_law(share: float, length: float) -> None:
    draw, ratios = np.random.default_rng(3), []
    for seed in range(5):
        lonlat = scattered(500, 100e3, seed=seed)
        fitted = Correlogram.of(lonlat, correlated(lonlat, share, length, seed=seed), 250.0).fit()
        assert fitted is not None
        lead, sigma = fitted.at(1), np.array(RANGES) * fitted.pixel_m
        row = []
        for side in (2.5e3, 10e3, 30e3):
            apart = np.hypot(*(draw.random((2, 4000)) - draw.random((2, 4000)))) * side
            truth = (share * np.exp(-apart / length)).mean()
            model = np.exp(-(apart[:, None] ** 2) / (4 * sigma**2)) @ np.array(lead.weights)
            row.append(np.sqrt(((1 - lead.region) * model.mean() + lead.region) / truth))
        ratios.append(row)
    assert (np.median(ratios, axis=0) > 0.85).all()
    assert (np.median(ratios, axis=0) < 1.4).all()


def test_few_pairs_leave_the_prior_and_fewer_give_no_fit() -> None:
    lonlat = scattered(12, 50e3)
    fitted = Correlogram.of(lonlat, correlated(lonlat, 0.0, 1.0), 250.0).fit()
    if fitted is not None:
        np.testing.assert_allclose(fitted.at(1).weights, PRIOR_WEIGHTS, atol=0.05)
    assert Correlogram.of(lonlat[:6], np.arange(6.0), 250.0).fit() is None  # 15 pairs
    assert Correlogram.of(lonlat[:1], np.arange(1.0), 250.0).fit() is None


def test_effective_samples_are_all_if_independent_and_places_if_repeated() -> None:
    lonlat = scattered(40, 500e3)
    nothing = np.zeros(5)
    once = Correlogram.of(lonlat, np.arange(40.0), 250.0)
    assert once.effective(nothing) == pytest.approx(40)
    thrice = Correlogram.of(np.repeat(lonlat, 3, axis=0), np.arange(120.0), 250.0)
    assert thrice.effective(nothing) == pytest.approx(40)
    assert once.effective(np.array([0.1, 0.1, 0.1, 0.1, 0.6])) < 15


def test_scores_that_are_moved_or_stretched_give_the_same_correlogram() -> None:
    lonlat = scattered(80, 30e3)
    scores = correlated(lonlat, 0.5, 5e3)
    one, other = (Correlogram.of(lonlat, s, 250.0) for s in (scores, 5 + 3 * scores))
    np.testing.assert_allclose(one.semivariance, other.semivariance)


def test_of_very_many_samples_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmx.mapping.correlogram.MOST", 100)
    lonlat = scattered(150, 30e3)
    found = Correlogram.of(lonlat, np.arange(150.0), 250.0)
    assert found.count == 100
    assert found.pairs.sum() + found.near <= 100 * 99 / 2
    again = Correlogram.of(lonlat, np.arange(150.0), 250.0)
    np.testing.assert_array_equal(found.semivariance, again.semivariance)


def test_ranges_reach_over_the_samples_however_small_the_pixels() -> None:
    lonlat = scattered(100, 80e3)
    fine, coarse = (Correlogram.of(lonlat, np.arange(100.0), m) for m in (10.0, 1000.0))
    assert coarse.unit_m == 1000.0
    extent = chords(lonlat).max()
    assert 0.4 * extent < fine.edges[-1] < 0.8 * extent
    assert fine.unit_m > 10


def test_pairs_are_counted_between_distances() -> None:
    east = np.array([0.0, 0.0, 50.0, 250.0, 1000.0]) / DEGREE
    lonlat = np.stack([east, np.zeros(5)], axis=1)
    # 0-0 in the first class, 0-50 twice in it too; 50-250; 0-250 twice
    assert pairs_within(lonlat, (0.0, 100.0, 200.5, 300.0)) == (3, 1, 2)


def test_a_trained_mapper_has_the_dependence_of_its_held_out_errors(
    trained_mapper: hmx.MapBundle,
) -> None:
    fitted, facts = trained_mapper.dependence, trained_mapper.training["correlogram"]
    assert fitted is not None
    assert not fitted.is_prior
    assert len(json.dumps(fitted.as_dict())) < 2000
    assert facts["samples"] == trained_mapper.training["points"]["samples"]
    assert len(facts["pairs"]) == len(facts["correlation"]) == len(facts["edges_m"]) - 1
    assert 0 < sum(facts["pairs"]) <= facts["samples"] * (facts["samples"] - 1) / 2
    loaded = hmx.load(trained_mapper.path)
    assert isinstance(loaded, hmx.MapBundle)
    assert loaded.dependence == fitted
