"""Cost: what the training of a forecaster will take, from a few real steps on a part of the map."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.cube import Cube, Cubelike, as_cube
from hmx.cube.steps import LearnUntil
from hmx.files.shown import Shown
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import TrainOptions
from hmx.forecast.spec import Spec
from hmx.forecast.train.calibrate import calibrate
from hmx.forecast.train.data import Draw
from hmx.forecast.train.fitting import FittedForecaster, fit
from hmx.forecast.train.recipe import TrainPlan, TrainSetup, chip_of, describe, plan
from hmx.forecast.train.visits import length_of, wanted_steps
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.networks.forecaster import reach
from hmx.progress import Progress, roughly
from hmx.splits import CALIBRATION, VALIDATION
from hmx.training.loop import Watch, quiet

_SIDE = 384  # px of the part of the map that steps are timed on, at least three chips wide
_STEPS = (1, 3)  # of two timed epochs: their difference is two steps
_PROCESS = 900 << 20  # bytes of a process that trains


@dataclass(frozen=True, repr=False)
class ForecasterPlan(Shown):
    """What the training of a forecaster will take on this machine.

    Parameters
    ----------
    networks, epochs, steps : int
        Fits, with those on all blocks; epochs of each and steps of an epoch.
    chip, reach : int
        Side of a training sample, and the network's reach, px.
    seconds_per_step : float
        Measured.
    seconds : float
        Of the training; less where epochs without progress end a fit.
    memory, model_bytes : int
        Of the process, and on disk.
    """

    networks: int
    epochs: int
    steps: int
    chip: int
    reach: int
    seconds_per_step: float
    seconds: float
    memory: int
    model_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        mib = 2**20
        return {
            "networks": f"{self.networks} fits x {self.epochs} epochs x {self.steps} steps on "
            f"chips of {self.chip} px, reach {self.reach} px",
            "training": f"at most about {roughly(self.seconds)}, one step took "
            f"{self.seconds_per_step:.2f} s; {self.memory / mib:,.0f} MiB of memory, model of "
            f"{self.model_bytes / mib:,.1f} MiB",
        }


@independent
@for_training()
def plan_training(obj: Cubelike, recipe: TrainSetup) -> tuple[ForecasterPlan, Bundle]:
    """Time a few steps in the middle of a cube; also return a model of hardly any training."""
    cube = as_cube(obj, target=recipe.target, dynamic=recipe.dynamic, static=recipe.static)
    seen = LearnUntil(recipe.fit.until).seen(
        cube.data["time"], history=recipe.network.least_history
    )
    spec = describe(replace(cube, data=cube.data.isel(time=seen.slice)), recipe)
    chip = chip_of(recipe.fit, spec, cube.grid.shape)
    part = _part(cube, max(_SIDE, 3 * chip))
    # the radii of the whole map's context: they follow its size
    network = recipe.network.model_copy(update={"context": spec.context.radii})
    fit_options = recipe.fit.model_copy(
        update={"chip": chip, "devices": 1, "num_nodes": 1, "parallel": "auto"}
    )
    planned = plan(part, replace(recipe, network=network, fit=fit_options))
    draw = Draw.of(planned.reader, planned.scanned.changed, recipe.fit.focus)
    with tempfile.TemporaryDirectory(prefix="hmx-plan-") as folder, quiet():
        spans, fitted = [], None
        for steps in _STEPS:
            fitted, span = _epoch(planned, draw, fit_options, Path(folder, str(steps)), steps)
            spans.append(span)
    assert fitted is not None
    step = max(spans[1] - spans[0], 0.1 * spans[1]) / (_STEPS[1] - _STEPS[0])
    rest = max(0.0, spans[0] - _STEPS[0] * step)  # of an epoch: validation, checkpoints
    share = math.prod(cube.grid.shape) / math.prod(part.grid.shape)
    valid, regular = planned.scanned.valid, planned.regular
    found = wanted_steps(planned.reader, draw, fit_options, valid=valid, regular=regular)
    length = length_of(found * share, recipe.fit)
    last = 0.5 if length.large else 1.0  # epochs of a fit on all blocks, by those before
    model = _model(planned, fitted, spec, recipe.fit)
    kept = recipe.fit.runs if recipe.fit.ensemble else 1
    networks = recipe.fit.runs + (kept if recipe.fit.final else 0)
    fits = recipe.fit.runs + last * (networks - recipe.fit.runs)
    made = ForecasterPlan(
        networks=networks,
        epochs=length.epochs,
        steps=length.steps,
        chip=chip,
        reach=reach(spec.network, spec.h),
        seconds_per_step=step,
        seconds=fits * length.epochs * (length.steps * step + rest),
        memory=_PROCESS + min(2 << 30, 2 * int(cube.data.nbytes)),
        model_bytes=sum(array.nbytes for array in model.weights.values()),
    )
    return made, model


def _part(cube: Cube, side: int) -> Cube:
    """Return the part of a map, of some candidates, with most data at the last step."""
    rows, columns = cube.grid.shape
    last = cube.data[cube.target].isel(time=-1)
    found: list[tuple[int, dict[str, slice]]] = []
    for down, across in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        y = int(max(0, min(down * rows - side / 2, rows - side)))
        x = int(max(0, min(across * columns - side / 2, columns - side)))
        window = {"y": slice(y, y + side), "x": slice(x, x + side)}
        found.append((int(np.isfinite(last.isel(window).values).sum()), window))
        if rows <= side and columns <= side:
            break
    _, window = max(found, key=lambda one: one[0])
    whole = None if cube.whole is None else cube.whole.isel(window)
    return replace(cube, data=cube.data.isel(window).compute(), whole=whole)


def _epoch(
    planned: TrainPlan, draw: Draw, options: TrainOptions, folder: Path, steps: int
) -> tuple[FittedForecaster, float]:
    """Fit two epochs; return the network and the seconds of the second."""
    marks: list[float] = []
    fitted = fit(
        planned.reader,
        draw,
        options.model_copy(update={"epochs": 2}),
        folder,
        steps=steps,
        watch=Watch(Progress(on_step=lambda *_: marks.append(time.perf_counter()))),
        start=planned.start.weights,
    )
    return fitted, marks[-1] - marks[0]


def _model(
    planned: TrainPlan, fitted: FittedForecaster, spec: Spec, options: TrainOptions
) -> Bundle:
    """Return a model with these weights in each of its networks."""
    members = options.runs if options.ensemble else 1
    state = fitted.network.state_dict().items()
    weights = {
        f"{index}.{name}" if members > 1 else name: value.detach().contiguous().numpy()
        for index in range(members)
        for name, value in state
    }
    calibration = calibrate(
        [fitted.network],
        planned.reader,
        seed=options.seed,
        roles=(CALIBRATION, VALIDATION),
        most=16,
    )
    return Bundle(
        spec=replace(planned.reader.spec, members=members, pixel_size_m=spec.pixel_size_m),
        scaler=planned.reader.scaler,
        weights=weights,
        calibration=calibration,
        training={},
    )
