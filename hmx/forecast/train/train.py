"""Train: check -> plan -> fit -> calibrate -> fit on all blocks -> fit dependence -> write.

Lightning fits. The result is a :class:`hmx.forecast.bundle.Bundle` with the weights
that scored best on the validation blocks. It is calibrated on blocks that neither the weights
nor the choice of the best weights used. Then the network is fitted once more on all blocks,
for the number of epochs that was best.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from hmx.bundles.folder import require_bundle_place
from hmx.cube.array import without_covariates
from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.cube.store import mark_done, require_unreplaced
from hmx.errors import BadArgument
from hmx.files.heap import release_memory, reuse_memory
from hmx.files.lock import followed
from hmx.files.paths import absolute
from hmx.forecast.bundle import Bundle
from hmx.forecast.train.calibrate import calibrate, fit_shift
from hmx.forecast.train.data import Draw, Reader
from hmx.forecast.train.fitting import FittedForecaster, figures_of, fit, precision_of
from hmx.forecast.train.joint import with_dependence
from hmx.forecast.train.module import chooses
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, heads_apart, narrowed, plan, taught
from hmx.forecast.train.show import LEVEL, long_name, panel_rows, panel_title, shown_window
from hmx.forecast.train.visits import FitLength, fit_length, last_epochs
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.networks.cost import per_pixel
from hmx.networks.forecaster import Forecaster, described, reach
from hmx.pictures.panel import draw_panel
from hmx.pictures.style import Figure
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version
from hmx.splits import CALIBRATION, ROLES, TEST, VALIDATION
from hmx.training.loop import Watch, alone, follows, leads_processes, quiet, wait
from hmx.training.metrics import spread
from hmx.training.muon import Muon
from hmx.training.tracking import (
    LOG,
    PANEL,
    close,
    log_bundle,
    log_pictures,
    log_summary,
    loggers,
    png,
    table,
)  # fmt: skip
from hmx.training.work import work_folder
from hmx.uncertainty.calibration import Calibration

__all__ = ["TrainSetup", "plan", "train"]


@independent
@for_training()
def train(
    obj: Cubelike,
    recipe: TrainSetup,
    *,
    out: str | Path | None = None,
    progress: Progress | OnStep | None = None,
) -> Bundle:
    """Fit a forecaster to a cube.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube; training reads its time steps up to ``recipe.fit.until``.
    recipe : TrainSetup
        Target, covariates, network and fit.
    out : str or Path, optional
        Folder for the bundle. While training runs, ``OUT.training`` next to it
        contains the checkpoints from which a killed run resumes.
    progress : Progress or callable, optional
        A plain callable gets (epochs done, epochs, text).

    Returns
    -------
    Bundle
        Saved, if ``out`` was given.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData
        If recipe and cube do not fit.
    OutputExists
        If ``out`` contains something else.
    """
    started = time.monotonic()
    reuse_memory()
    if out is not None:
        out = absolute(out)
        require_bundle_place(Path(out))
    cube = as_cube(obj, target=recipe.target, dynamic=recipe.dynamic, static=recipe.static)
    planned, progress = plan(cube, recipe), Progress.of(progress)
    if leads_processes():
        progress.note(f"model: {taught(planned, recipe)}")
    if (line := heads_apart(planned, recipe)) is not None and leads_processes():
        progress.note(f"model: {line}")
    if recipe.static is None and (line := without_covariates(obj, cube)) is not None:
        progress.note(f"model: {line}")
    if (line := narrowed(cube, recipe.network, planned.reader.spec.context)) is not None:
        progress.note(f"model: {line}")
    with (
        alone(out, recipe.fit),
        _checkpoint_folder(out, planned, recipe, progress) as folder,
        quiet(),
    ):
        training = _Training(planned, recipe, folder, progress)
        fitted = []
        for index in range(recipe.fit.runs):
            first = training.first(index)
            fitted.append(first())
        bundle = training.bundle(fitted, started)
        require_unreplaced(obj)
        if leads_processes():
            bundle = training.save(bundle, out)
        wait()
        if not leads_processes():
            bundle = Bundle.load(str(out))
    release_memory()
    return bundle


@dataclass
class _Training:
    """The state of one call of :func:`train`, from plan to bundle."""

    plan: TrainPlan
    recipe: TrainSetup
    folder: Path
    progress: Progress

    def __post_init__(self) -> None:
        self.logs: list[Any] = []
        self.networks: list[Forecaster] = []
        self.steps = 0  # of an epoch

    def first(self, index: int) -> Callable[[], FittedForecaster]:
        """Prepare the first fit with a seed, and open its logs."""
        options, reader = self.recipe.fit, self.plan.reader
        folder = self.folder / f"run-{index}"
        self._open_logs(folder, options.seed + index)
        what = f"training {index + 1} of {options.runs}" if options.runs > 1 else "training"
        draw = Draw.of(reader, self.plan.scanned.changed, options.focus)
        watch, start = Watch(self.progress, self.logs, what), self.plan.start.weights
        length = self._length(reader, draw)
        self.steps = length.steps
        if length.epochs < options.epochs and leads_processes():
            self.progress.note(
                f"{what}: {length.epochs} epochs of {length.steps} steps; more would learn so "
                "small a raster by heart (train.steps chooses others)"
            )
        seeded = options.model_copy(update={"seed": options.seed + index, "epochs": length.epochs})
        return partial(
            fit, reader, draw, seeded, folder, steps=length.steps, watch=watch, start=start
        )

    def bundle(self, fitted: Sequence[FittedForecaster], started: float) -> Bundle:
        """Keep the best network or all, calibrate, and fit on all blocks."""
        options, reader = self.recipe.fit, self.plan.reader
        best = min(range(len(fitted)), key=lambda index: fitted[index].loss)
        kept = list(range(options.runs)) if options.ensemble else [best]
        self.networks = [fitted[index].network for index in kept]
        calibration, last = self._finish(fitted, kept)
        validation: dict[str, Any] = {
            "loss": fitted[kept[0]].loss,
            "leads": dict(fitted[kept[0]].leads),
        }
        if len(fitted) > 1:
            validation["runs"] = spread([_flat_scores(one) for one in fitted])
        weights = {
            # the members of an ensemble are numbered; a single network is not
            f"{index}.{name}" if len(last) > 1 else name: value.detach().contiguous().numpy()
            for index, one in enumerate(last)
            for name, value in one.network.state_dict().items()
        }
        bundle = Bundle(
            spec=replace(reader.spec, members=len(last)),
            scaler=reader.scaler,
            weights=weights,
            calibration=calibration,
            training={
                **facts(self.plan, self.recipe),
                **self._unseen_blocks(),
                "hmx": code_version(),
                "seed": options.seed,
                "epochs_run": fitted[kept[0]].epochs,
                "steps_per_epoch": self.steps,
                "kept": kept,
                "seconds": round(time.monotonic() - started, 1),
                "validation": validation,
                "anchor": last[0].facts(),
                "body": described(reader.spec.network, reader.spec.h),
            },
        )
        if not leads_processes():  # the others read what this one saves
            return bundle
        networks = [one.network for one in last]
        whole = self.plan.whole()
        return with_dependence(bundle, networks, whole, seed=options.seed, progress=self.progress)

    def _finish(
        self, fitted: Sequence[FittedForecaster], kept: Sequence[int]
    ) -> tuple[Calibration, list[FittedForecaster]]:
        """Calibrate the networks that are kept, and fit them on all blocks if that was asked."""
        options, reader = self.recipe.fit, self.plan.reader
        last = [fitted[index] for index in kept]
        # validation blocks that chose nothing are as unseen as those of the calibration
        chosen = chooses(reader) or len(kept) < len(fitted)
        roles = (CALIBRATION,) if chosen or not options.calibration else (CALIBRATION, VALIDATION)
        calibration = calibrate(
            self.networks, reader, seed=options.seed, roles=roles, trust=_trust(last)
        )
        if options.final:
            last = [self._refit(index, fitted[index]) for index in kept]
            networks = [one.network for one in last]
            # these networks weighed past steps by themselves, and may hold their means
            shift = fit_shift(
                networks, self.plan.whole(), calibration, seed=options.seed, trust=_trust(last)
            )
            calibration = replace(calibration, shift=shift)
        return calibration, last

    def _length(self, reader: Reader, draw: Draw) -> FitLength:
        """Return the length of a fit to the training blocks of a reader."""
        valid, regular = self.plan.scanned.valid, self.plan.regular
        return fit_length(reader, draw, self.recipe.fit, valid=valid, regular=regular)

    def _open_logs(self, folder: Path, seed: int) -> None:
        """Open the loggers of one fit and log what its network costs."""
        options, reader = self.recipe.fit, self.plan.reader
        folder.mkdir(parents=True, exist_ok=True)
        track = dict(self.recipe.track or {})
        several = options.runs > 1
        group = f"{track.get('project', 'hmx')}-{options.seed}" if several else None
        name = f"seed-{seed}" if several else None
        close(self.logs)
        settings = facts(self.plan, self.recipe)
        # offline runs lie next to the bundle: the folder of the checkpoints goes away
        self.logs = loggers(
            folder, **track, config=settings, group=group, name=name, parent=self.folder.parent
        )
        spec = reader.spec
        parameters = Forecaster.of(spec, reader.scaler).parameters()
        costs = {
            "parameters": sum(p.numel() for p in parameters),
            "mflop_per_pixel": per_pixel(spec.network, spec.channels, h=spec.h) / 1e6,
            "reach": reach(spec.network, spec.h),
            "context_radius": spec.context.halo,
        }
        log_summary(self.logs, costs)

    def _refit(self, index: int, first: FittedForecaster) -> FittedForecaster:
        """Fit a network once more, on all blocks.

        It weighs past steps anew: all blocks together are better witnesses of how far to follow
        them than those of the first fit. From the weights of the first fit it takes half as many
        epochs, ten at least, over which the learning rate falls. On a small raster it starts anew
        and takes as many: the visits of both fits together would be too many
        (:mod:`hmx.forecast.train.visits`).
        """
        options, start, epochs = self.recipe.fit, self.plan.start.weights, first.epochs
        reader, folder = self.plan.whole(), self.folder / f"final-{index}"
        draw = Draw.of(reader, self.plan.scanned.changed, options.focus)
        length = self._length(reader, draw)
        if length.large:
            start = {name: value.numpy() for name, value in first.network.state_dict().items()}
            epochs = last_epochs(first.epochs, most=options.epochs)
        update = {"seed": options.seed + index, "epochs": epochs}
        return fit(
            reader,
            draw,
            options.model_copy(update=update),
            folder,
            steps=length.steps,
            watch=Watch(self.progress, what="training on all blocks"),
            start=start,
            freedom=first.freedom,
            cooling=length.large,
        )

    def _unseen_blocks(self) -> dict[str, Any]:
        """Return the roles of the blocks, from which follows which ones the weights used."""
        split, final = self.plan.reader.split, self.recipe.fit.final
        areas = {ROLES.get(role, "unused"): area for role, area in split.areas().items()}
        if final and not split.windows(TEST):  # no block is left to score on
            return {"roles": None, "areas": areas}
        used = self.plan.whole().split if final else split
        return {"roles": used.as_dict(), "areas": areas}

    def save(self, bundle: Bundle, out: str | None) -> Bundle:
        """Save a bundle with its panel and its log, and send all to the trackers."""
        # drawing takes as long as an epoch of a small raster: once, and only where it is kept
        panel = cache(partial(self._panel, bundle))
        log_pictures(self.logs, lambda: {"panel": panel()})
        if out is not None:
            log = table(figures_of(self.folder / f"run-{bundle.training['kept'][0]}"))
            mark_done(self.folder)
            bundle = bundle.save(out, files={PANEL: png(panel()), LOG: log})
            name, split = Path(out).name, self.plan.reader.split.digest
            log_bundle(self.logs, Path(out), name=name, metadata={"split": split})
        close(self.logs)
        self.logs = []
        return bundle

    def _panel(self, bundle: Bundle) -> Figure:
        """Draw the panel of a bundle."""
        # with the roles that blocks had in the fit of the weights that are saved
        reader = self.plan.whole() if self.recipe.fit.final else self.plan.reader
        changed = self.plan.scanned.changed
        window = shown_window(reader, changed)
        return draw_panel(
            panel_rows(bundle, reader, changed),
            target=long_name(reader),
            units=reader.spec.units,
            valid_range=reader.spec.valid_range,
            title=panel_title(reader, window),
            level=LEVEL,
            ground=len(window.x) * reader.cube.grid.pixel_size_m[0],
        )


def _trust(fitted: Sequence[FittedForecaster]) -> float:
    """Return how far totals may move the means of some networks, 0 to 1."""
    return fmean(one.trust for one in fitted)


def _flat_scores(fitted: FittedForecaster) -> dict[str, Any]:
    """Return the validation scores of a run under one key each: ``rmse_h1`` ..."""
    rows = fitted.leads.items()
    named = {f"{name}_h{lead}": value for lead, row in rows for name, value in row.items()}
    return {"loss": fitted.loss, **named}


def facts(planned: TrainPlan, recipe: TrainSetup) -> dict[str, Any]:
    """Return settings, start and data of a training run, in JSON values.

    The data's hash covers the pixels that training may read and no others.
    """
    reader = planned.reader
    times = reader.cube.data["time"].values
    whole = recipe.fit.until is None
    return {
        "network": reader.spec.network.model_dump(mode="json"),  # with its history decided
        "fit": recipe.fit.model_dump(mode="json"),
        "chip": planned.chip,
        "precision": precision_of(recipe.fit),
        **planned.start.as_dict(),
        "transforms": dict(recipe.transforms),
        "steps": [time_label(times[0]), time_label(times[-1]), len(times)],
        "split": reader.split.digest,
        "data": planned.scanned.digest,
        "cube": reader.cube.data.attrs.get("hmx_fingerprint") if whole else None,
    }


@contextmanager
def _checkpoint_folder(
    out: str | Path | None, planned: TrainPlan, recipe: TrainSetup, progress: Progress
) -> Iterator[Path]:
    """Provide a folder for checkpoints; with ``out``, one that survives a killed run."""
    if out is None:
        if recipe.fit.devices * recipe.fit.num_nodes > 1:
            raise BadArgument(
                "training in several processes needs a folder that all of them see. "
                "Pass out='models/demo'."
            )
        with tempfile.TemporaryDirectory(prefix="hmx-training-") as folder:
            yield Path(folder)
        return
    work = followed(out).with_name(f"{followed(out).name}.training")
    if follows(recipe.fit):  # the leading process has made it
        yield work
        return
    # checkpoints of another optimizer cannot be continued
    decided = {
        **facts(planned, recipe),
        "scaler": str(planned.reader.scaler),
        "optimizer": Muon.__name__,
    }
    with work_folder(work, out, decided, progress=progress):
        yield work
