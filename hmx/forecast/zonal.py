"""Zonal: totals of zones with true intervals, from a forecast or from its cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import xarray as xr

from hmx.bundles.folder import as_model
from hmx.cube.cube import Cubelike, Region
from hmx.engine.recall import Recalled, recall
from hmx.errors import BadArgument, NotTrained
from hmx.forecast.bundle import Bundle
from hmx.forecast.joint import dependence_of
from hmx.forecast.order import ForecastRun
from hmx.independent import independent
from hmx.progress import Progress
from hmx.settings import parse
from hmx.zones.options import ZonalOptions, Zoning
from hmx.zones.run import ZonalRun, add_up
from hmx.zones.tables import Origin, table_of, zonal_run


@independent
def zonal(
    obj: Cubelike,
    zones: Any,
    *,
    h: int | None = None,
    model: Bundle | str | Path | None = None,
    region: Region = None,
    device: str = "auto",
    progress: Progress = Progress(),
    **options: Unpack[Zoning],
) -> xr.Dataset:
    """Add up a forecast over zones, with intervals that hold for the sums.

    Pixels cannot be added as if they were independent, nor can the ends of their
    intervals: the first is far too sure, the second far too unsure. Here the whole map is drawn
    many times, with errors that vary together as those of past forecasts did
    (:func:`hmx.forecast.drawing.draws`), and each draw is added up. Areas are true
    areas, also on grids of degrees; a pixel that several zones share counts in each with the part
    that it covers.

    Parameters
    ----------
    obj : Dataset
        A forecast, as it was made or as it was opened from its store; or a cube, with ``model``.
    zones : path, GeoDataFrame, GeoJSON or array
        Polygons in any CRS, or whole numbers on the grid of the cube.
    h, model, region, device
        Of a cube: as in :func:`hmx.forecast.api.forecast`.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.hm``, else nowhere.
    **options
        Fields of :class:`hmx.zones.options.ZonalOptions`: ``above=[0.1, 0.4]``,
        ``level=[50, 95]``, ``draws=200``, ``seed=0``, ``by="country"``, ``id="name"``,
        ``grows=[0, 2]``, ``table="conservation"`` with ``classes``, ``moves`` and
        ``target_share``.

    Returns
    -------
    Dataset
        Dimensions ``zone`` and ``time``: ``hm`` (mean over the zone, weighted with
        area), ``hm_change`` since the origin, ``area_above`` (threshold, km2) and its change, each
        with ``_lo_95`` and ``_hi_95``; ``p_grows``. After the zones come their groups (``by``) and
        ``all``, the whole forecast: the coordinate ``kind`` names which is which.
        ``.to_dataframe()`` gives a table.

    Raises
    ------
    NotTrained
        Of a cube without ``model``.
    BadArgument, GridMismatch, SourceError
        If options or zones do not fit, or the model and cube of a forecast cannot be found.

    Examples
    --------
    >>> table = fc.hm.zonal("parks.gpkg", above=0.4, level=95)  # doctest: +SKIP
    >>> table[["hm", "area_above"]].to_dataframe()  # doctest: +SKIP
    """
    chosen = parse(ZonalOptions, options)
    found = recalled(obj, h=h, model=model, region=region, device=device)
    checked, origin = checked_zonal(found, zones, chosen, progress=progress)
    totals = add_up(checked, check=found.check, progress=progress)
    return table_of(checked, totals, chosen, origin)


def checked_zonal(
    found: Recalled,
    zones: Any,
    options: ZonalOptions,
    *,
    folder: str | None = None,
    progress: Progress = Progress(),
) -> tuple[ZonalRun, Origin]:
    """Check zones and options against the run of a forecast."""
    run = found.run
    assert isinstance(run, ForecastRun)
    dependence, note = dependence_of(run.bundle, run.cube)
    run.report("zonal", progress, note)
    checked = zonal_run(run, dependence, zones, options, folder=folder, progress=progress)
    return checked, origin_of(run)


def origin_of(run: ForecastRun) -> Origin:
    """Describe what a forecast predicts, and when."""
    spec, template = run.bundle.spec, run.template()
    attrs = template[spec.target].attrs
    time = run.cube.outer.names.get("time", "time")
    return Origin(
        times=template[time].rename({time: "time"}) if time != "time" else template[time],
        target=spec.target,
        units=attrs.get("units"),
        step=run.bundle.scaler.step or None,
        valid_range=spec.valid_range,
    )


def recalled(
    obj: Cubelike,
    *,
    h: int | None,
    model: Bundle | str | Path | None,
    region: Region,
    device: str = "auto",
) -> Recalled:
    """Return the run of a forecast, or check one of a cube and a model."""
    if isinstance(obj, xr.DataArray):
        raise BadArgument(
            "zones are added up from a Dataset: ds = da.to_dataset(name='hm'); "
            "ds.hm.zonal(zones, model=...)."
        )
    if "forecast_reference_time" not in obj.coords:
        if model is None:
            raise NotTrained(
                "this object is a cube that has not trained a model. Pass one: "
                "ds.hm.zonal(zones, h=4, model='models/demo'), or call zonal on a forecast."
            )
        options = {"h": 4 if h is None else h, "device": device}
        return Recalled(ForecastRun.check(obj, model, options, region=region))
    chosen = {"h": h, "region": region, "device": None if device == "auto" else device}
    for name, value in chosen.items():
        if value is not None:
            raise BadArgument(
                f"{name}= belongs to the forecast, and this object is one. Make it with {name}=, "
                f"or leave {name}= out."
            )
    found = recall(obj, "forecast")
    if model is not None and as_model(Bundle, model).digest != found.run.facts()["bundle"]:
        raise BadArgument(
            "model= is another model than the one that made this forecast. Leave it out, or "
            "start from the cube: ds.hm.zonal(zones, h=4, model=...)."
        )
    return found
