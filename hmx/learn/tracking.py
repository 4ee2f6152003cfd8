"""Tracking: where training figures go. A CSV always, Weights & Biases when asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

LOG = "training.csv"


def loggers(
    folder: Path,
    *,
    wandb: Literal["offline", "online", "disabled"] = "disabled",
    project: str = "hmx",
    config: Mapping[str, Any] | None = None,
) -> list[Logger]:
    """Open the loggers of one run.

    Parameters
    ----------
    folder : Path
        Working folder of the run, for the CSV.
    wandb : {"offline", "online", "disabled"}
        Offline runs land in ``wandb/`` beside ``folder`` and can be synced later.
    project : str
        Project at Weights & Biases.
    config : mapping, optional
        Options and data of the run.
    """
    found: list[Logger] = [CSVLogger(folder, name="", version="log", flush_logs_every_n_steps=10)]
    if wandb != "disabled":
        run = WandbLogger(project=project, save_dir=folder.parent, offline=wandb == "offline")
        run.log_hyperparams(dict(config or {}))
        found.append(run)
    return found


def close(found: list[Logger]) -> None:
    """Finish the Weights & Biases run, if there is one."""
    for logger in found:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(quiet=True)
