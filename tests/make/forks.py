"""A server that has imported everything, and forks a process for each command that is run.

Starting Python and importing torch takes seconds, a fork none. The server itself never
starts a thread, so that its children begin as clean as a new process would; it refuses
to work otherwise. A command may be killed just before its n-th change of the file
system.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

HEAVY = (
    "distributed", "matplotlib.figure", "pandas", "pytorch_lightning", "rasterio", "rioxarray",
    "scipy.ndimage", "sklearn.ensemble", "torch", "xarray", "zarr", "hmx.cli.main",
    "hmx.forecast.backtest.backtest", "hmx.mapping.evaluate.score", "hmx.mapping.train.train",
    "hmx.forecast.train.train", "hmx.engine.pool.cluster", "hmx.engine.job",
    "hmx.exports.cog", "hmx.workflow",
    "s3fs",  # which Lightning loads to write a YAML file
)  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROGRAMS = {
    "hmx": "hmx.cli.main",
    "dask-scheduler": "distributed.cli.dask_scheduler",
    "dask-worker": "distributed.cli.dask_worker",
}
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


@dataclass(frozen=True)
class Run:
    """One command.

    Parameters
    ----------
    words : sequence of str
        Of the command line, without ``hmx``.
    folder : str
        Where it runs; changes below it count.
    kill : int, optional
        Die before this change, counted from 1.
    torn : bool
        Die right after it instead, if it opens a file: the file is there, and empty.
    delay : float
        Seconds to wait before it starts.
    """

    words: Sequence[str]
    folder: str
    kill: int | None = None
    torn: bool = False
    delay: float = 0.0


@dataclass(frozen=True)
class End:
    """How a command ended.

    Parameters
    ----------
    code : int
        Exit code; negative: the signal that it died of.
    points : list of str
        The changes it made of the file system; those of a killed one are not known.
    said : str
        All that it wrote to the terminal.
    """

    code: int
    points: list[str] = field(default_factory=list)
    said: str = ""


class Points:
    """Counts changes of the file system below a folder, and dies at one of them."""

    def __init__(self, run: Run):
        self.run, self.made = run, list[str]()
        self.lock, self.root = threading.RLock(), os.path.realpath(run.folder)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Be an audit hook."""
        if event == "open" and isinstance(args[2], int) and args[2] & WRITES:
            self.change("open", args[0])
        elif event in CHANGES:
            self.change(event, args[0])

    def change(self, what: str, path: Any) -> None:
        """Take down a change that is about to be made."""
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.path.join(os.getcwd(), os.fsdecode(path))
        if not name.startswith(self.root + os.sep):
            return
        with self.lock:
            self.made.append(f"{what} {os.path.relpath(name, self.root)}")
            if len(self.made) == self.run.kill:
                if self.run.torn and what == "open":
                    os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
                os.kill(os.getpid(), signal.SIGKILL)

    def watch_gdal(self) -> None:
        """Count what GDAL writes, of which Python sees nothing."""
        import rasterio
        import rasterio.shutil

        opened, copied = rasterio.open, rasterio.shutil.copy

        def open_(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if mode != "r":
                self.change("gdal open", path)
            file = opened(path, mode, *args, **options)
            if mode != "r":
                self.change("gdal opened", path)
            return file

        def copy(source: Any, target: Any, *args: Any, **options: Any) -> Any:
            self.change("gdal copy", target)
            copied(source, target, *args, **options)
            self.change("gdal copied", target)

        rasterio.open, rasterio.shutil.copy = open_, copy


def serve() -> None:
    """Answer lines of JSON: a list of runs that go on at once, a start, or the end of a start."""
    for name in HEAVY:
        __import__(name)
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    others = [name for name in names[1:] if name != "jemalloc_bg_thd"]  # which minds forks
    assert threading.active_count() == 1, "a fork would lose a thread"
    assert not others, f"a fork would lose the threads {others}"
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, dict):
            answer: Any = _start(**asked)
        elif isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = [asdict(end) for end in _together([Run(**run) for run in asked])]
        print(json.dumps(answer), flush=True)


def _start(program: str, words: Sequence[str], err: str, largest: int | None) -> int:
    """Fork a command into a process group of its own; return its process."""
    pid = os.fork()
    if pid:
        return pid
    code: Any = 70
    try:
        os.setsid()
        null, file = os.open(os.devnull, os.O_RDWR), os.open(err, os.O_WRONLY | os.O_CREAT)
        for number, to in enumerate((null, null, file)):
            os.dup2(to, number)
        if largest is not None:  # of a file, in bytes
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        sys.argv = [program, *words]
        code = _ended(import_module(PROGRAMS[program]).main)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _ended(main: Callable[[], object]) -> Any:
    """Run a program to its exit code, and all that Python does at its end."""
    code: Any = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _together(runs: Sequence[Run]) -> list[End]:
    children = []
    for run in runs:
        told, tells = os.pipe()
        said = os.memfd_create("said")
        pid = os.fork()
        if pid == 0:
            _child(run, tells, said)
        os.close(tells)
        children.append((pid, told, said))
    ends = []
    for pid, told, said in children:
        with open(told, "rb") as pipe:
            points = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.lseek(said, 0, os.SEEK_SET)
        with open(said, "rb") as file:
            text = file.read().decode(errors="replace")
        ends.append(End(code, json.loads(points) if points else [], text))
    return ends


def _child(run: Run, tells: int, said: int) -> None:
    """Run a command as a new process would; never returns."""
    code: Any = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(run.folder)
        time.sleep(run.delay)
        points = Points(run)
        points.watch_gdal()
        sys.argv = ["hmx", *run.words]
        sys.addaudithook(points)
        code = _ended(import_module(PROGRAMS["hmx"]).main)
        os.write(tells, json.dumps(points.made).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


class Server:
    """The other end: a process of :func:`serve`."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def ask(self, question: Any) -> Any:
        """Ask what :func:`serve` answers."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def together(self, runs: Sequence[Run]) -> list[End]:
        """Run commands at once; wait for all."""
        return [End(**end) for end in self.ask([asdict(run) for run in runs])]

    def start(self, program: str, *words: str, largest: int | None = None) -> Started:
        """Start a program that goes on; no file of it may have more than ``largest`` bytes."""
        file, err = tempfile.mkstemp()
        os.close(file)
        asked = {"program": program, "words": words, "err": err, "largest": largest}
        return Started(self, self.ask(asked), Path(err))

    def run(self, folder: Path, *words: str, **how: Any) -> End:
        """Run one command."""
        return self.together([Run(words, str(folder), **how)])[0]


@dataclass
class Started:
    """A process that a server has forked, with the face of ``subprocess.Popen``."""

    server: Server
    pid: int
    err: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or ``None`` while it runs."""
        if self.returncode is None:
            self.returncode = self.server.ask(self.pid)
        return self.returncode

    def kill(self) -> None:
        """Kill it, and nothing that it has started."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def end(self, timeout: float) -> tuple[int, str]:
        """Wait; return the exit code and what it wrote on standard error."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.02)
        return code, self.err.read_text(errors="replace")


@cache
def ready_server() -> Server:
    """Return the server of this process, which ends with it."""
    started = ExitStack()
    atexit.register(started.close)
    return started.enter_context(server())


@contextmanager
def server() -> Iterator[Server]:
    """Start a server; end it."""
    single = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {**os.environ, **dict.fromkeys(single, "1")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.make.forks import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Server(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()
