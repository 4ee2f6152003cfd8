"""Inputs: from the arrays of a window to the inputs of a network.

Training and inference both read cleaned arrays of a window and call
:func:`assemble`, so the inputs of a network at a pixel cannot differ between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hmx.cube.cube import CHUNK, Cube
from hmx.cube.read import Arrays, read
from hmx.features.context import derive
from hmx.features.scaling import Scaler, apply_transforms
from hmx.forecast.spec import Spec
from hmx.splits import TRAIN, Split
from hmx.windows import Span, TileGrid, Window

PixelSize = tuple[float | np.ndarray, float | np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """Inputs of a network for one window, without NaN."""

    past: np.ndarray  # (t, y, x), target in native units, 0 where missing
    valid: np.ndarray  # (t, y, x), 1 where the target is known
    dynamic: np.ndarray  # (t, d, y, x), scaled covariates and, last, where all are known
    static: np.ndarray  # (s, y, x), likewise, and scaled context
    ahead: np.ndarray  # (h, a, y, x), scaled covariates that are known at the leads
    distance: np.ndarray | None = None  # (y, x), to past change, px; not every context has it

    def at(self, slices: tuple[slice, slice]) -> Inputs:
        """Crop all arrays."""
        return self.mapped(lambda array: array[(..., *slices)])

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Inputs:
        """Apply a function to all arrays."""
        distance = None if self.distance is None else change(self.distance)
        past, valid, dynamic, static, ahead = (change(array) for array in self.tensors())
        return Inputs(past, valid, dynamic, static, ahead, distance)

    def tensors(self) -> tuple[np.ndarray, ...]:
        """Return the arrays in the order of :class:`hmx.networks.inputs.NetworkInputs`."""
        return self.past, self.valid, self.dynamic, self.static, self.ahead


def assemble(
    arrays: Mapping[str, np.ndarray],
    spec: Spec,
    scaler: Scaler,
    *,
    inner: Window | None = None,
    pixel_size: PixelSize = (1.0, 1.0),
) -> Inputs:
    """Derive a window's context, scale its arrays, and turn NaN into validity channels."""
    inner = inner or Window.of(next(iter(arrays.values())).shape[-2:])
    arrays = apply_transforms(arrays, spec.transforms)
    history = spec.network.past_steps
    sources = {name: arrays[name] for name in spec.context.terrain}
    # two steps: of past change, earlier changes add little to the last one
    sources[spec.target] = arrays[spec.target][max(0, history - 2) : history]
    derived = derive(spec.context, sources, spec.target, pixel_size=pixel_size, crop=inner)
    part = {name: array[(..., *inner.slices)] for name, array in arrays.items()}
    past = part[spec.target]
    steps, dtype = len(past), past.dtype
    empty = np.zeros((0, *past.shape[1:]), dtype)
    static = [scaler.apply(name, part[name]) for name in spec.static]
    dynamic = [scaler.apply(name, part[name]) for name in spec.dynamic]
    moving = np.stack([d[:steps] for d in dynamic], axis=1) if dynamic else [empty] * steps
    fixed = _with_validity(np.stack(static).astype(dtype) if static else empty, axis=0)
    names = spec.context.names(spec.target)
    context = [scaler.apply(name, c) for name, c in zip(names, derived, strict=True)]
    around = np.nan_to_num(np.stack(context).astype(dtype), nan=0.0) if context else empty
    return Inputs(
        past=np.nan_to_num(past, nan=0.0),
        valid=np.isfinite(past).astype(dtype),
        dynamic=_with_validity(np.asarray(moving, dtype), axis=1),
        static=np.concatenate([fixed, around]),
        ahead=_ahead([d[steps - 1 :] for d in dynamic[: len(spec.future)]], spec.h, empty),
        distance=derived[names.index(f"{spec.target}_distance")] if spec.context.distance else None,
    )


def _ahead(known: list[np.ndarray], h: int, empty: np.ndarray) -> np.ndarray:
    """Stack covariates known ahead, (h, a, y, x); an unknown lead repeats the one before.

    Each of ``known``, (t, y, x), starts with the origin.
    """
    if not known:
        return np.stack([empty] * h)
    leads = max(h, *(len(series) - 1 for series in known))
    found = np.empty((leads, len(known), *empty.shape[1:]), empty.dtype)
    for channel, series in enumerate(known):
        last = np.nan_to_num(series[0], nan=0.0)  # 0 is the mean of scaled values
        for lead in range(leads):
            if lead + 1 < len(series):
                last = np.where(np.isfinite(series[lead + 1]), series[lead + 1], last)
            found[lead, channel] = last
    return found


def _with_validity(values: np.ndarray, axis: int) -> np.ndarray:
    """Fill with 0 (the mean), and append a channel that is 1 where all are known."""
    if values.shape[axis] == 0:
        return values
    known = np.isfinite(values).all(axis=axis, keepdims=True).astype(values.dtype)
    return np.concatenate([np.nan_to_num(values, nan=0.0), known], axis=axis)


@dataclass(frozen=True)
class Scan:
    """Counts by block, (block rows, block columns), and a hash of every value read."""

    valid: np.ndarray  # pixels with data at any step
    changed: np.ndarray  # pixels whose target changed at any step
    digest: str


def scan(cube: Cube, block: int, *, known: Sequence[str] = (), h: int = 0) -> Scan:
    """Count pixels by block of ``block`` px, and hash the data of training.

    The covariates in ``known`` are also read for ``h`` steps after the last one.
    """
    # read in squares of whole chunks whatever the blocks, so that the hash does not depend on them
    shape = TileGrid(cube.grid.shape, (block, block), halo=0).counts
    valid, changed = np.zeros(shape, dtype="int64"), np.zeros(shape, dtype="int64")
    total = hashlib.sha256(f"known ahead: {sorted(known)}".encode() if known else b"")
    for window, arrays in squares(cube, known=known, h=h):
        at = tuple(np.arange(span.start, span.stop) // block for span in (window.y, window.x))
        series = arrays[cube.target]
        np.add.at(valid, np.ix_(*at), np.isfinite(series).any(axis=0))
        with np.errstate(invalid="ignore"):
            np.add.at(changed, np.ix_(*at), (np.abs(np.diff(series, axis=0)) > 0).any(axis=0))
        for name in sorted(arrays):
            total.update(f"{name} {arrays[name].shape}".encode())
            total.update(np.ascontiguousarray(arrays[name]).data)
    return Scan(valid, changed, total.hexdigest()[:16])


def training_blocks(
    cube: Cube, split: Split, transforms: Mapping[str, str] | None = None
) -> Iterator[Arrays]:
    """Yield arrays that together contain each training pixel once, and NaN elsewhere."""
    for window, arrays in squares(cube):
        train = split.roles(window) == TRAIN
        if train.any():
            kept = {name: np.where(train, array, np.nan) for name, array in arrays.items()}
            yield apply_transforms(kept, transforms or {})


def squares(
    cube: Cube, *, known: Sequence[str] = (), h: int = 0
) -> Iterator[tuple[Window, Arrays]]:
    """Read a cube once, a square of whole storage chunks at a time."""
    rules, times = cube.rules, Span(0, cube.data.sizes["time"])
    for tile in TileGrid(cube.grid.shape, (CHUNK, CHUNK), halo=0):
        yield tile.core, read(cube, tile.core, times, rules, known=known, h=h)
