"""Frame: how any window of an output is computed from its cube.

The lazy graph aside, whatever runs windows (jobs, plans, audits) does it here:
find the core in the cube, read it with its halo, compute, turn the result the way
the owner's rows run. What is read and what is computed differs by job.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import xarray as xr

from hmx.cube import Cubelike, Door
from hmx.grid import Grid
from hmx.predict.describe import variable_of
from hmx.samples import cut
from hmx.values import Rules
from hmx.windows import Span, Window, with_halo


class Field(Protocol):
    """A cube of either job, as those see it who read windows of it."""

    @property
    def data(self) -> xr.Dataset:
        """Its variables, lazy, in the inner form."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""

    @property
    def door(self) -> Door:
        """How it came in."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names, in the order in which a window of them is handed on."""

    @property
    def rules(self) -> Mapping[str, Rules]:
        """Which numbers are data."""

    def stored(self, name: str) -> xr.DataArray:
        """Return a variable with all its steps."""

    def leave(self, result: xr.Dataset) -> Cubelike:
        """Give a result the form of its owner."""


@dataclass(frozen=True)
class Frame(ABC):
    """An output's place in its cube, and what is asked of each window.

    Parameters
    ----------
    area : Window
        The part of the cube that the output covers (north-up, west to east).
    flips : tuple of str
        Dims that run the other way in the output.
    spec : Spec or MapSpec
        What the network is fed.
    request : Request or MapRequest
        What is computed.
    """

    area: Window
    flips: tuple[str, ...]
    spec: Any
    request: Any

    # numpy in, numpy out: called with the request, a place and the variables as stored
    work: ClassVar[Callable[..., dict[str, np.ndarray]]]

    @property
    @abstractmethod
    def halo(self) -> int:
        """True pixels read around a window."""

    @abstractmethod
    def steps(self, cube: Any) -> Mapping[str, Span]:
        """Say which steps are read of each variable that has time."""

    @abstractmethod
    def place(self, core: Window, read: Window, grid: Grid) -> Any:
        """Find the place of a core in what is read for it, both in pixels of the cube."""

    def core(self, part: Window) -> Window:
        """Turn a window of the output into one of the cube."""
        turned = part.flip(self.area.shape, self.flips)
        return Window(turned.y.shift(self.area.y.start), turned.x.shift(self.area.x.start))

    def reads(self, part: Window, cube: Field) -> Window:
        """Return what is read of the cube for a window of the output."""
        grid = cube.grid
        return with_halo(self.core(part), grid.shape, halo=self.halo, wraps=grid.wraps)

    def needs(self, part: Window, cube: Field) -> Window:
        """Return the part of the cube without which a window of the output is empty."""
        return self.core(part)

    def threaded(self, threads: int | None) -> Self:
        """Return the same, computed with so many torch threads."""
        return replace(self, request=replace(self.request, threads=threads))

    def run(self, part: Window, cube: Field) -> dict[str, np.ndarray]:
        """Compute a window of the output from its true neighbours.

        Parameters
        ----------
        part : Window
            In pixels of the output.
        cube : Cube or Bands
            Only the window and its halo are read.

        Returns
        -------
        dict of ndarray
            By variable, (..., rows, columns), oriented as the output.
        """
        window = self.reads(part, cube)
        place = self.place(self.core(part), window, cube.grid)
        results = self.work(self.request, place, *self._read(window, cube))
        return {
            variable_of(output, self.spec.target): self.turned(block)
            for output, block in results.items()
        }

    def _read(self, window: Window, cube: Field) -> list[np.ndarray]:
        """Read a window of each variable as it is stored, its own steps of it."""
        steps, nx = self.steps(cube), cube.grid.shape[1]
        raw = []
        for name in cube.variables:
            variable = cube.stored(name)
            if name in steps:
                variable = variable.isel(time=steps[name].slice)
            raw.append(cut(variable, window, nx).values)
        return raw

    def turned(self, block: np.ndarray) -> np.ndarray:
        """Turn a block of the cube the way the output runs."""
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in self.flips]
        return np.flip(block, tuple(axes))
