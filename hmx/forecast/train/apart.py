"""Apart: a loss that is a sum, each part with its gradients at once, in threads.

A batch whose chips are computed one after another needs the memory of one, which stays in the
cache, and each chip can be computed by a thread of its own (:func:`hmx.hardware.in_threads`).
The gradients are added in the order of the parts, so weights do not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hmx.hardware import in_threads

PartT = TypeVar("PartT")


def summed(
    loss: Callable[[PartT], Tensor], parts: Sequence[PartT], parameters: Sequence[Tensor]
) -> Tensor:
    """Sum the losses of parts, with the gradients of some parameters."""
    # as the thread of the caller has it: others have settings of their own
    half = torch.is_autocast_enabled("cpu")
    how: dict[str, Any] = {"dtype": torch.get_autocast_dtype("cpu"), "cache_enabled": False}

    def one(part: PartT) -> tuple[Tensor, Sequence[Tensor | None]]:
        with torch.autocast("cpu", enabled=half, **how):
            value = loss(part)
        if not value.requires_grad:
            return value, ()
        return value.detach(), torch.autograd.grad(value, parameters, allow_unused=True)

    if not torch.is_grad_enabled():
        return torch.stack(in_threads(loss, parts)).sum()
    total: Tensor = _Summed.apply(one, parts, *parameters)
    return total


class _Summed(Function):
    """Runs the parts forward and backward, and keeps the gradients."""

    @staticmethod
    def forward(ctx: Any, one: Callable[[Any], Any], parts: Sequence[Any], *of: Tensor) -> Tensor:
        total, gradients = torch.zeros(()), [torch.zeros_like(parameter) for parameter in of]
        with torch.enable_grad():
            found = in_threads(one, parts)
        for value, own in found:
            total = total + value
            for kept, more in zip(gradients, own, strict=False):
                if more is not None:
                    kept += more
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradient * above for gradient in ctx.saved_tensors)
