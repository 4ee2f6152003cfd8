"""Gates: the pointwise parts of networks, in one pass over memory, forward and backward.

Plain torch makes a pass and a tensor of each operation, and works number by number where a gate's
channels are a part of a channels-last tensor: two thirds of the time of a training step. Here
blocks of pixels that fit the cache are gathered gate by gate, so that every operation runs on
whole vectors. On a GPU and for tensors of other layouts, plain torch computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def _split(pixels: Tensor, channels: int) -> Sequence[Tensor]:
    """Share pixels, the first dimension, out to blocks that fit the cache with so many channels."""
    # of equal sizes: a short rest would take as many operations as a whole block
    count = max(1, round(len(pixels) * channels / _BLOCK))
    found: Sequence[Tensor] = pixels.split(max(1, -(-len(pixels) // count)))
    return found


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
        before = None if cell is None else _pixels(cell)
        kept = any(ctx.needs_input_grad)
        active: list[Tensor] = []
        tensors = (_pixels(gates).view(-1, 4, width), now_px, hidden_px)
        blocks = [_split(tensor, 4 * width) for tensor in tensors]
        cells = [None] * len(blocks[0]) if before is None else _split(before, 4 * width)
        for found, value, into, last in zip(*blocks, cells, strict=True):
            source = found.transpose(0, 1)  # (gate, pixel, channel)
            part = torch.empty(source.shape, dtype=dtype).copy_(source)
            part[3].mul_(2)
            i, f, o, g = part.sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(i, g, out=value)
            if last is not None:
                value.addcmul_(f, last)
            tangent = _tanh(value)
            torch.mul(o, tangent, out=into)
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
        d_gates, d_flat = _like(d_hidden, 4 * width, dtype)
        d_before, d_before_px = _like(d_hidden, width, d_hidden.dtype)
        tensors = (
            _pixels(d_hidden.contiguous(memory_format=last)),
            _pixels(d_cell.contiguous(memory_format=last)),
            d_flat.view(-1, 4, width),
            d_before_px,
        )
        blocks = [_split(tensor, 4 * width) for tensor in tensors]
        cells = _split(before, 4 * width) if has_cell else [None] * len(blocks[0])
        saved = zip(active[::2], active[1::2], cells, strict=True)
        for (up, more, to_gates, to_cell), (part, tangent, was) in zip(
            zip(*blocks, strict=True), saved, strict=True
        ):
            i, f, o, g = part
            through = _tanh_slope(up * o, tangent).add_(more)
            into = torch.empty(part.shape, dtype=up.dtype)
            to_i, to_f, to_o, to_g = into
            _sigmoid_slope(torch.mul(through, g, out=to_i), i, grad_input=to_i)
            if was is None:
                to_f.zero_()
            else:
                _sigmoid_slope(torch.mul(through, was, out=to_f), f, grad_input=to_f)
                torch.mul(through, f, out=to_cell)
            _sigmoid_slope(torch.mul(up, tangent, out=to_o), o, grad_input=to_o)
            _tanh_slope_into(torch.mul(through, i, out=to_g), g, grad_input=to_g)
            to_gates.copy_(into.transpose(0, 1))
        return d_gates, d_before if has_cell else None, None
