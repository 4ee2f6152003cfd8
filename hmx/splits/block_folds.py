"""Deal: blocks to roles and folds, the same in every process.

Blocks with data are shuffled by a seeded generator and dealt, so that all who
know the counts, the shares and the seed find the same split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hmx.errors import BadArgument, NotEnoughData
from hmx.files.shown import Shown
from hmx.splits.blocks import ROLES, TEST, TRAIN, UNUSED, Split

BLOCK = 48  # px, where nothing is known of the correlation length
_FEWEST_BLOCKS = 20  # smaller cubes get smaller blocks, so that each role has some
_LENGTHS = 3  # block side in correlation lengths: exp(-3) = 5 % is left across a block


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
