"""Cross-validation of a map: every sample predicted once, by models that did not train on it.

All predictors are fitted on the same folds, in transformed units, so that folds are comparable.
Intervals come from residuals of the training part alone: of its inner folds, dealt in the same
blocks, or, where that is too dear, of the other outer folds. :class:`Fits` keeps each fit as it is
finished.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmx.errors import missing_variable
from hmx.mapping.kriging import KrigingTrial
from hmx.mapping.options import Krige, Regression
from hmx.mapping.process import together
from hmx.mapping.spec import parts_of
from hmx.mapping.train.course import COSTS, Session, rows_name
from hmx.progress import Outlook, Progress
from hmx.splits.site_folds import SiteFolds
from hmx.training.work import Finished
from hmx.uncertainty.conformal import Conformal

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Bounds = tuple[Array, Array]  # lower and upper, (n,) each

LEVELS = (50.0, 80.0, 90.0)
BLEND = "blend"
PLAIN = "blend without kriging"
_NETWORK, _OTHER = "network fold", "baseline fit"
_KEPT = "fit-"  # how names of kept estimates begin


@dataclass(frozen=True, eq=False)
class Estimates:
    """A predictor's estimates of some samples, transformed units."""

    members: Array  # (m, n), one row per member (seeds of a network); the estimate is their mean
    spread: Array | None = None  # (n,), the predictor's own uncertainty; None: it has none

    @property
    def center(self) -> Array:
        """Mean of the members, (n,)."""
        return np.asarray(self.members.mean(axis=0))

    @property
    def spread_or_zero(self) -> Array:
        """The spread, or 0 without one, (n,)."""
        return np.zeros(self.members.shape[1]) if self.spread is None else self.spread

    def corrected(self, error: Array) -> Estimates:
        """Add the kriged error."""
        return Estimates(self.members + error, self.spread)

    def at(self, rows: Rows) -> Estimates:
        """Return the estimates of some of the samples."""
        return Estimates(self.members[:, rows], self.spread_or_zero[rows])


FitPredict = Callable[[Rows, Rows, int], Estimates]  # rows to train on, rows to predict, seed


@dataclass(frozen=True)
class Blend:
    """A weighted mean of a predictor and of the regressions of a map, corrected by kriging."""

    first: str = "network"
    regression: Regression = "forest"
    weight: float = 0.5  # of the regressions
    krige: Krige = False  # whether held-out errors correct it

    def of(self, estimates: Mapping[str, Estimates]) -> Estimates:
        """Blend the estimates; the spread is that of the forest, or else of the predictor."""
        first, *own = (estimates[name] for name in self.parts)
        center = (1 - self.weight) * first.center
        center += self.weight * together(*(one.center for one in own))
        spread = estimates["forest"].spread_or_zero if "forest" in self.parts else first.spread
        return Estimates(center[None], spread)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the predictors that it takes."""
        return (self.first, *parts_of(self.regression))


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Held-out estimates of all samples, by predictor."""

    folds: SiteFolds
    truth: Array  # (n,), transformed units
    estimates: dict[str, Estimates]
    # prediction intervals by predictor and level, percent
    bounds: Mapping[str, Mapping[float, Bounds]] = field(default_factory=dict)
    calibration: str = ""  # source of the intervals, in words
    kriged: int = 0  # rounds in which errors of the training part were kriged


def held_out(
    forecasters: Mapping[str, FitPredict],
    folds: SiteFolds,
    *,
    seed: int,
    on_fit: Callable[[str], None],
    rows: Rows | None = None,
) -> dict[str, Estimates]:
    """Predict every sample from the folds without it; `rows` are the samples of the folds."""
    rounds, estimates = list(folds.rounds()), {}
    order = np.argsort(np.concatenate([test for _, test in rounds]))
    for name, fit_predict in forecasters.items():
        parts = []
        for at, (train, test) in enumerate(rounds):
            if rows is not None:
                train, test = rows[train], rows[test]
            parts.append(fit_predict(train, test, seed + 1000 * at))
            on_fit(name)
        members = np.concatenate([part.members for part in parts], axis=1)[:, order]
        spread = np.concatenate([part.spread_or_zero for part in parts])[order]
        estimates[name] = Estimates(members, spread)
    return estimates


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
    """Fit every predictor without each fold, and predict that fold.

    The residuals of the training part that give the intervals also correct the blend by kriging,
    if it improves them. Shapes: ``truth`` (n,).
    """
    pair = blend.parts if blend else ()
    _require_known([*calibrate, *pair], [*forecasters, *([BLEND] if blend else [])])
    corrects = blend is not None and blend.krige is not False
    # predictors that are also fitted on inner folds; a blend needs the residuals of its parts
    names = {*calibrate} | ({*pair} if corrects or BLEND in calibrate else set())
    needed = [name for name in forecasters if name in names]
    inner = inner if calibrate else 0
    total, done = len(folds) * (len(forecasters) + inner * len(needed)), itertools.count(1)

    def fitted(name: str) -> None:
        progress.step(next(done), total, name)

    plain = held_out(forecasters, folds, seed=seed, on_fit=fitted)
    plain |= {BLEND: blend.of(plain)} if blend else {}
    estimates, kriged = dict(plain), 0
    bounds: dict[str, dict[float, Bounds]] = {
        name: {level: (np.empty(len(truth)), np.empty(len(truth))) for level in levels}
        for name in calibrate
    }

    def of_training(number: int, train: Rows) -> tuple[SiteFolds, dict[str, Estimates]]:
        """Return folds of a training part and the estimates of its samples on them."""
        if not inner:
            return folds.at(train), {name: found.at(train) for name, found in plain.items()}
        within = folds.inner(train, inner, seed=seed + number)
        fits = {name: forecasters[name] for name in needed}
        found = held_out(fits, within, rows=train, seed=seed, on_fit=fitted)
        return within, found | ({BLEND: blend.of(found)} if blend and {*pair} <= names else {})

    for number, (train, test) in enumerate(folds.rounds() if calibrate or corrects else ()):
        within, own = of_training(number, train)
        if blend and corrects:
            center = own[BLEND].center
            error, trial = krige_round(within, truth[train], center, folds, test, blend.krige)
            own[BLEND] = own[BLEND].corrected(trial.correction)
            estimates[BLEND] = estimates[BLEND].corrected(error)
            kriged += trial.used
        for name in calibrate:
            known, group = own[name], folds.group[train]
            conformal = Conformal.fit(known.center, known.spread_or_zero, truth[train], group)
            tested = estimates[name].at(test)
            for level, (lower, upper) in bounds[name].items():
                ends = conformal.interval(tested.center, tested.spread_or_zero, level)
                lower[test], upper[test] = ends
    how = f"{inner} inner folds of each training part" if inner else "the other outer folds"
    if corrects:
        estimates[PLAIN] = plain[BLEND]
    return CrossValidated(folds, truth, estimates, bounds, how if calibrate else "", kriged)


def _require_known(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise missing_variable(name, known, where="the forecasters")


def krige_round(
    within: SiteFolds, truth: Array, center: Array, folds: SiteFolds, test: Rows, wanted: Krige
) -> tuple[Array, KrigingTrial]:
    """Krige the residuals of a training part at its tested samples, if its own folds gain by it.

    `within` are folds of the training part, with its `truth` and `center`; `test` are rows of
    `folds`. Returns the error of each row of `folds`, 0 of others than `test`, and the trial.
    """
    error = np.zeros(len(folds.sites))
    trial = KrigingTrial.of(within, truth, center, wanted)
    if trial.used:
        error[test] = trial.fit(within, truth - center)(folds.sites.lonlat[test])
    return error, trial


class Fits:
    """Counts and keeps the fits of a cross-validation.

    Parameters
    ----------
    finished : Finished
        Estimates and networks that an earlier run has made, and those of this one.
    progress : Progress
        Reports each fit, and what is still to come.
    runs : int
        Networks of a fold.
    """

    def __init__(
        self, finished: Finished = Finished(), progress: Progress = Progress(), runs: int = 1
    ):
        self.finished, self._progress, self._runs = finished, progress, runs
        self._made, self._total = 0, 0
        self._of = {_NETWORK: 0, _OTHER: 0}
        self._outlook = Outlook({})

    @property
    def progress(self) -> Progress:
        """The progress of the fits."""
        return Progress(self._progress.on_note, lambda done, total, text: self._report(text))

    def expect(self, several: Sequence[SiteFolds], baselines: int, inner: int, others: int) -> None:
        """Count the fits to come: `inner` folds for the networks and `others` of the baselines."""
        folds, first = sum(map(len, several)), len(several[0])
        counts = {
            _NETWORK: folds + first * inner,
            _OTHER: folds * baselines + first * inner * others,
        }
        self._total = sum(counts.values())
        costs = {
            _NETWORK: float(self._runs),
            _OTHER: COSTS["forest"] / 2,
        }  # the forest costs most of them
        self._outlook = Outlook({stage: (counts[stage], costs[stage]) for stage in counts})
        if self.finished.folder is not None:
            kept = len(list(self.finished.folder.glob(f"{_KEPT}*")))
            if kept:
                self._progress.note(f"evaluate: {kept} of {self._total} fits were made before")

    def keep(self, forecasters: Mapping[str, FitPredict]) -> dict[str, FitPredict]:
        """Wrap forecasters, so that a fit that was made before is read."""
        return {name: self._kept(name, fit) for name, fit in forecasters.items()}

    def session(self) -> Session:
        """Return what accompanies the networks of the next fold."""

        def progress(run: int) -> Progress:
            def on_step(done: int, total: int, text: str) -> None:
                share = (run + done / max(1, total)) / self._runs
                self._outlook.reach(_NETWORK, self._of[_NETWORK] + share)
                self._report(f"network {run + 1} of {self._runs}")

            return Progress(on_step=on_step)

        def spared(run: int) -> None:
            self._outlook.spare(_NETWORK, 1 / self._runs)

        return Session(progress=progress, spared=spared, finished=self.finished)

    def _kept(self, name: str, fit: FitPredict) -> FitPredict:
        stage = _NETWORK if name == "network" else _OTHER

        def fit_predict(train: Rows, test: Rows, seed: int) -> Estimates:
            part = f"{_KEPT}{name}-{rows_name(train, test)}-{seed}"
            if (found := self.finished.read(part)) is not None:
                arrays, _ = found
                estimates = Estimates(arrays["members"], arrays.get("spread"))
                self._outlook.spare(stage)
            else:
                estimates = fit(train, test, seed)
                spread = {} if estimates.spread is None else {"spread": estimates.spread}
                self.finished.write(part, {"members": estimates.members, **spread})
                self._outlook.reach(stage, self._of[stage] + 1)
            self._of[stage] += 1
            self._made += 1
            return estimates

        return fit_predict

    def _report(self, text: str) -> None:
        left = str(self._outlook)
        self._progress.step(self._made, self._total, f"{text}; {left}" if left else text)
