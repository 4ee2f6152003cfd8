"""Regular: files that are what they seem, in folders that others may have made.

A product that was copied from somewhere may hold a symbolic link where a file of it should be,
and whoever writes there writes into any file of the user. It may hold a FIFO, and whoever
reads it waits forever. Both are refused. The path of a product may be a link: its owner made
that one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hmx.errors import OutputExists

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a FIFO is opened without waiting for who writes it


@contextmanager
def regular(path: str | Path) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes."""
    handle = os.open(path, os.O_RDONLY | _AT_ONCE | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is {kind(os.fstat(handle).st_mode)}")
        yield file


def kind(mode: int) -> str:
    """Name the kind of a path that is not a regular file."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a symbolic link",
    }
    return kinds.get(stat.S_IFMT(mode), "not a regular file")


def require_plain_tree(path: str | Path, *, inside: bool = False) -> None:
    """Raise if anything in a folder is neither a regular file nor a folder."""
    if inside and os.path.islink(path):
        raise _strange(path, stat.S_IFLNK)
    folders = [os.fspath(path)] if os.path.isdir(path) else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    raise _strange(entry.path, entry.stat(follow_symlinks=False).st_mode)


def _strange(path: str | Path, mode: int) -> OutputExists:
    return OutputExists(
        f"{path} is {kind(mode)}, which hmx never puts into a product: writing there could change "
        "any file of yours. Remove it, or make the product anew elsewhere."
    )
