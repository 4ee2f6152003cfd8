"""Score: a mapper's cross-validation, from points and cube to a scorecard in a folder."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hmx.cube.cube import Cubelike
from hmx.errors import OutputExists, SourceError
from hmx.files.durable import Folder
from hmx.files.lock import building
from hmx.files.paths import absolute
from hmx.independent import independent
from hmx.mapping.evaluate.evaluate import evaluate
from hmx.mapping.evaluate.networks import networks
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.forest import fit_forest
from hmx.mapping.inputs import centre, fit_band_scaler, scaled
from hmx.mapping.options import MapScoreOptions
from hmx.mapping.target import fit_target, forward
from hmx.mapping.train.importance import Importance, Predict, permuted_importance, with_features
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, prepare
from hmx.progress import OnStep, Progress
from hmx.provenance import code_version, fingerprint
from hmx.scores.card import CARD
from hmx.settings import HARDWARE
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds


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
    """Score a way to make a mapper on samples that it has not seen.

    Parameters
    ----------
    obj : Dataset or DataArray
        Bands on one grid.
    points : DataFrame, GeoDataFrame or path
        Samples.
    recipe : MapTrainSetup
        How a mapper is made; its split is the one that it is judged by.
    options : MapScoreOptions, optional
        Other splits beside it, levels, inner folds.
    out : str or Path, optional
        Folder for the scorecard.
    overwrite : bool
        Score again even if the scorecard that is there is current.
    progress : Progress
        Told what became of the points, and progress.

    Returns
    -------
    MapScorecard
        ``print`` it; ``.verdict`` says in one sentence what to use. One that is there and
        current is read.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError
        If points, cube and recipe do not fit.
    OutputExists
        If ``out`` holds something that is no scorecard.
    """
    options, progress = options or MapScoreOptions(), Progress.of(progress)
    out = None if out is None else absolute(out)
    prepared = prepare(obj, points, recipe)
    prepared.introduce(progress)
    mark = fingerprint_of(prepared, recipe, options)
    with nullcontext() if out is None else building(out, progress):
        if out is not None and (had := _found(out, mark)) is not None and not overwrite:
            progress.note(f"evaluate: {out} is there and current")
            return had
        card = _played(prepared, recipe, options, progress)
        card = replace(card, facts={**card.facts, "fingerprint": mark, "hmx": code_version()})
        if out is not None:
            card.save(out)
            Folder(out).sweep()
    return card


def _played(
    prepared: Prepared, recipe: MapTrainSetup, options: MapScoreOptions, progress: Progress
) -> MapScorecard:
    """Fit and score everyone on all ways of folding."""
    fit = recipe.fit
    several = [prepared.folds(split, seed=fit.seed) for split in _splits(recipe, options)]
    fitted = networks(prepared.raw, prepared.values, prepared.spec, fit, prepared.samples.site)
    card = evaluate(
        prepared.raw,
        prepared.values,
        prepared.spec,
        several,
        fit=fit,
        options=options,
        forecasters={"network": fitted},
        domain=prepared.domain(seed=fit.seed),
        progress=progress.within("evaluate"),
    )
    return replace(card, importance=_importance(prepared, recipe, several[0]))


def _splits(recipe: MapTrainSetup, options: MapScoreOptions) -> list[SplitOptions]:
    """List the split that is judged by, and those beside it."""
    own = recipe.split
    others = [method for method in options.beside if method != own.method]
    return [own, *(SplitOptions(method=method, folds=own.folds) for method in others)]


def _importance(prepared: Prepared, recipe: MapTrainSetup, folds: SiteFolds) -> Importance:
    """Tell how much a forest loses on held-out folds without each band."""
    spec, every = prepared.spec, np.arange(len(prepared.samples))
    scaler = fit_band_scaler(prepared.raw, every, spec)  # a forest sees order alone
    features = centre(scaled(prepared.raw, spec, scaler))
    target = fit_target(prepared.values, recipe.fit.transform)
    truth = forward(prepared.values, target)

    def grown(train: np.ndarray, seed: int) -> Predict:
        forest = fit_forest(features[train], truth[train], seed)
        return with_features(forest.predict, features, spec.features)

    bands = tuple(dict.fromkeys(spec.features))
    return permuted_importance(grown, folds, truth, bands, seed=recipe.fit.seed)


def fingerprint_of(prepared: Prepared, recipe: MapTrainSetup, options: MapScoreOptions) -> str:
    """Hash all that decides a scorecard: samples, what lies around them, and how."""
    digest = hashlib.sha256()
    arrays = (*vars(prepared.raw).values(), prepared.values, prepared.samples.lonlat)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    fit = recipe.fit.model_dump(mode="json", exclude=set(HARDWARE))
    told = [fit, *(p.model_dump(mode="json") for p in (recipe.network, recipe.split, options))]
    return fingerprint([digest.hexdigest(), told, code_version()])


def _found(out: str, mark: str) -> MapScorecard | None:
    """Return the scorecard that is there, if it is of this fingerprint."""
    folder = Folder(out)
    if folder.is_bare():
        return None
    try:
        had = json.loads(folder.read(CARD) or b"")
        known = "hmx_map_scorecard" in had
    except (ValueError, TypeError):
        known = False
    if not known:
        raise OutputExists(
            f"{out} holds something that is no scorecard of a map, so it is left alone. "
            "Choose another place: --output scores."
        )
    if had.get("facts", {}).get("fingerprint") != mark:
        return None
    with suppress(SourceError):  # it has lost a part: score again
        return MapScorecard.load(out)
    return None
