"""Examine: compare every file of a sealed store with its seal, and list all damage.

Reading finds damage in the chunks that are read; this finds it everywhere, also in files
that no reader opens: the root's copies of metadata, blanks in a JSON file, foreign files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from hmx.cube.integrity.reading import labels_of, location_of, remedy
from hmx.cube.integrity.seal import (
    AUDIT,
    ROOT,
    SEAL,
    Document,
    Seal,
    attributes_of,
    canonical,
    consolidated,
    digest_of,
    parse,
    sealed_metadata,
    serialize,
    was_sealed_as,
    without_consolidated,
)
from hmx.errors import HmxError, VerifyFailed
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.progress import Progress, counted

_AT_ONCE = 8  # files that are read at the same time


@dataclass(frozen=True)
class Fault:
    """One file that differs from the seal."""

    key: str  # its name in the store
    text: str  # what is wrong with it, and where its pixels lie
    foreign: bool = False  # whether it is not part of the store, which is read all the same


@dataclass(frozen=True)
class Examined:
    """Result of an examination."""

    sealed: bool  # whether the store has a seal; stores of older releases have none
    chunks: int  # chunks that were compared
    faults: tuple[Fault, ...]  # all that is wrong
    remedy: str  # what to type

    def lines(self) -> str:
        """List the faults, one per line."""
        return "\n".join(f"  {fault.key}: {fault.text}" for fault in self.faults)


def examine(store: str, *, progress: Progress = Progress()) -> Examined:
    """Read every file of a store and compare it with the seal."""
    return _Examination(store, progress).run()


def require_whole(store: str, *, progress: Progress = Progress()) -> Examined:
    """Raise :class:`VerifyFailed` with all that is damaged in a store."""
    found = examine(store, progress=progress)
    if found.faults:
        files = counted(len({fault.key for fault in found.faults}), "file")
        raise VerifyFailed(
            f"{store} is not what was written, in {files}:\n{found.lines()}\n{found.remedy}"
        )
    return found


def verify_all(
    stores: Mapping[str, str], verify_product: Callable[[str], str], progress: Progress
) -> str:
    """Verify the cube and the products that exist, and report each."""
    existing = {
        word: path
        for word, path in stores.items()
        if Folder(path).names("") or Folder(path).read(ROOT) is not None
    }
    errors = []
    for word, path in (existing or stores).items():
        try:
            line = _cube_line(path, progress) if is_cube(path) else verify_product(path)
            progress.note(f"verify: {line}")
        except HmxError as error:
            if len(existing) < 2:
                raise
            errors.append(f"{word}: {error}")
    if errors:
        raise VerifyFailed("\n".join(errors))
    for word in stores.keys() - existing.keys():
        progress.note(f"verify: {word} {stores[word]} is not made yet")
    return list(existing.values())[-1]


def is_cube(path: str) -> bool:
    """Return True for a cube of hmx ingest, also if its root is damaged."""
    root = parse(Folder(path).read(ROOT)) or {}
    return was_sealed_as("cube", path) or "hmx_sources" in attributes_of(root)


def _cube_line(path: str, progress: Progress) -> str:
    found = require_whole(path, progress=progress)
    if not found.sealed:
        raise VerifyFailed(
            f"{path} carries no checksums: it was written by an older release or saved by "
            f"xarray, and there is nothing to compare it with. {found.remedy}"
        )
    return f"{path}: metadata, coordinates and {counted(found.chunks, 'chunk')} are as written"


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
        return parse(self.raw) or {}

    @cached_property
    def seal_file(self) -> bytes | None:
        return self.folder.read(f"{SEAL}/{ROOT}")

    @cached_property
    def seal(self) -> Seal | None:
        """The seal, from its file or from the copy in the root."""
        repeated = consolidated(self.root).get(SEAL)
        return Seal.from_json(parse(self.seal_file)) or Seal.from_json(repeated)

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
            for document in (parse(self.files[name]), members.get(name)):
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
        """Compare root, seal and arrays, including their text."""
        seal, root, members = self.seal_of, self.root, consolidated(self.root)
        if not root:
            yield Fault(ROOT, "is lost" if self.raw is None else "is damaged: it is not JSON")
        elif digest_of(sealed_metadata(root)) != seal.root:
            yield Fault(ROOT, "holds other attributes than were written")
        elif root["attributes"].get("hmx_status") != "complete":
            yield Fault(ROOT, "is not marked as complete")
        elif self.raw != serialize(root):
            yield Fault(ROOT, "has other bytes than were written, which mean the same")
        elif AUDIT in root["attributes"] and not self.audited(root["attributes"]):
            yield Fault(ROOT, f"holds an audit ({AUDIT}) with other values than were written")
        sealed = seal.as_json()
        if self.seal_file != serialize(sealed):
            yield Fault(f"{SEAL}/{ROOT}", _lost(self.seal_file))
        for name, digest in seal.arrays.items():
            found = parse(self.files[name])
            if found is None or digest_of(found) != digest or self.files[name] != serialize(found):
                yield Fault(f"{name}/{ROOT}", f"metadata of {name}: {_lost(self.files[name])}")
        if root:
            yield from self.repeated(members, sealed)

    def audited(self, attributes: Document) -> bool:
        """Whether the audit is as :func:`audit_text` wrote it."""
        audit = audit_of(attributes)
        return audit is not None and attributes[AUDIT] == audit_text(audit)

    def repeated(self, members: Document, sealed: Document) -> Iterator[Fault]:
        """Compare the root's copies of the other metadata."""
        digests = {**self.seal_of.arrays, SEAL: digest_of(sealed)}
        for name in sorted(members.keys() | digests.keys()):
            member = members.get(name)
            document = without_consolidated(member) if isinstance(member, dict) else None
            if document is None or digest_of(document) != digests.get(name):
                yield Fault(ROOT, f"repeats other metadata of {name} than were written")
        block = {"kind": "inline", "must_understand": False, "metadata": members}
        if canonical(self.root.get("consolidated_metadata")) != canonical(block):
            yield Fault(ROOT, "repeats the metadata in another form than was written")

    def chunks(self) -> Iterator[Fault]:
        """Read every chunk that must exist, and find those that must not."""
        listed = self.listed
        keys = set(self.seal_of.keys())
        if listed is not None:
            keys |= {key for key in listed if self.seal_of.split(key)}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            ordered = sorted(keys)
            texts = threads.map(self.chunk, ordered)
            for done, (key, text) in enumerate(zip(ordered, texts, strict=True), start=1):
                self.progress.step(done, len(ordered), "verify: checksums of chunks")
                if text is not None:
                    yield Fault(key, text)

    def chunk(self, key: str) -> str | None:
        """Describe the damage of a chunk, or return ``None``."""
        found = self.seal_of.split(key)
        assert found is not None
        name, at = found
        fault = self.seal_of.chunks[name].fault(at, self.folder.read(key))
        if fault is None:
            return None
        array = self.arrays.get(name)
        where = location_of(array, at, self.root, self.labels) if array else f"chunk {at}"
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
        """All files of the store; ``None`` if they cannot be listed."""
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


def audit_of(attributes: Mapping[Any, Any]) -> Document | None:
    """Read the audit of a store; ``None`` if it has none, or a damaged one."""
    try:
        text = attributes[AUDIT]
        found = {key: value for key, value in json.loads(text).items() if key != "digest"}
        # audits of older releases have no digest
        return found if text in (audit_text(found), json.dumps(found)) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def audit_text(facts: Document) -> str:
    """Write an audit as JSON with its own digest."""
    return as_json({**facts, "digest": digest_of(facts)})
