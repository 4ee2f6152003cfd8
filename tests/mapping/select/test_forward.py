"""Laws of forward selection: its path, its end, and the set that it chooses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.mapping.select.forward import Names, Trial, at_most, choose, forward

SIZES = np.array([30.0, 10.0, 20.0, 40.0])
GAINS = {"rain": 0.3, "height": 0.2, "clay": 0.05, "noise": -0.01, "junk": -0.02}


def additive(names: Names) -> Trial:
    """Each covariate lowers the error by its gain, alike in all folds."""
    error = 1 - sum(GAINS[name] for name in names)
    return Trial(names, (error,) * 4)


def counted(names: list[str], **options: int) -> tuple[list[Trial], list[frozenset[str]]]:
    seen: list[frozenset[str]] = []

    def attempt(some: Names) -> Trial:
        seen.append(frozenset(some))
        return additive(some)

    return forward(names, attempt, SIZES, **options), seen


def test_the_best_pair_comes_first_and_covariates_follow_by_their_gain() -> None:
    path, seen = counted([*GAINS])
    assert [trial.covariates for trial in path] == [("rain", "height"), ("rain", "height", "clay")]
    assert len(seen) == 10 + 3 + 2  # the last round adds noise or junk, and neither helps
    alone, _ = counted([*GAINS], start=1)
    assert [len(trial.covariates) for trial in alone] == [1, 2, 3]


def test_a_pair_is_found_whose_parts_are_worth_nothing_alone() -> None:
    def attempt(names: Names) -> Trial:
        both = {"clay", "junk"} <= set(names)
        return Trial(names, (0.1 if both else 1 - 0.1 * ("rain" in names),) * 4)

    assert set(forward([*GAINS], attempt, SIZES)[-1].covariates) >= {"clay", "junk"}
    alone = forward([*GAINS], attempt, SIZES, start=1)
    assert alone[-1].covariates == ("rain",)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 2), st.none() | st.integers(1, 9))
def test_no_selection_tries_more_sets_than_were_announced(
    count: int, start: int, most: int | None
) -> None:
    names = [f"c{number}" for number in range(count)]
    seen: list[Names] = []

    def attempt(some: Names) -> Trial:  # more is always better: the longest path
        seen.append(some)
        return Trial(some, (1 / len(some),) * 4)

    path = forward(names, attempt, SIZES, start=start, most=most)
    assert len(seen) == at_most(count, start, most)
    assert len({frozenset(some) for some in seen}) == len(seen)
    assert len(path[-1].covariates) <= max(most or count, min(start, count))


def test_errors_of_folds_are_weighed_by_their_samples() -> None:
    one = Trial(("a",), (1.0, 2.0, 3.0, 4.0))
    rows = np.repeat(one.errors, SIZES.astype(int))
    assert one.error(SIZES) == pytest.approx(rows.mean())
    excess, error = one.excess(Trial(("b",), (0.0, 0.0, 0.0, 0.0)), SIZES)
    assert excess == pytest.approx(rows.mean())
    assert error == pytest.approx(np.std(one.errors * SIZES / 25, ddof=1) / math.sqrt(4))


def test_the_smallest_set_within_one_standard_error_is_chosen() -> None:
    even = np.full(4, 10.0)
    best = Trial(("a", "b", "c"), (0.5, 0.9, 0.1, 0.7))
    near = Trial(("a", "b"), (0.54, 0.88, 0.14, 0.68))  # better in two folds, worse in two
    worse = Trial(("a",), (0.6, 1.0, 0.2, 0.8))  # by the same in all folds: surely worse
    assert choose([worse, near, best], even, "best") is best
    assert choose([worse, near, best], even, "one_se") is near
    # folds that are hard for all sets make no set equal
    assert worse.excess(best, even) == (pytest.approx(0.1), pytest.approx(0, abs=1e-12))
