"""Plot: a forecast as a sheet of maps.

Colours keep their meaning for colour-blind readers (viridis, and purple to
orange for change), and missing data has a grey of its own, never a value's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.errors import CubeError

MISSING = "0.72"  # grey of pixels without data
_MOST_PIXELS = 700  # rows or columns drawn; larger maps are thinned


def plot_forecast(
    forecast: Cubelike, past: Cubelike | None = None, *, width: float = 3.0
) -> Figure:
    """Draw the state at each lead and, given the past, the change from the origin.

    Parameters
    ----------
    forecast : Dataset or DataArray
        Result of ``forecast``; it is computed, thinned to what can be seen.
    past : Dataset or DataArray, optional
        The cube it was made from: adds the origin and a row of changes.
    width : float
        Of one map, inches.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend: ``figure.savefig("forecast.png")``.

    Raises
    ------
    CubeError
        If ``forecast`` has no leads.
    """
    if "lead" not in forecast.coords:
        raise CubeError(
            "this object is no forecast (it has no lead). "
            "Call it on the result: fc = ds.hm.forecast(h=4); fc.hm.plot_forecast(ds)."
        )
    ahead = _maps(forecast)
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]] = []
    state = ahead
    if past is not None:
        origin = _maps(past, target=str(ahead.name)).isel(time=slice(-1, None))
        state = xr.concat([origin, ahead.drop_vars("lead", errors="ignore")], dim="time")
        change = state - origin.isel(time=0).drop_vars("time")
        span = float(np.nanquantile(np.abs(change), 0.995)) or 1.0
        change = change.isel(time=slice(1, None))
        rows = [("change", change, {"cmap": "PuOr_r", "vmin": -span, "vmax": span})]
    low, high = (float(np.nanquantile(state, q)) for q in (0.001, 0.999))
    rows.insert(0, (_label(ahead), state, {"cmap": "viridis", "vmin": low, "vmax": high}))
    if (spread := _width(forecast, str(ahead.name))) is not None:
        rows.append((str(spread.name), spread, {"cmap": "magma", "vmin": 0}))
    return _sheet(rows, columns=state.sizes["time"], width=width)


def _maps(obj: Cubelike, target: str | None = None) -> xr.DataArray:
    """Bring a series into the inner form, thin it and compute it."""
    cube = as_cube(obj, target=target, dynamic=(), static=())
    stride = max(1, -(-max(cube.grid.shape) // _MOST_PIXELS))
    series = cube.data[cube.target].isel(y=slice(None, None, stride), x=slice(None, None, stride))
    drop = [name for name in series.coords if name not in {"time", "y", "x"}]
    return series.drop_vars(drop).compute()


def _width(forecast: Cubelike, target: str) -> xr.DataArray | None:
    """Compute the width of the widest interval, if the forecast has any."""
    if isinstance(forecast, xr.DataArray):
        return None
    marks = [str(name).removeprefix(f"{target}_lo_") for name in forecast.data_vars]
    levels = [mark for mark in marks if f"{target}_hi_{mark}" in forecast]
    if not levels:
        return None
    level = max(levels, key=float)
    high, low = (_maps(forecast, target=f"{target}_{end}_{level}") for end in ("hi", "lo"))
    return (high - low).rename(f"width of {level} % interval")


def _label(series: xr.DataArray) -> str:
    units = series.attrs.get("units")
    return f"{series.name} ({units})" if units and units != "1" else str(series.name)


def _sheet(
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]], *, columns: int, width: float
) -> Figure:
    """Lay out rows of maps that share a colour scale each; the origin is leftmost."""
    height = width * rows[0][1].sizes["y"] / rows[0][1].sizes["x"]
    figure = Figure(
        figsize=(columns * width + 0.9, len(rows) * (height + 0.35)), layout="constrained"
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, maps, style) in zip(axes, rows, strict=True):
        skipped = columns - maps.sizes["time"]
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis in line[:skipped]:
            axis.set_axis_off()
        for axis, plane in zip(line[skipped:], maps, strict=True):
            axis.set_facecolor(MISSING)
            drawn = axis.imshow(plane.values, interpolation="nearest", **style)
            axis.set_title(_when(plane["time"].values[()]), fontsize=9)
        figure.colorbar(drawn, ax=list(line), label=title, shrink=0.85)
    return figure


def _when(time: Any) -> str:
    text = time_label(time)
    return text.removesuffix("-01-01")
