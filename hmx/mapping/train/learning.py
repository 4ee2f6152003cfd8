"""Learning a mapper: from raw windows to networks, without a look at other samples.

:func:`learn` fits scalers and networks to training samples. :func:`cross_fit` repeats that on
folds, and gives each sample the prediction of networks that did not train on it.
:func:`out_of_fold` mixes these predictions with a regression's, as the map does. They show how
wrong a map is where nobody sampled: prediction intervals, scores, the importance of the bands
and the area of applicability come from them, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from hmx.mapping.forest import Forest
from hmx.mapping.inputs import RawWindows, fit_band_scaler, scaled
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import BandScaler, MapSpec
from hmx.mapping.target import TargetScaler, fit_target, forward, inverse
from hmx.mapping.train.course import Course, Session, network_name
from hmx.mapping.train.fitting import FittedMapper, fit_network, network_for
from hmx.mapping.train.importance import Importance, Predict, permuted_importance, with_features
from hmx.mapping.train.module import predict
from hmx.mapping.train.recipe import Prepared
from hmx.mapping.window import Estimate, mixed
from hmx.splits.site_folds import SiteFolds, hold_out, linked
from hmx.training.loop import Watch, leads_processes
from hmx.training.metrics import Spread, spread
from hmx.uncertainty.distribution import shares


@dataclass(frozen=True)
class Learnt:
    """Networks, scalers and figures from one set of training samples."""

    spec: MapSpec  # its ``members`` is the number of networks
    scaler: BandScaler
    target: TargetScaler
    kept: Mapping[int, FittedMapper]  # by number of the run: one network, or an ensemble
    figures: tuple[Mapping[str, float], ...]  # of each run, at the epoch whose weights it keeps

    @property
    def runs(self) -> dict[str, Spread]:
        """Mean and standard deviation of the figures over all runs."""
        return spread(self.figures)

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name; of several networks as ``0.name``, ``1.name`` ..."""
        several = len(self.kept) > 1
        return {
            f"{index}.{name}" if several else name: value
            for index, one in enumerate(self.kept.values())
            for name, value in one.weights().items()
        }

    def predict(self, raw: RawWindows) -> np.ndarray:
        """Predict with each network, in the network's units, (members, n, q)."""
        windows = scaled(raw, self.spec, self.scaler)
        dynamic, static = torch.from_numpy(windows.dynamic), torch.from_numpy(windows.static)
        found = [predict(one.network, dynamic, static) for one in self.kept.values()]
        return np.stack([each.numpy().astype("float64") for each in found])

    def centre(self, predicted: np.ndarray) -> np.ndarray:
        """Average members, and quantiles if there are any: (members, n, q) to (n,)."""
        knots = self.spec.network.knots
        weights = np.asarray(shares(knots)) if knots else np.ones(1)
        return np.asarray(predicted.mean(axis=0) @ weights)


def learn(
    raw: RawWindows,
    values: np.ndarray,  # (n,), native units
    rows: np.ndarray,
    *,
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: np.ndarray,
    init_from: Mapping[str, np.ndarray] | None = None,
    session: Session = Session(),
) -> Learnt:
    """Fit scalers and networks to the training samples at `rows`; use nothing of the others.

    A share of the training samples, if the fit has validation, chooses the best weights; the
    scalers see nothing of that share either. `groups` is the site or block of each sample, (n,):
    one group is never on both sides of that split. `init_from` has the weights of another
    network, whose trunk is the start.
    """
    values, rows = np.asarray(values, "float64"), np.asarray(rows)
    valid = hold_out(groups[rows], fit.validation, seed=fit.seed)
    target = fit_target(values[rows[~valid]], fit.transform)
    scaler = fit_band_scaler(raw, rows[~valid], spec)
    windows = scaled(raw.at(rows), spec, scaler)
    fitted = []
    for run in range(fit.runs):
        name = network_name(rows, fit.seed, run)
        if (found := session.finished.read(name)) is not None:
            network = network_for(windows, spec.network)
            fitted.append(FittedMapper.restore(network, *found))
            session.spared(run)
            continue
        one = fit_network(
            windows,
            values[rows],
            np.flatnonzero(~valid),
            options=spec.network,
            fit=fit.model_copy(update={"seed": fit.seed + run}),
            target=target,
            valid_rows=np.flatnonzero(valid),
            init_from=init_from,
            watch=Watch(session.progress(run), session.logs(run)),
        )
        if leads_processes():
            session.finished.write(name, one.weights(), one.facts())
        fitted.append(one)
    best = min(range(len(fitted)), key=lambda run: fitted[run].loss)
    kept = dict(enumerate(fitted)) if fit.ensemble else {best: fitted[best]}
    # of the epoch whose weights are kept
    figures = [{"epochs": one.epochs, **one.history[one.epochs - 1]} for one in fitted]
    return Learnt(replace(spec, members=len(kept)), scaler, target, kept, tuple(figures))


def cross_fit(
    raw: RawWindows,
    values: np.ndarray,
    rounds: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: np.ndarray,
    target: TargetScaler,
    session_of: Callable[[int], Session] = lambda number: Session(),
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield train rows, test rows and test predictions (members, n, q), fitted anew each round.

    Each round fits its own scalers, so its predictions are in its own units; `target` gives the
    common units of the result.
    """
    for number, (train, test) in enumerate(rounds):
        session = session_of(number)
        learnt = learn(raw, values, train, spec=spec, fit=fit, groups=groups, session=session)
        native = inverse(learnt.predict(raw.at(test)), learnt.target)
        yield train, test, forward(native, target)


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions of every sample."""

    folds: SiteFolds
    estimate: Estimate  # centre and spread, (n,), scaled transformed units
    importance: Importance  # of the bands to a forest


def out_of_fold(
    prepared: Prepared,
    features: np.ndarray,  # (n, f), values of the samples' own pixels
    target: TargetScaler,
    fit: MapTrainOptions,
    folds: SiteFolds,
    *,
    course: Course,
) -> OutOfFold:
    """Fit the mapper anew without each fold, and predict that fold as the map would."""
    spec, values, raw = prepared.spec, prepared.values, prepared.raw
    truth = forward(values, target)
    forests: dict[int, Forest] = {}
    center, spreads = np.empty(len(values)), np.empty(len(values))
    groups = linked(folds.group, prepared.samples.lonlat, fit.validation_km)
    parts = cross_fit(
        raw, values, folds.rounds(), spec=spec, fit=fit, groups=groups, target=target,
        session_of=course.fold,
    )  # fmt: skip
    for number, (train, test, predicted) in enumerate(parts):
        own = course.fold_regressions(number, features[train], truth[train], fit.seed)
        assert own.forest is not None
        forests[fit.seed + 1000 * number] = own.forest
        members = predicted.transpose(0, 2, 1)  # (members, q, n), the axes of pixels
        estimate = mixed(members, spec, own.of(spec.regression), features[test].T)
        center[test], spreads[test] = estimate.center, estimate.spread
        course.end_fold(number)

    def forest_of(train: np.ndarray, seed: int) -> Predict:
        # permuted_importance numbers its rounds by seed, and the same rounds grew the forests
        return with_features(forests[seed].predict, features, spec.features)

    bands = dict.fromkeys(spec.features)
    with course.step("importance"):
        importance = permuted_importance(forest_of, folds, truth, tuple(bands), seed=fit.seed)
    return OutOfFold(folds, Estimate(center, spreads), importance)
