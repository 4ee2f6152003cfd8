"""Fold plan: what a split of a cube would look like, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hmx.cube.cube import CHUNK, Cube, Cubelike, as_cube
from hmx.cube.grid import Grid
from hmx.cube.read import in_memory, read
from hmx.cube.steps import Label, LearnUntil
from hmx.errors import NotEnoughData
from hmx.forecast.inputs import scan
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.recipe import TrainSetup, block_of, describe, split_of
from hmx.networks.options import ModelOptions
from hmx.splits import ROLES, UNUSED, Split, block_side, choose_block
from hmx.splits.correlation import Correlation, residual_correlation
from hmx.windows import Span, TileGrid, Window

MOST = 1200  # rows or columns of a picture, px
_LEAST_BLOCK = 8  # px; training takes none smaller


@dataclass(frozen=True)
class FoldPlan:
    """A split, or the splits of all folds, and what they are made of.

    Parameters
    ----------
    splits : tuple of Split
        One, or one per fold.
    grid : Grid
        Where the pixels lie.
    pixels : tuple of dict
        Of each split: pixels with data of each role; ``UNUSED`` counts those
        that buffers take.
    correlation : Correlation, optional
        Of the residuals of persistence; ``None`` where it cannot be told.
    valid : ndarray of bool
        Which pixels hold data, thinned by :func:`thin` to be drawn.
    """

    splits: tuple[Split, ...]
    grid: Grid
    pixels: tuple[dict[int, int], ...]
    correlation: Correlation | None
    valid: np.ndarray

    @property
    def suggested(self) -> int | None:
        """Side of a block that the correlation asks for and the cube has room for, px."""
        if self.correlation is None:
            return None
        return max(_LEAST_BLOCK, block_side(self.grid.shape, self.correlation.block_px))

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
        lines = [
            f"correlation  {self.correlation or 'cannot be told: too little changes'}",
            f"suggested    {self._advice(pixel)}",
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

    def _advice(self, pixel: float) -> str:
        """Say which block to take, and why not a larger one."""
        if self.correlation is None or self.suggested is None:
            return "keep the block"
        found, wanted = self.suggested, self.correlation.block_px
        advice = f"a block of {found} px ({_km(found * pixel)})"
        advice += " or more" if found >= wanted else f"; {wanted} px have no room in this cube"
        return advice + (f": --set train.block={found}" if self.splits[0].block < found else "")


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
    """Split a cube as training would, count what each role gets, and advise on blocks.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    fit : TrainOptions, optional
        Block, buffer, shares and seed.
    network : ModelOptions, optional
        What is trained: how far it sees decides block and buffer where `fit` leaves
        them open.
    target : str, optional
        As in :func:`hmx.cube.cube.as_cube`.
    block_m : float, optional
        Side of a block in place of ``fit.block``, m.
    buffer : int, optional
        Pixels this near to a block of a higher role are unused, px. Default: as in
        training.
    folds : int, optional
        Splits of cross-validation, so many, in place of the one of training.
    until : int, str or date, optional
        Later steps are not looked at. Default: ``fit.until``.

    Returns
    -------
    FoldPlan
        ``print`` it, or draw it with :func:`hmx.products.fold_maps.draw_folds`.

    Raises
    ------
    BadArgument, CubeError, NotEnoughData
        If cube, blocks and buffer do not fit.
    """
    fit = fit or TrainOptions()
    if buffer is not None:
        fit = fit.model_copy(update={"buffer": buffer})
    cube = _seen(
        as_cube(obj, target=target, dynamic=(), static=()), fit.until if until is None else until
    )
    splits = _split(
        cube, as_cube(obj, target=target), network or ModelOptions(), fit, block_m, folds
    )
    pixels, valid = _count(cube, splits)
    return FoldPlan(splits, cube.grid, pixels, _correlation(cube), valid)


def _split(
    cube: Cube,
    whole: Cube,
    network: ModelOptions,
    fit: TrainOptions,
    block_m: float | None,
    folds: int | None,
) -> tuple[Split, ...]:
    """Split as training would; ``whole`` has the covariates, which decide what it sees."""
    recipe, grid = TrainSetup(target=cube.target, network=network, fit=fit), cube.grid
    seen = whole.data.isel(time=slice(cube.data.sizes["time"]))
    spec = describe(replace(whole, data=seen), recipe)
    if block_m is None:
        block = block_of(cube, recipe, spec)
    else:
        block = choose_block(grid.shape, grid.pixel_size_m, block_m=block_m)
    counts, fits = scan(cube, block).valid, [fit]
    if folds is not None:
        both = ({"folds": folds, "fold": fold} for fold in range(max(1, folds)))
        fits = [fit.model_copy(update=update) for update in both]
    recipes = (replace(recipe, fit=one) for one in fits)
    return tuple(split_of(cube, one, spec, counts, block=block) for one in recipes)


def thin(size: int, most: int) -> np.ndarray:
    """Choose the rows or columns of a picture, evenly, at most so many.

    Parameters
    ----------
    size : int
        Rows or columns of the raster.
    most : int
        Of the picture.

    Returns
    -------
    ndarray of int
        Ascending; all of them where there is room.
    """
    drawn = min(size, most)
    return ((np.arange(drawn) + 0.5) * size / drawn).astype(int)


def _seen(cube: Cube, until: Label | None) -> Cube:
    """Cut a cube to the steps that may be looked at; keep it in memory if it is small."""
    steps = LearnUntil(until).seen(cube.data["time"])
    data = cube.data.isel(time=steps.slice)
    return in_memory(Cube(data, cube.target, cube.dynamic, cube.static, cube.outer))


def _count(cube: Cube, splits: Sequence[Split]) -> tuple[tuple[dict[int, int], ...], np.ndarray]:
    """Count pixels with data by role in each split, and thin where they are."""
    counts = np.zeros((len(splits), UNUSED + 1), dtype="int64")
    rows, cols = (thin(size, MOST) for size in cube.grid.shape)
    valid = np.zeros((len(rows), len(cols)), dtype=bool)
    for window, seen in _squares(cube):
        for total, split in zip(counts, splits, strict=True):
            total += np.bincount(split.roles(window)[seen], minlength=UNUSED + 1)
        y, x = (
            np.searchsorted(a, [s.start, s.stop])
            for a, s in zip((rows, cols), (window.y, window.x), strict=True)
        )
        at = np.ix_(rows[slice(*y)] - window.y.start, cols[slice(*x)] - window.x.start)
        valid[slice(*y), slice(*x)] = seen[at]
    roles = (*ROLES, UNUSED)
    return tuple({role: int(total[role]) for role in roles} for total in counts), valid


def _squares(cube: Cube) -> Iterator[tuple[Window, np.ndarray]]:
    """Yield where a cube has data at any step, a square of whole chunks at a time."""
    times = Span(0, cube.data.sizes["time"])
    for tile in TileGrid(cube.grid.shape, (CHUNK, CHUNK), halo=0):
        series = read(cube, tile.core, times, cube.rules)[cube.target]
        yield tile.core, np.asarray(np.isfinite(series).any(axis=0))


def _correlation(cube: Cube) -> Correlation | None:
    try:
        return residual_correlation(cube)
    except NotEnoughData:
        return None


def _name(role: int) -> str:
    return ROLES.get(role, "in buffers")


def _km(metres: float) -> str:
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.3g} km"
