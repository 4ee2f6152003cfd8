"""Select: from points and cube to the covariates that are worth reading.

Every set is fitted on the folds that training holds out, and saved as it is scored: a run that
was stopped goes on with the next set, and ends as one that was not.
"""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.cube import Cubelike
from hmx.errors import BadArgument, OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.lock import building
from hmx.files.paths import absolute
from hmx.hardware import threads_each
from hmx.independent import independent
from hmx.mapping.evaluate.baselines import centre_of, features, null_rows
from hmx.mapping.evaluate.rounds import FitPredict, Rows, held_out
from hmx.mapping.evaluate.score import fingerprint_of, networks
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import restricted, variable_of
from hmx.mapping.select.forward import Names, Trial, at_most, choose, forward
from hmx.mapping.select.options import SelectOptions
from hmx.mapping.select.selection import FILE, FORMAT, Nested, Selection, variance_of
from hmx.mapping.target import TargetScaler
from hmx.mapping.target import forward as transformed
from hmx.mapping.train.importance import (
    REPEATS,
    Importance,
    Predict,
    permuted_importance,
    with_features,
)
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, prepare
from hmx.progress import OnStep, Progress, counted, duration
from hmx.splits.report import name_folds
from hmx.splits.site_folds import SiteFolds

TREES = 100  # half of the map's forest: sets are compared, with the same seeds
_OUTER = -1  # number of the folds that are not within another fold
_SAVED = 5.0  # least seconds between two saves


@independent
def select(
    obj: Cubelike,
    points: Any,
    recipe: MapTrainSetup,
    options: SelectOptions | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | OnStep | None = None,
) -> Selection:
    """Select covariates by forward selection, as :func:`hmx.mapping.select.api.select`.

    Sets that an earlier run has scored in ``out``, on the same samples and folds, are taken over,
    unless ``overwrite``.
    """
    options, progress = options or SelectOptions(), Progress.of(progress)
    prepared = prepare(obj, points, recipe)
    prepared.announce(progress)
    names = covariates_of(prepared)
    if len(names) < 2:
        raise BadArgument(
            f"the cube has one covariate ({names[0]}), and a selection compares several. Add "
            "sources, or train with this one."
        )
    place = nullcontext() if out is None else building(absolute(out), progress)
    with place:
        journal = Journal(None if out is None else absolute(out), progress)
        digest = fingerprint_of(prepared, recipe, SelectOptions(learner=options.learner))
        journal.open(digest, overwrite=overwrite)
        search = Search(prepared, recipe, options, journal, progress)
        try:
            found = search.run(names)
        except KeyboardInterrupt:
            journal.save()
            progress.note(search.describe())
            raise
        if out is not None:
            if not search.fits:
                progress.note(f"select: {journal.folder} exists and is current")
            found.save(str(journal.folder), **journal.as_dict())
            Folder(str(journal.folder)).sweep()
    return found


def covariates_of(prepared: Prepared) -> Names:
    """Return the variables of the bands: all months of a variable are one covariate."""
    return tuple(dict.fromkeys(map(variable_of, prepared.bands.variables)))


class Journal:
    """Scored sets, saved as they come: by the folds that they were scored on."""

    def __init__(self, folder: str | None, progress: Progress):
        self.folder, self.progress = folder, progress
        self.trials: dict[tuple[int, frozenset[str]], Trial] = {}
        self.importance: Importance | None = None
        self.digest, self._saved = "", time.monotonic()

    def open(self, digest: str, *, overwrite: bool) -> None:
        """Take over what another run has scored on the same samples and folds."""
        self.digest = digest
        if self.folder is None or Folder(self.folder).is_bare():
            return
        try:
            content = json.loads(Folder(self.folder).read(FILE) or b"")
            version = content[FORMAT]
        except (ValueError, TypeError, KeyError):
            raise OutputExists(
                f"{self.folder} holds something that is not a selection, so it is left alone. "
                "Choose another folder: --output selection."
            ) from None
        if overwrite or version != 1 or content["fingerprint"] != digest:
            why = "" if overwrite else " (it is of other samples, folds or options)"
            self.progress.note(f"select: making {self.folder} anew{why}")
            return
        for one in content["trials"]:
            self.add(one["within"], Trial(tuple(one["covariates"]), tuple(one["errors"])))
        known = content.get("importance")
        self.importance = Importance(**known) if known else None

    def add(self, within: int, trial: Trial) -> None:
        """Keep a scored set."""
        self.trials[within, frozenset(trial.covariates)] = trial
        if time.monotonic() - self._saved > _SAVED:
            self.save()

    def save(self) -> None:
        """Write all scored sets."""
        if self.folder is not None and self.trials:
            importance = self.importance and self.importance.as_dict()
            content = {FORMAT: 1, "importance": importance, **self.as_dict()}
            Folder(self.folder).write(FILE, as_json(content, indent=1).encode())
        self._saved = time.monotonic()

    def as_dict(self) -> dict[str, Any]:
        """Return the scored sets in JSON values."""
        trials = [
            {"within": within, "covariates": list(t.covariates), "errors": list(t.errors)}
            for (within, _), t in self.trials.items()
        ]
        return {"fingerprint": self.digest, "trials": trials}


class Search:
    """Fits sets of covariates on folds."""

    def __init__(
        self,
        prepared: Prepared,
        recipe: MapTrainSetup,
        options: SelectOptions,
        journal: Journal,
        progress: Progress,
    ):
        self.prepared, self.options, self.fit = prepared, options, recipe.fit
        self.journal, self.progress = journal, progress
        transform = self.fit.transform if self.fit.transform in ("log", "log1p") else "none"
        target = prepared.spec.target
        self.scale = target if transform == "none" else f"{transform}({target})"
        self.truth = transformed(prepared.values, TargetScaler(transform))
        self.middle = centre_of(prepared.raw)
        self.folds = prepared.folds(recipe.split, seed=self.fit.seed)
        self.groups = prepared.validation_groups(self.fit)
        self.rounds = list(self.folds.rounds())
        self.done = self.fits = self.total = 0
        self.started = 0.0

    def run(self, names: Names) -> Selection:
        """Score sets, the importance of all covariates, and the nested choice if asked for."""
        self._announce(names)
        sizes = np.bincount(self.folds.fold).astype("float64")
        everything = self.trial(names)
        path = self._path(names, self.folds, sizes)
        importance = self._importance(names)
        nested = self._nested(names) if self.options.nested else None
        self.progress.step(self.total, self.total, f"select: {counted(self.fits, 'fit')}")
        outer = [t for (within, _), t in self.journal.trials.items() if within == _OUTER]
        bands = self.prepared.bands
        return Selection(
            target=self.prepared.spec.target,
            scale=self.scale,
            learner=self.options.learner,
            folds=name_folds(self.folds),
            sizes=sizes,
            variance=variance_of(self.truth),
            dynamic=tuple(n for n in names if n in map(variable_of, bands.dynamic)),
            static=tuple(n for n in names if n in map(variable_of, bands.static)),
            path=tuple(path),
            everything=everything,
            tried=tuple(outer),
            rule=self.options.rule,
            importance=importance,
            nested=nested,
            depth=self.prepared.spec.depth,
        )

    def describe(self) -> str:
        """Describe the best set so far."""
        outer = [t for (within, _), t in self.journal.trials.items() if within == _OUTER]
        if not outer:
            return "select: stopped before the first set was scored"
        sizes = np.bincount(self.folds.fold).astype("float64")
        best = choose(outer, sizes, "best")
        r2 = 1 - best.error(sizes) / variance_of(self.truth)
        return (
            f"select: stopped after {counted(len(outer), 'set')}; the best so far: "
            f"{', '.join(best.covariates)} (R2 {r2:.3f})"
        )

    def trial(self, names: Names, folds: SiteFolds | None = None, *, within: int = _OUTER) -> Trial:
        """Score a set on folds, by default the outer ones; a set that is known costs nothing."""
        folds = folds or self.folds
        known = self.journal.trials.get((within, frozenset(names)))
        if known is not None:
            self.done += len(folds)
            return Trial(names, known.errors)
        self._text = f"select: {' + '.join(names)}"
        rows = None if within == _OUTER else self.rounds[within][0]
        learner: dict[str, FitPredict] = {self.options.learner: self._learner(names)}
        (found,) = held_out(
            learner, folds, seed=self.fit.seed, on_fit=self._fitted, rows=rows
        ).values()
        truth = self.truth if rows is None else self.truth[rows]
        squares = (found.center - truth) ** 2
        errors = np.bincount(folds.fold, squares) / np.bincount(folds.fold)
        made = Trial(names, tuple(errors.tolist()))
        self.journal.add(within, made)
        return made

    def _path(
        self, names: Names, folds: SiteFolds, sizes: np.ndarray, within: int = _OUTER
    ) -> list[Trial]:
        """Run one forward selection; the steps that it does not need count as done."""
        before, asked = self.done, self.options
        planned = len(folds) * at_most(len(names), asked.start, asked.most)
        path = forward(
            names,
            lambda some: self.trial(some, folds, within=within),
            sizes,
            start=asked.start,
            most=asked.most,
        )
        self.total -= planned - (self.done - before)
        return path

    def _nested(self, names: Names) -> Nested:
        """Select anew without each fold, and score that choice on the fold."""
        errors: list[float] = []
        chosen: list[Names] = []
        for number, (train, test) in enumerate(self.rounds):
            inner = self.folds.inner(train, self.fit.inner, seed=self.fit.seed + number)
            sizes = np.bincount(inner.fold).astype("float64")
            everything = self.trial(names, inner, within=number)
            path = self._path(names, inner, sizes, number)
            best = choose([*path, everything], sizes, self.options.rule)
            own = tuple(name for name in names if name in best.covariates)
            # numbers beyond those of the folds: a choice scored on the fold that it has not seen
            key = len(self.rounds) + number, frozenset(own)
            if key not in self.journal.trials:
                self._text = f"select: fold {number + 1} of {len(self.rounds)}: {', '.join(own)}"
                # the seed of the round, as of the sets that were scored on all folds
                found = self._learner(own)(train, test, self.fit.seed + 1000 * number)
                self._fitted(self.options.learner)
                error = float(((found.center - self.truth[test]) ** 2).mean())
                self.journal.add(key[0], Trial(own, (error,)))
            else:
                self.done += 1
            errors += self.journal.trials[key].errors
            chosen.append(own)
        return Nested(tuple(errors), tuple(chosen))

    def _learner(self, names: Names) -> FitPredict:
        """Return what fits and predicts with these covariates alone."""
        if self.options.learner == "network":
            raw, spec = restricted(self.prepared.raw, self.prepared.spec, names)
            return networks(raw, self.prepared.values, spec, self.fit, self.groups)
        raw, spec = restricted(self.middle, self.prepared.spec, names)
        rows = null_rows(raw, self.truth, spec, trees=TREES, threads=threads_each(1))
        return rows[self.options.learner]

    def _importance(self, names: Names) -> Importance:
        """Permute each covariate on the held-out folds, under a forest on all of them."""
        if self.journal.importance is not None:
            self.done += len(self.folds)
            return self.journal.importance
        spec = self.prepared.spec
        variables = [variable_of(name) for name in spec.features]
        own = tuple(dict.fromkeys([*names, *variables]))  # depth is among them

        def forest_of(train: Rows, seed: int) -> Predict:
            x = features(self.middle, train, spec)
            forest = fit_forest(
                x[train], self.truth[train], seed, trees=TREES, threads=threads_each(1)
            )
            self._text = "select: importance"
            self._fitted("forest")
            return with_features(forest.predict, x, variables)

        self.journal.importance = permuted_importance(
            forest_of, self.folds, self.truth, own, repeats=REPEATS, seed=self.fit.seed
        )
        return self.journal.importance

    def _announce(self, names: Names) -> None:
        """Report the largest number of fits before the first."""
        asked, outer, inner = self.options, len(self.folds), self.fit.inner
        sets = at_most(len(names), asked.start, asked.most) + 1
        self.total = outer * (sets + 1)  # and the forests of the importance
        if asked.nested:
            self.total += outer * (sets * inner + 1)
        what = f"{self.fit.runs} networks each" if asked.learner == "network" else asked.learner
        folder = self.journal.folder
        kept = f"keeps what is scored in {folder}" if folder else "prints the best set so far"
        self.progress.note(
            f"select: {len(names)} covariates on {name_folds(self.folds)}: at most {sets} sets, "
            f"{self.total:,} fits ({what}{', nested' if asked.nested else ''}). Ctrl-C {kept}"
        )
        self.started = time.monotonic()

    def _fitted(self, _name: str) -> None:
        """Count a fit; after the first, report what all may take."""
        self.done, self.fits = self.done + 1, self.fits + 1
        if self.fits == 1:
            seconds = time.monotonic() - self.started
            left = duration(seconds * (self.total - self.done))
            self.progress.note(
                f"select: the first fit took {seconds:.1f} s, so what is left takes at most about "
                f"{left}"
            )
        self.progress.step(min(self.done, self.total), self.total, self._text)
