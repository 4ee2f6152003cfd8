"""Boxes: sums and means over the squares around pixels.

There are three means of a square in the package, and each has a reason to stay:

- :class:`Boxes` uses running sums, which cost the same for any radius: the context channels
  reach 30 px. Their rounding depends on where a sum begins, so it differs between tiles.
- :func:`box_means` adds in an order that is the same in every tile: a mapper's inputs at a
  sample and on the map are equal to the last bit. Its cost grows with the logarithm of the radius.
- :func:`hmx.features.linear.box_mean` is scipy's filter, which the ridge baseline is defined by.

They agree to 1e-15 of the values, but not to the last bit, and forecasts, maps and scores are
stored: one for all would change every stored number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmx.windows import Window

_BAND = 64  # rows: the sums of one band of rows fit a core's cache


def bands(rows: int) -> Iterator[slice]:
    """Yield the runs of rows that are computed together, first to last."""
    return (slice(first, min(first + _BAND, rows)) for first in range(0, rows, _BAND))


def cut(values: np.ndarray, crop: Window, halo: int) -> tuple[np.ndarray, Window]:
    """Return a crop of (..., y, x) with as much halo as exists, and the crop's window in it."""
    whole = Window.of((values.shape[-2], values.shape[-1]))
    wanted = crop.grow(halo).clip(whole)
    return values[(..., *wanted.slices)], crop.within(wanted)


class Boxes:
    """Sums over the squares around the pixels of a crop, by running sums.

    Columns are summed once; a square is then a difference of two rows, summed along and
    differenced again. Sums are exactly 0 where all values are 0, and never negative if no value
    is, which one table of sums in two dimensions cannot promise.
    """

    def __init__(self, values: np.ndarray, crop: Window, *, max_radius: int):
        """Sum the columns of (y, x) for radii up to `max_radius` px; NaN counts as 0."""
        part, inner = cut(values, crop, max_radius)
        self.shape, self.max_radius = crop.shape, max_radius
        top, left = max_radius - inner.y.start, max_radius - inner.x.start
        width = crop.shape[1] + 2 * max_radius
        self._down = np.zeros((crop.shape[0] + 2 * max_radius + 1, width))  # row k: rows before k
        body = self._down[top + 1 : top + 1 + part.shape[0], left : left + part.shape[1]]
        np.copyto(body, part, where=np.isfinite(part))
        # in place, row by row: a cumsum along the first axis would need a second array
        for before, row in zip(self._down[:-1], self._down[1:], strict=True):
            row += before
        self._along = np.zeros((_BAND, width + 1))  # its first column stays 0

    def sums(self, radius: int, rows: slice) -> np.ndarray:
        """Sum the squares of one radius, px, in rows from :func:`bands`: (rows, x), float64."""
        margin, side, nx = self.max_radius - radius, 2 * radius + 1, self.shape[1]
        columns = slice(margin, margin + nx + 2 * radius)
        low = self._down[margin + rows.start : margin + rows.stop, columns]
        high = self._down[margin + side + rows.start : margin + side + rows.stop, columns]
        along = self._along[: len(low), : nx + side]
        np.subtract(high, low, out=along[:, 1:])
        np.cumsum(along, axis=1, out=along)
        return np.asarray(along[:, side:] - along[:, :nx])


class FullBoxes:
    """Counts of the pixels of squares in a window whose pixels are all known."""

    def __init__(self, shape: tuple[int, int], crop: Window):
        self.spans = tuple(zip((crop.y, crop.x), shape, strict=True))

    def sums(self, radius: int, rows: slice) -> np.ndarray:
        """Count like :meth:`Boxes.sums`; only the window's borders cut squares."""
        down, along = (
            np.minimum(np.arange(span.start, span.stop) + radius + 1.0, size)
            - np.maximum(np.arange(span.start, span.stop) - radius, 0)
            for span, size in self.spans
        )
        return np.outer(down[rows], along)


def counts(known: np.ndarray, crop: Window, *, max_radius: int) -> Boxes | FullBoxes:
    """Prepare to count known pixels, bool (y, x), of squares up to `max_radius` px."""
    if known.all():  # the usual case of a tile inland, counted by arithmetic
        return FullBoxes((known.shape[0], known.shape[1]), crop)
    return Boxes(known, crop, max_radius=max_radius)


def box_means(values: np.ndarray, inner: Window, radius: int) -> np.ndarray:
    """Average the known values in the square around each pixel of `inner`: (..., y, x), float64.

    Additions for a pixel come in one order, whatever array it lies in: sums of 1, 2, 4 ...
    neighbours, and of those, a side of the square. NaN is missing, and so is all beyond the
    array; the mean is NaN where no pixel is known.
    """
    part, crop = cut(values, inner, radius)
    wanted = tuple(side + 2 * radius for side in inner.shape)
    top, left = radius - crop.y.start, radius - crop.x.start
    full = np.full((*part.shape[:-2], *wanted), np.nan)
    full[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
    known = np.isfinite(full)
    side = 2 * radius + 1
    number = _run_sums(_run_sums(known.astype("float64"), side, -1), side, -2)
    total = _run_sums(_run_sums(np.where(known, full, 0.0), side, -1), side, -2)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no known pixel
        return np.asarray(total / number)


def _run_sums(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Sum each run of `length` neighbours along an axis, in an order that depends on length alone.

    A run is cut into blocks of 1, 2, 4 ... values by the binary digits of its length, so the
    cost grows with the logarithm of the length.
    """
    values = np.moveaxis(values, axis, -1)
    runs = values.shape[-1] - length + 1
    total, block, at, size = np.zeros((*values.shape[:-1], runs)), values, 0, 1
    while size <= length:  # digits, smallest first
        if length & size:
            total += block[..., at : at + runs]
            at += size
        block, size = block[..., : block.shape[-1] - size] + block[..., size:], 2 * size
    return np.moveaxis(total, -1, axis)
