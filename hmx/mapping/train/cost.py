"""Cost: what a mapper will learn from, and what its training and its scorecard will take.

Points and folds are those of the training itself. The times come from a few real steps on a few
samples, and from two real trees and a real Gaussian process on as many as there are, scaled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hmx.cube.cube import Cubelike
from hmx.files.shown import Shown
from hmx.hardware import for_training
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.forest import TREES, fit_forest
from hmx.mapping.inputs import centre, fit_band_scaler, scaled
from hmx.mapping.options import MapScoreOptions
from hmx.mapping.process import CENTRES, GaussianProcess, Regressions
from hmx.mapping.spec import MapSpec, parts_of, words_of
from hmx.mapping.target import fit_target, forward
from hmx.mapping.train.fitting import fit_network
from hmx.mapping.train.importance import REPEATS
from hmx.mapping.train.learning import Learnt
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, joined, with_windows
from hmx.mapping.train.train import training_folds
from hmx.progress import Progress, roughly
from hmx.splits.report import name_folds
from hmx.splits.site_folds import SiteFolds
from hmx.training.loop import Watch
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.conformal import Conformal

_MOST = 1 << 27  # numbers of the cube that are looked at for missing data: some seconds
_SAMPLES = 256  # whose windows are read
_STEPS, _TREES = 4, 2  # steps of a timed epoch, and trees that are grown
_PROCESS = 700 << 20  # bytes of a process that trains: Python, torch, Lightning, scikit-learn
_COPIES = 8  # windows as read, scaled, as tensors, of a fold, and as they are drawn and turned
_BASELINES = 2.0  # cost of the baselines of a fold but for the Gaussian process, in forests


@dataclass(frozen=True, repr=False)
class MapperPlan(Shown):
    """What a mapper will learn from, and what that will take on this machine."""

    points: str  # report on the rows of the table: those that are used, and why others are not
    samples: int  # rows that are used
    left: dict[str, int]  # rows that are not, by reason
    split: str  # how samples are held out
    scored: int  # folds of the scorecard (``split.folds``)
    held_out: int  # folds of the training (``inner``)
    networks: int
    epochs: int  # of each network
    steps: int  # of an epoch
    seconds_per_step: float  # measured
    # of the networks, the folds, the regressions of all samples, and the calibration
    seconds: dict[str, float]
    regression: str  # the regressions that are blended in, in words
    evaluate_seconds: float  # of the scorecard
    memory: int  # of the process
    model_bytes: int  # on disk
    work_bytes: int  # on disk beside the model until it is finished

    @property
    def total(self) -> float:
        """Seconds of the training."""
        return sum(self.seconds.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        spent, mib = {name: roughly(value) for name, value in self.seconds.items()}, 2**20
        return {
            "points": self.points,
            "split": f"{self.split}: {self.held_out} folds in training (train.inner), "
            f"{self.scored} in hmx evaluate (train.split.folds)",
            "networks": f"{self.networks} x {self.epochs} epochs x {self.steps:,} steps: about "
            f"{spent['networks']}, one step took {self.seconds_per_step:.3f} s",
            "folds": f"{self.held_out} x {self.networks} networks and regressions: about "
            f"{spent['folds']}",
            "regressions": f"{self.regression}: about {spent['regressions']}; calibration about "
            f"{spent['calibration']}",
            "training": f"about {roughly(self.total)} in all, {self.memory / mib:,.0f} MiB of "
            f"memory; model of {self.model_bytes / mib:,.1f} MiB, and up to "
            f"{self.work_bytes / mib:,.0f} MiB beside it until it is finished",
            "scores": f"hmx evaluate about {roughly(self.evaluate_seconds)}",
        }


@independent
@for_training()
def plan_training(
    obj: Cubelike, points: Any, recipe: MapTrainSetup, scored: MapScoreOptions
) -> tuple[MapperPlan, MapBundle, float]:
    """Plan a training; also return an untrained model, and seconds a pixel that it lacks.

    The model has few trees: the seconds are those of all others on a pixel of a map.
    """
    whole = joined(obj, points, recipe, most=_MOST)
    folds = training_folds(whole, recipe)
    several = [whole.folds(recipe.split, seed=recipe.fit.seed)]
    beside = [method for method in scored.beside if method != recipe.split.method]
    few = _few(whole, recipe)
    timed = _Timed.of(few, len(whole.samples), recipe)
    rounds = sum(map(len, several)) + len(beside) * recipe.split.folds
    made = _planned(whole, few, recipe, folds, several[0], rounds + scored.inner * len(several[0]),
                    timed)  # fmt: skip
    return made, timed.model, timed.walk * (TREES - _TREES) * bool(timed.model.forest)


def _few(whole: Prepared, recipe: MapTrainSetup) -> Prepared:
    """Read the windows of some samples that lie near each other."""
    samples = whole.samples
    middle = len(samples) // 2
    # neighbours along the rows of the cube: few chunks are read for them
    order = np.lexsort((samples.column, samples.row))
    first = max(0, min(middle - _SAMPLES // 2, len(samples) - _SAMPLES))
    rows = order[first : first + _SAMPLES]
    return with_windows(replace(whole, samples=samples.at(rows)), recipe)


@dataclass(frozen=True)
class _Timed:
    """Measured seconds, and the model that they were measured with."""

    step: float  # of a training step
    regressions: Mapping[str, float]  # each on all samples; a forest is always there
    walk: float  # of one row through one tree
    area: float  # of an area of applicability
    model: MapBundle
    network_bytes: int
    regression_bytes: Mapping[str, int]

    @classmethod
    def of(cls, few: Prepared, count: int, recipe: MapTrainSetup) -> _Timed:
        fit, every = recipe.fit, np.arange(len(few.samples))
        target = fit_target(few.values, fit.transform)
        scaler = fit_band_scaler(few.raw, every, few.spec)
        windows = scaled(few.raw, few.spec, scaler)
        rows = np.resize(every, _STEPS * min(fit.batch, count))
        marks: list[float] = []
        # three epochs: the first one also prepares memory and operations
        update = {"epochs": 3, "validation": 0.0, "runs": 1, "ensemble": True, "devices": 1,
                  "num_nodes": 1, "parallel": "auto"}  # fmt: skip
        network = fit_network(
            windows,
            few.values,
            rows,
            options=few.spec.network,
            fit=fit.model_copy(update=update),
            target=target,
            watch=Watch(Progress(on_step=lambda *_: marks.append(time.perf_counter()))),
        )
        x, y = _like(centre(windows), forward(few.values, target), count)
        fit_forest(x[:50], y[:50], 0, trees=1)  # loads scikit-learn
        forest, growing = _clock(lambda: fit_forest(x, y, 0, trees=_TREES))
        seconds, process = {"forest": growing * TREES / _TREES}, None
        if "gaussian_process" in parts_of(few.spec.regression):
            process, seconds["gaussian_process"] = _clock(lambda: GaussianProcess.fit(x, y, 0))
        made = Regressions(forest, process)
        some = x[: 2 * _SAMPLES]
        forest.moments(some[:1])  # builds the trees
        _, walking = _clock(lambda: forest.moments(some))
        area, measuring = _clock(lambda: Applicability.fit(x, np.arange(count) % 5))
        draw = np.random.default_rng(0).normal(size=(2, count))
        calibration = Conformal.fit(draw[0], 1 + draw[1] ** 2, draw[0] + draw[1], np.arange(count))
        spec = replace(few.spec, members=fit.runs if fit.ensemble else 1)
        learnt = Learnt(spec, scaler, target, dict.fromkeys(range(spec.members), network), ())
        model = MapBundle(
            spec=spec,
            scaler=scaler,
            target=target,
            weights=learnt.weights(),
            calibration=calibration,
            forest=made.of(spec.regression).arrays()["forest"],
            process=made.of(spec.regression).arrays()["process"],
            applicability=area.arrays(),
            training={},
        )
        return cls(
            step=(marks[2] - marks[0]) / (2 * _STEPS),
            regressions=seconds,
            walk=walking / (len(some) * _TREES),
            area=measuring,
            model=model,
            network_bytes=sum(array.nbytes for array in network.weights().values()),
            regression_bytes={"forest": _bytes(forest.arrays()) * TREES // _TREES}
            | ({} if process is None else {"gaussian_process": _bytes(process.arrays())}),
        )

    def blended(self, figures: Mapping[str, float], spec: MapSpec) -> float:
        """Sum the seconds or bytes of the regressions that a model blends in."""
        return sum(figures[part] for part in parts_of(spec.regression))


def _bytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _like(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many samples as there are, like some of them: trees grow as deep."""
    draw = np.random.default_rng(0)
    at = draw.integers(len(x), size=count)
    noise = 0.1 * draw.normal(size=(count, x.shape[1])).astype("float32")
    return x[at] + noise, y[at] + 0.1 * draw.normal(size=count)


def _planned(
    whole: Prepared,
    few: Prepared,
    recipe: MapTrainSetup,
    folds: SiteFolds,
    outer: SiteFolds,
    rounds: int,
    timed: _Timed,
) -> MapperPlan:
    """Scale what was measured to all samples and folds."""
    fit, count = recipe.fit, len(whole.samples)

    def network(samples: float) -> float:
        return fit.epochs * max(1, samples // fit.batch) * timed.step

    parts = [len(train) for train, _ in folds.rounds()]
    each, size = sum(timed.regressions.values()), sum(timed.regression_bytes.values())
    fold = sum(fit.runs * network(part) + each * part / count for part in parts)
    bands = len(dict.fromkeys(few.spec.features))
    walks = bands * REPEATS * count * TREES * timed.walk
    share = 1 - 1 / len(outer)
    forest = timed.regressions["forest"]
    tested = fit.runs * network(share * count) + share * (each + (_BASELINES - 1) * forest)
    trained = round(count * (1 - fit.validation))
    models = len(parts) + 1
    return MapperPlan(
        points=str(whole.report),
        samples=count,
        left={reason: len(rows) for reason, rows in whole.report.left.items() if len(rows)},
        split=name_folds(outer),
        scored=len(outer),
        held_out=len(folds),
        networks=fit.runs,
        epochs=fit.epochs,
        steps=max(1, trained // fit.batch),
        seconds_per_step=timed.step,
        seconds={
            "networks": fit.runs * network(trained),
            "folds": fold,
            "regressions": timed.blended(timed.regressions, few.spec),
            "calibration": walks + timed.area,
        },
        regression=words_of(few.spec.regression),
        evaluate_seconds=rounds * tested + walks + len(outer) * share * forest,
        memory=_PROCESS
        + _COPIES * _window_bytes(few.spec, count)
        + models * size
        + _system_bytes(few.spec, count),
        model_bytes=timed.model.spec.members * timed.network_bytes
        + int(timed.blended(timed.regression_bytes, few.spec)),
        work_bytes=models * (fit.runs * timed.network_bytes + size),
    )


def _system_bytes(spec: MapSpec, count: int) -> int:
    """Bytes of the covariances of a Gaussian process while it is fitted."""
    if "gaussian_process" not in parts_of(spec.regression):
        return 0
    centres = min(count, CENTRES)
    return 8 * centres**2 * (2 + (count > CENTRES))  # beyond, sums of the system stand beside


def _window_bytes(spec: MapSpec, count: int) -> int:
    """Bytes of the windows of so many samples."""
    dynamic, static = spec.channels
    return 4 * count * spec.network.window**2 * (spec.steps * dynamic + static)


def _clock(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
