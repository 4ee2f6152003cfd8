"""Folds: the split of a cube, or its splits of cross-validation, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hmx.cube.cube import Cube, Cubelike, as_cube
from hmx.cube.grid import Grid
from hmx.cube.read import in_memory
from hmx.cube.steps import Label, LearnUntil
from hmx.errors import NotEnoughData
from hmx.forecast.inputs import scan, squares
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.recipe import TrainSetup, block_of, describe, split_of
from hmx.networks.options import ModelOptions
from hmx.splits import ROLES, UNUSED, Split, block_side, choose_block
from hmx.splits.correlation import Correlation, residual_correlation

MOST = 1200  # rows or columns of a picture, px
_MIN_BLOCK = 8  # px: the smallest block of training


@dataclass(frozen=True)
class FoldPlan:
    """A split, or the splits of all folds, with pixel counts and a suggested block."""

    splits: tuple[Split, ...]  # one, or one per fold
    grid: Grid  # of the cube
    # of each split: pixels with data of each role; ``UNUSED`` counts the buffers
    pixels: tuple[dict[int, int], ...]
    # of the residuals of persistence; ``None`` if too little changes
    correlation: Correlation | None
    valid: np.ndarray  # pixels with data, thinned by :func:`thin` for a picture

    @property
    def suggested(self) -> int | None:
        """Side of a block that is independent by the correlation and fits the cube, px."""
        if self.correlation is None:
            return None
        return max(_MIN_BLOCK, block_side(self.grid.shape, self.correlation.block_px))

    def as_dict(self) -> dict[str, Any]:
        """Describe the plan in JSON's types: metres, pixels, counts and the splits."""
        found = self.correlation
        return {
            "correlation_length_m": found and found.length_m,
            "correlation_range_m": found and found.range_m,
            "suggested_block_px": self.suggested,
            "splits": [split.as_dict() for split in self.splits],
            "pixels": [{_name(role): n for role, n in counts.items()} for counts in self.pixels],
        }

    def __str__(self) -> str:
        split, pixel = self.splits[0], min(self.grid.pixel_size_m)
        advice = "keep the block"
        if self.correlation is not None and self.suggested is not None:
            found, wanted = self.suggested, self.correlation.block_px
            advice = f"a block of {found} px ({_km(found * pixel)})"
            advice += " or more" if found >= wanted else f"; {wanted} px have no room in this cube"
            advice += f": --set train.block={found}" if split.block < found else ""
        lines = [
            f"correlation  {self.correlation or 'unknown: too little changes'}",
            f"suggested    {advice}",
            f"block        {split.block} px ({_km(split.block * pixel)})",
            f"buffer       {split.buffer} px ({_km(split.buffer * pixel)})",
        ]
        for number, (split, counts) in enumerate(zip(self.splits, self.pixels, strict=True), 1):
            fold = f"fold {number}" if len(self.splits) > 1 else "split"
            lines += ["", f"{fold:<12} {split.digest}", f"{'':<12} {'blocks':>8} {'valid px':>14}"]
            total = sum(counts.values())
            for role, pixels in counts.items():
                blocks = "" if role == UNUSED else f"{int((split.table == role).sum()):,}"
                share = f"{pixels / max(1, total):6.1%}"
                lines.append(f"{_name(role):<12} {blocks:>8} {pixels:>14,} {share}")
        return "\n".join(lines)


def fold_plan(
    obj: Cubelike,
    fit: TrainOptions | None = None,
    *,
    network: ModelOptions | None = None,
    target: str | None = None,
    block_m: float | None = None,
    buffer: int | None = None,
    folds: int | None = None,
    until: Label | None = None,
) -> FoldPlan:
    """Split a cube as training would, count the pixels of each role, and suggest a block.

    ``network`` decides block and buffer by its reach if ``fit`` does not; ``block_m`` (m) and
    ``buffer`` (px) replace those of ``fit``. ``folds`` is the number of splits for
    cross-validation; default: the one split of training.
    """
    fit = fit or TrainOptions()
    if buffer is not None:
        fit = fit.model_copy(update={"buffer": buffer})
    cube = as_cube(obj, target=target, dynamic=(), static=())
    steps = LearnUntil(fit.until if until is None else until).seen(cube.data["time"])
    cube = in_memory(
        Cube(cube.data.isel(time=steps.slice), cube.target, cube.dynamic, cube.static, cube.outer)
    )
    recipe = TrainSetup(target=cube.target, network=network or ModelOptions(), fit=fit)
    # the covariates are not read, but their context adds to the reach
    whole = as_cube(obj, target=target)
    known = whole.data.isel(time=slice(cube.data.sizes["time"]))
    spec, grid = describe(replace(whole, data=known), recipe), cube.grid
    if block_m is None:
        block = block_of(cube, recipe, spec)
    else:
        block = choose_block(grid.shape, grid.pixel_size_m, block_m=block_m)
    counts, fits = scan(cube, block).valid, [fit]
    if folds is not None:
        updates = ({"folds": folds, "fold": fold} for fold in range(max(1, folds)))
        fits = [fit.model_copy(update=update) for update in updates]
    recipes = (replace(recipe, fit=one) for one in fits)
    splits = tuple(split_of(cube, one, spec, counts, block=block) for one in recipes)
    pixels, valid = _count(cube, splits)
    try:
        correlation = residual_correlation(cube)
    except NotEnoughData:
        correlation = None
    return FoldPlan(splits, grid, pixels, correlation, valid)


def thin(size: int, most: int) -> np.ndarray:
    """Choose at most ``most`` of ``size`` rows or columns, evenly, for a picture."""
    drawn = min(size, most)
    return ((np.arange(drawn) + 0.5) * size / drawn).astype(int)


def _count(cube: Cube, splits: Sequence[Split]) -> tuple[tuple[dict[int, int], ...], np.ndarray]:
    """Count pixels with data by role in each split, and thin the mask of these pixels."""
    counts = np.zeros((len(splits), UNUSED + 1), dtype="int64")
    rows, cols = (thin(size, MOST) for size in cube.grid.shape)
    valid = np.zeros((len(rows), len(cols)), dtype=bool)
    for window, arrays in squares(cube):
        known = np.asarray(np.isfinite(arrays[cube.target]).any(axis=0))
        for total, split in zip(counts, splits, strict=True):
            total += np.bincount(split.roles(window)[known], minlength=UNUSED + 1)
        y, x = (
            np.searchsorted(a, [s.start, s.stop])
            for a, s in zip((rows, cols), (window.y, window.x), strict=True)
        )
        at = np.ix_(rows[slice(*y)] - window.y.start, cols[slice(*x)] - window.x.start)
        valid[slice(*y), slice(*x)] = known[at]
    roles = (*ROLES, UNUSED)
    return tuple({role: int(total[role]) for role in roles} for total in counts), valid


def _name(role: int) -> str:
    return ROLES.get(role, "in buffers")


def _km(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.3g} km"
