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

import torch
from torch import Tensor
from torch.nn import functional

from hmx.features.scaling import Scaler
from hmx.networks.base import ForecastSpec
from hmx.uncertainty.distribution import shares

_TINY = 1e-9  # native units: far below any change
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
    origin = origin.unsqueeze(-3)
    residual = values - origin
    above = residual.relu()
    below = above - residual
    up = (above * share).sum(-3) + _TINY  # a side without values
    down = (below * share).sum(-3) + _TINY  # must keep a gradient
    shift = target - origin.squeeze(-3)
    # factor * up - down / factor = shift, solved without subtracting nearly equal numbers
    ahead = shift >= 0
    both = (shift.square() + 4 * up * down).sqrt() + torch.where(ahead, shift, -shift)
    factor = torch.where(ahead, both / (2 * up), 2 * down / both)
    limit = values.new_tensor([MOST_TILT]) if most is None else most
    factor = factor.clamp(1 / limit, limit).unsqueeze(-3)
    return torch.addcmul(torch.addcmul(origin, above, factor), below, 1 / factor, value=-1)


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
    p = values.new_tensor(knots)[:, None, None]
    off = values - truth.unsqueeze(-3)
    low, high = off[..., :-1, :, :], off[..., 1:, :, :]
    start, width, rise = p[:-1], p[1:] - p[:-1], high - low
    # the share of a piece, from its start, that lies below the truth
    flat = rise <= 0
    below = torch.where(flat, (low < 0).to(low.dtype), -low / torch.where(flat, 1, rise))
    below = below.clamp(0, 1)
    above = low * (1 - below) + rise * (1 - below.square()) / 2
    weighted = start * (low + rise / 2) + width * (low / 2 + rise / 3)
    inner = (2 * width * (above - weighted)).sum(-3)
    first, last = off[..., 0, :, :], off[..., -1, :, :]
    p0, p1 = knots[0], 1 - knots[-1]
    tails = 2 * first.relu() * p0 - first * p0**2
    tails = tails + 2 * last.relu() * p1 - last * p1 * (2 - p1)
    return inner + tails
