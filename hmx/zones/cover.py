"""Cover: the share of each pixel that a polygon covers, exactly and in integers.

Font rasterisers draw smooth letters in this way (FreeType's ``ftgrays``, after the LibArt
rasteriser of R. Levien): an edge that crosses a pixel adds to two sums of this pixel, the
height it spans (the *rise*) and the area between it and the pixel's right side. The rises of
all pixels to the left in the row, times the width of a pixel, plus the pixel's own area are
the area of the polygon within the pixel, with holes, islands and slivers of any shape, because
each ring counts with its sign. The cost grows with the pixels on the border, not with those
inside, which come in runs.

All of it is integers here: corners of polygons lie on a lattice of 2**-26 px (0.4 um of a 30 m
pixel), and so do the points where edges cross the borders of pixels. Integers add up to the
same bits in any order, so a window has the shares that the whole grid has, and the border of
two zones adds to one what it takes from the other: their shares of a pixel sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmx.windows import Window

Ints = NDArray[np.int64]

BITS = 26  # area of a pixel is then 2**(2 * BITS + 1) half cells, which float64 holds exactly
UNIT = 1 << BITS  # lattice steps of a pixel
WHOLE = 2 * UNIT * UNIT  # twice the area of a pixel, in lattice steps squared


@dataclass(frozen=True)
class Cover:
    """Pixels of a window that zones cover, sorted by zone and pixel."""

    zone: NDArray[np.int32]  # number of the zone in the layer
    pixel: Ints  # flat index in the window, row by row
    share: NDArray[np.float64]  # covered share of the pixel's area, above 0 and at most 1

    def __len__(self) -> int:
        return len(self.zone)


@dataclass(frozen=True)
class Runs:
    """Pixels of a window in runs of one row and one covered area, sorted by zone and pixel."""

    zone: Ints
    row: Ints  # of the window
    column: Ints  # of the window, where the run begins
    length: Ints  # px
    area: Ints  # twice the covered area of each pixel, in lattice steps squared

    def cover(self, columns: int) -> Cover:
        """Write out the pixels of a window of so many columns."""
        first = self.row * columns + self.column
        within = np.arange(self.length.sum()) - np.repeat(
            np.cumsum(self.length) - self.length, self.length
        )
        # rings that touch within the rounding of the lattice may overlap by it
        share = np.clip(self.area, 0, WHOLE) / WHOLE
        return Cover(
            np.repeat(self.zone, self.length).astype(np.int32),
            np.repeat(first, self.length) + within,
            np.repeat(share, self.length),
        )


def runs_of(zone: Ints, edges: Ints, window: Window) -> Runs:
    """Cut edges along the pixels of a window and add up what they cover.

    `zone` (n,) is the zone of each edge; `edges` (n, 4) are its two corners, x0 y0 x1 y1, in
    lattice steps from the upper left corner of the grid. The interior lies on the right of an
    edge on the way down the rows. Edges outside the window may be there or not, but for those
    on its left.
    """
    zone, pieces, sign = _cut_rows(zone, edges, window)
    zone, row, column, rise, area = _cut_columns(zone, pieces, sign, window)
    rows, columns = window.shape
    line = zone * rows + row - window.y.start
    # column 0 of the key stands for all that lies left of the window
    key = line * (columns + 1) + column - window.x.start + 1
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(first):
        return Runs(*(np.zeros(0, np.int64) for _ in range(5)))
    rise, area = np.add.reduceat(rise[order], first), np.add.reduceat(area[order], first)
    line, column = np.divmod(key[first], columns + 1)
    total = np.cumsum(rise)
    # edges beyond the right side are absent, so a row need not end at zero
    starts = np.flatnonzero(np.diff(line, prepend=-1))
    before = np.repeat((total - rise)[starts], np.diff(starts, append=len(line)))
    left = total - rise - before
    stop = np.where(np.diff(line, append=-1) == 0, np.append(column[1:], 0), columns + 1)
    # each pixel with an edge, and the run of pixels without one that follows it
    runs = Runs(
        np.repeat(line // rows, 2),
        np.repeat(line % rows, 2),
        np.stack([column - 1, column], axis=1).ravel(),
        np.stack([(column > 0).astype(np.int64), stop - column - 1], axis=1).ravel(),
        2 * UNIT * np.repeat(left, 2) + np.stack([area, 2 * UNIT * rise], axis=1).ravel(),
    )
    some = (runs.area != 0) & (runs.length > 0)
    return Runs(*(part[some] for part in vars(runs).values()))


def _cut_rows(zone: Ints, edges: Ints, window: Window) -> tuple[Ints, Ints, Ints]:
    """Cut edges at the borders of rows: zone, pieces x0 y0 x1 y1 downwards, and direction."""
    down = edges[:, 3] > edges[:, 1]
    # both zones of a border cut it from the same end, so at the same points
    x0, y0, x1, y1 = np.where(down[:, None], edges, edges[:, [2, 3, 0, 1]]).T
    top, bottom = window.y.start, window.y.stop
    near = (y0 < y1) & (y1 > top * UNIT) & (y0 < bottom * UNIT)
    near &= np.minimum(x0, x1) < window.x.stop * UNIT
    zone, down, x0, y0, x1, y1 = (part[near] for part in (zone, down, x0, y0, x1, y1))
    first = np.maximum(y0 >> BITS, top)
    count = np.minimum(-(-y1 >> BITS), bottom) - first
    number = np.repeat(np.arange(len(zone)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    slope = ((x1 - x0) / (y1 - y0))[number]
    x0, y0, x1, y1 = (part[number] for part in (x0, y0, x1, y1))
    upper, lower = np.maximum(y0, row * UNIT), np.minimum(y1, (row + 1) * UNIT)
    start = np.where(upper == y0, x0, x0 + _rounded((upper - y0) * slope))
    stop = np.where(lower == y1, x1, x0 + _rounded((lower - y0) * slope))
    sign = np.where(down[number], 1, -1).astype(np.int64)
    return zone[number], np.stack([start, upper, stop, lower], axis=1), sign


def _cut_columns(
    zone: Ints, pieces: Ints, sign: Ints, window: Window
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Cut pieces of one row at the borders of columns: zone, row, column, rise and area."""
    row = pieces[:, 1] >> BITS
    right = pieces[:, 2] >= pieces[:, 0]
    x0, y0, x1, y1 = np.where(right[:, None], pieces, pieces[:, [2, 3, 0, 1]]).T
    # the column before the window takes all that lies left of it
    before = window.x.start - 1
    first = np.maximum(x0 >> BITS, before)
    last = np.maximum(np.maximum(-(-x1 >> BITS) - 1, x0 >> BITS), before)
    count = np.maximum(np.minimum(last, window.x.stop - 1) - first + 1, 0)
    number = np.repeat(np.arange(len(zone)), count)
    column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    # an upright piece is never cut
    slope = ((y1 - y0) / np.maximum(x1 - x0, 1))[number]
    begins, ends = column == first[number], column == last[number]
    x0, y0, x1, y1 = (part[number] for part in (x0, y0, x1, y1))
    near = np.where(begins, x0, column * UNIT)
    far = np.where(ends, x1, (column + 1) * UNIT)
    start = np.where(begins, y0, y0 + _rounded((near - x0) * slope))
    stop = np.where(ends, y1, y0 + _rounded((far - x0) * slope))
    rise = sign[number] * np.abs(stop - start)
    area = rise * (2 * (column + 1) * UNIT - near - far)
    return zone[number], row[number], column, rise, area


def _rounded(steps: NDArray[np.float64]) -> Ints:
    return np.rint(steps).astype(np.int64)
