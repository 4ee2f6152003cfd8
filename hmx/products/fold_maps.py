"""Fold map: the parts of a map for training, and those held out.

Colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish;
buffers are hatched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from hmx.cube.grid import Grid
from hmx.forecast.folds import MOST, thin
from hmx.pictures.style import MISSING, Figure, stretch, style_axes
from hmx.splits import CALIBRATION, ROLES, TEST, TRAIN, UNUSED, VALIDATION, Split

COLOURS = {TRAIN: "#56B4E9", VALIDATION: "#F0E442", CALIBRATION: "#009E73", TEST: "#D55E00"}
BUFFER = "0.95"  # beneath the hatches
_COLUMNS = 3  # of maps
_BUFFERED = 254  # role in the picture: in a block with a role, but within a buffer


def draw_folds(
    splits: Split | Sequence[Split],
    grid: Grid,
    *,
    valid: np.ndarray | None = None,
    pixels: Sequence[Mapping[int, int]] | None = None,
    width: float = 6.0,
) -> Figure:
    """Draw the roles of pixels on the map, one map per split, each `width` inches wide.

    At most 1,200 rows and columns of each are drawn, however large the grid. `valid` are the drawn
    pixels with data, as in :class:`hmx.forecast.folds.FoldPlan`. Legends count the `pixels` with
    data of each role; without them pixels are counted by place, with data or without.
    """
    splits = (splits,) if isinstance(splits, Split) else tuple(splits)
    counts: Sequence[Mapping[int, int]] = pixels or []
    if not counts:
        # without data, pixels count by position; those in buffers are the difference to no buffer
        for split in splits:
            areas = split.areas()
            unowned = replace(split, buffer=0).areas()[UNUSED]
            counts = [*counts, {**areas, UNUSED: areas[UNUSED] - unowned}]
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(splits))))
    rows = math.ceil(len(splits) / columns)
    west, south, east, north = grid.bounds
    height = width * stretch(grid) * (north - south) / (east - west)
    figure = Figure(
        figsize=(columns * width, rows * (min(max(height, 2.0), 2.5 * width) + 1.6)),
        layout="compressed",
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(splits) :]:
        axis.set_axis_off()
    for number, (axis, split, count) in enumerate(zip(axes, splits, counts, strict=False), 1):
        draw_roles(axis, split, grid, valid)
        title = f"fold {number} of {len(splits)}: " if len(splits) > 1 else ""
        title += f"blocks of {split.block} px, buffer {split.buffer} px"
        axis.set_title(f"{title} (split {split.digest})", fontsize=9)
        draw_legend(axis, split, count)
    return figure


def draw_roles(axis: Axes, split: Split, grid: Grid, valid: np.ndarray | None) -> None:
    """Paint the roles of one split, with hatches, axes and scale."""
    shape = (MOST, MOST) if valid is None else valid.shape
    rows, cols = (thin(size, most) for size, most in zip(split.shape, shape, strict=True))
    roles = split.roles_at(rows, cols)
    owned = split.table[np.ix_(rows // split.block, cols // split.block)] != UNUSED
    roles = np.where(owned & (roles == UNUSED), np.uint8(_BUFFERED), roles)
    if valid is not None:
        roles = np.where(valid, roles, np.uint8(UNUSED))
    palette = np.ones((256, 3))
    for role, colour in {**COLOURS, _BUFFERED: BUFFER, UNUSED: MISSING}.items():
        palette[role] = to_rgb(colour)
    west, south, east, north = grid.bounds
    axis.imshow(
        palette[roles],
        interpolation="nearest",
        extent=(west, east, south, north),
        aspect=stretch(grid),
    )
    buffered = roles == _BUFFERED
    if buffered.any() and min(buffered.shape) > 1:
        axis.contourf(
            grid.x[cols], grid.y[rows], buffered, levels=[0.5, 1.5], colors="none", hatches=["////"]
        )
    style_axes(axis, grid)


def draw_legend(axis: Axes, split: Split, pixels: Mapping[int, int]) -> None:
    """Draw a legend of colours, blocks and pixels below the map."""
    handles = []
    for role, name in ROLES.items():
        if blocks := int((split.table == role).sum()):
            label = f"{name}: {blocks:,} block{'s' * (blocks > 1)}, {pixels.get(role, 0):,} px"
            handles.append(
                Patch(facecolor=COLOURS[role], edgecolor="black", linewidth=0.5, label=label)
            )
    if split.buffer:
        label = f"in buffers: {pixels.get(UNUSED, 0):,} px"
        handles.append(
            Patch(facecolor=BUFFER, edgecolor="black", hatch="////", lw=0.5, label=label)
        )
    handles.append(Patch(facecolor=MISSING, edgecolor="black", lw=0.5, label="no data"))
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=6,  # below the axis labels
        ncols=2,
        fontsize=7,
        frameon=False,
    )
