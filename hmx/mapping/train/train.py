"""Train a mapper: prepare -> learn -> hold out -> judge -> write.

Networks and forest learn from all samples. How wrong they are, and where the map can be
trusted, is learnt from folds of the samples that are held out in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hmx.bundles.folder import as_model, require_bundle_place
from hmx.cube.cube import Cubelike
from hmx.cube.store import claim, discard_work, hidden_sibling, mark_done, require_unreplaced
from hmx.errors import BadArgument
from hmx.files.paths import absolute
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import centre, scaled
from hmx.mapping.spec import TargetScaler
from hmx.mapping.target import central, forward, inverse, ratio_of
from hmx.mapping.train.holding import OutOfFold, hold_out
from hmx.mapping.train.learning import Learnt, learn
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, prepare
from hmx.mapping.train.transfer import trunk_of
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version
from hmx.scores import regression_scores
from hmx.training.loop import alone, follows, leads_processes, wait
from hmx.training.tracking import LOG, close, log_bundle, log_summary, logged_rows, loggers, table
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.conformal import Conformal

__all__ = ["MapTrainSetup", "train"]


@independent
@for_training()
def train(
    obj: Cubelike,
    points: Any,
    recipe: MapTrainSetup,
    *,
    out: str | Path | None = None,
    progress: Progress | OnStep | None = None,
) -> MapBundle:
    """Fit a mapper to samples of a quantity.

    Parameters
    ----------
    obj : Dataset or DataArray
        Bands on one grid.
    points : DataFrame, GeoDataFrame or path
        Samples.
    recipe : MapTrainSetup
        What to fit, and how.
    out : str or Path, optional
        Folder for the bundle.
    progress : Progress
        Told what became of the points, and progress.

    Returns
    -------
    MapBundle
        Saved, if ``out`` was given.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError
        If points, cube and recipe do not fit.
    OutputExists
        If ``out`` holds something else.
    """
    started = time.monotonic()
    if out is not None:
        out = absolute(out)
        require_bundle_place(Path(out))
    start, prepared = _start(recipe), prepare(obj, points, recipe)
    require_unreplaced(obj)
    _require_like(start, prepared)
    progress = Progress.of(progress)
    prepared.introduce(progress)
    with (
        alone(out, recipe.fit, progress),
        _workplace(out, recipe) as folder,
        closing(_Logs(folder, recipe, _facts(prepared, recipe), out=out)) as logs,
    ):
        learnt = learn(
            prepared.raw,
            prepared.values,
            np.arange(len(prepared.samples)),
            spec=prepared.spec,
            fit=recipe.fit,
            groups=prepared.samples.site,
            init_from=_trunk(start, prepared),
            logs=logs.of,
            progress=progress,
        )
        bundle = _bundle(prepared, recipe, learnt, progress, started)
        if leads_processes() and out is not None:
            log = table(logged_rows(logs.folder_of(next(iter(learnt.kept)))))
            bundle = bundle.save(out, files={LOG: log})
        logs.tell(bundle)
        wait()
    return bundle if leads_processes() or out is None else as_model(MapBundle, str(out))


def _start(recipe: MapTrainSetup) -> MapBundle | None:
    return None if recipe.init_from is None else as_model(MapBundle, recipe.init_from)


def _trunk(start: MapBundle | None, prepared: Prepared) -> Mapping[str, np.ndarray] | None:
    return None if start is None else trunk_of(start.member(0), start.spec, prepared.spec)


@contextmanager
def _workplace(out: str | Path | None, recipe: MapTrainSetup) -> Iterator[Path]:
    """Lend a folder for logs; beside ``out``, so that the next run sweeps what a kill leaves."""
    if out is None or follows(recipe.fit):
        with tempfile.TemporaryDirectory(prefix="hmx-training-") as folder:
            yield Path(folder)
        return
    work = hidden_sibling(Path(out), "training")
    claim(work)
    mark_done(work)  # a fit of seconds is not gone on with
    try:
        yield work
    finally:
        discard_work(work, out)


def _require_like(start: MapBundle | None, prepared: Prepared) -> None:
    """Refuse a start whose target was measured in other units."""
    if start is None:
        return
    had, has = start.spec.units, prepared.spec.units
    if None not in (had, has) and had != has:
        raise BadArgument(
            f"init_from={str(start.path)!r} was trained on {start.spec.target!r} in {had!r}, and "
            f"the points are in {has!r}. Convert the points, or correct units=."
        )


def _bundle(
    prepared: Prepared, recipe: MapTrainSetup, learnt: Learnt, progress: Progress, started: float
) -> MapBundle:
    """Put together all it takes to map: networks, forest, intervals, applicability."""
    fit, spec = recipe.fit, learnt.spec
    features = centre(scaled(prepared.raw, spec, learnt.scaler))
    truth = forward(prepared.values, learnt.target)
    outer = prepared.folds(recipe.split, seed=fit.seed)
    folds = outer.inner(np.arange(len(prepared.samples)), fit.inner, seed=fit.seed)
    held = hold_out(prepared, features, learnt.target, fit, folds, progress=progress)
    forest = fit_forest(features, truth, fit.seed).arrays() if spec.blend else {}
    weights = held.importance.weights(spec.features)
    estimate, target = held.estimate, learnt.target
    if fit.bias_correction == "ratio":
        guessed = inverse(estimate.center, target)
        target = replace(target, ratio=ratio_of(prepared.values, guessed))
    return MapBundle(
        spec=spec,
        scaler=learnt.scaler,
        target=target,
        weights=learnt.weights(),
        calibration=Conformal.fit(estimate.center, estimate.spread, truth, folds.group),
        forest=forest,
        applicability=Applicability.fit(features, folds.fold, weights).arrays(),
        training={
            **_facts(prepared, recipe),
            "hmx": code_version(),
            "seed": fit.seed,
            "folds": folds.as_dict(),
            "held_out": _scores(prepared, target, held),
            "importance": held.importance.as_dict(),
            "runs": {name: dict(found) for name, found in learnt.runs.items()},
            "kept": list(learnt.kept),
            "taken": _taken(learnt),
            "seconds": round(time.monotonic() - started, 1),
        },
    )


def _scores(
    prepared: Prepared, target: TargetScaler, held: OutOfFold
) -> dict[str, dict[str, float]]:
    """Score what was said of held-out samples, in transformed and in native units."""
    center = held.estimate.center
    scales = {
        "transformed": [a * target.std for a in (forward(prepared.values, target), center)],
        "native": [prepared.values, central(center, target)],
    }
    return {name: dict(regression_scores(*both)) for name, both in scales.items()}


def _taken(learnt: Learnt) -> dict[str, list[str]] | None:
    taken = next(iter(learnt.kept.values())).taken
    return None if taken is None else {"names": list(taken.names), "left": list(taken.left)}


def _facts(prepared: Prepared, recipe: MapTrainSetup) -> dict[str, Any]:
    """Say what was asked and of which data, in JSON values."""
    labels = prepared.bands.labels
    return {
        **recipe.settings(),
        "points": prepared.report.as_dict(),
        "warnings": list(prepared.warnings),
        "steps": [labels[0], labels[-1], len(labels)],
        "cube": prepared.bands.data.attrs.get("hmx_fingerprint"),
    }


class _Logs:
    """The loggers of each run, opened as it begins and closed as the next does."""

    def __init__(
        self,
        folder: Path,
        recipe: MapTrainSetup,
        facts: Mapping[str, Any],
        *,
        out: str | Path | None,
    ):
        self.folder, self.recipe, self.facts = folder, recipe, facts
        self.beside = Path.cwd() if out is None else Path(out).resolve().parent
        self.open: list[Any] = []

    def folder_of(self, run: int) -> Path:
        """Name the folder that a run is logged in."""
        return self.folder / f"run-{run}"

    def of(self, run: int) -> list[Any]:
        """Open the loggers of one run."""
        self.close()
        track, seed = dict(self.recipe.track or {}), self.recipe.fit.seed
        for place in (self.folder_of(run), self.beside):
            place.mkdir(parents=True, exist_ok=True)
        several = self.recipe.fit.runs > 1
        self.open = loggers(
            self.folder_of(run),
            **track,
            config=self.facts,
            group=f"{track.get('project', 'hmx')}-{seed}" if several else None,
            name=f"seed-{seed + run}" if several else None,
            place=self.beside,
        )
        return self.open

    def tell(self, bundle: MapBundle) -> None:
        """Send scores and bundle to who tracks."""
        scores = bundle.training["held_out"]["transformed"]
        log_summary(self.open, {f"held_out_{name}": value for name, value in scores.items()})
        if bundle.path is not None:
            about = {"folds": bundle.training["folds"]["digest"]}
            log_bundle(self.open, bundle.path, name=bundle.path.name, metadata=about)

    def close(self) -> None:
        """Close those of the last run."""
        close(self.open)
        self.open = []
