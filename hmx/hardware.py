"""Hardware: devices, threads, and float32 that is float32."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

from hmx.errors import BadArgument
from hmx.files.heap import reuse_memory

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
_computing = threading.Lock()


@contextmanager
def computing(threads: int | None = None) -> Iterator[None]:
    """Compute one window at a time, exactly, and without what training needs."""
    reuse_memory()
    with _computing, with_threads(threads), torch.inference_mode(), exact_float32(), on_cpu():
        yield


def on_cpu() -> AbstractContextManager[object]:
    """Make tensors on the CPU, whatever the session's default is.

    A context of a device takes each call of torch through Python, which is a fourth of the time
    of small work: none is entered where the CPU is the default anyway.
    """
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads, which OpenMP counts in each thread; then as before.

    Its threads wait for their next operation in loops that take a core each, for milliseconds.
    Small work between that of :func:`in_threads` is done with one thread therefore.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_threads(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[ResultT]:
    """Work on items at the same time, and yield the results in their order.

    The items share torch's threads, so each is computed with one thread while there are no more
    threads than items: results then do not depend on the number of threads. Threads that share
    an operation wait for each other at its end, thousands of times a second, and a program that
    takes one core slows down all; threads with items of their own never wait.
    """
    threads = torch.get_num_threads()
    count = min(threads, len(items))
    if count < 2:
        return map(work, items)

    def alone(item: ItemT) -> ResultT:
        with torch.set_grad_enabled(grad), with_threads(threads // count):
            return work(item)

    def together() -> Iterator[ResultT]:
        with matrix_threads(threads // count):
            yield from _pool(count).map(alone, items)

    grad = torch.is_grad_enabled()
    return together()


@contextmanager
def matrix_threads(count: int) -> Iterator[None]:
    """Let NumPy and SciPy multiply matrices with so many threads; then as before.

    Their library starts as many as there are cores for each product, whoever asks. Where several
    threads ask, or another program takes a core, these wait for each other in loops, and small
    products cost five times as much. The number is one for the whole process: the first to enter
    decides.
    """
    _matrices.enter(count)
    try:
        yield
    finally:
        _matrices.leave()


class _Matrices:
    """The library's number of threads: the first in sets it, the last out gives it back."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limits: Any = None

    def enter(self, count: int) -> None:
        """Set the number, if nobody else has."""
        with self._lock:
            if not self._inside:
                found = _libraries("scipy.linalg" in sys.modules)
                # a session that allows fewer threads keeps its number
                counts = [count, *(library.num_threads for library in found.lib_controllers)]
                self._limits = found.limit(limits=min(counts))
            self._inside += 1

    def leave(self) -> None:
        """Give back the session's number, if nobody else needs another."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


_matrices = _Matrices()


@cache
def _libraries(_with_scipy: bool) -> ThreadpoolController:
    """Find the libraries that multiply matrices; SciPy brings one of its own."""
    return ThreadpoolController().select(user_api="blas")


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Start threads once: each prepares memory and operations of its own."""
    return ThreadPoolExecutor(count, thread_name_prefix="hmx-compute")


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def is_computing() -> bool:
    """Return True if some thread of this process is in the middle of a window."""
    return _computing.locked()


def choose_device(device: str) -> torch.device:
    """Turn a device option into a torch device that exists here."""
    count = torch.cuda.device_count()
    if device == "auto":
        return torch.device("cuda" if count else "cpu")
    name, _, index = device.partition(":")
    if name == "cpu" and not index:
        return torch.device("cpu")
    if name == "cuda" and (not index or index.isdigit()) and int(index or 0) < count:
        return torch.device(device)
    found = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
    raise BadArgument(f"device={device!r} is not here (found: {found}). Pass device='auto'.")


def native_bfloat16(device: str) -> bool:
    """Return True if a device multiplies bfloat16 in hardware."""
    chosen = choose_device(device)
    if chosen.type == "cuda":  # since Ampere
        return torch.cuda.get_device_capability(chosen) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` does."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def torch_threads() -> int:
    """Return the threads that torch uses in this process."""
    import torch

    return torch.get_num_threads()


def threads_each(count: int) -> int:
    """Share this machine's cores out to processes, none above ``OMP_NUM_THREADS``."""
    share: int = max(1, CPU_COUNT // count)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, max(1, int(given))) if given.isdigit() else share


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep TF32 out of the convolutions on a GPU, whatever the process has chosen.

    Products have no such switch that is safe together with torch's older ones, so
    nothing here multiplies matrices on a GPU.
    """
    cudnn = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # torch before 2.9
        kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark}
        with cudnn.flags(**kept, deterministic=cudnn.deterministic, allow_tf32=False):
            yield
        return
    chosen = cudnn.conv.fp32_precision
    cudnn.conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        cudnn.conv.fp32_precision = chosen


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
        with on_cpu():
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
