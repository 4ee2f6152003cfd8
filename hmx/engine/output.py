"""Output: the store that a job fills, laid out before the first tile is computed.

The template has everything but pixels: coordinates, attributes, empty arrays
in whole, unsharded chunks. A tile covers whole chunks that no other tile
touches, so workers never share one; :func:`write_tile` refuses anything else.

A :class:`TileWork` computes and writes one tile. It alone is sent to a worker: paths, settings and
digests, never weights or pixels. The worker opens cube and output once per process, reads the core
of the tile and its halo, writes whole chunks, and records them in the ledger once they are on disk.

The ledger proves tiles. Coordinates, attributes and metadata are the same in every run of a
job, so :func:`mend` writes them again into a temporary folder and restores files that differ.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import fsspec
import numpy as np
import xarray as xr
import zarr

from hmx.cube.grid import Grid
from hmx.cube.integrity.seal import (
    AUDIT,
    COMPRESSORS,
    ROOT,
    Seal,
    digest_of,
    parse,
    read_seal,
    seal_store,
    sealed_metadata,
    unseal,
    was_sealed_as,
)
from hmx.cube.names import require_storable
from hmx.cube.store import attributes, group_attributes, swap
from hmx.engine.ledger import Ledger, Record
from hmx.engine.order import Openable, Request, WindowRunner, opened
from hmx.engine.result import NO_DATA
from hmx.errors import BadArgument, JobFailed, OutputExists, OutputFailed
from hmx.files.durable import Folder
from hmx.files.jsontext import finite
from hmx.windows import Index, TileGrid, Window

StoredArrays: TypeAlias = Mapping[str, zarr.Array[Any]]  # by name

STORE_FORMAT = 2  # of products: 2 has a checksum in each chunk, and a seal
# errors of a full or forbidden disk: no fault of the tile that met it
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn the error of a full or forbidden disk into one with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputFailed(
            f"{path} cannot be written: {error.strerror}. Make room or give access, then run the "
            "same command again: finished tiles are kept."
        ) from error


def lay_out(template: xr.Dataset, path: str, *, grid: Grid, chunk: int) -> None:
    """Write the template of a store; a directory is replaced whole or not at all."""
    require_storable(template.data_vars)
    template = template.assign_attrs(hmx_status="incomplete", **group_attributes(grid, template))
    template.attrs = finite(template.attrs)
    for variable in template.variables.values():
        variable.attrs = finite(variable.attrs)
    for name in template.data_vars:
        # an attribute here: the encoding that to_zarr is given takes the place of the other,
        # and GDAL finds the CRS of an array by this word alone
        template.variables[name].attrs["grid_mapping"] = "spatial_ref"
        template.variables[name].encoding.pop("grid_mapping", None)
    with _replaced(path) as draft:
        template.to_zarr(
            draft,
            mode="w-",
            compute=False,
            consolidated=False,
            zarr_format=3,
            encoding=_encoding(template, chunk),
        )


@contextmanager
def _replaced(path: str) -> Iterator[str]:
    """Yield the path to write a new store to: a draft, or without drafts the store itself."""
    if Folder(path).is_local:
        with swap(path) as draft:
            yield str(draft)
    else:
        Folder(path).remove()
        yield path


def _encoding(template: xr.Dataset, chunk: int) -> dict[str, Any]:
    """Choose chunks of all leads and fill values; times as CF integers."""
    encoding: dict[str, Any] = {}
    for name, variable in template.data_vars.items():
        if variable.ndim >= 2:  # the last two are rows and columns
            chunks = [*variable.shape[:-2], *(min(chunk, size) for size in variable.shape[-2:])]
            fill = np.float32("nan") if variable.dtype.kind == "f" else NO_DATA.get(str(name), 0)
            encoding[str(name)] = {"chunks": tuple(chunks), "fill_value": fill}
    for name, coord in template.coords.items():
        if coord.dtype.kind == "M":
            encoding[str(name)] = {"dtype": "int64"}
    for name in template.variables:
        encoding.setdefault(str(name), {})["compressors"] = COMPRESSORS
    return encoding


def stored_arrays(
    store: str, names: Iterable[str], *, mode: Literal["r", "r+"] = "r"
) -> StoredArrays:
    """Open arrays of a store: their metadata is read once, not for each tile."""
    group, arrays = zarr.open_group(store, mode=mode, use_consolidated=False), {}
    for name in names:
        array = group[name]
        assert isinstance(array, zarr.Array)
        arrays[name] = array
    return arrays


def write_tile(stored: StoredArrays, blocks: Mapping[str, np.ndarray], window: Window) -> list[str]:
    """Write one tile and name the chunks it consists of."""
    keys = tile_keys(stored, blocks, window)
    for name, block in blocks.items():
        stored[name][(..., *window.slices)] = block
    return keys


def tile_keys(stored: StoredArrays, names: Iterable[str], window: Window) -> list[str]:
    """Name the chunks that a tile consists of."""
    return [f"{name}/{key}" for name in names for key in _whole_chunks(stored[name], window)]


def _whole_chunks(array: zarr.Array[Any], window: Window) -> list[str]:
    """Name the chunks of a window that is made of whole ones."""
    runs = [range(count) for count in array.cdata_shape[:-2]]
    sides, sizes = array.chunks[-2:], array.shape[-2:]
    for span, side, size in zip((window.y, window.x), sides, sizes, strict=True):
        if array.shards or span.start % side or (span.stop % side and span.stop != size):
            raise BadArgument(
                f"pixels {span.start} to {span.stop} cut through chunks of {side} px, which two "
                "tasks would share. A tile is a whole number of chunks: pass tile=512, chunk=512."
            )
        runs.append(range(span.start // side, -(-span.stop // side)))
    return [array.metadata.encode_chunk_key(at) for at in product(*runs)]


def set_status(
    path: str, *, complete: bool, known: Mapping[str, Mapping[str, int]] | None = None
) -> None:
    """Write into the store whether every tile is there; a change removes earlier audits."""
    if complete:
        Folder(path).flush_folders()
        seal_store(path, known)
    else:
        unseal(path, without=[AUDIT])


def is_ours(attrs: Mapping[str, Any]) -> bool:
    """Return True if attributes are those of a store that a job of hmx made.

    A forecast that its owner saved with ``to_zarr`` has no status, and is left alone.
    """
    return {"hmx_provenance", "hmx_status"} <= attrs.keys()


def require_free(path: str, *, what: str) -> None:
    """Raise if a path holds something that is not a product of hmx."""
    files, inner = fsspec.core.url_to_fs(path)
    if not files.exists(inner) or (files.isdir(inner) and not files.ls(inner)):
        return
    if not is_ours(attributes(path)) and not _was_ours(path):
        raise OutputExists(
            f"{path} holds something that hmx did not write, so it is left alone, also with "
            f"--overwrite. Choose another place for the {what}."
        )


def _was_ours(path: str) -> bool:
    """Return True if seal or ledger prove that a store with a damaged root is a product."""
    folder = Folder(path)
    torn = parse(folder.read(ROOT)) is None and not folder.is_bare()
    ledger = Ledger(path)
    signed = bool(ledger.job()) or any(True for _ in ledger.records())
    return was_sealed_as("product", path) or (torn and signed)


def mend(store: str, lay_out: Callable[[str], None]) -> list[str]:
    """Put back the root, the metadata of arrays and the coordinates, where they differ."""
    folder, seal = Folder(store), read_seal(store)
    mended = []
    with TemporaryDirectory() as desk:
        layout = Path(desk, "store")
        lay_out(str(layout))
        files = sorted(path for path in layout.rglob("*") if path.is_file())
        fresh = {path.relative_to(layout).as_posix(): path.read_bytes() for path in files}
    for name, data in fresh.items():
        found = folder.read(name)
        if found != data and not _is_good(name, found, data, seal):
            folder.write(name, data)
            mended.append(name)
    return mended


def _is_good(name: str, found: bytes | None, fresh: bytes, seal: Seal | None) -> bool:
    """Return True if a file is right although it is not what would be written now."""
    document = parse(found)
    if name == ROOT:
        sealed = digest_of(sealed_metadata(parse(fresh) or {})) if seal is None else seal.root
        return document is not None and digest_of(sealed_metadata(document)) == sealed
    if seal is None or found is None:
        return False
    if (chunk := seal.split(name)) is not None:  # of a coordinate
        array, at = chunk
        return seal.chunks[array].fault(at, found) is None
    array = name.removesuffix(f"/{ROOT}")
    return document is not None and digest_of(document) == seal.arrays.get(array)


def root_is_damaged(store: str) -> bool:
    """Return True if the root of a store is lost, torn, or not as it was sealed."""
    torn = parse(Folder(store).read(ROOT)) is None and not Folder(store).is_bare()
    return torn or was_sealed_as("product", store)


def drop_chunks(store: str, arrays: Collection[str], keep: Collection[str]) -> None:
    """Remove the chunks of arrays that no tile has written."""
    folder = Folder(store)
    for name in arrays:
        with suppress(OSError):  # files that cannot be listed are not compared with a list
            found: Mapping[str, str] = folder.stamps(f"{name}/c")
            for key in found:
                if f"{name}/c/{key}" not in keep:
                    folder.drop(f"{name}/c/{key}")


@dataclass(frozen=True)
class TileWork:
    """One result, cut into tiles of the chunk grid of its store."""

    source: Openable  # the cube; ``open`` returns it
    runner: WindowRunner[Request]  # computes the windows
    store: str  # path of the result
    run: str  # fingerprint of the job, which shows that another job has taken the store
    tiles: TileGrid  # of the output, in its own pixels

    def __call__(self, index: Index, state: str, threads: int | None = None) -> None:
        """Compute one tile and write it; nothing is returned."""
        core = self.tiles[index].core
        arrays = self.runner.with_threads(threads).run(core, opened(self.source, self.run))
        self._write(index, core, arrays, state)

    def _write(
        self, index: Index, core: Window, arrays: Mapping[str, np.ndarray], state: str
    ) -> None:
        ledger = Ledger(self.store)
        if ledger.job().get("run") != self.run:
            raise JobFailed(
                f"{self.store} has been taken over by another job, so this one stops writing to it."
            )
        with writing(self.store):
            stored = _output(self.store, self.run, tuple(arrays))
            keys = write_tile(stored, arrays, core)
            ledger.sign(Record(index, self.run, state, ledger.checksum(keys, flush=True)))


@lru_cache(maxsize=4)
def _output(store: str, run: str, names: tuple[str, ...]) -> StoredArrays:
    """Open an output once per process and job."""
    return stored_arrays(store, names, mode="r+")
