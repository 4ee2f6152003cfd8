"""Pictures of folds of samples: how far they test, and where their sites are.

Every function returns a figure that is known to no backend and shown nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyproj
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmx.cube.grid import Grid, crs_name
from hmx.pictures.style import COLOURS, MARKERS

if TYPE_CHECKING:
    from hmx.splits.knndm import MappingDistances
    from hmx.splits.site_folds import SiteFolds

_NEAREST = 0.01  # km: a logarithmic axis cannot show the 0 km of replicates
_WATER = "0.93"  # grey of pixels without data
_NAMED = 20  # folds that a legend has room for


def draw_mapping_distances(distances: MappingDistances, *, title: str = "") -> Figure:
    """Draw distances to the nearest sample: of the map, the samples and the tested sites.

    Cumulative shares over km, on a logarithmic axis. Folds score the map fairly where the curve
    of the tested sites follows that of the map; left of it their scores are too good (Mila et
    al. 2022, doi:10.1111/2041-210X.13851).
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    lines = (
        ("map to samples", distances.map, "#009E73", "-", 3.0),
        ("sample to nearest sample", distances.sample, "#E69F00", ":", 2.0),
        ("tested to trained on", distances.test, "#0072B2", "--", 2.0),
    )
    for name, values, colour, line, width in lines:
        label = f"{name}: median {np.median(values) / 1000:.2g} km"
        km = np.maximum(values / 1000, _NEAREST)
        axis.ecdf(km, label=label, color=colour, linestyle=line, linewidth=width)
    axis.set_xscale("log")
    axis.set(xlabel="distance to the nearest (km)", ylabel="share within the distance (%)")
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axis.xaxis.set_major_formatter(lambda km, _: f"{km:g}")
    axis.grid(color="0.9")
    axis.legend(loc="upper left", fontsize=9)
    heading = f"{title}: " if title else ""
    axis.set_title(f"{heading}W = {distances.w / 1000:.2g} km from the map", fontsize=11)
    return figure


def draw_site_folds(
    folds: SiteFolds, grid: Grid, *, valid: np.ndarray | None = None, width: float = 7.0
) -> Figure:
    """Draw the sites on the extent of the map, coloured by fold.

    `valid` marks the pixels with data, (y, x) at any resolution; others are grey. `width` is in
    inches.
    """
    west, south, east, north = grid.bounds
    (across, up), (dx, dy) = grid.pixel_size_m, grid.resolution
    aspect = (up / dy) / (across / dx)  # true to scale at the middle
    tall = min(max(0.75 * width * aspect * (north - south) / (east - west), 2.5), 2.5 * width)
    figure = Figure(figsize=(width, tall + 1.0), layout="constrained")
    axis = figure.subplots()
    if valid is not None:
        axis.imshow(
            np.where(valid, 1.0, float(_WATER)),
            cmap="gray", vmin=0, vmax=1, extent=(west, east, south, north), interpolation="nearest",
        )  # fmt: skip
    _scatter(axis, folds, grid)
    axis.set(xlim=(west, east), ylim=(south, north), aspect=aspect)
    axis.ticklabel_format(style="plain", useOffset=False)
    axis.locator_params(nbins=6)
    names = ("longitude", "latitude") if grid.crs.is_geographic else ("easting", "northing")
    axis.set(xlabel=f"{names[0]}, {crs_name(grid.crs)}", ylabel=names[1])
    axis.set_title(f"{folds.method}: {len(folds)} folds (split {folds.digest})", fontsize=10)
    if len(folds) <= _NAMED:
        figure.legend(
            loc="outside right upper", fontsize=8, frameon=False, title="fold: samples",
            alignment="left", markerscale=2,
        )  # fmt: skip
    return figure


def _scatter(axis: Axes, folds: SiteFolds, grid: Grid) -> None:
    """Mark sites; folds of one colour have different markers."""
    to_map = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = to_map.transform(*folds.places.sites.T)
    fold, counts = folds.fold[folds.places.first], np.bincount(folds.fold)
    size = min(30.0, max(4.0, 9000 / max(1, len(fold)) ** 0.9))  # pt2: many sites, small marks
    for number, count in enumerate(counts):
        chosen, turn = fold == number, number // len(COLOURS)
        name = folds.names[number] if folds.names else str(number + 1)
        axis.scatter(
            x[chosen], y[chosen], size, COLOURS[number % len(COLOURS)], linewidths=0,
            marker=MARKERS[(number + turn) % len(MARKERS)], label=f"{name}: {count:,}",
        )  # fmt: skip
