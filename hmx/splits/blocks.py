"""Split: the role of each block and of each pixel, decided by integers alone.

Roles are ordered: test > calibration > validation > train. A pixel within the
buffer of a block of a higher role is unused: what is learned or tuned there
could lean on truth that the higher role is scored by. Distances are
Chebyshev, since networks and box means reach in squares.

Blocks with data are shuffled by a seeded generator and dealt, so that all who
know the counts, the shares and the seed find the same split.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from hmx.errors import BadArgument, NotEnoughData
from hmx.files.shown import Shown
from hmx.provenance import fingerprint
from hmx.windows import Span, TileGrid, Window

TRAIN, VALIDATION, CALIBRATION, TEST, UNUSED = 0, 1, 2, 3, 255  # the higher wins
ROLES = {TRAIN: "train", VALIDATION: "validation", CALIBRATION: "calibration", TEST: "test"}
# one letter a role in JSON: a split of 10^5 blocks is read and compared as text
MARKS = {TRAIN: "t", VALIDATION: "v", CALIBRATION: "c", TEST: "x", UNUSED: "."}

BLOCK = 48  # px, where nothing is known of the correlation length
_FEWEST_BLOCKS = 20  # smaller cubes get smaller blocks, so that each role has some
_LENGTHS = 3  # block side in correlation lengths: exp(-3) = 5 % is left across a block


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


def block_side(shape: tuple[int, int], wanted: int) -> int:
    """Choose a block's side: as wanted, or smaller on a small cube."""
    roomy = int(np.sqrt(shape[0] * shape[1] / _FEWEST_BLOCKS))
    return max(1, min(wanted, roomy))


def choose_block(
    shape: tuple[int, int],
    pixel_size_m: tuple[float, float],
    *,
    block: int | None = None,
    block_m: float | None = None,
    correlation_m: float | None = None,
) -> int:
    """Choose a block's side from pixels, metres or a correlation length."""
    if block is not None and block_m is not None:
        raise BadArgument(
            f"block={block} and block_m={block_m:g} both give the side of a block. Pass one."
        )
    for name, given in (("block", block), ("block_m", block_m)):
        if given is not None and not 0 < given < math.inf:
            raise BadArgument(f"{name}={given}: a block has a side above 0. Pass block={BLOCK}.")
    if block is None and block_m is None and correlation_m is not None:
        block_m = _LENGTHS * max(correlation_m, min(pixel_size_m))
    if block_m is not None:
        block = math.ceil(block_m / min(pixel_size_m) - 1e-6)
    return block_side(shape, BLOCK if block is None else block)


def deal(
    counts: np.ndarray,
    shape: tuple[int, int],
    *,
    block: int,
    shares: Mapping[int, float],
    seed: int,
    buffer: int = 0,
    wraps: bool = False,
) -> Split:
    """Deal blocks with data to roles; the rest train."""
    table = np.where(counts > 0, TRAIN, UNUSED).astype("uint8")
    _share_out(table, shares, np.random.default_rng(seed))
    return _settled(Split(shape, block, _rows(table), buffer, wraps))


@dataclass(frozen=True, repr=False)
class Folds(Shown):
    """Splits in which every block with data is tested on exactly once."""

    splits: tuple[Split, ...]  # one per fold, in each of which that fold is ``TEST``

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        return {"folds": f"{len(self.splits)}", **self.splits[0].shown()}

    @classmethod
    def deal(
        cls,
        counts: np.ndarray,
        shape: tuple[int, int],
        *,
        k: int,
        block: int,
        shares: Mapping[int, float],
        seed: int,
        buffer: int = 0,
        wraps: bool = False,
    ) -> Folds:
        """Deal blocks with data into folds of about as many valid pixels each."""
        filled = int((counts > 0).sum())
        if k < 2 or TEST in shares:
            what = f"k={k}: cross-validation has at least 2 folds" if k < 2 else "shares hold TEST"
            raise BadArgument(f"{what}, and each is the test once. Pass k=5, shares without TEST.")
        if filled < k:
            raise NotEnoughData(
                f"{filled} blocks of {block} px hold data, and k={k} folds need one each. "
                "Pass a smaller block or fewer folds."
            )
        numbers = np.full(counts.shape, -1)
        numbers[counts > 0] = deal_evenly(counts[counts > 0], k, np.random.default_rng(seed))
        splits = []
        for fold in range(k):
            table = np.where(counts > 0, np.where(numbers == fold, TEST, TRAIN), UNUSED)
            _share_out(table, shares, np.random.default_rng([seed, fold]))
            splits.append(_settled(Split(shape, block, _rows(table), buffer, wraps)))
        return cls(tuple(splits))

    def __len__(self) -> int:
        return len(self.splits)

    def __getitem__(self, fold: int) -> Split:
        return self.splits[fold]

    @property
    def digest(self) -> str:
        """Hash of all splits, the same on every machine."""
        return hashlib.sha256(" ".join(s.digest for s in self.splits).encode()).hexdigest()[:16]


def deal_evenly(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Deal groups of some sizes to k folds of about the same total; return the fold of each.

    The largest group left goes to the smallest fold, so two folds differ by no more than one
    group (Graham 1969, doi:10.1137/0117039). The shuffle decides among groups of one size.
    """
    order = rng.permutation(len(sizes))
    fold, total = np.empty(len(sizes), "int64"), np.zeros(k)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = total.argmin()
        total[fold[group]] += sizes[group]
    return fold


def _share_out(table: np.ndarray, shares: Mapping[int, float], rng: np.random.Generator) -> None:
    """Give shares of the training blocks of a table to other roles, in place; one stays."""
    filled = np.argwhere(table == TRAIN)
    order = rng.permutation(len(filled))
    at = 0
    for role, share in shares.items():
        want = max(1, round(share * len(filled))) if share > 0 else 0
        take = min(want, len(filled) - at - 1)
        for index in order[at : at + take]:
            table[tuple(filled[index])] = role
        at += max(0, take)


def _rows(table: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, table.tolist()))


def _settled(split: Split) -> Split:
    """Return a split whose roles all keep pixels, or refuse the buffer that takes them."""
    areas = split.areas() if split.buffer else {}
    for role, name in ROLES.items():
        if areas.get(role) == 0 and (split.table == role).any():
            raise NotEnoughData(
                f"buffer={split.buffer} px leaves no pixel for {name} in blocks of {split.block} "
                "px: pixels that near to a block of a higher role are unused, and a block wider "
                f"than two buffers keeps its centre. Pass block={3 * split.buffer} or larger (on "
                f"a cube that has room for such blocks), or buffer={split.block // 3}."
            )
    return split
