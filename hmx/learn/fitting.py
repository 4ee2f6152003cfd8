"""Fitting: one run of Lightning, which goes on from where it was stopped."""

from __future__ import annotations

import json
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.utilities import rank_zero_only

from hmx.durable import Folder
from hmx.jsontext import as_json
from hmx.learn.anchor import fit_anchor
from hmx.learn.checkpoints import LAST, Row, Whole, best_of, checkpoints, rows_of
from hmx.learn.data import Draw, Reader
from hmx.learn.judge import Judge
from hmx.learn.module import Fit, validation_windows
from hmx.lock import building
from hmx.map_train_options import MapTrainOptions
from hmx.models.forecaster import Forecaster
from hmx.options import TrainOptions
from hmx.predict.step import choose_device
from hmx.progress import Progress

_DONE = "done.json"


@dataclass(frozen=True)
class Fitted:
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
) -> Fitted:
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


def hardware(options: TrainOptions | MapTrainOptions) -> dict[str, Any]:
    """Translate device, devices, parallel and num_nodes for Lightning."""
    place = choose_device(options.device)
    devices: Any = options.devices
    if place.type == "cuda" and place.index is not None:
        devices = [place.index]
    return {
        "accelerator": "gpu" if place.type == "cuda" else "cpu",
        "devices": devices,
        "strategy": options.parallel,
        "num_nodes": options.num_nodes,
    }


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
            self.progress(done, epochs, f"{self.what}: {text}")


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


def _best(module: Fit, folder: Path, *, judged: bool) -> Fitted:
    """Take the weights that did best, and score them again as they will be stored."""
    done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    state = torch.load(folder / done["best"], weights_only=True, map_location="cpu")["state_dict"]
    module.load_state_dict(state)
    network = module.best.cpu().eval()
    judge = Judge(module.reader)
    if judged:
        windows = validation_windows(module.reader, module.options)
        for index in range(len(windows)):
            judge.see(network, windows[index])
    return Fitted(network, done["epochs"], judge.loss(), judge.leads())


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be Ctrl-C: Lightning ends the process instead, and ignores the next one."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advice on settings that are ours from the user's terminal."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
            yield
    finally:
        logger.setLevel(level)


def follows(options: TrainOptions | MapTrainOptions) -> bool:
    """Return True for a process that another one has started to train the same model."""
    return options.devices * options.num_nodes > 1 and bool(getattr(rank_zero_only, "rank", 0))


def alone(
    out: str | Path | None,
    options: TrainOptions | MapTrainOptions,
    say: Callable[[str], object] | None = None,
) -> AbstractContextManager[None]:
    """Be the only run that makes a model; the processes of one run are one."""
    if out is None or follows(options):
        return nullcontext()
    return building(out) if say is None else building(out, say)


def leads_processes() -> bool:
    """Tell whether this is the process that writes, of those that train one model."""
    apart = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not apart or torch.distributed.get_rank() == 0


def wait() -> None:
    """Wait for the other processes that train the same model."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
