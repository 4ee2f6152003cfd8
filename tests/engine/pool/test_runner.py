"""Laws of the runner: a bounded window of calls, tried again, each told once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Future
from distributed.comm import CommClosedError

from hmx.engine.options import DaskSection
from hmx.engine.pool.cluster import Pool, connect
from hmx.engine.pool.runner import Task, _Flight, _run_on_worker, run_windows
from hmx.errors import BundleError, JobFailed


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with connect(DaskSection(), tasks=10) as pool:
        yield pool


def touch(index: tuple[int, int], folder: str, threads: int | None = None) -> None:
    Path(folder, f"{index[0]}-{index[1]}-{time.monotonic_ns()}").touch()


def test_every_call_runs_once(pool: Pool, tmp_path: Path) -> None:
    done: list[Any] = []
    calls = [Task((i, j), (str(tmp_path),)) for i in range(5) for j in range(7)]
    assert run_windows(pool, touch, calls, on_done=lambda i, _: done.append(i)) == []
    assert sorted(done) == [call.index for call in calls]
    assert len(list(tmp_path.iterdir())) == 35


def test_calls_are_drawn_as_room_appears(pool: Pool, tmp_path: Path) -> None:
    drawn, ahead = 0, []

    def calls() -> Iterator[Task]:
        nonlocal drawn
        for i in range(60):
            drawn += 1
            yield Task((i, 0), (str(tmp_path),))

    done: list[Any] = []
    run_windows(pool, touch, calls(), on_done=lambda i, _: (done.append(i), ahead.append(drawn)))
    assert max(drawn - count for count, drawn in enumerate(ahead, 1)) <= 2 * 2 + 1
    assert len(done) == 60


def name(index: tuple[int, int], threads: int | None = None) -> str:
    return f"call {index[0]}"


def test_what_a_call_returns_is_told(pool: Pool) -> None:
    told: dict[Any, str] = {}
    run_windows(pool, name, [Task((i, 0)) for i in range(5)], on_done=told.__setitem__)
    assert told == {(i, 0): f"call {i}" for i in range(5)}


def sometimes(index: tuple[int, int], folder: str, threads: int | None = None) -> None:
    """Fail until it was tried as often as the row says."""
    touch(index, folder)
    if len(list(Path(folder).glob(f"{index[0]}-{index[1]}-*"))) < index[0]:
        raise RuntimeError(f"not yet {index}")


def test_a_call_is_tried_three_times_and_the_rest_goes_on(pool: Pool, tmp_path: Path) -> None:
    done: list[Any] = []
    calls = [Task((i, 0), (str(tmp_path),)) for i in (4, 1, 2, 3, 9)]
    failures = run_windows(pool, sometimes, calls, on_done=lambda i, _: done.append(i))
    assert sorted(done) == [(1, 0), (2, 0), (3, 0)]
    assert sorted(f.index for f in failures) == [(4, 0), (9, 0)]
    assert "not yet (4, 0)" in str(next(f.error for f in failures if f.index == (4, 0)))
    assert len(list(tmp_path.glob("9-*"))) == 3


def remember_threads(index: tuple[int, int], folder: str, threads: int | None = None) -> None:
    Path(folder, str(threads)).touch()


@pytest.mark.parametrize(("given", "used"), [(3, "3"), (None, "2")])
def test_a_worker_that_others_started_uses_its_own_threads(
    pool: Pool, tmp_path: Path, given: int | None, used: str
) -> None:
    there = replace(pool, threads=given)
    run_windows(there, remember_threads, [Task((0, 0), (str(tmp_path),))])
    assert [path.name for path in tmp_path.iterdir()] == [used]


def test_a_worker_of_many_threads_holds_two_windows_at_a_time() -> None:
    held, most = 0, []

    def work(index: tuple[int, int], threads: int | None = None) -> None:
        nonlocal held
        held += 1
        most.append(held)
        time.sleep(0.02)
        held -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: _run_on_worker(work, 1, Task((n, 0))), range(16)))
    assert max(most) == 2
    assert len(most) == 16


@pytest.mark.parametrize(("count", "each"), [(1, 1), (2, 1), (6, 3)])
def test_two_windows_share_the_threads_of_products_of_matrices(
    count: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("hmx.hardware.matrix_threads", lambda n: seen.append(n) or nullcontext())
    _run_on_worker(lambda index, threads: None, count, Task((0, 0)))
    assert seen == [each]


def dawdle(index: tuple[int, int], folder: str, threads: int | None = None) -> str:
    """Return at once the first time; then only when there is a file ``go``."""
    before = list(Path(folder).glob("0-0-*"))
    touch(index, folder)
    while before and not Path(folder, "go").exists():
        time.sleep(0.05)
    return f"after {len(before)}"


def test_a_worker_that_dies_before_it_told_is_no_scheduler_that_went_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(DaskSection(workers=1), tasks=2, device="cpu") as pool:
        landed = _Flight._next

        def next_(flight: _Flight) -> Future:
            future = landed(flight)
            [pid] = pool.client.run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)
            while future.status != "lost":
                time.sleep(0.01)
            threading.Timer(0.2, Path(tmp_path, "go").touch).start()
            return future

        monkeypatch.setattr(_Flight, "_next", next_)
        told: list[Any] = []
        calls = [Task((0, 0), (str(tmp_path),))]
        failures = run_windows(pool, dawdle, calls, on_done=lambda *done: told.append(done))
    assert (failures, told) == ([], [((0, 0), "after 1")])


def hopeless(index: tuple[int, int], threads: int | None = None) -> None:
    raise BundleError("the model has changed")


def test_an_error_of_ours_ends_the_job_at_once(pool: Pool) -> None:
    with pytest.raises(BundleError, match="the model has changed"):
        run_windows(pool, hopeless, [Task((i, 0)) for i in range(50)])


class Unreachable:
    """A client whose scheduler went away between two requests."""

    def __init__(self, client: Any, *, fails: str):
        self._client, self._fails = client, fails

    def __getattr__(self, name: str) -> Any:
        if name == self._fails:
            raise CommClosedError("in <TCP (closed)>: Stream is closed")
        return getattr(self._client, name)


@pytest.mark.parametrize("request_", ["nthreads", "submit"])
def test_whichever_request_finds_the_scheduler_gone_the_job_says_so(
    pool: Pool, tmp_path: Path, request_: str
) -> None:
    lost = replace(pool, client=Unreachable(pool.client, fails=request_))
    with pytest.raises(JobFailed, match="the Dask scheduler has gone away"):
        run_windows(lost, touch, [Task((0, 0), (str(tmp_path),))])


def test_a_result_that_cannot_be_fetched_any_more_says_so(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(future: Future, *args: Any, **options: Any) -> Any:
        raise CommClosedError("in <TCP (closed) ConnectionPool.gather>: Stream is closed")

    monkeypatch.setattr(Future, "result", gone)
    with pytest.raises(JobFailed, match="the Dask scheduler has gone away"):
        run_windows(pool, name, [Task((0, 0))])
