"""Draft: a cube grows beside its place and is renamed when it is complete.

``.NAME.draft`` is being written, ``.NAME.old`` is being replaced; between the two
renames of a swap the cube is away for an instant, and :func:`recover` undoes a
swap that died there. Only stores with the marks of ``hmx ingest`` are ever
replaced or removed.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import zarr

from hmx.errors import OutputExists
from hmx.recipe import Recipe

_MARKS = {"hmx_status", "hmx_fingerprint", "hmx_sources"}  # what only a cube of ours has


def finish(group: zarr.Group, draft: Path | str) -> None:
    """Mark a draft as complete, also in its consolidated metadata."""
    group.attrs["hmx_status"] = "complete"
    with warnings.catch_warnings():
        # not yet in the Zarr v3 specification, but what xarray looks for first
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(draft)


def beside(path: Path, what: str) -> Path:
    """Name the hidden neighbour of a store: its ``draft`` or its ``old`` self."""
    return path.with_name(f".{path.name}.{what}")


def attributes(path: str | Path) -> dict[str, Any]:
    """Read the attributes of a Zarr group; none if there is no such group."""
    try:
        return dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError, ImportError):
        return {}


def finished(attrs: dict[str, Any]) -> Recipe:
    """Return the recipe of a complete cube of ours, or an empty one."""
    complete = set(attrs) >= _MARKS and attrs["hmx_status"] == "complete"
    return dict(json.loads(attrs["hmx_sources"])) if complete else {}


def _is_empty(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def require_ours(path: Path) -> dict[str, Any]:
    """Return the attributes of what is there, which must be a cube of ours or nothing."""
    attrs = attributes(path)
    if not _is_empty(path) and not set(attrs) >= _MARKS:
        raise OutputExists(
            f"{path} holds something that hmx ingest did not write, and only its own cubes are "
            "replaced. Move it away, or give another cube.path."
        )
    return attrs


def clear(path: Path) -> None:
    """Remove what a run that died has left."""
    require_ours(path)
    if path.exists():
        shutil.rmtree(path)


def recover(path: Path) -> None:
    """Undo a swap that died between its two renames."""
    aside = beside(path, "old")
    if aside.exists() and not path.exists():
        require_ours(aside)
        aside.rename(path)


def swap(draft: Path, path: Path) -> None:
    """Put a complete draft in its place, and remove what was there."""
    aside = beside(path, "old")
    clear(aside)
    if path.exists():
        path.rename(aside)
    draft.rename(path)
    shutil.rmtree(aside, ignore_errors=True)
