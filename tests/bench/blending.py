"""The way that needs no halo: overlapping tiles, blended; a baseline of speed and of seams.

Each tile is forecast with invented borders, and where tiles overlap their forecasts
are averaged with weights that fall towards the tile's edge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hmx.networks.forecaster import Forecaster
from hmx.networks.inputs import NetworkInputs

Inputs = tuple[np.ndarray, ...]


class PlainForecaster(Forecaster):
    """The network run plainly: torch's default layout, (b, c, y, x) in memory."""

    def _frame(self, *parts: Tensor) -> Tensor:
        return super()._frame(*parts).contiguous()


def run(network: Forecaster, inputs: Inputs, *, h: int) -> np.ndarray:
    """Forecast the knots of one window with the network itself, (h, q, y, x)."""
    with torch.inference_mode():
        seen = NetworkInputs(*(torch.from_numpy(array)[None] for array in inputs))
        ahead: np.ndarray = network(seen, h=h)[0].numpy()
    return ahead


def blend(
    forecast: Callable[[Inputs], np.ndarray],
    inputs: Inputs,
    *,
    h: int,
    tile: int = 128,
    stride: int = 64,
) -> np.ndarray:
    """Forecast an area from overlapping tiles, (h, ..., y, x)."""
    shape = inputs[0].shape[1:]
    total, weights = np.zeros((h, *shape), "float32"), np.zeros(shape, "float32")
    for y in starts(shape[0], tile, stride):
        for x in starts(shape[1], tile, stride):
            at = (..., slice(y, y + tile), slice(x, x + tile))
            part = tuple(np.ascontiguousarray(array[at]) for array in inputs)
            weight = towards_the_middle(part[0].shape[1:])
            found = forecast(part) * weight
            if found.ndim > total.ndim:
                total = np.zeros((*found.shape[:-2], *shape), "float32")
            total[at] += found
            weights[at[1:]] += weight
    return total / weights


def starts(size: int, tile: int, stride: int) -> list[int]:
    """First pixels of tiles that cover a side; the last one ends with it."""
    last = max(0, size - tile)
    return sorted({*range(0, last, stride), last})


def towards_the_middle(shape: tuple[int, ...]) -> np.ndarray:
    """Each pixel's distance to the nearest edge of its tile, px."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0 for n in shape)
    return np.minimum(y[:, None], x[None, :]).astype("float32")
