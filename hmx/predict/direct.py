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
from hmx.catalog import DaskSection, is_url
from hmx.cube import Cube, Cubelike, open_cube
from hmx.errors import CubeError
from hmx.observed import OBSERVED_UNTIL
from hmx.options import ForecastOptions, parse
from hmx.predict.inventory import Inventory
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
    store = str(path) if is_url(str(path)) else str(Path(path).absolute())
    chosen = adopt(parse(ForecastOptions, options), store)
    order = Order.of(obj, model, chosen, region=region)
    source = store_of(obj, order.cube)
    if source is None:
        raise CubeError(
            "a job reads its cube from disk, and this object is no store as it was opened: it was "
            "edited, cropped, or never stored. Write it first: ds.to_zarr('cube.zarr'); "
            "ds = hmx.open_cube('cube.zarr')."
        )
    section = _section(workers=workers, scheduler=scheduler)
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
    inventory = Inventory.of(order.cube, store_of(obj, order.cube))
    return plan(order, inventory, _section(workers=workers))


def _section(**given: Any) -> DaskSection:
    return parse(DaskSection, {key: value for key, value in given.items() if value is not None})


def store_of(obj: Cubelike, cube: Cube) -> str | None:
    """Find the one store that an object is, whole and untouched.

    The proof is that the store, opened again, gives arrays of the same Dask names:
    whatever is done to an array, or to the store since, gives it another. To move the
    last observed step, which is an attribute, is to edit it too.

    Parameters
    ----------
    obj : Dataset or DataArray
        As its owner has it.
    cube : Cube
        What :func:`hmx.cube.enter` made of it.

    Returns
    -------
    str or None
        Path, or ``None`` if it is none.
    """
    source = obj.encoding.get("source")
    if isinstance(obj, xr.DataArray) or source is None:
        return None
    fresh = open_cube(source)
    marks = [data[cube.target].attrs.get(OBSERVED_UNTIL) for data in (obj, fresh)]
    same = marks[0] == marks[1] and all(
        name in fresh and getattr(obj[name].data, "name", None) == fresh[name].data.name
        for name in cube.variables
    )
    return str(source) if same else None
