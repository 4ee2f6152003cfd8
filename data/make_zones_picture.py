"""Draw why the pixels of a zone cannot be added: data/zones.png, of a world whose law is known.

    python data/make_zones_picture.py     # about ten seconds

The zone lies in the demo landscape. Each pixel has a distribution of its own: most likely it stays
as it is, and it may rise, the sooner the more its surroundings are modified. Errors of pixels vary
together as in the prior of hmx. Truths are 400 maps drawn from this law; the three columns
estimate the mean change of the zone without knowing them, and count how many they contain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import rasterio
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from hmx.cube.grid import Grid
from hmx.uncertainty.joint.dependence import LEVELS, Dependence, LeadDependence
from hmx.uncertainty.joint.draws import Draws
from hmx.uncertainty.joint.field import Field
from hmx.windows import Span, Window

HERE = Path(__file__).resolve().parent
ROWS, COLUMNS = slice(150, 210), slice(215, 275)  # 18 km x 18 km at the farmland frontier
DRAWS, TRUTHS = 200, 400
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.45"


def law() -> tuple[np.ndarray, np.ndarray]:
    """Return the last map, (y, x), and the quantiles of each pixel, (27, 1, y, x)."""
    with rasterio.open(HERE / "demo" / "HM_2020.tif") as file:
        state = np.nan_to_num(file.read(1)).astype("float64")
    near = gaussian_filter(state, 6)[ROWS, COLUMNS]
    origin = state[ROWS, COLUMNS]
    rises = np.clip(0.15 + 1.5 * near, 0, 0.7)  # probability
    share = (np.array(LEVELS)[:, None, None] - (1 - rises)) / rises
    size = -0.12 * np.log1p(-np.clip(share, 0, 0.999))  # exponential, mean .12
    return origin, np.minimum(origin + size, 1)[:, None].astype("float32")


def drawn(quantiles: np.ndarray, dependence: Dependence, count: int, seed: int) -> np.ndarray:
    """Draw maps of the zone, (count, y, x)."""
    with rasterio.open(HERE / "demo" / "HM_2020.tif") as file:
        grid = Grid(pyproj.CRS(file.crs.to_wkt()), file.transform, file.shape)
    window = Window(Span(ROWS.start, ROWS.stop), Span(COLUMNS.start, COLUMNS.stop))
    draws = Draws(Field(grid, window, dependence, seed), quantiles)
    return np.stack([values.copy() for _, _, values in draws(range(count))])


def main() -> None:
    """Draw the picture."""
    origin, quantiles = law()
    together = Dependence.prior(300.0)
    alone = Dependence((LeadDependence(weights=(0.0,) * 5, region=0.0),), 300.0, nu=1e6)
    truths = drawn(quantiles, together, TRUTHS, seed=1).mean(axis=(1, 2)) - origin.mean()
    ends = [LEVELS.index(0.025), LEVELS.index(0.975)]
    columns = []
    for title, dependence, colour in (
        ("(a) pixels drawn one by one", alone, ORANGE),
        ("(b) bounds of pixels added", None, GREY),
        ("(c) maps drawn whole", together, BLUE),
    ):
        if dependence is None:  # all pixels at the upper ends of their intervals at once
            example = quantiles[ends[1], 0] - origin
            bounds = quantiles[ends, 0].mean(axis=(1, 2)) - origin.mean()
            columns.append((title, colour, example, None, bounds))
            continue
        maps = drawn(quantiles, dependence, DRAWS, seed=0) - origin
        means = maps.mean(axis=(1, 2))
        example = maps[int(np.argsort(means)[round(0.7 * DRAWS)])]
        columns.append((title, colour, example, means, np.quantile(means, [0.025, 0.975])))
    picture(columns, truths)


def picture(columns: list[tuple], truths: np.ndarray) -> None:
    """Lay out a possible map and the interval of the zone, for each way."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots(2, 3, height_ratios=[1.25, 1])
    low = min(float(truths.min()), *(float(c[4][0]) for c in columns))
    high = 1.05 * max(float(np.quantile(truths, 0.995)), *(float(c[4][1]) for c in columns))
    bins = np.linspace(low, high, 60)
    for (top, bottom), (title, colour, example, means, ends) in zip(axes.T, columns, strict=True):
        shown = top.imshow(example, cmap="magma", vmin=0, vmax=0.4, interpolation="nearest")
        top.set(xticks=[], yticks=[])
        top.set_title(title, fontsize=10, loc="left")
        if means is None:
            top.set_xlabel("all upper ends at once", fontsize=8)
        else:
            top.set_xlabel("one of 200 draws", fontsize=8)
            bottom.hist(means, bins, color=colour, alpha=0.5, density=True)
        bottom.hist(truths, bins, histtype="step", color="black", density=True, linewidth=0.8,
                    label=f"{TRUTHS} truths")  # fmt: skip
        height = 1.05 * bottom.get_ylim()[1]
        bottom.plot(ends, [height, height], color=colour, linewidth=4, solid_capstyle="butt")
        bottom.set_ylim(0, 1.12 * height)
        inside = ((truths >= ends[0]) & (truths <= ends[1])).mean()
        text = (
            f"95 % interval, {ends[1] - ends[0]:.3f} wide,\ncontains {100 * inside:.0f} % of truths"
        )
        bottom.text(0.99, 0.86, text, transform=bottom.transAxes, ha="right", va="top", fontsize=8)
        bottom.set(xlim=(low, high), yticks=[])
        bottom.set_xlabel("mean change of the zone", fontsize=8)
        bottom.tick_params(labelsize=7)
        bottom.spines[["top", "right", "left"]].set_visible(False)
        print(title, np.round(ends, 4), round(float(inside), 3))
    axes[1, 0].legend(loc="center right", frameon=False, fontsize=8)
    bar = figure.colorbar(shown, ax=list(axes[0]), label="change of a pixel", shrink=0.85)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(HERE / "zones.png", dpi=100)


if __name__ == "__main__":
    main()
