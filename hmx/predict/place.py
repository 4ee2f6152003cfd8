"""Place: where a core lies in what is read for it, and in what a network is shown.

A window is read with the reach of the network *and* of the context around its core.
The context is derived for the core and the reach alone, and that is what the network
is shown; what it computes is cropped to the core.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmx.context import row_sizes
from hmx.grid import Grid
from hmx.models.forecaster import reach
from hmx.samples import PixelSize
from hmx.spec import Spec
from hmx.windows import Window, with_halo


@dataclass(frozen=True)
class Place:
    """A core, inside what a network is shown, inside what is read.

    Parameters
    ----------
    inner : Window
        What a network is shown, in pixels of what is read.
    core : Window
        What is wanted, in pixels of ``inner``.
    pixel_size : tuple of float or ndarray
        Of each row that is read, or of all, metres.
    """

    inner: Window
    core: Window
    pixel_size: PixelSize = (1.0, 1.0)

    @property
    def crop(self) -> Window:
        """The core, in pixels of what is read."""
        rows, cols = self.inner.y.start, self.inner.x.start
        return Window(self.core.y.shift(rows), self.core.x.shift(cols))

    @classmethod
    def of(cls, core: Window, read: Window, grid: Grid, spec: Spec, *, h: int) -> Place:
        """Find the place of a core, both windows in pixels of the cube.

        Parameters
        ----------
        core, read : Window
            What is wanted and what is read for it.
        grid : Grid
            Of the cube.
        spec : Spec
            Of the model.
        h : int
            Leads.
        """
        far = reach(spec.network, h)
        inner = with_halo(core, grid.shape, halo=far, wraps=grid.wraps)
        size = row_sizes(grid, read) if spec.context.terrain else (1.0, 1.0)
        return cls(inner.within(read), core.within(inner), size)


def halo(spec: Spec, h: int) -> int:
    """Tell how many true pixels are read around a core: of network and context."""
    return reach(spec.network, h) + spec.context.halo
