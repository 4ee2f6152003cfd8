"""Train: check -> plan -> fit -> judge -> write.

Lightning fits; what is kept is a :class:`hmx.bundle.Bundle` made of the weights
that did best on the validation blocks, scored again as stored.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from hmx.bundle import Bundle, Spec, load, require_bundle_place
from hmx.cube import Cube, Cubelike, Rules, enter
from hmx.errors import BadArgument
from hmx.folds import CALIBRATION, VALIDATION, block_side, deal
from hmx.learn.calibrate import calibrate
from hmx.learn.data import Reader
from hmx.learn.module import Fit, Pairs, add_scores, relative_error, validation_windows
from hmx.learn.tracking import close, keep_log, loggers
from hmx.metrics import Score, skill
from hmx.models.forecaster import Forecaster, reach
from hmx.options import ModelOptions, TrainOptions
from hmx.predict.step import choose_device
from hmx.progress import Progress, silent
from hmx.provenance import code_version, fingerprint
from hmx.samples import count_valid, in_memory, training_blocks
from hmx.scaling import fit_scaler

_RECIPE, _LAST, _BEST = "recipe.json", "last.ckpt", "best"
_LEAST_CORE = 8  # px of a chip that must be scored at the farthest lead


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a trained model, beside the data.

    Parameters
    ----------
    target : str, optional
        Variable to predict.
    dynamic, static : sequence of str, optional
        Covariates.
    network : ModelOptions
        The network.
    fit : TrainOptions
        The fit.
    track : mapping
        Arguments of :func:`hmx.learn.tracking.loggers`.
    """

    target: str | None = None
    dynamic: Sequence[str] | None = None
    static: Sequence[str] | None = None
    network: ModelOptions = field(default_factory=ModelOptions)
    fit: TrainOptions = field(default_factory=TrainOptions)
    track: Mapping[str, Any] | None = None


def train(
    obj: Cubelike, recipe: Recipe, *, out: str | Path | None = None, progress: Progress = silent
) -> Bundle:
    """Fit a forecaster to a cube.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube; all of its time steps may be learnt from.
    recipe : Recipe
        What to fit, and how.
    out : str or Path, optional
        Folder for the bundle. While training runs, ``OUT.training`` beside it
        holds the checkpoints from which a killed run goes on.
    progress : callable
        Told (epochs done, epochs, text).

    Returns
    -------
    Bundle
        Saved, if ``out`` was given.

    Raises
    ------
    BadArgument, CubeError, MissingVariable
        If recipe and cube do not fit.
    OutputExists
        If ``out`` holds something else.
    """
    started = time.monotonic()
    if out is not None:
        require_bundle_place(Path(out))
    cube = enter(obj, target=recipe.target, dynamic=recipe.dynamic, static=recipe.static)
    reader = plan(cube, recipe)
    with _workplace(out, reader, recipe) as folder, _quiet():
        trainer, fit = _fit(reader, recipe, folder, progress)
        if trainer.is_global_zero:
            bundle = _judge(fit, trainer, reader, recipe, seconds=time.monotonic() - started)
            if out is not None:
                bundle = bundle.save(out)
                keep_log(folder, Path(out))
        trainer.strategy.barrier()
    return bundle if trainer.is_global_zero else load(str(out))


def plan(cube: Cube, recipe: Recipe) -> Reader:
    """Split, scale and describe a cube for training, without fitting anything.

    Parameters
    ----------
    cube : Cube
        Entered.
    recipe : Recipe
        Its options decide the split and the network.

    Returns
    -------
    Reader
        Cuts training samples.
    """
    cube.require_history(recipe.network.history + 1)
    _check_chip(cube, recipe)
    spec = Spec(
        target=cube.target,
        dynamic=cube.dynamic,
        static=cube.static,
        network=recipe.network,
        h=recipe.fit.h,
        cadence=str(cube.cadence),
        pixel_size_m=cube.grid.pixel_size_m,
        valid_range=Rules.of(cube.data[cube.target]).valid_range,
        units=cube.data[cube.target].attrs.get("units"),
    )
    cube = in_memory(cube)
    block = block_side(cube.grid.shape, recipe.fit.block)
    split = deal(
        count_valid(cube, block),
        cube.grid.shape,
        block=block,
        shares={VALIDATION: recipe.fit.validation, CALIBRATION: recipe.fit.calibration},
        seed=recipe.fit.seed,
    )
    scaler = fit_scaler(training_blocks(cube, split), cube.target, recipe.fit.h)
    return Reader(cube, spec, scaler, split)


def _check_chip(cube: Cube, recipe: Recipe) -> None:
    """Refuse a chip whose far leads could not be scored anywhere inside the cube."""
    rim, side = reach(recipe.network, recipe.fit.h), recipe.fit.chip
    if side - 2 * rim < _LEAST_CORE and side < min(cube.grid.shape):
        raise BadArgument(
            f"chip={side} does not fit a network that reaches {rim} px in {recipe.fit.h} leads: "
            f"a chip must exceed twice the reach. Pass chip={2 * rim + 4 * _LEAST_CORE}."
        )


def _fit(
    reader: Reader, recipe: Recipe, folder: Path, progress: Progress
) -> tuple[pl.Trainer, Fit]:
    """Run Lightning, from the last checkpoint of the folder if there is one."""
    options = recipe.fit
    pl.seed_everything(options.seed, verbose=False)
    fit = Fit(Forecaster.of(reader.spec, reader.scaler), reader, options)
    judged = bool(len(validation_windows(reader, options)))
    logs = loggers(folder, **dict(recipe.track or {}), config=_facts(reader, recipe))
    trainer = pl.Trainer(
        **_hardware(options),
        max_epochs=options.epochs,
        gradient_clip_val=options.clip,
        callbacks=_callbacks(folder, options, progress, judged=judged),
        logger=logs,
        limit_val_batches=None if judged else 0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / _LAST
    with _interruptible():
        trainer.fit(fit, ckpt_path=last if last.is_file() else None, weights_only=True)
    close(logs)
    return trainer, fit


def _hardware(options: TrainOptions) -> dict[str, Any]:
    """Translate device, devices, strategy and num_nodes for Lightning."""
    place = choose_device(options.device)
    devices: Any = options.devices
    if place.type == "cuda" and place.index is not None:
        devices = [place.index]
    return {
        "accelerator": "gpu" if place.type == "cuda" else "cpu",
        "devices": devices,
        "strategy": options.strategy,
        "num_nodes": options.num_nodes,
    }


def _callbacks(
    folder: Path, options: TrainOptions, progress: Progress, *, judged: bool
) -> list[Callback]:
    last = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    if not judged:
        return [last, _Reporter(progress)]
    best = ModelCheckpoint(folder, filename=_BEST, monitor="val_loss", enable_version_counter=False)
    stop = EarlyStopping("val_loss", patience=options.patience)
    return [last, best, stop, _Reporter(progress)]


class _Reporter(Callback):
    """Tells progress after each epoch."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = {k: float(v) for k, v in trainer.callback_metrics.items()}
        text = f"loss {figures.get('train_loss', float('nan')):.3f}"
        if "val_skill_h1" in figures:
            text += f", validation skill at lead 1 {figures['val_skill_h1']:+.3f}"
        if trainer.is_global_zero:
            self.progress(trainer.current_epoch + 1, trainer.max_epochs or 0, f"training: {text}")


def _judge(
    fit: Fit, trainer: pl.Trainer, reader: Reader, recipe: Recipe, *, seconds: float
) -> Bundle:
    """Take the best weights, score them again as they will be stored, calibrate."""
    best = next(
        (c.best_model_path for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)), ""
    )
    network = fit.network.cpu()
    if best:
        state = torch.load(best, weights_only=True, map_location="cpu")["state_dict"]
        network.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
    network = network.eval()
    weights = {k: v.detach().contiguous().numpy() for k, v in network.state_dict().items()}
    return Bundle(
        spec=reader.spec,
        scaler=reader.scaler,
        weights=weights,
        calibration=calibrate(network, reader, seed=recipe.fit.seed),
        training={
            **_facts(reader, recipe),
            "hmx": code_version(),
            "seed": recipe.fit.seed,
            "epochs_run": trainer.current_epoch,
            "seconds": round(seconds, 1),
            "validation": _scores(network, reader, recipe.fit),
        },
    )


def _scores(network: Forecaster, reader: Reader, options: TrainOptions) -> dict[str, Any]:
    """Score weights on the validation blocks; these figures go into the bundle."""
    scores: Pairs = [(Score(), Score())] * reader.spec.h
    windows = validation_windows(reader, options)
    with torch.inference_mode():
        for index in range(len(windows)):
            scores = add_scores(scores, network, windows[index])
    leads = {
        str(lead): {"n": ours.count, "rmse": ours.rmse, "skill": skill(ours, still)}
        for lead, (ours, still) in enumerate(scores, start=1)
        if ours.count and still.rmse > 0
    }
    return {"loss": relative_error(scores), "leads": leads}


def _facts(reader: Reader, recipe: Recipe) -> dict[str, Any]:
    """Say what was asked and of which data, in JSON values."""
    times = reader.cube.data["time"].values
    return {
        "network": recipe.network.model_dump(),
        "fit": recipe.fit.model_dump(),
        "steps": [str(times[0])[:10], str(times[-1])[:10], len(times)],
        "split": reader.split.digest,
        "data": reader.cube.data.attrs.get("hmx_fingerprint"),
    }


@contextmanager
def _workplace(out: str | Path | None, reader: Reader, recipe: Recipe) -> Iterator[Path]:
    """Lend a folder for checkpoints; one that outlives a kill, if ``out`` is given."""
    if out is None:
        if recipe.fit.devices * recipe.fit.num_nodes > 1:
            raise BadArgument(
                "training in several processes needs a folder that all of them see. "
                "Pass out='models/demo'."
            )
        with tempfile.TemporaryDirectory(prefix="hmx-training-") as folder:
            yield Path(folder)
        return
    work = Path(out).resolve().with_name(Path(out).name + ".training")
    recorded, now = work / _RECIPE, fingerprint([_facts(reader, recipe), str(reader.scaler)])
    if not recorded.is_file() or json.loads(recorded.read_text()).get("fingerprint") != now:
        if recorded.is_file():  # ours, but of another recipe: its checkpoints are of no use
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        recorded.write_text(json.dumps({"fingerprint": now}))
    yield work
    shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
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
