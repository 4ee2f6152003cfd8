"""ConvLSTM (Shi et al. 2015, arXiv:1506.04214), without peepholes, and the network around it.

Tensors are ``(b, c, y, x)`` per step. Every convolution pads with zeros at
the border of the window it is given, so at a true edge of the cube training
and inference see the same border, and inside the cube the border's influence
ends after the network's reach.

Plain torch makes a pass and a tensor of each operation, and works number by number where a gate's
channels are a part of a channels-last tensor: two thirds of the time of a training step. Here
blocks of pixels that fit the cache are gathered gate by gate, so that every operation runs on
whole vectors. On a GPU and for tensors of other layouts, plain torch computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hmx.networks.base import Body, network
from hmx.networks.dilated import Trunk, describe_trunk, trunk_layers
from hmx.networks.options import ModelOptions
from hmx.networks.part import Piece, convolve
from hmx.networks.stream.graph import CONSTANT, FRAME, Architecture, Layer, Read
from hmx.windows import Window, with_halo

_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input  # into a tensor that is there
_tanh_slope_into = torch.ops.aten.tanh_backward.grad_input
_tanh_slope = torch.ops.aten.tanh_backward.default
_BLOCK = 1 << 18  # numbers of a block: a megabyte of float32, which an L2 cache takes

State = tuple[Tensor, Tensor]  # hidden and cell state of one layer, (b, hidden, y, x) each


def gated(gates: Tensor, cell: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute hidden and cell state of a ConvLSTM from its gates.

    ``gates`` (b, 4 * hidden, y, x) are those of input, forgetting, output and the candidate. A
    ``cell`` (b, hidden, y, x) of ``None`` is zero. Both results are of ``dtype``.
    """
    beside = gates.is_contiguous(memory_format=torch.channels_last)  # channels lie side by side
    if gates.device.type == "cpu" and beside:
        last = None if cell is None else cell.contiguous(memory_format=torch.channels_last)
        found: tuple[Tensor, Tensor] = _Gated.apply(gates, last, dtype)
        return found
    i, f, o, g = gates.to(dtype).chunk(4, dim=1)
    now = torch.sigmoid(i) * torch.tanh(g)
    if cell is not None:
        now = torch.sigmoid(f) * cell + now
    return torch.sigmoid(o) * torch.tanh(now), now


def _pixels(tensor: Tensor) -> Tensor:
    """View a channels-last tensor (b, c, y, x) as (pixels, c)."""
    return tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])


def _like(tensor: Tensor, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Make an empty tensor (b, channels, y, x), channels last, and its view by pixels."""
    b, _, y, x = tensor.shape
    flat = torch.empty((b * y * x, channels), dtype=dtype, device=tensor.device)
    return flat.view(b, y, x, channels).permute(0, 3, 1, 2), flat


def _split(pixels: Tensor, channels: int) -> Sequence[Tensor]:
    """Share pixels, the first dimension, out to blocks that fit the cache with so many channels."""
    # of equal sizes: a short rest would take as many operations as a whole block
    count = max(1, round(len(pixels) * channels / _BLOCK))
    found: Sequence[Tensor] = pixels.split(max(1, -(-len(pixels) // count)))
    return found


class _Gated(Function):
    """All gates of a ConvLSTM; keeps their activations for the way back."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, cell: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        width = gates.shape[1] // 4
        hidden, hidden_px = _like(gates, width, dtype)
        now, now_px = _like(gates, width, dtype)
        before = None if cell is None else _pixels(cell)
        kept = any(ctx.needs_input_grad)
        active: list[Tensor] = []
        tensors = (_pixels(gates).view(-1, 4, width), now_px, hidden_px)
        blocks = [_split(tensor, 4 * width) for tensor in tensors]
        cells = [None] * len(blocks[0]) if before is None else _split(before, 4 * width)
        for found, value, into, last in zip(*blocks, cells, strict=True):
            source = found.transpose(0, 1)  # (gate, pixel, channel)
            part = torch.empty(source.shape, dtype=dtype).copy_(source)
            part[3].mul_(2)
            i, f, o, g = part.sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(i, g, out=value)
            if last is not None:
                value.addcmul_(f, last)
            # from a sigmoid, which costs a third of torch's own hyperbolic tangent
            tangent = value.mul(2).sigmoid_().mul_(2).sub_(1)
            torch.mul(o, tangent, out=into)
            if kept:
                active += [part, tangent]
        ctx.save_for_backward(gates.new_empty(0) if before is None else before, *active)
        ctx.of = gates.dtype, before is not None
        return hidden, now

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        before, *active = ctx.saved_tensors
        dtype, has_cell = ctx.of
        width, last = d_hidden.shape[1], torch.channels_last
        d_gates, d_flat = _like(d_hidden, 4 * width, dtype)
        d_before, d_before_px = _like(d_hidden, width, d_hidden.dtype)
        tensors = (
            _pixels(d_hidden.contiguous(memory_format=last)),
            _pixels(d_cell.contiguous(memory_format=last)),
            d_flat.view(-1, 4, width),
            d_before_px,
        )
        blocks = [_split(tensor, 4 * width) for tensor in tensors]
        cells = _split(before, 4 * width) if has_cell else [None] * len(blocks[0])
        saved = zip(active[::2], active[1::2], cells, strict=True)
        for (up, more, to_gates, to_cell), (part, tangent, was) in zip(
            zip(*blocks, strict=True), saved, strict=True
        ):
            i, f, o, g = part
            through = _tanh_slope(up * o, tangent).add_(more)
            into = torch.empty(part.shape, dtype=up.dtype)
            to_i, to_f, to_o, to_g = into
            _sigmoid_slope(torch.mul(through, g, out=to_i), i, grad_input=to_i)
            if was is None:
                to_f.zero_()
            else:
                _sigmoid_slope(torch.mul(through, was, out=to_f), f, grad_input=to_f)
                torch.mul(through, f, out=to_cell)
            _sigmoid_slope(torch.mul(up, tangent, out=to_o), o, grad_input=to_o)
            _tanh_slope_into(torch.mul(through, i, out=to_g), g, grad_input=to_g)
            to_gates.copy_(into.transpose(0, 1))
        return d_gates, d_before if has_cell else None, None


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
