"""Folds: which spatial block plays which role, decided by integers alone.

Blocks are square cells of the cube's own grid. Blocks with data are shuffled
by a seeded generator and dealt to the roles, so that every process that knows
the counts, the shares and the seed finds the same split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hmx.windows import Span, TileGrid, Window

TRAIN, VALIDATION, CALIBRATION, UNUSED = 0, 1, 2, 255
ROLES = {TRAIN: "train", VALIDATION: "validation", CALIBRATION: "calibration"}
_FEWEST_BLOCKS = 20  # smaller cubes get smaller blocks, so that each role has some


@dataclass(frozen=True)
class Split:
    """The role of each block.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the cube, px.
    block : int
        Side of a block, px.
    blocks : tuple of tuple of int
        Role of each block, by block row and column.
    """

    shape: tuple[int, int]
    block: int
    blocks: tuple[tuple[int, ...], ...]

    @cached_property
    def table(self) -> np.ndarray:
        """Roles as an array (block rows, block columns), uint8."""
        return np.array(self.blocks, dtype="uint8")

    @cached_property
    def grid(self) -> TileGrid:
        """The blocks as windows."""
        return TileGrid(self.shape, (self.block, self.block), halo=0)

    def roles(self, window: Window) -> np.ndarray:
        """Return the role of each pixel of a window, shape (rows, columns), uint8."""
        rows = np.arange(window.y.start, window.y.stop) // self.block
        cols = np.arange(window.x.start, window.x.stop) // self.block
        return self.table[np.ix_(rows, cols)]

    def windows(self, role: int) -> list[Window]:
        """List the blocks that have a role, row by row."""
        return [self.grid[i, j].core for i, j in map(tuple, np.argwhere(self.table == role))]

    @property
    def digest(self) -> str:
        """Hash of the split, the same on every machine."""
        head = f"{self.shape} {self.block} ".encode()
        return hashlib.sha256(head + self.table.tobytes()).hexdigest()[:16]


def block_side(shape: tuple[int, int], wanted: int) -> int:
    """Choose a block's side: as wanted, or smaller on a small cube.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the cube, px.
    wanted : int
        Side of a block where there is room, px.
    """
    roomy = int(np.sqrt(shape[0] * shape[1] / _FEWEST_BLOCKS))
    return max(1, min(wanted, roomy))


def deal(
    counts: np.ndarray,
    shape: tuple[int, int],
    *,
    block: int,
    shares: dict[int, float],
    seed: int,
) -> Split:
    """Deal blocks with data to roles; the rest train.

    Parameters
    ----------
    counts : ndarray
        Valid pixels of each block, shape (block rows, block columns).
    shape : tuple of int
        Rows and columns of the cube, px.
    block : int
        Side of a block, px.
    shares : dict
        Share of the blocks for each role but training, e.g. ``{VALIDATION: 0.1}``.
    seed : int
        Of the shuffle.

    Returns
    -------
    Split
        Each role with a positive share has at least one block, as long as one
        is left to train on.
    """
    table = np.full(counts.shape, UNUSED, dtype="uint8")
    filled = np.argwhere(counts > 0)
    table[counts > 0] = TRAIN
    order = np.random.default_rng(seed).permutation(len(filled))
    at = 0
    for role, share in shares.items():
        want = max(1, round(share * len(filled))) if share > 0 else 0
        take = min(want, len(filled) - at - 1)
        for index in order[at : at + take]:
            table[tuple(filled[index])] = role
        at += max(0, take)
    return Split(shape, block, tuple(tuple(int(role) for role in row) for row in table))


def interior(window: Window, outer: tuple[int, int], margin: int, *, wraps: bool) -> Window:
    """Return the part of a window that its invented border cannot reach.

    Parameters
    ----------
    window : Window
        What is read, in pixels of the cube.
    outer : tuple of int
        Rows and columns of the cube; at its true edges nothing is cut.
    margin : int
        Reach, px.
    wraps : bool
        Whether the cube has no edge in x.

    Returns
    -------
    Window
        In pixel coordinates of ``window``; may be empty.
    """

    def cut(span: Span, size: int, closed: bool) -> Span:
        first = 0 if closed and span.start <= 0 else margin
        last = len(span) - (0 if closed and span.stop >= size else margin)
        return Span(first, max(first, last))

    return Window(cut(window.y, outer[0], True), cut(window.x, outer[1], not wraps))
