"""Field: a smooth random map of standard normal numbers, the same bits for any window.

Each smooth part is white noise at the nodes of a lattice, weighted with a Gaussian kernel,
``exp(-d^2 / 2 sigma^2)``. At every pixel the squares of its weights sum to 1, so the variance is
exactly 1 everywhere, also between nodes and at the edges of a raster, where the lattice goes on.
Sums are taken tap by tap in a fixed order, elementwise, so a window computed alone has the same
bits as in a larger one. Only noise is needed around a window, never a forecast.

Ranges are lengths on the ground. On a grid of degrees a pixel becomes narrower towards the poles:
there each row has kernels of its own width along x, in pixels, so that the length stays. Pixels
narrower than a twentieth of their height count as that wide. A globe is closed at the date line:
the spacing of the lattice divides its columns.

A number depends on its key (seed, draw, component, lead) and its node alone, so every tile, worker
and region gets the same bits. Numbers are drawn in blocks of nodes with the counter-based
generator Philox (Salmon et al. 2011, doi:10.1145/2063384.2063405).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hmx.cube.grid import Grid
from hmx.features.terrain import row_sizes
from hmx.uncertainty.joint.dependence import Dependence
from hmx.windows import Span, Window

_BLOCK = 64  # nodes; a smaller one would draw fewer numbers too many, and start more often

_WORD = 0xFFFFFFFFFFFFFFFF
_REACH = 3.5  # standard deviations: weights beyond are below .3 % of the largest
_SPACING = 1.3  # nodes per standard deviation: fewer would show in the correlation
_FINE = 3.0  # px; kernels below have a node at each pixel
_NARROW = 20  # how many times narrower than high a pixel may count
_NUGGET = 0  # number of the component without a kernel


class NoiseKey(NamedTuple):
    """What numbers depend on, besides their node."""

    seed: int
    draw: int
    component: int
    lead: int


def normal_nodes(
    key: NoiseKey, rows: tuple[int, int], columns: tuple[int, int], *, around: int | None = None
) -> np.ndarray:
    """Return the numbers of nodes [start, stop) of both axes, float32 (rows, columns).

    With ``around`` nodes once round the globe, columns continue at the other end.
    """
    if around is not None:
        at = np.arange(*columns) % around
        if len(at) and (at[0] > at[-1] or len(at) >= around):
            whole = normal_nodes(key, rows, (0, around))
            return np.ascontiguousarray(whole[:, at])
        columns = (int(at[0]), int(at[-1]) + 1)
    found = np.empty((rows[1] - rows[0], columns[1] - columns[0]), "float32")
    for row in range(rows[0] // _BLOCK, -(-rows[1] // _BLOCK)):
        for column in range(columns[0] // _BLOCK, -(-columns[1] // _BLOCK)):
            top, left = row * _BLOCK, column * _BLOCK
            y = slice(max(rows[0], top), min(rows[1], top + _BLOCK))
            x = slice(max(columns[0], left), min(columns[1], left + _BLOCK))
            inside = slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left)
            part = found[y.start - rows[0] : y.stop - rows[0]]
            part[:, x.start - columns[0] : x.stop - columns[0]] = _block(key, row, column)[inside]
    return found


def _block(key: NoiseKey, row: int, column: int) -> np.ndarray:
    """Draw the numbers of one block."""
    # the key of Philox is two words, and its counter four: a block starts far from all others
    words = np.array(
        [
            key.seed & _WORD,
            ((key.draw & 0xFFFFFFFF) << 24 | (key.component & 0xFF) << 16 | key.lead & 0xFFFF),
        ],
        "uint64",
    )
    counter = np.array([0, 0, row & _WORD, column & _WORD], "uint64")
    generator = np.random.Generator(np.random.Philox(key=words, counter=counter))
    return generator.standard_normal((_BLOCK, _BLOCK), dtype="float32")


@dataclass(frozen=True)
class _Taps:
    """Where pixels of one axis read the lattice, and with which weights."""

    first: int  # number of the node at the first tap of the first pixel
    nodes: int  # how many nodes are read
    base: np.ndarray  # (n,) node of each pixel's first tap, counted from `first`
    weights: np.ndarray  # (rows or 1, n, taps)

    @classmethod
    def of(cls, span: Span, spacing: int, sigmas: np.ndarray) -> _Taps:
        """Weigh the nodes around the pixels of a span; kernels of ``sigmas``, (rows,), px."""
        pixels = np.arange(span.start, span.stop)
        cell = pixels // spacing
        far = math.ceil(_REACH * float(sigmas.max()) / spacing)
        tap = np.arange(-far, far + 1)
        # from the pixel's centre to each node, which lies in the middle of its cell
        off = (pixels - cell * spacing + 0.5 - spacing / 2)[:, None] - tap * spacing
        reach = np.ceil(_REACH * sigmas / spacing)[:, None, None]
        weight = np.exp(-np.square(off) / (2 * np.square(sigmas)[:, None, None]))
        # taps beyond a row's own reach add exactly nothing, so a window may have more than it needs
        weight = np.where(np.abs(tap) <= reach, weight, 0.0)
        weight /= np.sqrt(np.square(weight).sum(axis=-1, keepdims=True))
        start = int(cell[0]) - far
        count = int(cell[-1]) + far + 1 - start
        return cls(start, count, cell - cell[0], weight.astype("float32"))

    def along_columns(self, nodes: np.ndarray) -> np.ndarray:
        """Sum the taps of each row of pixels: nodes (n, columns) to (rows, columns)."""
        found = np.zeros((len(self.base), nodes.shape[1]), "float32")
        for tap in range(self.weights.shape[-1]):
            found += nodes[self.base + tap] * self.weights[0, :, tap, None]
        return found

    def along_rows(self, nodes: np.ndarray) -> np.ndarray:
        """Sum the taps of each column of pixels: nodes (rows, n) to (rows, columns)."""
        size = len(self.base)
        found = np.zeros((len(nodes), size), "float32")
        dense = size > 1 and int(self.base[-1]) == size - 1  # a node at each pixel: no lookup
        part = np.empty_like(found)
        for tap in range(self.weights.shape[-1]):
            if dense:
                np.multiply(nodes[:, tap : tap + size], self.weights[..., tap], out=part)
            else:
                np.take(nodes, self.base + tap, axis=1, out=part)
                part *= self.weights[..., tap]
            found += part
        return found


@dataclass(frozen=True)
class _Smooth:
    """One smooth part of the field, in a window."""

    y: _Taps
    x: _Taps
    around: int | None  # nodes once round the globe

    @classmethod
    def of(cls, grid: Grid, window: Window, sigma_m: float) -> _Smooth:
        """Lay the lattice of a kernel of so many metres."""
        width, height = _pixel_sizes(grid, window)
        along_y = np.array([sigma_m / height])
        along_x = sigma_m / (width if grid.crs.is_geographic else width[:1])
        # one spacing for the whole raster, that of its widest pixels
        widest = float(sigma_m / _pixel_sizes(grid, Window.of(grid.shape))[0].max())
        step = _spacing(widest, grid.shape[1] if grid.wraps else None)
        return cls(
            _Taps.of(window.y, _spacing(float(along_y[0])), along_y),
            _Taps.of(window.x, step, along_x),
            grid.shape[1] // step if grid.wraps else None,
        )

    def nodes(self, key: NoiseKey) -> np.ndarray:
        """Return the noise of all nodes that the window reads."""
        rows, columns = ((taps.first, taps.first + taps.nodes) for taps in (self.y, self.x))
        return normal_nodes(key, rows, columns, around=self.around)

    def __call__(self, nodes: np.ndarray) -> np.ndarray:
        """Smooth the noise of nodes into the pixels of the window."""
        return self.x.along_rows(self.y.along_columns(nodes))


@dataclass(frozen=True)
class Field:
    """The dependent part of draws in one window of a grid."""

    grid: Grid  # the whole raster, to whose first pixel the lattice is anchored
    window: Window  # pixels of it
    dependence: Dependence  # the weights of its parts
    seed: int  # another seed, another field

    @cached_property
    def _parts(self) -> tuple[_Smooth, ...]:
        return tuple(
            _Smooth.of(self.grid, self.window, sigma) for sigma in self.dependence.sigmas_m
        )

    def draws(self, numbers: range, h: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield number, lead (from 1) and field, float32 (y, x) without the region's part.

        Its variance is 1, at each pixel and lead. The caller may change the array.
        """
        phi = self.dependence.phi
        keep, fresh = np.float32(phi), np.float32(math.sqrt(1 - phi**2))
        for number in numbers:
            states: list[np.ndarray] = []
            for lead in range(1, h + 1):
                new = [
                    self._noise(NoiseKey(self.seed, number, component, lead))
                    for component in range(len(self._parts) + 1)
                ]
                if lead > 1:
                    new = [keep * old + fresh * now for old, now in zip(states, new, strict=True)]
                states = new
                yield number, lead, self._mixed(states, lead)

    def _noise(self, key: NoiseKey) -> np.ndarray:
        if key.component != _NUGGET:
            return self._parts[key.component - 1].nodes(key)
        y, x = self.window.y, self.window.x
        around = self.grid.shape[1] if self.grid.wraps else None
        return normal_nodes(key, (y.start, y.stop), (x.start, x.stop), around=around)

    def _mixed(self, states: list[np.ndarray], lead: int) -> np.ndarray:
        at = self.dependence.at(lead)
        mixed = np.float32(math.sqrt(at.nugget)) * states[_NUGGET]
        for weight, part, nodes in zip(at.weights, self._parts, states[1:], strict=True):
            smooth = part(nodes)
            smooth *= np.float32(math.sqrt(weight))
            mixed += smooth
        return mixed


def _spacing(sigma: float, columns: int | None = None) -> int:
    """Return the distance of nodes for a kernel, px; one that divides the columns of a globe."""
    wanted = 1 if sigma < _FINE else int(sigma / _SPACING)
    if columns is None:
        return wanted
    return next(step for step in range(min(wanted, columns), 0, -1) if columns % step == 0)


def _pixel_sizes(grid: Grid, window: Window) -> tuple[np.ndarray, float]:
    """Return the width of a pixel in each row, and its height at the centre, metres."""
    height = grid.pixel_size_m[1]
    return np.maximum(row_sizes(grid, window)[0], height / _NARROW), height
