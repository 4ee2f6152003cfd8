"""The ``.soc`` accessor: each method is one call to a plain function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from hmx.errors import NotTrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hmx.engine.plan import Plan
    from hmx.engine.region import Region
    from hmx.mapping.bundle import MapBundle
    from hmx.mapping.evaluate.scorecard import MapScorecard
    from hmx.mapping.train.recipe import MapTrainSetup
    from hmx.settings import Numbers

_POINTS = (
    "x", "y", "crs", "date", "site", "where", "units", "valid_range", "layer", "min_valid",
    "separator", "decimal", "encoding", "missing", "id",
)  # fmt: skip


class SOCAccessor:
    """Mapping from samples: ``ds.soc`` on a Dataset of covariates.

    Parameters
    ----------
    obj : Dataset
        Bands with and without time on one grid, under any usual names of dims.
    """

    def __init__(self, obj: xr.Dataset):
        self._obj = obj
        self._model: MapBundle | None = None

    def train(
        self,
        points: Any,
        target: str = "soc",
        *,
        window: int = 5,
        dynamic: Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        seed: int = 0,
        out: str | Path | None = None,
        **options: Any,
    ) -> MapBundle:
        """Fit a mapper to samples of a quantity.

        Parameters
        ----------
        points : DataFrame, GeoDataFrame, str or Path
            Samples: a table, or the path of a CSV, GeoPackage or other vector file.
        target : str
            Column of the sampled quantity.
        window : int
            Odd side of the window around a point, px.
        dynamic, static : sequence of str, optional
            Bands with and without time. Default: all.
        seed : int
            Same seed, points and cube, same weights.
        out : str or Path, optional
            Folder to save the model in.
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
            ``init_from="models/elsewhere"``; ``track={"wandb": "offline"}``.

        Returns
        -------
        MapBundle
            The model; it is also remembered by this object's ``map``.

        Raises
        ------
        BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError, OutputExists
            Saying what was given, the rule and what to type.

        Examples
        --------
        >>> model = ds.soc.train("points.csv", crs="EPSG:4326")  # doctest: +SKIP
        """
        from hmx.mapping.train.train import train
        from hmx.progress import Progress

        bands = {"dynamic": dynamic, "static": static}
        recipe = _recipe({"target": target, "window": window, "seed": seed, **options}, bands)
        self._model = train(self._obj, points, recipe, out=out, progress=Progress.console())
        return self._model

    def evaluate(
        self,
        points: Any,
        target: str = "soc",
        *,
        window: int = 5,
        dynamic: Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        seed: int = 0,
        beside: Sequence[str] = ("random",),
        level: Numbers | float = (50, 80, 90),
        out: str | Path | None = None,
        **options: Any,
    ) -> MapScorecard:
        """Score a way to make a mapper on samples that it has not seen.

        Parameters
        ----------
        points, target, window, dynamic, static, seed
            As in :meth:`train`.
        beside : sequence of str
            Ways of splitting the samples that are told beside ``split``.
        level : float or sequence of float
            Central intervals whose coverage is told, percent.
        out : str or Path, optional
            Folder of the scorecard.
        **options
            As in :meth:`train`.

        Returns
        -------
        MapScorecard
            ``print`` it; ``.verdict`` says in one sentence what to use; ``.save`` and
            ``.load`` keep it. One in ``out`` that is current is read, not made again.

        Raises
        ------
        BadArgument, CubeError, MissingVariable, NotEnoughData, SourceError, OutputExists
            Saying what was given, the rule and what to type.

        Examples
        --------
        >>> print(ds.soc.evaluate("points.csv", crs="EPSG:4326"))  # doctest: +SKIP
        """
        from hmx.mapping.evaluate.score import score
        from hmx.mapping.options import MapScoreOptions
        from hmx.progress import Progress
        from hmx.settings import parse

        bands = {"dynamic": dynamic, "static": static}
        recipe = _recipe({"target": target, "window": window, "seed": seed, **options}, bands)
        wanted = parse(MapScoreOptions, {"beside": beside, "level": level})
        return score(self._obj, points, recipe, wanted, out=out, progress=Progress.console())

    def map(
        self,
        *,
        model: MapBundle | str | Path | None = None,
        level: Numbers | float = (),
        time: int | str | None = None,
        region: Region = None,
        **options: Any,
    ) -> xr.Dataset:
        """Map what was sampled, wall to wall, lazily.

        Parameters
        ----------
        model : MapBundle or path, optional
            Default: the one this object trained.
        level : float or sequence of float
            Central prediction intervals, percent: adds ``soc_lo_90``, ``soc_hi_90`` ...
        time : int or str, optional
            Date of the map, of a calendar: a year or an ISO date; ``year`` means the same.
            Default: the last step.
        region : box, slices, GeoJSON or GeoDataFrame, optional
            Part to map: equals the crop of the full map.
        **options
            ``tile``, ``chunk`` and ``device``
            (:class:`hmx.mapping.options.MapOptions`).

        Returns
        -------
        Dataset
            ``soc`` (y, x), float32, in the units of the points; NaN where too little is
            known. ``dissimilarity`` and ``applicable`` say where the land is like that of
            the samples; ``quality`` where covariates are missing.

        Raises
        ------
        NotTrained
            Without ``model`` on an object that did not train.
        BadArgument, BundleError, CubeError, MissingVariable, NotEnoughData
            If options, model and cube do not fit.

        Examples
        --------
        >>> soc = ds.soc.map(model="models/soc", level=[90])  # doctest: +SKIP
        """
        from hmx.mapping.api import soc_map

        chosen = self._trained() if model is None else model
        options |= {} if time is None else {"time": time}
        return soc_map(self._obj, chosen, region=region, level=level, **options)

    def map_to_zarr(
        self,
        path: str | Path,
        *,
        model: MapBundle | str | Path | None = None,
        region: Region = None,
        workers: int | None = None,
        scheduler: str | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> xr.Dataset:
        """Map into a Zarr store, tile by tile, as a job that survives being stopped.

        Parameters
        ----------
        path : str or Path
            Store to write; its ledger lies beside it.
        model, region
            As in :meth:`map`.
        workers, scheduler : int, str, optional
            Worker processes, or the address of a Dask scheduler.
        overwrite : bool
            Replace another map of hmx at ``path``.
        **options
            ``level``, ``time``, ``tile``, ``chunk`` and ``device``.

        Returns
        -------
        Dataset
            The finished store, opened lazily.

        Raises
        ------
        CubeError
            If this object is not a store as :func:`hmx.open_cube` opened it.
        OutputExists, OutputBusy, OutputFailed, JobFailed
            If the place is taken, in use or cannot be written, or tiles failed.

        Examples
        --------
        >>> soc = ds.soc.map_to_zarr("soc.zarr", model="models/soc")  # doctest: +SKIP
        """
        from hmx.mapping.api import map_to_zarr
        from hmx.progress import Progress

        return map_to_zarr(
            self._obj,
            path,
            self._trained() if model is None else model,
            region=region,
            workers=workers,
            scheduler=scheduler,
            overwrite=overwrite,
            progress=Progress.console(),
            **options,
        )

    def plan(
        self,
        *,
        model: MapBundle | str | Path | None = None,
        region: Region = None,
        workers: int | None = None,
        **options: Any,
    ) -> Plan:
        """Say what a map would cost: tiles, halo, bytes, memory and time.

        Parameters
        ----------
        model, region
            As in :meth:`map`.
        workers : int, optional
            Worker processes of this machine that will share it.
        **options
            As in :meth:`map_to_zarr`.

        Examples
        --------
        >>> print(ds.soc.plan(model="models/soc"))  # doctest: +SKIP
        """
        from hmx.mapping.api import plan_map

        chosen = self._trained() if model is None else model
        return plan_map(self._obj, chosen, region=region, workers=workers, **options)

    def plot_map(
        self, model: MapBundle | str | Path | None = None, *, width: float = 6.0
    ) -> Figure:
        """Draw a map: estimate, width of its interval, and where it applies.

        Parameters
        ----------
        model : MapBundle or path, optional
            What made it: adds the places of its samples.
        width : float
            Of one map, inches.

        Returns
        -------
        matplotlib.figure.Figure
            Not shown, and known to no backend: ``figure.savefig("soc.png")``.

        Raises
        ------
        CubeError
            If this object is no result of :meth:`map`.

        Examples
        --------
        >>> soc.soc.plot_map("models/soc").savefig("soc.png")  # doctest: +SKIP
        """
        from hmx.products.soil_maps import plot_map

        return plot_map(self._obj, model, width=width)

    def _trained(self) -> MapBundle:
        if self._model is None:
            raise NotTrained(
                "this object has not trained a mapper. Pass one: map(model='models/soc'), or call "
                "train() on this very object first."
            )
        return self._model


def _recipe(options: dict[str, Any], bands: dict[str, Any]) -> MapTrainSetup:
    """Sort options of points, network, fit and split into a recipe."""
    from hmx.mapping.options import split_mapping
    from hmx.mapping.train.recipe import MapTrainSetup
    from hmx.points.options import PointsOptions
    from hmx.settings import parse
    from hmx.splits.options import SplitOptions
    from hmx.training.tracking import TrackSection

    split = options.pop("split", {})
    split = parse(SplitOptions, {"method": split} if isinstance(split, str) else split)
    track = parse(TrackSection, options.pop("track", {})).model_dump()
    start = options.pop("init_from", None)
    apart: dict[str, Any] = {"track": track, "init_from": None if start is None else str(start)}
    table = {n: options.pop(n) for n in ("target", *_POINTS) if n in options}
    network, fit = split_mapping(options)
    return MapTrainSetup(parse(PointsOptions, table), network, fit, split, **bands, **apart)


def register() -> None:
    """Register ``.soc`` on Dataset, once."""
    if getattr(xr.Dataset, "soc", None) is not SOCAccessor:
        xr.register_dataset_accessor("soc")(SOCAccessor)  # type: ignore[no-untyped-call]
