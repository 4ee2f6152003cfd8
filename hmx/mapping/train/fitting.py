"""Fit one network of a mapper: one run of Lightning over samples in memory.

Samples are thousands and windows small, so a network takes seconds to minutes and writes no
checkpoints: a killed run begins the network anew that it was training. A fit can start from the
trunk of a mapper of another region.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from hmx.errors import BadArgument
from hmx.mapping.inputs import ScaledWindows
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import TargetScaler, error_of, forward
from hmx.mapping.train.module import MapperFit, TrainingTensors, training_tensors
from hmx.networks.base import copy_weights
from hmx.networks.cnn_lstm import Mapper, build
from hmx.networks.options import MapperOptions
from hmx.progress import Progress
from hmx.training.loop import Watch, hardware, interruptible, quiet

# head and skip turn features into the quantity: the new region learns its own
_OUTPUT_LAYERS = ("head.", "skip.")
_REPORTED = ("train_loss", "lr", "val_loss", "val_r2")  # figures that progress shows
_BAND_LAYERS = ("convs.0.weight",)  # one column per band, so other bands make it useless


@dataclass(frozen=True)
class Transferred:
    """Names of the trunk's weights, copied and not copied."""

    names: tuple[str, ...]
    skipped: tuple[str, ...]  # missing in the other network, or of another shape

    def __str__(self) -> str:
        skipped = f"; {', '.join(self.skipped)} start anew" if self.skipped else ""
        return f"{len(self.names)} weights copied{skipped}"


@dataclass(frozen=True)
class FittedMapper:
    """A network with its best weights, and its figures."""

    network: Mapper  # on the CPU, in evaluation mode
    epochs: int  # epochs after which it had these weights
    loss: float  # of these weights on the validation samples; NaN without validation
    history: tuple[Mapping[str, float], ...]  # per epoch: train_loss, lr, and validation figures
    transferred: Transferred | None = None

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights by parameter name."""
        state = self.network.state_dict()
        return {name: value.contiguous().numpy() for name, value in state.items()}

    def facts(self) -> dict[str, Any]:
        """Return all but the weights in JSON values."""
        taken = self.transferred
        return {
            "epochs": self.epochs,
            "loss": self.loss,
            "history": [dict(row) for row in self.history],
            "transferred": None if taken is None else [taken.names, taken.skipped],
        }

    @classmethod
    def restore(
        cls, network: Mapper, weights: Mapping[str, np.ndarray], facts: Mapping[str, Any]
    ) -> FittedMapper:
        """Build from a network as built, and from :meth:`weights` and :meth:`facts`."""
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        taken = facts["transferred"]
        return cls(
            network.eval(),
            facts["epochs"],
            facts["loss"],
            tuple(facts["history"]),
            None if taken is None else Transferred(*map(tuple, taken)),
        )


def fit_network(
    windows: ScaledWindows,
    values: np.ndarray,  # (n,), native units
    train_rows: np.ndarray,
    *,
    options: MapperOptions,
    fit: MapTrainOptions,
    target: TargetScaler,
    valid_rows: np.ndarray | None = None,
    init_from: Mapping[str, np.ndarray] | None = None,
    watch: Watch = Watch(),
) -> FittedMapper:
    """Fit one network to samples; the same seed gives the same weights.

    The validation rows choose the best weights, by R2, and stop the fit early. `init_from` has the
    weights of another network, whose trunk is the start. Raises :class:`BadArgument` if loss,
    network and start do not fit, :class:`TrainingFailed` if the loss is not a number.
    """
    pl.seed_everything(fit.seed, verbose=False)
    network = network_for(windows, options)
    transferred = None if init_from is None else copy_trunk(network, init_from)
    sigma = 0.5 * float(values[train_rows].std()) if fit.sigma is None else fit.sigma
    sigma = sigma or 1.0  # a constant target has no spread: all its errors get equal weight

    def tensors(rows: np.ndarray) -> TrainingTensors:
        own = values[rows]
        errors = error_of(own, target, sigma=sigma, relative=fit.sigma_relative)
        return training_tensors(windows.at(rows), forward(own, target), errors)

    validation = tensors(valid_rows) if valid_rows is not None and len(valid_rows) else None
    module = MapperFit(network, tensors(train_rows), fit, target=target, validation=validation)
    best = _BestWeights(watch.progress, fit.patience)
    with quiet(), interruptible():
        pl.Trainer(
            **hardware(fit),
            max_epochs=fit.epochs,
            gradient_clip_val=fit.clip,
            callbacks=[best],
            logger=list(watch.logs) or False,
            enable_checkpointing=False,
            limit_val_batches=0,  # the callback measures validation itself, in one pass
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,  # each epoch draws its own batches
            use_distributed_sampler=False,  # the batches split themselves between processes
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module)
    if best.weights is not None:
        network.load_state_dict(best.weights)
    network.cpu().eval()
    return FittedMapper(network, best.epochs, best.loss, tuple(best.rows), transferred)


def network_for(windows: ScaledWindows, options: MapperOptions) -> Mapper:
    """Build an untrained network for some windows."""
    steps, dynamic = windows.dynamic.shape[1:3]
    return build(options, dynamic=dynamic, static=windows.static.shape[1], steps=steps)


class _BestWeights(Callback):
    """Record the figures of each epoch and the best weights; report progress; stop early."""

    def __init__(self, progress: Progress, patience: int):
        self.progress, self.patience = progress, patience
        self.rows: list[Mapping[str, float]] = []
        self.epochs, self.loss, self.r2 = 0, float("nan"), -math.inf
        self.weights: Mapping[str, Tensor] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures, done = pl_module.validation_figures(), trainer.current_epoch + 1
        row = {
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        if not figures:
            self.epochs = done
        else:  # each process scores all samples, so all stop at the same epoch
            row |= figures
            # equal truths have no R2: their loss decides
            r2 = figures["val_r2"] if math.isfinite(figures["val_r2"]) else -figures["val_loss"]
            if self.weights is None or r2 > self.r2:
                self.loss, self.r2, self.epochs = figures["val_loss"], r2, done
                # the optimiser changes the tensors in place: without a copy all epochs are one
                self.weights = copy.deepcopy(pl_module.network.state_dict())
            trainer.should_stop = done - self.epochs >= self.patience
        pl_module.log_dict({name: row[name] for name in row if name != "train_loss"})
        self.rows.append(row)
        if trainer.is_global_zero:
            named = {name: row[name] for name in _REPORTED if name in row}
            text = ", ".join(f"{name} {value:.3g}" for name, value in named.items())
            self.progress.step(done, trainer.max_epochs or 0, text)


def trunk_of(
    weights: Mapping[str, np.ndarray], other: MapSpec, spec: MapSpec
) -> dict[str, np.ndarray]:
    """Drop weights tied to the input bands when the bands of `other` and `spec` differ."""
    same = (other.dynamic, other.static) == (spec.dynamic, spec.static)
    same = same and other.network.coarse == spec.network.coarse
    same = same and (other.categories, other.depth) == (spec.categories, spec.depth)
    return {name: w for name, w in weights.items() if same or name not in _BAND_LAYERS}


def copy_trunk(network: Mapper, weights: Mapping[str, np.ndarray]) -> Transferred:
    """Copy the trunk of a trained network into `network`, in place, by name and shape.

    Raises :class:`BadArgument` if no weight fits.
    """
    own = network.state_dict()
    trunk = [name for name in own if not name.startswith(_OUTPUT_LAYERS)]
    fits = [n for n in trunk if n in weights and weights[n].shape == tuple(own[n].shape)]
    if not fits:
        raise BadArgument(
            "init_from has no weight of this network's trunk by name and shape. Train with the "
            "network options of the model that you start from: hmx info MODEL shows them."
        )
    copy_weights(network, weights, fits)
    return Transferred(tuple(fits), tuple(name for name in trunk if name not in fits))
