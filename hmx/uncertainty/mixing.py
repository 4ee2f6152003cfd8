"""Mixing: the distribution of an ensemble, from the sorted knots of its members.

Each knot of a member stands for the probability from half-way to the knot before to half-way to
the next one. The knots of all members are sorted at each pixel, and a knot of the mixture is the
mean of what lies in its own share. So the mean of a mixture is the mean of the members' means, and
totals that add up for each member do so for all together; a quantile in the place of this mean
would raise the expected change of skewed distributions by up to a tenth. Members that are equal
give that member, to the bit, and ties may be sorted in any order.

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
_MOST_BYTE = 127  # counted in a byte: twice as fast
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
    leads = [np.reshape(member, (-1, *shape[-3:])) for member in members]  # as views
    mix = _merged if dtype == np.float32 else _sorted
    found = np.empty((len(leads[0]), len(knots), shape[-2] * shape[-1]), dtype)
    for lead, out in enumerate(found):
        plan.read(mix([member[lead] for member in leads], plan), out)
    return found.reshape(shape)


@dataclass(frozen=True)
class _Sorted:
    """The sorted knots of all members, and sums of them."""

    values: Floats  # (n, pixel)
    below: NDArray[Any]  # (n + 1, pixel): the probability before each, of _ONE for each member
    # (n + 1, pixel): before each value, the sum of values times their probability, of _ONE
    sums: NDArray[np.float64]
    unit: float = 1.0  # of the sums: in units of the probability of all members, none overflows


@dataclass(frozen=True)
class _Merge:
    """What mixtures of so many members with these knots have in common."""

    count: int  # members
    shares: tuple[int, ...]  # probability of each knot, of _ONE
    edges: tuple[int, ...]  # of the shares, inner ones, times the number of members
    pairs: Pairs  # to compare, in turn
    order: tuple[int, ...]  # where the ascending values are then
    starts: tuple[int, ...]  # sorted knots that begin below each edge, whatever the values
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
        edges = tuple(count * middle for middle in middles[1:-1])
        least, most = (_extremes(shares, count, pick) for pick in (min, max))
        starts = tuple(max(1, sum(value < edge for value in most)) for edge in edges)
        stops = tuple(sum(value <= edge for value in least) for edge in edges)
        return cls(count, shares, edges, tuple(pairs), tuple(lists[0]), starts, stops)

    def read(self, found: _Sorted, out: Floats) -> None:
        """Write the knots of the mixture, (q, pixel)."""
        size, total = found.values.shape[1], self.count * _ONE
        flat, below, sums = (part.reshape(-1) for part in (found.values, found.below, found.sums))
        pixels, at, begun = np.arange(size), np.empty(size, np.intp), np.empty(size, bool)
        least, before = found.values[0], np.zeros(size)
        for knot, edge in enumerate((*self.edges, total)):
            if edge == total:
                ends, integral = found.values[-1], found.sums[-1]
            else:
                # the value whose share the edge is in, from the first that it can be
                start, stop = self.starts[knot] - 1, self.stops[knot]
                kind = np.int8 if stop - start < _MOST_BYTE else np.int16
                last: NDArray[Any] = np.zeros(size, kind)
                ones: NDArray[Any] = begun.view(np.int8) if kind == np.int8 else begun
                for step in range(start + 1, stop):
                    np.less_equal(found.below[step], edge, out=begun)
                    last += ones
                at[:] = last
                at *= size
                at += pixels
                at += start * size
                following = ends = flat.take(at)
                gone = below.take(at)  # before it
                np.equal(gone, edge, out=begun)
                if begun.any():  # an edge between two values belongs to the first of them
                    ends = flat.take(at - size * begun)
                integral = np.subtract(edge, gone, dtype="float64")
                integral *= found.unit
                integral *= following
                integral += sums.take(at)
            width = found.unit * self.shares[knot] * self.count
            before -= integral
            np.divide(before, -width, out=out[knot], casting="same_kind")
            # equal values have a mean of their own bits
            np.maximum(out[knot], least, out=out[knot])
            np.minimum(out[knot], ends, out=out[knot])
            least, before = following, integral


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


def _merged(members: Sequence[Floats], plan: _Merge) -> _Sorted:
    """Sort the knots of float32 members, each (q, y, x)."""
    (q, *sides), count = members[0].shape, len(plan.order)
    packed = np.empty((count + 1, sides[0] * sides[1]))
    np.concatenate(members, out=packed[:-1].reshape(plan.count * q, *sides))
    packed[:-1].view(np.int64)[:] |= np.tile(plan.shares, plan.count)[:, None]
    rows, at, spare = list(packed), list(range(count)), count
    for low, high in plan.pairs:
        one, other = rows[at[low]], rows[at[high]]
        np.minimum(one, other, out=rows[spare])
        np.maximum(one, other, out=other)
        at[low], spare = spare, at[low]
    values = np.empty(packed[:-1].shape, np.float32)
    below = np.empty(packed.shape, np.int32)
    sums, chance = np.empty(packed.shape), rows[spare]
    below[0] = sums[0] = 0
    for step, place in enumerate(plan.order):
        row, share = rows[at[place]], below[step + 1]
        np.bitwise_and(row.view(np.int32)[_LOW_WORD::2], _LOW, out=share)
        values[step] = row  # a share is less than half a unit of float32: rounded off
        # one type at a time: products of mixed types are slow
        np.copyto(chance, share)
        np.copyto(row, values[step])
        np.multiply(row, chance, out=sums[step + 1])
        sums[step + 1] += sums[step]
        share += below[step]
    return _Sorted(values, below, sums)


def _sorted(members: Sequence[Floats], plan: _Merge) -> _Sorted:
    """Sort the knots of members of any type, each (q, y, x)."""
    values = np.concatenate([member.reshape(len(member), -1) for member in members])
    order = np.argsort(values, axis=0, kind="stable")
    shares = np.array(plan.shares)[order % len(plan.shares)]
    values = np.take_along_axis(values, order, 0)
    below = np.zeros((len(values) + 1, values.shape[1]), np.int64)
    np.cumsum(shares, 0, out=below[1:])
    unit = 1 / (plan.count * _ONE)
    sums = np.zeros(below.shape)
    np.cumsum(values * (unit * shares), 0, out=sums[1:])
    return _Sorted(values, below, sums, unit)


def _sorted_on_device(members: Sequence[Floats], plan: _Merge) -> Floats:
    """Mix tensors (..., q, y, x) on their device."""
    torch: Any = namespace(members[0])
    whole: Any = torch.cat(list(members), -3).movedim(-3, -1).contiguous()
    values, order = whole.sort(dim=-1, stable=True)
    shares = torch.tensor(plan.shares, device=values.device)
    own = shares[order % len(plan.shares)]
    upto = own.cumsum(-1)
    unit = 1.0 if values.dtype == torch.float32 else 1 / (plan.count * _ONE)
    sums = (values.double() * (unit * own.double())).cumsum(-1)
    edges = torch.tensor(plan.edges, device=values.device).expand(*upto.shape[:-1], -1).contiguous()
    # of each edge, the value whose share begins with it, and the one whose share ends with it
    last, first = (torch.searchsorted(upto, edges, right=right) for right in (True, False))
    following = values.gather(-1, last)
    rest = unit * (upto.gather(-1, last) - edges).double()
    inner = sums.gather(-1, last) - rest * following.double()
    integral = torch.cat((torch.zeros_like(inner[..., :1]), inner, sums[..., -1:]), -1)
    mixed = (integral.diff(dim=-1) / (unit * plan.count * shares)).to(values.dtype)
    least = torch.cat((values[..., :1], following), -1)
    most = torch.cat((values.gather(-1, first), values[..., -1:]), -1)
    return mixed.clamp(least, most).movedim(-1, -3)  # type: ignore[no-any-return]
