"""Gates: the pointwise parts of networks, in one pass over memory, forward and backward.

Plain torch makes a pass and a tensor of each operation, and works number by number where a gate's
channels are a part of a channels-last tensor: two thirds of the time of a training step. Here
blocks of pixels that fit the cache are gathered gate by gate, so that every operation runs on
whole vectors. On a GPU and for tensors of other layouts, plain torch computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input  # into a tensor that is there
_tanh_slope_into = torch.ops.aten.tanh_backward.grad_input
_tanh_slope = torch.ops.aten.tanh_backward.default
_BLOCK = 1 << 18  # numbers of a block: a megabyte of float32, which an L2 cache takes


def gated(gates: Tensor, cell: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute hidden and cell state of a ConvLSTM from its gates.

    ``gates`` (b, 4 * hidden, y, x) are those of input, forgetting, output and the candidate. A
    ``cell`` (b, hidden, y, x) of ``None`` is zero. Both results are of ``dtype``.
    """
    if _fast(gates):
        last = None if cell is None else cell.contiguous(memory_format=torch.channels_last)
        found: tuple[Tensor, Tensor] = _Gated.apply(gates, last, dtype)
        return found
    i, f, o, g = gates.to(dtype).chunk(4, dim=1)
    now = torch.sigmoid(i) * torch.tanh(g)
    if cell is not None:
        now = torch.sigmoid(f) * cell + now
    return torch.sigmoid(o) * torch.tanh(now), now


def _fast(tensor: Tensor) -> bool:
    """Return True for a tensor in main memory whose channels lie side by side."""
    return tensor.device.type == "cpu" and tensor.is_contiguous(memory_format=torch.channels_last)


def _pixels(tensor: Tensor) -> Tensor:
    """View a channels-last tensor (b, c, y, x) as (pixels, c)."""
    return tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])


def _like(tensor: Tensor, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Make an empty tensor (b, channels, y, x), channels last, and its view by pixels."""
    b, _, y, x = tensor.shape
    flat = torch.empty((b * y * x, channels), dtype=dtype, device=tensor.device)
    return flat.view(b, y, x, channels).permute(0, 3, 1, 2), flat


def _blocks(pixels: int, channels: int) -> Iterator[slice]:
    """Share pixels out to blocks that fit the cache."""
    size = max(1, _BLOCK // channels)
    return (slice(start, start + size) for start in range(0, pixels, size))


def _tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent: from a sigmoid, which costs a third of torch's own."""
    return x.mul(2).sigmoid_().mul_(2).sub_(1)


class _Gated(Function):
    """All gates of a ConvLSTM; keeps their activations for the way back."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, cell: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        width = gates.shape[1] // 4
        hidden, hidden_px = _like(gates, width, dtype)
        now, now_px = _like(gates, width, dtype)
        flat, count = _pixels(gates), len(hidden_px)
        before = None if cell is None else _pixels(cell)
        kept = any(ctx.needs_input_grad)
        active: list[Tensor] = []
        for at in _blocks(count, 4 * width):
            source = flat[at].view(-1, 4, width).transpose(0, 1)  # (gate, pixel, channel)
            part = torch.empty(source.shape, dtype=dtype).copy_(source)
            part[3].mul_(2)
            i, f, o, g = part.sigmoid_()
            g.mul_(2).sub_(1)
            value = now_px[at]
            torch.mul(i, g, out=value)
            if before is not None:
                value.addcmul_(f, before[at])
            tangent = _tanh(value)
            torch.mul(o, tangent, out=hidden_px[at])
            if kept:
                active += [part, tangent]
        ctx.save_for_backward(gates.new_empty(0) if before is None else before, *active)
        ctx.of = gates.dtype, before is not None
        return hidden, now

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        before, *active = ctx.saved_tensors
        dtype, has_cell = ctx.of
        width, last = d_hidden.shape[1], torch.channels_last
        from_hidden = _pixels(d_hidden.contiguous(memory_format=last))
        from_cell = _pixels(d_cell.contiguous(memory_format=last))
        d_gates, d_flat = _like(d_hidden, 4 * width, dtype)
        d_before, d_before_px = _like(d_hidden, width, d_hidden.dtype)
        for number, at in enumerate(_blocks(len(from_hidden), 4 * width)):
            (i, f, o, g), tangent = active[2 * number], active[2 * number + 1]
            up = from_hidden[at]
            through = _tanh_slope(up * o, tangent).add_(from_cell[at])
            into = torch.empty((4, *i.shape), dtype=up.dtype)
            to_i, to_f, to_o, to_g = into
            _sigmoid_slope(torch.mul(through, g, out=to_i), i, grad_input=to_i)
            if has_cell:
                _sigmoid_slope(torch.mul(through, before[at], out=to_f), f, grad_input=to_f)
                torch.mul(through, f, out=d_before_px[at])
            else:
                to_f.zero_()
            _sigmoid_slope(torch.mul(up, tangent, out=to_o), o, grad_input=to_o)
            _tanh_slope_into(torch.mul(through, i, out=to_g), g, grad_input=to_g)
            d_flat[at].view(-1, 4, width).copy_(into.transpose(0, 1))
        return d_gates, d_before if has_cell else None, None
