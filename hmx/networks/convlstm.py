"""ConvLSTM (Shi et al. 2015, arXiv:1506.04214), without peepholes, and the network around it.

Tensors are ``(b, c, y, x)`` per step. Every convolution pads with zeros at
the border of the window it is given, so at a true edge of the cube training
and inference see the same border, and inside the cube the border's influence
ends after the network's reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.networks.base import Body, network
from hmx.networks.dilated import Trunk, describe_trunk, trunk_layers
from hmx.networks.gates import gated
from hmx.networks.options import ModelOptions
from hmx.networks.part import Piece, convolve
from hmx.networks.stream.graph import CONSTANT, FRAME, Architecture, Layer, Read
from hmx.windows import Window, with_halo

State = tuple[Tensor, Tensor]  # hidden and cell state of one layer, (b, hidden, y, x) each


class ConvLSTMCell(nn.Module):
    """One ConvLSTM layer: all four gates from a single convolution."""

    def __init__(self, inputs: int, hidden: int, *, kernel: int = 3, dilation: int = 1):
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.radius = dilation * (kernel // 2)  # px
        self.gates = nn.Conv2d(
            inputs + hidden, 4 * hidden, kernel, padding=self.radius, dilation=dilation
        )
        with torch.no_grad():  # remember by default: the forget gate opens at sigmoid(1) = .73
            self.gates.bias[hidden : 2 * hidden] = 1.0  # type: ignore[index]

    def forward(self, x: Tensor, state: State | None) -> State:
        """Advance one step; ``x`` is (b, inputs, y, x), ``None`` is a zero state."""
        if state is None:  # skip the half of the convolution that would multiply zeros
            weight, conv = self.gates.weight[:, : self.inputs], self.gates
            gates = functional.conv2d(
                x, weight, conv.bias, padding=self.radius, dilation=conv.dilation
            )
        else:
            gates = self.gates(torch.cat((x, state[0]), dim=1))
        # the cell state stays in full precision: it sums over all steps
        return gated(gates, None if state is None else state[1], x.dtype)

    def part(
        self, x: Piece, state: tuple[Piece, Piece] | None, want: Window
    ) -> tuple[Piece, Piece]:
        """Advance one step at the pixels ``want``; ``x`` and the state cover what it looks at."""
        full, weight, cell = x.values.dtype, self.gates.weight, None
        if state is None:
            gates = convolve(self.gates, [x], want, weight=weight[:, : self.inputs])
        else:
            gates = convolve(self.gates, [x, state[0]], want)
            cell = state[1].crop(want)
        hidden, now = (Piece(value, want, x.shape) for value in gated(gates, cell, full))
        return hidden, now


class ConvLSTM(nn.Module):
    """A stack of ConvLSTM layers that carries its state from step to step."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        layers: int = 2,
        kernel: int = 3,
        dilation: Sequence[int] | None = None,
    ):
        super().__init__()
        steps = tuple(dilation or (1,) * layers)
        widths = (inputs, *(hidden,) * (layers - 1))
        self.cells = nn.ModuleList(
            ConvLSTMCell(width, hidden, kernel=kernel, dilation=step)
            for width, step in zip(widths, steps, strict=True)
        )
        self.radii = [step * (kernel // 2) for step in steps]  # px

    def forward(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        """Advance one step: (b, inputs, y, x) to (b, hidden, y, x) and the new states."""
        after: list[State] = []
        for index, cell in enumerate(self.cells):
            state = cell(x, None if states is None else states[index])
            after.append(state)
            x = state[0]
        return x, after

    def part(self, frames: Sequence[Tensor], want: Window) -> Tensor:
        """Return the last layer's state after some steps, (b, hidden, y, x), at some pixels."""
        shape = Piece.whole(frames[0]).shape
        states: list[tuple[Piece, Piece] | None] = [None] * len(self.cells)
        every = steps_wanted(want, len(frames), shape, tuple(self.radii))
        for frame, wants in zip(frames, every, strict=True):
            x = Piece.whole(frame)
            for index, cell in enumerate(self.cells):
                state: tuple[Piece, Piece] = cell.part(x, states[index], wants[index])  # type: ignore[operator]
                states[index], x = state, state[0]
        return x.crop(want)


@lru_cache(maxsize=64)
def steps_wanted(
    want: Window, steps: int, shape: tuple[int, int], radii: tuple[int, ...]
) -> list[list[Window]]:
    """Return what each layer must compute at each step: what it and the next layer look at."""
    rims = [sum(radii[layer + 1 :]) for layer in range(len(radii))]  # at the last step
    found = []
    for _ in range(steps):
        found.append([with_halo(want, shape, halo=rim, wraps=False) for rim in rims])
        # the step before feeds the same layer, and the one above it at the same time
        rims = [rim + own for rim, own in zip(rims, radii, strict=True)]
        for layer in reversed(range(len(rims) - 1)):
            rims[layer] = max(rims[layer], rims[layer + 1] + radii[layer + 1])
    return found[::-1]


@network("convlstm")
class Recurrent(Body):
    """A body that reads the history step by step, and then looks around with a trunk.

    With a trunk, the constant channels enter there; without one, they are part of each step.
    """

    def __init__(self, options: ModelOptions, frame: int, constant: int):
        super().__init__()
        self.core = ConvLSTM(
            frame if options.trunk else frame + constant,
            options.hidden,
            layers=options.layers,
            kernel=options.kernel,
            dilation=options.dilations(),
        )
        width = options.width if options.trunk else options.hidden
        self.trunk = Trunk(options.hidden + frame + constant, width, options.trunk)
        self.outputs = self.trunk.outputs

    def push(
        self, frame: Tensor, constant: Tensor, state: tuple[Tensor, Tensor, list[State]] | None
    ) -> tuple[Tensor, Tensor, list[State]]:
        """Advance by a step, (b, frame, y, x)."""
        x = frame if self.trunk.layers else torch.cat((frame, constant), dim=1)
        hidden, states = self.core(x, None if state is None else state[2])
        return hidden, frame, states

    def features(self, state: tuple[Tensor, Tensor, list[State]], constant: Tensor) -> Tensor:
        """Compute features of the last step, (b, outputs, y, x)."""
        stacked = torch.cat((state[0], state[1], constant), dim=1)
        features: Tensor = self.trunk(stacked.contiguous(memory_format=torch.channels_last))
        return features

    def part(self, frames: Sequence[Tensor], constant: Tensor, part: Window) -> Tensor:
        """Compute features of a part of a window."""
        last, steps = Piece.whole(frames[-1]), frames
        if not self.trunk.layers:
            steps = [torch.cat((frame, constant), dim=1) for frame in frames]
        need = self.trunk.inputs_of(part, last.shape)
        hidden = self.core.part(steps, need)
        inputs = [Piece(hidden, need, last.shape), last, Piece.whole(constant)]
        return self.trunk.partly(inputs, part)

    @staticmethod
    def layers(options: ModelOptions) -> Architecture:
        """Describe the cells, each reading the one below and its own last state, and the trunk."""
        below = (Read(FRAME),) if options.trunk else (Read(FRAME), Read(CONSTANT))
        cells = []
        for index, step in enumerate(options.dilations()):
            name = f"core.cells.{index}.gates"
            cells.append(
                Layer(
                    name, (*below, Read(name, back=1)), options.hidden,
                    kernel=options.kernel, dilation=step, gates=True,
                )
            )  # fmt: skip
            below = (Read(name),)
        trunk = trunk_layers(options, (*below, Read(FRAME), Read(CONSTANT)))
        return Architecture((*cells, *trunk.layers), trunk.features)

    @staticmethod
    def describe(options: ModelOptions) -> list[str]:
        """Return the trunk, and number and size of the cells."""
        size = f"{options.kernel} x {options.kernel}"
        return [*describe_trunk(options), f"{options.layers} x {options.hidden} cells of {size}"]
