"""Differences: two forecasts, or two maps, compared zone by zone with paired draws."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import xarray as xr

from hmx.cube.dates import time_label
from hmx.engine.recall import Check, recall
from hmx.errors import BadArgument
from hmx.independent import independent
from hmx.mapping import zonal as zonal_map
from hmx.mapping.dates import second_date
from hmx.products.zones import checked_zonal
from hmx.progress import Progress
from hmx.provenance import provenance
from hmx.settings import parse
from hmx.zones.options import ZonalOptions, Zoning
from hmx.zones.run import ZonalRun, add_up
from hmx.zones.table import difference_table
from hmx.zones.tables import Origin


@independent
def difference(
    a: xr.Dataset,
    b: xr.Dataset,
    zones: Any,
    *,
    progress: Progress = Progress(),
    **options: Unpack[Zoning],
) -> xr.Dataset:
    """Compare two forecasts, or two maps, zone by zone: ``a`` minus ``b``, with intervals.

    Both are drawn with the same seed, so that what they share cancels: another model, an
    edited covariate or another origin stands against the same future weather of errors, and the
    interval of a difference is narrower than those of its two sides suggest.

    Errors of two dates of a soil map correlate as those of sites that were sampled at both dates,
    if the model has 10 such sites or more. Without them they count as independent, which is the
    wider choice: errors that persist cancel. The attribute ``intervals`` names what was taken.

    Parameters
    ----------
    a, b : Dataset
        Forecasts or maps on one grid, as they were made or opened from their stores.
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
        Of maps whose unit is a stock also ``soc_total_difference``, tonnes, over the area with
        data in both. The time of a difference of maps is that of ``a``.

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
    if chosen.table != "zones":
        raise BadArgument(
            f"table={chosen.table!r}: a difference has one table. Leave out table=, and compare "
            "areas above thresholds with above=[0.1, 0.4]."
        )
    (run_a, of_a, check_a), (run_b, of_b, check_b) = (
        _side(obj, zones, chosen, progress) for obj in (a, b)
    )
    _require_comparable(run_a, run_b, of_a, of_b)
    at_a, at_b = _common(run_a.run.job, of_a, of_b)
    times = of_a.times.isel(time=at_a)
    same_leads = times.coords.get("lead") is not None and np.array_equal(
        times["lead"], of_b.times["lead"].isel(time=at_b)
    )
    if not same_leads:
        times = times.drop_vars(["lead", "forecast_reference_time"], errors="ignore")
    how, maps = "paired draws", run_a.run.job == "map"
    if maps:
        second = second_date(run_a, run_b, check_b)
        run_b, check_b, at_b, how = second.zonal, second.check, second.leads, second.how
    a_totals = add_up(run_a, check=check_a, progress=progress).at_leads(at_a)
    b_totals = add_up(run_b, check=check_b, progress=progress).at_leads(at_b)
    if maps:
        a_totals, b_totals = (zonal_map.by_draws(totals) for totals in (a_totals, b_totals))
    table = difference_table(
        a_totals,
        b_totals,
        chosen,
        times=times,
        target=of_a.target,
        units=of_a.units,
        step=of_a.step,
        attrs={
            "title": f"difference between zones: {of_a.target}, a minus b",
            "intervals": f"Intervals are quantiles over {chosen.draws} {how} (seed {chosen.seed}).",
            "target": of_a.target,
            "hmx_provenance": provenance(a=run_a.facts(), b=run_b.facts()),
        },
    )
    return zonal_map.add_stocks(table, a_totals, b_totals, chosen, of_a) if maps else table


def _side(
    obj: xr.Dataset, zones: Any, options: ZonalOptions, progress: Progress
) -> tuple[ZonalRun, Origin, Check | None]:
    """Check one side, and how its values are compared with its run."""
    found = recall(obj)
    checked, origin = checked_zonal(found, zones, options, progress=progress)
    return checked, origin, found.check


def _require_comparable(a: ZonalRun, b: ZonalRun, of_a: Origin, of_b: Origin) -> None:
    """Refuse two results whose difference would mean nothing."""
    if a.run.job != b.run.job:
        raise BadArgument(f"a is a {a.run.job} and b is a {b.run.job}. Compare two of one kind.")
    a.run.cube.grid.require_same(b.run.cube.grid, "b")
    for word, left, right in (
        ("target", of_a.target, of_b.target),
        ("units", of_a.units, of_b.units),
    ):
        if left != right:
            raise BadArgument(
                f"the {word} of a is {left!r}, and of b {right!r}. Compare two results of one "
                f"{word}."
            )


def _common(job: str, a: Origin, b: Origin) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the times that both have; a map has one, whichever it is."""
    if job == "map":
        return np.array([0]), np.array([0])
    times, at_a, at_b = np.intersect1d(a.times.values, b.times.values, return_indices=True)
    if not len(times):
        ends = [" to ".join(map(time_label, origin.times.values[[0, -1]])) for origin in (a, b)]
        raise BadArgument(
            f"the two have no time in common: a has {ends[0]}, and b {ends[1]}. Forecast both to "
            "the same steps with h=."
        )
    return at_a, at_b
