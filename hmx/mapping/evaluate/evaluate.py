"""Evaluate a mapper: the same rounds for it and for the null rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.mapping.evaluate.baselines import null_rows
from hmx.mapping.evaluate.rounds import BLEND, Blend, FitPredict, cross_validate
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.inputs import RawWindows
from hmx.mapping.options import MapScoreOptions, MapTrainOptions
from hmx.mapping.spec import MapSpec, TargetScaler
from hmx.mapping.target import forward
from hmx.progress import Progress
from hmx.splits.report import describe_folds, name_folds
from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]


def evaluate(
    raw: RawWindows,
    values: Array,
    spec: MapSpec,
    several: Sequence[SiteFolds],
    *,
    fit: MapTrainOptions | None = None,
    options: MapScoreOptions | None = None,
    forecasters: Mapping[str, FitPredict] | None = None,
    domain: Array | None = None,
    progress: Progress = Progress(),
) -> MapScorecard:
    """Score a mapper beside forest, boosting, linear regression and the mean.

    Parameters
    ----------
    raw : RawWindows
        Around all samples, from :func:`hmx.mapping.inputs.gather`.
    values : ndarray, (n,)
        What was measured, native units.
    spec : MapSpec
        Names the target and its bands.
    several : sequence of SiteFolds
        Ways of folding the samples; the first is judged by and gets intervals.
    fit : MapTrainOptions, optional
        Its ``transform`` is what all is fitted and first scored in, of the values as they
        are, not as z-scores, so that folds compare; its ``blend`` is the weight of the
        forest beside the first forecaster, its ``seed`` that of all fits.
    options : MapScoreOptions, optional
        Levels of the intervals, and the inner folds that these are learnt from.
    forecasters : mapping of str to callable, optional
        What is judged, the network first: ``fit_predict(train_rows, test_rows, seed)``
        gives a :class:`hmx.mapping.evaluate.rounds.Estimates`, in transformed units. Default:
        the forest is.
    domain : ndarray of float64, (p, 2), optional
        Places of the map, degrees: adds how far the folds test.
    progress : callable
        Told (fits done, fits, forecaster), anew for each way of folding.

    Raises
    ------
    BadArgument
        If there are no folds.
    """
    if not several:
        raise BadArgument(
            "folds is empty: a score needs samples that were held out. Pass [block_folds(samples)]."
        )
    fit, options = fit or MapTrainOptions(), options or MapScoreOptions()
    transform, blend = fit.transform, fit.blend
    scaler = TargetScaler(transform if transform in ("log", "log1p") else "none")
    truth = forward(values, scaler)
    own = dict(forecasters or {})
    everyone = own | {n: f for n, f in null_rows(raw, truth, spec).items() if n not in own}
    first = next(iter(everyone))
    mixed = Blend(first, "forest", blend) if blend and first != "forest" else None
    shown = dict.fromkeys([*([BLEND] if mixed else []), first, "forest"])
    splits = {
        name_folds(folds): cross_validate(
            everyone, folds, truth, blend=mixed, calibrate=() if number else tuple(shown),
            inner=options.inner, levels=options.level, seed=fit.seed, progress=progress,
        )
        for number, folds in enumerate(several)
    }  # fmt: skip
    return MapScorecard(
        splits,
        scale=spec.target if scaler.transform == "none" else f"{scaler.transform}({spec.target})",
        scaler=scaler,
        facts=_facts(spec, several, fit.seed),
        report=None if domain is None else describe_folds(several, domain),
    )


def _facts(spec: MapSpec, several: Sequence[SiteFolds], seed: int) -> dict[str, Any]:
    known = {"target": spec.target, "units": spec.units, "seed": seed}
    digests = {f"digest of {name_folds(folds)}": folds.digest for folds in several}
    return {name: value for name, value in (known | digests).items() if value is not None}
