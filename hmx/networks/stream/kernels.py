"""The arithmetic of a rollout: a layer's gates, its cell and the head.

Pixels lie channels-last, (y, x, c). Since tanh(x) = 2 sigmoid(2x) - 1, one sigmoid
in place serves all four gates. The factors of two are exact in binary and live in
the weights: a cell state is kept doubled and a hidden state halved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hmx.networks.convlstm import ConvLSTMCell
from hmx.networks.forecaster import Forecaster
from hmx.networks.quantile import TargetScale, parts, unfold
from hmx.networks.stream.regions import padded
from hmx.uncertainty.distribution import shares


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, prepared for the executor."""

    carried: Tensor  # (4 hidden, channels, k, k), channels-last, over [hidden | input | padding]
    first: Tensor  # the same without the hidden state, for the first step
    bias: Tensor  # (4 hidden,)
    hidden: int  # channels of a state
    radius: int  # px
    dilation: int  # px

    @classmethod
    def of(cls, cell: ConvLSTMCell, *, halved: bool, dtype: torch.dtype) -> Layer:
        """Fold the factors of two into a copy of a cell's weights.

        ``halved`` is True if the input is another layer's halved hidden state.
        """
        weight, bias = (p.detach().clone() for p in cell.gates.parameters())
        weight[3 * cell.hidden :] *= 2  # tanh(x) = 2 sigmoid(2x) - 1
        bias[3 * cell.hidden :] *= 2
        weight[:, cell.inputs :] *= 2  # the hidden state is kept halved
        weight[:, : cell.inputs] *= 2 if halved else 1
        inputs, hidden = weight.split((cell.inputs, cell.hidden), dim=1)
        return cls(
            carried=_pack(torch.cat((hidden, inputs), dim=1), dtype),
            first=_pack(inputs, dtype),
            bias=bias.to(dtype),
            hidden=cell.hidden,
            radius=cell.radius,
            dilation=int(cell.gates.dilation[0]),
        )

    def convolve(self, source: Tensor, *, first: bool) -> Tensor:
        """Return the gates, (y, x, 4 hidden), of an input that brings its own border."""
        image = source.permute(2, 0, 1)[None]  # (1, c, y, x), channels-last
        weight = self.first if first else self.carried
        gates = functional.conv2d(image, weight, self.bias, dilation=self.dilation)
        return gates[0].permute(1, 2, 0)


def _pack(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Pad input channels with zeros and lay a kernel out channels-last."""
    missing = padded(weight.shape[1]) - weight.shape[1]
    weight = functional.pad(weight, (0, 0, 0, 0, 0, missing))
    return weight.to(dtype).contiguous(memory_format=torch.channels_last)


def update(gates: Tensor, cell: Tensor, *, first: bool) -> Tensor:
    """Advance a doubled cell, (y, x, hidden), in place; return the halved hidden state.

    ``gates``, (y, x, 4 hidden) before their sigmoid, are overwritten. ``first`` means that the
    cell counts as zero, whatever the memory contains.
    """
    i, f, o, g = gates.sigmoid_().chunk(4, dim=-1)
    if first:
        torch.mul(i, g, out=cell).mul_(4).sub_(i, alpha=2)
    else:
        cell.mul_(f).addcmul_(i, g, value=4).sub_(i, alpha=2)
    return torch.sigmoid(cell).sub_(0.5).mul_(o)


@dataclass(frozen=True)
class Head:
    """The layers from the last hidden state to the distribution of the next step."""

    mixing: Tensor  # (hidden, hidden + frame, 1, 1), the columns of the hidden state doubled
    bias: Tensor  # (hidden,)
    raw: Tensor  # (q, hidden, 1, 1)
    offset: Tensor  # (q,)
    scale: TargetScale
    shares: Tensor  # (q,), the weight of each knot in the mean
    middle: int  # knot of the median
    state: bool  # the location is the state itself, and no change

    @classmethod
    def of(cls, network: Forecaster) -> Head:
        """Copy the head of a network."""
        entry = network.body.trunk.entry
        mixing, bias = (p.detach().clone() for p in entry.parameters())
        raw, offset = (p.detach().clone() for p in network.head.parameters())
        mixing[:, : len(bias)] *= 2
        counted = raw.new_tensor(shares(network.knots))
        return cls(mixing, bias, raw, offset, network.scale, counted, network.middle, network.state)

    def ahead(self, total: Tensor, origin: Tensor, hidden: Tensor, frame: Tensor) -> Tensor:
        """Add the parts of a lead to ``total``, (y, x, q), in place; return its knots, (q, y, x).

        From the halved hidden state of the last layer and the step's input, (y, x, c).
        """
        mixed = self._pointwise(torch.cat((hidden, frame), dim=-1), self.mixing, self.bias)
        raw = self._pointwise(functional.silu(mixed, inplace=True), self.raw, self.offset)
        if self.state:
            total[..., self.middle] = 0
        total += parts(raw.permute(2, 0, 1), self.middle).permute(1, 2, 0)
        moved = total.permute(2, 0, 1)
        return unfold(moved, origin, self.scale, self.middle, state=self.state)

    def mean(self, knots: Tensor) -> Tensor:
        """Integrate quantile functions: (q, y, x) to (y, x)."""
        return (knots * self.shares[:, None, None]).sum(0)

    @staticmethod
    def _pointwise(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if features.device.type == "cpu":
            return functional.linear(features, weight[:, :, 0, 0], bias)
        # on a GPU a convolution: exact_float32 governs those, and not products
        image = functional.conv2d(features.permute(2, 0, 1)[None], weight, bias)
        return image[0].permute(1, 2, 0)
