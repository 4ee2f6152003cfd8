"""The LightningModule: optimizer and validation; no files and no plots."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from hmx.errors import TrainingFailed
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.data import TOGETHER, Batch, Chips, Draw, HeldOutWindows, Reader
from hmx.forecast.train.judge import ValidationScores
from hmx.forecast.train.losses import Criterion, loss
from hmx.forecast.train.recipe import chip_of
from hmx.hardware import in_threads
from hmx.networks.forecaster import Forecaster, channels_last
from hmx.splits import VALIDATION
from hmx.training.muon import Muon

_FEWEST_BLOCKS = 4  # of validation, for the choice of the best epoch
_MAX_VALIDATION = 24  # windows scored after each epoch: a fifth of its work
_WARM = 15  # steps in which the learning rate rises
_FASTER = 3.0  # rate of the body's layers, in rates of the head


class Fit(pl.LightningModule):
    """Train a network on chips, and score it on the validation blocks after each epoch."""

    sizes: Tensor

    def __init__(
        self,
        network: Forecaster,
        reader: Reader,
        options: TrainOptions,
        draw: Draw,
        *,
        steps: int,
        cooling: bool = False,
    ):
        super().__init__()
        self.steps, self.cooling = steps, cooling  # steps of an epoch
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
        self.register_buffer("sizes", reader.sizes, persistent=False)
        self.criterion = Criterion.of(options)
        self.judge = ValidationScores(reader, by=self.criterion.figure)
        self.chips: Chips | None = None

    @property
    def best(self) -> Forecaster:
        """The network that is scored and saved: the running average, if there is one."""
        kept: Any = self.network if self.average is None else self.average.module
        found: Forecaster = kept
        return found

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch."""
        value = loss(self.network, batch, self.sizes, self.criterion)
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
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Start new sums of scores."""
        self.judge = ValidationScores(self.reader, by=self.criterion.figure)

    def validation_step(self, windows: list[Batch], index: int) -> None:
        """Add the scores of some held-out windows, computed at the same time."""
        self.judge.add(in_threads(partial(self.judge.score, self.best), windows))

    def on_validation_epoch_end(self) -> None:
        """Log the loss that chooses the best weights, and the scores of each lead."""
        self.log("val_loss", self.judge.loss(), sync_dist=True)
        for name, value in self.judge.figures().items():
            self.log(name, value, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return Muon, with a rate that rises and stays, or then falls to nothing.

        Without a running average of the weights, which replaces a decay of the rate, a
        one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120).
        """
        options = self.options
        named = dict(self.network.named_parameters())
        layers = {n: p for n, p in named.items() if n.startswith("body.") and p.ndim == 4}
        # Sizes are logarithms of the leads' scales: decay would pull all scales to one.
        sizes = [p for n, p in named.items() if n.endswith("_size")]
        others = [p for n, p in named.items() if n not in layers and not n.endswith("_size")]
        optimizer = Muon(
            layers.values(),
            [{"params": others}, {"params": sizes, "weight_decay": 0.0}],
            lr=options.lr,
            faster=_FASTER,
            weight_decay=options.weight_decay,
        )
        steps = options.epochs * self.steps
        schedule: Any
        if self.average is not None:
            warm = min(_WARM, max(1, steps // 4))
            falls = self.cooling / steps
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: min(1.0, (step + 1) / warm) * (1 - falls * step)
            )
        else:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                [group["lr"] for group in optimizer.param_groups],
                total_steps=steps,
                pct_start=0.2,
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        """Draw this epoch's chips."""
        options = self.options
        self.chips = Chips(
            self.reader,
            self.draw,
            chip_of(options, self.reader.spec, self.reader.cube.grid.shape),
            batch=options.batch,
            steps=self.steps,
            key=(options.seed, self.current_epoch),
            jitter=options.jitter,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        return DataLoader(self.chips, batch_size=None)

    def val_dataloader(self) -> Any:
        """Read the held-out windows, as many as threads may score at the same time."""
        windows = validation_windows(self.reader, self.options)
        return DataLoader(windows, batch_size=TOGETHER, collate_fn=list)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch, tuples inside tuples, to a device."""
        if isinstance(batch, list):
            return [self.transfer_batch_to_device(one, device, dataloader_idx) for one in batch]
        moved = (part.to(device) for part in (*batch.seen, *batch[1:]))
        seen = type(batch.seen)(*(next(moved) for _ in batch.seen))
        return Batch(seen, *moved)


def chooses(reader: Reader) -> bool:
    """Return True if there are enough validation blocks to choose the best epoch.

    Fewer choose one by accident, often the first, so all epochs are run then.
    """
    return len(reader.split.windows(VALIDATION)) >= _FEWEST_BLOCKS


def validation_windows(reader: Reader, options: TrainOptions) -> HeldOutWindows:
    """Choose the windows that decide which weights are best."""
    return HeldOutWindows(reader, VALIDATION, most=_MAX_VALIDATION, seed=options.seed)
