"""Inputs of a network, and how they go on from its own means.

Tensors: ``b`` windows, ``t`` history steps, ``h`` leads, ``q`` knots, ``d`` dynamic,
``s`` static and ``a`` known-ahead channels, all ``(..., y, x)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hmx.networks.quantile import mean

Slices = tuple[slice, slice]


class NetworkInputs(NamedTuple):
    """The inputs of a network."""

    past: Tensor  # (b, t, y, x), target in native units, 0 where missing
    valid: Tensor  # (b, t, y, x), 1 where ``past`` is data, 0 elsewhere
    dynamic: Tensor  # (b, t, d, y, x), scaled dynamic covariates
    static: Tensor  # (b, s, y, x), scaled static covariates and context
    ahead: Tensor  # (b, h, a, y, x), scaled covariates that are known at the leads


class Direct(Protocol):
    """A direct network, in any way of computing it."""

    @property
    def leads(self) -> int:
        """Leads that it has learnt."""

    @property
    def knots(self) -> Sequence[float]:
        """Probabilities of its quantile functions."""

    def __call__(self, seen: NetworkInputs, *, h: int, crop: Slices | None) -> Tensor:
        """Forecast no more leads than are learnt, (b, h, q, y, x)."""


def go_on(network: Direct, seen: NetworkInputs, *, h: int, crop: Slices | None) -> Tensor:
    """Forecast more leads than a direct network has learnt, from its own means.

    The network runs again with the means of its leads as the newest steps. A later distribution
    is that of the last lead before plus the new one minus its origin, knot by knot (a comonotone
    sum): no width shrinks. Values may leave the valid range, which is applied afterwards.
    """
    found: list[Tensor] = []
    carried: Tensor | float = 0.0  # knots of the last lead before, minus their mean
    inside = crop or (slice(None), slice(None))
    for first in range(0, h, network.leads):
        last = first + network.leads >= h
        values = network(seen, h=min(network.leads, h - first), crop=crop if last else None)
        found.append((values if last else values[(..., *inside)]) + carried)
        if not last:
            means = mean(values, network.knots)
            carried = found[-1][:, -1:] - means[(slice(None), slice(-1, None), None, *inside)]
            seen = advance(seen, means)
    return torch.cat(found, dim=1)


def advance(seen: NetworkInputs, means: Tensor) -> NetworkInputs:
    """Return the inputs of a network after some leads, whose means, (b, l, y, x), become past.

    A pixel without data at the origin stays without. Static and context channels stay as they
    are; so do dynamic covariates, except those known ahead, which come first.
    """
    steps, made = seen.past.shape[1], means.shape[1]
    leads, known = seen.ahead.shape[1:3]
    alive = seen.valid[:, -1:].expand_as(means)
    kept = seen.dynamic[:, -1:, known:].expand(-1, made, -1, -1, -1)
    passed = torch.cat((seen.ahead[:, :made], kept), dim=2)
    later = [min(lead, leads - 1) for lead in range(made, max(leads, 2 * made))]
    return NetworkInputs(
        past=torch.cat((seen.past, means * alive), dim=1)[:, -steps:],
        valid=torch.cat((seen.valid, alive), dim=1)[:, -steps:],
        dynamic=torch.cat((seen.dynamic, passed), dim=1)[:, -steps:],
        static=seen.static,
        ahead=seen.ahead[:, later],  # after the last known lead, the value of that lead
    )
