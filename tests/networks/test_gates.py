"""Laws of gates: one pass computes what plain torch computes, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmx.networks import convlstm as module
from hmx.networks.convlstm import gated

LAST = torch.channels_last


def made(channels: int, dtype: torch.dtype = torch.float64, *, last: bool = True) -> Tensor:
    values = torch.randn(2, channels, 3, 5, dtype=dtype)
    return (values.contiguous(memory_format=LAST) if last else values).requires_grad_()


def plain(gates: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.chunk(4, dim=1)
    now = torch.sigmoid(i) * torch.tanh(g)
    now = now if cell is None else torch.sigmoid(f) * cell + now
    return torch.sigmoid(o) * torch.tanh(now), now


@pytest.mark.parametrize("block", [1, 1 << 18])
@pytest.mark.parametrize("first", [True, False])
def test_gates_are_those_of_plain_torch(
    first: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    gates, cell = made(12), None if first else made(3)
    wanted = (gates,) if cell is None else (gates, cell)
    mine, theirs = gated(gates, cell, torch.float64), plain(gates, cell)
    above = [torch.randn_like(part) for part in theirs]
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(
        torch.autograd.grad(mine, wanted, above),
        torch.autograd.grad(theirs, wanted, above),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
        assert one.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("last", [True, False])
def test_states_stay_in_full_precision(last: bool) -> None:
    gates = made(12, torch.bfloat16, last=last)
    hidden, cell = gated(gates, None, torch.float32)
    assert (hidden.dtype, cell.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(cell, plain(gates.float(), None)[1])
    (gradient,) = torch.autograd.grad(cell.sum(), gates)
    assert gradient.dtype == torch.bfloat16


def test_nothing_is_kept_without_gradients() -> None:
    with torch.inference_mode():
        hidden, cell = gated(made(12), made(3), torch.float64)
    assert not hidden.requires_grad
    assert not cell.requires_grad
