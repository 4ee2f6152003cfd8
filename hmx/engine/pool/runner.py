"""Runner: a bounded number of tasks in flight on a Dask client.

The runner is the same for all jobs. It gets a callable and the arguments of each
call, keeps a few calls per worker thread in flight, retries calls that fail, and continues
with the others when one fails for good.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from hmx.errors import DamagedStore, HmxError, JobFailed
from hmx.windows import Index

if TYPE_CHECKING:
    from distributed import Future

    from hmx.engine.pool.cluster import Pool

ResultT = TypeVar("ResultT")

_TRIES = 3
_AHEAD = 2  # calls in flight per worker thread: one computes, one waits for it
_HOPELESS = 5  # calls that failed for good before any succeeded end the job
IN_FLIGHT = 2  # calls that a worker has in memory: one computes, one is read or written
_LOOK = 5.0  # seconds between looks at how many workers there are

# a worker that somebody else started may have many threads, and memory for two windows
_at_work = threading.BoundedSemaphore(IN_FLIGHT)


@dataclass(frozen=True)
class Task:
    """One window to run: its index, further arguments of the work, and failures so far."""

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
    work: Callable[..., ResultT],
    calls: Iterable[Task],
    *,
    on_done: Callable[[Index, ResultT], None] = lambda index, result: None,
) -> list[FailedTask]:
    """Run every call once, as ``work(index, *arguments, threads=...)`` in a worker.

    Survives workers that die; returns the calls that failed three times. ``calls`` is drawn as
    room appears, never all at once, and ``on_done`` gets the index and the result of each call
    that succeeds, in any order: what it does not keep is dropped.
    """
    from distributed import KilledWorker  # a call that killed several workers gets no more tries

    flight = _Flight(pool, work, calls)
    failures: list[FailedTask] = []
    done = 0
    for call, error, result in flight:
        if error is None:
            done += 1
            on_done(call.index, result)
        elif call.tries + 1 < _TRIES and not isinstance(error, KilledWorker):
            flight.again(call)
        else:
            failures.append(FailedTask(call.index, error))
            if not done and len(failures) >= _HOPELESS:
                break
    return failures


class _Flight:
    """Calls in flight; iterates over calls that end, and starts others."""

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
        client = self._pool.client
        while True:
            with _scheduler_watched():
                if time.monotonic() - self._looked > _LOOK:  # workers come and go
                    self._room = max(2, _AHEAD * sum(client.nthreads().values()))
                    self._looked = time.monotonic()
                while len(self._flying) < self._room:
                    call = self._again.popleft() if self._again else next(self._rest, None)
                    if call is None:
                        break
                    # a key of its own for each try: a scheduler remembers keys that failed
                    future = client.submit(
                        _run_on_worker,
                        self._work,
                        self._pool.threads,
                        call,
                        key=f"{self._name}-{call.index[0]}-{call.index[1]}-{call.tries}",
                        pure=False,
                        resources=dict(self._pool.resources) or None,
                    )
                    self._flying[future] = call
                    future.add_done_callback(self._landed.put)
            if not self._flying:
                return
            future = self._next()
            call = self._flying.pop(future)
            with _scheduler_watched():
                error = _error(future)
                result = None if error is not None else future.result()
            yield call, error, result

    def _next(self) -> Future:
        """Wait for the next future that ends; raise if the scheduler is gone instead."""
        while True:
            try:
                # the queue alone would wait for ever: a lost scheduler ends no future
                return self._landed.get(timeout=1.0)
            except queue.Empty:
                if self._pool.client.status not in ("running", "connecting"):
                    raise _lost() from None


def _run_on_worker(work: Callable[..., ResultT], threads: int | None, call: Task) -> ResultT:
    """Run a call in a worker; a worker that hmx did not start uses its own thread count."""
    from distributed import get_worker

    from hmx.hardware import matrix_threads  # loads torch: where work is done, not where it is told

    count = threads or get_worker().state.nthreads
    with _at_work, matrix_threads(max(1, count // IN_FLIGHT)):
        return work(call.index, *call.arguments, threads=count)


def _error(future: Future) -> BaseException | None:
    """Return the error of a call; raise those that end the job."""
    # this waits if a result died with its worker: the scheduler computes it again
    error: BaseException | None = future.exception()
    if future.status == "cancelled":  # no worker is left to run it
        raise _lost()
    # a damaged chunk fails only the tiles that read it
    if isinstance(error, HmxError) and not isinstance(error, DamagedStore):
        raise error
    return error


@contextmanager
def _scheduler_watched() -> Iterator[None]:
    """Raise JobFailed if a request finds that the scheduler is gone."""
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
