"""Pixels: distributions of some pixels of a window, which is all that training scores.

Most pixels of a chip are not scored: the border reaches them, they belong to other blocks or have
no data. They need no distribution, and only features that the scored pixels depend on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.part import bounding


def forecast_pixels(
    network: Forecaster, seen: NetworkInputs, at: Tensor, *, h: int, origin: Tensor
) -> Tensor:
    """Forecast some pixels of one window with a direct network, (1, h, q, 1, n).

    ``at`` (n,) has their numbers, row by row.
    """
    constant, (height, width) = network.constant(seen), seen.past.shape[-2:]
    part = bounding(at, (height, width), rim=reach(network.options, network.leads))
    last = torch.channels_last
    frames = [
        network.past_frame(seen, t).contiguous(memory_format=last)
        for t in range(seen.past.shape[1])
    ]
    features: Tensor = network.body.part(frames, constant, part)
    inside = (at // width - part.y.start) * len(part.x) + at % width - part.x.start
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)  # (pixels, channels)
    flat: Tensor = _PickedRows.apply(rows, inside)
    few = NetworkInputs(*(values.flatten(-2)[..., None, at] for values in seen))
    return network.direct(flat.t()[None, :, None], few, h=h, origin=origin)


class _PickedRows(Function):
    """Some rows, each at most once: their gradients are copied, where torch's own adds them up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, at: Tensor) -> Tensor:
        ctx.count = len(values)
        ctx.save_for_backward(at)
        return values.index_select(0, at)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (at,) = ctx.saved_tensors
        return above.new_zeros((ctx.count, above.shape[1])).index_copy_(0, at, above), None
