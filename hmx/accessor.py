"""The ``.hm`` accessor, and what both accessors share.

A method of an accessor *is* a plain function: signature, types and text stand there, and
:class:`Method` puts the accessor's object in front. The module of a function is imported
when the method is looked up, so that ``import hmx`` loads no torch.

Note that ``ds["hm"]`` is a new object at each access, and so is its accessor.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, overload

import numpy as np
import xarray as xr
from numpy.lib.mixins import NDArrayOperatorsMixin

from hmx.errors import did_you_mean

if TYPE_CHECKING:
    from hmx.cube.cadence import Cadence
    from hmx.cube.cube import Cubelike
    from hmx.cube.grid import Grid

Args = ParamSpec("Args")
Result = TypeVar("Result")
Series = TypeVar("Series", xr.Dataset, xr.DataArray)


class LateModule:
    """A module that is imported when one of its functions is used first.

    Type checkers read the module itself (``if TYPE_CHECKING``), and so the parameters of each
    method.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, function: str) -> Callable[[], Callable[..., Any]]:
        return lambda: getattr(import_module(self._name), function)


class Method(Generic[Args, Result]):
    """A plain function as a method: the accessor's object is its first argument.

    Parameters
    ----------
    function : callable
        Of a :class:`LateModule`.
    trained : bool
        Whether ``model`` is by default the one that the object trained.
    remembers : bool
        Whether the result is that model.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Any, Args], Result],
        *,
        trained: bool = False,
        remembers: bool = False,
    ):
        self._late: Any = function
        self._trained, self._remembers = trained, remembers

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, accessor: None, owner: type) -> Callable[..., Result]: ...
    @overload
    def __get__(self, accessor: AccessorBase, owner: type) -> Callable[Args, Result]: ...
    def __get__(self, accessor: AccessorBase | None, owner: type) -> Callable[..., Result]:
        """Return the plain function of a class, and a bound method of an accessor."""
        function: Callable[..., Result] = self._late()
        if accessor is None:
            return function
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Result:
            if "progress" in signature.parameters:  # silent as a function, not as a method
                from hmx.progress import Progress

                kwargs.setdefault("progress", Progress.console())
            if self._trained and kwargs.get("model") is None:
                kwargs["model"] = accessor._model
            result = function(accessor._obj, *args, **kwargs)
            if self._remembers:
                accessor._model = result
            return result

        first, *parameters = signature.parameters.values()
        text = rf"(?ms)^    {first.name} : .*?\n(?=    \S|\n)"  # the object's entry
        call.__doc__ = re.sub(text, "", function.__doc__ or "")
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__name__, call.__qualname__ = self._name, f"{owner.__name__}.{self._name}"
        return call


class AccessorBase(NDArrayOperatorsMixin):
    """An object, its grid and cadence, and the model that was trained on it.

    An accessor hides the variable of its own name: xarray reads ``ds.soc`` as the
    accessor, and a map of soil carbon has a variable ``soc``. So whatever is not the
    accessor's own falls through to that variable: ``ds.soc.values``, ``ds.soc.plot()``,
    ``ds.soc[0]``, ``ds.soc * 10`` and ``np.asarray(ds.soc)`` are those of ``ds["soc"]``.

    Parameters
    ----------
    obj : Dataset or DataArray
        Dims time, y, x under any of their usual names.
    """

    _variable: ClassVar[str]  # the accessor's name, and that of the variable it hides

    def __init__(self, obj: Cubelike):
        self._obj = obj
        self._model: Any = None

    @property
    def grid(self) -> Grid:
        """CRS, transform and shape of the cube, north-up."""
        from hmx.cube.cube import as_dataset
        from hmx.cube.grid import Grid, crs_as_coordinate, north_up

        obj = self._obj
        data = as_dataset(obj) if isinstance(obj, xr.DataArray) else obj
        return Grid.from_xarray(north_up(crs_as_coordinate(data)))

    @property
    def cadence(self) -> Cadence:
        """The calendar step between two maps, as ``5 years``."""
        from hmx.cube.cadence import Cadence
        from hmx.cube.grid import find_axes

        return Cadence.infer(self._obj[find_axes(self._obj, ["time"])["time"]])

    def _hidden(self) -> xr.DataArray | None:
        """Return the variable that the accessor hides, if the Dataset has it."""
        name = self._variable
        if isinstance(self._obj, xr.Dataset) and name in self._obj:
            return self._obj[name]
        return None

    def _required(self, use: str) -> xr.DataArray:
        if (variable := self._hidden()) is None:
            raise TypeError(f"{use} works on the variable {self._variable!r}. {self._missing()}")
        return variable

    def _missing(self) -> str:
        """Name what the accessor has, and how a user gets at a variable."""
        name, obj = self._variable, self._obj
        own = ", ".join(self._own())
        if isinstance(obj, xr.DataArray):
            return f".{name} of a DataArray has: {own}. Leave out .{name}: da.values."
        return (
            f".{name} has: {own}; and this Dataset has no variable {name!r} (has: "
            f"{', '.join(map(str, obj.data_vars)) or 'none'}). Take a variable by its name: "
            "ds['name']."
        )

    @classmethod
    def _own(cls) -> list[str]:
        return [name for name in dir(cls) if not name.startswith("_")]

    def __getattr__(self, name: str) -> Any:
        """Look up in the variable what the accessor does not have."""
        # copy and pickle look for names like __setstate__ on objects without _obj: no recursion
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        variable = self._hidden()
        near = did_you_mean(name, self._own())
        if variable is None:
            raise AttributeError(f".{self._variable} has no {name!r}.{near} {self._missing()}")
        try:
            return getattr(variable, name)
        except AttributeError:
            raise AttributeError(
                f".{self._variable} has no {name!r} (has: {', '.join(self._own())}), and neither "
                f"has the variable {self._variable!r}.{near}"
            ) from None

    def __dir__(self) -> list[str]:
        variable = self._hidden()
        return sorted({*object.__dir__(self), *(() if variable is None else dir(variable))})

    def __repr__(self) -> str:
        variable = self._hidden()
        head = f"<.{self._variable} of hmx: {', '.join(self._own())}>"
        return head if variable is None else f"{head}\n{variable!r}"

    def __getitem__(self, key: Any) -> xr.DataArray:
        return self._required("[...]")[key]

    def __len__(self) -> int:
        return len(self._required("len()"))

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.asarray(self._required("conversion to an array").__array__(*args, **kwargs))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute with the variable: operators of the mixin come here too."""
        values = [x._required("arithmetic") if isinstance(x, AccessorBase) else x for x in inputs]
        return getattr(ufunc, method)(*values, **kwargs)


if TYPE_CHECKING:
    from hmx.cube import array
    from hmx.exports import api as exports
    from hmx.exports import cog
    from hmx.forecast import api, drawing
    from hmx.forecast import zonal as zone_totals
    from hmx.forecast.backtest import backtest as scoring
    from hmx.pictures import zones as fans
    from hmx.products import forecast_maps
    from hmx.products import report as reports
    from hmx.zones import files as zone_files
    from hmx.zones import frames, history
else:
    array = LateModule("hmx.cube.array")
    exports, cog = LateModule("hmx.exports.api"), LateModule("hmx.exports.cog")
    api = LateModule("hmx.forecast.api")
    drawing = LateModule("hmx.forecast.drawing")
    zone_totals = LateModule("hmx.forecast.zonal")
    scoring = LateModule("hmx.forecast.backtest.backtest")
    fans = LateModule("hmx.pictures.zones")
    forecast_maps = LateModule("hmx.products.forecast_maps")
    reports = LateModule("hmx.products.report")
    zone_files = LateModule("hmx.zones.files")
    frames, history = LateModule("hmx.zones.frames"), LateModule("hmx.zones.history")


class HMAccessor(AccessorBase):
    """Forecasting for a cube: ``ds.hm`` on a Dataset, ``da.hm`` on a DataArray.

    A Dataset that has a variable ``hm`` keeps it in reach: whatever is not a name below,
    such as ``ds.hm.values``, ``ds.hm.plot()`` or ``ds.hm - 1``, is that of ``ds["hm"]``.

    Parameters
    ----------
    obj : Dataset or DataArray
        Dims time, y, x under any of their usual names. On a DataArray the
        numeric (y, x) coordinates are static covariates.

    Examples
    --------
    >>> model = ds.hm.train(static=["elevation"], out="models/demo")  # doctest: +SKIP
    >>> fc = ds.hm.forecast(h=4, level=[80, 95])  # doctest: +SKIP
    >>> fc.hm.mean()  # of the variable hm  # doctest: +SKIP
    """

    _variable = "hm"

    train = Method(api.train, remembers=True)
    forecast = Method(api.forecast, trained=True)
    forecast_to_zarr = Method(api.forecast_to_zarr, trained=True)
    draws = Method(drawing.draws, trained=True)
    zonal = Method(zone_totals.zonal, trained=True)
    plan = Method(api.plan_forecast, trained=True)
    backtest = Method(scoring.backtest)
    plot_forecast = Method(forecast_maps.plot_forecast)
    plot_zones = Method(fans.plot_zones)
    report = Method(reports.report)
    save_zones = Method(zone_files.save_zones)
    zone_frame = Method(frames.zone_frame)
    zone_history = Method(history.zone_history)
    to_array = Method(array.to_array)
    to_cog = Method(cog.to_cog)
    export = Method(exports.export)

    def with_history(self, past: Series) -> Series:
        """Join the cube that a forecast was made from and this forecast, lazily.

        Parameters
        ----------
        past : Dataset or DataArray
            The cube, on the same grid.

        Returns
        -------
        Dataset or DataArray
            Kind of ``past``; ``lead`` is 0 at the origin and negative before it, and
            intervals are NaN there.

        Raises
        ------
        CubeError, GridMismatch
            If this object is not a forecast, or does not continue ``past``.

        Examples
        --------
        >>> series = fc.hm.with_history(ds)  # doctest: +SKIP
        """
        from hmx.forecast.series import with_history

        return with_history(past, self._obj)


def register() -> None:
    """Register ``.hm`` on Dataset and DataArray, once."""
    for kind, add in (
        (xr.Dataset, xr.register_dataset_accessor),
        (xr.DataArray, xr.register_dataarray_accessor),
    ):
        if getattr(kind, "hm", None) is not HMAccessor:
            add("hm")(HMAccessor)  # type: ignore[no-untyped-call]
