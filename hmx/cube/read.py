"""Read: windows of a cube as plain arrays, missing values as NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import xarray as xr

from hmx.cube.cube import Cube, Cubelike, OuterForm
from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.windows import Span, Window, pieces

Arrays = dict[str, np.ndarray]


class CubeView(Protocol):
    """A cube of either job, as code that reads windows sees it."""

    @property
    def data(self) -> xr.Dataset:
        """Its variables, lazy, in the inner form."""

    @property
    def grid(self) -> Grid:
        """Grid of the pixels."""

    @property
    def outer(self) -> OuterForm:
        """How it came in."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names, in the order in which the arrays of a window are passed."""

    @property
    def rules(self) -> Mapping[str, Rules]:
        """Rules of each variable: which numbers are data."""

    def stored(self, name: str) -> xr.DataArray:
        """Return a variable with all its steps."""

    def restore(self, result: xr.Dataset) -> Cubelike:
        """Give a result the form of the user's object."""


def cut(variable: xr.DataArray, window: Window, nx: int) -> xr.DataArray:
    """Cut a window, lazily; beyond ``[0, nx)`` it continues on the other side of the globe."""
    rows = variable.isel(y=window.y.slice)
    parts = [rows.isel(x=part) for part in pieces(window.x, nx)]
    return parts[0] if len(parts) == 1 else xr.concat(parts, dim="x", join="override")


def read(
    cube: Cube,
    window: Window,
    times: Span,
    rules: Mapping[str, Rules],
    *,
    known: Sequence[str] = (),
    h: int = 0,
) -> Arrays:
    """Read cleaned arrays of a window."""
    raw = read_raw(cube, window, times, known=known, h=h)
    return {name: rules[name].clean(values) for name, values in raw.items()}


def read_raw(
    cube: Cube, window: Window, times: Span, *, known: Sequence[str] = (), h: int = 0
) -> Arrays:
    """Read the arrays of a window as they are stored, in the order of ``cube.variables``."""
    arrays = {}
    for name in cube.variables:
        variable = cube.stored(name)
        if "time" in variable.dims:
            variable = variable.isel(time=cube.span(name, times, known=known, h=h).slice)
        arrays[name] = cut(variable, window, cube.grid.shape[1]).values
    return arrays


def in_memory(cube: Cube, *, limit: int = 2 << 30) -> Cube:
    """Load a cube whose variables need no more than ``limit`` bytes."""
    whole = cube.whole
    if cube.data.nbytes + (0 if whole is None else whole.nbytes) > limit:
        return cube
    loaded = None if whole is None else whole.compute()
    return replace(cube, data=cube.data.compute(), whole=loaded)
