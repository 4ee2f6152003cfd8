"""Real processes that get killed; used by the tests and by ``tests.bench.faults``."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from hmx.workflow import ensure_model, ensure_result
from tests.make.cubes import make_cube, write_catalog
from tests.make.forks import Started, ready_server

TILES = 49
LIMIT = 90.0  # seconds that nothing here should take


def make_work(folder: Path) -> Path:
    """A catalog whose forecast has 49 tiles, with cube and model made."""
    catalog = write_catalog(
        folder,
        make_cube((220, 210), steps=6),
        model={"width": 6, "trunk": [1, 2], "context": [1, 3], "history": 3},
        train={"h": 3},
        forecast={"h": 3, "level": [80], "tile": 32},
    )
    import hmx

    ensure_model(hmx.Catalog.load(catalog))
    return catalog


def reference(catalog: Path) -> dict[str, bytes]:
    """Every byte of the store that an uninterrupted job writes."""
    import hmx

    place = catalog.parent / "reference.zarr"
    return tree(ensure_result(hmx.Catalog.load(catalog, [f"forecast.output={place}"])))


def tree(store: str | Path) -> dict[str, bytes]:
    """Every file below a folder, by relative name."""
    files = (path for path in Path(store).rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def start(catalog: Path, store: Path, *words: str, largest: int | None = None) -> Started:
    """Start ``hmx forecast`` in a process group of its own."""
    command = ["forecast", str(catalog), "--output", str(store), *words]
    return ready_server().start("hmx", *command, largest=largest)


def finish(process: Started) -> tuple[int, str]:
    """Wait for a process; return its exit code and what it said on standard error."""
    code, err = process.end(LIMIT)
    assert "Traceback" not in err, err
    return code, err


def wait_until(true: Callable[[], object], process: Started | None = None) -> None:
    """Wait until something is so; fail if the process ends first."""
    deadline = time.monotonic() + LIMIT
    while not true():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended too early: {process.end(LIMIT)[1]}")
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def records(store: Path) -> int:
    """Count the tiles that a ledger knows."""
    with suppress(FileNotFoundError):
        names = os.listdir(f"{store}.ledger/tiles")
        return sum(not name.startswith(".") for name in names)
    return 0


def at_a_random_moment(store: Path, process: Started, seed: int) -> None:
    """Let a job come to a random tile, and then on for an instant."""
    draw = random.Random(seed)
    wanted = draw.randrange(0, TILES - 8)
    wait_until(lambda: records(store) >= wanted, process)
    time.sleep(draw.random() * 0.05)


def workers(pid: int) -> list[psutil.Process]:
    """Find the worker processes below a client or a ``dask worker``."""
    below = psutil.Process(pid).children(recursive=True)
    return [child for child in below if "spawn_main" in " ".join(_words(child))]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def kill_a_worker(catalog: Path, store: Path, seed: int) -> None:
    """Kill one of two workers; the job finishes by itself."""
    process = start(catalog, store, "--workers", "2")
    at_a_random_moment(store, process, seed)
    with suppress(IndexError, psutil.Error):
        workers(process.pid)[seed % 2].kill()
    code, err = finish(process)
    assert code == 0, err


def kill_the_client(catalog: Path, store: Path, seed: int) -> None:
    """Kill the process that the user started; its workers die; run again."""
    process = start(catalog, store, "--workers", "2")
    at_a_random_moment(store, process, seed)
    orphans = workers(process.pid)
    process.kill()
    process.end(LIMIT)
    code, err = finish(start(catalog, store))  # while they may still be dying
    assert code == 0, err
    wait_until(lambda: not any(orphan.is_running() for orphan in orphans))


def kill_the_scheduler(catalog: Path, store: Path, seed: int) -> None:
    """Kill a scheduler that runs elsewhere; the client says so; run again with another."""
    with cluster() as (address, scheduler):
        process = start(catalog, store, "--scheduler", address)
        at_a_random_moment(store, process, seed)
        scheduler.kill()
        code, err = finish(process)
        if code:  # it may have been done by then
            assert code == 1, err
            assert "the Dask scheduler has gone away" in err, err
    with cluster() as (address, _):
        code, err = finish(start(catalog, store, "--scheduler", address))
    assert code == 0, err


KILLS: Mapping[str, Callable[[Path, Path, int], None]] = {
    "worker": kill_a_worker,
    "client": kill_the_client,
    "scheduler": kill_the_scheduler,
}


@contextmanager
def cluster(count: int = 1) -> Iterator[tuple[str, Started]]:
    """A scheduler and workers of Dask on the loopback, started elsewhere."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, begin = f"tcp://127.0.0.1:{port}", ready_server().start
    words = ["--host", "127.0.0.1", "--port", str(port), "--dashboard-address", ":0"]
    processes = [begin("dask-scheduler", *words)]
    words = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--death-timeout", "20"]
    processes += [begin("dask-worker", address, *words) for _ in range(count)]
    try:
        yield address, processes[0]
    finally:
        for process in processes:
            process.kill()
            process.end(LIMIT)
