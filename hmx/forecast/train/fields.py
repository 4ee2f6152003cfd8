"""ChipCache: pieces of a cube that are read and derived once, and cut many times.

Context channels look far beyond a chip, so deriving them for each chip alone would mean
reading ten times its pixels. A field is all of a small cube. Of a large one it is the window that
is asked for, and the chips around one block share a field: the block, and as many true pixels
around it as such a chip can need.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from hmx.cube.cube import Cube
from hmx.cube.read import read
from hmx.features.scaling import Scaler
from hmx.features.terrain import row_sizes
from hmx.forecast.inputs import Inputs, assemble
from hmx.forecast.spec import Spec
from hmx.windows import Span, Window, with_halo

_WHOLE = 3_000_000  # px: a cube up to this size is one field for each origin
_KEPT = 1 << 30  # bytes of fields in memory
_STAY = 16  # chips in a row that a slot takes from one field of a large cube


class ChipCache:
    """Cuts network inputs and truths out of fields, and keeps the fields used last."""

    def __init__(self, cube: Cube, spec: Spec, scaler: Scaler):
        self.cube, self.spec, self.scaler = cube, spec, scaler
        self.whole = cube.grid.shape[0] * cube.grid.shape[1] <= _WHOLE
        self._kept: OrderedDict[tuple[Window, int], tuple[Inputs, np.ndarray]] = OrderedDict()
        self._size = 0  # bytes of all that is kept: there may be thousands of fields
        self._lock = threading.Lock()  # windows are read by several threads
        self._reading: dict[tuple[Window, int], threading.Lock] = {}
        rows = cube.grid.cell_areas()
        self._areas = np.asarray(rows / rows.mean(), "float32")

    @property
    def patience(self) -> int:
        """Number of chips in a row that should come from one field."""
        return 1 if self.whole else _STAY

    def areas(self, window: Window) -> np.ndarray:
        """Return the area of a window's pixels relative to the mean of the rows, (y, 1)."""
        return self._areas[window.y.slice, None]

    def cut(
        self, window: Window, origin: int, *, around: Window | None = None
    ) -> tuple[Inputs, np.ndarray]:
        """Cut the inputs of a window at a forecast origin, and its truths, (h, y, x), or NaN.

        Of a large cube, windows whose centres lie in a block ``around`` share its field.
        """
        shape = self.cube.grid.shape
        field = Window.of(shape) if self.whole else window
        if not self.whole and around is not None:
            halo = -(-max(window.shape) // 2)
            field = with_halo(around, shape, halo=halo, wraps=False)
        inside = field.y.start <= window.y.start and window.y.stop <= field.y.stop
        inside &= field.x.start <= window.x.start and window.x.stop <= field.x.stop
        field = field if inside else window  # across the date line: a field of its own
        inputs, truth = self._field(field, origin)
        at = window.within(field).slices
        return inputs.at(at), truth[(..., *at)]

    def _field(self, field: Window, origin: int) -> tuple[Inputs, np.ndarray]:
        """Return a field, read by one thread while others that need it wait."""
        key = field, origin
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            with self._lock:
                found = self._kept.get(key)
            if found is None:
                found = self._read(field, origin)
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = found
                    self._size += _bytes(found)
                self._kept.move_to_end(key)
                self._reading.pop(key, None)
                # the newest field stays, even if it alone is larger than the limit
                while len(self._kept) > 1 and self._size > _KEPT:
                    self._size -= _bytes(self._kept.popitem(last=False)[1])
        return found

    def _read(self, field: Window, origin: int) -> tuple[Inputs, np.ndarray]:
        spec, grid = self.spec, self.cube.grid
        history, steps = spec.network.past_steps, self.cube.data.sizes["time"]
        last = min(origin + spec.h, steps - 1)
        beyond = origin + spec.h - last  # leads without a truth, whose covariates may be known
        around = with_halo(field, grid.shape, halo=spec.context.halo, wraps=grid.wraps)
        times = Span(origin - history + 1, last + 1)
        arrays = read(self.cube, around, times, self.cube.rules, known=spec.future, h=beyond)
        # the truth comes with the same read; only the history of a series is an input, unless the
        # series is known ahead
        past = {
            name: array[:history] if array.ndim == 3 and name not in spec.future else array
            for name, array in arrays.items()
        }
        size = row_sizes(grid, around) if spec.context.terrain else (1.0, 1.0)
        inner = field.within(around)
        inputs = assemble(past, spec, self.scaler, inner=inner, pixel_size=size)
        truth = np.full((spec.h, *field.shape), np.nan, "float32")
        truth[: last - origin] = arrays[spec.target][(slice(history, None), *inner.slices)]
        return inputs, truth


def _bytes(field: tuple[Inputs, np.ndarray]) -> int:
    """Return the bytes of a field."""
    inputs, truth = field
    return sum(array.nbytes for array in (truth, *inputs.tensors()))
