"""The LightningModule: losses, optimizer and validation, no files and no plots."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hmx.errors import TrainingFailed
from hmx.folds import VALIDATION
from hmx.learn.data import Batch, Chips, HeldOut, Reader
from hmx.metrics import Score
from hmx.models.forecaster import Forecaster, channels_last
from hmx.options import TrainOptions

REHEARSAL = 1.0  # weight of one-step forecasts inside the history, beside the leads
_MOST_VALIDATION = 24  # windows scored after each epoch: a fifth of its work


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
    """

    def __init__(self, network: Forecaster, reader: Reader, options: TrainOptions):
        super().__init__()
        self.network = channels_last(network)
        self.reader, self.options = reader, options
        self.scores: list[tuple[Score, Score]] = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one batch."""
        value = loss(self.network, batch, self.reader.scaler.change)
        if not torch.isfinite(value):
            raise TrainingFailed(
                f"the loss became {float(value.detach())} at epoch {self.current_epoch}. "
                f"Train with a smaller learning rate: lr={self.options.lr / 3:.0e}."
            )
        self.log("train_loss", value.detach(), on_step=False, on_epoch=True)
        return value

    def on_validation_epoch_start(self) -> None:
        """Begin to add up scores."""
        self.scores = [(Score(), Score())] * self.reader.spec.h

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the scores of one held-out window."""
        self.scores = add_scores(self.scores, self.network, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the error of each lead, and the one that decides which weights are best."""
        self.log("val_loss", relative_error(self.scores), sync_dist=True)
        for lead, (score, still) in enumerate(self.scores, start=1):
            if score.count:
                self.log(f"val_rmse_h{lead}", score.rmse, sync_dist=True)
                self.log(f"val_skill_h{lead}", _skill(score, still), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW on a one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120)."""
        options = self.options
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=options.lr, weight_decay=options.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.lr, total_steps=options.epochs * options.steps, pct_start=0.2
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> Any:
        """Draw this epoch's chips."""
        options = self.options
        chips = Chips(
            self.reader,
            options.chip,
            batch=options.batch,
            steps=options.steps,
            seed=options.seed,
            epoch=self.current_epoch,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        return DataLoader(chips, batch_size=None)

    def val_dataloader(self) -> Any:
        """Read the held-out windows."""
        return DataLoader(validation_windows(self.reader, self.options), batch_size=None)


def validation_windows(reader: Reader, options: TrainOptions) -> HeldOut:
    """Choose the windows that decide which weights are best."""
    return HeldOut(reader, VALIDATION, most=_MOST_VALIDATION, seed=options.seed)


def loss(network: Forecaster, batch: Batch, change: tuple[float, ...]) -> Tensor:
    """Compute the squared error over all leads and rehearsals that have truth.

    Errors are divided by the root mean square change over as many steps, so
    that each lead counts by its difficulty and not by its distance.

    Parameters
    ----------
    network : Forecaster
        Gives the mean of each lead and one-step rehearsals.
    batch : Batch
        Samples with their masks; absent truth is never counted.
    change : tuple of float
        Of each lead, native units, from the scaler.
    """
    known = batch.mask.sum(dim=(0, 2, 3))
    h = int(known.nonzero().max()) + 1 if known.any() else 1
    leads, rehearsed = network.rehearse(batch.past, batch.valid, batch.dynamic, batch.static, h=h)
    size = leads.new_tensor(change[:h])[:, None, None]
    error = ((leads - batch.truth[:, :h]) / size).square() * batch.mask[:, :h]
    total = error.sum() / known.max().clamp(min=1)
    for step, ahead in enumerate(rehearsed):
        mask = batch.inner * batch.valid[:, step] * batch.valid[:, step + 1]
        error = ((ahead - batch.past[:, step + 1]) / change[0]).square() * mask
        total = total + REHEARSAL * error.sum() / mask.sum().clamp(min=1)
    return total


Pairs = list[tuple[Score, Score]]


def add_scores(scores: Pairs, network: Forecaster, batch: Batch) -> Pairs:
    """Add a window's scores of the network and of persistence, lead by lead."""
    ahead = network(batch.past, batch.valid, batch.dynamic, batch.static, h=len(scores))
    added = []
    for lead, (score, still) in enumerate(scores):
        kept = batch.mask[:, lead].bool()
        truth = batch.truth[:, lead][kept].cpu().numpy()
        forecast = ahead[:, lead][kept].float().cpu().numpy()
        origin = batch.past[:, -1][kept].cpu().numpy()
        added.append((score + Score.of(truth, forecast), still + Score.of(truth, origin)))
    return added


def relative_error(scores: Pairs) -> float:
    """Mean over leads of squared error relative to persistence; below 1 beats it."""
    ratios = [s.squared / p.squared for s, p in scores if s.count and p.squared > 0]
    return sum(ratios) / len(ratios) if ratios else 1.0


def _skill(score: Score, still: Score) -> float:
    return 1 - score.rmse / still.rmse if still.rmse > 0 else 0.0
