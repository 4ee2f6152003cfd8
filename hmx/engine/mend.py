"""Mend: put back what a store holds beside pixels, and take away chunks nobody wrote.

A job proves its tiles by the ledger. Coordinates, attributes and the metadata of arrays
are the same in every run of the job, so a run writes them once more into a folder of its
own and compares: what differs is put back, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hmx.cube.integrity.seal import (
    ROOT,
    Seal,
    digest_of,
    parse,
    read_seal,
    sealed_metadata,
    was_sealed_as,
)
from hmx.files.durable import Folder


def mend(store: str, lay_out: Callable[[str], None]) -> list[str]:
    """Put back the root, the metadata of arrays and the coordinates, where they differ.

    Parameters
    ----------
    store : str
        Path or URL of a store that the caller has the lock of.
    lay_out : callable
        Writes the empty store into a folder.

    Returns
    -------
    list of str
        Files that were put back.
    """
    folder, seal = Folder(store), read_seal(store)
    mended = []
    for name, data in _fresh(lay_out).items():
        found = folder.read(name)
        if found != data and not _is_good(name, found, data, seal):
            folder.write(name, data)
            mended.append(name)
    return mended


def _fresh(lay_out: Callable[[str], None]) -> dict[str, bytes]:
    with TemporaryDirectory() as desk:
        place = Path(desk, "store")
        lay_out(str(place))
        files = sorted(path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _is_good(name: str, found: bytes | None, fresh: bytes, seal: Seal | None) -> bool:
    """Whether a file is right although it is not what would be written now."""
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
    """Remove the chunks of arrays that no tile has written.

    Parameters
    ----------
    store : str
        Path or URL.
    arrays : collection of str
        Arrays that tiles write.
    keep : collection of str
        Storage keys of theirs.
    """
    folder = Folder(store)
    for name in arrays:
        with suppress(OSError):  # where files cannot be listed, none is lost in a list
            found: Mapping[str, str] = folder.stamps(f"{name}/c")
            for key in found:
                if f"{name}/c/{key}" not in keep:
                    folder.drop(f"{name}/c/{key}")
