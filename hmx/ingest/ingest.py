"""Ingest: the rasters that a catalog names -> one cube on disk (Zarr v3).

Check, plan, write, swap. Everything that headers show is checked before a byte is
written. The store is written in a private folder (:mod:`hmx.cube.store`), a window of
whole chunks at a time, and renamed when it is complete, so that a dead run never leaves
something that looks like a cube. Of several runs at once one writes, and the others wait
for it (:mod:`hmx.files.lock`). The cube records a stamp of each file:

- nothing changed: nothing is done. A file that is gone counts as unchanged, so
  rasters may be archived once they are in the cube.
- steps were added at the end: chunks hold all times, so the new store takes the
  old steps from the old cube and only the new files are read. A NetCDF that
  carries its own time axis is one file, and is read again.
- anything else changed: the cube is built anew. Only what hmx wrote is replaced.

Covariates that are known ahead (``future: true``) carry the time axis on beyond the
target's last map, which ``observed_until`` names; there the target has no chunks.
A cube at a URL (``s3://`` and what else fsspec writes) is made in a temporary folder of this
machine and copied; its root comes last, so that a part of it never looks like a cube.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import dask.array
import numpy as np
import rasterio
import xarray as xr
import zarr

from hmx.cube.cadence import Cadence
from hmx.cube.census import Census, report
from hmx.cube.cube import CHUNK
from hmx.cube.dates import short
from hmx.cube.declarations import flag_attributes
from hmx.cube.grid import Grid
from hmx.cube.integrity.reading import damage_of, open_checked
from hmx.cube.integrity.seal import COMPRESSORS, seal_store
from hmx.cube.steps import KNOWN_UNTIL, OBSERVED_UNTIL, steps_until
from hmx.cube.store import group_attributes, recover, require_ours, swap, swap_remote
from hmx.cube.values import Rules
from hmx.engine.region import window_on
from hmx.errors import NotEnoughData
from hmx.files.jsontext import as_json, finite
from hmx.files.lock import building
from hmx.files.paths import is_url, require_writable
from hmx.independent import independent
from hmx.ingest import manifest, timeline
from hmx.ingest.options import CubeCatalog, Source
from hmx.ingest.readers.arrays import ArrayPart
from hmx.ingest.sources import Part, Pixels
from hmx.ingest.warping import aligned
from hmx.progress import OnStep, Progress
from hmx.provenance import fingerprint
from hmx.windows import TileGrid, Window

# of one variable, all times, in memory at once; a window is at least one chunk, which may be more
_BLOCK_BYTES = 2**28
# bytes; GDAL takes 5 % of the memory by default, which on a large node is more than the rest
_GDAL_CACHE = 2**28
_LEADING = {"static": (), "monthly": ("month",)}  # dims before (y, x), by role


@independent
def ingest(
    catalog: CubeCatalog, *, overwrite: bool = False, progress: Progress | OnStep | None = None
) -> Path | str:
    """Build the cube of a catalog, or bring it up to date.

    Eager, and out of core: memory does not follow the size of the rasters.

    Parameters
    ----------
    catalog : CubeCatalog
        Its ``cube`` names the sources and the store.
    overwrite : bool
        Build anew even if the store is current. What hmx did not write is never
        replaced.
    progress : Progress or callable, optional
        Its steps are windows; a plain callable gets (windows done, windows in all, text). Its
        notes name what was read of each source, and what each rule took of it.

    Returns
    -------
    Path or str
        The store, or its URL: ``hmx_status`` is ``complete`` and the sources' roles
        (``target``, ``dynamic``, ``static``) are in ``hmx_role``.

    Raises
    ------
    SourceError
        If a file is missing or cannot be read, or a source lacks a step.
    GridMismatch, MissingCRS
        If a raster is on another grid than the target's first, or on none.
    IrregularTime, NotEnoughData
        If the target's steps are irregular or hold no data.
    OutputExists
        If the store's path holds something else.
    BadArgument
        If the store cannot be written where it should be.

    Examples
    --------
    >>> from hmx.catalog import Catalog
    >>> ingest(Catalog.load("catalogs/demo.yaml"))  # doctest: +SKIP
    """
    steps, remote = Progress.of(progress), is_url(catalog.cube.path)
    path = catalog.cube.path if remote else Path(catalog.cube.path)
    if remote:
        require_writable(catalog.cube.path, "cube.path")
    with building(path), rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE):
        if not remote:
            recover(path)
        old = require_ours(path)
        if overwrite or not manifest.is_current(catalog):
            # nothing is taken over from a damaged cube
            fresh = overwrite or damage_of(catalog.cube.path) is not None
            plan = _plan(catalog, {} if fresh else manifest.known_of(catalog, old))
            new = swap_remote(catalog.cube.path, steps) if remote else swap(path)
            with new as partial:
                _write(plan, partial, steps)
    return path


def require_readable(catalog: CubeCatalog) -> None:
    """Check all that headers show, as ingest does before it reads a pixel."""
    _plan(catalog, {})


@dataclass(frozen=True)
class _Variable:
    name: str
    source: Source
    role: str  # target, dynamic, static, or monthly: months next to a calendar
    parts: tuple[Part, ...]

    @property
    def files(self) -> list[str]:
        """File of each step."""
        return [part.name for part in self.parts for _ in range(part.steps)]


@dataclass(frozen=True)
class _Plan:
    grid: Grid
    time: xr.DataArray  # of the target, then on to what is known ahead
    variables: tuple[_Variable, ...]
    attrs: dict[str, Any]
    crop: bool  # whether the sources may be larger than the grid

    @property
    def axes(self) -> dict[str, xr.DataArray]:
        """The time axis, and an axis of months if covariates have their own."""
        time = {"time": self.time} if self.time.size else {}
        for variable in (v for v in self.variables if v.role == "monthly"):  # they agree
            months = [int(key) for key in manifest.steps_of(variable.source)]
            attrs = {"long_name": "month of year"}
            time["month"] = xr.DataArray(months, dims="month", attrs=attrs)
        return time

    def windows(self, variable: _Variable) -> list[Window]:
        """Cut the grid into windows of one chunk row, as wide as the byte limit allows."""
        # 4 bytes: float32
        chunk_bytes = len(variable.files) * CHUNK * CHUNK * 4
        width = CHUNK * max(1, _BLOCK_BYTES // chunk_bytes)
        return [tile.core for tile in TileGrid(self.grid.shape, (CHUNK, width), 0)]

    def chunks(self, variable: _Variable) -> tuple[int, ...]:
        """Shape of a chunk in storage: all times of a square that the variable has."""
        square = tuple(min(CHUNK, side) for side in self.grid.shape)
        return square if variable.role == "static" else (len(variable.files), *square)

    def marks(self, variable: _Variable) -> dict[str, str]:
        """Return the attributes that name a variable's last observed or known step."""
        ahead = any(other.source.future for other in self.variables)
        if not ahead:
            return {}
        ends = {KNOWN_UNTIL: variable.source.future, OBSERVED_UNTIL: variable.role == "target"}
        last = manifest.label(self.time.values[len(variable.files) - 1])
        if Cadence.infer(self.time).unit == "months":  # the day alone names a monthly step
            last = last.removesuffix("T00:00:00")
        return {mark: last for mark, applies in ends.items() if applies}


def _plan(catalog: CubeCatalog, known: manifest.SourceManifest) -> _Plan:
    """Check everything that headers show, and decide what is read from which file."""
    sources, lead = catalog.cube.sources, catalog.cube.lead
    recipe = manifest.recipe_of(catalog, known)
    kept = manifest.kept_steps(known, recipe)
    # without the old cube a file that is gone is missing, and `require_files` names it
    recipe = recipe if kept else manifest.recipe_of(catalog, {})
    manifest.require_files(catalog, recipe)
    time = timeline.axis_of(catalog.cube)
    observed = time.size
    # the lead comes first, because its first part gives the grid of the cube
    names = [lead, *(name for name in sources if name != lead)]
    # without Dask, because windows are read one after the other
    store = open_checked(catalog.cube.path, chunks=None) if kept else None
    done = {n: _stored(store, n, lead) for n in names} if store is not None else {}
    future = [name for name in names if sources[name].future]
    have = {n: timeline.labels_ahead(n, sources[n], done.get(n)) for n in future}
    have = {
        name: timeline.in_kind(found, manifest.label(time.values[-1]))
        for name, found in have.items()
    }
    ahead = {name: timeline.later_steps(name, found, time) for name, found in have.items()}
    time = timeline.extended(time, max(ahead.values(), default=0))
    keys = [manifest.label(value) for value in time.values]
    own = {name: keys[: observed + ahead.get(name, 0)] for name in names}
    own |= {name: list(manifest.steps_of(sources[name])) for name in catalog.cube.monthly}
    roles = dict.fromkeys(catalog.cube.monthly, "monthly")
    roles |= {} if catalog.cube.target is None else {lead: "target"}
    variables = [_variable(n, sources[n], keys=own[n], done=done.get(n)) for n in names]
    variables = [replace(v, role=roles.get(v.name, v.role)) for v in variables]
    grid, crop = variables[0].parts[0].grid, catalog.cube.region is not None
    if crop and not kept:  # what was kept has the grid of the region
        grid = grid.crop(window_on(catalog.cube.region, grid))
    for variable in variables:
        for part in variable.parts:  # raises if a part cannot be brought to the grid
            aligned(part, grid, variable.source, crop=crop)
    about = {
        "title": catalog.name,
        "Conventions": "CF-1.11",
        "hmx_status": "incomplete",
        "hmx_fingerprint": fingerprint(recipe),
        "hmx_sources": as_json(recipe),
    }
    return _Plan(grid, time, tuple(variables), about, crop)


def _stored(store: xr.Dataset, name: str, target: str) -> ArrayPart:
    """Take the steps that a variable has in the old cube."""
    variable, mark = store[name], KNOWN_UNTIL
    if "month" in variable.dims:
        variable = variable.rename(month="time")
    elif "time" in variable.dims:
        # a variable without a mark of its own ends where the target does
        ends = variable if mark in variable.attrs else store[target]
        mark = mark if mark in variable.attrs else OBSERVED_UNTIL
        variable = variable.isel(time=slice(steps_until(ends, mark, store["time"])))
    # no rules, because the values of a cube are clean already
    return ArrayPart(f"{name} of the cube", Grid.from_xarray(store), variable, Rules())


def _variable(
    name: str, source: Source, *, keys: Sequence[str], done: ArrayPart | None
) -> _Variable:
    """Open the parts of a variable; ``done`` has its first steps, from the old cube."""
    if done is None:
        return _Variable(name, source, *_open_all(name, source, keys))
    if done.time is None:
        return _Variable(name, source, "static", (done,))
    if len(keys) <= done.steps:
        return _Variable(name, source, "dynamic", (done.at(range(len(keys))),))
    role, new = _open_all(name, source, keys[done.steps :])
    return _Variable(name, source, role, (done, *new))


def _open_all(name: str, source: Source, keys: Sequence[str]) -> tuple[str, tuple[Part, ...]]:
    """Open the parts of the steps; return the role, static or dynamic, and the parts."""
    if source.axis is not None:
        return "dynamic", timeline.open_steps(name, source, keys)
    part = timeline.open_step(source, "")
    if part.time is None:
        return "static", (part,)
    have = [manifest.label(value) for value in part.time.values]
    found = timeline.require_steps(name, keys, have=have)
    return "dynamic", (part.at([have.index(found[key]) for key in keys]),)


def _write(plan: _Plan, partial: Path, progress: Progress) -> None:
    """Write the template, then the pixels, then that it is complete."""
    template = _template(plan)
    for planned in template.variables.values():
        planned.attrs = finite(planned.attrs)
    # only metadata and coordinates: the zeros of Dask are never computed
    template.to_zarr(partial, mode="w-", compute=False, zarr_format=3, consolidated=False)
    group = zarr.open_group(partial, mode="r+")
    windows = {variable.name: plan.windows(variable) for variable in plan.variables}
    total, done = sum(map(len, windows.values())), 0
    for variable in plan.variables:
        parts = [aligned(p, plan.grid, variable.source, crop=plan.crop) for p in variable.parts]
        censuses = [Census(part.name, part.notes) for part in parts]
        array = cast(zarr.Array[Any], group[variable.name])
        valid = np.zeros(len(variable.files), dtype="int64")
        for window in windows[variable.name]:
            block = _read(parts, window, censuses)
            # windows are whole chunks, so no chunk is ever written twice
            steps = () if variable.role == "static" else (slice(len(block)),)
            array[(*steps, *window.slices)] = block if steps else block[0]
            valid += np.isfinite(block).sum(axis=(1, 2))
            done += 1
            progress.step(done, total, f"ingest: {variable.name}")
        for line in report(variable.name, variable.source, censuses):
            progress.note(line)
        _require_pixels(variable, valid, plan.time)
    # after the last pixel, because the seal lists every stored chunk
    seal_store(str(partial))


def _read(parts: Sequence[Pixels], window: Window, censuses: Sequence[Census]) -> np.ndarray:
    """Read all steps of a window, shape (steps, rows, columns)."""
    block = np.empty((sum(part.steps for part in parts), *window.shape), dtype="float32")
    at = 0
    for part, census in zip(parts, censuses, strict=True):
        block[at : at + part.steps] = part.read(window, census)
        census.keep(block[at : at + part.steps])
        at += part.steps
    return block


def _require_pixels(variable: _Variable, valid: np.ndarray, time: xr.DataArray) -> None:
    """Refuse a variable without data, and a target with an empty map."""
    empty = np.flatnonzero(valid == 0)
    # a covariate may have empty maps, a target may not
    if len(empty) == 0 or (variable.role != "target" and len(empty) < len(valid)):
        return
    if len(empty) == len(valid):
        where = f"any file ({variable.files[0]}{', ...' * (len(valid) > 1)})"
    else:
        where = ", ".join(
            f"{short(manifest.label(time.values[i]))} ({variable.files[i]})" for i in empty
        )
    raise NotEnoughData(
        f"{variable.name} has no valid pixel in {where}: all is nodata or outside valid_range. "
        f"Check valid_range, nodata, scale and offset of sources.{variable.name} in the catalog."
    )


def _template(plan: _Plan) -> xr.Dataset:
    import rioxarray  # noqa: F401  (registers .rio)

    grid, time = plan.grid, plan.time
    coords = {"y": ("y", grid.y), "x": ("x", grid.x), **plan.axes}
    data = xr.Dataset(coords=coords, attrs={**plan.attrs, **group_attributes(grid)})
    for variable in plan.variables:
        dims = (*_LEADING.get(variable.role, ("time",)), "y", "x")
        shape = tuple(data.sizes[dim] for dim in dims)
        array = dask.array.zeros(shape, chunks=plan.chunks(variable), dtype="float32")
        data[variable.name] = (dims, array, {**_attrs(variable), **plan.marks(variable)})
    data = data.rio.write_crs(grid.crs.to_wkt()).rio.write_transform(grid.transform)
    data = data.rio.write_coordinate_system()
    for name in data.coords:
        data[name].encoding["compressors"] = COMPRESSORS
    data.coords.get("time", time).encoding["dtype"] = "int64"
    for variable in plan.variables:
        data[variable.name].encoding = _encoding(plan.chunks(variable))
    return cast(xr.Dataset, data)


def _encoding(chunks: tuple[int, ...]) -> dict[str, Any]:
    # NaN also as Zarr's own fill value: GDAL takes that for nodata, and 0 is a value
    nan = np.float32("nan")
    return {
        "chunks": chunks,
        "compressors": COMPRESSORS,
        "_FillValue": nan,
        "fill_value": nan,
        "grid_mapping": "spatial_ref",
        # listed, so that a plain open_zarr makes it a coordinate, where .rio looks
        "coordinates": "spatial_ref",
    }


def _attrs(variable: _Variable) -> dict[str, Any]:
    source = variable.source
    attrs: dict[str, Any] = {"hmx_role": variable.role}
    if source.valid_range is not None:
        attrs["valid_range"] = list(source.valid_range)
    attrs |= {"units": source.units, "long_name": source.long_name}
    attrs |= flag_attributes(source.categories)
    attrs["hmx_scale"] = source.scale if source.scale != 1 else None
    return {key: value for key, value in attrs.items() if value is not None}
