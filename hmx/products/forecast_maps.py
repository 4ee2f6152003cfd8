"""Plot: a forecast as a sheet of maps.

Values are viridis, changes purple to orange, interval widths magma: all keep their meaning for
colour-blind readers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.errors import CubeError
from hmx.products.mapframe import MISSING, label_of, widest_level

_MAX_PIXELS = 700  # rows or columns drawn; larger maps are thinned, as a sheet shows no more


def plot_forecast(
    forecast: Cubelike, past: Cubelike | None = None, *, width: float = 3.0
) -> Figure:
    """Draw the state at each lead and, given the past, the change from the origin.

    Parameters
    ----------
    forecast : Dataset or DataArray
        Result of ``forecast``; it is thinned and computed.
    past : Dataset or DataArray, optional
        The cube of the forecast: adds the origin and a row of changes.
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
            "this object is not a forecast (it has no lead). "
            "Call it on the result: fc = ds.hm.forecast(h=4); fc.hm.plot_forecast(ds)."
        )
    ahead = _maps(forecast)
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]] = []
    state = ahead
    if past is not None:
        origin = _maps(past, target=str(ahead.name)).isel(time=slice(-1, None))
        state = xr.concat([origin, ahead.drop_vars("lead", errors="ignore")], dim="time")
        change = state - origin.isel(time=0).drop_vars("time")
        # a few extreme pixels must not wash out the colours of all others
        span = float(np.nanquantile(np.abs(change), 0.995)) or 1.0
        change = change.isel(time=slice(1, None))
        rows = [("change", change, {"cmap": "PuOr_r", "vmin": -span, "vmax": span})]
    low, high = (float(np.nanquantile(state, q)) for q in (0.001, 0.999))
    rows.insert(0, (label_of(ahead), state, {"cmap": "viridis", "vmin": low, "vmax": high}))
    if isinstance(forecast, xr.Dataset) and (level := widest_level(forecast, str(ahead.name))):
        upper, lower = (_maps(forecast, f"{ahead.name}_{end}_{level}") for end in ("hi", "lo"))
        title = f"width of {level} % interval"
        rows.append((title, (upper - lower).rename(title), {"cmap": "magma", "vmin": 0}))
    return draw_sheet(rows, columns=state.sizes["time"], width=width)


def _maps(obj: Cubelike, target: str | None = None) -> xr.DataArray:
    """Bring a series into the inner form, thin it and compute it."""
    cube = as_cube(obj, target=target, dynamic=(), static=())
    stride = max(1, -(-max(cube.grid.shape) // _MAX_PIXELS))
    series = cube.data[cube.target].isel(y=slice(None, None, stride), x=slice(None, None, stride))
    drop = [name for name in series.coords if name not in {"time", "y", "x"}]
    return series.drop_vars(drop).compute()


def draw_sheet(
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]], *, columns: int, width: float
) -> Figure:
    """Lay out rows of maps, each with one colour scale; the origin is leftmost."""
    height = width * rows[0][1].sizes["y"] / rows[0][1].sizes["x"]
    figure = Figure(
        figsize=(columns * width + 0.9, len(rows) * (height + 0.35)), layout="constrained"
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, maps, style) in zip(axes, rows, strict=True):
        skipped = columns - maps.sizes["time"]  # the origin has no change and no interval
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis in line[:skipped]:
            axis.set_axis_off()
        for axis, plane in zip(line[skipped:], maps, strict=True):
            axis.set_facecolor(MISSING)
            drawn = axis.imshow(plane.values, interpolation="nearest", **style)
            # 2025-01-01 is the year 2025
            axis.set_title(time_label(plane["time"].values[()]).removesuffix("-01-01"), fontsize=9)
        figure.colorbar(drawn, ax=list(line), label=title, shrink=0.85)
    return figure
