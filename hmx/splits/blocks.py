"""Split: the role of each block and of each pixel, decided by integers alone.

Roles are ordered: test > calibration > validation > train. A pixel within the
buffer of a block of a higher role is unused: what is learned or tuned there
could lean on truth that the higher role is scored by. Distances are
Chebyshev, since networks and box means reach in squares.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from hmx.errors import BadArgument
from hmx.files.shown import Shown
from hmx.provenance import fingerprint
from hmx.windows import Span, TileGrid, Window

TRAIN, VALIDATION, CALIBRATION, TEST, UNUSED = 0, 1, 2, 3, 255  # the higher wins
ROLES = {TRAIN: "train", VALIDATION: "validation", CALIBRATION: "calibration", TEST: "test"}
# one letter a role in JSON: a split of 10^5 blocks is read and compared as text
MARKS = {TRAIN: "t", VALIDATION: "v", CALIBRATION: "c", TEST: "x", UNUSED: "."}


class SavedSplit(ABC):
    """What can be written as JSON values and read again, or refused if it was changed."""

    WORD: ClassVar[str]  # in messages

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return all that decides roles, in JSON values."""

    @classmethod
    @abstractmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Build from the values of :meth:`facts`; any exception means that they do not fit."""

    @property
    def digest(self) -> str:
        """Hash of all that decides roles, the same on every machine."""
        return fingerprint(self.facts())

    def as_dict(self) -> dict[str, Any]:
        """Return the facts and their digest in JSON values."""
        return {**self.facts(), "digest": self.digest}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_dict` has written, or refuse it if it was changed since."""
        try:
            found, digest = cls.of_facts(saved), str(saved["digest"])
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise BadArgument(
                f"cannot read the {cls.WORD} ({type(error).__name__}: {error}). "
                "Pass what as_dict() gave, or split again."
            ) from None
        if found.digest != digest:
            raise BadArgument(
                f"the {cls.WORD} saved as {digest} reads as {found.digest}, so it was changed "
                "since. Restore the file, or split again."
            )
        return found


@dataclass(frozen=True, repr=False)
class Split(SavedSplit, Shown):
    """The role of each block, and of each pixel."""

    WORD: ClassVar[str] = "split of blocks"

    shape: tuple[int, int]  # rows and columns of the cube, px
    block: int  # side of a block, px
    blocks: tuple[tuple[int, ...], ...]  # role of each block, by block row and column
    # Pixels this near (Chebyshev, px) to a block of a higher role are unused. What must not leak
    # is the truth of held-out blocks: the buffer should be the distance over which the loss of a
    # pixel depends on it. History may be seen across the buffer
    buffer: int = 0
    wraps: bool = False  # whether the first and last column are neighbours (a globe)

    def __post_init__(self) -> None:
        if self.buffer < 0:
            raise BadArgument(f"buffer={self.buffer}: a buffer is 0 px or more. Pass buffer=0.")

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        found = {ROLES.get(role, "unused"): int((self.table == role).sum()) for role in MARKS}
        return {
            "raster": f"{self.shape[0]:,} x {self.shape[1]:,} px",
            "blocks": f"of {self.block} px: "
            + ", ".join(f"{count:,} {role}" for role, count in found.items() if count),
            "buffer": f"{self.buffer} px",
        }

    @cached_property
    def table(self) -> np.ndarray:
        """Roles as an array (block rows, block columns), uint8."""
        return np.array(self.blocks, dtype="uint8")

    @cached_property
    def grid(self) -> TileGrid:
        """The blocks as windows."""
        return TileGrid(self.shape, (self.block, self.block), halo=0)

    def roles(self, window: Window) -> np.ndarray:
        """Return the role of each pixel of a window, shape (rows, columns), uint8.

        Computed from the table of blocks; columns may leave the raster if it
        wraps. Pixels within the buffer of a higher role are ``UNUSED``.
        """
        rows = np.arange(window.y.start, window.y.stop)
        return self.roles_at(rows, np.arange(window.x.start, window.x.stop))

    def roles_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the roles where some rows and columns cross, uint8."""
        (y, back_y), (x, back_x) = self._cells(0, rows), self._cells(1, columns)
        return np.asarray(self._settle(y, x)[np.ix_(back_y, back_x)])

    def areas(self) -> dict[int, int]:
        """Count the pixels of each role after buffers, with data or without."""
        (y, back_y), (x, back_x) = (self._cells(a, np.arange(n)) for a, n in enumerate(self.shape))
        roles, tall, wide = self._settle(y, x), np.bincount(back_y), np.bincount(back_x)
        return {role: int(tall @ (roles == role) @ wide) for role in (*ROLES, UNUSED)}

    def windows(self, role: int) -> list[Window]:
        """List the blocks that have a role, row by row; some pixels may be ``UNUSED``."""
        return [self.grid[i, j].core for i, j in map(tuple, np.argwhere(self.table == role))]

    @property
    def digest(self) -> str:
        """Hash of all that decides roles, the same on every machine."""
        head = f"{self.shape} {self.block} "
        if self.buffer:  # without one, wrapping decides nothing
            head += f"buffer {self.buffer} {'wraps ' if self.wraps else ''}"
        return hashlib.sha256(head.encode() + self.table.tobytes()).hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """Return all fields in JSON values; each row of blocks is a text, a letter each."""
        return {
            "shape": list(self.shape),
            "block": self.block,
            "buffer": self.buffer,
            "wraps": self.wraps,
            "roles": ["".join(MARKS[role] for role in row) for row in self.blocks],
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Split:
        """Build from the values of :meth:`facts`."""
        role = {mark: number for number, mark in MARKS.items()}
        split = cls(
            (int(facts["shape"][0]), int(facts["shape"][1])),
            int(facts["block"]),
            tuple(tuple(role[mark] for mark in row) for row in facts["roles"]),
            int(facts["buffer"]),
            bool(facts["wraps"]),
        )
        if split.table.shape != split.grid.counts:
            raise ValueError(f"roles of {split.table.shape} blocks, and {split.grid.counts} fit")
        return split

    def _cells(self, axis: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sort pixels of an axis by what they see: few kinds, however many pixels.

        Returns the kinds (n, 3), as own block and first and last block within
        the buffer, and the kind of each pixel. Columns count through three
        copies of the table, of which the middle one is the raster.
        """
        size, count = self.shape[axis], self.table.shape[axis]
        far = min(self.buffer, size)
        at = at % size if self.wraps and axis == 1 else at
        ends = [at - far, at + far]
        if not (self.wraps and axis == 1):
            ends = [np.clip(end, 0, size - 1) for end in ends]
        seen = [(end // size + axis) * count + end % size // self.block for end in ends]
        kinds, back = np.unique(np.stack([at // self.block, *seen], 1), axis=0, return_inverse=True)
        return kinds, back.ravel()

    @cached_property
    def _ranks(self) -> np.ndarray:
        """Roles that others must keep away from; one more row and column for reduceat."""
        ranks = np.where(self.table == UNUSED, TRAIN, self.table).astype("uint8")
        return np.pad(np.tile(ranks, (1, 3)), ((0, 1), (0, 1)))

    def _settle(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Decide the role of kinds of rows and columns, shape (len(y), len(x)), uint8."""
        own = self.table[np.ix_(y[:, 0], x[:, 0])]
        if not self.buffer or not own.size:
            return np.asarray(own)
        near = self._ranks
        for axis, kinds in enumerate((y, x)):
            runs = (kinds[:, 1:] + [0, 1]).ravel()
            near = np.maximum.reduceat(near, runs, axis=axis)
            near = near[::2] if axis == 0 else near[:, ::2]
        return np.where(near > own, np.uint8(UNUSED), own)


def interior(window: Window, outer: tuple[int, int], margin: int, *, wraps: bool) -> Window:
    """Return the part of a window that its invented border cannot reach."""

    def cut(span: Span, size: int, closed: bool) -> Span:
        first = 0 if closed and span.start <= 0 else margin
        last = len(span) - (0 if closed and span.stop >= size else margin)
        return Span(first, max(first, last))

    return Window(cut(window.y, outer[0], True), cut(window.x, outer[1], not wraps))
