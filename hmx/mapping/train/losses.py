"""Losses of the map job: one number for a batch, in the network's units.

================  ==================================================================
``l1``, ``mse``   mean absolute, mean squared error
``huber``         squared up to one standard deviation, absolute beyond (Huber 1964)
``quantile``      CRPS of a quantile head
``composite_l1``  ``alpha * l1 + (1 - alpha) * chi2``
``composite_l2``  ``alpha * mse + (1 - alpha) * chi2``
================  ==================================================================

``chi2`` is the mean of ``((prediction - truth) / sigma)^2``, the reduced chi-squared of
least squares with known errors (Bevington & Robinson 2003, *Data Reduction and Error
Analysis for the Physical Sciences*, ch. 4). The error of a measurement grows with its
size (:func:`hmx.mapping.target.error_of`), so ``sigma`` differs between samples, and
chi-squared weighs other samples than the squared error does: a composite is not a
multiple of one of its parts, and neither is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hmx.mapping.options import MapTrainOptions, loss_of
from hmx.networks.options import MapperOptions
from hmx.networks.quantile import crps

# predictions (n, q), truths (n,) and their standard errors (n,), in the network's units
Scorer = Callable[[Tensor, Tensor, Tensor], Tensor]

_PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}


def chi_squared(predicted: Tensor, truth: Tensor, sigma: Tensor) -> Tensor:
    """Compute the mean squared error in standard errors of the measurements."""
    return ((predicted - truth) / sigma).square().mean()


def scorer(network: MapperOptions, fit: MapTrainOptions) -> Scorer:
    """Choose the loss of a network; raise :class:`BadArgument` if they do not fit."""
    name, alpha = loss_of(network, fit), fit.alpha
    if name == "quantile":
        # crps takes maps, (n, q, y, x): a sample is a map of one pixel
        return lambda p, y, _: crps(p[..., None, None], y[:, None, None], network.knots).mean()
    base = _PLAIN[name.removeprefix("composite_")]
    if not name.startswith("composite_"):
        return lambda p, y, _: base(p[:, 0], y)
    return lambda p, y, sigma: (
        alpha * base(p[:, 0], y) + (1 - alpha) * chi_squared(p[:, 0], y, sigma)
    )


def score(loss: Scorer, predicted: Tensor, truth: Tensor, sigma: Tensor) -> float:
    """Apply a loss without gradients."""
    with torch.no_grad():
        return float(loss(predicted, truth, sigma))
