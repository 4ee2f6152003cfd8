"""Part: features of a part of a window, from no more pixels than they depend on.

A chip of training carries true pixels around those that are scored. The first layer needs all of
them and the last one none, so each layer computes what the layers after it look at: a quarter less
for chips of 96 px. The results are those of the whole window, to rounding. Where a part touches the
edge of the window, zeros follow, as they do for a window that is computed whole.

Most pixels of a chip are not scored: the border reaches them, they belong to other blocks or have
no data. They need no distribution, and only features that the scored pixels depend on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.inputs import NetworkInputs
from hmx.windows import Span, Window, with_halo


def forecast_pixels(
    network: Forecaster, seen: NetworkInputs, at: Tensor, *, h: int, origin: Tensor
) -> Tensor:
    """Forecast some pixels of one window with a direct network, (1, h, q, 1, n).

    ``at`` (n,) has their numbers, row by row.
    """
    constant, (height, width) = network.constant(seen), seen.past.shape[-2:]
    part = bounding(at, (height, width), rim=reach(network.options, network.leads))
    last = torch.channels_last
    frames = [
        network.past_frame(seen, t).contiguous(memory_format=last)
        for t in range(seen.past.shape[1])
    ]
    features: Tensor = network.body.part(frames, constant, part)
    inside = (at // width - part.y.start) * len(part.x) + at % width - part.x.start
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)  # (pixels, channels)
    flat: Tensor = _PickedRows.apply(rows, inside)
    few = NetworkInputs(*(values.flatten(-2)[..., None, at] for values in seen))
    return network.direct(flat.t()[None, :, None], few, h=h, origin=origin)


class _PickedRows(Function):
    """Some rows, each at most once: their gradients are copied, where torch's own adds them up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, at: Tensor) -> Tensor:
        ctx.count = len(values)
        ctx.save_for_backward(at)
        return values.index_select(0, at)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (at,) = ctx.saved_tensors
        return above.new_zeros((ctx.count, above.shape[1])).index_copy_(0, at, above), None


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


def convolve(
    layer: nn.Conv2d,
    parts: Sequence[Piece],
    want: Window,
    *,
    weight: Tensor | None = None,
    silu: bool = False,
    added: bool = False,
) -> Tensor:
    """Convolve stacked inputs with a square layer of odd side, at the pixels ``want``.

    ``weight`` replaces that of the layer. With ``silu`` the activation follows, in the precision
    of the inputs, and with ``added`` the first input is added to that.
    """
    need, beyond, inside = _surroundings(want, parts[0].shape, radius(layer))
    how = _How(beyond, layer.dilation, silu, inside if added else None)
    kernel = layer.weight if weight is None else weight
    found: Tensor = _Convolved.apply(how, kernel, layer.bias, *(part.crop(need) for part in parts))
    return found


@lru_cache(maxsize=256)  # chips inside a raster are alike
def _surroundings(
    want: Window, shape: tuple[int, int], rim: int
) -> tuple[Window, tuple[int, int, int, int], tuple[slice, slice]]:
    """Return the pixels of a window that a kernel reads, the zeros around, and what is wanted."""
    need = with_halo(want, shape, halo=rim, wraps=False)
    beyond = (
        rim - want.x.start + need.x.start,
        rim - need.x.stop + want.x.stop,
        rim - want.y.start + need.y.start,
        rim - need.y.stop + want.y.stop,
    )
    return need, beyond, want.within(need).slices


class _How(NamedTuple):
    """What a convolution does besides its products."""

    beyond: tuple[int, int, int, int]  # zeros: left, right, top, bottom
    dilation: tuple[int, ...]
    silu: bool
    added: tuple[slice, slice] | None  # pixels of the input that are added to the result


class _Convolved(Function):
    """A convolution with what follows it; inputs without gradients are not derived.

    Of the inputs of a training most are data. Plain torch computes gradients of all channels that
    are stacked in one tensor, and copies gradients of crops and sums.
    """

    @staticmethod
    def forward(ctx: Any, how: _How, weight: Tensor, bias: Tensor | None, *parts: Tensor) -> Tensor:
        kind, full = _kind(parts[0]), parts[0].dtype
        pad, around = how.beyond[0], (0, 0, 0, 0)
        if min(how.beyond) != max(how.beyond):
            pad, around = 0, how.beyond
        source = _stacked(parts, kind, around)
        kernel = weight.to(kind).contiguous(memory_format=torch.channels_last)
        given = None if bias is None else bias.to(kind)
        found = functional.conv2d(source, kernel, given, padding=pad, dilation=how.dilation)
        ctx.how, ctx.pad, ctx.around = how, pad, around
        ctx.inputs = [(part.shape[1], part.dtype) for part in parts]
        ctx.save_for_backward(source, kernel, found if how.silu else None)
        if not how.silu:
            return found
        active = functional.silu(found.to(full), inplace=kind != full)
        return active if how.added is None else active.add_(parts[0][(..., *how.added)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        source, kernel, before = ctx.saved_tensors
        slope, how = above, ctx.how
        if how.silu:
            slope = torch.ops.aten.silu_backward(above, before.to(above.dtype))
        slope = slope.to(kernel.dtype).contiguous(memory_format=torch.channels_last)

        def derived(x: Tensor, w: Tensor, *which: bool) -> Sequence[Tensor]:
            found: Sequence[Tensor] = torch.ops.aten.convolution_backward(
                slope, x, w, [len(w)], [1, 1], [ctx.pad] * 2, how.dilation, False, [0, 0], 1, which
            )
            return found

        _, by_weight, by_bias = derived(source, kernel, False, True, ctx.needs_input_grad[2])
        result: list[Tensor | None] = [None, by_weight, by_bias, *(None for _ in ctx.inputs)]
        wanted = [i for i in range(len(ctx.inputs)) if ctx.needs_input_grad[3 + i]]
        if not wanted:
            return (*result,)
        ends = [0, *accumulate(channels for channels, _ in ctx.inputs)]
        first, last = ends[wanted[0]], ends[wanted[-1] + 1]
        b, _, y, x = source.shape
        like = source.new_empty((b, y, x, last - first)).permute(0, 3, 1, 2)  # its shape counts
        by_source = derived(like, kernel[:, first:last], True, False, False)[0]
        left, right, top, bottom = ctx.around
        by_source = by_source[..., top : y - bottom, left : x - right]
        for i in wanted:
            by_part = by_source[:, ends[i] - first : ends[i + 1] - first].to(ctx.inputs[i][1])
            if i == 0 and how.added is not None:
                by_part[(..., *how.added)] += above
            result[3 + i] = by_part
        return (*result,)


def _kind(x: Tensor) -> torch.dtype:
    """Return the type in which a convolution computes: that of autocast, if it is on."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        found: torch.dtype = torch.get_autocast_dtype(device)
        return found
    return x.dtype


def _stacked(
    parts: Sequence[Tensor], kind: torch.dtype, around: tuple[int, int, int, int]
) -> Tensor:
    """Stack inputs, channels last, with zeros around."""
    last = torch.channels_last
    if len(parts) == 1 and not any(around):
        return parts[0].to(kind).contiguous(memory_format=last)
    left, right, top, bottom = around
    b, _, y, x = parts[0].shape
    shape = (b, top + y + bottom, left + x + right, sum(part.shape[1] for part in parts))
    make = parts[0].new_zeros if any(around) else parts[0].new_empty
    source, at = make(shape, dtype=kind).permute(0, 3, 1, 2), 0
    for part in parts:
        into = source[:, at : at + part.shape[1], top : top + y, left : left + x]
        into.copy_(part)
        at += part.shape[1]
    return source


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


@lru_cache(maxsize=64)
def wanted(part: Window, radii: tuple[int, ...], shape: tuple[int, int]) -> list[Window]:
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
