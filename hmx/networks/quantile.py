"""Predictive distributions in torch: from a network's raw output to its loss.

A distribution is a quantile function given at fixed probabilities (*knots*), linear
between them and flat beyond the outermost. Its middle is the origin plus a location,
and each further knot a positive gap away, so quantiles cannot cross. All raw numbers start at
zero: an untrained network is a sharp persistence.

Tensors: ``b`` windows, ``h`` leads, ``q`` knots, all ``(..., y, x)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hmx.features.scaling import Scaler
from hmx.networks.base import ForecastSpec
from hmx.uncertainty.distribution import shares

_TINY = 1e-9  # native units: far below any change
_FLAT = 1e-30  # native units: what is divided by in place of nothing
MOST_TILT = 2.0  # largest factor of a tilt
CLOSED = -4.0  # raw gaps are shifted by this much: softplus(-4) = .018 ordinary changes,
_SHUT = 0.009  # and half of that is taken off: a gap can be 0, which a network learns soon


@dataclass(frozen=True)
class TargetScale:
    """Statistics and bounds of the target, native units."""

    mean: float
    std: float
    change: float  # root mean square over one step
    low: float | None = None  # valid range
    high: float | None = None

    @classmethod
    def of(cls, spec: ForecastSpec, scaler: Scaler) -> TargetScale:
        """Collect the target's statistics and bounds."""
        low, high = spec.valid_range or (None, None)
        target = spec.target
        return cls(scaler.mean[target], scaler.std[target], scaler.change[0], low, high)

    def bound(self, values: Tensor) -> Tensor:
        """Clip values to the valid range."""
        if self.low is None and self.high is None:
            return values
        return values.clamp(self.low, self.high)


def parts(raw: Tensor, middle: int) -> Tensor:
    """Turn the raw output of a lead, (..., q, y, x), into a location and gaps, in usual changes.

    The location is at ``middle``, the knot of the median. Parts of several leads add up.
    """
    gaps = (functional.softplus(raw + CLOSED) - _SHUT).relu()
    centre = raw[..., middle : middle + 1, :, :]
    return torch.cat((gaps[..., :middle, :, :], centre, gaps[..., middle + 1 :, :, :]), dim=-3)


def added(total: Tensor, lead: Tensor, middle: int, *, state: bool) -> Tensor:
    """Add the :func:`parts` of the next lead, (..., q, y, x), to those of the leads before.

    Changes and gaps add up; a location that is a ``state`` replaces the one before.
    """
    both = total + lead
    if state:
        both[..., middle, :, :] = lead[..., middle, :, :]
    return both


def unfold(
    total: Tensor, origin: Tensor, scale: TargetScale, middle: int, *, state: bool = False
) -> Tensor:
    """Turn the sum of :func:`parts` over leads, (..., q, y, x), into values of the knots.

    ``origin`` is the last observed state, native units, (..., y, x). The location is the change
    since then, or the ``state`` itself as a z-score. The result is in native units and ascends
    over q.
    """
    centre = total[..., middle : middle + 1, :, :]
    if state:
        centre = (scale.mean + scale.std * centre - origin.unsqueeze(-3)) / scale.change
    residual = offsets(total, middle) + centre
    return scale.bound(origin.unsqueeze(-3) + residual * scale.change)


def offsets(total: Tensor, middle: int) -> Tensor:
    """Add the gaps up, (..., q, y, x): how far each knot is from the location, which is 0 here."""
    below = total[..., :middle, :, :].flip(-3).cumsum(-3).flip(-3)
    above = total[..., middle + 1 :, :, :].cumsum(-3)
    nothing = torch.zeros_like(total[..., :1, :, :])
    return torch.cat((-below, nothing, above), dim=-3)


def tilt(
    values: Tensor,
    origin: Tensor,
    target: Tensor,
    knots: Sequence[float],
    most: Tensor | None = None,
) -> Tensor:
    """Tilt quantile functions, (..., q, y, x), so that their means approach ``target``.

    Values above the origin are stretched by a factor and values below are shrunk by
    it, or the other way round. The factor that gives the target mean is limited to ``most``
    and its inverse. No change stays no change, and quantiles stay in order.
    """
    share = values.new_tensor(shares(knots))[:, None, None]
    limit = values.new_tensor([MOST_TILT]) if most is None else most
    found: Tensor = _Tilt.apply(values, origin, target, share, limit)
    return found


class _Tilt(Function):
    """A tilt; the slopes of its factor follow from the equation that the factor solves."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, origin: Tensor, target: Tensor, share: Tensor, limit: Tensor
    ) -> Tensor:
        start = origin.unsqueeze(-3)
        residual = values - start
        above = residual.relu()
        below = above - residual
        up = (above * share).sum(-3) + _TINY  # a side without values
        down = (below * share).sum(-3) + _TINY  # must keep a gradient
        shift = target - origin
        # factor * up - down / factor = shift, solved without subtracting nearly equal numbers
        ahead = shift >= 0
        both = (shift.square() + 4 * up * down).sqrt() + torch.where(ahead, shift, -shift)
        solved = torch.where(ahead, both / (2 * up), 2 * down / both)
        least = 1 / limit
        factor = solved.clamp(least, limit)
        # the factor moves with the shift by one over this, and not at all at its limits
        steep = torch.where(solved == factor, up + down / factor.square(), torch.inf)
        ctx.save_for_backward(above, below, factor.unsqueeze(-3), steep, share)
        stretch, shrink = factor.unsqueeze(-3), (1 / factor).unsqueeze(-3)
        return torch.addcmul(torch.addcmul(start, above, stretch), below, shrink, value=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        above, below, factor, steep, share = ctx.saved_tensors
        inverse = 1 / factor
        with_factor = torch.addcmul(above, below, inverse.square()).mul_(slope).sum(-3)
        by_target = with_factor / steep
        by_values = torch.addcmul(slope, share, by_target.unsqueeze(-3), value=-1)
        by_values *= torch.where(above > 0, factor, inverse)
        by_origin = None
        if ctx.needs_input_grad[1]:
            by_origin = slope.sum(-3) - by_values.sum(-3) - by_target
        return by_values, by_origin, by_target, None, None


def mean(values: Tensor, knots: Sequence[float]) -> Tensor:
    """Integrate a quantile function: (..., q, y, x) to (..., y, x)."""
    share = values.new_tensor(shares(knots))[:, None, None]
    return (values * share).sum(-3)


def crps(values: Tensor, truth: Tensor, knots: Sequence[float]) -> Tensor:
    """Score quantile functions: the continuous ranked probability score.

    Twice the integral of the pinball loss over all probabilities, in closed form on
    each linear piece (Gneiting & Raftery 2007, doi:10.1198/016214506000001437; Laio &
    Tamea 2007, doi:10.5194/hess-11-1267-2007). From (..., q, y, x), ascending over q, and
    (..., y, x) to (..., y, x), native units; for a point mass, the absolute error.
    """
    found: Tensor = _Crps.apply(values, truth, tuple(knots))
    return found


class _Crps(Function):
    """A score and its slopes at once.

    The score is homogeneous of degree one in the distances of the knots from the truth, so it is
    the sum of each distance times the slope in it (Euler's theorem). A slope is the integral of
    the share of the knot in the value at a probability, times one if that value is above the
    truth, less the probability.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, truth: Tensor, knots: tuple[float, ...]) -> Tensor:
        width, below = (values.new_tensor(numbers)[:, None, None] for numbers in _pieces(knots))
        off = values - truth.unsqueeze(-3)
        low = off[..., :-1, :, :]
        rise = off[..., 1:, :, :] - low
        # the share of a piece, to its end, that lies above the truth: all or nothing of a flat one
        share = low.div(rise.clamp_(min=_FLAT)).add_(1).clamp_(0, 1)
        first, last = off[..., 0, :, :], off[..., -1, :, :]
        slopes = below.expand(off.shape).clone()
        at_end = share * width
        at_start = at_end * share
        slopes[..., :-1, :, :] += at_start
        slopes[..., 1:, :, :] += at_end.mul_(2).sub_(at_start)
        # in the type of the values: a product of truth values and a number is float32
        slopes[..., 0, :, :] += (first > 0).to(off.dtype) * (2 * knots[0])
        slopes[..., -1, :, :] += (last > 0).to(off.dtype) * (2 * (1 - knots[-1]))
        ctx.save_for_backward(slopes)
        return off.mul_(slopes).sum(-3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        by_values = slopes * above.unsqueeze(-3)
        by_truth = -by_values.sum(-3) if ctx.needs_input_grad[1] else None
        return by_values, by_truth, None


@lru_cache(maxsize=16)
def _pieces(knots: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the widths of the pieces between knots, and the slopes of a score below the truth."""
    p = np.array(knots)
    width, slopes = np.diff(p), np.zeros(len(p))
    slopes[:-1] -= width * (p[:-1] + width / 3)
    slopes[1:] -= width * (p[:-1] + width * 2 / 3)
    slopes[0] -= p[0] ** 2
    slopes[-1] -= (1 - p[-1]) * (1 + p[-1])
    return tuple(width.tolist()), tuple(slopes.tolist())
