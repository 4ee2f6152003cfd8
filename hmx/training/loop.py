"""Loop: hardware, interruption and silence of a fit."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pytorch_lightning.utilities import rank_zero_only

from hmx.files.lock import building
from hmx.hardware import choose_device
from hmx.progress import Progress


@dataclass(frozen=True)
class Watch:
    """What follows a fit: its progress, its loggers, and its name in texts."""

    progress: Progress = Progress()
    logs: Sequence[Any] = ()
    what: str = "training"


class FitOptions(Protocol):
    """The hardware options of a fit, which both jobs have."""

    @property
    def device(self) -> str:
        """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

    @property
    def devices(self) -> int:
        """Devices of a node."""

    @property
    def parallel(self) -> str:
        """Strategy of Lightning."""

    @property
    def num_nodes(self) -> int:
        """Nodes that train one model together."""


def hardware(options: FitOptions) -> dict[str, Any]:
    """Translate device, devices, parallel and num_nodes for Lightning."""
    chosen = choose_device(options.device)
    devices: Any = options.devices
    if chosen.type == "cuda" and chosen.index is not None:
        devices = [chosen.index]  # a list names devices, a number counts them
    return {
        "accelerator": "gpu" if chosen.type == "cuda" else "cpu",
        "devices": devices,
        "strategy": options.parallel,
        "num_nodes": options.num_nodes,
    }


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C back into KeyboardInterrupt, and restore the handler."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        # Python sets signal handlers in the main thread alone
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice on settings that users cannot change."""
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


def leads_processes() -> bool:
    """Return True in the one process that writes, of all that train one model."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0


def wait() -> None:
    """Wait for the other processes that train the same model."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def follows(options: FitOptions) -> bool:
    """Return True for a process that another one has started to train the same model."""
    # Lightning reads this rank from the environment, before torch.distributed starts
    return options.devices * options.num_nodes > 1 and bool(getattr(rank_zero_only, "rank", 0))


def alone(
    out: str | Path | None, options: FitOptions, progress: Progress | None = None
) -> AbstractContextManager[None]:
    """Lock a model's folder against other runs; the processes of one run share the lock."""
    # a process that follows would wait for the lock of the one that leads
    if out is None or follows(options):
        return nullcontext()
    return building(out, progress)
