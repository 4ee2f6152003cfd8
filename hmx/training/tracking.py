"""Tracking: where training figures go. A CSV always, Weights & Biases when asked.

Weights & Biases may be absent, offline or broken, and training continues: its error
becomes a warning of one line, and the CSV has every figure.
:data:`hmx.training.metrics.METRICS` names every figure that is logged.
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from hmx.redact import redact_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = "training.csv"
PANEL = "panel.png"
_ATTEMPT = "attempt-"
_FIRST = ("run", "seed", "epoch", "epochs", "step")
_STEP = "trainer/global_step"  # the name WandbLogger gives to the x axis of all figures
_DPI = 100  # 1,200 px for the 12 inches of a panel

Warn = Callable[[str], object]


def loggers(
    folder: Path,
    *,
    wandb: Literal["offline", "online", "disabled"] = "disabled",
    project: str = "hmx",
    config: Mapping[str, Any] | None = None,
    group: str | None = None,
    name: str | None = None,
    parent: Path | None = None,
    warn: Warn | None = None,
) -> list[Logger]:
    """Open the loggers of one run."""
    attempt = len(list(folder.glob(f"{_ATTEMPT}*")))  # one log for each time a run was resumed
    found: list[Logger] = [CSVLogger(folder, name="", version=f"{_ATTEMPT}{attempt}")]
    # one run for all processes that train one model
    if wandb != "disabled" and rank_zero_only.rank == 0:
        guard = _Guard(warn or logging.getLogger(__name__).warning)
        about = {"project": project, "group": group, "name": name, "mode": wandb}
        run = guard(_start, parent or folder.parent, about, config or {})
        if run is not None:
            found.append(_GuardedLogger(run, guard))
    return found


def _start(parent: Path, about: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """Start a run that records nothing of the machine and prints nothing."""
    import wandb

    # a fit records its figures, and nothing of the user's machine, code or packages
    quiet = wandb.Settings(
        silent=True,
        console="off",
        symlink=False,
        disable_git=True,
        host="",  # else the name of the machine is sent
        program="",  # else the path of the script is sent
        disable_job_creation=True,
        save_code=False,
        init_timeout=30,
        reinit="create_new",  # a run that the user has open stays theirs
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    with contextlib.redirect_stderr(io.StringIO()):  # where it would ask for a key, and wait
        run = wandb.init(dir=str(parent), config=redact_all(config), settings=quiet, **about)
    run.define_metric(_STEP)
    run.define_metric("*", step_metric=_STEP, step_sync=True)
    return run


class _Guard:
    """Runs calls that may fail: it reports the first failure, and makes no call after it."""

    def __init__(self, warn: Warn):
        self.warn, self.broken = warn, False

    def __call__(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.broken:
            return None
        try:
            return call(*args, **options)
        except Exception as error:  # whatever it is, a fit of hours is worth more
            self.broken = True
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            self.warn(
                f"Weights & Biases failed ({why[:200]}); the CSV goes on without it. "
                "Log in with wandb login, or write track: {wandb: offline}."
            )
            return None


class _GuardedLogger(WandbLogger):
    """Lightning's logger, except that it never fails a fit."""

    def __init__(self, run: Any, guard: _Guard):
        super().__init__(project=run.project, save_dir=run.settings.root_dir, experiment=run)
        self.guard = guard

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.guard(super().log_metrics, metrics, step)

    def log_hyperparams(self, params: Any) -> None:
        self.guard(super().log_hyperparams, params)


def _tracked(found: Sequence[Logger]) -> Iterable[_GuardedLogger]:
    return (logger for logger in found if isinstance(logger, _GuardedLogger))


def close(found: Sequence[Logger]) -> None:
    """Finish the Weights & Biases run, if there is one, also one that broke."""
    for logger in _tracked(found):
        if logger.guard.broken:
            with contextlib.suppress(Exception):  # already reported
                logger.experiment.finish()
        else:
            logger.guard(logger.experiment.finish)


def png(figure: Figure) -> bytes:
    """Render a figure as PNG, 100 dots per inch."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI)
    return picture.getvalue()


def log_pictures(found: Sequence[Logger], draw: Callable[[], Mapping[str, Figure]]) -> None:
    """Send pictures to Weights & Biases, as images by name; they are drawn only for it."""
    for logger in _tracked(found):
        logger.guard(_send_pictures, logger.experiment, draw)


def _send_pictures(run: Any, draw: Callable[[], Mapping[str, Figure]]) -> None:
    import wandb

    with tempfile.TemporaryDirectory(prefix="hmx-pictures-") as folder:
        images = {}
        for name, figure in draw().items():
            path = Path(folder, f"{name}.png")
            path.write_bytes(png(figure))
            images[name] = wandb.Image(str(path))
        run.log(images)


def log_table(found: Sequence[Logger], name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Send rows of figures, all with the same names, to Weights & Biases as a table."""
    for logger in _tracked(found):
        logger.guard(_send_table, logger.experiment, name, rows)


def _send_table(run: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    import wandb

    data = [list(row.values()) for row in rows]
    run.log({name: wandb.Table(columns=list(rows[0]), data=data)})


def log_bundle(
    found: Sequence[Logger], bundle: Path, *, name: str, metadata: Mapping[str, Any] | None = None
) -> None:
    """Send a bundle to Weights & Biases, as an artifact of type ``model``.

    Its files are first copied into the run's folder, so that an offline run can be synced
    later without the bundle. ``model: wandb:entity/project/name:v0`` then loads it.
    """
    for logger in _tracked(found):
        logger.guard(_send_bundle, logger.experiment, bundle, artifact_name(name), metadata or {})


def artifact_name(text: str) -> str:
    """Return a valid name of an artifact: letters, digits, ``-``, ``_`` and ``.``.

    Examples
    --------
    >>> artifact_name("Amapá, 5-yearly")
    'Amap-5-yearly'
    """
    # Weights & Biases takes names of at most 128 characters
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[:128] or "model"


def _send_bundle(run: Any, bundle: Path, name: str, metadata: Mapping[str, Any]) -> None:
    import wandb

    kept = Path(run.dir).parent / "bundle"  # next to files/, which the page of a run displays
    shutil.copytree(bundle, kept, dirs_exist_ok=True)
    artifact = wandb.Artifact(name, type="model", metadata=_plain(metadata))
    for file in sorted(path for path in kept.rglob("*") if path.is_file()):
        inner = file.relative_to(kept).as_posix()
        # the files are in the run's folder already, so no copy goes into a cache
        artifact.add_file(str(file), name=inner, policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def log_summary(found: Sequence[Logger], facts: Mapping[str, Any]) -> None:
    """Log facts of a run, such as ``split``, ``parameters`` and ``reach``, in JSON values.

    All go into the run's configuration and ``hparams.yaml`` next to the CSV; numbers and words
    also into the run's summary.
    """
    plain = _plain(facts)
    brief = {k: v for k, v in plain.items() if isinstance(v, bool | int | float | str)}
    for logger in found:
        if isinstance(logger, _GuardedLogger):
            logger.guard(logger.experiment.config.update, plain, allow_val_change=True)
            logger.guard(logger.experiment.summary.update, brief)
        elif isinstance(logger, CSVLogger):
            logger.log_hyperparams(plain)
            logger.save()


def _plain(value: Any) -> Any:
    """Turn tuples, paths and numpy scalars into values of JSON and YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def logged_rows(folder: Path) -> list[dict[str, str]]:
    """Read the CSVs of a run's attempts, one after the other."""
    rows: list[dict[str, str]] = []
    for attempt in sorted(folder.glob(f"{_ATTEMPT}*/metrics.csv")):
        with attempt.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows


def table(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Write figures as a CSV of a model's folder; run, epoch and step come first."""
    rows = list(rows)
    names = sorted({name for row in rows for name in row}, key=lambda n: (n not in _FIRST, n))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
