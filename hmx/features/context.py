"""Context: neighbourhood channels of a pixel, in addition to the data.

Training and inference derive the same channels with this one code, from cleaned
windows of numpy arrays (missing = NaN). A window must hold :attr:`Context.halo`
true pixels around the wanted pixels, or end at the true edge of the cube.
Squares are summed by running sums, so a radius of 100 costs the same as one of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import scipy

from hmx.errors import BadArgument, did_you_mean, missing_variable
from hmx.features.boxes import Boxes, bands, counts, cut
from hmx.features.terrain import (
    COSINE,
    SINE,
    SLOPE,
    PixelSize,
    per_row,
    row_sizes,
    slope_aspect,
    turn,
)
from hmx.windows import Window

__all__ = ["Context", "Past", "derive", "past_change", "row_sizes", "turn"]


@dataclass(frozen=True)
class Context:
    """Which channels are derived."""

    # Half-widths of the squares around a pixel, px, >= 1, ascending; a radius of 3 is a square of
    # 7 x 7 px. Each gives three means: of the state at the origin, of the past change per step,
    # and of its absolute value
    radii: tuple[int, ...] = (1, 3, 10, 30)
    # Whether each radius also gives the maximum of the state at the origin and of the absolute
    # change per step
    maxima: bool = False
    # Whether the distance to past change is given, px (Euclidean), at most the largest radius
    distance: bool = True
    # A pixel whose steps of change add up, in absolute value, to more than this has changed;
    # units of the target, >= 0
    threshold: float = 0.0
    terrain: tuple[str, ...] = ()  # static variables, in metres, whose slope and aspect are given

    def __post_init__(self) -> None:
        radii = self.radii
        whole = all(isinstance(r, int) and not isinstance(r, bool) and r >= 1 for r in radii)
        if not whole or list(radii) != sorted(set(radii)):
            raise BadArgument(
                f"radii={radii}: radii are whole numbers of pixels from 1, each once and in "
                "ascending order. Pass radii=(1, 3, 10, 30)."
            )
        if not radii and (self.maxima or self.distance):
            raise BadArgument(
                "radii=() with maxima or distance: both look as far as the largest radius. "
                "Pass maxima=False, distance=False, or a radius."
            )
        if not 0 <= self.threshold < np.inf:
            raise BadArgument(
                f"threshold={self.threshold}: a change is counted where it is greater than a "
                "number from 0, in the target's units. Pass threshold=0.0."
            )

    @property
    def halo(self) -> int:
        """Pixels around a pixel that its channels depend on."""
        return max((*self.radii, 1 if self.terrain else 0), default=0)

    def names(self, target: str) -> list[str]:
        """List the channels in order, for a target such as ``"hm"``.

        For each radius ``hm_mean_3``, ``hm_change_mean_3``, ``hm_abschange_mean_3``
        and, with maxima, ``hm_max_3``, ``hm_abschange_max_3``; then ``hm_distance``; then for each
        terrain variable ``elevation_slope``, ``elevation_aspect_sin``, ``elevation_aspect_cos``.
        """
        boxes = ["{}_mean_{}", "{}_change_mean_{}", "{}_abschange_mean_{}"]
        boxes += ["{}_max_{}", "{}_abschange_max_{}"] if self.maxima else []
        named = [box.format(target, radius) for radius in self.radii for box in boxes]
        named += [f"{target}_distance"] if self.distance else []
        return named + [f"{name}_{part}" for name in self.terrain for part in (SLOPE, SINE, COSINE)]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values; :meth:`from_dict` reads them."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Context:
        """Build a context from :meth:`as_dict`; raise :class:`BadArgument` if a name is unknown."""
        known = [field.name for field in fields(cls)]
        for name in stored:
            if name not in known:
                raise BadArgument(
                    f"{name!r} is not a setting of a context (these are: {', '.join(known)})."
                    + did_you_mean(name, known)
                )
        values: dict[str, Any] = dict(stored)
        values |= {n: tuple(v) for n, v in stored.items() if isinstance(v, list)}
        return cls(**values)


class Past(NamedTuple):
    """Change over a history, float64 (y, x), NaN where fewer than two steps are known."""

    signed: np.ndarray  # mean per step, units of the target
    absolute: np.ndarray  # mean per step, units of the target
    total: np.ndarray  # sum of the absolute changes, 0 where unknown


def derive(
    context: Context,
    arrays: Mapping[str, np.ndarray],
    target: str,
    *,
    pixel_size: PixelSize,
    crop: Window,
) -> np.ndarray:
    """Derive the channels of the pixels of `crop`: (channel, y, x), float32.

    `arrays` has cleaned values, NaN where missing: the target's history (t, y, x), oldest first and
    ending at the origin, and static variables (y, x). `crop` is in pixels of these arrays, which
    hold the context's halo around it or end at the true edge of the cube. Only terrain uses
    `pixel_size`, metres (see :func:`hmx.features.terrain.row_sizes`).

    The order is that of :meth:`Context.names`; means and maxima are in native units, distance in
    px, slope in radians. Means are over the known pixels of a square alone, NaN without any; a
    missing pixel has not changed; aspect is 0 on flats. Raises :class:`MissingVariable` or
    :class:`BadArgument` if arrays, crop and pixel size do not fit.
    """
    for name in (target, *context.terrain):
        if name not in arrays:
            raise missing_variable(name, arrays, where="the window")
    shape = arrays[target].shape[1:]
    whole = Window.of((shape[0], shape[1]))
    if crop.clip(whole) != crop:
        raise BadArgument(
            f"crop rows {crop.y.start}-{crop.y.stop}, columns {crop.x.start}-{crop.x.stop} leave "
            f"a window of {shape[0]} x {shape[1]} px: only pixels that were read have channels. "
            "Pass crop=tile.crop."
        )
    out = np.empty((len(context.names(target)), *crop.shape), "float32")
    at = 0
    if context.radii:
        at = _from_target(context, arrays[target], crop, out)
    for name in context.terrain:
        heights, inner = cut(arrays[name], crop, 1)
        rows = slice(crop.y.start - inner.y.start, crop.y.start - inner.y.start + len(heights))
        dx, dy = (per_row(size, arrays[name].shape[0])[rows] for size in pixel_size)
        for part in slope_aspect(heights, (dx, dy)):
            out[at], at = part[inner.slices], at + 1
    return out


def _from_target(context: Context, series: np.ndarray, crop: Window, out: np.ndarray) -> int:
    """Fill the channels before terrain, and return their number."""
    series, inner = cut(series, crop, context.halo)
    past = past_change(series)
    maps, largest = (series[-1], past.signed, past.absolute), context.radii[-1]
    # the change of a pixel is unknown where its state is known but once
    known, moved = np.isfinite(maps[0]), np.isfinite(maps[1])
    masks = [known] if np.array_equal(known, moved) else [known, moved]
    numbers = [counts(mask, inner, max_radius=largest) for mask in masks]
    boxes = [Boxes(values, inner, max_radius=largest) for values in maps]
    each = 5 if context.maxima else 3  # channels of a radius
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no known pixel
        for rows in bands(inner.shape[0]):
            for index, radius in enumerate(context.radii):
                number = [of.sums(radius, rows) for of in numbers]
                for at, box in enumerate(boxes):
                    mean = box.sums(radius, rows) / number[0 if at == 0 else -1]
                    out[index * each + at, rows] = mean
    if context.maxima:
        for index, radius in enumerate(context.radii):
            for at, values in ((3, series[-1]), (4, past.absolute)):
                # the largest known value of the square, NaN without any
                low = np.where(np.isfinite(values), values, -np.inf)
                high = scipy.ndimage.maximum_filter(
                    low, 2 * radius + 1, mode="constant", cval=-np.inf
                )
                out[index * each + at] = np.where(np.isfinite(high), high, np.nan)[inner.slices]
    end = each * len(context.radii)
    if context.distance:
        changed = past.total > context.threshold
        # without any changed pixel the transform has no target to measure to
        distance = scipy.ndimage.distance_transform_edt(~changed) if changed.any() else np.inf
        cap = np.full(changed.shape, float(largest))
        out[end] = np.minimum(distance, cap)[inner.slices]
    return end + context.distance


def past_change(series: np.ndarray) -> Past:
    """Measure the change of each pixel over a history (t, y, x), oldest first, NaN where missing.

    The signed change is the last known value less the first, over the steps between them; the
    absolute change adds up the changes from each known value to the next, over the same steps. So
    a change across a gap counts as spread evenly over it.
    """
    past = Past(*(np.empty(series.shape[1:]) for _ in Past._fields))
    for rows in bands(series.shape[1]):  # some rows at a time: their arrays fit a core's cache
        values = series[:, rows].astype("float64")
        known = np.isfinite(values)
        values[~known] = np.nan
        begun = known[0].copy()  # pixels with a known value so far
        first, last = values[0].copy(), values[0].copy()
        start, steps, total = np.zeros(begun.shape), np.zeros(begun.shape), np.zeros(begun.shape)
        for index in range(1, len(values)):
            now = known[index]
            both = now & begun
            np.add(total, np.abs(values[index] - last), out=total, where=both)
            fresh = now & ~begun
            np.copyto(first, values[index], where=fresh)
            np.copyto(start, index, where=fresh)
            np.copyto(last, values[index], where=now)
            np.subtract(index, start, out=steps, where=both)
            begun |= now
        steps[steps == 0] = np.nan  # known but once: its change is unknown
        past.signed[rows], past.absolute[rows] = (last - first) / steps, total / steps
        past.total[rows] = total
    return past
