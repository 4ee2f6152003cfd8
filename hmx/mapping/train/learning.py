"""Learning a mapper: from raw windows to networks, and nothing from other samples.

:func:`learn` fits scalers and networks to training samples. :func:`cross_fit` does so on
folds of them, and gives for each sample what networks say that have not seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hmx.mapping.inputs import RawWindows, Windows, fit_band_scaler, scaled
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import BandScaler, MapSpec, TargetScaler
from hmx.mapping.target import central, fit_target, forward, inverse
from hmx.mapping.train.fitting import FittedMapper, fit_network
from hmx.mapping.train.module import predict
from hmx.progress import Progress
from hmx.scores import regression_scores
from hmx.splits.sites import hold_out
from hmx.training.metrics import Spread, spread
from hmx.uncertainty.distribution import shares

LogsOf = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Learnt:
    """What was learnt from training samples.

    Parameters
    ----------
    spec : MapSpec
        What the networks are; ``members`` says how many.
    scaler : BandScaler
        Of the bands.
    target : TargetScaler
        Of the target.
    kept : mapping of int to FittedMapper
        One network, or the members of an ensemble, by number of the run.
    runs : mapping of str to Spread
        Mean and standard deviation over all runs of their figures.
    """

    spec: MapSpec
    scaler: BandScaler
    target: TargetScaler
    kept: Mapping[int, FittedMapper]
    runs: Mapping[str, Spread]

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name; of several networks as ``0.name``, ``1.name`` ..."""
        several = len(self.kept) > 1
        return {
            f"{index}.{name}" if several else name: value
            for index, one in enumerate(self.kept.values())
            for name, value in one.weights().items()
        }

    def predict(self, raw: RawWindows) -> np.ndarray:
        """Say what each network gives, in the network's units, (members, n, q)."""
        windows = scaled(raw, self.spec, self.scaler)
        return np.stack([_ask(one, windows) for one in self.kept.values()])

    def centre(self, predicted: np.ndarray) -> np.ndarray:
        """Average members, and quantiles if there are any: (members, n, q) to (n,)."""
        return centre_of(predicted, self.spec.network.knots)


def centre_of(predicted: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """Average members and integrate quantile functions: (members, n, q) to (n,)."""
    weights = np.asarray(shares(knots)) if knots else np.ones(1)
    return np.asarray(predicted.mean(axis=0) @ weights)


def learn(
    raw: RawWindows,
    values: np.ndarray,
    rows: np.ndarray,
    *,
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: np.ndarray,
    init_from: Mapping[str, np.ndarray] | None = None,
    logs: LogsOf = lambda run: (),
    progress: Progress = Progress(),
) -> Learnt:
    """Fit scalers and networks to training samples.

    Parameters
    ----------
    raw : RawWindows
        Of all samples.
    values : ndarray, (n,)
        Target of all samples, native units.
    rows : ndarray of int
        Training samples; of the others nothing is used. Some of them, if asked for, choose
        the best weights, and scalers see nothing of these either.
    spec : MapSpec
        What the networks are fed.
    fit : MapTrainOptions
        The fit.
    groups : ndarray of int, (n,)
        Site or block of each sample: one group is never on two sides of an inner split.
    init_from : mapping of str to ndarray, optional
        Weights of another network, whose trunk is the start.
    logs : callable
        From the number of a run to the loggers that its figures go to.
    progress : callable
        Told (epochs done, epochs, text).

    Raises
    ------
    BadArgument, NotEnoughData, TrainingFailed
        If samples, options and start do not fit.
    """
    values, rows = np.asarray(values, "float64"), np.asarray(rows)
    held = hold_out(groups[rows], fit.validation, seed=fit.seed)
    target = fit_target(values[rows[~held]], fit.transform)
    scaler = fit_band_scaler(raw, rows[~held], spec)
    windows = scaled(raw.at(rows), spec, scaler)
    fitted = [
        fit_network(
            windows,
            values[rows],
            np.flatnonzero(~held),
            options=spec.network,
            fit=fit.model_copy(update={"seed": fit.seed + run}),
            target=target,
            valid_rows=np.flatnonzero(held),
            init_from=init_from,
            logs=logs(run),
            progress=progress.within(
                f"training run {run + 1} of {fit.runs}" if fit.runs > 1 else "training"
            ),
        )
        for run in range(fit.runs)
    ]
    kept = _kept(fitted, ensemble=fit.ensemble)
    figures = [_figures(one, windows.at(held), values[rows][held], target) for one in fitted]
    own = replace(spec, members=len(kept))
    return Learnt(own, scaler, target, kept, spread(figures))


def _kept(fitted: Sequence[FittedMapper], *, ensemble: bool) -> dict[int, FittedMapper]:
    """Choose what is kept, by number of its run: all of an ensemble, or the best."""
    best = min(range(len(fitted)), key=lambda run: fitted[run].loss)
    return dict(enumerate(fitted)) if ensemble else {best: fitted[best]}


def cross_fit(
    raw: RawWindows,
    values: np.ndarray,
    rounds: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: np.ndarray,
    target: TargetScaler,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Fit anew in each round, and say what networks give that have not seen its test.

    Parameters
    ----------
    raw, values, spec, fit, groups
        As :func:`learn`; in each round scalers are fitted anew.
    rounds : iterable of (train rows, test rows)
        Of :meth:`hmx.splits.site_folds.SiteFolds.rounds`.
    target : TargetScaler
        In whose units predictions are wanted.

    Yields
    ------
    tuple of ndarray
        Training rows, test rows, and predictions of these, (members, n, q), in the
        network's units.
    """
    for train, test in rounds:
        learnt = learn(raw, values, train, spec=spec, fit=fit, groups=groups)
        native = inverse(learnt.predict(raw.at(test)), learnt.target)
        yield train, test, forward(native, target)


def _ask(one: FittedMapper, windows: Windows) -> np.ndarray:
    dynamic, static = torch.from_numpy(windows.dynamic), torch.from_numpy(windows.static)
    return predict(one.network, dynamic, static).numpy().astype("float64")


def _figures(
    one: FittedMapper, windows: Windows, truth: np.ndarray, target: TargetScaler
) -> dict[str, float]:
    """Score a run on its validation samples, native units; without any, say its loss."""
    figures = {"train_loss": one.history[-1]["train_loss"]}
    if not len(truth):
        return figures
    guess = centre_of(_ask(one, windows)[None], one.network.options.knots)
    scores = regression_scores(truth, central(guess, target))
    return {**figures, "val_loss": one.loss, **{f"val_{k}": v for k, v in scores.items()}}
