"""Paths: one meaning of a path, in Python, on the command line and in a catalog.

``~`` is the home, a relative path starts at one folder, ``file://`` is a path of this
machine, and ``..`` after a symbolic link leaves the folder that the link points to, as
the operating system has it. A link itself is kept: who moves it means another place.
"""

from __future__ import annotations

import os
from pathlib import Path

from hmx.errors import BadArgument

_LOCAL = "file://"


def is_url(path: str) -> bool:
    """Return True for a URL, a virtual path of GDAL or a model elsewhere."""
    return "://" in path or path.startswith(("/vsi", "wandb:"))


def absolute(path: str | Path, base: str | Path | None = None) -> str:
    """Spell a path from the root; a URL stays as it is."""
    text = os.fspath(path)
    if text.startswith(_LOCAL):
        text = "/" + text.removeprefix(_LOCAL).removeprefix("localhost").lstrip("/")
    if is_url(text):
        return text
    text = os.path.expanduser(text)
    if os.path.isabs(text):
        return _climbed(text)
    try:
        return _climbed(os.path.join(os.path.abspath(base or os.curdir), text))
    except FileNotFoundError:
        raise BadArgument(
            f"{text!r} starts at the working folder, and that was removed. Change to a folder that "
            "is there, or write the whole path."
        ) from None


def _climbed(path: str) -> str:
    """Carry out every ``..``, from where a link leads."""
    root, *parts = Path(path).parts
    at = root
    for part in parts:
        if part == "..":
            # os.path.normpath would drop link/.. as text and end in another folder.
            at = os.path.dirname(os.path.realpath(at) if os.path.islink(at) else at)
        else:
            at = os.path.join(at, part)
    return at
