"""A residual trunk of dilated convolutions: far sight for few operations.

With dilations 1, 2, 4, 8, four 3 x 3 layers see 15 px to each side, and the entry
one more (Yu & Koltun 2016, arXiv:1511.07122; residual connections: He et al. 2016,
doi:10.1109/CVPR.2016.90). No normalisation over pixels: what a pixel gets must not
depend on the tile it is computed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Trunk(nn.Module):
    """Entry convolution and dilated residual layers.

    Parameters
    ----------
    inputs, width : int
        Channels of the input and of all that follows.
    dilations : sequence of int
        One 3 x 3 layer each, px; with none, the entry is 1 x 1 and there is
        nothing else.
    """

    def __init__(self, inputs: int, width: int, dilations: Sequence[int]):
        super().__init__()
        side = 3 if dilations else 1
        self.entry = nn.Conv2d(inputs, width, side, padding=side // 2)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=step, dilation=step) for step in dilations
        )

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        skipped = self.entry.in_channels if self.layers else 0
        return self.entry.out_channels + skipped

    def forward(self, x: Tensor) -> Tensor:
        """Compute features: (b, inputs, y, x) to (b, outputs, y, x).

        Behind the features come the inputs themselves, for what is linear in them.
        Convolutions may run in bfloat16; the stream they add to does not.
        """
        kept = x.dtype
        stream = functional.silu(self.entry(x).to(kept))
        for layer in self.layers:
            stream = stream + functional.silu(layer(stream).to(kept))
        return torch.cat((stream, x), dim=1) if self.layers else stream


def trunk_reach(dilations: Sequence[int]) -> int:
    """Tell how far a trunk sees, px."""
    return sum(dilations) + 1 if dilations else 0


class Stacked(nn.Module):
    """A body that sees all steps of the history at once.

    Parameters
    ----------
    frame, constant : int
        Channels of one step, and of what does not change.
    history : int
        Steps.
    width, dilations : int, sequence of int
        Of the trunk.
    """

    def __init__(
        self, frame: int, constant: int, *, history: int, width: int, dilations: Sequence[int]
    ):
        super().__init__()
        self.history = history
        self.trunk = Trunk(frame * history + constant, width, dilations)

    def see(self, frame: Tensor, constant: Tensor, state: list[Tensor] | None) -> list[Tensor]:
        """Remember a step, (b, frame, y, x), and forget the oldest."""
        return [*(state or ()), frame][-self.history :]

    def features(self, state: list[Tensor], constant: Tensor) -> Tensor:
        """Compute features of what was seen, (b, trunk.outputs, y, x)."""
        missing = self.history - len(state)  # a rehearsal inside the history
        frames = [torch.zeros_like(state[0])] * missing + state
        stacked = torch.cat((*frames, constant), dim=1)
        return self.trunk(stacked.contiguous(memory_format=torch.channels_last))
