"""Evaluate a mapper: the same rounds for it and for the null rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.evaluate.mapper.baselines import null_rows
from hmx.evaluate.mapper.importance import Importance
from hmx.evaluate.mapper.rounds import BLEND, LEVELS, Blend, FitPredict, play
from hmx.evaluate.mapper.scorecard import MapScorecard
from hmx.map_spec import MapSpec
from hmx.points.fold_report import describe_folds, name_folds
from hmx.points.splits import SiteFolds
from hmx.points.stack import RawWindows

Array = NDArray[np.float64]


def evaluate(
    raw: RawWindows,
    truth: Array,
    spec: MapSpec,
    several: Sequence[SiteFolds],
    *,
    forecasters: Mapping[str, FitPredict] | None = None,
    blend: float = 0.5,
    inner: int = 0,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    back: Callable[[Array], Array] | None = None,
    domain: Array | None = None,
    importance: Importance | None = None,
) -> MapScorecard:
    """Score a mapper beside forest, boosting, linear regression and the mean.

    Parameters
    ----------
    raw : RawWindows
        Around all samples, from :func:`hmx.points.windows.gather`.
    truth : ndarray, (n,)
        What was measured, transformed units.
    spec : MapSpec
        Names the target, its bands, and so the scale.
    several : sequence of SiteFolds
        Ways of folding the samples; the first is judged by and gets intervals.
    forecasters : mapping of str to callable, optional
        What is judged, the network first: ``fit_predict(train_rows, test_rows, seed)``
        gives a :class:`hmx.evaluate.mapper.rounds.Guess`. Default: the forest is.
    blend : float
        Weight of the forest in the blend with the first forecaster; 0 for no blend.
    inner : int
        Inner folds that intervals are learnt from; 0 for the other outer folds.
    levels : sequence of float
        Of the intervals, percent.
    seed : int
        Of all fits.
    back : callable, optional
        From transformed to native units.
    domain : ndarray of float64, (p, 2), optional
        Places of the map, degrees: adds how far the folds test.
    importance : Importance, optional
        Shown beside the scores.

    Raises
    ------
    BadArgument
        If there are no folds.
    """
    if not several:
        raise BadArgument(
            "folds is empty: a score needs samples that were held out. Pass [block_folds(samples)]."
        )
    own = dict(forecasters or {})
    everyone = own | {n: f for n, f in null_rows(raw, truth, spec).items() if n not in own}
    first = next(iter(everyone))
    mixed = Blend(first, "forest", blend) if blend and first != "forest" else None
    shown = dict.fromkeys([*([BLEND] if mixed else []), first, "forest"])
    splits = {
        name_folds(folds): play(
            everyone, folds, truth, blend=mixed, calibrate=() if number else tuple(shown),
            inner=inner, levels=levels, seed=seed,
        )
        for number, folds in enumerate(several)
    }  # fmt: skip
    return MapScorecard(
        splits,
        scale=f"{spec.transform}({spec.target})" if hasattr(spec, "transform") else spec.target,
        back=back,
        facts=_facts(spec, several, seed),
        report=None if domain is None else describe_folds(several, domain),
        importance=importance,
    )


def _facts(spec: MapSpec, several: Sequence[SiteFolds], seed: int) -> dict[str, Any]:
    digests = {name_folds(folds): folds.digest for folds in several}
    return {"target": spec.target, "units": spec.units, "seed": seed, "folds": digests}
