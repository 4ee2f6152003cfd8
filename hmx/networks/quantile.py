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
MOST_TILT = 2.0
CLOSED = -4.0  # raw gaps are shifted by this much: softplus(-4) = .018 ordinary changes,
_SHUT = 0.009  # and half of that is taken off: a gap can be none, and a network learns it soon


@dataclass(frozen=True)
class TargetScale:
    """What the network must know of the target's units.

    Parameters
    ----------
    mean, std : float
        Of values, native units.
    change : float
        Root mean square change over one step, native units.
    low, high : float, optional
        Valid range, native units.
    """

    mean: float
    std: float
    change: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, spec: ForecastSpec, scaler: Scaler) -> TargetScale:
        """Collect the target's statistics and bounds."""
        low, high = spec.valid_range or (None, None)
        target = spec.target
        return cls(scaler.mean[target], scaler.std[target], scaler.change[0], low, high)

    def bound(self, values: Tensor) -> Tensor:
        """Keep values to the valid range."""
        if self.low is None and self.high is None:
            return values
        return values.clamp(self.low, self.high)


def parts(raw: Tensor, middle: int) -> Tensor:
    """Turn one lead's raw output into a location and gaps, in ordinary changes.

    Parameters
    ----------
    raw : Tensor
        (..., q, y, x), the location at ``middle``.
    middle : int
        Knot of the median.

    Returns
    -------
    Tensor
        Likewise; leads' parts add up.
    """
    gaps = (functional.softplus(raw + CLOSED) - _SHUT).relu()
    centre = raw[..., middle : middle + 1, :, :]
    return torch.cat((gaps[..., :middle, :, :], centre, gaps[..., middle + 1 :, :, :]), dim=-3)


def unfold(total: Tensor, origin: Tensor, scale: TargetScale, middle: int) -> Tensor:
    """Turn summed parts into the values of the knots.

    Parameters
    ----------
    total : Tensor
        Sum over the leads so far of :func:`parts`, (..., q, y, x).
    origin : Tensor
        Last observed state, native units, (..., y, x).
    scale : TargetScale
        Units and valid range.
    middle : int
        Knot of the median.

    Returns
    -------
    Tensor
        Native units, (..., q, y, x), ascending over q.
    """
    centre = total[..., middle : middle + 1, :, :]
    below = total[..., :middle, :, :].flip(-3).cumsum(-3).flip(-3)
    above = total[..., middle + 1 :, :, :].cumsum(-3)
    residual = torch.cat((centre - below, centre, centre + above), dim=-3)
    return scale.bound(origin.unsqueeze(-3) + residual * scale.change)


def tilt(
    values: Tensor,
    origin: Tensor,
    target: Tensor,
    knots: Sequence[float],
    most: Tensor | None = None,
) -> Tensor:
    """Tilt quantile functions so that their means come near a target.

    What lies above the origin is stretched by a factor and what lies below shrunk by
    it, or the other way round: the one factor, within bounds, that does it. No change
    stays no change, and quantiles stay in order.

    Parameters
    ----------
    values : Tensor
        Native units, (..., q, y, x).
    origin, target : Tensor
        Last observed state and wanted mean, native units, (..., y, x).
    knots : sequence of float
        Probabilities, (q,).
    most : Tensor, optional
        Largest factor, and its inverse the least. Default: 2.
    """
    share = values.new_tensor(shares(knots))[:, None, None]
    residual = values - origin.unsqueeze(-3)
    up = (residual.relu() * share).sum(-3) + _TINY  # so that a side without values
    down = ((-residual).relu() * share).sum(-3) + _TINY  # still says which way to go
    shift = target - origin
    # factor * up - down / factor = shift, solved without taking like from like
    ahead = shift >= 0
    both = (shift.square() + 4 * up * down).sqrt() + torch.where(ahead, shift, -shift)
    factor = torch.where(ahead, both / (2 * up), 2 * down / both)
    limit = values.new_tensor([MOST_TILT]) if most is None else most
    factor = factor.clamp(1 / limit, limit).unsqueeze(-3)
    return origin.unsqueeze(-3) + residual.relu() * factor - (-residual).relu() / factor


def mean(values: Tensor, knots: Sequence[float]) -> Tensor:
    """Integrate a quantile function: (..., q, y, x) to (..., y, x)."""
    share = values.new_tensor(shares(knots))[:, None, None]
    return (values * share).sum(-3)


def crps(values: Tensor, truth: Tensor, knots: Sequence[float]) -> Tensor:
    """Score quantile functions: the continuous ranked probability score.

    Twice the integral of the pinball loss over all probabilities, in closed form on
    each linear piece (Gneiting & Raftery 2007, doi:10.1198/016214506000001437; Laio &
    Tamea 2007, doi:10.5194/hess-11-1267-2007).

    Parameters
    ----------
    values : Tensor
        Native units, (..., q, y, x), ascending over q.
    truth : Tensor
        Native units, (..., y, x).
    knots : sequence of float
        Probabilities, (q,).

    Returns
    -------
    Tensor
        Native units, (..., y, x), at least 0; the absolute error of a point mass.
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
