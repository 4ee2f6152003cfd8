"""Dense: a mapper on all pixels of a tile at once, equal to window by window.

Windows of neighbours overlap nearly everywhere. Without padding, a convolution gives the
same features in each of them, so the CNN runs once over the tile for
each step (Giusti et al. 2013, arXiv:1302.1700), and the LSTM over its pixels. A network that
pads its windows sees a zero where the tile has a pixel, so it gets each window by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmx.networks.cnn_lstm import CnnLstm, Mapper

PIXELS = 1024  # pixels computed at a time: their series fit a processor's cache
BLOCK = 64  # side of a square whose features are computed at a time, px


def block_of(window: int) -> int:
    """Return the side of a square that is computed at a time, px, without its margin."""
    return max(BLOCK, 4 * window)  # wide windows: the margin would cost more than the core


def dense(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Compute a network in evaluation mode at every pixel whose window lies in a tile.

    From scaled (t, c, y, x) and (s, y, x), which bring half a window around the core,
    to (q, y - w + 1, x - w + 1).
    """
    window = network.options.window
    side = block_of(window)
    rows, columns = (size - window + 1 for size in dynamic.shape[-2:])
    result = dynamic.new_empty((network.outputs, rows, columns))
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            y, x = slice(top, min(top + side, rows)), slice(left, min(left + side, columns))
            read = (..., slice(y.start, y.stop + window - 1), slice(x.start, x.stop + window - 1))
            steps, planes = dynamic[read], static[read]
            if isinstance(network, CnnLstm):
                features = network.features(steps[None], planes[None], dense=True)[0]
                values = _read(network, features, network.centre(steps[None], planes[None])[0])
            else:
                values = _by_window(network, steps, planes)
            part = result[:, y, x]
            part.copy_(values.T.reshape(part.shape))
    return result


def _read(network: CnnLstm, features: Tensor, centre: Tensor) -> Tensor:
    """Run the LSTM over the pixels of a square, (pixels, q)."""
    rows, columns = centre.shape[-2:]
    features = features[..., :rows, :columns]  # a pool may drop the last pixels of a window
    series = features.flatten(2).permute(2, 0, 1)  # (pixels, t, f)
    values = centre.flatten(1).T  # (pixels, t * c + s)
    pairs = zip(series.split(PIXELS), values.split(PIXELS), strict=True)
    return torch.cat([network.read(*pair) for pair in pairs])


def _by_window(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Run a network on each window of a square, (pixels, q)."""
    side = network.options.window
    windows = dynamic.unfold(2, side, 1).unfold(3, side, 1).permute(2, 3, 0, 1, 4, 5)
    planes = static.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)
    return torch.cat(
        [
            network(*part)
            for row, plane in zip(windows, planes, strict=True)
            for part in zip(row.split(PIXELS), plane.split(PIXELS), strict=True)
        ]
    )
