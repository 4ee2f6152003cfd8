"""Jobs and plans for an xarray object in hand, without a catalog.

A job reads its cube from the store itself, so the object must *be* a store: as
opened, whole and untouched. What was edited, cropped or computed is not, and is
never taken for the store it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from hmx.cube.cube import Cubelike
from hmx.engine.header import adopt
from hmx.engine.lazy import lay
from hmx.engine.plan import Plan, plan
from hmx.engine.region import Region
from hmx.engine.stores import run_order, section_of, store_of
from hmx.files.paths import absolute
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import ForecastOptions
from hmx.forecast.order import ForecastRun
from hmx.independent import independent
from hmx.progress import Progress
from hmx.settings import parse


def forecast_to_zarr(
    obj: Cubelike,
    path: str | Path,
    model: Bundle | str | Path,
    *,
    region: Region = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
    **options: Any,
) -> xr.Dataset:
    """Forecast a stored cube into a store, as a job that can be gone on with.

    Parameters
    ----------
    obj : Dataset
        From :func:`hmx.open_cube`, untouched.
    path : str or Path
        Store to write.
    model : Bundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to forecast.
    workers : int, optional
        Worker processes. Default: this process.
    scheduler : str, optional
        Address of a Dask scheduler.
    overwrite : bool
        Replace another forecast of hmx at ``path``.
    progress : Progress
        For progress.
    **options
        Fields of :class:`hmx.forecast.options.ForecastOptions`.

    Returns
    -------
    Dataset
        The finished store, opened.

    Raises
    ------
    CubeError
        If ``obj`` is not a store as it was opened.
    HmxError
        As :func:`hmx.engine.job.run` and :func:`hmx.forecast.api.forecast`.
    """
    store = absolute(path)
    chosen = adopt(parse(ForecastOptions, options), store)
    order = ForecastRun.of(obj, model, chosen, region=region)
    section = section_of(workers=workers, scheduler=scheduler)
    return run_order(order, obj, store, section, overwrite=overwrite, progress=progress)


def plan_forecast(
    obj: Cubelike,
    model: Bundle | str | Path,
    *,
    region: Region = None,
    workers: int | None = None,
    **options: Any,
) -> Plan:
    """Plan a forecast of any cube; only of a store can empty tiles be told beforehand.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    model : Bundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to forecast.
    workers : int, optional
        Worker processes of this machine that will share it.
    **options
        Fields of :class:`hmx.forecast.options.ForecastOptions`.
    """
    order = ForecastRun.of(obj, model, parse(ForecastOptions, options), region=region)
    return plan(order, order.inventory(store_of(obj, order.cube)), section_of(workers=workers))


@independent
def forecast(
    obj: Cubelike, model: Bundle | str | Path, *, region: Region = None, **options: Any
) -> Cubelike:
    """Forecast the next steps of a cube, lazily.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's variables, on pixels of the model's size.
    model : Bundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to forecast; equals the crop of the full forecast.
    **options
        Fields of :class:`hmx.forecast.options.ForecastOptions`.

    Returns
    -------
    Dataset or DataArray
        As ``obj`` came; dask-backed, float32, NaN where the origin has no data.

    Raises
    ------
    BadArgument
        If an option is impossible.
    BundleError, CubeError, MissingVariable
        If the model and the cube do not fit.
    """
    return lay(ForecastRun.of(obj, model, parse(ForecastOptions, options), region=region))
