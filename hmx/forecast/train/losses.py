"""Losses of the forecaster: what a network is trained for, pixel by pixel.

A distribution is scored by its CRPS. One number is scored by its squared error as a z-score,
alone or with the structural dissimilarity of its surroundings.

A batch whose chips are computed one after another needs the memory of one, which stays in the
cache, and each chip can be computed by a thread of its own (:func:`hmx.hardware.in_threads`).
The gradients are added in the order of the parts, so weights do not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hmx.errors import BadArgument
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.data import Batch
from hmx.hardware import in_threads, with_threads
from hmx.networks.forecaster import Forecaster
from hmx.networks.options import ModelOptions
from hmx.networks.part import forecast_pixels
from hmx.networks.quantile import crps, mean
from hmx.scores.structure import HALO

HISTORY_LOSS_WEIGHT = 1.0  # weight of one-step forecasts inside the history; a lead has 1
_SIDE = 2 * HALO["uniform"] + 1  # px: the window of the SSIM that scorecards have
_C1, _C2 = 0.01**2, 0.03**2  # of Wang et al. 2004, for values whose range is 1


class Share(NamedTuple):
    """What some windows add to the loss of a batch, and to the gradients of parameters."""

    loss: Tensor
    gradients: Sequence[Tensor | None] = ()


class _Summed(Function):
    """A sum whose gradients have been computed with it."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, gradients: Sequence[Tensor], *of: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradient * above for gradient in ctx.saved_tensors)


def summed(shares: Iterable[Share], parameters: Sequence[Tensor]) -> Tensor:
    """Add up losses and their gradients, in the order of the shares."""
    total, gradients = torch.zeros(()), [torch.zeros_like(each) for each in parameters]
    for share in shares:
        total = total + share.loss
        for kept, more in zip(gradients, share.gradients, strict=False):
            if more is not None:
                kept += more
    found: Tensor = _Summed.apply(total, gradients, *parameters)
    return found


@dataclass(frozen=True)
class Criterion:
    """What the error of a pixel is; see :class:`hmx.forecast.options.TrainOptions`."""

    loss: str = "crps"
    squared: float = 0.0  # weight of the squared error of the mean, beside the CRPS
    ssim: float = 0.0  # weight of the structural dissimilarity, beside the squared error

    @classmethod
    def of(cls, options: TrainOptions) -> Criterion:
        """Read the criterion of a fit."""
        return cls(
            options.loss,
            options.squared if options.loss == "crps" else 0.0,
            options.ssim if options.loss == "mse+ssim" else 0.0,
        )

    @property
    def figure(self) -> str:
        """Score, relative to persistence, that chooses the best weights."""
        return "crps" if self.loss == "crps" else "rmse"

    def errors(
        self, network: Forecaster, knots: Tensor, truth: Tensor, weight: Tensor, size: Tensor
    ) -> Tensor:
        """Score forecasts, (..., q, y, x), pixel by pixel: (..., y, x).

        ``size``, which broadcasts to them, is the usual change of the steps that are forecast.
        Pixels without a ``weight`` have no truth.
        """
        if self.loss == "crps":
            error = crps(knots, truth, network.knots) / size
            if not self.squared:
                return error
            return error + self.squared * ((mean(knots, network.knots) - truth) / size).square()
        scale, value = network.scale, mean(knots, network.knots)
        error = ((value - truth) / scale.std).square()
        if not self.ssim:
            return error
        span = scale.std
        if scale.low is not None and scale.high is not None:
            span = scale.high - scale.low
        like = similarity(truth, value, weight > 0, middle=scale.mean, span=span)
        return error + self.ssim * (1 - like)


def require_criterion(fit: TrainOptions, network: ModelOptions) -> None:
    """Refuse a loss of one number for a network of distributions."""
    if fit.loss == "crps" or network.point:
        return
    raise BadArgument(
        f"loss={fit.loss!r} trains one number, and this network gives {len(network.knots)} "
        "quantiles, of which it would train none. Pass knots=[] for one number, whose intervals "
        "come from its errors on the calibration blocks, or loss='crps'."
    )


def loss(
    network: Forecaster, batch: Batch, sizes: Tensor, criterion: Criterion = Criterion()
) -> Tensor:
    """Sum the errors of all leads, weighted by area, in units of the usual change of their steps.

    ``sizes`` (time, lead) has the usual change from each step of the training data. Steps differ in
    size more than in kind, so each counts alike, as it does for the anchor
    (:mod:`hmx.forecast.train.rungs`): otherwise intervals are those of the few steps in which most
    changed.

    The squared error of the mean can be added to the CRPS, which depends little on
    the tails of a distribution: where a distribution is mostly "no change", its mean
    is made of its tails.
    """
    if batch.truth.device.type != "cpu":
        return whole(network, batch, sizes, criterion)
    # on a CPU one by one, and as many at the same time as there are threads
    with with_threads(1):
        counts = Counts.of(batch)
    parameters = [each for each in network.parameters() if each.requires_grad]
    # precision as the thread of the caller has it: others have settings of their own
    half, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    precision = partial(torch.autocast, "cpu", enabled=half, dtype=kind, cache_enabled=False)
    share = partial(_share, network, sizes, criterion, counts, parameters, precision)
    chips = [batch.window(index) for index in range(len(batch.truth))]
    shares = list(in_threads(share, chips))
    return summed(shares, parameters)


def whole(network: Forecaster, batch: Batch, sizes: Tensor, criterion: Criterion) -> Tensor:
    """Return the loss of a batch that is computed at once, as a GPU does."""
    return _share(network, sizes, criterion, Counts.of(batch), (), nullcontext, batch).loss


class Counts(NamedTuple):
    """Pixels of a batch by which its errors are divided."""

    # Each lead is divided by the pixel count of the lead that has the largest one: a far
    # lead with few truths then weighs no more than its pixels.
    lead: Tensor
    history: list[Tensor]  # of each step inside the history

    @classmethod
    def of(cls, batch: Batch) -> Counts:
        """Count the scored pixels of a batch."""
        valid = batch.seen.valid
        history = [
            (batch.inner * valid[:, step] * valid[:, step + 1] > 0).sum().clamp(min=1)
            for step in range(valid.shape[1] - 1)
        ]
        return cls((batch.weight > 0).sum(dim=(0, 2, 3)).max().clamp(min=1), history)


def _share(
    network: Forecaster,
    sizes: Tensor,
    criterion: Criterion,
    counts: Counts,
    parameters: Sequence[Tensor],
    precision: Callable[[], AbstractContextManager[Any]],
    batch: Batch,
) -> Share:
    """Return what some windows of a batch, whose pixels are counted, add to its loss."""
    known = (batch.weight > 0).any(dim=-1).any(dim=-1).any(dim=0)
    h = int(known.nonzero().max()) + 1 if known.any() else 1  # leads with truth
    past, valid = batch.seen.past, batch.seen.valid
    last = batch.origin.long() + past.shape[1] - 1  # number of the origin's step
    size = sizes[last, :h, None, None]  # (b, h, 1, 1)
    few = network.options.strategy == "direct" and not criterion.ssim and len(batch.truth) == 1
    inside: list[Tensor] = []  # one-step forecasts of a recursive network inside the history
    truth, weight = batch.truth[:, :h], batch.weight[:, :h]
    with precision():
        if few:
            at = (batch.weight[0] > 0).any(dim=0).flatten().nonzero()[:, 0]
            if not len(at):
                return Share(batch.truth.new_zeros(()))
            leads = forecast_pixels(network, batch.seen, at, h=h, origin=batch.origin)
            truth, weight = (part.flatten(-2)[..., None, at] for part in (truth, weight))
        else:
            crop, origin = batch.scored_area(), batch.origin
            leads, inside = network.one_step_forecasts(batch.seen, h=h, crop=crop, origin=origin)
            truth, weight = truth[(..., *crop)], weight[(..., *crop)]
        total = (criterion.errors(network, leads, truth, weight, size) * weight).sum() / counts.lead
        for step, ahead in enumerate(inside):
            weight = batch.inner * valid[:, step] * valid[:, step + 1]
            size = sizes[batch.origin.long() + step, 0, None, None]  # (b, 1, 1)
            error = criterion.errors(network, ahead, past[:, step + 1], weight, size) * weight
            total = total + HISTORY_LOSS_WEIGHT * error.sum() / counts.history[step]
    if not parameters or not total.requires_grad:
        return Share(total)
    return Share(total.detach(), torch.autograd.grad(total, parameters, allow_unused=True))


def similarity(
    truth: Tensor, value: Tensor, known: Tensor, *, middle: float, span: float
) -> Tensor:
    """Compare the surroundings of each pixel in two maps, (..., y, x): 1 where they are alike.

    The SSIM of Wang et al. (2004, doi:10.1109/TIP.2003.819861) on squares of 7 x 7 px, of which
    only ``known`` pixels count, as :func:`hmx.scores.ssim_map` has it. ``span`` is the range of
    possible values. A ``middle`` near the values keeps the digits of their variances.
    """
    shape, counted = truth.shape, known.to(truth.dtype)
    share = _blur(counted).clamp(min=1e-6)
    x, y = ((part - middle) / span * counted for part in (truth, value))
    mean_x, mean_y = _blur(x) / share, _blur(y) / share
    spread = (_blur(x * x + y * y) / share - mean_x**2 - mean_y**2).clamp(min=0)
    shared = _blur(x * y) / share - mean_x * mean_y
    mean_x, mean_y = mean_x + middle / span, mean_y + middle / span
    like = (2 * mean_x * mean_y + _C1) * (2 * shared + _C2)
    like = like / ((mean_x**2 + mean_y**2 + _C1) * (spread + _C2))
    return torch.where(known, like, 1.0).reshape(shape)


def _blur(values: Tensor) -> Tensor:
    """Average squares of pixels, zeros beyond the edge: (..., y, x) to the same."""
    flat = values.reshape(-1, 1, *values.shape[-2:])
    mixed = functional.avg_pool2d(flat, _SIDE, stride=1, padding=_SIDE // 2)
    return mixed.reshape(values.shape)
