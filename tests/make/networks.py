"""One small network of every kind, and windows to show them."""

from __future__ import annotations

from typing import Any

import torch

from hmx.networks.forecaster import Channels, Forecaster
from hmx.networks.inputs import NetworkInputs
from hmx.networks.options import ModelOptions
from hmx.networks.quantile import TargetScale
from hmx.networks.registry import NETWORKS
from hmx.windows import Window
from tests.make.cubes import fill, network_options

# Built-in networks in every way to read the history, go ahead and share heads.
VARIANTS: dict[str, dict[str, Any]] = {
    "dilated, direct, shared": {"arch": "dilated", "trunk": (1, 2), "history": 2},
    "dilated, direct, separate": {
        "arch": "dilated", "trunk": (2,), "heads": "separate", "history": 3,
    },
    "dilated, recursive": {
        "arch": "dilated", "strategy": "recursive", "trunk": (1,), "history": 2,
    },
    "convlstm, direct, shared": {"arch": "convlstm", "trunk": (), "history": 2, "layers": 2},
    "convlstm, direct, separate": {
        "arch": "convlstm", "trunk": (1,), "heads": "separate", "history": 2, "kernel": 5,
    },
    "convlstm, recursive, trunk": {
        "arch": "convlstm", "strategy": "recursive", "trunk": (2,), "history": 2,
    },
    "convlstm, recursive, streamed": {
        "arch": "convlstm", "strategy": "recursive", "trunk": (), "context": (), "terrain": (),
        "history": 3, "layers": 2, "dilation": (1, 2),
    },
    "convlstm, recursive, state": {
        "arch": "convlstm", "strategy": "recursive", "trunk": (), "context": (), "terrain": (),
        "history": 2, "layers": 1, "predict": "state", "knots": (),
    },
}  # fmt: skip


def kinds_of(arch: str) -> dict[str, dict[str, Any]]:
    """Options of a network that the laws are tested on: its variants, or two that any has."""
    own = {k: v for k, v in VARIANTS.items() if v["arch"] == arch}
    return own or {
        f"{arch}, direct": {"arch": arch, "trunk": (1, 2), "history": 2},
        f"{arch}, recursive": {"arch": arch, "strategy": "recursive", "trunk": (1,), "history": 2},
    }


# Every network of the registry, so that a new one is tested unasked.
KINDS = {kind: options for arch in NETWORKS.names() for kind, options in kinds_of(arch).items()}


def options_of(kind: str, **changes: Any) -> ModelOptions:
    """Options of one of :data:`KINDS`."""
    return network_options(**(KINDS[kind] | changes))


def network_of(
    options: ModelOptions,
    channels: Channels = Channels(0, 2, 0),  # noqa: B008  (immutable)
    *,
    leads: int = 3,
    limits: tuple[float | None, float | None] = (None, None),
    weights: str = "positive",
    dtype: torch.dtype = torch.float64,
) -> Forecaster:
    """A network every weight of which matters, without bounds that hide influence."""
    torch.manual_seed(0)
    scale = TargetScale(0.3, 0.2, 0.05, *limits)
    network = Forecaster(options, scale, leads=leads, channels=channels)
    if weights != "untrained":
        fill(network, weights)
    return network.to(dtype).eval()


def window(
    shape: tuple[int, int],
    history: int,
    channels: Channels = Channels(0, 2, 0),  # noqa: B008  (immutable)
    *,
    h: int = 3,
    holes: bool = True,
    dtype: torch.dtype = torch.float64,
) -> NetworkInputs:
    """A window, without ``b``, with holes that differ from step to step."""
    draw = torch.Generator().manual_seed(1)
    past = torch.rand((history, *shape), generator=draw, dtype=dtype)
    lacking = torch.rand((history, *shape), generator=draw) < (0.2 if holes else 0)
    valid = (~lacking).to(dtype)
    dynamic = torch.randn((history, channels.dynamic, *shape), generator=draw, dtype=dtype)
    static = torch.randn((channels.static, *shape), generator=draw, dtype=dtype)
    ahead = torch.randn((h, channels.ahead, *shape), generator=draw, dtype=dtype)
    return NetworkInputs(past * valid, valid, dynamic, static, ahead)


def plain(
    network: Forecaster, seen: NetworkInputs, h: int, crop: Window | None = None
) -> torch.Tensor:
    """What the network itself says of one window, (h, q, y, x)."""
    place = None if crop is None else crop.slices
    with torch.inference_mode():
        return network(NetworkInputs(*(tensor[None] for tensor in seen)), h=h, crop=place)[0]


def changed(seen: NetworkInputs, **tensors: torch.Tensor) -> NetworkInputs:
    """A copy with some tensors replaced."""
    return NetworkInputs(*(tensor.clone() for tensor in seen))._replace(**tensors)
