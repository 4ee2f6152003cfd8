"""Examine: compare every file of a sealed store with its seal, and list all that is wrong.

Reading finds what is damaged where it is read; this finds it everywhere, also where no
reader looks: the copies of metadata that the root repeats, blanks in a JSON file, files
that do not belong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from hmx.durable import Folder
from hmx.errors import VerifyFailed
from hmx.integrity.reading import labels_of, place_of, remedy
from hmx.integrity.seal import (
    AUDIT,
    ROOT,
    SEAL,
    Document,
    Seal,
    canonical,
    consolidated,
    digest_of,
    lasting,
    parsed,
    written,
)
from hmx.progress import Progress, counted, silent

_AT_ONCE = 8  # files that are read at the same time


@dataclass(frozen=True)
class Fault:
    """One file that is not as it was sealed.

    Parameters
    ----------
    key : str
        Its name in the store.
    text : str
        What is wrong with it, and where its pixels lie.
    foreign : bool
        Whether it is no part of the store, which is read all the same.
    """

    key: str
    text: str
    foreign: bool = False


@dataclass(frozen=True)
class Examined:
    """What an examination found.

    Parameters
    ----------
    sealed : bool
        Whether the store has a seal; stores of older releases have none.
    chunks : int
        Chunks that were compared.
    faults : tuple of Fault
        All that is wrong.
    remedy : str
        What to type.
    """

    sealed: bool
    chunks: int
    faults: tuple[Fault, ...]
    remedy: str

    def lines(self) -> str:
        """List the faults, one a line."""
        return "\n".join(f"  {fault.key}: {fault.text}" for fault in self.faults)


def examine(store: str, *, progress: Progress = silent) -> Examined:
    """Read every file of a store and compare it with the seal.

    Parameters
    ----------
    store : str
        Path or URL.
    progress : callable, optional
        Called with (chunks done, chunks, text).
    """
    return _Examination(store, progress).run()


def require_whole(store: str, *, progress: Progress = silent) -> Examined:
    """Raise :class:`VerifyFailed` with all that is damaged in a store.

    Parameters
    ----------
    store : str
        Path or URL.
    progress : callable, optional
        Called with (chunks done, chunks, text).
    """
    found = examine(store, progress=progress)
    if found.faults:
        files = counted(len({fault.key for fault in found.faults}), "file")
        raise VerifyFailed(
            f"{store} is not what was written, in {files}:\n{found.lines()}\n{found.remedy}"
        )
    return found


@dataclass(frozen=True)
class _Examination:
    store: str
    progress: Progress

    @cached_property
    def folder(self) -> Folder:
        return Folder(self.store)

    @cached_property
    def raw(self) -> bytes | None:
        return self.folder.read(ROOT)

    @cached_property
    def root(self) -> Document:
        return parsed(self.raw) or {}

    @cached_property
    def seal_file(self) -> bytes | None:
        return self.folder.read(f"{SEAL}/{ROOT}")

    @cached_property
    def seal(self) -> Seal | None:
        """The seal, from its file or from what the root repeats of it."""
        repeated = consolidated(self.root).get(SEAL)
        return Seal.from_json(parsed(self.seal_file)) or Seal.from_json(repeated)

    @cached_property
    def files(self) -> dict[str, bytes | None]:
        """The metadata files of the arrays."""
        return {name: self.folder.read(f"{name}/{ROOT}") for name in self.seal_of.arrays}

    @property
    def seal_of(self) -> Seal:
        assert self.seal is not None
        return self.seal

    @cached_property
    def arrays(self) -> dict[str, Document]:
        """The metadata of the arrays, from wherever they are whole."""
        members, found = consolidated(self.root), {}
        for name, sealed in self.seal_of.arrays.items():
            for document in (parsed(self.files[name]), members.get(name)):
                if document is not None and digest_of(document) == sealed:
                    found[name] = document
        return found

    def run(self) -> Examined:
        """Look at everything."""
        if self.seal_file is None and SEAL not in consolidated(self.root):
            broken = [] if self.root or self.raw is None else [Fault(ROOT, "is damaged")]
            return Examined(False, 0, tuple(broken), remedy(self.root))
        if self.seal is None:
            lost = Fault(f"{SEAL}/{ROOT}", "is damaged, so that nothing else can be compared")
            return Examined(True, 0, (lost,), remedy(self.root))
        faults = [*self.metadata(), *self.chunks(), *self.strangers()]
        total = sum(len(table.crcs) for table in self.seal.chunks.values())
        return Examined(True, total, tuple(faults), remedy(self.root))

    def metadata(self) -> Iterator[Fault]:
        """Compare root, seal and arrays, their text too."""
        seal, root, members = self.seal_of, self.root, consolidated(self.root)
        if not root:
            yield Fault(ROOT, "is lost" if self.raw is None else "is damaged: it is no JSON")
        elif digest_of(lasting(root)) != seal.root:
            yield Fault(ROOT, "holds other attributes than were written")
        elif root["attributes"].get("hmx_status") != "complete":
            yield Fault(ROOT, "does not say that the store is complete")
        elif self.raw != written(root):
            yield Fault(ROOT, "has other bytes than were written, which mean the same")
        elif not _is_whole(root["attributes"].get(AUDIT)):
            yield Fault(ROOT, f"holds an audit ({AUDIT}) with other values than were written")
        sealed = seal.as_json()
        if self.seal_file != written(sealed):
            yield Fault(f"{SEAL}/{ROOT}", _lost(self.seal_file))
        for name, digest in seal.arrays.items():
            found = parsed(self.files[name])
            if found is None or digest_of(found) != digest or self.files[name] != written(found):
                yield Fault(f"{name}/{ROOT}", f"metadata of {name}: {_lost(self.files[name])}")
        if root:
            yield from self.repeated(members, sealed)

    def repeated(self, members: Document, sealed: Document) -> Iterator[Fault]:
        """Compare what the root repeats of the others' metadata."""
        digests = {**self.seal_of.arrays, SEAL: digest_of(sealed)}
        for name in sorted(members.keys() | digests.keys()):
            if name not in members or digest_of(members[name]) != digests.get(name):
                yield Fault(ROOT, f"repeats other metadata of {name} than were written")
        block = {"kind": "inline", "must_understand": False, "metadata": members}
        if canonical(self.root.get("consolidated_metadata")) != canonical(block):
            yield Fault(ROOT, "repeats the metadata in another form than was written")

    def chunks(self) -> Iterator[Fault]:
        """Read every chunk that must exist, and look for those that must not."""
        listed = self.listed
        keys = set(self.seal_of.keys())
        if listed is not None:
            keys |= {key for key in listed if self.seal_of.split(key)}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            ordered = sorted(keys)
            texts = threads.map(self.chunk, ordered)
            for done, (key, text) in enumerate(zip(ordered, texts, strict=True), start=1):
                self.progress(done, len(ordered), "verify: checksums of chunks")
                if text is not None:
                    yield Fault(key, text)

    def chunk(self, key: str) -> str | None:
        """Say what is wrong with a chunk."""
        found = self.seal_of.split(key)
        assert found is not None
        name, at = found
        fault = self.seal_of.chunks[name].fault(at, self.folder.read(key))
        if fault is None:
            return None
        array = self.arrays.get(name)
        where = place_of(array, at, self.root, self.labels) if array else f"chunk {at}"
        return f"a chunk of {name} {fault}, at {where}"

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """Names of the steps, if they can be read; places have numbers otherwise."""
        try:
            return dict(labels_of(xr.open_zarr(self.store, chunks=None, consolidated=True)))
        except Exception:  # whatever damage does to a reader
            return {}

    @cached_property
    def listed(self) -> list[str] | None:
        """All files of the store; ``None`` where they cannot be listed."""
        try:
            return list(self.folder.stamps(""))
        except OSError:
            return None

    def strangers(self) -> Iterator[Fault]:
        """Find files that do not belong."""
        known = {ROOT, *(f"{name}/{ROOT}" for name in (SEAL, *self.seal_of.arrays))}
        for key in sorted(set(self.listed or ()) - known):
            if not self.seal_of.split(key):
                yield Fault(key, "does not belong to the store", foreign=True)


def _lost(data: bytes | None) -> str:
    return "is lost" if data is None else "is not as it was written"


def _is_whole(audit: Any) -> bool:
    """Whether an audit, if there is one, is as :func:`audit_text` wrote it."""
    if audit is None:
        return True
    try:
        found = json.loads(audit)
        return bool(audit_text({k: v for k, v in found.items() if k != "digest"}) == audit)
    except (TypeError, ValueError, AttributeError):
        return False


def audit_text(facts: Document) -> str:
    """Write an audit as JSON with its own digest."""
    return json.dumps({**facts, "digest": digest_of(facts)}, allow_nan=False)
