"""Part: features of a part of a window, from no more pixels than they depend on.

A chip of training carries true pixels around those that are scored. The first layer needs all of
them and the last one none, so each layer computes what the layers after it look at: a quarter less
for chips of 96 px. The results are those of the whole window, to rounding. Where a part touches the
edge of the window, zeros follow, as they do for a window that is computed whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hmx.windows import Span, Window, with_halo


@dataclass(frozen=True)
class Piece:
    """Values (b, c, y, x) at the pixels ``at`` of a window of ``shape``."""

    values: Tensor
    at: Window
    shape: tuple[int, int]

    @classmethod
    def whole(cls, values: Tensor) -> Piece:
        """Take the values of a whole window."""
        y, x = values.shape[-2:]
        return cls(values, Window.of((y, x)), (y, x))

    def crop(self, want: Window) -> Tensor:
        """Return the values at fewer pixels."""
        if want == self.at:
            return self.values
        found: Tensor = _Crop.apply(self.values, *want.within(self.at).slices)
        return found

    def convolved(self, layer: nn.Conv2d, want: Window, weight: Tensor | None = None) -> Tensor:
        """Convolve with a square layer of odd side, or its ``weight``, at the pixels ``want``."""
        rim = radius(layer)
        need = with_halo(want, self.shape, halo=rim, wraps=False)
        beyond = [  # rows and columns of zeros: left, right, top, bottom
            rim - want.x.start + need.x.start,
            rim - need.x.stop + want.x.stop,
            rim - want.y.start + need.y.start,
            rim - need.y.stop + want.y.stop,
        ]
        source, pad = self.crop(need), 0
        if min(beyond) == max(beyond):
            pad = beyond[0]
        else:
            source = functional.pad(source, beyond)
        kernel = layer.weight if weight is None else weight
        step = layer.dilation
        return functional.conv2d(source, kernel, layer.bias, padding=pad, dilation=step)


class _Crop(Function):
    """A crop whose gradient keeps channels side by side: torch's own does not, and is slow then."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: slice, columns: slice) -> Tensor:
        ctx.shape, ctx.at = values.shape, (rows, columns)
        return values[..., rows, columns]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        b, c, y, x = ctx.shape
        whole = above.new_zeros((b, y, x, c)).permute(0, 3, 1, 2)
        whole[(..., *ctx.at)] = above
        return whole, None, None


def radius(layer: nn.Conv2d) -> int:
    """Return how far a layer looks, px."""
    return int(layer.dilation[0]) * (layer.kernel_size[0] // 2)


def wanted(part: Window, radii: Sequence[int], shape: tuple[int, int]) -> list[Window]:
    """Return the pixels that each of some layers must compute for a part of the last one."""
    found = [part]
    for rim in reversed(radii[1:]):
        found.append(with_halo(found[-1], shape, halo=rim, wraps=False))
    return found[::-1]


def bounding(at: Tensor, shape: tuple[int, int], *, rim: int) -> Window:
    """Bound pixels, numbered row by row, by a window that ends a rim from the edge, or at it.

    Of other sides there would be many, and each would be prepared for anew.
    """
    spans = []
    for numbers, size in zip((at // shape[1], at % shape[1]), shape, strict=True):
        first, last = int(numbers.min()), int(numbers.max())
        spans.append(Span(rim if first >= rim else 0, size - rim if last < size - rim else size))
    return Window(*spans)
