"""ConvLSTM core (Shi et al. 2015, arXiv:1506.04214), without peepholes.

Tensors are ``(b, c, y, x)`` per step. Every convolution pads with zeros at
the border of the window it is given, so at a true edge of the cube training
and inference see the same border, and inside the cube the border's influence
ends after :meth:`ConvLSTM.reach` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.networks.dilated import Trunk

State = tuple[Tensor, Tensor]


class ConvLSTMCell(nn.Module):
    """One ConvLSTM layer: all four gates from a single convolution.

    Parameters
    ----------
    inputs, hidden : int
        Channels of the input and of the hidden and cell states.
    kernel : int
        Odd size of the square kernel, px.
    dilation : int
        Spacing of the kernel's taps, px.
    """

    def __init__(self, inputs: int, hidden: int, *, kernel: int = 3, dilation: int = 1):
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.radius = dilation * (kernel // 2)
        self.gates = nn.Conv2d(
            inputs + hidden, 4 * hidden, kernel, padding=self.radius, dilation=dilation
        )
        with torch.no_grad():  # remember by default: forget gate opens at sigmoid(1) = .73
            self.gates.bias[hidden : 2 * hidden] = 1.0  # type: ignore[index]

    def forward(self, x: Tensor, state: State | None) -> State:
        """Advance one step; ``x`` is (b, inputs, y, x), ``None`` is a zero state."""
        gates = self._first(x) if state is None else self.gates(torch.cat((x, state[0]), dim=1))
        i, f, o, g = gates.to(x.dtype).chunk(4, dim=1)  # the cell state stays in full precision
        cell = torch.sigmoid(i) * torch.tanh(g)
        if state is not None:
            cell = torch.sigmoid(f) * state[1] + cell
        return torch.sigmoid(o) * torch.tanh(cell), cell

    def _first(self, x: Tensor) -> Tensor:
        """Skip the half of the convolution that would multiply a zero state."""
        conv = self.gates
        weight = conv.weight[:, : self.inputs]
        return functional.conv2d(x, weight, conv.bias, padding=self.radius, dilation=conv.dilation)


class ConvLSTM(nn.Module):
    """A stack of ConvLSTM layers that carries its state from step to step.

    Parameters
    ----------
    inputs, hidden : int
        Channels of one input step and of each layer's state.
    layers : int
        Number of stacked cells.
    kernel : int
        Odd kernel size, px.
    dilation : sequence of int, optional
        One dilation per layer; default all 1.
    """

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

    def forward(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        """Advance one step: (b, inputs, y, x) to (b, hidden, y, x) and the new states."""
        after: list[State] = []
        for index, cell in enumerate(self.cells):
            state = cell(x, None if states is None else states[index])
            after.append(state)
            x = state[0]
        return x, after


class Recurrent(nn.Module):
    """A body that is shown the history step by step, and then looks around.

    Parameters
    ----------
    frame, constant : int
        Channels of one step, and of what does not change. With a trunk, the
        constant channels enter there; without one, they are part of each step.
    core : ConvLSTM
        Reads the steps; ``frame`` channels, or with the constant ones.
    hidden, width : int
        Channels of its state and of the trunk.
    dilations : sequence of int
        Of the trunk; none leaves one 1 x 1 layer.
    """

    def __init__(
        self,
        frame: int,
        constant: int,
        *,
        core: ConvLSTM,
        hidden: int,
        width: int,
        dilations: Sequence[int],
    ):
        super().__init__()
        self.core = core
        self.trunk = Trunk(hidden + frame + constant, width, dilations)

    def see(
        self, frame: Tensor, constant: Tensor, state: tuple[Tensor, Tensor, list[State]] | None
    ) -> tuple[Tensor, Tensor, list[State]]:
        """Advance by a step, (b, frame, y, x)."""
        shown = frame if self.trunk.layers else torch.cat((frame, constant), dim=1)
        hidden, states = self.core(shown, None if state is None else state[2])
        return hidden, frame, states

    def features(self, state: tuple[Tensor, Tensor, list[State]], constant: Tensor) -> Tensor:
        """Compute features of the last step, (b, trunk.outputs, y, x)."""
        seen = torch.cat((state[0], state[1], constant), dim=1)
        return self.trunk(seen.contiguous(memory_format=torch.channels_last))
