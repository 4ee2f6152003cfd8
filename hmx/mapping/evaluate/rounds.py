"""Rounds of a map's cross-validation: every sample predicted once, by models that never saw it.

All forecasters cross_validate the same rounds. What is predicted is in transformed units, so that
folds are comparable. Intervals are learnt from residuals of the training part alone:
inner folds of it, dealt in the same blocks, or, where that is too dear, the other outer
folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmx.errors import missing_variable
from hmx.progress import Progress
from hmx.splits.site_folds import SiteFolds
from hmx.uncertainty.conformal import Conformal

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Bounds = tuple[Array, Array]

LEVELS = (50.0, 80.0, 90.0)
BLEND = "blend"


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a forecaster says of some samples.

    Parameters
    ----------
    members : ndarray, (m, n)
        Predictions of each member (seeds of a network), transformed units; their mean
        is the forecaster's.
    spread : ndarray, (n,), optional
        How uncertain it calls itself, transformed units. Default: says nothing, 0.
    """

    members: Array
    spread: Array | None = None

    @property
    def center(self) -> Array:
        """Mean of the members, (n,)."""
        return np.asarray(self.members.mean(axis=0))

    @property
    def spread_or_zero(self) -> Array:
        """Its spread, 0 where it says nothing, (n,)."""
        return np.zeros(self.members.shape[1]) if self.spread is None else self.spread

    def at(self, rows: Rows) -> Estimates:
        """Return what is said of some of the samples."""
        return Estimates(self.members[:, rows], self.spread_or_zero[rows])


FitPredict = Callable[[Rows, Rows, int], Estimates]  # rows to train on, rows to predict, seed


@dataclass(frozen=True)
class Blend:
    """A weighted mean of two forecasters.

    Parameters
    ----------
    first, second : str
        Their names; the second tells the spread.
    weight : float
        Of the second, 0 to 1.
    """

    first: str = "network"
    second: str = "forest"
    weight: float = 0.5

    def of(self, guesses: Mapping[str, Estimates]) -> Estimates:
        """Blend what the two say."""
        first, second = (guesses[name] for name in (self.first, self.second))
        center = (1 - self.weight) * first.center + self.weight * second.center
        return Estimates(center[None], second.spread_or_zero)


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """What forecasters said of all samples, each in the round that held it out.

    Parameters
    ----------
    folds : SiteFolds
        The rounds.
    truth : ndarray, (n,)
        Transformed units.
    estimates : mapping of str to Estimates
        By forecaster.
    bounds : mapping of str to mapping of float to (lower, upper)
        By forecaster and level (percent): prediction intervals, (n,) each.
    calibration : str
        What intervals were learnt from, in words.
    """

    folds: SiteFolds
    truth: Array
    estimates: Mapping[str, Estimates]
    bounds: Mapping[str, Mapping[float, Bounds]] = field(default_factory=dict)
    calibration: str = ""


def cross_validate(
    forecasters: Mapping[str, FitPredict],
    folds: SiteFolds,
    truth: Array,
    *,
    blend: Blend | None = None,
    calibrate: Sequence[str] = (),
    inner: int = 0,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    progress: Progress = Progress(),
) -> CrossValidated:
    """Let forecasters predict every sample from the folds that it is not in.

    Parameters
    ----------
    forecasters : mapping of str to callable
        ``fit_predict(train_rows, test_rows, seed)`` gives a :class:`Estimates` of the test
        rows; it must look at truths of the training rows alone.
    folds : SiteFolds
        Outer folds, touched once.
    truth : ndarray, (n,)
        Transformed units; finite.
    blend : Blend, optional
        Added as ``blend``.
    calibrate : sequence of str
        Forecasters that get prediction intervals.
    inner : int
        Folds that the training part of a round is dealt into, in the same blocks, for
        held-out residuals: nothing of the tested fold is used. 0: residuals of the
        other outer folds, at no cost; none is of the tested fold, but their models
        have learnt from it.
    levels : sequence of float
        Percent.
    seed : int
        Of the fits.
    progress : callable
        Told (fits done, fits, forecaster).

    Raises
    ------
    MissingVariable
        If a name to blend or to calibrate is not that of a forecaster.
    """
    _require(forecasters, calibrate, blend)
    needed = _needed(forecasters, calibrate, blend)
    fits = len(folds) * (len(forecasters) + inner * len(needed))
    forecasters = _counted(forecasters, fits, progress)
    guesses = _all_held_out(forecasters, folds, seed, blend)

    def residuals(train: Rows, number: int) -> dict[str, Estimates]:
        """Predict the training part of a round, held out."""
        if not inner:
            return {name: guesses[name].at(train) for name in calibrate}
        within = {name: _within(forecasters[name], train) for name in needed}
        below = folds.inner(train, inner, seed=seed + number)
        return _all_held_out(within, below, seed, blend if BLEND in calibrate else None)

    bounds: dict[str, dict[float, Bounds]] = {
        name: {level: (np.empty(len(truth)), np.empty(len(truth))) for level in levels}
        for name in calibrate
    }
    for number, (train, test) in enumerate(folds.rounds() if calibrate else ()):
        told = residuals(train, number)
        for name in calibrate:
            known_of, asked = told[name], guesses[name].at(test)
            learnt = Conformal.fit(
                known_of.center, known_of.spread_or_zero, truth[train], folds.group[train]
            )
            for level, (lower, upper) in bounds[name].items():
                lower[test], upper[test] = learnt.interval(
                    asked.center, asked.spread_or_zero, level
                )
    how = f"{inner} inner folds of each training part" if inner else "the other outer folds"
    return CrossValidated(folds, truth, guesses, bounds, how if calibrate else "")


def _all_held_out(
    forecasters: Mapping[str, FitPredict], folds: SiteFolds, seed: int, blend: Blend | None
) -> dict[str, Estimates]:
    """Let every forecaster predict every sample from the folds that it is not in."""
    rounds = list(folds.rounds())
    found = {name: _held_out(fit, rounds, seed) for name, fit in forecasters.items()}
    return found | {BLEND: blend.of(found)} if blend else found


def _held_out(fit: FitPredict, rounds: Sequence[tuple[Rows, Rows]], seed: int) -> Estimates:
    said = [fit(train, test, seed + 1000 * at) for at, (train, test) in enumerate(rounds)]
    order = np.argsort(np.concatenate([test for _, test in rounds]))
    members = np.concatenate([guess.members for guess in said], axis=1)[:, order]
    return Estimates(members, np.concatenate([guess.spread_or_zero for guess in said])[order])


def _within(fit: FitPredict, rows: Rows) -> FitPredict:
    """Let a forecaster of all samples cross_validate among some of them."""

    def fit_predict(train: Rows, test: Rows, seed: int) -> Estimates:
        return fit(rows[train], rows[test], seed)

    return fit_predict


def _require(
    forecasters: Mapping[str, FitPredict], calibrate: Sequence[str], blend: Blend | None
) -> None:
    known = (*forecasters, *((BLEND,) if blend else ()))
    for name in (*calibrate, *((blend.first, blend.second) if blend else ())):
        if name not in known:
            raise missing_variable(name, known, where="the forecasters")


def _needed(
    forecasters: Mapping[str, FitPredict], calibrate: Sequence[str], blend: Blend | None
) -> list[str]:
    """Choose the forecasters whose residuals are wanted."""
    names = {*calibrate}
    if blend and BLEND in names:
        names |= {blend.first, blend.second}
    return [name for name in forecasters if name in names]


def _counted(
    forecasters: Mapping[str, FitPredict], total: int, progress: Progress
) -> dict[str, FitPredict]:
    """Let forecasters tell when they are done with a fit."""
    done = itertools.count(1)

    def telling(name: str, fit: FitPredict) -> FitPredict:
        def fit_predict(train: Rows, test: Rows, seed: int) -> Estimates:
            guess = fit(train, test, seed)
            progress.step(next(done), total, name)
            return guess

        return fit_predict

    return {name: telling(name, fit) for name, fit in forecasters.items()}
