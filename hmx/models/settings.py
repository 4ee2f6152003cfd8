"""Settings: torch as hmx needs it, whatever a session has set, and left as it was.

Other libraries make float64 the default, compute on a default device, or switch
gradients off for a whole notebook. Training also seeds the generators; those of the
session go on afterwards as if nothing had been drawn.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_SEEDS = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # what Lightning leaves in the environment


class _Float32:
    """The default type is one for all threads: the first in changes it, the last out back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, torch.float32

    def enter(self) -> None:
        """Make float32 the default."""
        with self._lock:
            if not self._inside:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._inside += 1

    def leave(self) -> None:
        """Give back the session's default, if nobody else needs float32."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.set_default_dtype(self._before)


_float32 = _Float32()


@contextmanager
def plain_torch() -> Iterator[None]:
    """Build networks in float32 on the CPU, whatever the defaults are."""
    _float32.enter()
    try:
        with torch.device("cpu"):
            yield
    finally:
        _float32.leave()


@contextmanager
def for_training() -> Iterator[None]:
    """Build and fit in float32, with gradients and with seeds of its own."""
    numbers, draws = np.random.get_state(), random.getstate()  # noqa: NPY002
    seeds = {name: os.environ.get(name) for name in _SEEDS}
    try:
        with (
            torch.random.fork_rng(),
            plain_torch(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        random.setstate(draws)
        for name, value in seeds.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
