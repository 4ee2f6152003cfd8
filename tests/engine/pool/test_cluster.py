"""Laws of where tasks run: workers come with what they need, and go whatever happens."""

from __future__ import annotations

import json
import operator
import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
import torch
from distributed import Client, Nanny, SpecCluster, Worker
from distributed.comm import inproc

from hmx.engine.options import DaskSection
from hmx.engine.pool import cluster
from hmx.engine.pool.cluster import check, choose_gpus, connect, require_same, worker_specs
from hmx.engine.pool.lifecycle import in_one_piece
from hmx.errors import BadArgument, HmxError, SourceError
from hmx.hardware import THREADS, threads_each
from tests.conftest import ROOT

HERE = psutil.Process()
LIMIT = 90.0  # seconds that nothing here should take


def section(**keys: Any) -> DaskSection:
    return DaskSection.model_validate(keys, context={"base": "/"})


def refusal(kind: type[HmxError], **keys: Any) -> str:
    with pytest.raises(kind) as caught, connect(section(**keys), tasks=9, device="cpu"):
        pass
    return str(caught.value)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No process, cluster, event loop or environment variable outlives a context."""
    environment, children = dict(os.environ), set(HERE.children(recursive=True))
    yield
    left = [p for p in HERE.children(recursive=True) if p not in children]
    assert [p for p in left if "resource_tracker" not in " ".join(p.cmdline())] == []
    assert {cluster.status.name for cluster in SpecCluster._instances} <= {"closed"}
    assert "hmx loop" not in [thread.name for thread in threading.enumerate()]
    after = dict(os.environ)
    after.pop("PYTEST_CURRENT_TEST", None)
    environment.pop("PYTEST_CURRENT_TEST", None)
    assert after == environment


def ended(processes: list[psutil.Process]) -> bool:
    """Wait until processes do nothing any more (some containers never bury the dead)."""

    def runs(process: psutil.Process) -> bool:
        try:
            return bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return waits_for(lambda: not any(map(runs, processes)))


def waits_for(truth: Callable[[], bool]) -> bool:
    end = time.monotonic() + LIMIT
    while not truth() and time.monotonic() < end:
        time.sleep(0.05)
    return truth()


def gate(folder: Path) -> Callable[[int], None]:
    """A task that goes on until there is a file ``go``, and then leaves a file ``done``."""

    def wait(number: int) -> None:  # within, so that it travels by value
        end = time.monotonic() + LIMIT  # of one that nobody lets go
        while not (folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.05)
        (folder / f"done {number}").touch()

    return wait


# --- this machine --------------------------------------------------------------------


BOTH = threading.Barrier(2)


def meet(number: int) -> tuple[int, int]:
    BOTH.wait(timeout=LIMIT)
    return os.getpid(), number


def looks_at_stacks(dask_worker: Any) -> bool:
    """Return True if a worker looks at its threads all the time, for Dask's page."""
    return "profile" in dask_worker.periodic_callbacks


def test_by_default_two_tasks_at_a_time_run_in_this_process() -> None:
    with connect(DaskSection(), tasks=9, device="cpu") as pool:
        assert (pool.where, pool.threads) == ("this process", torch.get_num_threads())
        assert pool.resources == {}
        ran = pool.client.gather(pool.client.map(meet, range(2), pure=False))
        assert [*pool.client.run(looks_at_stacks).values()] == [False]
    assert ran == [(os.getpid(), 0), (os.getpid(), 1)]


@pytest.fixture
def taken() -> Iterator[None]:
    """Listen on the port of Dask's dashboard, as any other cluster of this machine would."""
    with socket.socket() as dashboard:
        with suppress(OSError):  # taken by somebody else is as good
            dashboard.bind(("127.0.0.1", 8787))
            dashboard.listen()
        yield


@pytest.mark.usefixtures("taken")
def test_neither_a_taken_port_nor_a_lost_network_is_worth_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline() -> str:
        text = "Couldn't detect a suitable IP address for reaching '8.8.8.8'"
        warnings.warn(text, RuntimeWarning, stacklevel=1)
        return "127.0.0.1"

    monkeypatch.setattr(inproc, "get_ip", offline)
    monkeypatch.setattr(inproc.global_manager, "_ip", None)
    with connect(DaskSection(), tasks=1, device="cpu") as pool:
        assert pool.client.submit(operator.add, 1, 2).result() == 3


def test_the_client_is_not_dasks_default() -> None:
    with connect(DaskSection(), tasks=1, device="cpu"):
        assert dask.base.get_scheduler() is None
        with pytest.raises(ValueError, match="No client"):
            Client.current()


def six_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have six cores, all free to take; Dask's own choice is one, whatever there is."""
    monkeypatch.setattr("hmx.hardware.CPU_COUNT", 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_workers_are_processes_that_start_with_their_share_of_threads(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    six_cores(monkeypatch)
    share = str(threads_each(2))
    assert share == "3"
    with connect(section(workers=3), tasks=2, device="cpu") as pool:  # never more than tasks
        assert (pool.where, pool.threads) == ("2 workers here", int(share))
        found = pool.client.scheduler_info(n_workers=-1)["workers"].values()
        assert [worker["nthreads"] for worker in found] == [2, 2]
        assert {worker["memory_limit"] for worker in found} == {0}
        pids = set(pool.client.run(os.getpid).values())
        assert len(pids - {os.getpid()}) == 2
        # what the process was started with, not what was set in it later
        for pid in pids:
            born = psutil.Process(pid).environ()
            assert [born[name] for name in THREADS] == [share] * 3
        assert set(pool.client.run(os.getenv, THREADS[0]).values()) == {share}
        # last, because a worker that loads this file has the threads of the tests
        assert [*pool.client.run(looks_at_stacks).values()] == [False, False]
    assert not any(map(psutil.pid_exists, pids))
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_dies_is_replaced_by_one_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    six_cores(monkeypatch)
    with connect(section(workers=1), tasks=2, device="cpu") as pool:
        [pid] = pool.client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        again = pool.client.submit(os.getpid, pure=False).result(timeout=LIMIT)
        assert again != pid
        assert psutil.Process(again).environ()[THREADS[0]] == str(threads_each(1))


@pytest.mark.parametrize("count", [1, None], ids=["a process", "this process"])
def test_leaving_does_not_wait_for_a_long_task(count: int | None, tmp_path: Path) -> None:
    with connect(section(workers=count), tasks=1, device="cpu") as pool:
        busy = pool.client.submit(gate(tmp_path), 0)
        [pid] = pool.client.run(os.getpid).values()
        assert waits_for(lambda: any(pool.client.processing().values()))
    assert not list(tmp_path.iterdir())
    assert (pid == os.getpid()) is (count is None)
    assert busy.status != "finished"
    (tmp_path / "go").touch()  # a thread of this process, which nobody can kill, comes to its end
    assert count or waits_for((tmp_path / "done 0").exists)


PROGRAM = """
import os, sys, time
from hmx.engine.options import DaskSection
from hmx.engine.pool.cluster import connect
if __name__ == "__main__":
    try:
        print("starting", flush=True)
        with connect(DaskSection(workers=2), tasks=4, device="cpu") as pool:
            print(*pool.client.run(os.getpid).values(), flush=True)
            futures = pool.client.map(time.sleep, [600.5, 600.6, 600.7, 600.8])
            time.sleep(0.3)
            print("computing", flush=True)
            pool.client.gather(futures)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@contextmanager
def program(text: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process group of its own, as a terminal does."""
    path.write_text(text)
    command = [sys.executable, "-W", "error", str(path)]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=path.parent,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


@pytest.mark.skipif(platform.system() == "Windows", reason="signals of Unix")
@pytest.mark.parametrize("moment", ["starting", "computing"])
def test_ctrl_c_ends_all_without_waiting_and_without_a_traceback(
    moment: str, tmp_path: Path
) -> None:
    with program(PROGRAM, tmp_path / "p.py") as running:
        assert running.stdout is not None
        while (line := running.stdout.readline().strip()) != moment:
            assert line, "the program ended"
        if moment == "starting":  # while the processes import what they need
            assert waits_for(lambda: len(psutil.Process(running.pid).children()) >= 2)
        children = psutil.Process(running.pid).children(recursive=True)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=LIMIT)  # its tasks take longer
    assert (running.returncode, said) == (130, "")
    assert ended(children)


TORCH = """
import os, sys, time
import torch
from hmx.engine.options import DaskSection
from hmx.engine.pool.cluster import connect
def tile():
    network, pixels = torch.nn.Conv2d(16, 16, 3), torch.zeros(4, 16, 512, 512)
    print("computing", flush=True)
    end = time.monotonic() + 90
    with torch.inference_mode():
        while not os.path.exists("go") and time.monotonic() < end:
            network(pixels)
    print("computed", flush=True)
try:
    with connect(DaskSection(), tasks=1, device="cpu") as pool:
        pool.client.submit(tile).result()
except KeyboardInterrupt:
    print("left", flush=True)
    sys.exit(130)
"""


@pytest.mark.skipif(platform.system() == "Windows", reason="signals of Unix")
def test_ctrl_c_leaves_at_once_and_python_ends_without_aborting_its_last_tile(
    tmp_path: Path,
) -> None:
    with program(TORCH, tmp_path / "p.py") as running:
        assert running.stdout is not None
        assert running.stdout.readline().strip() == "computing"
        os.killpg(running.pid, signal.SIGINT)
        assert running.stdout.readline().strip() == "left"
        (tmp_path / "go").touch()
        last, said = running.communicate(timeout=LIMIT)
    assert (running.returncode, last, said) == (130, "computed\n", "")


@pytest.mark.skipif(platform.system() == "Windows", reason="signals of Unix")
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    with program(PROGRAM, tmp_path / "p.py") as running:
        assert running.stdout is not None
        while running.stdout.readline().strip() != "computing":
            assert running.poll() is None
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 2
        running.kill()
        assert ended(children)


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path) -> None:
    bare = """
from hmx.engine.options import DaskSection
from hmx.engine.pool.cluster import connect
with connect(DaskSection(workers=1), tasks=1, device="cpu"):
    pass
"""
    with program(bare, tmp_path / "p.py") as running:
        _, said = running.communicate(timeout=LIMIT)
    assert "Put it there, or leave out workers to compute in this process." in said


def test_the_first_interrupt_of_one_piece_waits_and_the_second_does_not() -> None:
    done = []

    def piece(interrupts: int) -> None:
        with in_one_piece():
            for number in range(1, interrupts + 1):
                signal.raise_signal(signal.SIGINT)
                done.append(f"{number} of {interrupts}")

    for interrupts in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            piece(interrupts)
    assert done == ["1 of 1", "1 of 2"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- GPUs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "gpus"), [(1, []), (3, []), (1, ["0"]), (2, ["0", "1"]), (1, ["5", "7"])], ids=str
)
def test_a_worker_has_one_gpu_or_none(count: int, gpus: list[str]) -> None:
    specs = worker_specs(count, 4, gpus)
    assert [spec["cls"] for spec in specs] == [Nanny] * count
    for number, options in enumerate(spec["options"] for spec in specs):
        env = dict.fromkeys(THREADS, "4")
        if gpus:
            assert options["env"] == env | {"CUDA_VISIBLE_DEVICES": gpus[number]}
            assert options["resources"] == {"GPU": 1}
        else:
            assert options["env"] == env
            assert "resources" not in options


def test_the_worker_of_this_process_is_no_process() -> None:
    [spec] = worker_specs(1, 4, inside=True)
    assert spec["cls"] is Worker
    assert "env" not in spec["options"]


@pytest.mark.parametrize(
    ("here", "wanted", "device", "chosen"),
    [
        (0, None, "auto", 0),
        (1, None, "auto", 0),  # this process can use it
        (2, None, "auto", 2),
        (2, None, "cuda", 2),
        (2, None, "cuda:1", 0),
        (2, None, "cpu", 0),
        (0, 3, "auto", 0),
        (1, 1, "cuda", 1),
        (1, 3, "auto", 1),
        (4, 2, "auto", 2),
        (2, 1, "cuda:1", 0),
        (2, 2, "cpu", 0),
    ],
)
def test_gpus_are_shared_out_one_to_a_process(
    here: int, wanted: int | None, device: str, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_gpus(wanted, device) == [str(n) for n in range(chosen)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,3,GPU-5a,2")
    assert choose_gpus(wanted, device) == ["7", "3", "GPU-5a", "2"][:chosen]


@pytest.mark.parametrize(
    ("here", "wanted", "device", "text"),
    [
        (
            1,
            2,
            "cuda",
            "workers=2 with device='cuda' want a GPU each, and this machine has 1. Pass workers=1.",
        ),
        (
            0,
            2,
            "cuda",
            "workers=2 with device='cuda' want a GPU each, and this machine has 0. "
            "Pass device='cpu'.",
        ),
        (
            4,
            2,
            "cuda:1",
            "device='cuda:1' is one GPU, and workers=2 want one each. "
            "Pass device='cuda', or leave out workers.",
        ),
    ],
)
def test_more_workers_than_gpus_are_refused_before_any_work(
    here: int, wanted: int, device: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    with pytest.raises(BadArgument) as early:
        check(section(workers=wanted), device=device)
    with (
        pytest.raises(BadArgument) as late,
        connect(section(workers=wanted), tasks=9, device=device),
    ):
        pass
    assert str(early.value) == str(late.value) == text


def test_two_tasks_are_in_flight_on_a_gpu_that_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "choose_gpus", lambda *_: ["3", "5"])
    with connect(DaskSection(), tasks=9) as pool:
        assert (pool.where, pool.resources) == ("2 GPUs here", {"GPU": 0.5})
        seen = pool.client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()
        assert sorted(seen) == ["3", "5"]
        share = pool.resources
        busy = [pool.client.submit(time.sleep, 30 + i, resources=share) for i in range(6)]
        stacks = pool.client.call_stack  # of what each worker computes now
        assert waits_for(lambda: [len(tasks) for tasks in stacks().values()] == [2, 2])
        assert {future.status for future in busy} == {"pending"}


@pytest.mark.parametrize(
    ("cores", "count", "given", "each"),
    [
        (16, 2, "", 8),
        (16, 3, "", 5),
        (2, 4, "", 1),
        (16, 2, "4", 4),
        (16, 4, "8", 4),
        (8, 1, "x", 8),
    ],
)
def test_cores_are_shared_out_and_a_limit_that_is_set_holds(
    cores: int, count: int, given: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmx.hardware.CPU_COUNT", cores)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_each(count) == each


# --- a scheduler that runs -----------------------------------------------------------


@contextmanager
def scheduler(folder: Path, *flags: str) -> Iterator[str]:
    """Run `dask scheduler` on a free port of the loopback; give its address."""
    file = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *flags]
    command += ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    with _running([*command, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]):
        assert waits_for(file.exists)
        yield json.loads(file.read_text())["address"]


@contextmanager
def worker(address: str, folder: Path, *flags: str) -> Iterator[None]:
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", *flags]
    with _running([*command, "--no-dashboard", "--local-directory", str(folder)]):
        yield


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dask")
    with scheduler(folder) as address, worker(address, folder):
        yield address


def test_a_running_scheduler_does_the_work_and_goes_on(running: str) -> None:
    for _ in range(2):
        with connect(section(scheduler=running), tasks=9) as pool:
            assert pool.where == f"the scheduler at {running}"
            assert (pool.threads, pool.resources) == (None, {})
            assert pool.client.submit(operator.add, 1, 2).result() == 3
            assert pool.client.submit(os.getpid).result() != os.getpid()


def test_leaving_a_running_scheduler_does_not_wait_for_a_long_task(
    running: str, tmp_path: Path
) -> None:
    with connect(section(scheduler=running), tasks=9) as pool:
        busy = pool.client.submit(gate(tmp_path), 0)
        assert waits_for(lambda: any(pool.client.processing().values()))
    assert not list(tmp_path.iterdir())
    assert busy.status != "finished"
    (tmp_path / "go").touch()
    assert waits_for((tmp_path / "done 0").exists)  # which that worker goes on with


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with dask.config.set({"hmx.wait-for-scheduler": "300ms"}):
        text = refusal(SourceError, scheduler="tcp://127.0.0.1:9")
    assert text.startswith("no Dask scheduler answers at 'tcp://127.0.0.1:9' (Timed out")
    assert text.endswith(
        "). Start one with `dask scheduler`, or leave out --scheduler to compute here."
    )
    assert "unknown address scheme 'ftp'" in refusal(SourceError, scheduler="ftp://h:1")


def test_a_scheduler_without_workers_is_told_how_to_start_one(tmp_path: Path) -> None:
    with scheduler(tmp_path) as address, dask.config.set({"hmx.wait-for-workers": 0.3}):
        assert refusal(SourceError, scheduler=address) == (
            f"the Dask scheduler at '{address}' has no workers, and none came within 0.3 s. "
            f"Start one with `dask worker {address}`."
        )


def versions(**theirs: str | None) -> dict[str, Any]:
    ours = {"python": "3.12.1.final.0", "hmx": "1.4.2"}
    return {"client": {"packages": ours}, "workers": {"tcp://w:1": {"packages": ours | theirs}}}


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        ({"hmx": None}, "the worker at tcp://w:1 has no hmx, and this process hmx 1.4: "),
        ({"hmx": "1.3.2"}, "the worker at tcp://w:1 has hmx 1.3, and this process hmx 1.4: "),
        (
            {"python": "3.11.9.final.0"},
            "the worker at tcp://w:1 has Python 3.11, and this process Python 3.12: ",
        ),
    ],
)
def test_a_worker_that_cannot_run_our_tasks_is_refused(
    theirs: dict[str, str | None], text: str, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "get_versions", lambda *_, **__: versions(**theirs))
    assert refusal(SourceError, scheduler=running) == (
        f"{text}a worker must have what sends its tasks. "
        "Start it from the environment of this process, or one like it."
    )


def test_a_worker_of_the_same_minor_version_is_good() -> None:
    require_same(versions(hmx="1.4.9", python="3.12.7.final.0"))
    nothing_known = versions(hmx=None)
    nothing_known["client"]["packages"] = {"python": "3.12.1.final.0", "hmx": None}
    require_same(nothing_known)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("cryptography", reason="makes the certificates: pip install cryptography")
    from distributed.security import Security

    made, folder = Security.temporary(), tmp_path_factory.mktemp("tls")
    texts = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(text)
    return {name: str(folder / f"{name}.pem") for name in texts}


def test_tls_needs_the_certificates_of_catalog_or_dask(
    certificates: dict[str, str], tmp_path: Path
) -> None:
    flags = ["--protocol", "tls"]
    for flag, name in (("--tls-ca-file", "ca"), ("--tls-cert", "cert"), ("--tls-key", "key")):
        flags += [flag, certificates[name]]
    with scheduler(tmp_path, *flags) as address, worker(address, tmp_path, *flags):
        assert address.startswith("tls://")
        with connect(section(scheduler=address, tls=certificates), tasks=9) as pool:
            assert pool.client.submit(operator.add, 1, 2).result() == 3
        text = refusal(SourceError, scheduler=address)
        assert text.startswith(f"no Dask scheduler answers at '{address}' (")
        assert text.endswith("dask.tls: {ca: ca.pem, cert: cert.pem, key: key.pem}.")
        lost = certificates | {"key": "/nowhere/key.pem"}
        assert "No such file" in refusal(SourceError, scheduler=address, tls=lost)
        own = {
            "distributed.comm.tls.ca-file": certificates["ca"],
            "distributed.comm.tls.client.cert": certificates["cert"],
            "distributed.comm.tls.client.key": certificates["key"],
        }
        with dask.config.set(own), connect(section(scheduler=address), tasks=9) as pool:
            assert pool.client.submit(operator.add, 2, 2).result() == 4


# --- batch systems -------------------------------------------------------------------

SBATCH = """#!/bin/sh
# stands in for SLURM: runs the job on this machine, in a session of its own
set -e
cp "$1" "{folder}/$$.sh" # which is gone when this returns, and others are submitted meanwhile
setsid sh "{folder}/$$.sh" >/dev/null 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/usr/bin/env bash
echo "$1" >> "{folder}/cancelled"
kill -KILL -- "-$1"
"""
REFUSES = """#!/bin/sh
echo "sbatch: error: invalid partition specified: nope" >&2
exit 1
"""
JOB = {"cluster": "slurm", "cores": 2, "memory": "1GB", "interface": "lo"}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put commands like SLURM's on the PATH."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        _command(tmp_path / name, text.format(folder=tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def _command(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(platform.system() != "Linux", reason="the stand-in for SLURM needs setsid")
@pytest.mark.usefixtures("taken")
def test_slurm_jobs_are_submitted_do_the_work_and_are_cancelled(
    slurm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = {"nanny": False, "queue": "short", "walltime": "00:10:00", "jobs": 3}
    with connect(section(**JOB, **keys), tasks=2) as pool:  # no more jobs than tasks
        assert (pool.where, pool.threads, pool.resources) == ("2 SLURM jobs", None, {})
        pool.client.wait_for_workers(2, timeout=LIMIT)
        assert set(pool.client.nthreads().values()) == {2}  # one process has all of the cores
        theirs = [psutil.Process(pid) for pid in pool.client.run(os.getpid).values()]
        busy = pool.client.map(gate(slurm), range(2))
        assert waits_for(lambda: all(pool.client.processing().values()))
        script, _ = (path.read_text() for path in slurm.glob("*.sh"))
        assert "#SBATCH -p short" in script
        assert "#SBATCH -t 00:10:00" in script
        assert "--no-nanny" in script
    jobs = (slurm / "jobs").read_text().split()
    assert len(jobs) == len(busy) == 2
    assert sorted((slurm / "cancelled").read_text().split()) == sorted(jobs)
    assert ended(theirs)
    assert not list(slurm.glob("done *"))
    assert capfd.readouterr() == ("", "")


def test_what_the_batch_system_answers_is_passed_on(slurm: Path) -> None:
    _command(slurm / "sbatch", REFUSES)
    assert refusal(SourceError, **JOB, queue="nope") == (
        "slurm took no job: sbatch: error: invalid partition specified: nope. "
        "Change the arguments in the dask section and run again."
    )


@pytest.mark.parametrize(
    ("keys", "start", "end"),
    [
        (
            {"queu": "short"},
            "unknown key 'dask.queu' (known with a cluster: account, ",
            "). Did you mean 'queue'?",
        ),
        ({"n_workers": 2}, "unknown key 'dask.n_workers' (known with a cluster: account, ", ""),
        (
            {"memory": None},
            "dask.memory is missing, and a job of slurm asks for its memory. ",
            "Add to the dask section memory: 16GB.",
        ),
        (
            {"walltime": 86400},  # as YAML reads 24:00:00
            "dask.walltime=86400 is a number: YAML reads 24:00:00 as 86400, and slurm may take ",
            "that for minutes. Put it in quotes: walltime: '24:00:00'.",
        ),
    ],
)
def test_arguments_of_a_job_are_checked_before_any_work(
    keys: dict[str, Any], start: str, end: str, slurm: Path
) -> None:
    with pytest.raises(BadArgument) as caught:
        check(section(**JOB | keys))
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    assert refusal(BadArgument, **JOB | keys) == str(caught.value)


@pytest.mark.parametrize("name", ["slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"])
def test_every_batch_system_is_known_by_the_command_that_submits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(BadArgument) as caught:
        check(section(**JOB | {"cluster": name}))
    text = str(caught.value)
    assert text.startswith(f"dask.cluster={name!r} submits jobs with ")
    assert text.endswith(
        ", which is not on this machine's PATH. Run hmx where you submit jobs, or use dask.workers."
    )


def test_without_dask_jobqueue_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    assert refusal(BadArgument, **JOB) == (
        "dask.cluster='slurm' needs dask-jobqueue, which is not installed here. "
        'Type: pip install "hmx[hpc]"'
    )
