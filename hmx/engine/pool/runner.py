"""How windows are run: a bounded sliding window of tasks on a Dask client.

The runner knows nothing of forecasts. It is given a callable and the arguments
of each call, keeps a few calls per worker thread in flight, tries again what
fails, and goes on with the rest when one call fails for good.
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from hmx.errors import DamagedStore, HmxError, JobFailed
from hmx.windows import Index

if TYPE_CHECKING:
    from distributed import Future

    from hmx.engine.pool.cluster import Pool

_TRIES = 3
_AHEAD = 2  # calls in flight per worker thread: one at work, one waiting at its door
_HOPELESS = 5  # calls that failed for good before any succeeded end the job
IN_FLIGHT = 2  # calls that a worker has in memory: one computes, one is read or written
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as malloc.h names them
_LOOK = 5.0  # seconds between looks at how many workers there are

# a worker that somebody else started may have many threads, and memory for two windows
_at_work = threading.BoundedSemaphore(IN_FLIGHT)


@dataclass(frozen=True)
class Task:
    """One window to run.

    Parameters
    ----------
    index : tuple of int
        Names it.
    arguments : tuple
        What the work is called with, after the index.
    tries : int
        How often it has failed.
    """

    index: Index
    arguments: tuple[Any, ...] = ()
    tries: int = 0


@dataclass(frozen=True)
class FailedTask:
    """A window that failed for good, and its last error."""

    index: Index
    error: BaseException


def run_windows(
    pool: Pool,
    work: Callable[..., Any],
    calls: Iterable[Task],
    *,
    on_done: Callable[[Index, Any], None] = lambda index, result: None,
) -> list[FailedTask]:
    """Run every call once, somewhere; survive workers that die.

    Parameters
    ----------
    pool : Pool
        Where.
    work : callable
        Called as ``work(index, *arguments, threads=...)`` in a worker; small enough
        to travel with every task.
    calls : iterable of Task
        Drawn as room appears, never all at once.
    on_done : callable
        Told the index of each call that succeeded and what it returned, as calls
        end, in any order. What is not kept there is forgotten.

    Returns
    -------
    list of FailedTask
        Calls that failed three times; all others are done.

    Raises
    ------
    HmxError
        If a call says that no other can succeed either.
    JobFailed
        If the scheduler went away.
    """
    flight = _Flight(pool, work, calls)
    failures: list[FailedTask] = []
    done = 0
    for call, error, result in flight:
        if error is None:
            done += 1
            on_done(call.index, result)
        elif call.tries + 1 < _TRIES and not _killed(error):
            flight.again(call)
        else:
            failures.append(FailedTask(call.index, error))
            if not done and len(failures) >= _HOPELESS:
                break
    return failures


class _Flight:
    """Calls under way; iterates over those that land, and starts others."""

    def __init__(self, pool: Pool, work: Callable[..., Any], calls: Iterable[Task]):
        self._pool, self._work, self._rest = pool, work, iter(calls)
        self._again: deque[Task] = deque()
        self._flying: dict[Future, Task] = {}
        self._landed: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._room, self._looked = 0, float("-inf")
        self._name = f"hmx-{uuid.uuid4().hex[:12]}"  # a scheduler may serve other jobs too

    def again(self, call: Task) -> None:
        """Put a call that failed back in the queue."""
        self._again.append(replace(call, tries=call.tries + 1))

    def __iter__(self) -> Iterator[tuple[Task, BaseException | None, Any]]:
        while True:
            with _in_touch():
                self._fill()
            if not self._flying:
                return
            future = self._next()
            call = self._flying.pop(future)
            with _in_touch():
                error = _error(future)
                result = None if error is not None else future.result()
            yield call, error, result

    def _fill(self) -> None:
        if time.monotonic() - self._looked > _LOOK:  # workers come and go
            self._room = max(2, _AHEAD * sum(self._pool.client.nthreads().values()))
            self._looked = time.monotonic()
        while len(self._flying) < self._room:
            call = self._again.popleft() if self._again else next(self._rest, None)
            if call is None:
                return
            self._start(call)

    def _start(self, call: Task) -> None:
        future = self._pool.client.submit(
            _there,
            self._work,
            self._pool.threads,
            call,
            key=f"{self._name}-{call.index[0]}-{call.index[1]}-{call.tries}",
            pure=False,
            resources=dict(self._pool.resources) or None,
        )
        self._flying[future] = call
        future.add_done_callback(self._landed.put)

    def _next(self) -> Future:
        while True:
            try:
                return self._landed.get(timeout=1.0)
            except queue.Empty:
                if self._pool.client.status not in ("running", "connecting"):
                    raise _lost() from None


def _there(work: Callable[..., Any], threads: int | None, call: Task) -> Any:
    """Run a call in a worker; one that somebody else started uses the threads it was given."""
    from distributed import get_worker

    _reuse_freed_memory()
    with _at_work:
        return work(call.index, *call.arguments, threads=threads or get_worker().state.nthreads)


@cache
def _reuse_freed_memory() -> None:
    """Let a worker process keep freed memory for its next window.

    Distributed starts workers with ``MALLOC_TRIM_THRESHOLD_``, and glibc then gives
    every array of more than 128 KiB back at once and faults it in again, page by page:
    windows took 1.7 times as long. 32 MiB is the most that glibc takes.
    """
    if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # not with musl
            mallopt(_M_TRIM_THRESHOLD, 256 << 20)
            mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def _error(future: Future) -> BaseException | None:
    """Return what went wrong with a call, or raise what ends the job."""
    # waits for a result that died with its worker: the scheduler makes it again
    error: BaseException | None = future.exception()
    if future.status == "cancelled":  # nobody is there to run it
        raise _lost()
    # a chunk that is damaged is the fault of the tiles that read it, and of no other
    if isinstance(error, HmxError) and not isinstance(error, DamagedStore):
        raise error
    return error


def _killed(error: BaseException) -> bool:
    """Tell whether a call has taken several workers with it: no more tries."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


@contextmanager
def _in_touch() -> Iterator[None]:
    """Say that the scheduler has gone, whichever request to it finds out."""
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, FutureCancelledError) as error:
        raise _lost() from error


def _lost() -> JobFailed:
    return JobFailed(
        "the Dask scheduler has gone away in the middle of the job. Finished tiles are kept: run "
        "the same command again to go on."
    )
