"""Train a mapper: prepare -> learn -> predict out of fold -> calibrate -> write.

Networks and regressions learn from all samples. Prediction intervals and the area of applicability
come from folds of the samples that are held out in turn. What is finished is kept beside the
bundle until that is there: a run that was stopped goes on.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from hmx.bundles.folder import as_model, require_bundle_place
from hmx.cube.cube import Cubelike
from hmx.cube.store import mark_done, require_unreplaced
from hmx.files.lock import hidden_sibling
from hmx.files.paths import absolute
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.correlogram import Correlogram, between_dates
from hmx.mapping.inputs import centre, scaled
from hmx.mapping.kriging import Kriging, KrigingTrial
from hmx.mapping.target import central, forward, inverse, ratio_of
from hmx.mapping.train.course import Course
from hmx.mapping.train.fitting import trunk_of
from hmx.mapping.train.learning import Learnt, learn, out_of_fold
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, decisive, prepare
from hmx.networks.base import require_units
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version
from hmx.scores import regression_scores
from hmx.scores.card import number, text_table
from hmx.splits.site_folds import SiteFolds
from hmx.training import tracking
from hmx.training.loop import alone, follows, leads_processes, wait
from hmx.training.metrics import spread
from hmx.training.work import Finished, work_folder
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.conformal import Conformal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


RUNS = "runs.csv"
_CONSOLE = ("seed", "epochs", "train_loss", "val_loss", "val_r2", "val_rmse", "val_native_rmse")


Row = dict[str, Any]

__all__ = ["MapTrainSetup", "train"]


def table_of_runs(figures: Sequence[Mapping[str, float]], seed: int) -> list[Row]:
    """Return a row for each of several runs, then the rows ``mean`` and ``sd``; none of one run."""
    if len(figures) < 2:
        return []
    found = spread(figures)
    rows: list[Row] = [
        {"run": str(run), "seed": seed + run, **{name: one.get(name) for name in found}}
        for run, one in enumerate(figures)
    ]
    means, spreads = ({n: one[which] for n, one in found.items()} for which in ("mean", "sd"))
    return [*rows, {"run": "mean", "seed": None, **means}, {"run": "sd", "seed": None, **spreads}]


def lines_of_runs(rows: Sequence[Row]) -> list[str]:
    """Lay the main figures out for a console."""
    names = [name for name in _CONSOLE if rows and name in rows[0]]

    def cell(value: float | None) -> str:
        if value is None:
            return ""
        return str(value) if isinstance(value, int) else number(value)

    body = [[row["run"], *(cell(row[name]) for name in names)] for row in rows]
    return text_table("training runs:", ["run", *names], body)


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
    """Fit a mapper to samples of a quantity, as :func:`hmx.mapping.api.train`."""
    started = time.monotonic()
    if out is not None:
        out = absolute(out)
        require_bundle_place(Path(out))  # before the work: a path in use costs no training
    start = None if recipe.init_from is None else as_model(MapBundle, recipe.init_from)
    prepared = prepare(obj, points, recipe)
    require_unreplaced(obj)
    trunk = None if start is None else _trunk(start, prepared)
    progress, rows = Progress.of(progress), np.arange(len(prepared.samples))
    prepared.announce(progress)
    decided = {**decisive(prepared, recipe), "start": None if start is None else start.digest}
    with (
        alone(out, recipe.fit, progress),
        _work_folder(out, recipe, decided, progress) as folder,
        closing(_RunLogs(folder, recipe, _facts(prepared, recipe), out=out)) as logs,
    ):
        folds = training_folds(prepared, recipe)
        finished = Finished(None if out is None else folder)
        course = Course.of(recipe.fit, folds, finished, progress, started)
        learnt = learn(
            prepared.raw,
            prepared.values,
            rows,
            spec=prepared.spec,
            fit=recipe.fit,
            groups=prepared.validation_groups(recipe.fit),
            init_from=trunk,
            session=course.session(logs.open_run),
        )
        bundle, held_out = make_bundle(prepared, recipe, learnt, folds, course)
        runs = _runs(learnt, recipe, progress)
        if start is not None:
            made = dict(bundle.training) | {"init_digest": start.digest}
            bundle = replace(bundle, training=made)
        if leads_processes() and out is not None:
            log = tracking.table(tracking.logged_rows(logs.folder_of(next(iter(learnt.kept)))))
            files = {tracking.LOG: log} | ({RUNS: tracking.table(runs)} if runs else {})
            mark_done(folder)
            bundle = bundle.save(out, files=files)
        logs.send(bundle, runs, partial(draw_pictures, prepared, held_out))
        wait()
    return bundle if leads_processes() or out is None else as_model(MapBundle, str(out))


def _runs(learnt: Learnt, recipe: MapTrainSetup, progress: Progress) -> list[dict[str, Any]]:
    """Return the table of the networks, and report its main figures."""
    runs = table_of_runs(learnt.figures, recipe.fit.seed)
    for line in lines_of_runs(runs):
        progress.note(line)
    return runs


def _trunk(start: MapBundle, prepared: Prepared) -> Mapping[str, np.ndarray]:
    """Return the weights that a fit starts from."""
    units = {"had": start.spec.units, "has": prepared.spec.units}
    require_units(start.path, start.spec.target, **units, data="points")
    return trunk_of(start.member(0), start.spec, prepared.spec)


@contextmanager
def _work_folder(
    out: str | Path | None, recipe: MapTrainSetup, decided: Mapping[str, Any], progress: Progress
) -> Iterator[Path]:
    """Yield a folder for logs and finished networks; with `out` it outlives a killed run."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="hmx-training-") as folder:
            yield Path(folder)
        return
    work = hidden_sibling(Path(out), "training")
    if follows(recipe.fit):  # the leading process has made it
        yield work
        return
    with work_folder(work, out, decided, progress=progress):
        yield work


def training_folds(prepared: Prepared, recipe: MapTrainSetup) -> SiteFolds:
    """Deal the samples into the folds that training holds out in turn: ``train.inner``.

    They are dealt in the groups of the split (blocks, clumps, regions, sites), so intervals hold
    at the distances of the map.
    """
    outer = prepared.folds(recipe.split, seed=recipe.fit.seed)
    return outer.inner(np.arange(len(prepared.samples)), recipe.fit.inner, seed=recipe.fit.seed)


def draw_pictures(prepared: Prepared, predicted: np.ndarray) -> Mapping[str, Figure]:
    """Draw the held-out samples, with their predictions in native units."""
    from hmx.pictures.mapping import draw_held_out  # loads matplotlib

    spec, lonlat = prepared.spec, prepared.samples.lonlat
    return draw_held_out(prepared.values, predicted, lonlat, name=spec.target, units=spec.units)


def make_bundle(
    prepared: Prepared, recipe: MapTrainSetup, learnt: Learnt, folds: SiteFolds, course: Course
) -> tuple[MapBundle, np.ndarray]:
    """Build the bundle: networks, regressions, intervals, area of applicability.

    Its held-out predictions are returned beside it, native units, (n,).
    """
    fit, spec, target = recipe.fit, learnt.spec, learnt.target
    features = centre(scaled(prepared.raw, spec, learnt.scaler))
    truth = forward(prepared.values, target)
    held_out = out_of_fold(prepared, features, target, fit, folds, course=course)
    own = course.whole_regressions(features, truth, fit.seed)
    weights, estimate = held_out.importance.weights(spec.features), held_out.estimate
    trial = KrigingTrial.of(folds, truth, estimate.center, fit.krige if spec.blend else False)
    kriging: Kriging | None = None
    if trial.used:
        kriging = trial.fit(folds, truth - estimate.center)
        estimate = estimate.corrected(trial.correction)
    if fit.bias_correction == "ratio":
        predicted = inverse(estimate.center, target)
        target = replace(target, ratio=ratio_of(prepared.values, predicted))
    native = central(estimate.center, target)
    scales = {
        "transformed": [a * target.std for a in (truth, estimate.center)],
        "native": [prepared.values, native],
    }
    samples, pixel = prepared.samples, math.sqrt(math.prod(spec.pixel_size_m))
    with course.step("calibration"):
        calibration = Conformal.fit(estimate.center, estimate.spread, truth, folds.group)
        scores = ndtri(calibration.rank(estimate.center, estimate.spread, truth))
        correlogram = Correlogram.of(samples.lonlat, scores, pixel)
        phi, again = between_dates(scores, samples.site, samples.step)
        area = Applicability.fit(features, folds.fold, weights)
    bundle = MapBundle(
        spec=spec,
        scaler=learnt.scaler,
        target=target,
        weights=learnt.weights(),
        calibration=calibration,
        dependence=correlogram.fit(phi),
        forest=own.arrays()["forest"],
        process=own.arrays()["process"],
        applicability=area.arrays(),
        kriging={} if kriging is None else kriging.arrays(),
        training={
            **_facts(prepared, recipe),
            "hmx": code_version(),
            "seed": fit.seed,
            "folds": folds.as_dict(),
            "samples": [float(f"{value:.7g}") for value in samples.value],
            "held_out": {name: dict(regression_scores(*both)) for name, both in scales.items()},
            "correlogram": correlogram.as_dict() | {"between_dates": {"r": phi, "pairs": again}},
            "kriging": trial.as_dict() | ({} if kriging is None else kriging.variogram(target.std)),
            "importance": held_out.importance.as_dict(),
            "runs": {name: dict(figures) for name, figures in learnt.runs.items()},
            "kept": list(learnt.kept),
            "taken": _taken(learnt),
            "seconds": round(time.monotonic() - course.started, 1),
        },
    )
    return bundle, native


def _taken(learnt: Learnt) -> dict[str, list[str]] | None:
    """Return the names of the weights that a network copied from its start, and of the others."""
    copied = next(iter(learnt.kept.values())).transferred
    if copied is None:
        return None
    return {"names": list(copied.names), "left": list(copied.skipped)}


def _facts(prepared: Prepared, recipe: MapTrainSetup) -> dict[str, Any]:
    """Return settings and data of the training, in JSON values."""
    labels = prepared.bands.labels
    return {
        **recipe.settings(),
        "points": prepared.report.as_dict(),
        "warnings": list(prepared.warnings),
        "steps": [labels[0], labels[-1], len(labels)],
        "cube": prepared.bands.data.attrs.get("hmx_fingerprint"),
    }


class _RunLogs:
    """The loggers of each run: open while the run trains, closed before the next run."""

    def __init__(
        self,
        folder: Path,
        recipe: MapTrainSetup,
        facts: Mapping[str, Any],
        *,
        out: str | Path | None,
    ):
        self.folder, self.recipe, self.facts = folder, recipe, facts
        self.root = Path.cwd() if out is None else Path(out).resolve().parent
        self.open: list[Any] = []

    def folder_of(self, run: int) -> Path:
        """Return the log folder of a run."""
        return self.folder / f"run-{run}"

    def open_run(self, run: int) -> list[Any]:
        """Open the loggers of one run; what an unfinished fit of it has logged is dropped."""
        self.close()
        if not follows(self.recipe.fit):
            shutil.rmtree(self.folder_of(run), ignore_errors=True)
        track, seed = dict(self.recipe.track or {}), self.recipe.fit.seed
        for path in (self.folder_of(run), self.root):
            path.mkdir(parents=True, exist_ok=True)
        several = self.recipe.fit.runs > 1
        self.open = tracking.loggers(
            self.folder_of(run),
            **track,
            config=self.facts,
            # runs of one mapper stand together in the tracker, and are named by seed
            group=f"{track.get('project', 'hmx')}-{seed}" if several else None,
            name=f"seed-{seed + run}" if several else None,
            parent=self.root,
        )
        return self.open

    def send(
        self,
        bundle: MapBundle,
        runs: Sequence[Mapping[str, Any]],
        draw: Callable[[], Mapping[str, Figure]],
    ) -> None:
        """Send scores, pictures, the runs and the bundle to the trackers of the last run."""
        if not self.open:  # an earlier run has trained the last network, and its tracker is gone
            self.open_run(self.recipe.fit.runs - 1)
        scores = bundle.training["held_out"]["transformed"]
        tracking.log_summary(
            self.open, {f"held_out_{name}": value for name, value in scores.items()}
        )
        tracking.log_pictures(self.open, draw)
        if runs:
            tracking.log_table(self.open, "runs", runs)
        if bundle.path is not None:
            about = {"folds": bundle.training["folds"]["digest"]}
            tracking.log_bundle(self.open, bundle.path, name=bundle.path.name, metadata=about)

    def close(self) -> None:
        """Close the loggers of the last run."""
        tracking.close(self.open)
        self.open = []
