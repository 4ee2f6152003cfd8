"""Frame: how any window of an output is forecast from its cube.

The lazy graph aside, whatever runs windows (jobs, plans, audits) does it here:
find the core in the cube, read it with its halo, forecast, turn the result the
way the owner's rows run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmx.cube import Cube
from hmx.predict.describe import variable_of
from hmx.predict.place import Place, halo
from hmx.predict.step import Request, forecast_window
from hmx.samples import read_raw
from hmx.spec import Spec
from hmx.windows import Span, Window, with_halo


@dataclass(frozen=True)
class Frame:
    """An output's place in its cube, and what is asked of each window.

    Parameters
    ----------
    area : Window
        The part of the cube that the output covers (north-up, west to east).
    flips : tuple of str
        Dims that run the other way in the output.
    spec : Spec
        What the network is fed.
    request : Request
        What is computed.
    """

    area: Window
    flips: tuple[str, ...]
    spec: Spec
    request: Request

    @property
    def halo(self) -> int:
        """True pixels read around a window."""
        return halo(self.spec, self.request.h)

    def core(self, part: Window) -> Window:
        """Turn a window of the output into one of the cube."""
        turned = part.flip(self.area.shape, self.flips)
        return Window(turned.y.shift(self.area.y.start), turned.x.shift(self.area.x.start))

    def reads(self, part: Window, cube: Cube) -> Window:
        """Return what is read of the cube for a window of the output."""
        grid = cube.grid
        return with_halo(self.core(part), grid.shape, halo=self.halo, wraps=grid.wraps)

    def forecast(self, part: Window, cube: Cube) -> dict[str, np.ndarray]:
        """Forecast a window of the output from its true neighbours.

        Parameters
        ----------
        part : Window
            In pixels of the output.
        cube : Cube
            Only the window and its halo are read.

        Returns
        -------
        dict of ndarray
            By variable, (..., rows, columns), oriented as the output.
        """
        window, steps = self.reads(part, cube), cube.data.sizes["time"]
        times = Span(steps - self.spec.network.history, steps)
        raw = read_raw(cube, window, times, known=self.spec.future, h=self.request.h)
        place = Place.of(self.core(part), window, cube.grid, self.spec, h=self.request.h)
        results = forecast_window(self.request, place, *raw.values())
        return {
            variable_of(output, cube.target): self._turned(block)
            for output, block in results.items()
        }

    def origin(self, part: Window, cube: Cube) -> np.ndarray:
        """Read the last observed state of a window of the output, oriented as it."""
        core, steps = self.core(part), cube.data.sizes["time"]
        target = Cube(cube.data[[cube.target]], cube.target, (), (), cube.door)
        values = read_raw(target, core, Span(steps - 1, steps))[cube.target]
        cleaned = self.request.rules[cube.target].clean(values)
        return np.asarray(self._turned(cleaned)[-1])

    def _turned(self, block: np.ndarray) -> np.ndarray:
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in self.flips]
        return np.flip(block, tuple(axes))
