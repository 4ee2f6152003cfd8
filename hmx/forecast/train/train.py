"""Train: check -> plan -> fit -> judge -> write.

Lightning fits; what is kept is a :class:`hmx.forecast.bundle.Bundle` made of the weights
that did best on the validation blocks. Calibrated on blocks that neither the weights
nor the choice of the best ones have seen, it is then fitted once more on all blocks,
for as long as was best.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from hmx.bundles.folder import require_bundle_place
from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.cube.store import claim, discard_work, mark_done, mark_private, require_unreplaced
from hmx.errors import BadArgument
from hmx.files.durable import Folder
from hmx.files.lock import followed
from hmx.files.paths import absolute
from hmx.forecast.bundle import Bundle
from hmx.forecast.train.anchor import LEAST_GAIN
from hmx.forecast.train.calibrate import calibrate
from hmx.forecast.train.data import Draw
from hmx.forecast.train.fitting import FittedForecaster, figures_of, fit
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, plan
from hmx.forecast.train.show import LEVEL, origin_label, panel_rows
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.networks.cost import per_pixel
from hmx.networks.forecaster import Forecaster, reach
from hmx.pictures.panel import draw_panel
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version, fingerprint
from hmx.splits import ROLES, TEST
from hmx.training.loop import alone, follows, leads_processes, quiet, wait
from hmx.training.metrics import spread
from hmx.training.tracking import (
    LOG,
    PANEL,
    close,
    log_bundle,
    log_panel,
    log_summary,
    loggers,
    png,
    table,
)

__all__ = ["TrainSetup", "plan", "train"]

_RECIPE = "recipe.json"


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
        The cube; its time steps up to ``recipe.fit.until`` may be learnt from.
    recipe : TrainSetup
        What to fit, and how.
    out : str or Path, optional
        Folder for the bundle. While training runs, ``OUT.training`` beside it
        holds the checkpoints from which a killed run goes on.
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
        If ``out`` holds something else.
    """
    started = time.monotonic()
    if out is not None:
        out = absolute(out)
        require_bundle_place(Path(out))
    cube = as_cube(obj, target=recipe.target, dynamic=recipe.dynamic, static=recipe.static)
    planned = plan(cube, recipe)
    with (
        alone(out, recipe.fit),
        _workplace(out, planned, recipe) as folder,
        quiet(),
    ):
        work = _Work(planned, recipe, folder, Progress.of(progress))
        bundle = work.run(started)
        require_unreplaced(obj)
        if leads_processes():
            bundle = work.keep(bundle, out)
        wait()
        if not leads_processes():
            bundle = Bundle.load(str(out))
    return bundle


@dataclass
class _Work:
    """One call of :func:`train`, on its way from plan to bundle."""

    plan: TrainPlan
    recipe: TrainSetup
    folder: Path
    progress: Progress

    def __post_init__(self) -> None:
        self.logs: list[Any] = []
        self.networks: list[Forecaster] = []

    def run(self, started: float) -> Bundle:
        """Fit as many networks as asked, keep the best or all, calibrate, fit finally."""
        options = self.recipe.fit
        fitted = [self._fit(index) for index in range(options.runs)]
        kept = list(range(options.runs)) if options.ensemble else [_best(fitted)]
        self.networks = [fitted[index].network for index in kept]
        reader = self.plan.reader
        calibration = calibrate(self.networks, reader, seed=options.seed)
        last = [fitted[index] for index in kept]
        if options.final:
            last = [self._refit(index, fitted[index].epochs) for index in kept]
        shown = [one.network for one in last]
        return Bundle(
            spec=replace(reader.spec, members=len(shown)),
            scaler=reader.scaler,
            weights=_weights(shown),
            calibration=calibration,
            training={
                **facts(self.plan, self.recipe),
                **_held_out(self.plan, final=options.final),
                "hmx": code_version(),
                "seed": options.seed,
                "epochs_run": fitted[kept[0]].epochs,
                "kept": kept,
                "seconds": round(time.monotonic() - started, 1),
                "validation": _validation(fitted, kept),
                "anchor": _anchor(last),
            },
        )

    def _fit(self, index: int) -> FittedForecaster:
        """Fit one network on the training blocks."""
        options = self.recipe.fit
        seeded = options.model_copy(update={"seed": options.seed + index})
        place = self.folder / f"run-{index}"
        place.mkdir(parents=True, exist_ok=True)
        track = dict(self.recipe.track or {})
        several = options.runs > 1
        group = f"{track.get('project', 'hmx')}-{options.seed}" if several else None
        name = f"seed-{seeded.seed}" if several else None
        close(self.logs)
        told = facts(self.plan, self.recipe)
        beside = self.folder.parent
        self.logs = loggers(place, **track, config=told, group=group, name=name, place=beside)
        log_summary(self.logs, self._costs())
        what = f"training {index + 1} of {options.runs}" if several else "training"
        reader = self.plan.reader
        draw = Draw.of(reader, self.plan.scanned.changed, options.focus)
        return fit(reader, draw, seeded, place, logs=self.logs, progress=self.progress, what=what)

    def _refit(self, index: int, epochs: int) -> FittedForecaster:
        """Fit a network once more, on all blocks, for the epochs that were best."""
        options = self.recipe.fit
        update = {"seed": options.seed + index, "epochs": epochs}
        reader, place = self.plan.whole(), self.folder / f"final-{index}"
        draw = Draw.of(reader, self.plan.scanned.changed, options.focus)
        seeded, what = options.model_copy(update=update), "training on all blocks"
        return fit(reader, draw, seeded, place, logs=[], progress=self.progress, what=what)

    def _costs(self) -> dict[str, Any]:
        spec = self.plan.reader.spec
        network = Forecaster.of(spec, self.plan.reader.scaler)
        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "mflop_per_pixel": per_pixel(spec.network, spec.channels, h=spec.h) / 1e6,
            "reach": reach(spec.network, spec.h),
            "context_radius": spec.context.halo,
        }

    def keep(self, bundle: Bundle, out: str | None) -> Bundle:
        """Save a bundle, with its panel and its log; hand everything to who tracks."""
        reader = self.plan.reader
        rows = panel_rows(self.networks, reader, bundle.calibration, self.plan.scanned.changed)
        figure = draw_panel(
            rows,
            target=reader.spec.target,
            units=reader.spec.units,
            valid_range=reader.spec.valid_range,
            title=f"{reader.spec.target}: forecast from {origin_label(reader)}",
            level=LEVEL,
        )
        log_panel(self.logs, figure)
        if out is not None:
            log = table(figures_of(self.folder / f"run-{bundle.training['kept'][0]}"))
            mark_done(self.folder)
            bundle = bundle.save(out, files={PANEL: png(figure), LOG: log})
            name = Path(out).name
            log_bundle(self.logs, Path(out), name=name, metadata={"split": reader.split.digest})
        close(self.logs)
        self.logs = []
        return bundle


def _anchor(fitted: Sequence[FittedForecaster]) -> dict[str, Any]:
    """Say what linear regressions gain on steps left out, and whether means follow them."""
    gains = [one.gain for one in fitted if one.gain is not None]
    fits = all(gain >= LEAST_GAIN for gain in gains)
    return {"left_out_skill": fmean(gains) if gains else None, "fitted": fits}


def _best(fitted: Sequence[FittedForecaster]) -> int:
    return min(range(len(fitted)), key=lambda index: fitted[index].loss)


def _weights(networks: Sequence[Forecaster]) -> dict[str, Any]:
    """Name the weights of one network, or of each member of an ensemble."""
    several = len(networks) > 1
    return {
        f"{index}.{name}" if several else name: value.detach().contiguous().numpy()
        for index, network in enumerate(networks)
        for name, value in network.state_dict().items()
    }


def _validation(fitted: Sequence[FittedForecaster], kept: Sequence[int]) -> dict[str, Any]:
    """Sum up the scores on the validation blocks: of what is kept, and over all runs."""
    first = fitted[kept[0]]
    found: dict[str, Any] = {"loss": first.loss, "leads": dict(first.leads)}
    if len(fitted) > 1:
        found["runs"] = spread([_flat(one) for one in fitted])
    return found


def _flat(one: FittedForecaster) -> dict[str, Any]:
    rows = one.leads.items()
    named = {f"{name}_h{lead}": value for lead, row in rows for name, value in row.items()}
    return {"loss": one.loss, **named}


def _held_out(planned: TrainPlan, *, final: bool) -> dict[str, Any]:
    """Say which blocks the weights have not seen: of a final fit, those of the test."""
    split = planned.reader.split
    areas = {ROLES.get(role, "unused"): area for role, area in split.areas().items()}
    if final and not split.windows(TEST):
        return {"roles": None, "areas": areas}
    seen = planned.whole().split if final else split
    return {"roles": seen.as_dict(), "areas": areas}


def facts(planned: TrainPlan, recipe: TrainSetup) -> dict[str, Any]:
    """Say what was asked and of which data, in JSON values.

    The data's hash covers what training may read and nothing else.
    """
    reader = planned.reader
    times = reader.cube.data["time"].values
    whole = recipe.fit.until is None
    return {
        "network": recipe.network.model_dump(mode="json"),
        "fit": recipe.fit.model_dump(mode="json"),
        "transforms": dict(recipe.transforms),
        "steps": [time_label(times[0]), time_label(times[-1]), len(times)],
        "split": reader.split.digest,
        "data": planned.scanned.digest,
        "cube": reader.cube.data.attrs.get("hmx_fingerprint") if whole else None,
    }


@contextmanager
def _workplace(out: str | Path | None, planned: TrainPlan, recipe: TrainSetup) -> Iterator[Path]:
    """Lend a folder for checkpoints; one that outlives a kill, if ``out`` is given."""
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
    if follows(recipe.fit):  # the process that leads has made it
        yield work
        return
    now = fingerprint([facts(planned, recipe), str(planned.reader.scaler)])
    if _recorded(work) != now:
        if _recorded(work):  # ours, but of another recipe: its checkpoints are of no use
            mark_private(work)
        claim(work)
        Folder(str(work)).write(_RECIPE, json.dumps({"fingerprint": now}).encode())
    mark_private(work)
    yield work
    discard_work(work, out)


def _recorded(work: Path) -> str | None:
    """Read of which recipe a folder's checkpoints are."""
    try:
        found: dict[str, Any] = json.loads((work / _RECIPE).read_bytes())
        return found["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
