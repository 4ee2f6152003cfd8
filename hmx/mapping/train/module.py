"""The LightningModule of the map job, and its batches.

Most samples have a small value, and a network that sees few large values learns that there
are none. So batches can be balanced: bins of the training values are bounded by the quantiles
1/2, 3/4, 7/8 ..., and each bin is drawn from equally. (Bins of equal counts, drawn from
equally, would change nothing.) The network then no longer learns the mean of the common values.

Losses:

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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from hmx.errors import TrainingFailed
from hmx.mapping.inputs import ScaledWindows
from hmx.mapping.options import MapTrainOptions, loss_of
from hmx.mapping.target import TargetScaler, central
from hmx.networks.cnn_lstm import Mapper
from hmx.networks.options import MapperOptions
from hmx.networks.quantile import crps
from hmx.scores import SCORES, regression_scores
from hmx.uncertainty.distribution import shares

# predictions (n, q), truths (n,) and their standard errors (n,), in the network's units
Scorer = Callable[[Tensor, Tensor, Tensor], Tensor]

_PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}

_CHUNK = 1024  # windows predicted at once, which bounds the memory


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


@dataclass(frozen=True)
class TrainingTensors:
    """Training samples in memory, in the network's units."""

    dynamic: Tensor  # (n, t, c, w, w)
    static: Tensor  # (n, s, w, w)
    truth: Tensor  # (n,)
    sigma: Tensor  # (n,), standard error of the truth

    def __len__(self) -> int:
        return len(self.truth)

    def at(self, rows: Tensor) -> TrainingTensors:
        """Return some of the samples, by position."""
        return TrainingTensors(*(part[rows] for part in vars(self).values()))

    def turned(self, rng: np.random.Generator) -> TrainingTensors:
        """Turn and mirror each window at random: one of the eight symmetries of a square."""
        side = self.dynamic.shape[-1]
        numbers = torch.arange(side * side).reshape(side, side)
        turns = [torch.rot90(way, k) for way in (numbers, numbers.T) for k in range(4)]
        symmetries = torch.stack([turn.reshape(-1) for turn in turns])  # (8, w * w)
        which = torch.from_numpy(rng.integers(8, size=(len(self), 1)))
        pixels = symmetries[which]  # (n, 1, w * w)

        def moved(windows: Tensor) -> Tensor:
            flat = windows.flatten(-2).flatten(1, -2)  # (n, channels, w * w)
            return flat.gather(2, pixels.expand(-1, flat.shape[1], -1)).reshape(windows.shape)

        return TrainingTensors(moved(self.dynamic), moved(self.static), self.truth, self.sigma)


def training_tensors(
    windows: ScaledWindows, truth: np.ndarray, sigma: np.ndarray
) -> TrainingTensors:
    """Put windows, targets and errors, in the network's units, into tensors."""
    return TrainingTensors(
        torch.from_numpy(windows.dynamic),
        torch.from_numpy(windows.static),
        torch.as_tensor(truth, dtype=torch.float32),
        torch.as_tensor(sigma, dtype=torch.float32),
    )


def draw_probabilities(values: np.ndarray, bins: int) -> np.ndarray:
    """Return each sample's probability of a draw, (n,); 0 bins give equal probabilities."""
    if not bins:
        return np.full(len(values), 1 / len(values))
    edges = np.quantile(values, 1 - 0.5 ** np.arange(1, bins))
    bin_of = np.searchsorted(edges, values, side="right")  # ties may leave a bin empty
    counts = np.bincount(bin_of, minlength=bins)
    weights = 1 / counts[bin_of]
    return np.asarray(weights / weights.sum())


def draw_epoch(values: np.ndarray, bins: int, *, batch: int, key: tuple[int, ...]) -> np.ndarray:
    """Deal the samples of one epoch to batches: positions, (n // batch, batch).

    With 0 bins no sample comes twice. `key` is seed and epoch.
    """
    rng, count = np.random.default_rng(key), len(values) // batch
    if bins:
        drawn = rng.choice(len(values), count * batch, p=draw_probabilities(values, bins))
    else:
        drawn = rng.permutation(len(values))[: count * batch]
    return drawn.reshape(count, batch)


class Batches(IterableDataset):
    """The batches of one epoch; each of several processes gets its part of every batch."""

    def __init__(
        self,
        samples: TrainingTensors,
        fit: MapTrainOptions,
        *,
        key: tuple[int, ...],  # seed and epoch
        rank: int = 0,
        world: int = 1,
    ):
        self.samples, self.fit, self.key, self.rank, self.world = samples, fit, key, rank, world

    def __len__(self) -> int:
        return max(1, len(self.samples) // self.fit.batch)

    def __iter__(self) -> Iterator[TrainingTensors]:
        size = min(self.fit.batch, len(self.samples))
        values, bins = self.samples.truth.numpy(), self.fit.balance
        # the draw has one key for all processes, the augmentation one for each: the processes
        # share the same batches, but do not turn their windows alike
        rng = np.random.default_rng((*self.key, self.rank))
        for rows in draw_epoch(values, bins, batch=size, key=self.key):
            batch = self.samples.at(torch.from_numpy(rows[self.rank :: self.world].copy()))
            yield batch.turned(rng) if self.fit.augment else batch


class MapperFit(pl.LightningModule):
    """Train a network on samples, and measure its loss on validation samples."""

    def __init__(
        self,
        network: Mapper,
        samples: TrainingTensors,
        fit: MapTrainOptions,
        *,
        target: TargetScaler,
        validation: TrainingTensors | None = None,
    ):
        super().__init__()
        self.target = target
        self.network, self.samples, self.fit, self.validation = network, samples, fit, validation
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

    def validation_figures(self) -> dict[str, float]:
        """Score the validation samples without dropout; empty without samples.

        ``val_loss``, and the figures of :data:`hmx.scores.SCORES` in transformed units
        (``val_r2`` ...) and in native ones (``val_native_r2`` ...).
        """
        samples = self.validation
        if samples is None:
            return {}
        predicted = predict(self.network.eval(), samples.dynamic, samples.static)
        self.network.train()
        knots = self.network.options.knots
        weights = np.asarray(shares(knots)) if knots else np.ones(1)
        centre, truth = predicted.numpy() @ weights, samples.truth.numpy()
        figures = {"val_loss": score(self.loss, predicted, samples.truth, samples.sigma)}
        std = self.target.std
        for prefix, turn in (
            ("val", lambda values: values * std),
            ("val_native", lambda values: central(values, self.target)),
        ):
            found = regression_scores(turn(truth), turn(centre))
            figures |= {f"{prefix}_{name}": found[name] for name in SCORES}
        return figures

    def configure_optimizers(self) -> Any:
        """AdamW and a one-cycle schedule (Smith & Topin 2019, arXiv:1708.07120)."""
        fit = self.fit
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=fit.lr, weight_decay=fit.weight_decay
        )
        steps = fit.epochs * len(Batches(self.samples, fit, key=()))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, fit.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        """Draw this epoch's batches."""
        trainer, key = self.trainer, (self.fit.seed, self.current_epoch)
        batches = Batches(
            self.samples, self.fit, key=key, rank=trainer.global_rank, world=trainer.world_size
        )
        return DataLoader(batches, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to a device; Lightning itself does not look into a dataclass."""
        return TrainingTensors(*(part.to(device) for part in vars(batch).values()))


def predict(network: Mapper, dynamic: Tensor, static: Tensor) -> Tensor:
    """Run a network in evaluation mode over windows, chunk by chunk: (n, q), on the CPU."""
    device = next(network.parameters()).device
    with torch.no_grad():
        parts = [
            network(series.to(device), fixed.to(device)).cpu()
            for series, fixed in zip(dynamic.split(_CHUNK), static.split(_CHUNK), strict=True)
        ]
    return torch.cat(parts) if parts else torch.zeros(0, network.outputs)
