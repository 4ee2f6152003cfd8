"""Frame: how any window of an output is forecast from its cube.

The lazy graph aside, whatever runs windows (jobs, plans, audits) does it here:
find the core in the cube, read it with its halo, forecast, turn the result the
way the owner's rows run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmx.bundle import Bundle
from hmx.cube import Cube
from hmx.predict.describe import variable_of
from hmx.predict.step import Request, distribution, forecast_window
from hmx.samples import read_raw
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
    history : int
        Last steps that are read of what has time.
    halo : int
        True pixels read around a window.
    request : Request
        What is computed.
    """

    area: Window
    flips: tuple[str, ...]
    history: int
    halo: int
    request: Request

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
        raw = read_raw(cube, window, Span(steps - self.history, steps))
        results = forecast_window(self.request, self.core(part).within(window), *raw.values())
        return {
            variable_of(output, cube.target): self._turned(block)
            for output, block in results.items()
        }

    def distribution(
        self, part: Window, cube: Cube, bundle: Bundle, mean: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Compute intervals and quantiles anew from a mean that is given.

        Parameters
        ----------
        part : Window
            In pixels of the output.
        cube : Cube
            Read for the origin step.
        bundle : Bundle
            Brings the calibration.
        mean : ndarray
            (h, rows, columns), oriented as the output.
        """
        core, steps = self.core(part), cube.data.sizes["time"]
        values = read_raw(cube, core, Span(steps - 1, steps))[cube.target]
        origin = self._turned(self.request.rules[cube.target].clean(values, str(mean.dtype)))[-1]
        found = distribution(bundle, mean, origin, self.request)
        return {variable_of(output, cube.target): block for output, block in found.items()}

    def _turned(self, block: np.ndarray) -> np.ndarray:
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in self.flips]
        return np.flip(block, tuple(axes))
