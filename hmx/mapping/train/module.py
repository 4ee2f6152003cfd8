"""The LightningModule of the map job, and the batches it is fed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from hmx.errors import TrainingFailed
from hmx.mapping.inputs import Windows
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.train.balance import draw_epoch
from hmx.mapping.train.losses import score, scorer
from hmx.networks.cnn_lstm import Mapper

_MOST = 1024  # windows predicted at once


@dataclass(frozen=True)
class TrainingTensors:
    """Samples to learn from, in memory, in the network's units.

    Parameters
    ----------
    dynamic, static : Tensor
        (n, t, c, w, w) and (n, s, w, w).
    truth, sigma : Tensor
        Target and its standard error, (n,).
    """

    dynamic: Tensor
    static: Tensor
    truth: Tensor
    sigma: Tensor

    def __len__(self) -> int:
        return len(self.truth)

    def at(self, rows: Tensor) -> TrainingTensors:
        """Return some of the samples, by position."""
        return TrainingTensors(*(part[rows] for part in vars(self).values()))

    def turned(self, rng: np.random.Generator) -> TrainingTensors:
        """Turn and mirror each window at random: one of the eight symmetries of a square."""
        which = torch.from_numpy(rng.integers(8, size=(len(self), 1)))
        pixels = _symmetries(self.dynamic.shape[-1])[which]  # (n, 1, w * w)
        return TrainingTensors(
            _picked(self.dynamic, pixels), _picked(self.static, pixels), self.truth, self.sigma
        )


def _symmetries(side: int) -> Tensor:
    """Return the numbers of the pixels of a square in its eight positions, (8, w * w)."""
    pixels = torch.arange(side * side).reshape(side, side)
    turns = [torch.rot90(way, k) for way in (pixels, pixels.T) for k in range(4)]
    return torch.stack([turn.reshape(-1) for turn in turns])


def _picked(windows: Tensor, pixels: Tensor) -> Tensor:
    flat = windows.flatten(-2).flatten(1, -2)  # (n, channels, w * w)
    return flat.gather(2, pixels.expand(-1, flat.shape[1], -1)).reshape(windows.shape)


class Batches(IterableDataset):
    """The batches of one epoch; every process of several gets its part of each.

    Parameters
    ----------
    lessons : TrainingTensors
        All training samples.
    fit : MapTrainOptions
        Batch, balance and augmentation.
    key : tuple of int
        Seed and epoch.
    rank, world : int
        Of the process.
    """

    def __init__(
        self,
        lessons: TrainingTensors,
        fit: MapTrainOptions,
        *,
        key: tuple[int, ...],
        rank: int = 0,
        world: int = 1,
    ):
        self.lessons, self.fit, self.key, self.rank, self.world = lessons, fit, key, rank, world

    def __len__(self) -> int:
        return max(1, len(self.lessons) // self.fit.batch)

    def __iter__(self) -> Iterator[TrainingTensors]:
        size = min(self.fit.batch, len(self.lessons))
        values, bins = self.lessons.truth.numpy(), self.fit.balance
        rng = np.random.default_rng((*self.key, self.rank))
        for rows in draw_epoch(values, bins, batch=size, key=self.key):
            batch = self.lessons.at(torch.from_numpy(rows[self.rank :: self.world].copy()))
            yield batch.turned(rng) if self.fit.augment else batch


class MapperFit(pl.LightningModule):
    """Train a network on samples, judge it on others.

    Parameters
    ----------
    network : Mapper
        Untrained, or partly trained.
    lessons : TrainingTensors
        To learn from.
    fit : MapTrainOptions
        Of the fit.
    judged : TrainingTensors, optional
        Held out, to choose the best weights.
    """

    def __init__(
        self,
        network: Mapper,
        lessons: TrainingTensors,
        fit: MapTrainOptions,
        *,
        judged: TrainingTensors | None = None,
    ):
        super().__init__()
        self.network, self.lessons, self.fit, self.judged = network, lessons, fit, judged
        self.loss = scorer(network.options, fit)

    def training_step(self, batch: TrainingTensors, index: int) -> Tensor:
        """Return the loss of one batch."""
        value = self.loss(self.network(batch.dynamic, batch.static), batch.truth, batch.sigma)
        if not torch.isfinite(value):
            raise TrainingFailed(
                f"the loss became {float(value.detach())} at epoch {self.current_epoch}. "
                f"Train with a smaller learning rate: lr={self.fit.lr / 3:.0e}."
            )
        self.log("train_loss", value.detach(), on_step=False, on_epoch=True, batch_size=len(batch))
        return value

    def judge(self) -> float:
        """Compute the loss on the samples held out, without dropout; NaN without any."""
        held = self.judged
        if held is None:
            return float("nan")
        predicted = predict(self.network.eval(), held.dynamic, held.static)
        self.network.train()
        return score(self.loss, predicted, held.truth, held.sigma)

    def configure_optimizers(self) -> Any:
        """AdamW and a one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120)."""
        fit = self.fit
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=fit.lr, weight_decay=fit.weight_decay
        )
        steps = fit.epochs * len(Batches(self.lessons, fit, key=()))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, fit.lr, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> Any:
        """Draw this epoch's batches."""
        trainer, key = self.trainer, (self.fit.seed, self.current_epoch)
        batches = Batches(
            self.lessons, self.fit, key=key, rank=trainer.global_rank, world=trainer.world_size
        )
        return DataLoader(batches, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to a device."""
        return TrainingTensors(*(part.to(device) for part in vars(batch).values()))


def predict(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Run a network over windows, some at a time.

    Parameters
    ----------
    network : Mapper
        In evaluation mode.
    dynamic, static : Tensor
        (n, t, c, w, w) and (n, s, w, w).

    Returns
    -------
    Tensor
        On the CPU, (n, q).
    """
    place = next(network.parameters()).device
    with torch.no_grad():
        parts = [
            network(some.to(place), fixed.to(place)).cpu()
            for some, fixed in zip(dynamic.split(_MOST), static.split(_MOST), strict=True)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, network.outputs)


def training_tensors(windows: Windows, truth: np.ndarray, sigma: np.ndarray) -> TrainingTensors:
    """Put windows, targets and errors, in the network's units, into tensors."""
    return TrainingTensors(
        torch.from_numpy(windows.dynamic),
        torch.from_numpy(windows.static),
        torch.as_tensor(truth, dtype=torch.float32),
        torch.as_tensor(sigma, dtype=torch.float32),
    )
