"""Course: the stages of a mapper's training, what of them is finished, and what is still to come.

Networks and regressions are kept in a work folder as soon as they are there
(:mod:`hmx.training.work`), by the samples and the seed that decide them. A run that was stopped
trains only the others, so the model is the same to the byte.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hmx.bundles.folder import beneath
from hmx.mapping.forest import fit_forest
from hmx.mapping.options import MapTrainOptions, Regression
from hmx.mapping.process import GaussianProcess, Regressions
from hmx.mapping.spec import parts_of, words_of
from hmx.progress import Outlook, Progress
from hmx.provenance import fingerprint
from hmx.splits.site_folds import SiteFolds
from hmx.training.loop import leads_processes
from hmx.training.work import Finished

# cost in networks on as many samples; the process is that of some thousand samples
COSTS: Mapping[str, float] = {"forest": 0.8, "gaussian_process": 0.3}
_AFTER = 0.3  # cost of the importance, and of the calibration

Logs = Callable[[int], Sequence[Any]]  # from the number of a run to its loggers


def _no_logs(run: int) -> Sequence[Any]:
    return ()


@dataclass(frozen=True)
class Session:
    """What accompanies the networks of one set of samples."""

    logs: Logs = _no_logs  # asked only for networks that are trained now
    # From the number of a run to the progress of its epochs
    progress: Callable[[int], Progress] = lambda run: Progress()
    spared: Callable[[int], object] = lambda run: None  # called for a network trained before
    finished: Finished = Finished()


def network_name(rows: np.ndarray, seed: int, run: int) -> str:
    """Name the network of some training samples."""
    return f"network-{rows_name(rows)}-{seed}-{run}"


def rows_name(*rows: np.ndarray) -> str:
    """Name a choice of samples by their numbers."""
    parts = [np.ascontiguousarray(some, "int64").tobytes() for some in rows]
    return fingerprint([hashlib.sha256(part).hexdigest() for part in parts])


def fold_name(number: int) -> str:
    """Name the regressions of a fold, with which the fold is finished."""
    return f"fold-{number}"


@dataclass(frozen=True)
class Course:
    """The course of a training: networks, folds, regressions, calibration."""

    runs: int = 1
    folds: int = 2
    regression: Regression = "forest"  # what is blended in
    progress: Progress = Progress()
    finished: Finished = Finished()
    started: float = field(default_factory=time.monotonic)
    outlook: Outlook = field(init=False)

    def __post_init__(self) -> None:
        stages: dict[str, tuple[int, float]] = {
            "network": (self.runs, 1.0),
            "fold": (self.folds, self._fitting + self._regressing),
            "importance": (1, _AFTER),
            **self._whole,
            "calibration": (1, _AFTER),
        }
        object.__setattr__(self, "outlook", Outlook(stages))  # the dataclass is frozen

    @classmethod
    def of(
        cls,
        fit: MapTrainOptions,
        folds: SiteFolds,
        finished: Finished,
        progress: Progress,
        started: float,
    ) -> Course:
        """Return the course of a training, and report what an earlier run has finished."""
        made = cls(
            fit.runs,
            len(folds),
            regression=fit.blended,
            progress=progress,
            finished=finished,
            started=started,
        )
        made._resume(np.arange(len(folds.fold)), fit.seed)
        return made

    @property
    def _fitting(self) -> float:
        """Cost of the networks of a fold, in networks on all samples."""
        return self.runs * (1 - 1 / self.folds)

    @property
    def _regressing(self) -> float:
        """Cost of the regressions of a fold; a forest of each measures the importance of bands."""
        return sum(COSTS[part] for part in {*parts_of(self.regression), "forest"})

    @property
    def _whole(self) -> dict[str, tuple[int, float]]:
        """The stage of the regressions of all samples, if there are any, by its name."""
        cost = sum(COSTS[part] for part in parts_of(self.regression))
        return {words_of(self.regression, ""): (1, cost)} if cost else {}

    @property
    def _share(self) -> float:
        """Share of the networks in the time of a fold."""
        return self._fitting / (self._fitting + self._regressing)

    def _resume(self, rows: np.ndarray, seed: int) -> None:
        names = [network_name(rows, seed, run) for run in range(self.runs)]
        networks = sum(map(self.finished.has, names))
        done = sum(self.finished.has(fold_name(number)) for number in range(self.folds))
        if networks or done:
            folds_text = f", {done} of {self.folds} folds" if done else ""
            self.progress.note(
                f"model: {networks} of {self.runs} networks{folds_text} were trained before"
            )

    def session(self, logs: Logs) -> Session:
        """Return what accompanies the networks of all samples."""

        def progress(run: int) -> Progress:
            name = f"training network {run + 1} of {self.runs}" if self.runs > 1 else "training"
            return self.outlook.watch(self.progress.within(name), "network", at=run)

        return Session(logs, progress, lambda run: self.outlook.spare("network"), self.finished)

    def fold(self, number: int) -> Session:
        """Return what accompanies the networks of a fold."""
        part = self._share / self.runs

        def progress(run: int) -> Progress:
            what = f"holding out: fold {number + 1} of {self.folds}"
            what += f", network {run + 1} of {self.runs}" if self.runs > 1 else ""
            ready, steps = number * self.runs + run, self.folds * self.runs

            def on_step(done: int, total: int, text: str) -> None:
                self.outlook.reach("fold", number + part * (run + done / max(1, total)))
                self.progress.step(ready + (done >= total), steps, f"{what}; {self.outlook}")

            return Progress(on_step=on_step)

        spare = self.outlook.spare
        return Session(_no_logs, progress, lambda run: spare("fold", part), self.finished)

    def fold_regressions(self, number: int, x: np.ndarray, y: np.ndarray, seed: int) -> Regressions:
        """Return the regressions of a fold; there is always a forest, for the importance."""
        name, parts = fold_name(number), {*parts_of(self.regression), "forest"}
        if self.finished.read(name) is not None:
            self.outlook.spare("fold", 1 - self._share)
        return self._regressions(name, parts, x, y, seed)

    def whole_regressions(self, x: np.ndarray, y: np.ndarray, seed: int) -> Regressions:
        """Return the regressions of all samples that are blended in."""
        for stage in self._whole:
            with self.step(stage):
                return self._regressions("regressions", {*parts_of(self.regression)}, x, y, seed)
        return Regressions()

    def _regressions(
        self, name: str, parts: Container[str], x: np.ndarray, y: np.ndarray, seed: int
    ) -> Regressions:
        """Return regressions that are finished, or fit and keep them."""
        if (found := self.finished.read(name)) is not None:
            return Regressions.from_arrays(
                *(beneath(f"{part}/", found[0]) for part in ("forest", "process"))
            )
        made = Regressions(
            fit_forest(x, y, seed) if "forest" in parts else None,
            GaussianProcess.fit(x, y, seed) if "gaussian_process" in parts else None,
        )
        if leads_processes():
            both = made.arrays()
            arrays = {f"{part}/{n}": a for part, own in both.items() for n, a in own.items()}
            self.finished.write(name, arrays)
        return made

    def end_fold(self, number: int) -> None:
        """Report that a fold is finished."""
        self.outlook.reach("fold", number + 1)
        text = f"holding out: fold {number + 1} of {self.folds}; {self.outlook}"
        self.progress.step((number + 1) * self.runs, self.folds * self.runs, text)

    @contextmanager
    def step(self, stage: str) -> Iterator[None]:
        """Report a stage of one part, before and after its work."""
        watch = self.outlook.watch(self.progress, stage)
        self.outlook.reach(stage, 1e-6)  # it is in work, and not still to come
        watch.step(0, 1, stage)
        yield
        watch.step(1, 1, stage)
