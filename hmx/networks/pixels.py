"""Pixels: distributions of some pixels of a window, which is all that training scores.

Most pixels of a chip are not scored: the border reaches them, they belong to other blocks or have
no data. They need no distribution, and only features that the scored pixels depend on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hmx.networks.forecaster import Forecaster, NetworkInputs, reach
from hmx.networks.part import bounding
from hmx.networks.quantile import parts


def forecast_pixels(
    network: Forecaster, seen: NetworkInputs, at: Tensor, *, h: int, origin: Tensor
) -> Tensor:
    """Forecast some pixels of one window with a direct network, (1, h, q, 1, n).

    ``at`` (n,) has their numbers, row by row.
    """
    constant, (height, width) = network._constant(seen), seen.past.shape[-2:]
    part = bounding(at, (height, width), rim=reach(network.options, network.leads))
    frames = [network._past_frame(seen, t) for t in range(seen.past.shape[1])]
    features: Tensor = network.body.part(frames, constant, part)
    inside = (at // width - part.y.start) * len(part.x) + at % width - part.x.start
    flat = features.permute(0, 2, 3, 1).flatten(0, 2)[inside]  # (n, channels)
    with torch.autocast(features.device.type, enabled=False):
        weight = network.head.weight.flatten(1)
        raw = functional.linear(flat, weight, network.head.bias).t().contiguous()
    raw = raw.unflatten(0, (-1, len(network.knots)))[None, :, :, None]  # (1, heads, q, 1, n)
    few = NetworkInputs(*(values.flatten(-2)[..., None, at] for values in seen))
    total = network._totals(parts(raw, network.middle), h)
    everywhere = (slice(None), slice(None))
    return network._direct(total, few, network._constant(few), everywhere, origin)
