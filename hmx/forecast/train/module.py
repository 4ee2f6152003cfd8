"""The LightningModule: losses, optimizer and validation, no files and no plots."""

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

HISTORY_LOSS_WEIGHT = 1.0  # weight of one-step forecasts inside the history, beside the leads
_MOST_VALIDATION = 24  # windows scored after each epoch: a fifth of its work
_WARM = 50  # steps in which the learning rate rises


class Fit(pl.LightningModule):
    """Train a network on chips, judge it on held-out blocks.

    Parameters
    ----------
    network : Forecaster
        Untrained, or partly trained.
    reader : Reader
        Where samples come from.
    options : TrainOptions
        Of the fit.
    draw : Draw
        Where chips lie.
    """

    def __init__(
        self,
        network: Forecaster,
        reader: Reader,
        options: TrainOptions,
        draw: Draw,
    ):
        super().__init__()
        self.network = channels_last(network)
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
            if options.ema
            else None
        )
        if self.average is not None:
            self.average.requires_grad_(False)  # or several processes wait for its gradients
        self.reader, self.options, self.draw = reader, options, draw
        self.judge = ValidationScores(reader)
        self.chips: Chips | None = None

    @property
    def best(self) -> Forecaster:
        """The network that is judged and kept: the running average, if there is one."""
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
        """Log how long the network has waited for data."""
        if self.chips is not None:
            self.log("wait_share", self.chips.waited.share())
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Begin to add up scores."""
        self.judge = ValidationScores(self.reader)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the scores of one held-out window."""
        self.judge.see(self.best, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the errors of each lead, and the one that decides which weights are best."""
        self.log("val_loss", self.judge.loss(), sync_dist=True)
        for name, value in self.judge.figures().items():
            self.log(name, value, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises and stays, as an average of the weights does the rest.

        Without an average, a one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120).
        """
        options = self.options
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
    return HeldOutWindows(reader, VALIDATION, most=_MOST_VALIDATION, seed=options.seed)


def loss(
    network: Forecaster, batch: Batch, change: tuple[float, ...], *, squared: float = 0.0
) -> Tensor:
    """Sum over leads the CRPS in units of the usual change, weighted by area.

    Each lead is divided by the pixels of the lead that has most, so that a far lead
    with few truths pulls no harder than its pixels. A recursive network's one-step
    forecasts inside the history count as well.

    Parameters
    ----------
    network : Forecaster
        In training mode or not.
    batch : Batch
        Leads beyond the last one with truth are not computed.
    change : tuple of float
        Of each lead, native units, from the scaler.
    squared : float
        Weight of the squared error of the mean. The CRPS feels the tails of a
        distribution little, and the mean of one that is mostly "no change" is made
        of its tails.
    """
    known = (batch.weight > 0).sum(dim=(0, 2, 3))
    h = int(known.nonzero().max()) + 1 if known.any() else 1
    crop = _scored(batch.weight)
    leads, rehearsed = network.one_step_forecasts(batch.seen, h=h, crop=crop)
    size = leads.new_tensor(change[:h])[:, None, None]
    truth, weight = (part[:, :h, crop[0], crop[1]] for part in (batch.truth, batch.weight))
    error = _error(network, leads, truth, size, squared) * weight
    total = error.sum() / known.max().clamp(min=1)
    past, valid = batch.seen.past, batch.seen.valid
    for step, ahead in enumerate(rehearsed):
        weight = batch.inner * valid[:, step] * valid[:, step + 1]
        error = _error(network, ahead, past[:, step + 1], size[0], squared) * weight
        total = total + HISTORY_LOSS_WEIGHT * error.sum() / (weight > 0).sum().clamp(min=1)
    return total


def _scored(weight: Tensor) -> tuple[slice, slice]:
    """Bound the pixels that are scored anywhere in a batch: the rest need no distribution."""
    seen = (weight > 0).any(dim=0).any(dim=0)
    rows, cols = (seen.any(dim=axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(cols.min()), int(cols.max()) + 1)


def _error(
    network: Forecaster, knots: Tensor, truth: Tensor, size: Tensor, squared: float
) -> Tensor:
    """Score quantile functions pixel by pixel, in ordinary changes."""
    found = crps(knots, truth, network.knots) / size
    if not squared:
        return found
    return found + squared * ((mean(knots, network.knots) - truth) / size).square()
