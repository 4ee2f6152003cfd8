"""Dense: a mapper on all pixels of a tile at once, equal to window by window.

Windows of neighbours overlap nearly everywhere. Without padding, what a convolution
makes of a place is the same in each of them, so the CNN runs once over the tile for
each step (Giusti et al. 2013, arXiv:1302.1700), and the LSTM over its pixels. Pieces
are small enough for a processor's cache. A network that pads its windows sees a zero
where the tile has a pixel: it is shown each window by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hmx.networks.cnn_lstm import CnnLstm, Mapper

PIXELS = 1024  # pixels whose series, or windows, are in the works at a time
BLOCK = 64  # side of a square whose features are, px; more where windows are wide


def dense(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Compute a network at every pixel whose window lies in a tile.

    Parameters
    ----------
    network : Mapper
        In evaluation mode.
    dynamic, static : Tensor
        Scaled, (t, c, y, x) and (s, y, x): a core and half a window around it.

    Returns
    -------
    Tensor
        As the network gives it for each window, (q, y - w + 1, x - w + 1).
    """
    window = network.options.window
    rows, columns = (size - window + 1 for size in dynamic.shape[-2:])
    result = dynamic.new_empty((network.outputs, rows, columns))
    for y, x in _blocks(rows, columns, block_of(window)):
        seen = (..., slice(y.start, y.stop + window - 1), slice(x.start, x.stop + window - 1))
        if isinstance(network, CnnLstm):
            values = _at_once(network, dynamic[seen], static[seen])
        else:
            values = _one_by_one(network, dynamic[seen], static[seen])
        part = result[:, y, x]
        part.copy_(values.T.reshape(part.shape))
    return result


def block_of(window: int) -> int:
    """Return the side of a square that is computed at a time, px, without its margin."""
    return max(BLOCK, 4 * window)


def _blocks(rows: int, columns: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Cut an area into squares, smaller ones at its ends."""
    for y in range(0, rows, side):
        for x in range(0, columns, side):
            yield slice(y, min(y + side, rows)), slice(x, min(x + side, columns))


def _at_once(network: CnnLstm, dynamic: Tensor, static: Tensor) -> Tensor:
    """Run the CNN over a square and the LSTM over its pixels, (pixels, q)."""
    features = network.see(dynamic[None], static[None], dense=True)[0]
    centre = network.centre(dynamic[None], static[None])[0]
    rows, columns = centre.shape[-2:]
    features = features[..., :rows, :columns]  # a pool may drop what ends a window
    series = features.flatten(2).permute(2, 0, 1)  # (pixels, t, f)
    values = centre.flatten(1).T  # (pixels, t * c + s)
    return _slices(network.read, series, values)


def _one_by_one(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Show a network each window, (pixels, q)."""
    side = network.options.window
    windows = dynamic.unfold(2, side, 1).unfold(3, side, 1).permute(2, 3, 0, 1, 4, 5)
    planes = static.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)
    return torch.cat([_slices(network, *line) for line in zip(windows, planes, strict=True)])


def _slices(compute: Callable[[Tensor, Tensor], Tensor], *inputs: Tensor) -> Tensor:
    """Compute some pixels at a time."""
    parts = zip(*(tensor.split(PIXELS) for tensor in inputs), strict=True)
    return torch.cat([compute(*part) for part in parts])
