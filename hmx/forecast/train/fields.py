"""ChipCache: pieces of a cube that are read and derived once, and cut many times.

A network sees the neighbourhood of a chip in channels that look far beyond it, so to
derive them for each chip alone would mean reading ten times its pixels. A field is
all of a small cube, or a square of storage chunks of a large one with as many true
pixels around as a chip can need.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from hmx.cube.cube import CHUNK, Cube
from hmx.cube.read import read
from hmx.features.scaling import Scaler
from hmx.features.terrain import row_sizes
from hmx.forecast.inputs import Inputs, assemble
from hmx.forecast.spec import Spec
from hmx.windows import Span, Window, with_halo

_WHOLE = 3_000_000  # px: a cube up to this size is one field for each origin
_KEPT = 1 << 30  # bytes of fields that are kept
_STAY = 16  # chips in a row that a slot takes from one field of a large cube
_AROUND = 96  # true pixels beyond a square of chunks, so that chips may leave it


class ChipCache:
    """Cuts what a network is shown out of fields, which it keeps for a while.

    Parameters
    ----------
    cube : Cube
        Read lazily.
    spec : Spec
        What the network is fed.
    scaler : Scaler
        Statistics of the training data.
    """

    def __init__(self, cube: Cube, spec: Spec, scaler: Scaler):
        self.cube, self.spec, self.scaler = cube, spec, scaler
        self.whole = cube.grid.shape[0] * cube.grid.shape[1] <= _WHOLE
        self._kept: OrderedDict[tuple[Window, int], tuple[Inputs, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()  # chips are read ahead while held-out windows are read
        rows = cube.grid.cell_areas()
        self._areas = np.asarray(rows / rows.mean(), "float32")

    @property
    def patience(self) -> int:
        """Chips in a row that are best cut out of one field."""
        return 1 if self.whole else _STAY

    def areas(self, window: Window) -> np.ndarray:
        """Return the area of a window's pixels relative to the mean of the rows, (y, 1)."""
        return self._areas[window.y.slice, None]

    def cut(self, window: Window, origin: int) -> tuple[Inputs, np.ndarray]:
        """Cut a window: what the network is shown, and the truths, (h, y, x), or NaN.

        Parameters
        ----------
        window : Window
            Inside the cube.
        origin : int
            Step of the forecast origin.
        """
        home = self._home(window)
        with self._lock:
            inputs, truth = self._field(home, origin)
        at = window.within(home).slices
        return inputs.at(at), truth[(..., *at)]

    def _home(self, window: Window) -> Window:
        """Find the field that holds a window; far from all of them it is its own."""
        shape = self.cube.grid.shape
        if self.whole:
            return Window.of(shape)
        row, col = (span.start + len(span) // 2 for span in (window.y, window.x))
        chunk = Window(
            *(Span(at // CHUNK * CHUNK, at // CHUNK * CHUNK + CHUNK) for at in (row, col))
        )
        home = with_halo(chunk, shape, halo=_AROUND, wraps=False)
        inside = home.y.start <= window.y.start and window.y.stop <= home.y.stop
        inside &= home.x.start <= window.x.start and window.x.stop <= home.x.stop
        return home if inside else window

    def _field(self, home: Window, origin: int) -> tuple[Inputs, np.ndarray]:
        key = (home, origin)
        if key not in self._kept:
            self._kept[key] = self._read(home, origin)
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _read(self, home: Window, origin: int) -> tuple[Inputs, np.ndarray]:
        spec, grid = self.spec, self.cube.grid
        history, steps = spec.network.history, self.cube.data.sizes["time"]
        last = min(origin + spec.h, steps - 1)
        beyond = origin + spec.h - last  # leads without a truth, whose covariates may be known
        around = with_halo(home, grid.shape, halo=spec.context.halo, wraps=grid.wraps)
        times = Span(origin - history + 1, last + 1)
        arrays = read(self.cube, around, times, self.cube.rules, known=spec.future, h=beyond)
        seen = {n: a[:history] if self._is_past(n, a) else a for n, a in arrays.items()}
        size = row_sizes(grid, around) if spec.context.terrain else (1.0, 1.0)
        inner = home.within(around)
        inputs = assemble(seen, spec, self.scaler, inner=inner, pixel_size=size)
        truth = np.full((spec.h, *home.shape), np.nan, "float32")
        truth[: last - origin] = arrays[spec.target][(slice(history, None), *inner.slices)]
        return inputs, truth

    def _is_past(self, name: str, array: np.ndarray) -> bool:
        return array.ndim == 3 and name not in self.spec.future


def _bytes(field: tuple[Inputs, np.ndarray]) -> int:
    inputs, truth = field
    return truth.nbytes + sum(array.nbytes for array in inputs.tensors())
