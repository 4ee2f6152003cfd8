"""Seal: checksums of a finished store, the last thing written but its status.

Below the root of the store lies a group ``hmx_seal`` of attributes alone: a digest of
the metadata of the root and of each array, and for each array which chunks are stored
and the CRC-32C of each. A chunk of nothing but the fill value is not stored; the seal lists
the stored ones, so a lost chunk differs from an empty one, and chunks cannot be exchanged.

Why a group and not an attribute of the root: attributes travel with what xarray opens
and saves again, and a seal must not. Why CRC-32C and nothing longer: Zarr's own codec
appends it to each chunk, so the seal is made without reading a pixel, and comparing it
while a chunk is read costs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import google_crc32c
import numpy as np
from zarr.codecs import Crc32cCodec, ZstdCodec

from hmx.files.durable import Folder

SEAL = "hmx_seal"
AUDIT = "hmx_audit"  # attribute of a store that has been verified
ROOT = "zarr.json"
# of every array: the checksum comes last, so that it covers the bytes that are stored
# level 1: as small as the usual level 3 on floating-point rasters, and 1.1 to 2.5 times as fast
COMPRESSORS = (ZstdCodec(level=1), Crc32cCodec())
_FORMAT = 1
# attributes of the root that are written after the seal: whether it is complete, and audits
_LATER = {"hmx_status", AUDIT}
_CRC = 4  # bytes that the codec appends

Document = dict[str, Any]  # one JSON file of metadata


@dataclass(frozen=True)
class Chunks:
    """The chunks of one array."""

    counts: tuple[int, ...]  # chunks along each dimension
    # place in C order -> CRC-32C of what is stored before the checksum itself
    crcs: Mapping[int, int]

    def crc(self, at: tuple[int, ...]) -> int | None:
        """Return the CRC of a chunk, or ``None`` if it is not stored."""
        return self.crcs.get(int(np.ravel_multi_index(at, self.counts)) if at else 0)

    def fault(self, at: tuple[int, ...], data: bytes | np.ndarray | None) -> str | None:
        """Compare a chunk with its checksum; return the damage, or ``None``."""
        crc = self.crc(at)
        if data is None:
            return None if crc is None else "is lost"
        if crc is None:
            return "was not written by hmx"
        stored = np.frombuffer(data, dtype="u1")
        whole = stored[-_CRC:].tobytes() == crc.to_bytes(_CRC, "little")
        # its value() takes arrays and bytes, no memoryviews
        return None if whole and google_crc32c.value(stored[:-_CRC]) == crc else "is damaged"

    def by_key(self) -> Iterator[tuple[str, int]]:
        """Yield the key, relative to the array, and the CRC of every stored chunk."""
        for number, at in enumerate(product(*map(range, self.counts))):
            if number in self.crcs:
                yield chunk_key(at), self.crcs[number]

    def as_json(self) -> Document:
        """Encode which chunks are stored as bits, and their CRCs as 4 bytes each."""
        stored = np.zeros(int(np.prod(self.counts)), dtype=bool)
        stored[list(self.crcs)] = True
        crcs = np.array([self.crcs[at] for at in sorted(self.crcs)], dtype="<u4")
        return {
            "counts": list(self.counts),
            "stored": _text(np.packbits(stored).tobytes()),
            "crc32c": _text(crcs.tobytes()),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Chunks:
        """Decode the result of :meth:`as_json`."""
        counts = tuple(found["counts"])
        bits = np.frombuffer(base64.b64decode(found["stored"]), dtype="u1")
        numbers = np.flatnonzero(np.unpackbits(bits, count=int(np.prod(counts))))
        crcs = np.frombuffer(base64.b64decode(found["crc32c"]), dtype="<u4")
        return cls(counts, dict(zip(numbers.tolist(), crcs.tolist(), strict=True)))


@dataclass(frozen=True)
class Seal:
    """Checksums of everything in a finished store."""

    kind: str  # ``cube`` or ``product``
    root: str  # digest of the root's metadata
    arrays: Mapping[str, str]  # digest of each array's metadata
    chunks: Mapping[str, Chunks]  # by array

    @cached_property
    def digest(self) -> str:
        """Hash of everything in it."""
        return digest_of(self._facts())

    def _facts(self) -> Document:
        chunks = {name: table.as_json() for name, table in sorted(self.chunks.items())}
        facts = {"format": _FORMAT, "kind": self.kind, "root": self.root}
        return {**facts, "arrays": dict(self.arrays), "chunks": chunks}

    def as_json(self) -> Document:
        """Encode the seal as the metadata of its group."""
        attributes = {**self._facts(), "digest": self.digest}
        return {"attributes": attributes, "zarr_format": 3, "node_type": "group"}

    @classmethod
    def from_json(cls, found: Any) -> Seal | None:
        """Read a seal; ``None`` if it is not whole."""
        try:
            facts = found["attributes"]
            chunks = {name: Chunks.from_json(table) for name, table in facts["chunks"].items()}
            seal = cls(facts["kind"], facts["root"], facts["arrays"], chunks)
            return (
                seal
                if canonical(seal.as_json()) == canonical(without_consolidated(found))
                else None
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def split(self, key: str) -> tuple[str, tuple[int, ...]] | None:
        """Return the array and the index of a chunk; ``None`` if the key is not a chunk."""
        name, _, rest = key.partition("/")
        marker, *at = rest.split("/")
        if name not in self.chunks or marker != "c":
            return None
        # Zarr never names a chunk 007
        if not all(text.isdecimal() and str(int(text)) == text for text in at):
            return None
        index, counts = tuple(map(int, at)), self.chunks[name].counts
        inside = len(index) == len(counts) and all(map(int.__lt__, index, counts))
        return (name, index) if inside else None

    def keys(self) -> Iterator[str]:
        """Name the stored chunks."""
        for name, table in self.chunks.items():
            for key, _ in table.by_key():
                yield f"{name}/{key}"


def chunk_key(at: Iterable[int]) -> str:
    """Name a chunk of an array as Zarr v3 stores it."""
    return "/".join(["c", *map(str, at)])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def canonical(document: object) -> str:
    """Write JSON in a canonical form that can be compared."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def digest_of(document: object) -> str:
    """Hash JSON values."""
    return hashlib.blake2b(canonical(document).encode(), digest_size=16).hexdigest()


def without_consolidated(document: Any) -> Document:
    """Return a group's metadata without its copies of the members' metadata."""
    whole = document if isinstance(document, dict) else {}
    return {key: value for key, value in whole.items() if key != "consolidated_metadata"}


def attributes_of(root: Document) -> Document:
    """Return the attributes of a group; none if it is damaged."""
    found = root.get("attributes")
    return found if isinstance(found, dict) else {}


def sealed_metadata(root: Document) -> Document:
    """Return the root's metadata without attributes that are written after the seal."""
    lasts = {key: value for key, value in attributes_of(root).items() if key not in _LATER}
    return without_consolidated(root) | {"attributes": lasts}


def parse(data: bytes | None) -> Document | None:
    """Read a metadata file; ``None`` if it is not a JSON object."""
    try:
        found = json.loads(data or b"")
    except ValueError:  # of UTF-8, too
        return None
    return found if isinstance(found, dict) else None


def consolidated(root: Document) -> Document:
    """Return the root's copies of its members' metadata, by name."""
    block = root.get("consolidated_metadata")
    members = block.get("metadata") if isinstance(block, dict) else None
    return members if isinstance(members, dict) else {}


def counts_of(array: Document) -> tuple[int, ...]:
    """Count the chunks of an array along each dimension."""
    sides = array["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-size // side) for size, side in zip(array["shape"], sides, strict=True))


def crc_of(data: bytes) -> int:
    """Return the checksum that ends a stored chunk."""
    return int.from_bytes(data[-_CRC:], "little")


def seal_store(store: str, known: Mapping[str, Mapping[str, int]] | None = None) -> None:
    """Seal a store and mark it as complete, in this order; each file whole or not at all."""
    folder = Folder(store)
    root = parse(folder.read(ROOT))
    assert root is not None, f"{store} has no root"
    found = {name: parse(folder.read(f"{name}/{ROOT}")) for name in folder.names("")}
    arrays = {n: a for n, a in found.items() if a is not None and a["node_type"] == "array"}
    kept, chunks = known or {}, {}
    for name, array in arrays.items():
        if name in kept:
            crcs = kept[name]
        else:
            ends = folder.ends(name, _CRC)
            crcs = {f"{name}/{key}": crc_of(end) for key, end in ends.items() if key != ROOT}
        counts = counts_of(array)
        keys = (f"{name}/{chunk_key(at)}" for at in product(*map(range, counts)))
        own = {number: crcs[key] for number, key in enumerate(keys) if key in crcs}
        chunks[name] = Chunks(counts, own)
    digests = {name: digest_of(array) for name, array in arrays.items()}
    kind = "cube" if "hmx_sources" in root["attributes"] else "product"
    seal = Seal(kind, digest_of(sealed_metadata(root)), digests, chunks).as_json()
    folder.write(f"{SEAL}/{ROOT}", serialize(seal))
    members = dict(sorted({**arrays, SEAL: seal}.items()))
    block = {"kind": "inline", "must_understand": False, "metadata": members}
    attributes = {**root["attributes"], "hmx_status": "complete"}
    done = {"attributes": attributes, "zarr_format": 3, "consolidated_metadata": block}
    folder.write(ROOT, serialize({**done, "node_type": "group"}))


def read_seal(store: str) -> Seal | None:
    """Read the seal of a store; ``None`` if it has none, or a damaged one."""
    return Seal.from_json(parse(Folder(store).read(f"{SEAL}/{ROOT}")))


def was_sealed_as(kind: str, store: str) -> bool:
    """Return True if the root of a store is damaged and its seal names this kind."""
    root, seal = parse(Folder(store).read(ROOT)), read_seal(store)
    if seal is None or seal.kind != kind:
        return False
    return root is None or digest_of(sealed_metadata(root)) != seal.root


def unseal(store: str, *, without: Iterable[str] = ()) -> None:
    """Mark a store as incomplete, then take its seal away; attributes ``without`` go, too."""
    folder = Folder(store)
    before = folder.read(ROOT)
    had = attributes_of(parse(before) or {})
    kept = {key: value for key, value in had.items() if key not in set(without)}
    attributes = {**kept, "hmx_status": "incomplete"}
    now = serialize({"attributes": attributes, "zarr_format": 3, "node_type": "group"})
    if now != before:
        folder.write(ROOT, now)
    Folder(f"{store.rstrip('/')}/{SEAL}").remove()


def set_attribute(store: str, name: str, text: str | None) -> None:
    """Write an attribute that comes after the seal into the root, or take it away."""
    folder = Folder(store)
    root = parse(folder.read(ROOT))
    if root is None:
        return  # damaged: nothing can be read from it
    had = attributes_of(root)
    kept = {key: value for key, value in had.items() if key != name}
    now = kept if text is None else {**kept, name: text}
    if now != had:
        folder.write(ROOT, serialize({**root, "attributes": now}))


def serialize(document: Document) -> bytes:
    """Write a metadata file as Zarr does."""
    return json.dumps(document, indent=2, allow_nan=False).encode()
