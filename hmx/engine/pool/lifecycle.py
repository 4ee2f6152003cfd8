"""The life of a Dask cluster: it starts in one piece, and ends whatever its workers do.

distributed leaves much of this to chance. Its workers receive the Ctrl-C that is meant
for their parent, it closes after tasks instead of before them, it leaves variables in
the environment, and an interrupt at the wrong moment orphans what it had begun.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import Client, Nanny, SpecCluster, Worker
from tornado.ioloop import IOLoop

from hmx.files.heap import VARIABLES
from hmx.hardware import THREADS

_GRACE = 1.0  # seconds that a worker is given to finish before it is killed
_LAST_TILE = 60.0  # seconds that Python waits at its end for a tile that it still computes
_PATIENCE = 10.0  # seconds for a step of closing, none of which should take one


def event_loop(stack: ExitStack) -> IOLoop:
    """Run an event loop for distributed in a thread that does not receive Ctrl-C.

    Processes that it starts inherit that, from their first moment on: of all that
    a terminal interrupts, only this process reacts, and it decides.
    """
    resource_tracker.ensure_running()  # by us: the first to start it receives Ctrl-C again
    started: Future[tuple[IOLoop, asyncio.Event]] = Future()

    async def live() -> None:
        end = asyncio.Event()
        # the user need not see errors of what distributed does not wait for at the end
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        started.set_result((IOLoop.current(), end))
        await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="hmx loop", daemon=True)
    with in_one_piece():
        mask = getattr(signal, "pthread_sigmask", None)  # absent on Windows
        before = mask and mask(signal.SIG_BLOCK, {signal.SIGINT})
        thread.start()
        if mask:
            mask(signal.SIG_SETMASK, before)
        loop, end = started.result()
        stack.callback(let_go, thread.join)
        stack.callback(loop.add_callback, end.set)
    return loop


def open_cluster(stack: ExitStack, make: Callable[[], SpecCluster]) -> tuple[SpecCluster, Client]:
    """Make a cluster and its client."""
    with in_one_piece():
        cluster = make()
        stack.callback(let_go, cluster.close)
        stack.callback(let_go, lambda timeout: cluster.sync(_stop, cluster, timeout))
        client = Client(cluster, loop=cluster.loop, set_as_default=False)
        stack.callback(let_go, client.close)
    return cluster, client


async def settle(cluster: SpecCluster, jobs: int | None = None) -> None:
    """Start the workers that a cluster should have."""
    if jobs is not None:
        cluster.scale(jobs=jobs)  # asks the loop for what follows, and its errors would be lost
    # Ctrl-C cancels what waits here. Unshielded, that would cut the start short and leave
    # processes that the cluster does not know of.
    await asyncio.shield(_start_wanted(cluster))


async def _stop(cluster: SpecCluster, timeout: float) -> None:
    """Give workers a moment, then kill them; closing the cluster would wait for their tasks."""
    async with asyncio.timeout(timeout):
        workers = [w for w in await _started_workers(cluster) if isinstance(w, Nanny | Worker)]
        await asyncio.gather(*(w.close(timeout=_GRACE) for w in workers), return_exceptions=True)
    _forget_workers(cluster)
    for worker in workers:
        for thread in _threads_of(worker):
            if thread.is_alive():  # Python aborts if it ends while a thread is deep in torch
                atexit.register(thread.join, timeout=_LAST_TILE)


# Each private attribute of distributed that hmx needs has one function here, so that a new
# release of distributed is checked in one place.


def _start_wanted(cluster: SpecCluster) -> Awaitable[None]:
    """Start the workers that are wanted; the public scale() does not wait for them."""
    started: Awaitable[None] = cluster._correct_state()
    return started


async def _started_workers(cluster: SpecCluster) -> list[Any]:
    """Return all workers; those that are starting now are among them once the lock is free."""
    async with cluster._lock:
        return list(cluster.workers.values())


def _forget_workers(cluster: SpecCluster) -> None:
    """Forget the workers, which close() would wait for: jobs of dask-jobqueue never report it."""
    cluster._created.clear()


def _threads_of(worker: Any) -> Iterable[threading.Thread]:
    """Return the threads of a worker inside this process; a nanny has none."""
    threads: Iterable[threading.Thread] = getattr(getattr(worker, "executor", None), "_threads", ())
    return threads


def let_go(close: Callable[..., Any]) -> None:
    """Close, at the latest after seconds; an error then must not lose what was done."""
    with in_one_piece(), suppress(Exception):
        close(timeout=_PATIENCE)


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Put off the first Ctrl-C until the end of the block; a second one cuts it short."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # no handler of Python runs here
        return
    received: list[Any] = []

    def receive(*signal_and_frame: Any) -> None:
        received.append(signal_and_frame)
        if len(received) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received and callable(before):
        before(*received[0])


@contextmanager
def same_environment() -> Iterator[None]:
    """Take back what distributed writes into this process's environment for its children."""
    names = {*dask.config.get("distributed.nanny.pre-spawn-environ"), *THREADS, *VARIABLES}
    names |= {"PYTHONHASHSEED", "__DASK_PARENT_PID"}
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
