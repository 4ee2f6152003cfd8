"""Checkpoints: a killed fit resumes from them; each file is whole or absent.

At the end of each epoch the best weights are saved before the last ones, and both files
contain the figures of all epochs: a run that is killed at any moment resumes with
the best weights and with every figure once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from hmx.files.durable import Folder

LAST, BEST = "last", "best"
Row = Mapping[str, float]


class Whole(TorchCheckpointIO):
    """Writes a checkpoint next to its final path, then renames it: the file system is the same."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Replace a checkpoint by one that is on disk."""
        # in memory first, so that the file is written whole or not at all
        data = io.BytesIO()
        torch.save(checkpoint, data)
        Folder(str(Path(path).parent)).write(Path(path).name, data.getvalue())


class Rows(Checkpoint):
    """The figures of each epoch, which every checkpoint contains.

    A ``Checkpoint`` by name only: Lightning calls these last, when all of an epoch is known.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the logged figures of an epoch."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        at = {"epoch": trainer.current_epoch, "step": trainer.global_step - 1}
        self.rows.append({**at, **figures})

    def state_dict(self) -> dict[str, Any]:
        """Return the figures for a checkpoint."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the figures of a checkpoint."""
        self.rows = list(state_dict["rows"])


def checkpoints(folder: Path, *, judged: bool) -> list[Checkpoint]:
    """Return the callbacks that save each epoch, in order; ``judged`` if there are scores."""
    # no version counter, so that a resumed run finds its files under fixed names
    end: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    best = [ModelCheckpoint(folder, filename=BEST, monitor="val_loss", **end)] if judged else []
    # figures first, so that both files contain them; the best weights before the last
    return [Rows(), *best, ModelCheckpoint(folder, filename=LAST, **end)]


def rows_of(trainer: pl.Trainer) -> list[Row]:
    """Return the figures of all epochs of a fit, those before an interruption included."""
    return next(c.rows for c in trainer.checkpoint_callbacks if isinstance(c, Rows))


def best_of(trainer: pl.Trainer) -> str:
    """Return the name of the checkpoint with the best weights; without scores, the last."""
    best = next((c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None)), None)
    return Path(getattr(best, "best_model_path", "") or f"{LAST}.ckpt").name
