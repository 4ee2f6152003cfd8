"""Heap: arrays that are freed make room for the next ones, without a way round by the kernel.

By default glibc gives every array above 32 MiB, and the free end of a heap, back to the kernel.
The next window maps it anew, and the kernel zeroes each page: up to half of the CPU time of a
job. Threads have heaps of 64 MiB, so that larger arrays of theirs are mapped in any case. Both
can be chosen once per process, best before it has threads; other allocators are left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

_LARGE = 1 << 30  # bytes that a process keeps, or maps apart from its heap
# Parameters of mallopt (as glibc's malloc.h numbers them), the variables of the environment that
# mean the same in a process that starts, and values.
_CHOICES = (
    (-8, "MALLOC_ARENA_MAX", 1),  # threads use the heap of the process, which has no end
    (-3, "MALLOC_MMAP_THRESHOLD_", _LARGE),
    (-1, "MALLOC_TRIM_THRESHOLD_", _LARGE),  # distributed sets it for its workers, to 64 KiB
    (-2, "MALLOC_TOP_PAD_", 64 << 20),  # a thread that has a heap keeps it
)
VARIABLES = {name: str(value) for _, name, value in _CHOICES}


@cache
def reuse_memory() -> None:
    """Let this process keep freed memory for its next arrays, once and for all.

    Nothing happens without glibc, or where ``MALLOC_MMAP_THRESHOLD_`` or ``GLIBC_TUNABLES``
    are somebody's own choice. :func:`release_memory` gives back what is free.
    """
    given = os.environ.get("MALLOC_MMAP_THRESHOLD_")
    if "GLIBC_TUNABLES" in os.environ or given not in (None, str(_LARGE)):
        return
    if (mallopt := _libc("mallopt")) is not None:
        for parameter, _, value in _CHOICES:
            mallopt(parameter, value)


def release_memory() -> None:
    """Give free memory back to the system, at the end of work that needed much of it."""
    if (trim := _libc("malloc_trim")) is not None:
        trim(0)


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; ``None`` elsewhere: musl and macOS have other allocators."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return getattr(library, name, None) if hasattr(library, "gnu_get_libc_version") else None
