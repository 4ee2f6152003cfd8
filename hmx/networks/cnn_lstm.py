"""Mapper: from a window of bands around a point, over time, to the quantity there.

``cnn_lstm`` is a CNN of valid convolutions that turns each step of a window into
features, and an LSTM (Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735)
that reads them. A linear function of the centre pixel's values and of the window's means
is added: most of the relation between bands and soil is linear, and the network learns the rest.
It pads nothing, so a tile can be mapped in one run: :meth:`CnnLstm.features` takes
rasters of any size, and :meth:`CnnLstm.read` the features of any pixels.

``refitted_covlstm`` is the network of an earlier study. It pads with zeros
around its window and so needs a window for each pixel.

Another network is a class of a file of its own: ``@mapper("name") class Net(Mapper)``.

Tensors: ``n`` windows or tiles, ``t`` steps, ``c`` dynamic and ``s`` static channels,
``f`` features, ``q`` outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.bundles.folder import check_weights
from hmx.errors import BundleError
from hmx.hardware import plain_torch
from hmx.networks.base import MapperModel, mapper
from hmx.networks.options import MapperOptions
from hmx.networks.registry import MAPPERS


class Mapper(nn.Module):
    """A network of the map job, built as ``Mapper(options, dynamic=, static=, steps=)``.

    ``dynamic`` and ``static`` count channels, those of validity included.
    """

    def __init__(self, options: MapperOptions):
        super().__init__()
        self.options = options

    @property
    def outputs(self) -> int:
        """Numbers for each pixel: one, or one for each knot."""
        return len(self.options.knots) or 1

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Predict the quantity at the centre of windows."""
        raise NotImplementedError

    def finish(self, raw: Tensor) -> Tensor:
        """Turn raw outputs, (n, q), into one number or ascending quantiles."""
        if not self.options.knots:
            return raw
        middle = self.options.knots.index(0.5)
        gaps, centre = functional.softplus(raw), raw[:, middle : middle + 1]
        below = gaps[:, :middle].flip(1).cumsum(1).flip(1)
        return torch.cat((centre - below, centre, centre + gaps[:, middle + 1 :].cumsum(1)), 1)


@mapper("cnn_lstm")
class CnnLstm(Mapper):
    """Valid convolutions for each step, an LSTM over the steps, and a linear skip."""

    def __init__(self, options: MapperOptions, *, dynamic: int, static: int, steps: int):
        super().__init__(options)
        self.dynamic = dynamic
        inputs = (dynamic + static, *options.widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, side)
            for before, after, side in zip(inputs, options.widths, options.kernels(), strict=True)
        )
        self.lstm = nn.LSTM(options.widths[-1], options.hidden, options.layers, batch_first=True)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(options.hidden + options.widths[-1], self.outputs)
        values = 2 * (steps * dynamic + static)
        self.skip = nn.Linear(values, self.outputs) if options.skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)
            nn.init.zeros_(self.skip.bias)

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Predict windows; see :meth:`Mapper.forward`."""
        features = self.features(dynamic, static)[..., 0, 0]
        return self.read(features, self.centre(dynamic, static)[..., 0, 0])

    def features(self, dynamic: Tensor, static: Tensor, *, dense: bool = False) -> Tensor:
        """Compute features of each step, (n, t, f, y - w + 1, x - w + 1).

        ``dense`` gives every pixel of a tile the features of its own window: pools advance by
        one pixel, and the layers after them are dilated (Giusti et al. 2013, arXiv:1302.1700).
        """
        x, step = self.first_layer(dynamic, static), 1
        for number in range(1, len(self.convs) + 1):
            if number > 1:
                conv: Any = self.convs[number - 1]
                x = functional.conv2d(x, conv.weight, conv.bias, dilation=step)
            x = x.relu()
            if number in self.options.pool:
                x = functional.max_pool2d(x, 2, stride=1 if dense else 2, dilation=step)
                step *= 2 if dense else 1
        return x.unflatten(0, dynamic.shape[:2])

    def first_layer(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Convolve the bands of every step, (n * t, f, y, x)."""
        # A convolution is linear, so static bands are convolved once and added to each step.
        conv: Any = self.convs[0]
        if not self.dynamic:
            steps = dynamic.shape[1]
            return functional.conv2d(static, conv.weight, conv.bias).repeat_interleave(steps, 0)
        x = functional.conv2d(dynamic.flatten(0, 1), conv.weight[:, : self.dynamic], conv.bias)
        if static.shape[1]:
            steps = x.unflatten(0, dynamic.shape[:2])
            fixed = functional.conv2d(static, conv.weight[:, self.dynamic :])
            x = (steps + fixed.unsqueeze(1)).flatten(0, 1)
        return x

    def centre(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Collect the inputs of the skip: values of the centre pixels and window means.

        The result is (n, 2 * (t * c + s), y - w + 1, x - w + 1).
        """
        side = self.options.window
        bands = torch.cat((dynamic.flatten(1, 2), static), dim=1)
        y, x = (slice(side // 2, size - side // 2) for size in bands.shape[-2:])
        # rows, then columns: a square mean of w x w additions costs only 2 w
        means = functional.avg_pool2d(functional.avg_pool2d(bands, (side, 1), 1), (1, side), 1)
        return torch.cat((bands[..., y, x], means), dim=1)

    def read(self, features: Tensor, centre: Tensor) -> Tensor:
        """Predict, (n, q), from features, (n, t, f), and inputs of the skip, (n, k)."""
        _, (last, _) = self.lstm(features)
        raw = self.head(self.dropout(torch.cat((last[-1], features[:, -1]), dim=1)))
        return self.finish(raw if self.skip is None else raw + self.skip(centre))


@mapper("refitted_covlstm")
class CovLstm(Mapper):
    """The network of the earlier study: zero-padded convolutions in a window.

    Two 3 x 3 convolutions, each with ReLU and max-pooling by 2, and a fully connected layer give
    128 features of each step. A two-layer LSTM reads them, and 64 numbers of its last state join
    the features of the last step in a head of 32 and 1. Static bands are bands of every step.
    """

    def __init__(self, options: MapperOptions, *, dynamic: int, static: int, steps: int):
        super().__init__(options)
        del steps  # an LSTM takes any number
        bands = dynamic + static
        narrow, wide = options.widths
        self.convs = nn.Sequential(
            nn.Conv2d(bands, narrow, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        seen = wide * (options.window // 4) ** 2
        self.fc_cnn = nn.Linear(seen, 128)
        self.lstm = nn.LSTM(
            128, options.hidden, options.layers, batch_first=True, dropout=options.dropout
        )
        self.fc_lstm = nn.Linear(options.hidden, 64)
        self.head = nn.Sequential(nn.Linear(128 + 64, 32), nn.ReLU(), nn.Linear(32, self.outputs))

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Predict windows; see :meth:`Mapper.forward`."""
        steps = dynamic.shape[1]
        bands = torch.cat((dynamic, static.unsqueeze(1).expand(-1, steps, -1, -1, -1)), dim=2)
        features = self.fc_cnn(self.convs(bands.flatten(0, 1))).relu()
        series = features.unflatten(0, (-1, steps))
        states, _ = self.lstm(series)
        fused = torch.cat((series[:, -1], self.fc_lstm(states[:, -1]).relu()), dim=1)
        return self.finish(self.head(fused))


def build(options: MapperOptions, *, dynamic: int, static: int, steps: int) -> Mapper:
    """Build an untrained network of the registry."""
    kind = MAPPERS.find(options.arch)
    network: Mapper = kind(options, dynamic=dynamic, static=static, steps=steps)
    return network


def load(bundle: MapperModel, member: int = 0) -> Mapper:
    """Build a trained network, on the CPU and in evaluation mode."""
    spec, weights = bundle.spec, bundle.member(member)
    dynamic, static = spec.channels
    if spec.network.arch == "refitted_covlstm" and "flat.0.weight" in weights:
        raise BundleError(
            "the model has other layers than the network of the study: an older hmx built it so. "
            "Train it again."
        )
    with torch.device("meta"):  # shapes only: a damaged spec can demand any amount of memory
        plan = build(spec.network, dynamic=dynamic, static=static, steps=spec.steps).state_dict()
    check_weights({k: w.shape for k, w in weights.items()}, {k: w.shape for k, w in plan.items()})
    with plain_torch():
        network = build(spec.network, dynamic=dynamic, static=static, steps=spec.steps)
    network.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    return network.eval()
