"""Fitting a mapper: one run of Lightning over samples in memory.

Samples are thousands and windows small, so a fit takes seconds and writes no
checkpoints: a run that was killed is run again.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from hmx.mapping.inputs import Windows
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import TargetScaler
from hmx.mapping.target import error_of, forward
from hmx.mapping.train.module import MapperFit, TrainingTensors, training_tensors
from hmx.mapping.train.transfer import Transferred, copy_trunk
from hmx.networks.cnn_lstm import Mapper, build
from hmx.networks.options import MapperOptions
from hmx.progress import Progress
from hmx.training.loop import hardware, interruptible, quiet


@dataclass(frozen=True)
class FittedMapper:
    """A network with the weights that are kept, and what was measured of it.

    Parameters
    ----------
    network : Mapper
        On the CPU, in evaluation mode.
    epochs : int
        Epochs after which it had these weights.
    loss : float
        Of these weights on the validation samples; NaN without any.
    history : tuple of mapping
        Figures of each epoch: ``train_loss``, ``lr`` and, with validation samples,
        ``val_loss``.
    taken : Transferred, optional
        What it took over from another network.
    """

    network: Mapper
    epochs: int
    loss: float
    history: tuple[Mapping[str, float], ...]
    taken: Transferred | None = None

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights by parameter name."""
        state = self.network.state_dict()
        return {name: value.contiguous().numpy() for name, value in state.items()}


def fit_network(
    windows: Windows,
    values: np.ndarray,
    train_rows: np.ndarray,
    *,
    options: MapperOptions,
    fit: MapTrainOptions,
    target: TargetScaler,
    valid_rows: np.ndarray | None = None,
    init_from: Mapping[str, np.ndarray] | None = None,
    logs: Sequence[Any] = (),
    progress: Progress = Progress(),
) -> FittedMapper:
    """Fit one network to samples; the same seed gives the same weights.

    Parameters
    ----------
    windows : Windows
        Scaled, of all samples.
    values : ndarray, (n,)
        Target of all samples, native units.
    train_rows : ndarray of int
        Samples to learn from.
    options : MapperOptions
        The network.
    fit : MapTrainOptions
        The fit; its seed decides weights and batches.
    target : TargetScaler
        What the target goes through, fitted to training samples.
    valid_rows : ndarray of int, optional
        Samples that choose the best weights and end the fit early.
    init_from : mapping of str to ndarray, optional
        Weights of another network, whose trunk is the start.
    logs : sequence of Logger
        Where figures go.
    progress : callable
        Told (epochs done, epochs, text).

    Raises
    ------
    BadArgument
        If loss and network do not fit, or the other network is no start.
    TrainingFailed
        If the loss is no number.
    """
    pl.seed_everything(fit.seed, verbose=False)
    steps, dynamic = windows.dynamic.shape[1:3]
    network = build(options, dynamic=dynamic, static=windows.static.shape[1], steps=steps)
    taken = None if init_from is None else copy_trunk(network, init_from)
    sigma = 0.5 * float(values[train_rows].std()) if fit.sigma is None else fit.sigma
    sigma = sigma or 1.0  # of a constant target, whose errors weigh alike

    def lessons(rows: np.ndarray) -> TrainingTensors:
        own = values[rows]
        errors = error_of(own, target, sigma=sigma, relative=fit.sigma_relative)
        return training_tensors(windows.at(rows), forward(own, target), errors)

    judged = lessons(valid_rows) if valid_rows is not None and len(valid_rows) else None
    module = MapperFit(network, lessons(train_rows), fit, judged=judged)
    keeper = _BestWeights(progress, fit.patience)
    with quiet(), interruptible():
        _trainer(fit, keeper, logs).fit(module)
    if keeper.best is not None:
        network.load_state_dict(keeper.best)
    network.cpu().eval()
    return FittedMapper(network, keeper.epochs, keeper.loss, tuple(keeper.rows), taken)


def _trainer(fit: MapTrainOptions, keeper: _BestWeights, logs: Sequence[Any]) -> pl.Trainer:
    return pl.Trainer(
        **hardware(fit),
        max_epochs=fit.epochs,
        gradient_clip_val=fit.clip,
        callbacks=[keeper],
        logger=list(logs) or False,
        enable_checkpointing=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _BestWeights(Callback):
    """Keeps the figures of each epoch and the best weights; tells progress, and when to stop."""

    def __init__(self, progress: Progress, patience: int):
        self.progress, self.patience = progress, patience
        self.rows: list[Mapping[str, float]] = []
        self.epochs, self.loss = 0, float("nan")
        self.best: Mapping[str, Tensor] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss, done = pl_module.judge(), trainer.current_epoch + 1
        row = {
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        if math.isnan(loss):
            self.epochs = done
        else:  # each process judges all samples, and finds the same
            row["val_loss"] = loss
            self._compare(loss, done, pl_module.network)
            trainer.should_stop = done - self.epochs >= self.patience
        pl_module.log_dict({name: row[name] for name in row if name != "train_loss"})
        self.rows.append(row)
        if trainer.is_global_zero:
            text = ", ".join(f"{name} {value:.3g}" for name, value in row.items())
            self.progress.step(done, trainer.max_epochs or 0, text)

    def _compare(self, loss: float, done: int, network: Mapper) -> None:
        if self.best is None or loss < self.loss:
            self.loss, self.epochs = loss, done
            self.best = copy.deepcopy(network.state_dict())
