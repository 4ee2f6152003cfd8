"""Map plot: the mapped quantity, the width of its interval, and the area of applicability.

Values are viridis and interval widths magma, for colour-blind readers; land unlike the samples
is hatched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from hmx.bundles.folder import as_model
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid, north_up
from hmx.errors import CubeError
from hmx.mapping.bundle import MapBundle
from hmx.mapping.result import require_one_depth
from hmx.pictures.style import MISSING, Figure, label_of, stretch, style_axes, widest_level

_MAX_PIXELS = 1000  # rows or columns drawn; larger maps are thinned, as a page shows no more
_OUTSIDE = 0  # of ``applicable``
_PALE = 0.45  # share of white over land unlike the samples


def plot_map(
    result: xr.Dataset, model: MapBundle | str | Path | None = None, *, width: float = 6.0
) -> Figure:
    """Draw a map, the width of its widest interval, and where it applies.

    Parameters
    ----------
    result : Dataset
        Result of ``ds.soc.map``; it is thinned and computed.
    model : MapBundle or path, optional
        Model of the map: adds the places of its samples.
    width : float
        Of one map, inches.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend: ``figure.savefig("soc.png")``.

    Raises
    ------
    CubeError
        If ``result`` is not a map.
    """
    target = target_of(result)
    require_one_depth(result["depth"].values if "depth" in result.dims else (), "a picture")
    whole = north_up(result)
    grid = Grid.from_xarray(whole)
    step = max(1, -(-max(grid.shape) // _MAX_PIXELS))
    thinned = whole.isel(y=slice(None, None, step), x=slice(None, None, step)).compute()
    title = f"{label_of(thinned[target])}{_when(result)}"
    sheets = [(title, thinned[target], "viridis")]
    if level := widest_level(thinned, target):
        width_of = thinned[f"{target}_hi_{level}"] - thinned[f"{target}_lo_{level}"]
        width_of = width_of.rename(f"width of {level} % interval")
        width_of = width_of.assign_attrs(units=thinned[target].attrs.get("units"))
        sheets.append((label_of(width_of), width_of, "magma"))
    west, south, east, north = grid.bounds
    height = width * stretch(grid) * (north - south) / (east - west)
    figure = Figure(figsize=(len(sheets) * (width + 1.6), height + 1.1), layout="compressed")
    axes = figure.subplots(1, len(sheets), squeeze=False)[0]
    for axis, (label, values, colours) in zip(axes, sheets, strict=True):
        # a few extreme pixels must not wash out the colours of all others
        low, high = np.nanquantile(values, [0.002, 0.998]) if values.notnull().any() else (0, 1)
        drawn = axis.imshow(
            values, extent=(west, east, south, north), aspect=stretch(grid), cmap=colours,
            vmin=low, vmax=high, interpolation="nearest",
        )  # fmt: skip
        axis.set_facecolor(MISSING)
        figure.colorbar(drawn, ax=axis, label=label, extend="both", shrink=0.85)
        style_axes(axis, grid)
    handles: list[Any] = [Patch(facecolor=MISSING, edgecolor="black", lw=0.5, label="no data")]
    if "applicable" in thinned:
        handles.insert(0, hatch_outside(axes, thinned, target))
    if model is not None:
        handles.insert(0, draw_samples(axes[0], as_model(MapBundle, model), grid))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _when(result: xr.Dataset) -> str:
    """Return the date of a map, if it has one."""
    time = result.coords.get("time")
    if time is None or time.ndim:
        return ""
    return f", {time_label(time.values[()]).removesuffix('-01-01')}"


def target_of(result: xr.Dataset) -> str:
    """Return the name of the mapped quantity."""
    targets = [str(n) for n, v in result.data_vars.items() if v.attrs.get("hmx_role") == "target"]
    if len(targets) != 1 or "time" in result[targets[0]].dims:
        raise CubeError(
            "this object is not a map of samples. Call it on the result: "
            "soc = ds.soc.map(level=[90]); soc.soc.plot_map()."
        )
    return targets[0]


def hatch_outside(axes: np.ndarray, thinned: xr.Dataset, target: str) -> Patch:
    """Pale and hatch land that is unlike the samples; return the entry of the legend."""
    outside = (thinned["applicable"] == _OUTSIDE).values
    for axis in axes:
        if outside.any() and min(outside.shape) > 1:
            pale = np.where(outside[..., None], [1.0, 1.0, 1.0, _PALE], 0.0)
            axis.imshow(pale, extent=axis.images[0].get_extent(), interpolation="nearest",
                        aspect=axis.get_aspect())  # fmt: skip
            axis.contourf(
                thinned["x"],
                thinned["y"],
                outside,
                levels=[0.5, 1.5],
                colors="none",
                hatches=["/////"],
            )
    mapped = int(thinned[target].notnull().sum())
    label = f"unlike the samples: {100 * outside.sum() / max(mapped, 1):.0f} % of the map"
    return Patch(facecolor="white", edgecolor="black", hatch="/////", lw=0.5, label=label)


def draw_samples(axis: Axes, model: MapBundle, grid: Grid) -> Any:
    """Draw the places of the samples; return the entry of the legend."""
    folds = model.training["folds"]
    projection = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = projection.transform(folds["lon"], folds["lat"])
    west, south, east, north = grid.bounds
    values = model.training.get("samples")
    if values is None:  # models of an older hmx do not have them
        look: dict[str, Any] = {"c": "white", "s": 9, "label": "samples"}
    else:
        scale = axis.images[0]
        look = {"c": values, "cmap": scale.get_cmap(), "norm": scale.norm, "s": 20,
                "label": "samples, coloured by their value"}  # fmt: skip
    dots = axis.scatter(x, y, edgecolors="black", linewidths=0.6, **look)
    # samples beyond the map must not widen it
    axis.set(xlim=(west, east), ylim=(south, north))
    return dots
