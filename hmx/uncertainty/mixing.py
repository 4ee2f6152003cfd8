"""Mixing: the distribution of an ensemble, from the sorted knots of its members.

Each knot of a member stands for the probability from half-way to the knot before to half-way to
the next one. The knots of all members are sorted at each pixel, and their shares are added up; a
quantile of the mixture is the knot whose share it lies in, or the mean of two. Members that are
equal give that member, to the bit, and ties may be sorted in any order.

The members are sorted already, so they are merged: Batcher's odd-even merge (Knuth, The Art of
Computer Programming 3, 5.3.4) compares fixed pairs, so that each comparison is one pass
over an array of pixels. The share of a knot travels in the bits of a float64 that a float32 leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.uncertainty.distribution import Floats, namespace

_ONE = 1 << 22  # probability 1: sums of 500 members fit into 32 bits
_LOW = (1 << 23) - 1  # mask of a share: below half a unit of a float32, in a float64
_LOW_WORD = 0 if sys.byteorder == "little" else 1  # of a float64
Pairs = tuple[tuple[int, int], ...]


def mixture(members: Sequence[Floats], knots: Sequence[float]) -> Floats:
    """Mix distributions, (..., q, y, x) each with the same knots, with equal weight."""
    if len(members) == 1:
        return members[0]
    xp = namespace(members[0])
    if len(knots) == 1:  # members of one number each: their mean has the least squared error
        return sum(members[1:], start=members[0]) / len(members)
    plan = _Merge.of(tuple(knots), len(members))
    if xp is not np:
        return _sorted_on_device(members, plan)
    shape, dtype = members[0].shape, members[0].dtype
    flat = [np.reshape(member, (-1, len(knots), shape[-2] * shape[-1])) for member in members]
    mix = _merged if dtype == np.float32 else _sorted
    found = np.empty_like(flat[0])
    for lead in range(len(found)):
        values, below = mix([member[lead] for member in flat], plan)
        for knot, reached in enumerate(found[lead]):
            plan.read(values, below, knot, reached)
    return found.reshape(shape)


@dataclass(frozen=True)
class _Merge:
    """What mixtures of so many members with these knots have in common."""

    count: int  # members
    shares: tuple[int, ...]  # probability of each knot, of _ONE
    targets: tuple[int, ...]  # probability of each knot, times the number of members
    pairs: Pairs  # to compare, in turn
    order: tuple[int, ...]  # where the ascending values are then
    starts: tuple[int, ...]  # sorted knots that begin below each target, whatever the values
    stops: tuple[int, ...]  # sorted knots that can be

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, knots: tuple[float, ...], count: int) -> _Merge:
        """Round the shares of the knots, and list the comparisons."""
        at = [round(knot * _ONE) for knot in knots]
        middles = [0, *((low + high) // 2 for low, high in pairwise(at)), _ONE]
        shares = tuple(high - low for low, high in pairwise(middles))
        pairs: list[tuple[int, int]] = []
        lists = [list(range(n * len(at), (n + 1) * len(at))) for n in range(count)]
        while len(lists) > 1:  # the shortest first
            lists.sort(key=len)
            lists = [*lists[2:], _merge(lists[0], lists[1], pairs)]
        targets = tuple(count * p for p in at)
        least, most = (_extremes(shares, count, pick) for pick in (min, max))
        starts = tuple(max(1, sum(value < target for value in most)) for target in targets)
        stops = tuple(sum(value <= target for value in least) for target in targets)
        return cls(count, shares, targets, tuple(pairs), tuple(lists[0]), starts, stops)

    def read(self, values: Floats, below: NDArray[Any], knot: int, out: Floats) -> None:
        """Take one knot of the mixture from sorted values, (n, pixel)."""
        target, size, start = self.targets[knot], values.shape[1], self.starts[knot]
        last, first = np.zeros((2, size), np.int16)
        begun = np.empty(size, bool)
        for step in range(start, self.stops[knot]):
            np.less_equal(below[step], target, out=begun)
            last += begun
            np.less(below[step], target, out=begun)
            first += begun
        pixels, flat = np.arange((start - 1) * size, start * size), values.reshape(-1)
        np.take(flat, last * np.intp(size) + pixels, out=out, mode="clip")
        # at the edge of two shares, as between members that lie apart: half-way
        out += flat.take(first * np.intp(size) + pixels)
        out /= 2


def _merge(one: list[int], other: list[int], pairs: list[tuple[int, int]]) -> list[int]:
    """Append the comparisons that merge two sorted lists of places; return the sorted places."""
    if not one or not other:
        return one or other
    if len(one) == len(other) == 1:
        pairs.append((one[0], other[0]))
        return [one[0], other[0]]
    odd = _merge(one[::2], other[::2], pairs)
    even = _merge(one[1::2], other[1::2], pairs)
    merged = odd[:1]
    for low, high in zip(even, odd[1:], strict=False):
        pairs.append((low, high))
        merged += [low, high]
    paired = min(len(even), len(odd) - 1)
    return merged + even[paired:] + odd[1 + paired :]


def _extremes(shares: Sequence[int], count: int, pick: Callable[[int, int], int]) -> list[int]:
    """Bound the probability before each sorted knot, over all orders of the members' knots."""
    own = [0, *accumulate(shares)]
    sums = {0: 0}
    for _ in range(count):
        grown: dict[int, int] = {}
        for (before, total), (knots, share) in product(sums.items(), enumerate(own)):
            at = before + knots
            grown[at] = pick(grown.get(at, total + share), total + share)
        sums = grown
    return [sums[at] for at in sorted(sums)][:-1]


def _merged(members: Sequence[Floats], plan: _Merge) -> tuple[Floats, NDArray[np.int32]]:
    """Sort the knots of float32 members, each (q, pixel); and the probability below each."""
    values = np.concatenate(members)
    packed = np.empty((len(values) + 1, values.shape[1]))
    packed[:-1] = values
    packed[:-1].view(np.int64)[:] |= np.tile(plan.shares, plan.count)[:, None]
    rows, spare = list(packed[:-1]), packed[-1]
    for low, high in plan.pairs:
        np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], spare = spare, rows[low]
    below = np.zeros((len(values) + 1, values.shape[1]), np.int32)
    for step, place in enumerate(plan.order):
        share = rows[place].view(np.int32)[_LOW_WORD::2]
        np.bitwise_and(share, _LOW, out=below[step + 1])
        below[step + 1] += below[step]
        values[step] = rows[place]  # a share is less than half a unit of float32: rounded off
    return values, below


def _sorted(members: Sequence[Floats], plan: _Merge) -> tuple[Floats, NDArray[np.int64]]:
    """Sort the knots of members of any type, each (q, pixel); and the probability below each."""
    values = np.concatenate(members)
    order = np.argsort(values, axis=0, kind="stable")
    shares = np.array(plan.shares)[order % len(plan.shares)]
    return np.take_along_axis(values, order, 0), np.cumsum(shares, 0) - shares


def _sorted_on_device(members: Sequence[Floats], plan: _Merge) -> Floats:
    """Mix tensors (..., q, y, x) on their device."""
    torch: Any = namespace(members[0])
    whole: Any = torch.cat(list(members), -3).movedim(-3, -1).contiguous()
    values, order = whole.sort(dim=-1, stable=True)
    shares = torch.tensor(plan.shares, device=values.device)[order % len(plan.shares)]
    below = shares.cumsum(-1) - shares
    targets = torch.tensor(plan.targets, device=values.device).expand(*below.shape[:-1], -1)
    sides = (torch.searchsorted(below, targets.contiguous(), right=r) - 1 for r in (True, False))
    last, first = (values.gather(-1, at.clip(0)) for at in sides)
    return ((last + first) / 2).movedim(-1, -3)  # type: ignore[no-any-return]
