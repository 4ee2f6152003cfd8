"""Laws of the lock: one at a time, the others wait, and nobody's death is in the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hmx.errors import OutputBusy, OutputFailed
from hmx.files import lock
from hmx.files.lock import building, followed, lock_file
from hmx.progress import Progress
from tests.ingest.test_ingest import YEARS, write_years

HOLD = """
import sys
from hmx.files.lock import building
with building(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""
CATALOG = """
hmx: 1
name: tiny
cube:
  path: tiny.zarr
  sources: {hm: {path: "HM_{year}.tif", years: [1990, 1995, 2000]}}
  target: hm
"""
COUNT = """
import pathlib, sys
from hmx.files.lock import building
place = pathlib.Path(sys.argv[1])
for _ in range(40):
    with building(place):
        place.write_text(str(int(place.read_text()) + 1))
"""


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a product until it is told to go."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "mine\n"
        yield process
        if process.poll() is None:
            process.kill()


def test_who_does_not_wait_is_told_which_process_is_at_work(tmp_path: Path) -> None:
    with another(tmp_path / "fc.zarr") as process:
        said = rf"fc.zarr is being written by another job \(process {process.pid} on .+\)"
        with pytest.raises(OutputBusy, match=said), building(tmp_path / "fc.zarr", wait=False):
            raise AssertionError("two at once")
        with building(tmp_path / "other.zarr", wait=False):
            pass


def test_who_waits_says_for_whom_once_and_then_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    with another(tmp_path / "cube.zarr") as process:

        def say(line: str) -> None:
            said.append(line)
            process.communicate("")  # which ends it

        with building(tmp_path / "cube.zarr", Progress(on_note=say)):
            pass
    (line,) = said
    assert line.startswith(f"another hmx command (process {process.pid} on ")
    assert line.endswith(f" is building {tmp_path / 'cube.zarr'}; waiting for it")


def test_a_lock_ends_with_its_owner_and_its_file_goes_with_the_next(tmp_path: Path) -> None:
    with another(tmp_path / "m") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert lock_file(tmp_path / "m").exists()
        with building(tmp_path / "m", wait=False):
            pass
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with building(tmp_path / "a" / "b" / "m"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with building(tmp_path / "a" / "b" / "m"):
        (tmp_path / "a" / "mine").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine"]


def test_ctrl_c_while_waiting_ends_quietly(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    catalog = tmp_path / "tiny.yaml"
    catalog.write_text(CATALOG)
    words = [str(Path(sys.executable).with_name("hmx")), "ingest", str(catalog)]
    with another(tmp_path / "tiny.zarr"):
        waits = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert waits.stderr is not None
        assert waits.stderr.readline().endswith("tiny.zarr; waiting for it\n")
        waits.send_signal(signal.SIGINT)
        said = waits.communicate()[1]
    assert waits.returncode == 130
    assert said.split() == ["stopped.", "Run", "the", "same", "command", "again", "to", "go", "on."]
    assert not (tmp_path / "tiny.zarr").exists()


def test_nobody_holds_a_file_that_is_gone(tmp_path: Path) -> None:
    """The file is removed by each that is done, while others have it open and wait."""
    place = tmp_path / "count"
    place.write_text("0")
    words = [sys.executable, "-c", COUNT, str(place)]
    processes = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert place.read_text() == "160"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_threads_of_a_process_wait_for_each_other(tmp_path: Path) -> None:
    inside, order, waits = threading.Event(), [], threading.Event()

    def work() -> None:
        with building(tmp_path / "m", Progress(on_note=lambda line: waits.set())):
            order.append("second")

    second = threading.Thread(target=work)
    with building(tmp_path / "m"):
        second.start()
        assert waits.wait(60)
        order.append("first")
        inside.set()
    second.join(60)
    assert order == ["first", "second"]


def test_a_thread_goes_on_with_what_it_has_locked_unless_it_must_not(tmp_path: Path) -> None:
    with building(tmp_path / "m"):
        with building(tmp_path / "m"):
            pass
        assert lock_file(tmp_path / "m").exists(), "the inner one let others in"
        with pytest.raises(OutputBusy), building(tmp_path / "m", wait=False):
            pass


def test_all_names_of_one_place_have_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "short").symlink_to(tmp_path / "disk")
    (tmp_path / "far").symlink_to("chain")
    (tmp_path / "chain").symlink_to(tmp_path / "short" / "cube.zarr")  # which is not there yet
    monkeypatch.chdir(tmp_path)
    names = ["far", "chain", "short/cube.zarr", "disk/cube.zarr/", tmp_path / "disk/cube.zarr"]
    assert {followed(name) for name in names} == {tmp_path / "disk" / "cube.zarr"}
    assert {lock_file(name) for name in names} == {tmp_path / "disk" / ".cube.zarr.lock"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.FileLock, "acquire", fails)
    said = r"the file system of .*m has no file locks.*another file system"
    with pytest.raises(OutputFailed, match=said), building(tmp_path / "m"):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_place_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.FileLock, "acquire", fails)
    with pytest.raises(OutputFailed, match="m cannot be written"), building(tmp_path / "m"):
        pass
