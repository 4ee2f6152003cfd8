"""Lock: one process at a time makes a product; the others wait, and then find it made.

The lock of ``NAME`` is the file ``.NAME.lock`` next to it, or next to its target if it
is a link. The operating system holds the lock, so it ends with its owner, however that
ends. Who is done removes the file; who was waiting for it notices that, and locks the
file that is there by then. Products at URLs have no lock.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hmx.errors import OutputBusy, OutputFailed
from hmx.files.paths import absolute, is_url, require_plain_tree
from hmx.progress import Progress

_PAUSE = (0.05, 0.5)  # seconds between looks at a lock that another one holds: first, longest
# errors of a file system without locks, and of one that cannot be written
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_NO_WRITING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
# newer releases fall back to a file that would outlive its owner
_HARD: dict[str, Any] = {"fallback_to_soft": False}
_HARD = _HARD if _HARD.keys() <= inspect.signature(FileLock.__init__).parameters.keys() else {}


def followed(path: str | Path) -> Path:
    """Return the path that a path leads to, through all links, also those that dangle."""
    return Path(os.path.realpath(absolute(path)))


def hidden_sibling(path: str | Path, what: str) -> Path:
    """Return a hidden path next to the target of a path, such as its ``draft``."""
    target = followed(path)
    return target.with_name(f".{target.name}.{what}")


def lock_file(path: str | Path) -> Path:
    """Name the lock of a product."""
    return hidden_sibling(path, "lock")


@contextmanager
def building(
    path: str | Path, progress: Progress | None = None, *, wait: bool = True
) -> Iterator[None]:
    """Be the only one, in this process and of all processes, that makes a product."""
    if is_url(str(path)):
        yield
        return
    file = lock_file(path)
    with _choosing:
        turn = _turns.setdefault(file, _Turn())

    def refused(noted: bool) -> bool:
        """Report the owner of the lock once, or raise; return True, as it is noted now."""
        if not wait:
            raise OutputBusy(
                f"{path} is being written by another job{_who(file)}. Wait until it has finished, "
                "or stop it and run this command again: it goes on where that one was."
            )
        if not noted:
            (progress or Progress.console()).note(
                f"another hmx command{_who(file)} is building {path}; waiting for it"
            )
        return True

    _keep_trying(lambda: turn.take(again=wait), refused)
    try:
        if turn.depth == 1:
            _keep_trying(lambda: turn.lock(file, path), refused)
        yield
    finally:
        turn.leave(file)


def _keep_trying(attempt: Callable[[], bool], refused: Callable[[bool], bool]) -> None:
    noted, pause = False, _PAUSE[0]
    while not attempt():
        noted = refused(noted)
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE[1])


class _Turn:
    """Lock of a product among the threads of this process, and against other processes."""

    def __init__(self) -> None:
        self._threads = threading.RLock()
        self._locked: tuple[int, ExitStack] | None = None  # descriptor of the file, its release
        self._made: list[Path] = []
        self.depth = 0

    def take(self, *, again: bool) -> bool:
        """Let this thread in if no other one is; ``again`` if it is in already."""
        if not self._threads.acquire(blocking=False):
            return False
        if self.depth and not again:
            self._threads.release()
            return False
        self.depth += 1
        return True

    def lock(self, file: Path, path: str | Path) -> bool:
        """Lock the file against other processes, unless one of them has it."""
        require_plain_tree(file, inside=True)  # opening it would empty what a link leads to
        lock = FileLock(file, thread_local=False, **_HARD)
        try:
            made = [parent for parent in file.parents if not parent.exists()]
            file.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as undo:
                # No other file can get the inode while this descriptor is open. So if the path
                # still leads to it once the lock is there, it is the inode that is locked.
                opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
                undo.callback(os.close, opened)
                # Not blocking: filelock would wait without a message, and without seeing that
                # the file was removed.
                lock.acquire(blocking=False)
                undo.callback(lock.release)
                if not _is_at(file, opened):  # its owner removed it as we were opening it
                    raise FileNotFoundError(file)
                with suppress(OSError):  # the name of the owner is a courtesy
                    file.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
                self._locked, self._made = (opened, undo.pop_all()), made
        except Timeout:
            return False
        except FileNotFoundError:  # the file is gone, or its folder: its maker has failed
            return self.lock(file, path)
        except NotImplementedError:
            raise OutputFailed(_no_locks(path)) from None
        except OSError as error:
            raise _failed(error, path) from error
        return True

    def leave(self, file: Path) -> None:
        """Let the next one in; the last to leave removes the file, while it is still ours."""
        self.depth -= 1
        if not self.depth and self._locked is not None:
            (opened, release), self._locked = self._locked, None
            if _is_at(file, opened):
                with suppress(OSError):  # open files can't be removed everywhere
                    file.unlink()
            release.close()
            with suppress(OSError):  # as soon as there is something in one of them
                for parent in self._made:
                    parent.rmdir()
        self._threads.release()


_turns: dict[Path, _Turn] = {}
_choosing = threading.Lock()


def _is_at(file: Path, opened: int) -> bool:
    """Return True if a path leads to the file of a descriptor."""
    try:
        return os.path.samestat(os.fstat(opened), os.stat(file))
    except OSError:
        return False


def _failed(error: OSError, path: str | Path) -> OSError:
    if error.errno in _NO_LOCKS:
        return OutputFailed(_no_locks(path))
    if error.errno in _NO_WRITING:
        return OutputFailed(
            f"{path} cannot be written: {error.strerror}. Make room or give access to its folder, "
            "then run the same command again."
        )
    return error


def _no_locks(path: str | Path) -> str:
    return (
        f"the file system of {path} has no file locks, by which hmx keeps two commands from "
        "writing one product. Choose a path on another file system, or mount this one with locks "
        "(NFS: without nolock)."
    )


def _who(file: Path) -> str:
    """Name the owner of a lock as far as it is known."""
    try:
        owner: dict[str, Any] = json.loads(file.read_bytes())
        return f" (process {int(owner['pid'])} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
