"""Durable: small files that are there whole, or not at all.

A :class:`Folder` is a directory of this machine or any URL that fsspec can
write. On a directory a file is written next to its target, flushed to the disk and
renamed; on an object store a write is atomic by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from hmx.errors import SourceError
from hmx.files.paths import is_url
from hmx.files.remote import explain, storage_options

_FLUSHES = 8  # files at a time

PARTIAL = ".partial"  # how names end of files that are being written, also by zarr


def flush_tree(folder: str | Path) -> None:
    """Flush every file below a folder, and the folders themselves, to the disk; or a file."""
    places: list[str | Path] = [at for at, _, _ in os.walk(folder)]
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    with ThreadPoolExecutor(_FLUSHES) as threads:  # a journal takes several at a time
        list(threads.map(flush, files))
    # Deepest first: a name in a folder must not be durable before the file behind it is.
    for place in places[::-1] or [folder]:
        flush(place)


def flush(path: str | Path) -> None:
    """Flush a file to the disk, or the names in a folder."""
    if os.name == "nt" and os.path.isdir(path):
        return  # which has no handles for that
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Folder:
    """A folder, with its files named relative to it."""

    path: str  # directory, or URL

    @cached_property
    def _at(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self.path, **storage_options(self.path))
        return files, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Return True if this is a directory that processes of this machine can lock and flush."""
        return "file" in _protocols(self._at[0])

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or ``None`` if there is no such file in the folder."""
        # Names come from ledgers, which a stranger may have written: none may leave the folder.
        if ".." in name.split("/") or name.startswith("/"):
            return None
        files, root = self._at
        try:
            data: bytes = files.cat_file(f"{root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole, on disk when this returns."""
        files, root = self._at
        if not self.is_local:
            files.pipe_file(f"{root}/{name}", data)
            return
        path = Path(root, name)
        # of a link that dangles, what it leads to is made
        os.makedirs(os.path.realpath(path.parent), exist_ok=True)
        who = f"{os.getpid()}.{threading.get_ident()}"
        draft = path.with_name(f".{path.name}.{who}{PARTIAL}")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def flush(self, name: str) -> None:
        """Flush a file that someone else wrote to the disk; nothing to do elsewhere."""
        if self.is_local:
            flush(Path(self._at[1], name))

    def flush_folders(self) -> None:
        """Flush the names of all files to the disk; nothing to do elsewhere."""
        if self.is_local:
            for at, _, _ in os.walk(self._at[1]):
                flush(at)

    def sweep(self) -> None:
        """Remove what was being written into a directory, however deep, as a process died."""
        if self.is_local:
            for path in Path(self._at[1]).rglob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)

    def is_bare(self) -> bool:
        """Return True if there is no file but what was being written as a process died."""
        return all(name.endswith(PARTIAL) for name in self.names(""))

    def names(self, under: str) -> list[str]:
        """List the files of a subfolder, sorted; none if it is not there."""
        files, root = self._at
        try:
            found = files.ls(f"{root}/{under}", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(path).rpartition("/")[2] for path in found)

    def stamps(self, under: str) -> Mapping[str, str]:
        """Stamp every file below a subfolder: size, and what distinguishes versions."""
        files, root = self._at
        # fsspec parses an HTML page for links there: an empty list would read as no data.
        if {"http", "https"} & set(_protocols(files)):
            raise OSError(f"{self.path} is on a web server, which has no list of its files")
        top = f"{root}/{under}".rstrip("/")
        try:
            found = files.find(top, detail=True)
        except NotImplementedError as error:
            raise OSError(str(error)) from error
        return {path[len(top) + 1 :]: _stamp(info) for path, info in found.items()}

    def ends(self, under: str, size: int) -> dict[str, bytes]:
        """Read the last bytes of every file below a subfolder, by name relative to it."""
        files, root = self._at
        top = f"{root}/{under}"
        with ThreadPoolExecutor(8) as threads:
            found = [str(path) for path in files.find(top)]
            ends = threads.map(lambda path: files.tail(path, size), found)
            return {path[len(top) + 1 :]: end for path, end in zip(found, ends, strict=True)}

    def drop(self, name: str) -> None:
        """Remove a file."""
        files, root = self._at
        files.rm_file(f"{root}/{name}")

    def remove(self) -> None:
        """Remove the folder and all in it."""
        files, root = self._at
        if files.exists(root):
            files.rm(root, recursive=True)


def is_there(path: str) -> bool:
    """Return True if there is something at a path or URL: a file, or a folder with a Zarr root."""
    if not is_url(path):
        return Path(path).exists()
    try:
        files, root = fsspec.core.url_to_fs(path, **storage_options(path))
        # a web server has no list of its files: only one that is asked for by name is seen
        return bool(files.exists(f"{root.rstrip('/')}/zarr.json") or files.exists(root))
    except (OSError, ImportError, ValueError) as error:
        why = explain(path, f"{type(error).__name__}: {error}") or str(error)
        raise SourceError(f"{path} cannot be read: {why}.") from error


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _stamp(info: Mapping[str, Any]) -> str:
    version = next((info[k] for k in ("ETag", "etag", "mtime", "LastModified") if k in info), "")
    return f"{info.get('size')} {version}"
