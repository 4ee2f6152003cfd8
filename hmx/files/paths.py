"""Paths: one meaning of a path, in Python, on the command line and in a catalog.

``~`` is the home, a relative path starts at one folder, ``file://`` is a path of this
machine, and ``..`` after a symbolic link leaves the folder that the link points to, as
the operating system has it. A link itself is kept: who moves it means another place.

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

from hmx.errors import BadArgument, OutputExists

_LOCAL = "file://"

# Protocols of fsspec that have no way to write; their clients fail only at the first write.
_READ_ONLY = ("http", "https", "github", "git", "data", "jar", "reference")

_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a FIFO is opened without waiting for who writes it


def is_url(path: str) -> bool:
    """Return True for a URL, a virtual path of GDAL or a model elsewhere."""
    return "://" in path or path.startswith(("/vsi", "wandb:"))


def absolute(path: str | Path, base: str | Path | None = None) -> str:
    """Spell a path from the root; a URL stays as it is."""
    text = os.fspath(path)
    if text.startswith(_LOCAL):
        text = "/" + text.removeprefix(_LOCAL).removeprefix("localhost").lstrip("/")
    if is_url(text):
        return text
    text = os.path.expanduser(text)
    if os.path.isabs(text):
        return _climbed(text)
    try:
        return _climbed(os.path.join(os.path.abspath(base or os.curdir), text))
    except FileNotFoundError:
        raise BadArgument(
            f"{text!r} starts at the working folder, and that was removed. Change to a folder that "
            "is there, or write the whole path."
        ) from None


def _climbed(path: str) -> str:
    """Carry out every ``..``, from where a link leads."""
    root, *parts = Path(path).parts
    at = root
    for part in parts:
        if part == "..":
            # os.path.normpath would drop link/.. as text and end in another folder.
            at = os.path.dirname(os.path.realpath(at) if os.path.islink(at) else at)
        else:
            at = os.path.join(at, part)
    return at


def require_writable(path: str, key: str) -> None:
    """Raise unless a product can be made at a path; one that is there is not looked at."""
    if is_url(path):
        _require_writable_url(path, key)
        return
    target = Path(absolute(path))
    try:
        if target.exists():
            return
        nearest = next(parent for parent in target.parents if parent.exists())
    except OSError as error:  # a name longer than a file system takes
        raise BadArgument(f"{key} = {path!r}: {error.strerror}. Choose another path.") from None
    if not nearest.is_dir():
        raise BadArgument(
            f"{key} = {path!r}: {nearest} is a file, and a folder is needed in its place. Choose "
            "another path."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise BadArgument(
            f"{key} = {path!r}: the folder {nearest} cannot be written by you. Choose another "
            "path, or ask for access."
        )


def _require_writable_url(path: str, key: str) -> None:
    scheme = path.partition("://")[0].rpartition("::")[2]
    if path.startswith(("/vsi", "wandb:")) or scheme in _READ_ONLY:
        raise BadArgument(
            f"{key} = {path!r} can be read and not written. Choose a folder of this machine, or a "
            "bucket such as s3://bucket/name.zarr."
        )
    import fsspec

    try:
        files, target = fsspec.core.url_to_fs(path)
        files.exists(target)
    except ImportError as error:
        extra = ' Type: pip install "hmx[s3]".' if scheme in ("s3", "s3a") else ""
        raise BadArgument(
            f"{key} = {path!r}: {error}. Install it, or choose a folder.{extra}"
        ) from None
    except ValueError:
        raise BadArgument(
            f"{key} = {path!r}: {scheme}:// is not a location that hmx can write to. Choose a "
            "folder of this machine, or a bucket such as s3://bucket/name.zarr."
        ) from None
    except Exception as error:  # whatever a client of a cloud raises: it is not there now
        raise BadArgument(
            f"{key} = {path!r} cannot be reached: {error}. Check the address and your "
            "credentials, or choose a folder of this machine."
        ) from None


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
