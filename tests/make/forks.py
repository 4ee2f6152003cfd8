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
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HEAVY = (
    "distributed", "matplotlib.figure", "pandas", "pytorch_lightning", "rasterio", "rioxarray",
    "scipy.ndimage", "sklearn.ensemble", "torch", "xarray", "zarr", "hmx.cli.main",
    "hmx.forecast.backtest.backtest", "hmx.mapping.evaluate.score", "hmx.mapping.train.train",
    "hmx.forecast.train.train", "hmx.engine.pool.cluster", "hmx.engine.job",
    "hmx.exports.cog", "hmx.workflow",
)  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
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
    """Answer lines of JSON, each a list of runs that go on at once."""
    for name in HEAVY:
        __import__(name)
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    others = [name for name in names[1:] if name != "jemalloc_bg_thd"]  # which minds forks
    assert threading.active_count() == 1, "a fork would lose a thread"
    assert not others, f"a fork would lose the threads {others}"
    print("ready", flush=True)
    for line in sys.stdin:
        runs = [Run(**run) for run in json.loads(line)]
        print(json.dumps([asdict(end) for end in _together(runs)]), flush=True)


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
        from hmx.cli.main import main

        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(tells, json.dumps(points.made).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


class Server:
    """The other end: a process of :func:`serve`."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def together(self, runs: Sequence[Run]) -> list[End]:
        """Run commands at once; wait for all."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([asdict(run) for run in runs]) + "\n")
        stdin.flush()
        return [End(**end) for end in json.loads(stdout.readline())]

    def run(self, folder: Path, *words: str, **how: Any) -> End:
        """Run one command."""
        return self.together([Run(words, str(folder), **how)])[0]


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
