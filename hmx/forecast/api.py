"""What ``ds.hm`` does, as plain functions: train, forecast, forecast into a store, plan.

A job reads its cube from the store itself, so the object must *be* a store: as opened,
whole and unchanged. An object that was edited, cropped or computed is never taken for
the store that it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import xarray as xr

from hmx.bundles.folder import trained_model
from hmx.cube.cube import Cubelike, Region
from hmx.engine.lazy import lay
from hmx.engine.plan import Plan
from hmx.engine.recall import remember
from hmx.engine.stores import DaskClient, Workers, plan_of, to_zarr
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import Fitting, Forecasting, split_fitting
from hmx.forecast.order import ForecastRun
from hmx.independent import independent
from hmx.networks.options import Precision
from hmx.progress import Progress

_UNTRAINED = (
    "model. Pass one: forecast(h=4, model='models/demo'), or call train() on this very object "
    "first (ds['hm'] is a new object each time)."
)


def train(
    obj: Cubelike,
    target: str | None = None,
    *,
    static: Sequence[str] | None = None,
    dynamic: Sequence[str] | None = None,
    future: Sequence[str] | None = None,
    history: int | None = None,
    h: int = 4,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = Progress(),
    **options: Unpack[Fitting],
) -> Bundle:
    """Fit a forecaster to a cube.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    target : str, optional
        Variable to predict. Default: ``hm``, or the only one with time.
    static, dynamic : sequence of str, optional
        Covariates without and with time. Default: what the catalog that
        made the cube names; of a DataArray, its (y, x) coordinates, which ``ds.hm.to_array()``
        gives it. One without them trains on the target alone, and ``progress`` names what
        it lacks.
    future : sequence of str, optional
        Dynamic covariates that are known ahead and read at each lead. The others stay
        at their last known value, and so do these beyond theirs. Default: those whose
        catalog has ``future: true``. The cube's time axis may then continue beyond
        the last map of the target, which ``ds["hm"].attrs["observed_until"]``
        names (a year or an ISO date).
    history : int, optional
        Past steps the model sees, the origin included. Default: 3, or 2 where the series
        is too short to teach all ``h`` leads with 3.
    h : int
        Leads trained for, as far as the series can teach them: one of n steps teaches
        n - history leads.
    seed : int
        Same seed and data, same weights.
    out : str or Path, optional
        Folder to save the model in.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.hm``, else nowhere.
    **options
        Any field of :class:`hmx.networks.options.ModelOptions` and
        :class:`hmx.forecast.options.TrainOptions`, such as ``epochs=5``,
        ``hidden=32`` or ``device="cuda"``; ``init_from="models/elsewhere"``, a model of the
        same network whose weights are the start.

    Returns
    -------
    Bundle
        The model. ``ds.hm`` remembers it for ``ds.hm.forecast``.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, OutputExists
        With what was given, the rule and what to type.

    Examples
    --------
    >>> model = ds.hm.train(static=["elevation"], out="models/demo")  # doctest: +SKIP
    """
    from hmx.forecast.train.recipe import TrainSetup
    from hmx.forecast.train.train import train as fit_setup  # loads Lightning

    start = options.pop("init_from", None)
    network, fit = split_fitting({"history": history, "h": h, "seed": seed, **options})
    setup = TrainSetup(
        target, dynamic, static, network, fit, future=future,
        init_from=None if start is None else str(start),
    )  # fmt: skip
    return fit_setup(obj, setup, out=out, progress=progress)


@independent
def forecast(
    obj: Cubelike,
    h: int = 4,
    *,
    model: Bundle | str | Path | None = None,
    level: Sequence[float] | float = (),
    quantiles: Sequence[float] | float = (),
    exceed: Sequence[float] | float = (),
    region: Region = None,
    tile: int = 512,
    precision: Precision = "float32",
    device: str = "auto",
    progress: Progress = Progress(),
) -> Cubelike:
    """Forecast the next ``h`` steps, lazily.

    Nothing is read or computed until the result is, and then only the tiles under
    the part that is used.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's variables, on pixels of the model's size.
    h : int
        Leads, in steps of the cube's cadence. Beyond those that the model has learnt, it
        goes on from its own mean; the attribute ``extrapolated_leads`` lists such leads.
        Their intervals are at least as wide as those of the last learnt lead, and
        uncalibrated.
    model : Bundle or path, optional
        From ``train`` or :func:`hmx.load`. Default: the one that ``ds.hm`` trained.
    level : float or sequence of float
        Central prediction intervals, percent, e.g. ``[80, 95]``: adds
        ``hm_lo_80``, ``hm_hi_80`` ... Only on a Dataset.
    quantiles : float or sequence of float
        Between 0 and 1: adds ``hm_quantile`` with a ``quantile`` dimension.
    exceed : float or sequence of float
        Thresholds in the target's units: adds ``hm_exceedance``, the probability
        of more than each, with a ``threshold`` dimension.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to forecast: equals the crop of the full forecast.
    tile : int
        Side of a tile and of the result's chunks, px; does not change the result.
    precision : {"float32", "bfloat16", "auto", "float64"}
        ``auto``: bfloat16 where the hardware has it and an audit allows it.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress : Progress
        Where a line about extrapolated leads goes. Default: standard error from
        ``ds.hm``, else nowhere.

    Returns
    -------
    Dataset or DataArray
        ``hm`` (time, y, x): mean of the predictive distribution, float32,
        in the units, grid, CRS and names of the cube; NaN exactly where the
        origin has no data. With ``lead(time)`` and
        ``forecast_reference_time``; a Dataset also has ``quality`` (y, x).

    Raises
    ------
    NotTrained
        Without ``model`` on an object that did not train.
    BadArgument, BundleError, CubeError, MissingVariable
        If options, model and cube do not fit.

    Examples
    --------
    >>> fc = ds.hm.forecast(h=4, model="models/demo", level=[80, 95])  # doctest: +SKIP
    """
    options = {
        "h": h, "level": level, "quantiles": quantiles, "exceed": exceed, "tile": tile,
        "precision": precision, "device": device,
    }  # fmt: skip
    run = ForecastRun.check(obj, trained_model(model, _UNTRAINED), options, region=region)
    run.report("forecast", progress)
    result = lay(run)
    remember(result, run)  # for its zone totals and draws
    return result


def forecast_to_zarr(
    obj: Cubelike,
    path: str | Path,
    h: int = 4,
    *,
    model: Bundle | str | Path | None = None,
    region: Region = None,
    workers: int | None = None,
    scheduler: str | DaskClient | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
    **options: Unpack[Forecasting],
) -> xr.Dataset:
    """Forecast into a Zarr store, tile by tile, as a job that survives being stopped.

    Run it again after an interruption: the tiles in its ledger are kept.

    Parameters
    ----------
    obj : Dataset
        From :func:`hmx.open_cube`, unchanged.
    path : str or Path
        Store to write; its ledger lies next to it.
    h, model, region
        As in :func:`forecast`.
    workers, scheduler : int, str or distributed.Client, optional
        Worker processes, or the address of a Dask scheduler, ``tcp://host:8786``, or a client
        of one. Default: the Dask client that is open in this process, or this process.
    overwrite : bool
        Replace another forecast of hmx at ``path``.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.hm``, else nowhere.
    **options
        ``level``, ``quantiles``, ``exceed``, ``tile``, ``chunk``, ``precision`` and
        ``device``, as in :class:`hmx.forecast.options.ForecastOptions`.

    Returns
    -------
    Dataset
        The finished store, opened lazily.

    Raises
    ------
    CubeError
        If the object is not a store as :func:`hmx.open_cube` opened it.
    OutputExists, OutputBusy, OutputFailed, JobFailed
        If the path is taken, in use or cannot be written, or tiles failed.

    Examples
    --------
    >>> fc = ds.hm.forecast_to_zarr("fc.zarr", h=4, level=80)  # doctest: +SKIP
    """
    return to_zarr(
        ForecastRun, obj, path, trained_model(model, _UNTRAINED), {"h": h, **options},
        region=region, workers=Workers(workers, scheduler), overwrite=overwrite, progress=progress,
    )  # fmt: skip


def plan_forecast(
    obj: Cubelike,
    h: int = 4,
    *,
    model: Bundle | str | Path | None = None,
    region: Region = None,
    workers: int | None = None,
    **options: Unpack[Forecasting],
) -> Plan:
    """Estimate what a forecast would cost: tiles, halo, bytes, memory and time.

    Runs one tile to time it; print the result to read it. Empty tiles are left out of the
    estimate only if the cube is a Zarr store.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    h, model, region
        As in :func:`forecast`.
    workers : int, optional
        Worker processes of this machine that will share it.
    **options
        As in :func:`forecast_to_zarr`.

    Returns
    -------
    hmx.engine.plan.Plan
        With ``as_dict()`` for machines.

    Raises
    ------
    BadArgument
        If tiles do not fit into memory, or are not a whole number of chunks.

    Examples
    --------
    >>> print(ds.hm.plan(h=4, model="models/demo"))  # doctest: +SKIP
    """
    wanted = trained_model(model, _UNTRAINED)
    return plan_of(ForecastRun, obj, wanted, {"h": h, **options}, region=region, workers=workers)
