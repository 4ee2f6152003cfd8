"""Muon turns the gradients of layers, and leaves other parameters to AdamW."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hmx.training.muon import Muon, orthogonal


def layer_of(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(5, 8, 3)


def with_gradients(layer: nn.Conv2d, seed: int, size: float = 1.0) -> nn.Conv2d:
    torch.manual_seed(seed)
    for parameter in layer.parameters():
        parameter.grad = size * torch.randn_like(parameter)
    return layer


def muon_of(layer: nn.Conv2d, decay: float = 0.0, faster: float = 1.0) -> Muon:
    others = [{"params": [layer.bias]}]
    return Muon([layer.weight], others, lr=0.01, faster=faster, weight_decay=decay)


@pytest.mark.parametrize("shape", [(8, 45), (45, 8), (16, 16), (1, 9)])
def test_the_singular_values_of_an_update_are_near_one_and_its_directions_kept(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonal(matrix) @ right.T  # diagonal, if the directions are kept
    values = torch.diagonal(inner)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert float((inner - torch.diag(values)).abs().max()) < 1e-4


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_an_update_has_the_size_of_adamw_whatever_that_of_the_gradient(size: float) -> None:
    layer = layer_of()
    before = layer.weight.detach().clone()
    muon_of(with_gradients(layer, 2, size)).step()
    moved = float((layer.weight.detach() - before).square().mean().sqrt())
    assert 0.15 < moved / 0.01 < 0.25


def test_an_update_follows_the_gradients_of_the_steps_before() -> None:
    layer = layer_of()
    optimizer = muon_of(with_gradients(layer, 1))
    first = layer.weight.grad
    assert first is not None
    for _ in range(8):
        layer.weight.grad, layer.bias.grad = first.clone(), torch.zeros_like(layer.bias)
        optimizer.step()
    before = layer.weight.detach().clone()
    layer.weight.grad = -first  # one against eight
    optimizer.step()
    moved = (layer.weight.detach() - before).flatten()
    assert float(moved @ first.flatten()) < 0  # still downhill of the eight


def test_other_parameters_move_as_with_adamw() -> None:
    one, two = layer_of(), layer_of()
    ours, theirs = muon_of(one, decay=0.1), torch.optim.AdamW([two.bias], lr=0.01, weight_decay=0.1)
    for seed in range(3):
        with_gradients(one, seed), with_gradients(two, seed)
        ours.step(), theirs.step()
    assert torch.equal(one.bias, two.bias)
    assert not torch.equal(one.weight, two.weight)


def test_the_rate_of_layers_and_their_decay_are_those_asked_for() -> None:
    moved = {}
    for faster in (1.0, 3.0):
        layer = layer_of()
        before = layer.weight.detach().clone()
        muon_of(with_gradients(layer, 2), faster=faster).step()
        moved[faster] = layer.weight.detach() - before
    torch.testing.assert_close(moved[3.0], 3 * moved[1.0])
    still = layer_of()
    before = still.weight.detach().clone()
    still.weight.grad = torch.zeros_like(still.weight)
    muon_of(still, decay=0.5).step()
    torch.testing.assert_close(still.weight.detach(), before * (1 - 0.01 * 0.5))


def test_a_fit_goes_on_from_its_saved_state_as_if_it_had_not_stopped() -> None:
    layer = layer_of()
    optimizer = muon_of(layer, decay=0.1)
    with_gradients(layer, 1)
    optimizer.step()
    again = copy.deepcopy(layer)
    resumed = muon_of(again, decay=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, found in ((layer, optimizer), (again, resumed)):
        with_gradients(one, 2)
        found.step()
    assert torch.equal(layer.weight, again.weight)
    assert torch.equal(layer.bias, again.bias)


def test_a_closure_is_called_with_gradients_and_its_result_returned() -> None:
    layer, seen = layer_of(), torch.ones(1, 5, 3, 3)
    optimizer = muon_of(layer)

    def closure() -> torch.Tensor:
        value = layer(seen).square().sum()
        value.backward()
        return value

    first, second = float(optimizer.step(closure).detach()), float(closure().detach())
    assert 0 <= second < first
