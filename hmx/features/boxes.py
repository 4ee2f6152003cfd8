"""Boxes: sums over the squares around pixels, at the same cost for any radius.

A map is summed down its columns once; a square is then a difference of two rows,
summed along and differenced again. Sums are exactly 0 where all values are 0, and
never negative where none is, which one table of sums in two dimensions cannot
promise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmx.windows import Window

_BAND = 64  # rows: what one band needs stays in a core's cache


def bands(rows: int) -> Iterator[slice]:
    """Yield runs of rows that are worked on together, first to last.

    Parameters
    ----------
    rows : int
        Rows of a map.
    """
    return (slice(first, min(first + _BAND, rows)) for first in range(0, rows, _BAND))


def cut(values: np.ndarray, crop: Window, halo: int) -> tuple[np.ndarray, Window]:
    """Return a crop with as much halo as there is, and the crop's place in it.

    Parameters
    ----------
    values : ndarray
        Shape (..., y, x).
    crop : Window
        In pixels of the array.
    halo : int
        Pixels wanted around it.
    """
    whole = Window.of((values.shape[-2], values.shape[-1]))
    wanted = Window(crop.y.grow(halo).clip(whole.y), crop.x.grow(halo).clip(whole.x))
    return values[(..., *wanted.slices)], crop.within(wanted)


class Boxes:
    """The squares around the pixels of a crop.

    Parameters
    ----------
    values : ndarray
        Shape (y, x); what is not finite, or beyond the window, counts as 0.
    crop : Window
        Centres of the squares, in pixels of the window.
    most : int
        Largest radius that will be asked for, px.
    """

    def __init__(self, values: np.ndarray, crop: Window, *, most: int):
        part, inner = cut(values, crop, most)
        self.shape, self.most = crop.shape, most
        top, left = most - inner.y.start, most - inner.x.start
        width = crop.shape[1] + 2 * most
        self._down = np.zeros((crop.shape[0] + 2 * most + 1, width))  # row k: rows before k
        body = self._down[top + 1 : top + 1 + part.shape[0], left : left + part.shape[1]]
        np.copyto(body, part, where=np.isfinite(part))
        for before, row in zip(self._down[:-1], self._down[1:], strict=True):
            row += before
        self._along = np.zeros((_BAND, width + 1))  # its first column stays 0

    def sums(self, radius: int, rows: slice) -> np.ndarray:
        """Sum the squares of one radius.

        Parameters
        ----------
        radius : int
            Half-width, px, at most the largest.
        rows : slice
            Rows of the crop, a band of :func:`bands`.

        Returns
        -------
        ndarray
            Shape (rows, x), float64.
        """
        near, side, nx = self.most - radius, 2 * radius + 1, self.shape[1]
        columns = slice(near, near + nx + 2 * radius)
        low = self._down[near + rows.start : near + rows.stop, columns]
        high = self._down[near + side + rows.start : near + side + rows.stop, columns]
        along = self._along[: len(low), : nx + side]
        np.subtract(high, low, out=along[:, 1:])
        np.cumsum(along, axis=1, out=along)
        return np.asarray(along[:, side:] - along[:, :nx])


class FullBoxes:
    """Count the pixels of squares where every pixel of the window is known.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the window, px.
    crop : Window
        Centres of the squares, in pixels of the window.
    """

    def __init__(self, shape: tuple[int, int], crop: Window):
        self.spans = tuple(zip((crop.y, crop.x), shape, strict=True))

    def sums(self, radius: int, rows: slice) -> np.ndarray:
        """Count as :meth:`Boxes.sums` sums; only the window's borders cut squares."""
        down, along = (
            np.minimum(np.arange(span.start, span.stop) + radius + 1.0, size)
            - np.maximum(np.arange(span.start, span.stop) - radius, 0)
            for span, size in self.spans
        )
        return np.outer(down[rows], along)


def counts(known: np.ndarray, crop: Window, *, most: int) -> Boxes | FullBoxes:
    """Prepare to count the known pixels of squares.

    Parameters
    ----------
    known : ndarray
        Shape (y, x), bool.
    crop : Window
        Centres of the squares, in pixels of the window.
    most : int
        Largest radius that will be asked for, px.
    """
    if known.all():
        return FullBoxes((known.shape[0], known.shape[1]), crop)
    return Boxes(known, crop, most=most)
