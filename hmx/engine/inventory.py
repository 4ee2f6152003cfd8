"""Inventory: which chunks of a stored cube exist, and in what state.

The seal of the store, or else one listing of it, answers two questions without reading a
pixel: which tiles can hold nothing (a chunk that is not stored is missing data
throughout), and whether the input of a finished tile has changed since. A chunk that is
sealed and not there counts as stored, and reading it raises an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import zarr

from hmx.cube.integrity.reading import guard_of
from hmx.cube.read import CubeView
from hmx.cube.values import Rules
from hmx.files.durable import Folder
from hmx.windows import Span, Window, pieces


@dataclass(frozen=True)
class Stored:
    """The stored chunks of one variable."""

    chunk: tuple[int, int]  # rows and columns of a chunk (of a shard, where there are shards), px
    # (chunk row, chunk column) -> state of all stored chunks there
    stamps: Mapping[tuple[int, int], str]
    empty_is_missing: bool  # whether a chunk that is not stored is missing data

    def under(self, window: Window) -> list[tuple[int, int]]:
        """List the chunks that a window touches."""
        rows, columns = (
            range(span.start // side, -(-span.stop // side))
            for span, side in zip((window.y, window.x), self.chunk, strict=True)
        )
        return list(product(rows, columns))


@dataclass(frozen=True)
class Inventory:
    """All stored chunks that a forecast may read; empty where nothing can be listed."""

    shape: tuple[int, int]  # rows and columns of the cube, px
    flips: tuple[str, ...]  # dims that run in the other direction in the store
    # Variables of which at least one must have data; elsewhere the result is empty
    required: tuple[str, ...]
    variables: Mapping[str, Stored]  # by name

    @classmethod
    def of(
        cls, cube: CubeView, path: str | None, *, required: Sequence[str] | None = None
    ) -> Inventory:
        """List the store of a cube."""
        variables: dict[str, Stored] = {}
        if path is not None:
            group, rows = zarr.open_group(path, mode="r"), cube.outer.names.get("y", "y")
            guard = guard_of(path)
            sealed = {} if guard is None else guard.seal.chunks
            listed: dict[str, Stored | None] = {}
            for name in cube.variables:
                array = array_of(name)
                if array not in listed:
                    chunks = sealed.get(array)
                    stamps = (
                        _listed(path, array)
                        if chunks is None
                        else {key: f"crc32c {crc}" for key, crc in chunks.by_key()}
                    )
                    listed[array] = _list(group[array], stamps, cube.rules[name], rows=rows)
            found = {name: listed[array_of(name)] for name in cube.variables}
            variables = {name: stored for name, stored in found.items() if stored is not None}
        names = (cube.target,) if required is None else tuple(required)  # type: ignore[attr-defined]
        return cls(cube.grid.shape, cube.outer.flips, names, variables)

    def may_hold(self, window: Window) -> bool:
        """Return True unless every required variable is surely missing in a window."""
        for name in self.required:
            stored = self.variables.get(name)
            if stored is None or not stored.empty_is_missing:
                return True
            if any(at in stored.stamps for at in self._under(stored, window)):
                return True
        return False

    def state(self, read: Window) -> str:
        """Hash the state of everything that a window reads."""
        total = hashlib.blake2b(digest_size=16)
        for name, stored in self.variables.items():
            for at in self._under(stored, read):
                total.update(f"{name} {at} {stored.stamps.get(at, '')}\n".encode())
        return total.hexdigest()

    def _under(self, stored: Stored, window: Window) -> Iterator[tuple[int, int]]:
        """List the chunks under a window of the cube, whose columns may go round the globe."""
        for part in pieces(window.x, self.shape[1]):
            piece = Window(window.y, Span(part.start, part.stop))
            yield from stored.under(piece.flip(self.shape, self.flips))


_CHANNEL = re.compile(r"\[\w+=[^\]]*\]$")  # GDP [USD] is a name of its own


def array_of(name: str) -> str:
    """Name the array that holds a variable: ``lst`` for the band ``lst[month=3]``."""
    return _CHANNEL.sub("", name)


def _listed(store: str, array: str) -> Mapping[str, str] | None:
    """Stamp the files of an array; ``None`` where its folder cannot be listed."""
    try:
        found = Folder(f"{store.rstrip('/')}/{array}").stamps("")
    except OSError:
        return None
    # a list that lacks what was just read cannot be trusted
    return found if {"zarr.json", ".zarray"} & found.keys() else None


def _list(array: Any, found: Mapping[str, str] | None, rules: Rules, *, rows: str) -> Stored | None:
    """Take the chunks of one array; None if unknown, or if ``rows`` is not the second last dim."""
    dims = getattr(array.metadata, "dimension_names", None)
    if dims is not None and dims[-2:-1] != (rows,):
        return None  # chunks are counted by the last two dims
    if found is None:
        return None
    sides = array.shards or array.chunks
    counts = [-(-size // side) for size, side in zip(array.shape, sides, strict=True)]
    stamps: dict[tuple[int, int], str] = {}
    for at in product(*(range(count) for count in counts)):
        stamp = found.get(array.metadata.encode_chunk_key(at))
        if stamp is not None:
            key = (at[-2], at[-1])
            stamps[key] = f"{stamps.get(key, '')} {stamp}".strip()
    # whether pixels that are not stored read as missing; when in doubt, no
    plain = array.fill_value is not None and not {"scale_factor", "add_offset"} & array.attrs.keys()
    empty = plain and bool(rules.missing(np.asarray([array.fill_value], array.dtype))[0])
    return Stored((sides[-2], sides[-1]), stamps, empty)
