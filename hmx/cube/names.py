"""Names: variable names that a store accepts, and file names made from them.

In a Zarr store an array is a folder named after its variable, so a name with a slash would
be a folder in a folder, which xarray ignores without a warning. A file of an export has a
name of safe characters, and its tags contain the true one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from hmx.errors import CubeError

_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST = 150  # bytes of a file's stem: systems take 255, drafts and endings need some
_LONGEST_ARRAY = 200  # bytes


def storable(name: str) -> str | None:
    """Return why a name cannot be that of an array in a store, or ``None``."""
    if not name or name in (".", "..") or name.startswith("__"):
        return "is empty, dots or begins with __, which stores keep for themselves"
    if "/" in name:
        return "holds '/', and a store would make folders of it"
    if len(name.encode()) > _LONGEST_ARRAY:
        return f"is longer than {_LONGEST_ARRAY} bytes, and a store makes a folder of it"
    return None


def require_storable(names: Iterable[object]) -> None:
    """Raise :class:`CubeError` if a variable cannot be written to a store under its name."""
    for name in map(str, names):
        if problem := storable(name):
            raise CubeError(
                f"the name {name[:60]!r} {problem}. Rename it: ds = ds.rename("
                f"{{{name[:60]!r}: {file_stem(name)[:60].replace(' ', '_')!r}}})."
            )


def file_stem(name: str) -> str:
    """Make a name safe for files: only characters that a file system rejects are replaced."""
    plain = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).rstrip(". ")
    plain = f"_{plain.lstrip('.')}" if plain.startswith(".") else plain
    if len(plain.encode()) <= _LONGEST:
        return plain or "_"
    # 9: a hyphen and the 8 digits of the hash
    kept = plain.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{kept}-{_digest(name)}"


def file_stems(names: Iterable[str]) -> list[str]:
    """Make names safe for files and unique, also if case is ignored."""
    whole = list(names)
    stems = [file_stem(name) for name in whole]
    folded = [stem.casefold() for stem in stems]
    return [
        stem if folded.count(stem.casefold()) == 1 else f"{stem}-{_digest(name)}"
        for name, stem in zip(whole, stems, strict=True)
    ]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
