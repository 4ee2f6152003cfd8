"""Maps: lazily as xarray, into a store as a job, and what they will cost.

As :mod:`hmx.engine.lazy` and :mod:`hmx.forecast.api` for forecasts, on the same
machinery: one task per tile, true pixels around it, nothing read until asked.
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
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.options import MapOptions
from hmx.mapping.order import MapRun
from hmx.progress import Progress
from hmx.settings import parse


@independent
def soc_map(
    obj: Cubelike, model: MapBundle | str | Path, *, region: Region = None, **options: Any
) -> xr.Dataset:
    """Map what was sampled, wall to wall, lazily.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's bands, on pixels of the model's size.
    model : MapBundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to map; equals the crop of the full map.
    **options
        Fields of :class:`hmx.mapping.options.MapOptions`.

    Returns
    -------
    Dataset
        Dask-backed; the target and the ends of its intervals (y, x), float32, NaN where
        too little is known; ``dissimilarity`` and ``applicable`` where the model knows
        what it was trained on; ``quality``. A map of a calendar has a scalar ``time``.

    Raises
    ------
    BadArgument, NotEnoughData
        If an option is impossible, or the cube lacks the steps up to the date.
    BundleError, CubeError, MissingVariable
        If the model and the cube do not fit.
    """
    result = lay(MapRun.of(obj, model, parse(MapOptions, options), region=region))
    assert isinstance(result, xr.Dataset)
    return result


def map_to_zarr(
    obj: Cubelike,
    path: str | Path,
    model: MapBundle | str | Path,
    *,
    region: Region = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
    **options: Any,
) -> xr.Dataset:
    """Map a stored cube into a store, as a job that can be gone on with.

    Parameters
    ----------
    obj : Dataset
        From :func:`hmx.open_cube`, untouched.
    path : str or Path
        Store to write.
    model : MapBundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to map.
    workers : int, optional
        Worker processes. Default: this process.
    scheduler : str, optional
        Address of a Dask scheduler.
    overwrite : bool
        Replace another map of hmx at ``path``.
    progress : Progress
        For progress.
    **options
        Fields of :class:`hmx.mapping.options.MapOptions`.

    Returns
    -------
    Dataset
        The finished store, opened.

    Raises
    ------
    CubeError
        If ``obj`` is not a store as it was opened.
    HmxError
        As :func:`hmx.engine.job.run` and :func:`soc_map`.
    """
    store = absolute(path)
    chosen = adopt(parse(MapOptions, options), store)
    order = MapRun.of(obj, model, chosen, region=region)
    section = section_of(workers=workers, scheduler=scheduler)
    return run_order(order, obj, store, section, overwrite=overwrite, progress=progress)


def plan_map(
    obj: Cubelike,
    model: MapBundle | str | Path,
    *,
    region: Region = None,
    workers: int | None = None,
    **options: Any,
) -> Plan:
    """Plan a map of any cube; only of a store can empty tiles be told beforehand.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    model : MapBundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to map.
    workers : int, optional
        Worker processes of this machine that will share it.
    **options
        Fields of :class:`hmx.mapping.options.MapOptions`.
    """
    order = MapRun.of(obj, model, parse(MapOptions, options), region=region)
    return plan(order, order.inventory(store_of(obj, order.cube)), section_of(workers=workers))
