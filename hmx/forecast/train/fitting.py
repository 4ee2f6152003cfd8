"""Fitting: one run of Lightning, which goes on from where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.anchor import fit_anchor
from hmx.forecast.train.data import Draw, Reader
from hmx.forecast.train.judge import ValidationScores
from hmx.forecast.train.module import Fit, validation_windows
from hmx.networks.forecaster import Forecaster
from hmx.progress import Progress
from hmx.training.checkpoints import LAST, Row, Whole, best_of, checkpoints, rows_of
from hmx.training.loop import hardware, interruptible

_DONE = "done.json"


@dataclass(frozen=True)
class FittedForecaster:
    """A network with the weights that did best, and what was measured of it.

    Parameters
    ----------
    network : Forecaster
        In float32, on the CPU.
    epochs : int
        Epochs after which it had these weights.
    loss : float
        On the validation blocks, relative to persistence; 1 without any.
    leads : mapping
        Its scores on the validation blocks by lead, as stored weights give them.
    gain : float, optional
        RMSE skill of anchors on origins left out; without an anchor, or where it cannot
        be told, ``None``.
    """

    network: Forecaster
    epochs: int
    loss: float
    leads: Mapping[str, Any]
    gain: float | None = None


def fit(
    reader: Reader,
    draw: Draw,
    options: TrainOptions,
    folder: Path,
    *,
    logs: list[Any],
    progress: Progress,
    what: str = "training",
) -> FittedForecaster:
    """Fit one network, from the last checkpoint of a folder if there is one.

    Parameters
    ----------
    reader : Reader
        Where samples come from; without validation blocks all epochs are run.
    draw : Draw
        Where chips lie.
    options : TrainOptions
        Of the fit.
    folder : Path
        For checkpoints.
    logs : list of Logger
        Where figures go.
    progress : callable
        Told (epochs done, epochs, text).
    what : str
        Names this run in the text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(options.seed, verbose=False)
    judged = bool(len(validation_windows(reader, options)))
    network = Forecaster.of(reader.spec, reader.scaler)
    gain = fit_anchor(network, reader, seed=options.seed)
    module = Fit(network, reader, options, draw)
    last = folder / f"{LAST}.ckpt"
    if not (folder / _DONE).is_file():
        trainer = _trainer(options, folder, logs, progress, judged=judged, what=what)
        with interruptible():
            trainer.fit(module, ckpt_path=last if last.is_file() else None, weights_only=True)
        if trainer.is_global_zero:
            _write_down(trainer, folder)
        trainer.strategy.barrier()
    return replace(_best(module, folder, judged=judged), gain=gain)


def _trainer(
    options: TrainOptions,
    folder: Path,
    logs: list[Any],
    progress: Progress,
    *,
    judged: bool,
    what: str,
) -> pl.Trainer:
    return pl.Trainer(
        **hardware(options),
        precision="bf16-mixed" if options.precision == "bfloat16" else "32-true",
        max_epochs=options.epochs,
        gradient_clip_val=options.clip,
        callbacks=_callbacks(folder, options, progress, judged=judged, what=what),
        logger=logs,
        limit_val_batches=None if judged else 0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        plugins=[Whole()] if options.parallel in ("auto", "ddp") else [],  # others have their own
    )


def _callbacks(
    folder: Path, options: TrainOptions, progress: Progress, *, judged: bool, what: str
) -> list[Callback]:
    stop = [EarlyStopping("val_loss", patience=options.patience)] if judged else []
    return [*stop, _Reporter(progress, what), *checkpoints(folder, judged=judged)]


class _Reporter(Callback):
    """Tells progress after each epoch."""

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


def _write_down(trainer: pl.Trainer, folder: Path) -> None:
    """Note that a fit is over, after how many epochs it was best, and the figures of all."""
    best = best_of(trainer)
    epoch = int(torch.load(folder / best, weights_only=True, map_location="cpu")["epoch"])
    facts = {"best": best, "epochs": epoch + 1, "rows": rows_of(trainer)}
    Folder(str(folder)).write(_DONE, as_json(facts).encode())


def figures_of(folder: Path) -> list[Row]:
    """Return the figures of each epoch of a fit that is over."""
    facts = json.loads((folder / _DONE).read_bytes())
    rows = facts.get("rows", ())  # which older releases did not write down
    return [{key: float("nan") if x is None else x for key, x in row.items()} for row in rows]


def _best(module: Fit, folder: Path, *, judged: bool) -> FittedForecaster:
    """Take the weights that did best, and score them again as they will be stored."""
    done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    state = torch.load(folder / done["best"], weights_only=True, map_location="cpu")["state_dict"]
    module.load_state_dict(state)
    network = module.best.cpu().eval()
    judge = ValidationScores(module.reader)
    if judged:
        windows = validation_windows(module.reader, module.options)
        for index in range(len(windows)):
            judge.see(network, windows[index])
    return FittedForecaster(network, done["epochs"], judge.loss(), judge.leads())
