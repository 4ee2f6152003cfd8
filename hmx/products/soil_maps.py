"""Map plot: what was mapped, how wide its interval is, and where it can be trusted.

Colours keep their meaning for colour-blind readers (viridis and magma), missing data
has the grey of all our maps, and land unlike the samples is hatched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hmx.bundles.folder import as_model
from hmx.cube.axes import north_up
from hmx.cube.grid import Grid
from hmx.errors import CubeError
from hmx.mapping.bundle import MapBundle
from hmx.products.forecast_maps import MISSING
from hmx.products.mapframe import dress, stretch

_MOST_PIXELS = 1000  # rows or columns drawn; larger maps are thinned
_OUTSIDE = 0  # of ``applicable``
_PALE = 0.45  # share of white over land unlike the samples


def plot_map(
    result: xr.Dataset, model: MapBundle | str | Path | None = None, *, width: float = 6.0
) -> Figure:
    """Draw a map, the width of its widest interval, and where it applies.

    Parameters
    ----------
    result : Dataset
        Result of ``ds.soc.map``; it is computed, thinned to what can be seen.
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
        If ``result`` is no map.
    """
    target = _target(result)
    whole = north_up(result)
    grid = Grid.from_xarray(whole)
    step = max(1, -(-max(grid.shape) // _MOST_PIXELS))
    seen = whole.isel(y=slice(None, None, step), x=slice(None, None, step)).compute()
    sheets = [(_label(seen[target]), seen[target], "viridis")]
    if (spread := _width(seen, target)) is not None:
        sheets.append((_label(spread), spread, "magma"))
    west, south, east, north = grid.bounds
    height = width * stretch(grid) * (north - south) / (east - west)
    figure = Figure(figsize=(len(sheets) * (width + 1.6), height + 1.1), layout="compressed")
    axes = figure.subplots(1, len(sheets), squeeze=False)[0]
    for axis, (label, values, colours) in zip(axes, sheets, strict=True):
        low, high = np.nanquantile(values, [0.002, 0.998]) if values.notnull().any() else (0, 1)
        drawn = axis.imshow(
            values, extent=(west, east, south, north), aspect=stretch(grid), cmap=colours,
            vmin=low, vmax=high, interpolation="nearest",
        )  # fmt: skip
        axis.set_facecolor(MISSING)
        figure.colorbar(drawn, ax=axis, label=label, extend="both", shrink=0.85)
        dress(axis, grid)
    handles: list[Any] = [Patch(facecolor=MISSING, edgecolor="black", lw=0.5, label="no data")]
    if "applicable" in seen:
        handles.insert(0, _hatch(axes, seen))
    if model is not None:
        handles.insert(0, _dots(axes[0], as_model(MapBundle, model), grid))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _target(result: xr.Dataset) -> str:
    """Find what was mapped."""
    found = [str(n) for n, v in result.data_vars.items() if v.attrs.get("hmx_role") == "target"]
    if len(found) != 1 or "time" in result[found[0]].dims:
        raise CubeError(
            "this object is no map of samples. Call it on the result: "
            "soc = ds.soc.map(level=[90]); soc.soc.plot_map()."
        )
    return found[0]


def _width(seen: xr.Dataset, target: str) -> xr.DataArray | None:
    """Measure the widest interval, if the map has any."""
    marks = [str(name).removeprefix(f"{target}_lo_") for name in seen.data_vars]
    levels = [mark for mark in marks if f"{target}_hi_{mark}" in seen]
    if not levels:
        return None
    level = max(levels, key=float)
    spread = seen[f"{target}_hi_{level}"] - seen[f"{target}_lo_{level}"]
    named = spread.rename(f"width of {level} % interval")
    return named.assign_attrs(units=seen[target].attrs.get("units"))


def _label(values: xr.DataArray) -> str:
    units = values.attrs.get("units")
    return f"{values.name} ({units})" if units and units != "1" else str(values.name)


def _hatch(axes: np.ndarray, seen: xr.Dataset) -> Patch:
    """Pale and hatch land that is unlike the samples; return the entry of the legend."""
    outside = (seen["applicable"] == _OUTSIDE).values
    for axis in axes:
        if outside.any() and min(outside.shape) > 1:
            pale = np.where(outside[..., None], [1.0, 1.0, 1.0, _PALE], 0.0)
            axis.imshow(pale, extent=axis.images[0].get_extent(), interpolation="nearest",
                        aspect=axis.get_aspect())  # fmt: skip
            axis.contourf(
                seen["x"], seen["y"], outside, levels=[0.5, 1.5], colors="none", hatches=["/////"]
            )
    mapped = int(seen[_target(seen)].notnull().sum())
    label = f"unlike the samples: {100 * outside.sum() / max(mapped, 1):.0f} % of the map"
    return Patch(facecolor="white", edgecolor="black", hatch="/////", lw=0.5, label=label)


def _dots(axis: Axes, model: MapBundle, grid: Grid) -> Any:
    """Draw where samples were taken; return the entry of the legend."""
    told = model.training["folds"]
    place = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = place.transform(told["lon"], told["lat"])
    west, south, east, north = grid.bounds
    dots = axis.scatter(x, y, s=9, c="white", edgecolors="black", linewidths=0.6, label="samples")
    axis.set(xlim=(west, east), ylim=(south, north))
    return dots
