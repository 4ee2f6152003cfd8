"""Maps: lazily as xarray, into a store as a job, and their cost.

As :mod:`hmx.engine.lazy` and :mod:`hmx.forecast.api` for forecasts, on the same
machinery: one task per tile, true pixels around it, nothing read before ``compute``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import xarray as xr

from hmx.bundles.folder import trained_model
from hmx.cube.cube import Cubelike, Region
from hmx.engine.lazy import lay
from hmx.engine.plan import Plan
from hmx.engine.recall import remember
from hmx.engine.stores import DaskClient, Workers, plan_of, to_zarr
from hmx.independent import independent
from hmx.mapping.bundle import MapBundle
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.keywords import MapChoices, MapFitting, MapTiling
from hmx.mapping.options import MapScoreOptions, split_mapping
from hmx.mapping.order import MapRun
from hmx.mapping.train.recipe import MapTrainSetup
from hmx.points.options import PointsOptions
from hmx.progress import Progress
from hmx.settings import parse
from hmx.splits.options import SplitOptions

_UNTRAINED = "mapper. Pass one: map(model='models/soc'), or call train() on this very object first."


def train(
    obj: Cubelike,
    points: Any,
    target: str = "soc",
    *,
    window: int | None = None,
    dynamic: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = Progress(),
    **options: Unpack[MapFitting],
) -> MapBundle:
    """Fit a mapper to samples of a quantity.

    Parameters
    ----------
    obj : Dataset or DataArray
        Bands with and without time on one grid.
    points : DataFrame, GeoDataFrame, str or Path
        Samples: a table, or the path of a CSV, GeoPackage or other vector file.
    target : str
        Column of the sampled quantity.
    window : int, optional
        Odd side of the window around a point, px; ``window_size`` means the same. Default: 5.
    dynamic, static : sequence of str, optional
        Bands with and without time. Default: all.
    seed : int
        Same seed, points and cube, same weights.
    out : str or Path, optional
        Folder to save the model in.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.soc``, else nowhere.
    **options
        Of the points: ``x``, ``y``, ``crs``, ``date``, ``site``, ``where``,
        ``units``, ``valid_range``, ``layer``, ``min_valid``, ``separator``,
        ``decimal``, ``encoding``, ``missing``, ``id``
        (:class:`hmx.points.options.PointsOptions`). Of network and fit: fields of
        :class:`hmx.networks.options.MapperOptions` and
        :class:`hmx.mapping.options.MapTrainOptions`, such as ``runs=5``,
        ``blend=0.5`` or ``transform="log1p"``. ``split="random"`` or
        ``split={"method": "blocks", "block_km": 20}``, fields of
        :class:`hmx.splits.options.SplitOptions`;
        ``categories=["landcover"]``, bands of classes beside those with CF flags in their
        attributes; ``init_from="models/elsewhere"``; ``track={"wandb": "offline"}``.

    Returns
    -------
    MapBundle
        The model. ``ds.soc`` remembers it for ``ds.soc.map``.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError, OutputExists
        With what was given, the rule and what to type.

    Examples
    --------
    >>> model = ds.soc.train("points.csv", crs="EPSG:4326")  # doctest: +SKIP
    """
    from hmx.mapping.train.train import train as fit_setup  # loads Lightning

    named = named_options(target, window, seed)
    setup = setup_of({**named, **options}, dynamic=dynamic, static=static)
    return fit_setup(obj, points, setup, out=out, progress=progress)


def named_options(target: str, window: int | None, seed: int) -> dict[str, Any]:
    """Return the options that are arguments; a default does not collide with another name."""
    return {"target": target, "seed": seed} | ({} if window is None else {"window": window})


def evaluate(
    obj: Cubelike,
    points: Any,
    target: str = "soc",
    *,
    window: int | None = None,
    dynamic: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
    seed: int = 0,
    beside: Sequence[str] = ("random",),
    level: Sequence[float] | float = (50, 80, 90),
    out: str | Path | None = None,
    progress: Progress = Progress(),
    **options: Unpack[MapFitting],
) -> MapScorecard:
    """Score a way to make a mapper on samples that it has not seen.

    Parameters
    ----------
    obj, points, target, window, dynamic, static, seed, progress
        As in :func:`train`.
    beside : sequence of str
        Ways of splitting the samples that are reported in addition to ``split``.
    level : float or sequence of float
        Central intervals whose coverage is reported, percent.
    out : str or Path, optional
        Folder of the scorecard.
    **options
        As in :func:`train`.

    Returns
    -------
    MapScorecard
        ``print`` it; ``.verdict`` is one sentence on what to use; ``.save`` and
        ``.load`` keep it. A current scorecard in ``out`` is read, not made again.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError, OutputExists
        With what was given, the rule and what to type.

    Examples
    --------
    >>> print(ds.soc.evaluate("points.csv", crs="EPSG:4326"))  # doctest: +SKIP
    """
    from hmx.mapping.evaluate.score import score  # loads Lightning

    named = named_options(target, window, seed)
    setup = setup_of({**named, **options}, dynamic=dynamic, static=static)
    scored = parse(MapScoreOptions, {"beside": beside, "level": level})
    return score(obj, points, setup, scored, out=out, progress=progress)


@independent
def soc_map(
    obj: Cubelike,
    *,
    model: MapBundle | str | Path | None = None,
    level: Sequence[float] | float = (),
    quantiles: Sequence[float] | float = (),
    time: int | str | None = None,
    region: Region = None,
    **options: Unpack[MapTiling],
) -> xr.Dataset:
    """Map the sampled quantity, wall to wall, lazily.

    Parameters
    ----------
    obj : Dataset or DataArray
        A cube with the model's bands, on pixels of the model's size.
    model : MapBundle or path, optional
        From ``train`` or :func:`hmx.load`. Default: the one that ``ds.soc`` trained.
    level : float or sequence of float
        Central prediction intervals, percent: adds ``soc_lo_90``, ``soc_hi_90`` ...
    quantiles : float or sequence of float
        Quantiles of the predictive distribution, between 0 and 1: adds ``soc_quantile``
        (quantile, y, x).
    time : int or str, optional
        Date of the map, of a calendar: a year or an ISO date; ``year`` means the same.
        Default: the last step.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to map: equals the crop of the full map.
    **options
        ``tile``, ``chunk`` and ``device`` (:class:`hmx.mapping.options.MapOptions`).

    Returns
    -------
    Dataset
        ``soc`` (y, x), float32, in the units of the points, dask-backed; NaN where too
        little is known. ``dissimilarity`` and ``applicable`` show where the land is like
        that of the samples; ``quality`` where covariates are missing. A map of a calendar
        has a scalar ``time``.

    Raises
    ------
    NotTrained
        Without ``model`` on an object that did not train.
    BadArgument, BundleError, CubeError, MissingVariable, NotEnoughData
        If options, model and cube do not fit.

    Examples
    --------
    >>> soil = ds.soc.map(model="models/soc", level=[90])  # doctest: +SKIP
    """
    given = {
        "level": level,
        "quantiles": quantiles,
        **options,
        **({} if time is None else {"time": time}),
    }
    run = MapRun.check(obj, trained_model(model, _UNTRAINED), given, region=region)
    result = lay(run)
    assert isinstance(result, xr.Dataset)
    remember(result, run)  # for its zone totals
    return result


def map_to_zarr(
    obj: Cubelike,
    path: str | Path,
    *,
    model: MapBundle | str | Path | None = None,
    region: Region = None,
    workers: int | None = None,
    scheduler: str | DaskClient | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
    **options: Unpack[MapChoices],
) -> xr.Dataset:
    """Map into a Zarr store, tile by tile, as a job that survives being stopped.

    Parameters
    ----------
    obj : Dataset
        From :func:`hmx.open_cube`, unchanged.
    path : str or Path
        Store to write; its ledger lies next to it.
    model, region
        As in :func:`soc_map`.
    workers, scheduler : int, str or distributed.Client, optional
        Worker processes, or the address of a Dask scheduler, or a client of one. Default: the
        Dask client that is open in this process, or this process.
    overwrite : bool
        Replace another map of hmx at ``path``.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.soc``, else nowhere.
    **options
        ``level``, ``quantiles``, ``time``, ``tile``, ``chunk`` and ``device``, as in
        :class:`hmx.mapping.options.MapOptions`.

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
    >>> soil = ds.soc.map_to_zarr("soc.zarr", model="models/soc")  # doctest: +SKIP
    """
    return to_zarr(
        MapRun, obj, path, trained_model(model, _UNTRAINED), options,
        region=region, workers=Workers(workers, scheduler), overwrite=overwrite, progress=progress,
    )  # fmt: skip


def plan_map(
    obj: Cubelike,
    *,
    model: MapBundle | str | Path | None = None,
    region: Region = None,
    workers: int | None = None,
    **options: Unpack[MapChoices],
) -> Plan:
    """Estimate what a map will cost before it runs; empty tiles count only without a Zarr store.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    model : MapBundle or path
        From ``train`` or :func:`hmx.load`.
    region : box, slices, GeoJSON or GeoDataFrame, optional
        Part to map.
    workers : int, optional
        Worker processes of this machine that will share the work.
    **options
        Fields of :class:`hmx.mapping.options.MapOptions`.

    Returns
    -------
    Plan
        Tiles, halo, bytes, memory and time; ``print`` it.

    Raises
    ------
    NotTrained
        Without a model.
    BadArgument, BundleError, CubeError
        If options, model and cube do not fit, or a tile does not fit into memory.
    """
    wanted = trained_model(model, _UNTRAINED)
    return plan_of(MapRun, obj, wanted, options, region=region, workers=workers)


def setup_of(
    given: Mapping[str, Any], *, dynamic: Sequence[str] | None, static: Sequence[str] | None
) -> MapTrainSetup:
    """Sort keyword options by whose they are: points, split, tracking, network and fit."""
    from hmx.training.options import TrackSection

    options = dict(given)
    split = options.pop("split", {})
    split = parse(SplitOptions, {"method": split} if isinstance(split, str) else split)
    track = parse(TrackSection, options.pop("track", {})).model_dump()
    start = options.pop("init_from", None)
    classes = options.pop("categories", ())
    table = {name: options.pop(name) for name in PointsOptions.model_fields if name in options}
    network, fit = split_mapping(options)
    return MapTrainSetup(
        parse(PointsOptions, table),
        network,
        fit,
        split,
        track=track,
        init_from=None if start is None else str(start),
        dynamic=dynamic,
        static=static,
        categories=(classes,) if isinstance(classes, str) else tuple(classes),
    )
