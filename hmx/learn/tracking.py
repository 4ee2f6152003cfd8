"""Tracking: where training figures go. A CSV always, Weights & Biases when asked."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

LOG = "training.csv"
_ATTEMPT = "attempt-"
_FIRST = ("epoch", "step")


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
    attempt = len(list(folder.glob(f"{_ATTEMPT}*")))  # one log for each time a run was resumed
    found: list[Logger] = [CSVLogger(folder, name="", version=f"{_ATTEMPT}{attempt}")]
    if wandb != "disabled":
        run = WandbLogger(project=project, save_dir=folder.parent, offline=wandb == "offline")
        run.log_hyperparams(dict(config or {}))
        found.append(run)
    return found


def close(found: list[Logger]) -> None:
    """Finish the Weights & Biases run, if there is one."""
    for logger in found:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def keep_log(folder: Path, out: Path) -> None:
    """Join the CSVs of a run's attempts into one beside the model.

    Parameters
    ----------
    folder : Path
        Working folder of the run.
    out : Path
        Folder of the bundle.
    """
    rows: list[dict[str, str]] = []
    for attempt in sorted(folder.glob(f"{_ATTEMPT}*/metrics.csv")):
        with attempt.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    names = sorted({name for row in rows for name in row}, key=lambda n: (n not in _FIRST, n))
    with (out / LOG).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
