"""Differences: two forecasts, or two maps, compared zone by zone with paired draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import xarray as xr

from hmx.engine.recall import recall
from hmx.errors import BadArgument
from hmx.forecast.zonal import checked_zonal
from hmx.independent import independent
from hmx.progress import Progress
from hmx.provenance import provenance
from hmx.settings import parse
from hmx.zones.options import ZonalOptions, Zoning
from hmx.zones.run import ZonalRun, add_up
from hmx.zones.sums import ZoneTotals
from hmx.zones.tables import Origin, difference_table


@independent
def difference(
    a: xr.Dataset,
    b: xr.Dataset,
    zones: Any,
    *,
    progress: Progress = Progress(),
    **options: Unpack[Zoning],
) -> xr.Dataset:
    """Compare two forecasts zone by zone: ``a`` minus ``b``, with intervals.

    Both are drawn with the same seed, so that what they share cancels: another model, an
    edited covariate or another origin stands against the same future weather of errors, and the
    interval of a difference is narrower than those of its two sides suggest.

    Parameters
    ----------
    a, b : Dataset
        Forecasts on one grid, as they were made or opened from their stores.
    zones : path, GeoDataFrame, GeoJSON or array
        As in ``fc.hm.zonal``.
    progress : Progress
        Where progress goes. Default: nowhere.
    **options
        Fields of :class:`hmx.zones.options.ZonalOptions`, as in ``fc.hm.zonal``.

    Returns
    -------
    Dataset
        Dimensions ``zone`` and ``time`` (the times that both have): ``hm_difference`` and
        ``area_above_difference`` (threshold), each with ``_lo_95`` and ``_hi_95``; ``p_greater``
        (and ``p_greater_above``), the probability that ``a`` exceeds ``b``. Pixels without data
        in one of the two are left out of its own side only: ``missing_a`` and ``missing_b``.

    Raises
    ------
    BadArgument, GridMismatch
        If the two differ in grid, target or units, have no time in common, or their model and
        cube cannot be found.

    Examples
    --------
    >>> table = hmx.difference(with_road, without_road, zones="parks.gpkg")  # doctest: +SKIP
    """
    chosen = parse(ZonalOptions, options)
    sides = [_side(obj, zones, chosen, progress) for obj in (a, b)]
    (run_a, found_a, origin_a), (run_b, found_b, origin_b) = sides
    _require_comparable(run_a, run_b, origin_a, origin_b)
    times = np.intersect1d(origin_a.times.values, origin_b.times.values)
    if not len(times):
        raise BadArgument(
            "the two forecasts have no time in common: "
            f"{_span(origin_a)} and {_span(origin_b)}. Forecast both to the same steps with h=."
        )
    totals = [
        _at(totals, origin.times.values, times)
        for totals, origin in ((found_a, origin_a), (found_b, origin_b))
    ]
    shared = replace(origin_a, times=origin_a.times.sel(time=times))
    return difference_table(
        totals[0], totals[1], chosen, shared,
        provenance=provenance(a=run_a.facts(), b=run_b.facts()),
    )  # fmt: skip
