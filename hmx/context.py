"""Context: what a pixel's neighbourhood says, as channels beside the data.

Training and inference derive the same channels with this one code, from cleaned
windows of numpy arrays (missing = NaN). A window must hold :attr:`Context.halo`
true pixels around the pixels wanted, or end at the true edge of the cube.
Squares are summed by running sums, so a radius of 100 costs what one of 1 does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from hmx.errors import BadArgument, did_you_mean, missing_variable
from hmx.terrain import COSINE, SINE, SLOPE, PixelSize, per_row, row_sizes, slope_aspect, turn
from hmx.windows import Window

__all__ = [
    "Context",
    "Past",
    "box_counts",
    "box_sums",
    "derive",
    "past_change",
    "row_sizes",
    "turn",
]


@dataclass(frozen=True)
class Context:
    """Which channels are derived.

    Parameters
    ----------
    radii : tuple of int
        Half-widths of the squares around a pixel, px, >= 1, ascending; a radius
        of 3 is a square of 7 x 7 px. Each gives three means: of the state at the
        origin, of the past change per step, and of its absolute value.
    maxima : bool
        Whether each radius also gives the maximum of the state at the origin and
        of the absolute change per step.
    distance : bool
        Whether the distance to past change is given, px (Euclidean), at most the
        largest radius.
    threshold : float
        A pixel whose steps of change add up, in absolute value, to more than this
        has changed; units of the target, >= 0.
    terrain : tuple of str
        Static variables, in metres, whose slope and aspect are given.

    Raises
    ------
    BadArgument
        If a value is out of range, or there is no radius to look within.
    """

    radii: tuple[int, ...] = (1, 3, 10, 30)
    maxima: bool = False
    distance: bool = True
    threshold: float = 0.0
    terrain: tuple[str, ...] = ()

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
        """List the channels in order.

        Parameters
        ----------
        target : str
            Variable that changes, e.g. ``"hm"``.

        Returns
        -------
        list of str
            For each radius ``hm_mean_3``, ``hm_change_mean_3``, ``hm_abschange_mean_3``
            and, with maxima, ``hm_max_3``, ``hm_abschange_max_3``; then
            ``hm_distance``; then for each terrain variable ``elevation_slope``,
            ``elevation_aspect_sin``, ``elevation_aspect_cos``.
        """
        boxes = ["{}_mean_{}", "{}_change_mean_{}", "{}_abschange_mean_{}"]
        boxes += ["{}_max_{}", "{}_abschange_max_{}"] if self.maxima else []
        named = [box.format(target, radius) for radius in self.radii for box in boxes]
        named += [f"{target}_distance"] if self.distance else []
        return named + [f"{name}_{part}" for name in self.terrain for part in (SLOPE, SINE, COSINE)]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; :meth:`from_dict` reads it."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Context:
        """Read what :meth:`as_dict` wrote.

        Parameters
        ----------
        stored : mapping
            Some or all of the parameters, by name.

        Raises
        ------
        BadArgument
            If a name is unknown or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in stored:
            if name not in known:
                raise BadArgument(
                    f"{name!r} is no setting of a context (these are: {', '.join(known)})."
                    + did_you_mean(name, known)
                )
        values: dict[str, Any] = dict(stored)
        values |= {n: tuple(v) for n, v in stored.items() if isinstance(v, list)}
        return cls(**values)


class Past(NamedTuple):
    """Change over a history, float64 (y, x), NaN where fewer than two steps are known.

    ``signed`` and ``absolute`` are means per step, in units of the target;
    ``total`` is the sum of the absolute changes, 0 where unknown.
    """

    signed: np.ndarray
    absolute: np.ndarray
    total: np.ndarray


def derive(
    context: Context,
    arrays: Mapping[str, np.ndarray],
    target: str,
    *,
    pixel_size: PixelSize,
    crop: Window,
) -> np.ndarray:
    """Derive the channels of a window's pixels.

    Parameters
    ----------
    context : Context
        Which channels.
    arrays : mapping of str to ndarray
        Cleaned values, NaN where missing: the target's history (t, y, x), oldest
        first and ending at the origin, and static variables (y, x).
    target : str
        Variable that changes.
    pixel_size : tuple of array_like
        Width and height of a pixel, metres: numbers, or one per row of the window
        (see :func:`hmx.terrain.row_sizes`). Only terrain asks for it.
    crop : Window
        Pixels wanted, in pixels of the window. Exact if the window holds the
        context's halo around it or ends at the true edge of the cube.

    Returns
    -------
    ndarray
        Shape (channel, y, x), float32, in the order of :meth:`Context.names`;
        means and maxima in native units, distance in px, slope in radians. Means
        are over the known pixels of a square alone, NaN where there is none;
        what is missing has not changed; aspect is 0 on flats.

    Raises
    ------
    MissingVariable
        If the target or a terrain variable is not in `arrays`.
    BadArgument
        If the crop leaves the window, or pixel sizes do not fit it.
    """
    for name in (target, *context.terrain):
        if name not in arrays:
            raise missing_variable(name, arrays, where="the window")
    shape = arrays[target].shape[1:]
    whole = Window.of((shape[0], shape[1]))
    if Window(crop.y.clip(whole.y), crop.x.clip(whole.x)) != crop:
        raise BadArgument(
            f"crop rows {crop.y.start}-{crop.y.stop}, columns {crop.x.start}-{crop.x.stop} leave "
            f"a window of {shape[0]} x {shape[1]} px: only pixels that were read have channels. "
            "Pass crop=tile.crop."
        )
    out = np.empty((len(context.names(target)), *crop.shape), "float32")
    channels = _channels(context, arrays, target, pixel_size, crop)
    for index, channel in enumerate(channels):
        out[index] = channel
    return out


def _channels(
    context: Context,
    arrays: Mapping[str, np.ndarray],
    target: str,
    pixel_size: PixelSize,
    crop: Window,
) -> Iterator[np.ndarray]:
    """Yield channels in the order of their names."""
    series, inner = _cut(arrays[target], crop, context.halo)
    if context.radii:
        past = past_change(series)
        yield from _squares(context, series[-1], past, inner)
        if context.distance:
            changed = past.total > context.threshold
            yield _distance(changed, context.radii[-1])[inner.slices]
    for name in context.terrain:
        heights, inner = _cut(arrays[name], crop, 1)
        rows = slice(crop.y.start - inner.y.start, crop.y.start - inner.y.start + len(heights))
        dx, dy = (per_row(size, arrays[name].shape[0])[rows] for size in pixel_size)
        yield from (part[inner.slices] for part in slope_aspect(heights, (dx, dy)))


def _squares(
    context: Context, state: np.ndarray, past: Past, inner: Window
) -> Iterator[np.ndarray]:
    """Yield the means, and maxima if asked for, radius by radius."""
    maps = (state, past.signed, past.absolute)
    known, moved = np.isfinite(state), np.isfinite(past.signed)
    same = np.array_equal(known, moved)
    counts = [
        box_counts(mask, context.radii, inner) for mask in ([known] if same else [known, moved])
    ]
    sums = [box_sums(values, context.radii, inner) for values in maps]
    for radius, totals, numbers in zip(
        context.radii, zip(*sums, strict=True), zip(*counts, strict=True), strict=True
    ):
        for total, number in zip(totals, (numbers[0], numbers[-1], numbers[-1]), strict=True):
            with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no known pixel
                yield total / number
        if context.maxima:
            yield from (_maximum(values, radius)[inner.slices] for values in maps[::2])


def past_change(series: np.ndarray) -> Past:
    """Measure how each pixel changed over a history.

    Parameters
    ----------
    series : ndarray
        Shape (t, y, x), oldest first, NaN where missing.

    Returns
    -------
    Past
        The signed change is the last known value less the first, over the steps
        between them; the absolute change adds up the changes from each known
        value to the next, over the same steps. So a change across a gap counts as
        spread evenly over it.
    """
    values = series.astype("float64")
    known = np.isfinite(values)
    seen = known[0].copy()
    first, last = values[0].copy(), values[0].copy()
    began, steps, total = np.zeros(seen.shape), np.zeros(seen.shape), np.zeros(seen.shape)
    for index in range(1, len(values)):
        now = known[index]
        both = now & seen
        np.add(total, np.abs(values[index] - last), out=total, where=both)
        fresh = now & ~seen
        np.copyto(first, values[index], where=fresh)
        np.copyto(began, index, where=fresh)
        np.copyto(last, values[index], where=now)
        np.subtract(index, began, out=steps, where=both)
        seen |= now
    steps[steps == 0] = np.nan
    return Past((last - first) / steps, total / steps, total)


def box_sums(values: np.ndarray, radii: Sequence[int], crop: Window) -> Iterator[np.ndarray]:
    """Sum the squares around the pixels of a crop, radius by radius.

    Parameters
    ----------
    values : ndarray
        Shape (y, x); what is not finite, or beyond the window, counts as 0.
    radii : sequence of int
        Half-widths of the squares, px.
    crop : Window
        Centres of the squares, in pixels of the window.

    Yields
    ------
    ndarray
        Shape of the crop, float64. Running sums down and then along: exactly 0
        where all values are 0, and never negative where none is.
    """
    most = max(radii, default=0)
    ny, nx = crop.shape
    padded, inner = _cut(values, crop, most)
    top, left = most - inner.y.start, most - inner.x.start
    down = np.zeros((ny + 2 * most + 1, nx + 2 * most))  # row k: sum of the rows before k
    body = down[top + 1 : top + 1 + padded.shape[0], left : left + padded.shape[1]]
    np.copyto(body, padded, where=np.isfinite(padded))
    np.cumsum(down, axis=0, out=down)
    space = np.zeros((ny, nx + 2 * most + 1))  # its first column stays 0
    for radius in radii:
        near, side = most - radius, 2 * radius + 1
        columns = slice(near, near + nx + 2 * radius)
        along = space[:, : nx + side]
        low, high = down[near : near + ny, columns], down[near + side : near + side + ny, columns]
        np.subtract(high, low, out=along[:, 1:])
        np.cumsum(along, axis=1, out=along)
        yield along[:, side:] - along[:, :nx]


def box_counts(known: np.ndarray, radii: Sequence[int], crop: Window) -> Iterator[np.ndarray]:
    """Count the known pixels in the squares around the pixels of a crop.

    Parameters
    ----------
    known : ndarray
        Shape (y, x), bool. Beyond the window nothing is known.
    radii : sequence of int
        Half-widths of the squares, px.
    crop : Window
        Centres of the squares, in pixels of the window.

    Yields
    ------
    ndarray
        Shape of the crop, float64.
    """
    if not known.all():
        yield from box_sums(known, radii, crop)
        return
    for radius in radii:
        rows, cols = (
            np.minimum(np.arange(span.start, span.stop) + radius + 1, size)
            - np.maximum(np.arange(span.start, span.stop) - radius, 0)
            for span, size in zip((crop.y, crop.x), known.shape, strict=True)
        )
        yield np.outer(rows, cols).astype("float64")


def _maximum(values: np.ndarray, radius: int) -> np.ndarray:
    """Find the largest known value in the square around each pixel, NaN if none."""
    low = np.where(np.isfinite(values), values, -np.inf)
    high = ndimage.maximum_filter(low, 2 * radius + 1, mode="constant", cval=-np.inf)
    return np.where(np.isfinite(high), high, np.nan)


def _distance(changed: np.ndarray, most: int) -> np.ndarray:
    """Measure how far the nearest changed pixel is, at most ``most`` px."""
    if not changed.any():
        return np.full(changed.shape, float(most))
    return np.asarray(np.minimum(ndimage.distance_transform_edt(~changed), most))


def _cut(values: np.ndarray, crop: Window, halo: int) -> tuple[np.ndarray, Window]:
    """Return a crop with as much halo as there is, and the crop's place in it."""
    whole = Window.of((values.shape[-2], values.shape[-1]))
    wanted = Window(crop.y.grow(halo).clip(whole.y), crop.x.grow(halo).clip(whole.x))
    return values[(..., *wanted.slices)], crop.within(wanted)
