"""Laws of the rounds in which mappers are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hmx.errors import MissingVariable
from hmx.mapping.evaluate.baselines import centre_of, features, null_rows
from hmx.mapping.evaluate.rounds import Blend, Estimates, cross_validate
from hmx.mapping.inputs import RawWindows
from hmx.progress import Progress
from hmx.scores import interval_scores, regression_scores
from tests.make.soils import make_soils, oracle

SOILS = make_soils()
TRUTH = SOILS.truth


def test_every_sample_is_predicted_once_and_put_where_it_belongs() -> None:
    played = cross_validate(
        {"row": lambda _, test, __: Estimates(test[None] * 1.0)}, SOILS.blocks(), TRUTH
    )
    np.testing.assert_array_equal(played.estimates["row"].center, np.arange(len(TRUTH)))


def test_a_forecaster_never_trains_on_a_site_that_it_is_tested_on() -> None:
    site, rounds = SOILS.samples.site, []

    def watch(train: Any, test: Any, seed: int) -> Estimates:
        rounds.append((set(site[train]), set(site[test])))
        return Estimates(np.zeros((1, len(test))))

    cross_validate({"watch": watch}, SOILS.blocks(), TRUTH, calibrate=["watch"], inner=3)
    assert len(rounds) == 4 + 4 * 3
    assert all(not train & test for train, test in rounds)


def test_inner_folds_see_nothing_of_the_outer_one() -> None:
    folds, seen = SOILS.blocks(), []

    def watch(train: Any, test: Any, seed: int) -> Estimates:
        seen.append({*train, *test})
        return Estimates(np.zeros((1, len(test))))

    cross_validate({"watch": watch}, folds, TRUTH, calibrate=["watch"], inner=3)
    for number, (train, _) in enumerate(folds.rounds()):
        for inner in seen[4 + 3 * number : 7 + 3 * number]:
            assert inner == {*train}


def test_intervals_from_inner_folds_do_not_depend_on_truths_of_the_tested_fold() -> None:
    folds, changed = SOILS.blocks(), TRUTH.copy()
    first = folds.fold == 0
    changed[first] += 3

    def bounds(truth: np.ndarray) -> np.ndarray:
        fits = {"linear": null_rows(SOILS.raw, truth, SOILS.spec)["linear"]}
        played = cross_validate(fits, folds, truth, calibrate=["linear"], inner=3)
        return np.array(played.bounds["linear"][90.0])

    one, two = bounds(TRUTH), bounds(changed)
    np.testing.assert_array_equal(one[:, first], two[:, first])
    assert not np.array_equal(one[:, ~first], two[:, ~first])


def test_intervals_use_no_residual_of_the_tested_fold() -> None:
    folds, changed = SOILS.blocks(), TRUTH.copy()
    first = folds.fold == 0
    changed[first] += 3

    def bounds(truth: np.ndarray) -> np.ndarray:
        played = cross_validate({"told": oracle(TRUTH)}, folds, truth, calibrate=["told"], inner=0)
        return np.array(played.bounds["told"][90.0])

    one, two = bounds(TRUTH), bounds(changed)
    np.testing.assert_array_equal(one[:, first], two[:, first])
    assert not np.array_equal(one[:, ~first], two[:, ~first])


@pytest.mark.parametrize("inner", [0, 2])
def test_progress_tells_every_fit_once(inner: int) -> None:
    told: list[tuple[int, int, str]] = []
    fits = {"network": oracle(TRUTH), "forest": oracle(TRUTH), "mean": oracle(TRUTH)}
    cross_validate(
        fits, SOILS.random(), TRUTH, blend=Blend(), calibrate=["blend"], inner=inner,
        progress=Progress(on_step=lambda *words: told.append(words)),
    )  # fmt: skip
    total = 4 * (3 + 2 * inner)
    assert [done for done, _, _ in told] == list(range(1, total + 1))
    assert {of for _, of, _ in told} == {total}


@pytest.mark.parametrize("inner", [0, 3])
def test_intervals_hold_what_they_promise(inner: int) -> None:
    soils = make_soils(800)
    fits = {"forest": null_rows(soils.raw, soils.truth, soils.spec)["linear"]}
    played = cross_validate(fits, soils.blocks(5), soils.truth, calibrate=["forest"], inner=inner)
    for level, (lower, upper) in played.bounds["forest"].items():
        found = interval_scores(soils.truth, lower, upper, level=level)
        assert found["picp"] == pytest.approx(level / 100, abs=0.035)
    assert played.calibration == ("3 inner folds of each training part" if inner else
                                  "the other outer folds")  # fmt: skip


def test_a_blend_is_the_weighted_mean_and_takes_the_spread_of_its_second() -> None:
    ones = {"network": Estimates(np.array([[0.0, 2.0], [2.0, 4.0]])),
            "forest": Estimates(np.array([[5.0, 7.0]]), np.array([0.1, 0.2]))}  # fmt: skip
    mixed = Blend(weight=0.25).of(ones)
    np.testing.assert_allclose(mixed.center, [2.0, 4.0])
    np.testing.assert_array_equal(mixed.spread_or_zero, [0.1, 0.2])
    ones["gaussian_process"] = Estimates(np.array([[1.0, 3.0]]))  # counts as much as the forest
    both = Blend(regression="both", weight=0.25).of(ones)
    np.testing.assert_allclose(both.center, [1.5, 3.5])
    np.testing.assert_array_equal(both.spread_or_zero, [0.1, 0.2])


def test_a_blend_of_two_that_err_apart_is_better_than_both() -> None:
    fits = {"network": oracle(TRUTH, noise=0.3), "forest": oracle(TRUTH, noise=0.3)}
    fits["forest"] = lambda train, test, seed, f=fits["forest"]: f(train, test, seed + 77)
    played = cross_validate(
        fits, SOILS.random(), TRUTH, blend=Blend(), calibrate=["blend"], inner=2
    )
    r2 = {n: regression_scores(TRUTH, g.center)["r2"] for n, g in played.estimates.items()}
    assert r2["blend"] > max(r2["network"], r2["forest"]) + 0.02


def test_rounds_are_the_same_for_the_same_seed() -> None:
    one, two, other = (
        cross_validate({"told": oracle(TRUTH)}, SOILS.random(), TRUTH, seed=seed)
        .estimates["told"]
        .center
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_unknown_names_are_refused() -> None:
    fits = {"network": oracle(TRUTH)}
    with pytest.raises(MissingVariable, match=r"'netwrk' is not in the forecasters"):
        cross_validate(fits, SOILS.random(), TRUTH, calibrate=["netwrk"])
    with pytest.raises(MissingVariable, match=r"'forest' is not in the forecasters"):
        cross_validate(fits, SOILS.random(), TRUTH, blend=Blend())


def test_null_rows_learn_what_there_is_and_the_mean_learns_nothing() -> None:
    soils = make_soils(missing=0.02)
    fits = null_rows(soils.raw, soils.truth, soils.spec)
    played = cross_validate(fits, soils.blocks(), soils.truth)
    r2 = {n: regression_scores(soils.truth, g.center)["r2"] for n, g in played.estimates.items()}
    assert list(fits) == ["forest", "boosting", "linear", "mean"]
    assert min(r2["forest"], r2["boosting"], r2["linear"]) > 0.5
    assert -0.05 < r2["mean"] <= 0


def test_null_rows_look_at_no_truth_that_is_held_out() -> None:
    train, test = next(SOILS.blocks().rounds())
    changed = TRUTH.copy()
    changed[test] = 99
    for name in ("forest", "boosting", "linear", "mean"):
        one, two = (
            null_rows(SOILS.raw, truth, SOILS.spec)[name](train, test, 0).center
            for truth in (TRUTH, changed)
        )
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_null_rows_are_scaled_by_the_training_rows_alone() -> None:
    train, test = next(SOILS.blocks().rounds())
    middle = centre_of(SOILS.raw)
    other = RawWindows(middle.dynamic.copy(), middle.static.copy())
    other.dynamic[test] += 50
    other.static[test] *= 9
    one, two = (features(raw, train, SOILS.spec) for raw in (middle, other))
    np.testing.assert_array_equal(one[train], two[train])
    assert np.abs(one[train].mean(axis=0)).max() < 1e-5
