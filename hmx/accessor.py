"""The ``.hm`` accessor: each method is one call to a plain function.

Note that ``ds["hm"]`` is a new object at each access, and so is its accessor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import xarray as xr

from hmx.errors import NotTrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hmx.cube.cadence import Cadence
    from hmx.cube.cube import Cubelike
    from hmx.cube.grid import Grid
    from hmx.engine.plan import Plan
    from hmx.engine.region import Region
    from hmx.forecast.backtest.scorecard import Scorecard
    from hmx.forecast.bundle import Bundle
    from hmx.forecast.options import Fitting, Forecasting
    from hmx.networks.options import Precision
    from hmx.settings import Numbers

Series = TypeVar("Series", xr.Dataset, xr.DataArray)


class AccessorBase:
    """An object, its grid and cadence, and the model that was trained on it.

    Parameters
    ----------
    obj : Dataset or DataArray
        Dims time, y, x under any of their usual names.
    """

    def __init__(self, obj: Cubelike):
        self._obj = obj
        self._model: Bundle | None = None

    @property
    def grid(self) -> Grid:
        """CRS, transform and shape of the cube, north-up."""
        from hmx.cube.cube import as_cube

        return as_cube(self._obj, dynamic=(), static=()).grid

    @property
    def cadence(self) -> Cadence:
        """The calendar step between two maps, as ``5 years``."""
        from hmx.cube.cube import as_cube

        return as_cube(self._obj, dynamic=(), static=()).cadence

    def _trained(self) -> Bundle:
        if self._model is None:
            raise NotTrained(
                "this object has not trained a model. Pass one: forecast(h=4, "
                "model='models/demo'), or call train() on this very object first "
                "(ds['hm'] is a new object each time)."
            )
        return self._model


class HMAccessor(AccessorBase):
    """Forecasting for a cube: ``ds.hm`` on a Dataset, ``da.hm`` on a DataArray.

    Parameters
    ----------
    obj : Dataset or DataArray
        Dims time, y, x under any of their usual names. On a DataArray the
        numeric (y, x) coordinates are static covariates.
    """

    def train(
        self,
        target: str | None = None,
        *,
        static: Sequence[str] | None = None,
        dynamic: Sequence[str] | None = None,
        future: Sequence[str] | None = None,
        history: int = 3,
        h: int = 4,
        seed: int = 0,
        out: str | Path | None = None,
        **options: Unpack[Fitting],
    ) -> Bundle:
        """Fit a forecaster to this cube.

        Parameters
        ----------
        target : str, optional
            Variable to predict. Default: ``hm``, or the only one with time.
        static, dynamic : sequence of str, optional
            Covariates without and with time. Default: what the catalog that
            made the cube names; of a DataArray, its (y, x) coordinates.
        future : sequence of str, optional
            Dynamic covariates that are known ahead, read at each lead; the others,
            and these beyond their last known value, are held. Default: those whose
            catalog says ``future: true``. The cube's time axis may then go on beyond
            the last map of the target, which ``ds["hm"].attrs["observed_until"]``
            names (a year or an ISO date).
        history : int
            Past steps the model sees, the origin included.
        h : int
            Leads trained for.
        seed : int
            Same seed and data, same weights.
        out : str or Path, optional
            Folder to save the model in.
        **options
            Any field of :class:`hmx.networks.options.ModelOptions` and
            :class:`hmx.forecast.options.TrainOptions`, such as ``epochs=5``,
            ``hidden=32`` or ``device="cuda"``.

        Returns
        -------
        Bundle
            The model; it is also remembered by this object's ``forecast``.

        Raises
        ------
        BadArgument, CubeError, MissingVariable, OutputExists
            Saying what was given, the rule and what to type.

        Examples
        --------
        >>> model = ds.hm.train(static=["elevation"], out="models/demo")  # doctest: +SKIP
        """
        from hmx.forecast.options import split_fitting
        from hmx.forecast.train.recipe import TrainSetup
        from hmx.forecast.train.train import train
        from hmx.progress import Progress

        network, fit = split_fitting({"history": history, "h": h, "seed": seed, **options})
        recipe = TrainSetup(target, dynamic, static, network, fit, future=future)
        self._model = train(self._obj, recipe, out=out, progress=Progress.console())
        return self._model

    def forecast(
        self,
        h: int = 4,
        *,
        model: Bundle | str | Path | None = None,
        level: Numbers | float = (),
        quantiles: Numbers | float = (),
        exceed: Numbers | float = (),
        region: Region = None,
        tile: int = 512,
        precision: Precision = "float32",
        device: str = "auto",
    ) -> Cubelike:
        """Forecast the next ``h`` steps, lazily.

        Nothing is read or computed until the result is, and then only the tiles under
        the part that is asked for.

        Parameters
        ----------
        h : int
            Leads, in steps of the cube's cadence.
        model : Bundle or path, optional
            Default: the one this object trained.
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
        from hmx.forecast.api import forecast

        return forecast(
            self._obj,
            self._trained() if model is None else model,
            region=region,
            h=h,
            level=level,
            quantiles=quantiles,
            exceed=exceed,
            tile=tile,
            precision=precision,
            device=device,
        )

    def forecast_to_zarr(
        self,
        path: str | Path,
        h: int = 4,
        *,
        model: Bundle | str | Path | None = None,
        region: Region = None,
        workers: int | None = None,
        scheduler: str | None = None,
        overwrite: bool = False,
        **options: Unpack[Forecasting],
    ) -> xr.Dataset:
        """Forecast into a Zarr store, tile by tile, as a job that survives being stopped.

        Run it again after whatever stopped it: what its ledger proves is kept.

        Parameters
        ----------
        path : str or Path
            Store to write; its ledger lies beside it.
        h, model, region
            As in :meth:`forecast`.
        workers, scheduler : int, str, optional
            Worker processes, or the address of a Dask scheduler, ``tcp://host:8786``.
        overwrite : bool
            Replace another forecast of hmx at ``path``.
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
            If this object is not a store as :func:`hmx.open_cube` opened it.
        OutputExists, OutputBusy, OutputFailed, JobFailed
            If the place is taken, in use or cannot be written, or tiles failed.

        Examples
        --------
        >>> fc = ds.hm.forecast_to_zarr("fc.zarr", h=4, level=80)  # doctest: +SKIP
        """
        from hmx.forecast.api import forecast_to_zarr
        from hmx.progress import Progress

        return forecast_to_zarr(
            self._obj,
            path,
            self._trained() if model is None else model,
            region=region,
            workers=workers,
            scheduler=scheduler,
            overwrite=overwrite,
            progress=Progress.console(),
            h=h,
            **options,
        )

    def plan(
        self,
        h: int = 4,
        *,
        model: Bundle | str | Path | None = None,
        region: Region = None,
        workers: int | None = None,
        **options: Unpack[Forecasting],
    ) -> Plan:
        """Say what a forecast would cost: tiles, halo, bytes, memory and time.

        Runs one tile to time it; print the result to read it.

        Parameters
        ----------
        h, model, region
            As in :meth:`forecast`.
        workers : int, optional
            Worker processes of this machine that will share it.
        **options
            As in :meth:`forecast_to_zarr`.

        Returns
        -------
        hmx.engine.plan.Plan
            With ``as_dict()`` for machines.

        Raises
        ------
        BadArgument
            If tiles do not fit into memory, or are no whole number of chunks.

        Examples
        --------
        >>> print(ds.hm.plan(h=4, model="models/demo"))  # doctest: +SKIP
        """
        from hmx.forecast.api import plan_forecast

        return plan_forecast(
            self._obj,
            self._trained() if model is None else model,
            region=region,
            workers=workers,
            h=h,
            **options,
        )

    def backtest(
        self,
        h: int = 3,
        *,
        model: Bundle | str | Path | None = None,
        origins: Sequence[int | str] | int | str | None = None,
        folds: int | None = None,
        level: Numbers | float = (50, 80, 95),
        baselines: Sequence[str] | None = None,
        zones: Any = None,
        out: str | Path | None = None,
        workers: int | None = None,
        **options: Any,
    ) -> Scorecard:
        """Score a model, or a way to make one, on truth it has not seen.

        Parameters
        ----------
        h : int
            Leads, in steps of the cube's cadence.
        model : Bundle or path, optional
            Scored on what it holds out, and refused if that is nothing. Default: one
            is fitted anew at each origin, with ``options``.
        origins, folds, level, baselines, zones, out, workers
            As in :func:`hmx.forecast.backtest.backtest.backtest`.
        **options
            ``target``, ``static``, ``dynamic`` and all other options of :meth:`train`.

        Returns
        -------
        hmx.forecast.backtest.scorecard.Scorecard
            ``print`` it; ``.verdict`` says in one sentence what to use.

        Raises
        ------
        BadArgument, CubeError, NotEnoughData, OutputExists, JobFailed
            Saying what was given, the rule and what to type.

        Examples
        --------
        >>> print(ds.hm.backtest(h=3, static=["elevation"], out="scores"))  # doctest: +SKIP
        """
        from hmx.forecast.backtest.backtest import backtest
        from hmx.progress import Progress

        wanted = {"baselines": baselines, "zones": zones, "out": out, "workers": workers}
        wanted |= {
            "origins": origins,
            "folds": folds,
            "level": level,
            "progress": Progress.console(),
        }
        return backtest(self._obj, h, model=model, **wanted, **options)

    def with_history(self, past: Series) -> Series:
        """Join the cube a forecast was made from and this forecast, lazily.

        Parameters
        ----------
        past : Dataset or DataArray
            The cube, on the same grid; ``lead`` is negative before the origin, and
            intervals are NaN there.

        Examples
        --------
        >>> series = fc.hm.with_history(ds)  # doctest: +SKIP
        """
        from hmx.forecast.series import with_history

        return with_history(past, self._obj)

    def plot_forecast(self, past: Cubelike | None = None, **options: Any) -> Figure:
        """Draw a forecast: the origin, each lead, and the change from the origin.

        Parameters
        ----------
        past : Dataset or DataArray, optional
            The cube the forecast was made from.
        **options
            Passed to :func:`hmx.products.forecast_maps.plot_forecast`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from hmx.products.forecast_maps import plot_forecast

        return plot_forecast(self._obj, past, **options)


def register() -> None:
    """Register ``.hm`` on Dataset and DataArray, once."""
    for kind, add in (
        (xr.Dataset, xr.register_dataset_accessor),
        (xr.DataArray, xr.register_dataarray_accessor),
    ):
        if getattr(kind, "hm", None) is not HMAccessor:
            add("hm")(HMAccessor)  # type: ignore[no-untyped-call]
