"""Laws of parts: what training computes of a window is what the whole window gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions
from hmx.networks.part import forecast_pixels
from tests.make.networks import KINDS, network_of, options_of, window

DIRECT = {kind: options_of(kind) for kind in KINDS if options_of(kind).strategy == "direct"}
DIRECT["two dilated cells"] = options_of(
    "convlstm, direct, shared", history=3, layers=3, dilation=(2, 1, 3), trunk=(2, 1)
)
SIDE = 40


def pixels(rows: slice, columns: slice) -> Tensor:
    """Every other pixel of a part of the window, row by row."""
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[rows, columns] = True
    return inside.flatten().nonzero()[::2, 0]


@pytest.mark.parametrize("options", DIRECT.values(), ids=DIRECT)
@pytest.mark.parametrize("where", ["inside", "corner", "edge", "all"])
def test_some_pixels_are_those_of_the_whole_window(options: ModelOptions, where: str) -> None:
    """Forward and backward; at true edges too, beyond which zeros follow."""
    network: Forecaster = network_of(options)
    far = reach(options, 3)
    assert 2 * far < SIDE
    at = {
        "inside": pixels(slice(far, SIDE - far), slice(far, SIDE - far)),
        "corner": pixels(slice(0, 5), slice(SIDE - 3, SIDE)),
        "edge": pixels(slice(far, SIDE), slice(far + 1, SIDE - far)),
        "all": pixels(slice(0, SIDE), slice(0, SIDE)),
    }[where]
    alone = window((SIDE, SIDE), options.past_steps)
    seen = NetworkInputs(*(tensor[None] for tensor in alone))
    found = forecast_pixels(network, seen, at, h=2, origin=torch.tensor([0]))
    whole = network(seen, h=2, origin=torch.tensor([0])).flatten(-2)[..., None, at]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
    weights, above = [*network.parameters()], torch.randn_like(whole)
    for one, other in zip(
        torch.autograd.grad(found, weights, above),
        torch.autograd.grad(whole, weights, above),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["convlstm, direct, shared", "dilated, direct, shared"])
def test_convolutions_take_the_precision_of_autocast(kind: str) -> None:
    """Of operands and products alone: the result is float32, near that of float32."""
    options = options_of(kind)
    network = network_of(options, weights="random", dtype=torch.float32)
    seen = window((SIDE, SIDE), options.past_steps, dtype=torch.float32)
    seen, weights = NetworkInputs(*(tensor[None] for tensor in seen)), [*network.parameters()]
    at, origin = pixels(slice(12, 28), slice(12, 28)), torch.tensor([0])
    found, slopes = [], []
    for half in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            ahead = forecast_pixels(network, seen, at, h=2, origin=origin)
        found.append(ahead.detach())
        flat = torch.autograd.grad(ahead.square().sum(), weights)
        assert {slope.dtype for slope in flat} == {torch.float32}
        slopes.append(torch.cat([slope.flatten() for slope in flat]))
    for full, halved in (found, slopes):
        assert full.dtype == halved.dtype == torch.float32
        error = float((full - halved).norm() / full.norm())
        assert 1e-7 < error < 0.03
