"""Jobs and plans for an xarray object in hand, without a catalog.

A job reads its cube from the store itself, so the object must *be* a store: as
opened, whole and untouched. What was edited, cropped or computed is not, and is
never taken for the store it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from hmx.bundle import Bundle
from hmx.catalog import DaskSection
from hmx.cube import Cubelike, open_cube
from hmx.errors import CubeError
from hmx.observed import OBSERVED_UNTIL
from hmx.options import ForecastOptions, parse
from hmx.paths import absolute
from hmx.predict.base import BaseOrder
from hmx.predict.frame import Field
from hmx.predict.inventory import array_of
from hmx.predict.job import Job, adopt, run
from hmx.predict.order import Order
from hmx.predict.plan import Plan, plan
from hmx.predict.region import Region
from hmx.progress import QUIET, Talk


def forecast_to_zarr(
    obj: Cubelike,
    path: str | Path,
    model: Bundle | str | Path,
    *,
    region: Region = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    talk: Talk = QUIET,
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
    talk : Talk
        For progress.
    **options
        Fields of :class:`hmx.options.ForecastOptions`.

    Returns
    -------
    Dataset
        The finished store, opened.

    Raises
    ------
    CubeError
        If ``obj`` is not a store as it was opened.
    HmxError
        As :func:`hmx.predict.job.run` and :func:`hmx.predict.lazy.forecast`.
    """
    store = absolute(path)
    chosen = adopt(parse(ForecastOptions, options), store)
    order = Order.of(obj, model, chosen, region=region)
    section = section_of(workers=workers, scheduler=scheduler)
    return run_order(order, obj, store, section, overwrite=overwrite, talk=talk)


def run_order(
    order: BaseOrder,
    obj: Cubelike,
    store: str,
    section: DaskSection,
    *,
    overwrite: bool = False,
    talk: Talk = QUIET,
) -> xr.Dataset:
    """Run an order of an object that is a store, as a job; open the result.

    Parameters
    ----------
    order : Order or MapOrder
        What is to be computed.
    obj : Dataset
        Of which.
    store : str
        Store to write.
    section : DaskSection
        Who computes.
    overwrite : bool
        Replace another result of hmx at ``store``.
    talk : Talk
        For progress.

    Raises
    ------
    CubeError
        If ``obj`` is not a store as it was opened.
    """
    source = store_of(obj, order.cube)
    if source is None:
        raise CubeError(
            "a job reads its cube from disk, and this object is no store as it was opened: it was "
            "edited, cropped, or never stored. Write it first: ds.to_zarr('cube.zarr'); "
            "ds = hmx.open_cube('cube.zarr')."
        )
    return open_cube(run(Job(order, source, store), section, overwrite=overwrite, talk=talk))


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
        Fields of :class:`hmx.options.ForecastOptions`.
    """
    order = Order.of(obj, model, parse(ForecastOptions, options), region=region)
    return plan(order, order.inventory(store_of(obj, order.cube)), section_of(workers=workers))


def section_of(**given: Any) -> DaskSection:
    """Say who computes, from keywords that may be ``None``."""
    return parse(DaskSection, {key: value for key, value in given.items() if value is not None})


def store_of(obj: Cubelike, cube: Field) -> str | None:
    """Find the one store that an object is, whole and untouched.

    The proof is that the store, opened again, gives arrays of the same Dask names:
    whatever is done to an array, or to the store since, gives it another. To move the
    last observed step, which is an attribute, is to edit it too.

    Parameters
    ----------
    obj : Dataset or DataArray
        As its owner has it.
    cube : Cube or Bands
        What :func:`hmx.cube.enter` or :func:`hmx.bands.enter_bands` made of it.

    Returns
    -------
    str or None
        Path, or ``None`` if it is none.
    """
    source = obj.encoding.get("source")
    if isinstance(obj, xr.DataArray) or source is None:
        return None
    fresh = open_cube(source)
    same = all(
        name in fresh
        and getattr(obj[name].data, "name", None) == fresh[name].data.name
        and obj[name].attrs.get(OBSERVED_UNTIL) == fresh[name].attrs.get(OBSERVED_UNTIL)
        for name in map(array_of, cube.variables)
    )
    return str(source) if same else None
