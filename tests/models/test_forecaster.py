"""Laws of the network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmx.models.forecaster import Forecaster, reach
from hmx.options import ModelOptions
from tests.factories import make_bundle, make_cube

NETWORKS = [
    {"layers": 1, "kernel": 3, "history": 1},
    {"layers": 2, "kernel": 3, "history": 3},
    {"layers": 1, "kernel": 5, "history": 2},
    {"layers": 2, "kernel": 3, "history": 2, "dilation": (1, 3)},
    {"layers": 3, "kernel": 3, "history": 2, "dilation": (2, 1, 1)},
]


def inputs(size: int, history: int, *, seed: int = 0) -> list[torch.Tensor]:
    """Random float64 inputs of a network with one static covariate."""
    draw = torch.Generator().manual_seed(seed)
    past = torch.rand((1, history, size, size), generator=draw, dtype=torch.float64)
    static = torch.rand((1, 2, size, size), generator=draw, dtype=torch.float64)
    dynamic = torch.zeros((1, history, 0, size, size), dtype=torch.float64)
    return [past, torch.ones_like(past), dynamic, static]


def network_of(options: dict[str, object]) -> Forecaster:
    """A float64 network with positive non-zero weights everywhere and no clipping."""
    bundle = make_bundle(make_cube(), ModelOptions(hidden=2, **options), valid_range=None)
    return Forecaster.load(bundle).double()


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("h", [1, 2, 3])
def test_influence_ends_at_the_reach(options: dict[str, object], h: int) -> None:
    """By gradients: impulses so small that no rounding can swallow them."""
    network, far = network_of(options), reach(ModelOptions(**options), h)
    size, middle = 2 * far + 5, far + 2
    past, valid, dynamic, static = inputs(size, ModelOptions(**options).history)
    past.requires_grad_()
    network(past, valid, dynamic, static, h=h)[0, -1, middle, middle].backward()
    assert past.grad is not None
    touched = past.grad[0].abs().sum(dim=0)
    rim = torch.nonzero(touched).sub(middle).abs().max()
    assert int(rim) == far
    assert float(touched[middle - far, middle]) > 0
    assert float(touched[middle, middle + far]) > 0


@pytest.mark.parametrize("options", NETWORKS[:4], ids=str)
@pytest.mark.parametrize("h", [1, 2])
def test_a_pixel_at_the_reach_moves_the_forecast_and_one_beyond_does_not(
    options: dict[str, object], h: int
) -> None:
    network = network_of(options)
    far = reach(ModelOptions(**options), h)
    size, middle = 2 * far + 5, far + 2
    tensors = inputs(size, ModelOptions(**options).history)
    with torch.inference_mode():
        before = network(*tensors, h=h)[0, :, middle, middle]
        moved = {}
        for distance in (far, far + 1):
            changed = [tensor.clone() for tensor in tensors]
            changed[0][0, 0, middle - distance, middle] += 0.5  # oldest step: the longest way
            moved[distance] = (network(*changed, h=h)[0, :, middle, middle] - before).abs()
    assert moved[far][-1] > 0, "a pixel at the reach must move the last lead"
    assert (moved[far + 1] == 0).all(), "a pixel beyond the reach must not"


@pytest.mark.parametrize("lead", [1, 2, 3])
def test_each_lead_has_its_own_reach(lead: int) -> None:
    options = {"layers": 2, "kernel": 3, "history": 2}
    network, far = network_of(options), reach(ModelOptions(**options), lead)
    tensors = inputs(2 * far + 5, 2)
    changed = [tensor.clone() for tensor in tensors]
    changed[0][0, 0, 1, far + 2] += 0.5  # at distance far + 1
    with torch.inference_mode():
        moved = (network(*changed, h=3) - network(*tensors, h=3))[0, :, far + 2, far + 2].abs()
    assert (moved[:lead] == 0).all()
    assert lead == 3 or moved[lead] > 0


def test_an_untrained_network_is_persistence_exactly() -> None:
    cube = make_cube()
    network = Forecaster.load(make_bundle(cube, weights="untrained"))
    past, valid, dynamic, static = (t.float() for t in inputs(20, 3))
    with torch.inference_mode():
        ahead = network(past, valid, dynamic, static, h=4)
    assert torch.equal(ahead, past[:, -1:].expand(-1, 4, -1, -1))


def test_dilation_reaches_farther_with_the_same_weights() -> None:
    near, far = ModelOptions(dilation=(1, 1)), ModelOptions(dilation=(1, 4))
    assert reach(far, 4) > 2 * reach(near, 4)
    cube = make_cube()
    shapes = [
        {k: w.shape for k, w in make_bundle(cube, ModelOptions(dilation=d)).weights.items()}
        for d in ((1, 1), (1, 4))
    ]
    assert shapes[0] == shapes[1]


def test_a_missing_pixel_hides_its_value() -> None:
    network = network_of({"layers": 1, "history": 2})
    past, valid, dynamic, static = inputs(15, 2)
    valid[..., 7, 7] = 0
    other = past.clone()
    other[..., 7, 7] = 0.0
    past[0, :, 7, 7] = torch.tensor([0.9, 0.2])  # neither the value nor its change
    with torch.inference_mode():
        ahead = [network(p, valid, dynamic, static, h=3)[0] for p in (past, other)]
    away = torch.ones((15, 15), dtype=torch.bool)
    away[7, 7] = False
    assert torch.equal(ahead[0][:, away], ahead[1][:, away])


def test_forecasts_keep_to_the_valid_range() -> None:
    cube = make_cube()
    network = Forecaster.load(make_bundle(cube))  # positive weights push upward without end
    past, valid, dynamic, static = (t.float() for t in inputs(20, 3))
    with torch.inference_mode():
        ahead = network(past, valid, dynamic, static, h=6)
    assert float(ahead.max()) == 1.0
    assert float(ahead.min()) >= 0.0


def test_rehearsals_are_the_forecasts_of_a_shorter_history() -> None:
    network = network_of({"layers": 2, "history": 3})
    past, valid, dynamic, static = inputs(12, 3)
    with torch.inference_mode():
        _, rehearsed = network.rehearse(past, valid, dynamic, static, h=1)
        shorter = network(past[:, :2], valid[:, :2], dynamic[:, :2], static, h=1)
    assert len(rehearsed) == 2
    np.testing.assert_array_equal(rehearsed[1].numpy(), shorter[:, 0].numpy())
