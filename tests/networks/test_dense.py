"""Laws of dense inference: it is window by window, only faster."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hmx.networks import dense as module
from hmx.networks.cnn_lstm import Mapper, build
from hmx.networks.dense import dense
from hmx.networks.options import MapperOptions

NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "one pixel": {"window": 1, "widths": (6,)},
    "two layers": {"layers": 2, "window": 7},
    "pooled once": {"window": 9, "pool": (1,)},
    "pooled twice": {"window": 17, "pool": (1, 2), "widths": (6, 8, 8)},
    "no skip": {"skip": False},
    "knots": {"knots": (0.1, 0.5, 0.9)},
    "refitted": {"arch": "refitted_covlstm"},
    "refitted, wide": {"arch": "refitted_covlstm", "window": 9},
}


def make(options: MapperOptions, *, static: int = 3, steps: int = 3) -> Mapper:
    torch.manual_seed(0)
    network = build(options, dynamic=4, static=static, steps=steps).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return network


def tile(shape: tuple[int, int], *, static: int = 3, steps: int = 3) -> tuple[Any, Any]:
    torch.manual_seed(1)
    return torch.randn(steps, 4, *shape).double(), torch.randn(static, *shape).double()


def window_by_window(network: Mapper, dynamic: Any, static: Any) -> torch.Tensor:
    side = network.options.window
    rows, columns = (size - side + 1 for size in dynamic.shape[-2:])
    result = torch.empty(network.outputs, rows, columns).double()
    for y in range(rows):
        for x in range(columns):
            at = (..., slice(y, y + side), slice(x, x + side))
            result[:, y, x] = network(dynamic[at][None], static[at][None])[0]
    return result


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@torch.inference_mode()
def test_a_tile_at_once_is_each_window_by_itself(options: dict[str, Any]) -> None:
    network = make(MapperOptions(**options))
    side = network.options.window
    dynamic, static = tile((side + 7, side + 10))
    found = dense(network, dynamic, static)
    assert found.shape == (network.outputs, 8, 11)
    torch.testing.assert_close(found, window_by_window(network, dynamic, static))


@pytest.mark.parametrize("options", [{}, {"arch": "refitted_covlstm"}], ids=["dense", "windows"])
@torch.inference_mode()
def test_blocks_and_slices_leave_no_seam(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make(MapperOptions(**options))
    dynamic, static = tile((30, 37))
    whole = dense(network, dynamic, static)
    monkeypatch.setattr(module, "BLOCK", 1)
    monkeypatch.setattr(module, "PIXELS", 7)
    torch.testing.assert_close(dense(network, dynamic, static), whole, rtol=0, atol=1e-12)


@torch.inference_mode()
def test_a_pixel_sees_its_window_and_nothing_else() -> None:
    network = make(MapperOptions(window=9, pool=(1,)))
    dynamic, static = tile((20, 20))
    before = dense(network, dynamic, static)
    dynamic[:, :, 10, 10] += 1
    moved = (dense(network, dynamic, static) != before).any(dim=0)
    assert moved[2:11, 2:11].all()
    assert moved.sum() == 81


@torch.inference_mode()
def test_float32_on_a_tile_is_within_a_hundred_thousandth() -> None:
    network = make(MapperOptions()).float()
    dynamic, static = (part.float() for part in tile((40, 40)))
    found, each = dense(network, dynamic, static), window_by_window(network, dynamic, static)
    assert (found - each).abs().max() <= 1e-5 * (each.max() - each.min())
