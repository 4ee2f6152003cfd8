"""Score: a mapper's cross-validation, from points and cube to a scorecard in a folder.

:func:`score_folds` runs the same folds for the mapper and for the baselines; :func:`score` reads
points and cube, adds the networks and the importance of the bands, and stores the scorecard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.cube import Cubelike
from hmx.cube.store import mark_done, sweep
from hmx.errors import BadArgument, OutputExists, SourceError
from hmx.files.durable import Folder
from hmx.files.lock import building, hidden_sibling
from hmx.files.paths import absolute, is_url
from hmx.independent import independent
from hmx.mapping.evaluate import rounds
from hmx.mapping.evaluate.baselines import null_rows
from hmx.mapping.evaluate.rounds import Fits
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.evaluate.weighting import weigh
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import RawWindows, centre, fit_band_scaler, scaled
from hmx.mapping.options import MapScoreOptions, MapTrainOptions
from hmx.mapping.process import Regressions
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import TargetScaler, fit_target, forward, inverse, plain_target
from hmx.mapping.train.course import Session
from hmx.mapping.train.importance import Predict, permuted_importance, with_features
from hmx.mapping.train.learning import learn
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, decisive, prepare
from hmx.mapping.window import mixed
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version, fingerprint, recipe_of
from hmx.scores.card import CARD
from hmx.settings import HARDWARE, Options
from hmx.splits.options import SplitOptions
from hmx.splits.report import describe_folds, name_folds
from hmx.splits.site_folds import SiteFolds
from hmx.training.work import Finished, work_folder


@independent
def score(
    obj: Cubelike,
    points: Any,
    recipe: MapTrainSetup,
    options: MapScoreOptions | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | OnStep | None = None,
) -> MapScorecard:
    """Score a mapper on samples that it did not train on, as :func:`hmx.mapping.api.evaluate`.

    The verdict comes from the split of ``recipe``. A scorecard in ``out`` that is current is read
    and not made again, unless ``overwrite``.
    """
    options, progress = options or MapScoreOptions(), Progress.of(progress)
    out = None if out is None else absolute(out)
    prepared = prepare(obj, points, recipe)
    prepared.announce(progress)
    digest = fingerprint_of(prepared, recipe, options)
    with nullcontext() if out is None else building(out, progress):
        if out is not None and (stored := _stored_card(out, digest)) and not overwrite:
            progress.note(f"evaluate: {out} exists and is current")
            sweep(out)
            return stored
        with _finished(out, prepared, recipe, options, progress) as finished:
            fits = Fits(finished, progress.within("evaluate"), recipe.fit.runs)
            card = _score(prepared, recipe, options, fits)
            known = {"recipe": recipe_of(recipe.settings())}
            if (mark := prepared.bands.data.attrs.get("hmx_fingerprint")) is not None:
                known["cube"] = mark
            facts = {**card.facts, **known, "fingerprint": digest, "hmx": code_version()}
            card = replace(card, facts=facts)
            if out is not None:
                if finished.folder is not None:
                    mark_done(finished.folder)
                card.save(out)
                Folder(out).sweep()
    return card


@contextmanager
def _finished(
    out: str | None,
    prepared: Prepared,
    recipe: MapTrainSetup,
    options: MapScoreOptions,
    progress: Progress,
) -> Iterator[Finished]:
    """Yield where fits are kept: beside a scorecard on this machine, until it is there."""
    if out is None or is_url(out):
        yield Finished()
        return
    chosen = {"split": recipe.split.model_dump(mode="json"), "score": options.model_dump()}
    decided = {**decisive(prepared, recipe), **chosen}
    work = hidden_sibling(out, "training")
    with work_folder(work, out, decided, what="evaluate", progress=progress) as folder:
        yield Finished(folder)


def _score(
    prepared: Prepared, recipe: MapTrainSetup, options: MapScoreOptions, fits: Fits
) -> MapScorecard:
    """Run all folds of a recipe, and measure the importance of the bands."""
    fit, own = recipe.fit, recipe.split
    methods = [method for method in options.beside if method != own.method]
    splits = [own, *(SplitOptions(method=method, folds=own.folds) for method in methods)]
    several = [prepared.folds(split, seed=fit.seed) for split in splits]
    raw, values, spec = prepared.raw, prepared.values, prepared.spec
    groups = prepared.validation_groups(fit)
    card = score_folds(
        raw,
        values,
        spec,
        several,
        fit=fit,
        options=options,
        forecasters={"network": networks(raw, values, spec, fit, groups, fits.session)},
        domain=prepared.domain(seed=fit.seed),
        fits=fits,
    )
    # a forest splits by order, so scales of all samples leak nothing into its folds
    features = centre(scaled(raw, spec, fit_band_scaler(raw, np.arange(len(values)), spec)))
    truth = forward(values, fit_target(values, fit.transform))

    def forest_of(train: np.ndarray, seed: int) -> Predict:
        forest = fit_forest(features[train], truth[train], seed)
        return with_features(forest.predict, features, spec.features)

    bands = tuple(dict.fromkeys(spec.features))
    importance = permuted_importance(forest_of, several[0], truth, bands, seed=fit.seed)
    return replace(
        card,
        importance=importance,
        weighted=weigh(prepared, several, importance, seed=fit.seed),
        ids=tuple(prepared.points.names.of(prepared.samples.source)),
    )


def fingerprint_of(prepared: Prepared, recipe: MapTrainSetup, options: Options) -> str:
    """Hash everything that decides a scorecard: samples, their windows, setup, options."""
    # the device decides no score, so a scorecard of another machine is current
    fit = recipe.fit.model_dump(mode="json", exclude=set(HARDWARE))
    settings = [fit, *(p.model_dump(mode="json") for p in (recipe.network, recipe.split, options))]
    return fingerprint([prepared.digest, settings, code_version()])


def _stored_card(out: str, digest: str) -> MapScorecard | None:
    """Return the scorecard in a folder if it has this fingerprint."""
    folder = Folder(out)
    if folder.is_bare():
        return None
    try:
        content = json.loads(folder.read(CARD) or b"")
        is_card = "hmx_map_scorecard" in content
    except (ValueError, TypeError):
        is_card = False
    if not is_card:
        raise OutputExists(
            f"{out} holds something that is not a scorecard of a map, so it is left alone. "
            "Choose another folder: --output scores."
        )
    if content.get("facts", {}).get("fingerprint") != digest:
        return None
    with suppress(SourceError):  # a file of the folder is lost: score again
        return MapScorecard.load(out)
    return None


def score_folds(
    raw: RawWindows,
    values: rounds.Array,
    spec: MapSpec,
    several: Sequence[SiteFolds],
    *,
    fit: MapTrainOptions | None = None,
    options: MapScoreOptions | None = None,
    forecasters: Mapping[str, rounds.FitPredict] | None = None,
    domain: rounds.Array | None = None,
    fits: Fits | None = None,
) -> MapScorecard:
    """Score a mapper and the baselines on the same folds.

    Shapes: ``values`` (n,), ``domain`` (p, 2).
    """
    if not several:
        raise BadArgument(
            "folds is empty: a score needs samples that were held out. Pass [block_folds(samples)]."
        )
    fit, options = fit or MapTrainOptions(), options or MapScoreOptions()
    scaler = scoring_scale(values, fit)
    truth = forward(values, scaler)
    own = dict(forecasters or {})
    fits = Fits() if fits is None else fits
    everyone = own | {n: f for n, f in null_rows(raw, truth, spec).items() if n not in own}
    first = next(iter(everyone))
    # a forest blended with itself is the forest
    several_parts = bool(fit.blend) and spec.regression != "none" and first != "forest"
    blend = rounds.Blend(first, spec.regression, fit.blend, fit.krige) if several_parts else None
    calibrate = tuple(dict.fromkeys([*([rounds.BLEND] if blend else []), first, "forest"]))
    inner = {*calibrate, *(blend.parts if blend else ())} - {rounds.BLEND, first}
    fits.expect(several, len(everyone) - 1, options.inner, len(inner))
    everyone = fits.keep(everyone)
    splits = {
        name_folds(folds): rounds.cross_validate(
            everyone,
            folds,
            truth,
            blend=blend,
            calibrate=() if number else calibrate,
            inner=options.inner,
            levels=options.level,
            seed=fit.seed,
            progress=fits.progress,
        )
        for number, folds in enumerate(several)
    }
    if not any(found.kriged for found in splits.values()):  # the same as the blend
        for found in splits.values():
            found.estimates.pop(rounds.PLAIN, None)
    facts: dict[str, Any] = {"target": spec.target, "units": spec.units, "seed": fit.seed}
    facts["valid_range"] = None if spec.valid_range is None else list(spec.valid_range)
    if blend and fit.krige is not False:
        counts = {name: f"{each.kriged} of {len(each.folds)}" for name, each in splits.items()}
        facts["blend kriged in"] = ", ".join(f"in {n} rounds of {k}" for k, n in counts.items())
    facts |= {f"digest of {name_folds(folds)}": folds.digest for folds in several}
    return MapScorecard(
        splits,
        scale=scaler.named(spec.target),
        scaler=scaler,
        facts={name: value for name, value in facts.items() if value is not None},
        distances=None if domain is None else describe_folds(several, domain),
    )


def scoring_scale(values: rounds.Array, fit: MapTrainOptions) -> TargetScaler:
    """Return the transform that samples are scored in: logarithms or values, not z-scores."""
    return plain_target(values, fit.transform if fit.transform in ("log", "log1p") else "none")


def networks(
    raw: RawWindows,
    values: rounds.Array,
    spec: MapSpec,
    fit: MapTrainOptions,
    groups: NDArray[Any],
    session_of: Callable[[], Session] = Session,
) -> rounds.FitPredict:
    """Build the predictor that trains networks on the rows of a fold.

    The runs of the fit are its members, in units of the transform; the spread is that of the map:
    of the quantiles of the networks, or none. `groups` has the site or block of each sample.
    """
    common = scoring_scale(values, fit)

    def fit_predict(train: rounds.Rows, test: rounds.Rows, seed: int) -> rounds.Estimates:
        own = fit.model_copy(update={"seed": fit.seed + seed})
        session = session_of()
        learnt = learn(raw, values, train, spec=spec, fit=own, groups=groups, session=session)
        predicted = learnt.predict(raw.at(test))  # (members, n, q), of unit variance
        scaled_members = np.stack([learnt.centre(one[None]) for one in predicted])
        # the samples of a fold may have another order of magnitude
        members = forward(inverse(scaled_members, learnt.target), common)
        if not learnt.spec.network.knots:
            return rounds.Estimates(members)
        none = np.empty((0, len(test)))
        found = mixed(predicted.transpose(0, 2, 1), learnt.spec, Regressions(), none)
        return rounds.Estimates(members, found.spread * learnt.target.std)

    return fit_predict
