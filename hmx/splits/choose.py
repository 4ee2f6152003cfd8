"""Choose: samples into folds, by the method that options name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmx.errors import BadArgument
from hmx.points.samples import Samples
from hmx.splits.distances import Array
from hmx.splits.knndm import knndm_folds
from hmx.splits.methods import block_folds, distance_folds, random_folds, region_folds
from hmx.splits.options import SplitOptions
from hmx.splits.site_folds import SiteFolds


def fold_samples(
    samples: Samples,
    options: SplitOptions,
    *,
    seed: int = 0,
    domain: Array | None = None,
    region: Sequence[object] | np.ndarray | None = None,
) -> SiteFolds:
    """Deal samples into folds by the method that is chosen.

    Parameters
    ----------
    samples : Samples
        To deal.
    options : SplitOptions
        Method, folds, lengths.
    seed : int
        Of all draws.
    domain : ndarray of float64, (p, 2), optional
        Places to predict, degrees, for ``knndm``: :func:`hmx.splits.distances.domain`.
    region : sequence, (n,), optional
        Region of each sample, for ``regions``.

    Raises
    ------
    BadArgument
        If the method needs what is not given.
    NotEnoughData
        If there are too few sites, blocks or regions for the folds.
    """
    buffer = options.distance_km or 0.0
    if options.method == "random":
        return random_folds(samples, k=options.folds, seed=seed)
    if options.method == "blocks":
        return block_folds(
            samples, side_km=options.block_km, k=options.folds, seed=seed, buffer_km=buffer
        )
    if options.method == "distance":
        return distance_folds(samples, distance_km=buffer, k=options.folds, seed=seed)
    if options.method == "regions":
        return region_folds(
            samples,
            _given(region, "regions", "region=points[column].to_numpy()[samples.source]"),
            buffer_km=buffer,
            side_km=options.block_km,
            seed=seed,
        )
    places = _given(domain, "knndm", "domain=hmx.splits.distances.domain(grid, valid)")
    return knndm_folds(samples, np.asarray(places), k=options.folds, seed=seed)


def _given(
    what: Sequence[object] | np.ndarray | None, method: str, remedy: str
) -> Sequence[object] | np.ndarray:
    if what is None:
        name = remedy.partition("=")[0]
        raise BadArgument(f"method={method!r} without {name}: it decides the folds. Pass {remedy}.")
    return what
