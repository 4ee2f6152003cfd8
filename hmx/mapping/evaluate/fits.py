"""Fits: the fits of a cross-validation, kept as they are finished, and what is still to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmx.mapping.evaluate.rounds import Estimates, FitPredict, Rows
from hmx.mapping.train.course import COSTS, Session, rows_name
from hmx.progress import Outlook, Progress
from hmx.splits.site_folds import SiteFolds
from hmx.training.work import Finished

_NETWORK, _OTHER = "network fold", "baseline fit"
_KEPT = "fit-"  # how names of kept estimates begin


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
