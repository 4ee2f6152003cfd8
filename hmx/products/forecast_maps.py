"""Plot: a forecast as a sheet of maps.

Values are viridis, changes purple to orange, interval widths magma: all keep their meaning for
colour-blind readers. The observed map has a frame and a title of its own.
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hmx.cube.cube import Cubelike, as_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid
from hmx.errors import CubeError
from hmx.pictures.style import (
    MISSING,
    Figure,
    scale_bar,
    stretch,
    widest_level,
    width_m,
    with_units,
)

_MAX_PIXELS = 700  # rows or columns drawn; larger maps are thinned, as a sheet shows no more


def plot_forecast(
    forecast: Cubelike, past: Cubelike | None = None, *, width: float = 3.0
) -> Figure:
    """Draw the state at each lead and, given the past, the change since the origin.

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
    ahead, grid = _maps(forecast)
    # the row also has the observed map: the long name without what the forecast adds to it
    name = str(ahead.attrs.get("long_name") or ahead.name).partition(", forecast")[0]
    units = ahead.attrs.get("units")
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]] = []
    state = ahead
    if past is not None:
        origin = _maps(past, target=str(ahead.name))[0].isel(time=slice(-1, None))
        state = xr.concat([origin, ahead.drop_vars("lead", errors="ignore")], dim="time")
        change = state - origin.isel(time=0).drop_vars("time")
        # a few extreme pixels must not wash out the colours of all others
        span = float(np.nanquantile(np.abs(change), 0.995)) or 1.0
        change = change.isel(time=slice(1, None))
        since = _date(origin["time"].values[0])
        title = with_units(f"change since {since}", units)
        rows = [(title, change, {"cmap": "PuOr_r", "vmin": -span, "vmax": span})]
    low, high = (float(np.nanquantile(state, q)) for q in (0.001, 0.999))
    title = with_units(name, units)
    rows.insert(0, (title, state, {"cmap": "viridis", "vmin": low, "vmax": high}))
    if isinstance(forecast, xr.Dataset) and (level := widest_level(forecast, str(ahead.name))):
        upper, lower = (_maps(forecast, f"{ahead.name}_{end}_{level}")[0] for end in ("hi", "lo"))
        title = with_units(f"width of {level} % interval", units)
        rows.append((title, (upper - lower).rename(title), {"cmap": "magma", "vmin": 0}))
    observed = state.sizes["time"] - ahead.sizes["time"]
    return draw_sheet(rows, columns=state.sizes["time"], width=width, grid=grid, past=observed)


def _maps(obj: Cubelike, target: str | None = None) -> tuple[xr.DataArray, Grid]:
    """Bring a series into the inner form, thin it and compute it; return it with its whole grid."""
    cube = as_cube(obj, target=target, dynamic=(), static=())
    stride = max(1, -(-max(cube.grid.shape) // _MAX_PIXELS))
    series = cube.data[cube.target].isel(y=slice(None, None, stride), x=slice(None, None, stride))
    drop = [name for name in series.coords if name not in {"time", "y", "x"}]
    return series.drop_vars(drop).compute(), cube.grid


def draw_sheet(
    rows: list[tuple[str, xr.DataArray, dict[str, Any]]],
    *,
    columns: int,
    width: float,
    grid: Grid,
    past: int,
) -> Figure:
    """Lay out rows of maps, each with one colour scale; the ``past`` leftmost are observed."""
    tall = stretch(grid)
    height = width * tall * rows[0][1].sizes["y"] / rows[0][1].sizes["x"]
    size = (columns * width + 0.9, len(rows) * (height + 0.35) + 0.25)
    figure = Figure(figsize=size, layout="constrained")
    axes, lost = figure.subplots(len(rows), columns, squeeze=False), False
    for line, (title, maps, style) in zip(axes, rows, strict=True):
        skipped = columns - maps.sizes["time"]  # the origin has no change and no interval
        for axis in line:
            axis.set(xticks=[], yticks=[])
        for axis in line[:skipped]:
            axis.set_axis_off()
        for axis, plane in zip(line[skipped:], maps, strict=True):
            axis.set_facecolor(MISSING)
            drawn = axis.imshow(plane.values, interpolation="nearest", aspect=tall, **style)
            lost = lost or bool(plane.isnull().any())
            axis.set_title(_date(plane["time"].values[()]), fontsize=9)
        figure.colorbar(drawn, ax=list(line), label=fill(title, 28), shrink=0.85)
    for number, axis in enumerate(axes[0]):
        _mark(axis, observed=number < past, lead=number + 1 - past)
    scale_bar(axes[0, 0], width_m(grid))
    if lost:
        grey = Patch(facecolor=MISSING, edgecolor="black", lw=0.5, label="no data")
        figure.legend(handles=[grey], loc="outside lower left", frameon=False, fontsize=8)
    return figure


def _mark(axis: Axes, *, observed: bool, lead: int) -> None:
    """Write whether a map was observed or is a forecast; what was observed has a frame."""
    text = "observed" if observed else f"forecast, lead {lead}"
    axis.set_title(f"{axis.get_title()} ({text})", fontsize=9, weight="bold" if observed else None)
    for spine in axis.spines.values():
        spine.set_linewidth(2.0 if observed else 0.8)


def _date(value: Any) -> str:
    """Write a date; 2025-01-01 is the year 2025."""
    return time_label(value).removesuffix("-01-01")
