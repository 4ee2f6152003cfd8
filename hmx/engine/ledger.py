"""Ledger: the proof, tile by tile, that a job has written its result.

The folder ``OUT.ledger`` stands next to the store ``OUT``::

    job.json           settings, cube and model of the job; the fingerprint of the run
    tiles/0003-0017    one record per tile, written after its data is durable

A record names the run, the state of the input of the tile, and a checksum of every chunk that
was written. A tile without such a proof is computed again: the record is cut in half, a chunk
is torn or missing, or the input has changed.

One job at a time writes a store (:mod:`hmx.files.lock`). Stores at URLs have no lock: run one
job at a time there. If the store is a link, the ledger stands next to the target of the link.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from hmx.cube.integrity.seal import crc_of
from hmx.errors import VerifyFailed
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.lock import building, followed
from hmx.files.paths import is_url, require_plain_tree
from hmx.settings import Options, parse
from hmx.windows import Index, Span, Window

Chunks = Mapping[str, Mapping[str, Any] | None]

_JOB, _TILES = "job.json", "tiles"


@dataclass(frozen=True)
class Record:
    """The proof of one finished tile."""

    index: Index  # row and column of the tile
    run: str  # fingerprint of the job
    source: str  # state of the input the tile was made from
    # Storage key -> size, hash and CRC-32C of its bytes; ``None`` where all pixels have the fill
    # value and nothing is stored
    chunks: Chunks


@dataclass(frozen=True)
class Ledger:
    """The ledger of one store."""

    store: str  # path or URL of the store

    @property
    def path(self) -> str:
        """Path of the ledger, next to its store."""
        path = self.store.rstrip("/")
        return (path if is_url(path) else str(followed(path))) + ".ledger"

    @cached_property
    def folder(self) -> Folder:
        """Files of the ledger."""
        return Folder(self.path)

    @cached_property
    def data(self) -> Folder:
        """Files of the store."""
        return Folder(self.store)

    def job(self) -> dict[str, Any]:
        """Read the description of the job; empty without a ledger, or if it is damaged."""
        return _parse(self.folder.read(_JOB))

    def begin(self, job: Mapping[str, Any], *, keep: bool = False) -> None:
        """Write the description of a job; remove all records unless `keep`."""
        if not keep:
            self.folder.remove()
        self.folder.write(_JOB, _sealed(job))

    def sign(self, record: Record) -> None:
        """Record that a tile is done; its data must be durable before."""
        facts = {
            "index": list(record.index),
            "run": record.run,
            "source": record.source,
            "chunks": dict(record.chunks),
        }
        self.folder.write(f"{_TILES}/{_name(record.index)}", _sealed(facts))

    def records(self) -> Iterator[Record]:
        """Yield all records that are whole and stand under the name of their tile."""
        for name in self.folder.names(_TILES):
            facts = _parse(self.folder.read(f"{_TILES}/{name}"))
            with suppress(ValueError, TypeError):  # the file is not a record
                # records of older releases did not name their tile
                row, column = facts.pop("index", None) or map(int, name.split("-"))
                record = Record((row, column), **facts)
                if _name(record.index) == name and isinstance(record.chunks, dict):
                    yield record

    def knows(self, run: str) -> bool:
        """Return True if the header or a record belongs to a run."""
        return self.job().get("run") == run or any(r.run == run for r in self.records())

    def count(self) -> int:
        """Count the records, damaged ones included."""
        return len(self.folder.names(_TILES))

    def checksum(self, keys: Iterator[str] | list[str], *, flush: bool = False) -> Chunks:
        """Hash the stored bytes of chunks, by key."""
        return {key: self._chunk(key, flush) for key in keys}

    def holds(self, record: Record) -> bool:
        """Return True if every chunk of a record is in the store, unchanged."""
        return all(_same(self._chunk(key, False), fact) for key, fact in record.chunks.items())

    def _chunk(self, key: str, flush: bool) -> dict[str, Any] | None:
        data = self.data.read(key)
        if data is None:
            return None
        if flush:
            self.data.flush(key)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return {"bytes": len(data), "blake2b": digest, "crc32c": crc_of(data)}

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the lock of the store while a job writes to it."""
        with building(self.store, wait=False):
            if self.folder.is_local:
                require_plain_tree(self.data.path)
                require_plain_tree(self.path, inside=True)
            yield


def _name(index: Index) -> str:
    return f"{index[0]:04d}-{index[1]:04d}"


def _same(found: Mapping[str, Any] | None, fact: Mapping[str, Any] | None) -> bool:
    """Compare a chunk with its record; records of older releases have no CRC."""
    if found is None or fact is None:
        return found is None and fact is None
    return "blake2b" in fact and fact.items() <= found.items()


def _sealed(facts: Mapping[str, Any]) -> bytes:
    """Write JSON with its own hash, so that a torn file is detected."""
    text = as_json(facts, sort_keys=True)
    return f"{_seal(text)}\n{text}\n".encode()


def _parse(data: bytes | None) -> dict[str, Any]:
    seal, _, text = (data or b"").decode("utf-8", "replace").partition("\n")
    if not text.endswith("\n") or seal != _seal(text[:-1]):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # a foreign file can have a valid hash
        return {}
    return found if isinstance(found, dict) else {}


def _seal(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


LAYOUT = ("tile", "chunk")
Chosen = TypeVar("Chosen", bound=Options)
Edge = Annotated[int, Field(ge=0, le=2**31, strict=True)]  # px


class Header(Options):
    """The description of a job in its ledger: enough to resume the job or to check it."""

    job: Literal["forecast", "map"]
    run: str
    facts: dict[str, Any]
    source: str
    bundle: str
    window: tuple[Edge, Edge, Edge, Edge]
    options: dict[str, Any]

    @classmethod
    def read(cls, raw: Mapping[str, Any], store: str, source: str | None) -> Header:
        """Read the header of a ledger."""
        header = parse(cls, raw, error=VerifyFailed)
        header = header.model_copy(update={"source": source or header.source})
        for path in {header.source, header.bundle} - {source}:
            if is_url(path):
                raise VerifyFailed(
                    f"the ledger of {store} names {path}, and a ledger alone is not "
                    "enough to fetch anything. If you trust it, pass the catalog in place of the "
                    "store, or --source with the cube."
                )
        return header

    def part(self, shape: tuple[int, int], store: str) -> Window:
        """Return the window of the cube that was computed."""
        top, bottom, left, right = self.window
        if not (top < bottom <= shape[0] and left < right <= shape[1]):
            raise VerifyFailed(
                f"the ledger of {store} names rows {top}-{bottom} and columns {left}-{right}, and "
                f"its cube has {shape[0]} x {shape[1]}. Make the store anew with --overwrite."
            )
        return Window(Span(top, bottom), Span(left, right))


def adopt(options: Chosen, store: str) -> Chosen:
    """Fill options that are not given from the job that is resumed."""
    before, given = Ledger(store).job().get("options"), options.model_dump()
    if not isinstance(before, dict):
        return options
    undecided = given["tile"] is None and given["chunk"] is None
    taken = {key: before[key] for key in LAYOUT if undecided and key in before}
    if given.get("precision") == "auto" and "precision" in before:
        taken["precision"] = before["precision"]
    try:
        return type(options).model_validate({**given, **taken})
    except ValidationError:  # a ledger of another program decides nothing
        return options
