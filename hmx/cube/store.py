"""Store: a product is written in a private folder and swapped in when it is complete.

Next to ``NAME`` lies ``.NAME.draft`` while the product is written::

    .hmx       marks a private folder; written before anything else
    new        the product in progress
    old        the previous product, between the two renames of the swap

An interrupted run leaves such a folder. The next run, under the lock of
:mod:`hmx.files.lock`, finishes a swap that stopped between its renames and removes the rest.
A folder without the mark belongs to the user and is never touched. If ``NAME`` is a link,
the private folder lies next to the link's target.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import xarray as xr
import zarr

from hmx.cube.coordinates import declared_transform
from hmx.cube.grid import Grid, find_axes
from hmx.cube.integrity.seal import ROOT, attributes_of, parse, was_sealed_as
from hmx.errors import JobFailed, OutputBusy, OutputExists, OutputFailed
from hmx.files.durable import Folder, flush, flush_tree
from hmx.files.lock import building, followed, hidden_sibling, lock_file
from hmx.files.paths import is_url
from hmx.files.remote import storage_options
from hmx.progress import Progress

_MARKS = {"hmx_status", "hmx_fingerprint", "hmx_sources"}  # what only a cube of ours has
_MARK, _NEW, _OLD = ".hmx", "new", "old"
_AT_ONCE = 64  # files that are copied to a URL at a time
_OVER = ".hmx-over"  # what a private folder was for is done: it may go


def group_attributes(grid: Grid, data: xr.Dataset | None = None) -> dict[str, Any]:
    """Describe a grid by the GeoZarr ``proj:`` and ``spatial:`` conventions.

    xarray, rioxarray and GDAL read CF's ``spatial_ref``, which each array names as its
    ``grid_mapping``; these attributes serve other readers. GDAL's own ``_CRS`` is an object, for
    which NetCDF has no attribute, so only older stores have it: GDAL 3.12 finds the CRS by
    ``grid_mapping``, and 3.10 cannot read Zarr 3.
    """
    names, at = {"y": "y", "x": "x"}, grid.transform
    if data is not None:
        names, declared = find_axes(data, ("y", "x")), declared_transform(data)
        at = at if declared is None else declared.transform
    authority = grid.crs.to_authority()
    return {
        **({"proj:code": ":".join(authority)} if authority else {}),
        "proj:wkt2": grid.crs.to_wkt(),
        "spatial:dimensions": [names["y"], names["x"]],
        "spatial:transform": list(at)[:6],
        "spatial:shape": list(grid.shape),
        "spatial:bbox": list(grid.bounds),
    }


def attributes(path: str | Path) -> dict[str, Any]:
    """Read the attributes of a Zarr group; empty if there is no such group."""
    try:
        # not through zarr, which gives up on a group where what it repeats of its arrays is damaged
        root = parse(Folder(str(path)).read(ROOT))
        if root is not None and root.get("zarr_format") == 3:
            return dict(attributes_of(root))
        return dict(zarr.open_group(str(path), mode="r").attrs)
    except Exception:  # zarr's parser stumbles anywhere: TypeError, AttributeError ...
        return {}


def finished_manifest(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return the source manifest of a complete cube, or an empty one."""
    complete = set(attrs) >= _MARKS and attrs["hmx_status"] == "complete"
    return dict(json.loads(attrs["hmx_sources"])) if complete else {}


def require_ours(path: Path | str) -> dict[str, Any]:
    """Return the attributes of a cube that hmx wrote; refuse anything else at this path."""
    attrs = attributes(path)
    if isinstance(path, str):
        empty = not Folder(path).names("")
    else:
        empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if not empty and not set(attrs) >= _MARKS:
        if was_sealed_as("cube", str(path)):
            return {}  # nothing is taken over from a damaged cube
        raise OutputExists(
            f"{path} holds something that hmx ingest did not write, and only its own cubes are "
            "replaced. Move it away, or give another cube.path."
        )
    return attrs


def claim(folder: Path) -> None:
    """Create a private folder, or empty an existing one."""
    if os.path.lexists(folder):
        discard(folder)
    folder.mkdir(parents=True)
    mark_private(folder)


def mark_private(folder: Path) -> None:
    """Mark a folder as private."""
    (folder / _MARK).touch()


def is_private(folder: Path) -> bool:
    """Return True for a folder that :func:`claim` made, or an empty folder."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if (folder / _MARK).is_file():
        return True
    # drafts of older releases have no mark: they wrote products straight into the folder
    names = {path.name for path in folder.iterdir()}
    return names <= {"weights.safetensors", "bundle.json"} or "hmx_status" in attributes(folder)


def discard(folder: Path) -> None:
    """Remove a private folder, its mark last."""
    if not is_private(folder):
        raise OutputExists(
            f"{folder} holds something that hmx did not write, and hmx needs the name for its "
            "work. Move it away."
        )
    mark_private(folder)  # a draft of an older release has none
    # the mark goes last, so that a run that dies here leaves a folder that can be removed
    clear_folder(folder, but=_MARK)
    (folder / _MARK).unlink(missing_ok=True)
    folder.rmdir()


@contextmanager
def swap(path: str | Path) -> Iterator[Path]:
    """Yield a path for new content, and swap it in for ``path`` when it is complete.

    The caller has the lock of ``path``, and has checked that the content may be replaced.
    What fails leaves nothing.
    """
    target, private = followed(path), hidden_sibling(Path(path), "draft")
    recover(target)
    claim(private)
    try:
        yield private / _NEW
        flush_tree(private / _NEW)
    except BaseException:
        discard(private)
        raise
    if os.path.lexists(target):
        # both renames stay on one file system, because `private` lies next to `target`
        target.rename(private / _OLD)
    (private / _NEW).rename(target)
    flush(target.parent)
    discard(private)


@contextmanager
def swap_remote(path: str, progress: Progress) -> Iterator[Path]:
    """Yield a folder of this machine for new content, and copy it to a URL when it is complete.

    A store of objects has no renames. Its root is removed first and written last, so that a
    reader never takes a part of the new store, or a mixture, for a store.
    """
    with TemporaryDirectory(prefix="hmx-") as folder:
        new = Path(folder, _NEW)
        yield new
        files, top = fsspec.core.url_to_fs(path, **storage_options(path))
        names = [
            file.relative_to(new).as_posix() for file in sorted(new.rglob("*")) if file.is_file()
        ]
        names.remove(ROOT)
        if files.exists(f"{top}/{ROOT}"):
            files.rm_file(f"{top}/{ROOT}")
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            files.put([str(new / name) for name in part], [f"{top}/{name}" for name in part])
            progress.step(start + len(part), len(names), f"ingest: copying to {path}")
        # what the store before had, and this one has not
        kept = {f"{top}/{name}".lstrip("/") for name in names}
        for file in files.find(top):
            if file.lstrip("/") not in kept:
                files.rm_file(file)
        files.pipe_file(f"{top}/{ROOT}", (new / ROOT).read_bytes())


def recover(path: str | Path) -> None:
    """Finish a swap that stopped between its two renames; remove what dead runs left."""
    target, private = followed(path), hidden_sibling(Path(path), "draft")
    if is_private(private):
        between = (private / _NEW).exists() and (private / _OLD).exists()
        if between and not os.path.lexists(target):
            (private / _NEW).rename(target)
        discard(private)
    old = hidden_sibling(Path(path), "old")  # where older releases put the cube that is replaced
    if set(attributes(old)) >= _MARKS:
        if os.path.lexists(target):
            shutil.rmtree(old)
        else:
            old.rename(target)


def discard_work(folder: Path, path: str | Path) -> None:
    """Remove the folder of a product's work, under a name that any later run sweeps."""
    recover(path)
    private = hidden_sibling(Path(path), "draft")
    folder.rename(private)
    discard(private)


def mark_done(folder: Path) -> None:
    """Mark a private folder as removable: its product is in place."""
    (folder / _OVER).touch()


def sweep(path: str | Path) -> None:
    """Remove what dead runs left next to a product; live runs keep their folders.

    The product stays usable whatever comes of this: it may be another one's, or lie where
    nobody may write.
    """
    if is_url(str(path)):
        return
    target, private = followed(path), hidden_sibling(Path(path), "draft")
    work = (target.with_name(f"{target.name}.training"), hidden_sibling(Path(path), "training"))
    done = [folder for folder in work if is_private(folder) and (folder / _OVER).is_file()]
    if not (done or os.path.lexists(private) or os.path.lexists(lock_file(path))):
        return
    with suppress(OutputBusy, OutputFailed, PermissionError), building(path, wait=False):
        recover(path)
        for folder in done:
            discard_work(folder, path)


def require_unreplaced(obj: xr.Dataset | xr.DataArray) -> None:
    """Raise if the cube that an object reads from was replaced in the meantime."""
    store, known = obj.encoding.get("source"), "hmx_fingerprint"
    before = obj.attrs.get(known, obj.encoding.get(known))
    parts = obj.variables.values() if isinstance(obj, xr.Dataset) else [obj.variable]
    lazy = any(part.chunks is not None for part in parts)  # without chunks all is in memory
    if store is None or before is None or not lazy:
        return
    if attributes(store).get("hmx_fingerprint") != before:
        raise JobFailed(
            f"{store} was replaced while it was read, so what was made of it may mix the old and "
            "the new. Run the same command again."
        )


def clear_folder(folder: Path, *, but: str) -> None:
    """Remove everything in a folder but one file, which proves that hmx made the folder."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if path.name == but:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
