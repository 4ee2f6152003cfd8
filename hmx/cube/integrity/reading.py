"""Reading: each chunk of a sealed store is checked when it is read.

:class:`CheckedStore` stands between Zarr and the files. It compares each chunk that is
read with the seal, so a chunk that is lost, torn, flipped or from another position raises an
error that names variable and position, and never becomes NaN or another value. It needs no
list of files, so URLs work like folders, and the seal is the only additional file it opens.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import xarray as xr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from hmx.cube.integrity.seal import (
    ROOT,
    SEAL,
    Document,
    Seal,
    attributes_of,
    consolidated,
    digest_of,
    parse,
    sealed_metadata,
    without_consolidated,
)
from hmx.errors import DamagedStore
from hmx.files.durable import Folder
from hmx.files.remote import storage_options as patient_options
from hmx.progress import counted


@dataclass(frozen=True)
class Guard:
    """The content that a store must have, and names for positions in it."""

    path: str  # path or URL of the store
    seal: Seal  # what it holds
    root: Document  # metadata of the root
    arrays: Mapping[str, Document]  # metadata of the arrays, as far as they are known
    # names of the steps along a dimension; filled in once they are read
    labels: dict[str, Sequence[str]] = field(default_factory=dict)

    def check(self, key: str, data: np.ndarray | None) -> None:
        """Raise `DamagedStore` if a file differs from its seal."""
        if (chunk := self.seal.split(key)) is not None:
            name, at = chunk
            fault = self.seal.chunks[name].fault(at, data)
            if fault:
                raise DamagedStore(
                    f"{self.path}: a chunk of {name} {fault}, at {self.where(name, at)}. "
                    f"{self.remedy()} hmx verify {self.path} lists all that is damaged."
                )
        elif key.endswith(ROOT):
            self._check_metadata(
                key.removesuffix(ROOT).rstrip("/"), None if data is None else parse(bytes(data))
            )

    def check_all(self, members: Mapping[str, Document]) -> None:
        """Compare the metadata that the root repeats with the seal."""
        self._check_metadata("", self.root)
        for name in self.seal.arrays if members else ():
            self._check_metadata(name, members.get(name))
        if more := members.keys() - self.seal.arrays.keys() - {SEAL}:
            raise DamagedStore(self._edited(f"{', '.join(sorted(more))} (metadata)"))

    def _check_metadata(self, name: str, found: Document | None) -> None:
        sealed = self.seal.arrays.get(name) if name else self.seal.root
        if sealed is None:  # the seal itself, or what is not part of the store
            return
        if found is None or digest_of(found if name else sealed_metadata(found)) != sealed:
            file = f"{name}/{ROOT}" if name else ROOT
            raise DamagedStore(self._edited(f"the metadata of {name or 'the store'} ({file})"))

    def _edited(self, what: str) -> str:
        return (
            f"{self.path}: {what} is not as it was sealed: it is damaged, or was edited in place. "
            f"{self.remedy()} To change attributes or values, save a copy: "
            "ds = xarray.open_zarr(...); ds.to_zarr('copy.zarr')."
        )

    def remedy(self) -> str:
        """Return what to type."""
        return remedy(self.root)

    def where(self, name: str, at: Sequence[int]) -> str:
        """Describe the location of a chunk: its steps, rows, columns and bounds."""
        array = self.arrays.get(name)
        return location_of(array, at, self.root, self.labels) if array else f"chunk {tuple(at)}"


def remedy(root: Document) -> str:
    """Return what repairs a store of hmx."""
    if "hmx_sources" in attributes_of(root):
        return "Build the cube anew: hmx ingest CATALOG --overwrite."
    return "Run the command that made it again: it computes what is damaged anew."


def location_of(
    array: Document, at: Sequence[int], root: Document, labels: Mapping[str, Sequence[str]]
) -> str:
    """Describe the location of a chunk of an array."""
    sides = array["chunk_grid"]["configuration"]["chunk_shape"]
    spans = [
        (index * side, min((index + 1) * side, size))
        for index, side, size in zip(at, sides, array["shape"], strict=True)
    ]
    dims = array.get("dimension_names") or [f"dimension {n}" for n in range(len(spans))]
    planar = len(spans) > 1
    parts = []
    for dim, (start, stop) in list(zip(dims, spans, strict=True))[: -2 if planar else None]:
        known = labels.get(str(dim), ())
        ends = f"{known[start]} to {known[stop - 1]}" if stop <= len(known) else f"{start}-{stop}"
        parts.append(f"{dim} {ends}")
    if planar:
        (top, bottom), (left, right) = spans[-2:]
        parts.append(f"rows {top}-{bottom}, columns {left}-{right}")
        parts += _bounds(root, spans[-2:])
    return ", ".join(parts) or "its only chunk"


def _bounds(root: Document, spans: Sequence[tuple[int, int]]) -> list[str]:
    transform = attributes_of(root).get("spatial:transform")
    if not transform:
        return []
    a, _, c, _, e, f = transform
    rows, columns = spans
    xs, ys = sorted(c + a * column for column in columns), sorted(f + e * row for row in rows)
    bounds = ", ".join(f"{edge:.10g}" for edge in (xs[0], ys[0], xs[1], ys[1]))
    return [f"bounds ({bounds})"]


class CheckedStore(WrapperStore[Store]):
    """A read-only store that raises if a chunk differs from the seal."""

    def __init__(self, store: Store, guard: Guard):
        super().__init__(store)
        self.guard = guard

    def _with_store(self, store: Store) -> CheckedStore:
        return CheckedStore(store, self.guard)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.guard.seal.digest == other.guard.seal.digest  # type: ignore[attr-defined]

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return "hmx.CheckedStore", self.guard.path, self.guard.seal.digest

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a file and compare it with the seal."""
        found = await self._store.get(key, prototype, byte_range)
        if byte_range is None:
            self.guard.check(key, None if found is None else found.as_numpy_array())
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read files one after another."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)


def guard_of(path: str, storage_options: Mapping[str, Any] | None = None) -> Guard | None:
    """Read and check the metadata of a store; ``None`` if it has no seal."""
    files, top = fsspec.core.url_to_fs(path, **patient_options(path, storage_options))
    data = _read(files, f"{top}/{ROOT}")
    root = parse(data)
    if data is not None and root is None:
        raise DamagedStore(
            f"{path}: {ROOT} is damaged: it is not JSON. {remedy({})} Of a cube: move the folder "
            "away, then hmx ingest CATALOG."
        )
    if root is None or root.get("zarr_format") == 2:
        return None
    # a job fills the store, or was interrupted: there is no valid seal yet
    if attributes_of(root).get("hmx_status") == "incomplete":
        return None
    members = consolidated(root)
    repeated = members.get(SEAL)
    data = _read(files, f"{top}/{SEAL}/{ROOT}")
    if data is None and repeated is None:
        return None
    seal = Seal.from_json(parse(data))
    # a program that consolidates the store again copies the seal, with keys that a group lacks
    same = without_consolidated(repeated) == without_consolidated(parse(data))
    if seal is None or (members and not same):
        what = "is lost" if data is None else "is damaged"
        raise DamagedStore(
            f"{path}: its seal ({SEAL}/{ROOT}) {what}, so nothing in it is proven. {remedy(root)}"
        )
    guard = Guard(path, seal, root, members)
    guard.check_all(members)
    return guard


def damage_of(store: str) -> str | None:
    """Return the damage that metadata and file names show, or ``None``."""
    try:
        guard = guard_of(store)
        if guard is None:
            return None
        there = Folder(store).stamps("")
    except DamagedStore as error:
        return str(error)
    except OSError:
        return None
    lost = [key for key in guard.seal.keys() if key not in there]  # noqa: SIM118
    if not lost:
        return None
    listed = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
    return f"{store}: {counted(len(lost), 'chunk')} lost: {listed}. {guard.remedy()}"


def _read(files: Any, path: str) -> bytes | None:
    try:
        data: bytes = files.cat_file(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return data


def open_checked(path: str, **options: Any) -> xr.Dataset:
    """Open a store with xarray; chunks of a sealed store are checked as they are read."""
    guard = guard_of(path, options.get("storage_options"))
    data: xr.Dataset
    if guard is None:
        if patient := patient_options(path, options.get("storage_options")):
            options["storage_options"] = patient
        data = xr.open_zarr(path, **options)
        return data
    storage = patient_options(path, options.pop("storage_options", None))
    inner: Store
    if "://" in path:
        inner = FsspecStore.from_url(path, storage_options=storage, read_only=True)
    else:
        inner = LocalStore(Path(path), read_only=True)
    data = xr.open_zarr(CheckedStore(inner, guard), **options)
    guard.labels.update(labels_of(data))
    return data


def labels_of(data: xr.Dataset) -> Iterator[tuple[str, list[str]]]:
    """Name the steps along each dimension other than y and x."""
    for dim in data.indexes:
        if dim in data.coords and data[dim].dtype.kind not in "f":
            # 10 characters are the date of an ISO time
            yield str(dim), [str(value)[:10] for value in data[dim].values]
