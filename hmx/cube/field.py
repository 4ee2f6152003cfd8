"""CubeView: a cube of either job, as code that reads windows of it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import xarray as xr

from hmx.cube.cube import Cubelike, OuterForm
from hmx.cube.grid import Grid
from hmx.cube.values import Rules


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
