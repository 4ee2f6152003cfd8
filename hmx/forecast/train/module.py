"""The LightningModule: losses, optimizer and validation; no files and no plots."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from hmx.errors import TrainingFailed
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.data import Batch, Chips, Draw, HeldOutWindows, Reader
from hmx.forecast.train.judge import ValidationScores
from hmx.networks.forecaster import Forecaster, channels_last
from hmx.networks.quantile import crps, mean
from hmx.splits import VALIDATION

HISTORY_LOSS_WEIGHT = 1.0  # weight of one-step forecasts inside the history; a lead has 1
_MAX_VALIDATION = 24  # windows scored after each epoch: a fifth of its work
_WARM = 50  # steps in which the learning rate rises


class Fit(pl.LightningModule):
    """Train a network on chips, and score it on the validation blocks after each epoch."""

    def __init__(self, network: Forecaster, reader: Reader, options: TrainOptions, draw: Draw):
        super().__init__()
        self.network = channels_last(network)
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
            if options.ema
            else None
        )
        if self.average is not None:
            # otherwise, distributed processes wait for gradients that never come
            self.average.requires_grad_(False)
        self.reader, self.options, self.draw = reader, options, draw
        self.judge = ValidationScores(reader)
        self.chips: Chips | None = None

    @property
    def best(self) -> Forecaster:
        """The network that is scored and saved: the running average, if there is one."""
        kept: Any = self.network if self.average is None else self.average.module
        found: Forecaster = kept
        return found

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch."""
        change, squared = self.reader.scaler.change, self.options.squared
        value = loss(self.network, batch, change, squared=squared)
        if not torch.isfinite(value):
            raise TrainingFailed(
                f"the loss became {float(value.detach())} at epoch {self.current_epoch}. "
                f"Train with a smaller learning rate: lr={self.options.lr / 3:.0e}."
            )
        self.log("train_loss", value.detach(), on_step=False, on_epoch=True)
        return value

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the running average of the weights."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        """Log the share of time spent waiting for data, and the learning rate."""
        if self.chips is not None:
            self.log("wait_share", self.chips.waited.share())
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Start new sums of scores."""
        self.judge = ValidationScores(self.reader)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the scores of one held-out window."""
        self.judge.update(self.best, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the loss that chooses the best weights, and the scores of each lead."""
        self.log("val_loss", self.judge.loss(), sync_dist=True)
        for name, value in self.judge.figures().items():
            self.log(name, value, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return AdamW with a rate that rises and stays.

        Without a running average of the weights, which replaces a decay of the rate, a
        one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120).
        """
        options = self.options
        # Sizes are logarithms of the leads' scales: decay would pull all scales to one.
        sizes = [p for n, p in self.network.named_parameters() if n.endswith("_size")]
        others = [p for n, p in self.network.named_parameters() if not n.endswith("_size")]
        groups = [
            {"params": others, "weight_decay": options.weight_decay},
            {"params": sizes, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=options.lr)
        steps = options.epochs * options.steps
        schedule: Any
        if self.average is not None:
            warm = min(_WARM, max(1, steps // 4))
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: min(1.0, (step + 1) / warm)
            )
        else:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, options.lr, total_steps=steps, pct_start=0.2
            )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> Any:
        """Draw this epoch's chips."""
        options = self.options
        self.chips = Chips(
            self.reader,
            self.draw,
            options.chip,
            batch=options.batch,
            steps=options.steps,
            key=(options.seed, self.current_epoch),
            jitter=options.jitter,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        return DataLoader(self.chips, batch_size=None)

    def val_dataloader(self) -> Any:
        """Read the held-out windows."""
        return DataLoader(validation_windows(self.reader, self.options), batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch, tuples inside tuples, to a device."""
        moved = (part.to(device) for part in (*batch.seen, *batch[1:]))
        seen = type(batch.seen)(*(next(moved) for _ in batch.seen))
        return Batch(seen, *moved)


def validation_windows(reader: Reader, options: TrainOptions) -> HeldOutWindows:
    """Choose the windows that decide which weights are best."""
    return HeldOutWindows(reader, VALIDATION, most=_MAX_VALIDATION, seed=options.seed)


def loss(
    network: Forecaster, batch: Batch, change: tuple[float, ...], *, squared: float = 0.0
) -> Tensor:
    """Sum the CRPS over leads, in units of the usual ``change`` of each lead, weighted by area.

    ``squared`` is the weight of the squared error of the mean: the CRPS depends little on
    the tails of a distribution, and where a distribution is mostly "no change", its mean
    is made of its tails.
    """
    # Each lead is divided by the pixel count of the lead that has the largest one: a far
    # lead with few truths then weighs no more than its pixels.
    known = (batch.weight > 0).sum(dim=(0, 2, 3))
    h = int(known.nonzero().max()) + 1 if known.any() else 1  # leads with truth
    crop = scored_area(batch.weight)
    leads, rehearsed = network.one_step_forecasts(batch.seen, h=h, crop=crop)
    size = leads.new_tensor(change[:h])[:, None, None]
    truth, weight = (part[:, :h, crop[0], crop[1]] for part in (batch.truth, batch.weight))
    error = _error(network, leads, truth, size, squared) * weight
    total = error.sum() / known.max().clamp(min=1)
    # one-step forecasts of a recursive network inside the history
    past, valid = batch.seen.past, batch.seen.valid
    for step, ahead in enumerate(rehearsed):
        weight = batch.inner * valid[:, step] * valid[:, step + 1]
        error = _error(network, ahead, past[:, step + 1], size[0], squared) * weight
        total = total + HISTORY_LOSS_WEIGHT * error.sum() / (weight > 0).sum().clamp(min=1)
    return total


def scored_area(weight: Tensor) -> tuple[slice, slice]:
    """Bound the pixels that are scored anywhere in a batch: the rest need no distribution."""
    scored = (weight > 0).any(dim=0).any(dim=0)
    rows, cols = (scored.any(dim=axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(cols.min()), int(cols.max()) + 1)


def _error(
    network: Forecaster, knots: Tensor, truth: Tensor, size: Tensor, squared: float
) -> Tensor:
    """Score quantile functions pixel by pixel, in units of the usual change."""
    error = crps(knots, truth, network.knots) / size
    if not squared:
        return error
    return error + squared * ((mean(knots, network.knots) - truth) / size).square()
