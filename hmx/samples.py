"""Cube + window -> arrays: the one border between xarray and the networks.

Training and inference meet here: both read cleaned arrays of a window and call
:func:`assemble`, so what a network is shown at a pixel cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hmx.bundle import Spec
from hmx.cube import CHUNK, Cube, Rules
from hmx.folds import TRAIN, Split
from hmx.scaling import Scaler
from hmx.windows import Span, TileGrid, Window, pieces

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """What a network is shown of one window; nothing in it is NaN.

    Parameters
    ----------
    past, valid : ndarray
        Target in native units (0 where missing) and where it is data, (t, y, x).
    dynamic : ndarray
        Scaled dynamic covariates and, last, where all of them are known,
        (t, d, y, x); d = 0 without dynamic covariates.
    static : ndarray
        Likewise static covariates, (s, y, x).
    """

    past: np.ndarray
    valid: np.ndarray
    dynamic: np.ndarray
    static: np.ndarray

    def tensors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the arrays in the order a network takes them."""
        return self.past, self.valid, self.dynamic, self.static


def assemble(arrays: Mapping[str, np.ndarray], spec: Spec, scaler: Scaler) -> Inputs:
    """Scale a window's arrays and turn what is missing into masks.

    Parameters
    ----------
    arrays : mapping
        Cleaned arrays (missing = NaN) of the spec's variables; those with time
        have the spec's ``history`` steps.
    spec : Spec
        Names and order of the channels.
    scaler : Scaler
        Statistics of the training data.
    """
    past = arrays[spec.target]
    valid = np.isfinite(past).astype(past.dtype)
    empty = np.zeros((0, *past.shape[1:]), past.dtype)
    static = [scaler.apply(name, arrays[name]) for name in spec.static]
    dynamic = [scaler.apply(name, arrays[name]) for name in spec.dynamic]
    moving = np.stack(dynamic, axis=1) if dynamic else np.stack([empty] * len(past))
    return Inputs(
        past=np.nan_to_num(past, nan=0.0),
        valid=valid,
        dynamic=_with_validity(moving.astype(past.dtype), axis=1),
        static=_with_validity(np.stack(static).astype(past.dtype) if static else empty, axis=0),
    )


def _with_validity(values: np.ndarray, axis: int) -> np.ndarray:
    """Fill with 0 (the mean), and append where all channels are known."""
    if values.shape[axis] == 0:
        return values
    known = np.isfinite(values).all(axis=axis, keepdims=True).astype(values.dtype)
    return np.concatenate([np.nan_to_num(values, nan=0.0), known], axis=axis)


def cut(variable: xr.DataArray, window: Window, nx: int) -> xr.DataArray:
    """Cut a window, lazily, going round the globe where it leaves ``[0, nx)``."""
    rows = variable.isel(y=window.y.slice)
    parts = [rows.isel(x=part) for part in pieces(window.x, nx)]
    return parts[0] if len(parts) == 1 else xr.concat(parts, dim="x", join="override")


def read(cube: Cube, window: Window, times: Span, rules: Mapping[str, Rules]) -> Arrays:
    """Read cleaned arrays of a window.

    Parameters
    ----------
    cube : Cube
        Read lazily: only the window's pixels.
    window : Window
        In pixels of the cube.
    times : Span
        Steps of the target and the dynamic covariates.
    rules : mapping
        Which numbers are data, from :attr:`Cube.rules`.
    """
    raw = read_raw(cube, window, times)
    return {name: rules[name].clean(values) for name, values in raw.items()}


def read_raw(cube: Cube, window: Window, times: Span) -> Arrays:
    """Read the arrays of a window as they are stored, in the order of ``cube.variables``.

    Parameters
    ----------
    cube : Cube
        Read lazily: only the window's pixels.
    window : Window
        In pixels of the cube.
    times : Span
        Steps of the target and the dynamic covariates.
    """
    arrays = {}
    for name in cube.variables:
        variable = cube.data[name]
        if "time" in variable.dims:
            variable = variable.isel(time=times.slice)
        arrays[name] = cut(variable, window, cube.grid.shape[1]).values
    return arrays


def in_memory(cube: Cube, *, limit: int = 2 << 30) -> Cube:
    """Load a cube whose variables need no more than ``limit`` bytes."""
    if cube.data.nbytes > limit:
        return cube
    return Cube(cube.data.compute(), cube.target, cube.dynamic, cube.static, cube.door)


def count_valid(cube: Cube, block: int) -> np.ndarray:
    """Count pixels with data at any step in each block, (block rows, block columns).

    Parameters
    ----------
    cube : Cube
        Read in squares of whole chunks, whatever the size of a block.
    block : int
        Side of a block, px.
    """
    counts = np.zeros(TileGrid(cube.grid.shape, (block, block), halo=0).counts, dtype="int64")
    target = Cube(cube.data[[cube.target]], cube.target, (), (), cube.door)
    for window, arrays in _squares(target):
        rows = np.arange(window.y.start, window.y.stop) // block
        cols = np.arange(window.x.start, window.x.stop) // block
        seen = np.isfinite(arrays[cube.target]).any(axis=0)
        np.add.at(counts, (rows[:, None], cols[None, :]), seen)
    return counts


def training_blocks(cube: Cube, split: Split) -> Iterator[Arrays]:
    """Yield arrays that hold all training pixels, each once, and NaN elsewhere.

    Parameters
    ----------
    cube : Cube
        Cut to the training years; read in squares of whole chunks.
    split : Split
        Roles of the blocks.
    """
    for window, arrays in _squares(cube):
        train = split.roles(window) == TRAIN
        if train.any():
            yield {name: np.where(train, array, np.nan) for name, array in arrays.items()}


def _squares(cube: Cube) -> Iterator[tuple[Window, Arrays]]:
    """Read a cube once, a square of whole storage chunks at a time."""
    rules, times = cube.rules, Span(0, cube.data.sizes["time"])
    for tile in TileGrid(cube.grid.shape, (CHUNK, CHUNK), halo=0):
        yield tile.core, read(cube, tile.core, times, rules)
