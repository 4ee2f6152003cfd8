"""Stamps: identify a file, so that a later run sees changes without reading it.

A source is rarely a single file: a VRT refers to other files, a GeoTIFF has sidecars
(statistics, masks, overviews, world files), and a Zarr store is a folder of chunks. A
stamp covers all of them:

- name, size and time of change, which a copy that preserves times keeps;
- ``contents``, a hash of the bytes: all of them up to 64 MiB, evenly spread samples of
  larger files;
- ``state``, a hash of inodes and times of change of status, which no program can set.

If the state is the same, nothing was touched and nothing is read. Otherwise the contents
decide: an archive that was copied or touched is unchanged, and a file that was rewritten
with its old size and time is not. Samples prove this only together with the time of change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hmx.files.paths import is_url
from hmx.ingest.sources import reader_of
from hmx.redact import identity

Stamp = list[Any]

# endings that are added to the name of the raster
_SIDECARS = (".aux.xml", ".ovr", ".msk", ".msk.ovr", ".aux")
# endings that replace that of the raster
_WORLD = (".tfw", ".tifw", ".wld", ".prj", ".TFW", ".aux")
_MOST_READ = 2**26  # bytes of a step that are hashed; samples of a larger one come to as much
_SAMPLES = 16  # of a file that is not hashed as a whole


def stamp(file: str, known: Sequence[Any] = ()) -> Stamp:
    """Identify a file and all that belongs to it; a URL by itself."""
    if is_url(file):
        return [identity(file)]
    # the files of a source: itself, its sidecars, and the files that it refers to
    if os.path.isdir(file):
        members = sorted(str(path) for path in Path(file).rglob("*") if path.is_file()) or [file]
    else:
        seen: dict[str, None] = {}
        _follow(file, seen)
        members = list(seen)
    facts = [(os.path.basename(member), os.stat(member)) for member in members]
    size, changed = sum(f.st_size for _, f in facts), max(f.st_mtime_ns for _, f in facts)
    plain: Stamp = [os.path.basename(file.rstrip("/")), size, changed]
    states = [[n, f.st_size, f.st_mtime_ns, f.st_ctime_ns, f.st_ino] for n, f in facts]
    state = hashlib.blake2b(json.dumps(states).encode(), digest_size=16).hexdigest()
    before = list(known)
    if before == plain or (before[:3] == plain and before[4:] == [state]):
        return before  # the first is of a cube that recorded no more
    contents = _contents(members, size)
    whole = contents.startswith("whole")
    if len(before) == 5 and before[3] == contents and (whole or before[:3] == plain):
        return before
    return [*plain, contents, state]


def _follow(file: str, seen: dict[str, None]) -> None:
    if file in seen or not os.path.isfile(file):
        return
    seen[file] = None
    stem = os.path.splitext(file)[0]
    for other in (*(file + end for end in _SIDECARS), *(stem + end for end in _WORLD)):
        if os.path.isfile(other):
            seen[other] = None
    members = reader_of(file).members
    try:
        further = [] if members is None else list(members(file))
    except Exception:  # the file is broken: opening it raises the error that names it
        further = []
    for source in further:
        _follow(source, seen)


def _contents(members: Sequence[str], size: int) -> str:
    """Hash the content of files, or samples of it if they are large."""
    total, whole = hashlib.blake2b(digest_size=16), size <= _MOST_READ
    share = max(2**16, _MOST_READ // len(members))
    for member in members:
        # names without folders, so that an archive may move as a whole
        total.update(f"{os.path.basename(member)}\n".encode())
        if not os.path.isfile(member):
            continue
        with open(member, "rb") as file:
            for piece in _pieces(file, os.path.getsize(member), None if whole else share):
                total.update(piece)
    return f"{'whole' if whole else 'samples'} {total.hexdigest()}"


def _pieces(file: Any, size: int, share: int | None) -> Iterator[bytes]:
    if share is None or size <= share:
        while piece := file.read(2**22):
            yield piece
        return
    length = share // _SAMPLES
    for sample in range(_SAMPLES):
        # the first sample starts the file, the last ends it
        file.seek((size - length) * sample // (_SAMPLES - 1))
        yield file.read(length)
