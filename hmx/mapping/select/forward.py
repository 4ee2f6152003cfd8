"""Forward selection: covariates one by one, as long as the error on held-out folds falls.

Meyer et al. (2018, doi:10.1016/j.envsoft.2017.12.001) begin with the best pair, because one
covariate alone can be worse than two that complement each other, and add the covariate that lowers
the error most, on folds held out as the map's land is. scikit-learn's sequential selector adds
single columns; here all steps, scales and classes of a covariate come and go together.

The error of the best of many sets is too small, because its folds chose it. So the chosen set
is the smallest one that is no worse than the best by more than one standard error (Breiman
et al. 1984, section 3.4.3), which is that of the differences by fold: folds that are hard for all
sets count in none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A set of covariates and its errors on held-out folds."""

    covariates: Names  # in the order in which they came
    errors: tuple[float, ...]  # mean squared error in each fold, transformed units

    def error(self, sizes: Array) -> float:
        """Return the mean squared error of all samples; `sizes` counts those of each fold."""
        return float(np.average(self.errors, weights=sizes))

    def excess(self, other: Trial, sizes: Array) -> tuple[float, float]:
        """Return by how much the error exceeds that of another set, and its standard error."""
        apart = np.subtract(self.errors, other.errors) * sizes / np.mean(sizes)
        return float(apart.mean()), float(apart.std(ddof=1) / math.sqrt(len(apart)))


Try = Callable[[Names], Trial]


def at_most(candidates: int, start: int, most: int | None) -> int:
    """Count the sets of a selection that goes on to the end, without that of all candidates."""
    first, last = min(start, candidates), min(most or candidates, candidates)
    last = max(first, last)
    return math.comb(candidates, first) + sum(candidates - size for size in range(first, last))


def forward(
    candidates: Sequence[str],
    attempt: Try,
    sizes: Array,
    *,
    start: int = 2,
    most: int | None = None,
) -> list[Trial]:
    """Return the best set of each size, until one more covariate does not lower the error."""
    path: list[Trial] = []
    sets: Iterable[Names] = combinations(candidates, min(start, len(candidates)))
    while trials := [attempt(names) for names in sets]:
        best = min(trials, key=lambda trial: trial.error(sizes))
        if path and best.error(sizes) >= path[-1].error(sizes):
            break
        path.append(best)
        if len(best.covariates) >= (most or len(candidates)):
            break
        rest = [name for name in candidates if name not in best.covariates]
        sets = [(*best.covariates, name) for name in rest]
    return path


def choose(trials: Sequence[Trial], sizes: Array, rule: str) -> Trial:
    """Return the best of several sets, or the smallest that is within one standard error of it."""
    ranked = sorted(trials, key=lambda trial: (trial.error(sizes), len(trial.covariates)))
    best = ranked[0]
    if rule == "best":
        return best
    near = []
    for trial in ranked:
        excess, error = trial.excess(best, sizes)
        if excess <= error:
            near.append(trial)
    return min(near, key=lambda trial: len(trial.covariates))
