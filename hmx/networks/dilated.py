"""A residual trunk of dilated convolutions: a wide view for few operations.

With dilations 1, 2, 4, 8, four 3 x 3 layers see 15 px to each side, and the entry
one more (Yu & Koltun 2016, arXiv:1511.07122; residual connections: He et al. 2016,
doi:10.1109/CVPR.2016.90). There is no normalisation over pixels: the result at a pixel must
not depend on the tile it is computed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmx.networks.base import Body, network
from hmx.networks.options import ModelOptions
from hmx.networks.part import Piece, convolve, radius, wanted
from hmx.networks.stream.graph import CONSTANT, FRAME, Architecture, Layer, Read
from hmx.windows import Window, with_halo


class Trunk(nn.Module):
    """Entry convolution and dilated residual layers.

    Without dilations, the entry is 1 x 1 and the only layer.
    """

    def __init__(self, inputs: int, width: int, dilations: Sequence[int]):
        super().__init__()
        side = 3 if dilations else 1
        self.entry = nn.Conv2d(inputs, width, side, padding=side // 2)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=step, dilation=step) for step in dilations
        )

    @property
    def radii(self) -> tuple[int, ...]:
        """How far each layer looks, px."""
        return tuple(radius(layer) for layer in (self.entry, *self.layers))

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        # the inputs are appended, so that the head can be linear in them
        return self.entry.out_channels + (self.entry.in_channels if self.layers else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features: (b, inputs, y, x) to (b, outputs, y, x)."""
        # Convolutions may run in bfloat16. The residual sum does not: its rounding errors
        # would add up over the layers.
        full = x.dtype
        stream = functional.silu(self.entry(x).to(full))
        for layer in self.layers:
            stream = stream + functional.silu(layer(stream).to(full))
        return torch.cat((stream, x), dim=1) if self.layers else stream

    def inputs_of(self, part: Window, shape: tuple[int, int]) -> Window:
        """Return the pixels of the input that features of a part depend on."""
        first = wanted(part, self.radii, shape)[0]
        return with_halo(first, shape, halo=self.radii[0], wraps=False)

    def partly(self, inputs: Sequence[Piece], part: Window) -> Tensor:
        """Compute the features of a part of a window, whose channels are those of some inputs."""
        shape = inputs[0].shape
        wants = wanted(part, self.radii, shape)
        stream = Piece(convolve(self.entry, inputs, wants[0], silu=True), wants[0], shape)
        for layer, want in zip(self.layers, wants[1:], strict=True):
            assert isinstance(layer, nn.Conv2d)
            values = convolve(layer, [stream], want, silu=True, added=True)
            stream = Piece(values, want, shape)
        if not self.layers:
            return stream.values
        return torch.cat((stream.values, *(piece.crop(part) for piece in inputs)), dim=1)


def trunk_layers(options: ModelOptions, inputs: tuple[Read, ...]) -> Architecture:
    """Describe the trunk of a network."""
    if not options.trunk:  # the 1 x 1 entry is as wide as the ConvLSTM's state
        entry = Layer("trunk.entry", inputs, options.hidden, kernel=1)
        return Architecture((entry,), (Read(entry.name),))
    layers = [Layer("trunk.entry", inputs, options.width, sums="trunk")]
    for index, step in enumerate(options.trunk):
        before = (Read(layers[-1].name),)
        name = f"trunk.layers.{index}"
        layers.append(Layer(name, before, options.width, dilation=step, sums="trunk"))
    return Architecture(tuple(layers), (Read(layers[-1].name), *inputs))


class Stacked(Body):
    """A body that sees all steps of the history at once.

    Parameters
    ----------
    history : int
        Steps.
    trunk : Module
        From (b, history * frame + constant, y, x) to (b, trunk.outputs, y, x).
    """

    def __init__(self, history: int, trunk: nn.Module):
        super().__init__()
        self.history = history
        self.trunk = trunk
        self.outputs = int(trunk.outputs)  # type: ignore[arg-type]

    def push(self, frame: Tensor, constant: Tensor, state: list[Tensor] | None) -> list[Tensor]:
        """Append a step, (b, frame, y, x), and drop the oldest."""
        return [*(state or ()), frame][-self.history :]

    def features(self, state: list[Tensor], constant: Tensor) -> Tensor:
        """Compute features of the last steps, (b, outputs, y, x)."""
        # a one-step forecast inside the history has fewer steps before it
        missing = self.history - len(state)
        frames = [torch.zeros_like(state[0])] * missing + state
        stacked = torch.cat((*frames, constant), dim=1)
        features: Tensor = self.trunk(stacked.contiguous(memory_format=torch.channels_last))
        return features

    def part(self, frames: Sequence[Tensor], constant: Tensor, part: Window) -> Tensor:
        """Compute the features of a part, with a trunk that can; else of all, and crop."""
        if not isinstance(self.trunk, Trunk):
            return super().part(frames, constant, part)
        missing = self.history - len(frames)
        stacked = torch.cat((*[torch.zeros_like(frames[0])] * missing, *frames, constant), dim=1)
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        return self.trunk.partly([Piece.whole(stacked)], part)


@network("dilated")
class Dilated(Stacked):
    """All steps of the history at once through a dilated trunk."""

    needs_trunk = True

    def __init__(self, options: ModelOptions, frame: int, constant: int):
        inputs = frame * options.past_steps + constant
        super().__init__(options.past_steps, Trunk(inputs, options.width, options.trunk))

    @staticmethod
    def layers(options: ModelOptions) -> Architecture:
        """Describe the trunk on all frames of the history."""
        frames = (Read(FRAME, back) for back in reversed(range(options.past_steps)))
        return trunk_layers(options, (*frames, Read(CONSTANT)))

    @staticmethod
    def describe(options: ModelOptions) -> list[str]:
        """Return width and dilations."""
        return describe_trunk(options)


def describe_trunk(options: ModelOptions) -> list[str]:
    """Return width and dilations of a trunk, for ``hmx info``."""
    layers = ", ".join(map(str, options.trunk))
    return [f"{options.width} wide, 3 x 3 layers dilated by {layers}"] if layers else []
