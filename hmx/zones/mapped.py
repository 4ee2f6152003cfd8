"""Mapped: arrays in files of a folder, which the processes of a machine read as memory."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save(values: NDArray[Any], path: str) -> str:
    """Save an array whole; who has mapped a former one keeps it."""
    whole = Path(path)
    whole.parent.mkdir(parents=True, exist_ok=True)
    draft = whole.with_name(f"{whole.stem}.{os.getpid()}.draft.npy")
    np.save(draft, values)
    draft.replace(whole)
    return path


def mapped(path: str) -> NDArray[Any]:
    """Map an array into memory, once per process and state of the file."""
    stat = os.stat(path)
    return _opened(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: str, *state: int) -> NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))
