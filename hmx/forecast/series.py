"""Series: the past and its forecast as one time axis."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr

from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import find_axes
from hmx.cube.steps import OBSERVED_UNTIL, steps_until
from hmx.cube.values import cleaned
from hmx.errors import CubeError, GridMismatch
from hmx.independent import independent

Joined = TypeVar("Joined", xr.Dataset, xr.DataArray)


@independent
def with_history(past: Joined, forecast: Cubelike) -> Joined:
    """Join a cube and the forecast made from it, lazily.

    Parameters
    ----------
    past : Dataset or DataArray
        The cube the forecast was made from, or the same crop of it.
    forecast : Dataset or DataArray
        Result of ``forecast``.

    Returns
    -------
    Dataset or DataArray
        Kind of ``past``; ``lead`` is 0 at the origin, negative before it.

    Raises
    ------
    CubeError
        If ``forecast`` is not a forecast, or its origin is not the last step of ``past``.
    GridMismatch
        If the two lie on different grids.
    """
    ahead: xr.Dataset = _as_dataset(forecast, "hm")
    target = _target_of(ahead, past)
    before = _as_dataset(past, target)
    time = find_axes(before)["time"]
    steps = steps_until(before[target], OBSERVED_UNTIL, before[time])
    before = before.isel({time: slice(steps)})
    _check(before[target], ahead, time)
    series = _aligned(ahead, cleaned(before[target]).reset_coords(drop=True))
    lead = np.arange(1 - series.sizes[time], 1)
    joined: dict[str, xr.DataArray] = {}
    for name, variable in ((str(n), v.reset_coords(drop=True)) for n, v in ahead.data_vars.items()):
        # intervals and the like do not exist before the origin
        before_origin = series if name == target else xr.full_like(series, np.nan, dtype="float32")
        parts = [before_origin, variable]
        joined[name] = xr.concat(parts, dim=time) if time in variable.dims else variable
    result = ahead.drop_vars([*ahead.data_vars, time, "lead"]).assign(joined)
    result = result.assign_coords(lead=(time, np.concatenate([lead, ahead["lead"].values])))
    for name in joined:
        result[name].attrs, result[name].encoding = ahead[name].attrs, dict(ahead[name].encoding)
    return result[target] if isinstance(past, xr.DataArray) else result


def _aligned(ahead: xr.Dataset, series: xr.DataArray) -> xr.DataArray:
    """Flip a series to the forecast's axis directions, and give it the same coordinates."""
    for dim in find_axes(ahead, ("y", "x")).values():
        if ahead.sizes[dim] > 1 and np.sign(np.diff(ahead[dim][:2])) != np.sign(
            np.diff(series[dim][:2])
        ):
            series = series.isel({dim: slice(None, None, -1)})
        series = series.assign_coords({dim: ahead[dim].variable})  # equal but for rounding
    return series


def _as_dataset(obj: Cubelike, name: str) -> xr.Dataset:
    return obj.to_dataset(name=obj.name or name) if isinstance(obj, xr.DataArray) else obj


def _target_of(ahead: xr.Dataset, past: Cubelike) -> str:
    if "forecast_reference_time" not in ahead.coords or "lead" not in ahead.coords:
        raise CubeError(
            "this object is not a forecast (it has no lead and no forecast_reference_time). "
            "Call it on the result: fc = ds.hm.forecast(h=4); fc.hm.with_history(ds)."
        )
    names = [past.name] if isinstance(past, xr.DataArray) else list(past.data_vars)
    shared = [str(name) for name in ahead.data_vars if name in names or len(ahead.data_vars) == 1]
    if not shared:
        raise CubeError(
            f"the forecast has {', '.join(map(str, ahead.data_vars))} and the cube "
            f"{', '.join(map(str, names))}: no variable in common. Pass the cube it was made from."
        )
    return shared[0]


def _check(series: xr.DataArray, ahead: xr.Dataset, time: str) -> None:
    origin, last = ahead["forecast_reference_time"].values, series[time].values[-1]
    if origin != last:
        raise CubeError(
            f"the forecast starts from {time_label(origin)} and the cube ends at "
            f"{time_label(last)}. "
            "Pass the cube it was made from: ds.sel(time=slice(None, origin))."
        )
    here = as_cube(series, static=()).grid
    if problem := here.difference(
        as_cube(ahead, target=str(series.name), dynamic=(), static=()).grid
    ):
        raise GridMismatch(f"cube and forecast are on different grids: {problem}. Crop both alike.")
