"""Fitting: one run of Lightning, which resumes from its last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.anchor import AnchorFit, fit_anchor
from hmx.forecast.train.data import Draw, Reader
from hmx.forecast.train.freedom import Freedom, freedom_of
from hmx.forecast.train.judge import ValidationScores
from hmx.forecast.train.module import Fit, chooses, validation_windows
from hmx.hardware import in_threads, native_bfloat16
from hmx.networks.base import copy_weights
from hmx.networks.forecaster import Forecaster
from hmx.progress import Progress
from hmx.training.checkpoints import LAST, Row, Whole, best_of, checkpoints, rows_of
from hmx.training.loop import Watch, hardware, interruptible

_DONE = "done.json"
_GAIN = 0.01  # of the loss of persistence: what epochs have to gain for the fit to go on


@dataclass(frozen=True)
class FittedForecaster:
    """A network with its best weights, in float32 on the CPU, and its scores.

    ``epochs`` is the number of epochs after which it had these weights. ``loss`` on the
    validation blocks is relative to persistence, 1 without blocks; ``leads`` are the scores
    by lead.
    """

    network: Forecaster
    epochs: int
    loss: float
    leads: Mapping[str, Any]
    anchor: AnchorFit | None = None
    freedom: Freedom | None = None  # None if nothing has to be decided: no anchor, or held at it

    @property
    def trust(self) -> float:
        """How far totals may move the means, 0 to 1: as far as these are the network's own."""
        if self.anchor is None:
            return 1.0
        return 0.0 if self.freedom is None else self.anchor.trust * self.freedom.trust

    def facts(self) -> dict[str, Any]:
        """Return what past steps showed about the means, JSON values for a bundle."""
        anchor = {} if self.anchor is None else self.anchor.facts()
        return anchor if self.freedom is None else anchor | self.freedom.facts()


def fit(
    reader: Reader,
    draw: Draw,
    options: TrainOptions,
    folder: Path,
    *,
    steps: int,
    watch: Watch = Watch(),
    start: Mapping[str, np.ndarray] | None = None,
    freedom: Freedom | None = None,
    cooling: bool = False,
) -> FittedForecaster:
    """Fit one network, from the last checkpoint of ``folder`` if there is one.

    An epoch has ``steps``. With fewer than four validation blocks all epochs are run. ``start`` has
    the weights to begin with; by default they are random. ``freedom`` is that of an earlier fit; by
    default the validation blocks decide. With ``cooling`` the learning rate falls to nothing over
    all epochs, which suits a fit that no score ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(options.seed, verbose=False)
    windows = validation_windows(reader, options)
    choosing = chooses(reader)
    network = Forecaster.of(reader.spec, reader.scaler)
    if start is not None:
        # buffers are the anchor's, which is fitted to the new data in closed form
        copy_weights(network, start, dict(network.named_parameters()))
    anchor = fit_anchor(network, reader, seed=options.seed)
    module = Fit(network, reader, options, draw, steps=steps, cooling=cooling)
    last = folder / f"{LAST}.ckpt"
    if not (folder / _DONE).is_file():
        early = EarlyStopping("val_loss", patience=options.patience, min_delta=_GAIN)
        stop = [early] if choosing else []
        callbacks = [
            *stop,
            _Reporter(watch.progress, watch.what),
            *checkpoints(folder, judged=choosing),
        ]
        trainer = _trainer(options, folder, callbacks, watch.logs, validated=bool(len(windows)))
        with interruptible():
            trainer.fit(module, ckpt_path=last if last.is_file() else None, weights_only=True)
        if trainer.is_global_zero:
            best = best_of(trainer)
            saved = torch.load(folder / best, weights_only=True, map_location="cpu")
            facts = {"best": best, "epochs": int(saved["epoch"]) + 1, "rows": rows_of(trainer)}
            Folder(str(folder)).write(_DONE, as_json(facts).encode())
        trainer.strategy.barrier()
    done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    saved = torch.load(folder / done["best"], weights_only=True, map_location="cpu")
    module.load_state_dict(saved["state_dict"])
    network = module.best.cpu().eval()
    if anchor is not None and not anchor.held:
        freedom = freedom or freedom_of(network, reader, windows)
        network.free_means(freedom.trust)
    # Scored again with the stored weights: a run resumed after its end has no scores in memory.
    scores = ValidationScores(reader, by=module.criterion.figure)
    for some in windows.together():
        batches = [batch for _, batch in some]
        scores.add(in_threads(partial(scores.score, network), batches))
    return FittedForecaster(network, done["epochs"], scores.loss(), scores.leads(), anchor, freedom)


def _trainer(
    options: TrainOptions,
    folder: Path,
    callbacks: list[Callback],
    logs: Sequence[Any],
    *,
    validated: bool,
) -> pl.Trainer:
    """Set up Lightning: it fits, and everything it would print or draw is off."""
    return pl.Trainer(
        **hardware(options),
        precision="bf16-mixed" if precision_of(options) == "bfloat16" else "32-true",
        max_epochs=options.epochs,
        gradient_clip_val=options.clip,
        callbacks=callbacks,
        logger=list(logs),
        limit_val_batches=None if validated else 0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # each epoch has chips of its own
        use_distributed_sampler=False,  # Chips shares out the chips itself
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        # other strategies bring their own way to write checkpoints
        plugins=[Whole()] if options.parallel in ("auto", "ddp") else [],
    )


def precision_of(options: TrainOptions) -> str:
    """Return the precision of the convolutions of a fit, on this machine."""
    if options.precision != "auto":
        return options.precision
    return "bfloat16" if native_bfloat16(options.device) else "float32"


class _Reporter(Callback):
    """Reports progress after each epoch."""

    def __init__(self, progress: Progress, what: str):
        self.progress, self.what = progress, what

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = {k: float(v) for k, v in trainer.callback_metrics.items()}
        text = f"loss {figures.get('train_loss', float('nan')):.3f}"
        if "val_crps_skill_h1" in figures:
            text += f", validation CRPS skill at lead 1 {figures['val_crps_skill_h1']:+.3f}"
        if trainer.is_global_zero:
            done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
            self.progress.step(done, epochs, f"{self.what}: {text}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        early = trainer.early_stopping_callback
        if not (trainer.is_global_zero and isinstance(early, EarlyStopping)):
            return
        if early.stopped_epoch:
            self.progress.note(
                f"{self.what}: ended after epoch {early.stopped_epoch + 1}, as {early.patience} "
                "epochs gained nothing more"
            )
        elif 2 * early.wait_count < early.patience:
            epochs = trainer.max_epochs or 0
            self.progress.note(
                f"{self.what}: the skill still rose in the last of {epochs} epochs; more epochs "
                f"may raise it further (train.epochs: {2 * epochs})"
            )


def figures_of(folder: Path) -> list[Row]:
    """Return the figures of each epoch of a finished fit."""
    facts = json.loads((folder / _DONE).read_bytes())
    rows = facts.get("rows", ())  # older releases did not write them
    return [{key: float("nan") if x is None else x for key, x in row.items()} for row in rows]
