"""Stores: a product as one NetCDF file, as Zarr 2, or as Zarr 3 that declares GeoZarr.

A plain ``to_zarr(zarr_format=2)`` of a product that xarray opened fails, because each variable
brings the codecs of Zarr 3 in its encoding. Here all variables get encodings of the new format.

GeoZarr wants ``zarr_conventions``, a list of objects, and NetCDF has no attribute for objects:
with it, ``xr.open_zarr(product).to_netcdf(...)`` would fail. So products leave it out, and a
copy of the format ``geozarr`` has it.

Everything but pixels is written first, then square by square the pixels, so memory does not grow
with the raster; the copy takes its place when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from hmx.cube.cube import CHUNK, without_location
from hmx.cube.grid import Grid, find_axes
from hmx.cube.names import require_storable
from hmx.cube.store import attributes, group_attributes, swap
from hmx.errors import CubeError, OutputExists
from hmx.exports.choice import view_of
from hmx.files.lock import building
from hmx.progress import Progress
from hmx.provenance import code_version
from hmx.windows import TileGrid

_MARK = "hmx_export"  # attribute of every copy of ours
_CONVENTIONS = {
    "spatial": {
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial",
        "description": "Spatial coordinate information",
    },
    "proj": {
        "schema_url": "https://raw.githubusercontent.com/zarr-experimental/geo-proj/refs/tags/v1/"
        "schema.json",
        "spec_url": "https://github.com/zarr-experimental/geo-proj/blob/v1/README.md",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "description": "Coordinate reference system information for geospatial data",
    },
}
Arrays = dict[str, Any]  # what takes pixels by slices: arrays of Zarr, variables of NetCDF
Fill = Callable[[Arrays], None]


@dataclass(frozen=True)
class StoreFormat:
    """How a copy is laid out: what its template is written with, and how its arrays open."""

    write: Callable[[xr.Dataset, Path], None]
    arrays: Callable[[Path], Any]  # a context of Arrays
    netcdf: bool = False
    geozarr: bool = False
    own_crs: bool = False  # whether arrays have GDAL's own attribute of a CRS


def write_store(
    data: xr.Dataset, path: Path, format: str, progress: Progress, *, what: str = "export"
) -> Path:
    """Write a copy, whole or not at all; one of ours is replaced."""
    kind = FORMATS[format]
    rasters = [str(name) for name, v in data.data_vars.items() if v.ndim >= 2]
    if not rasters:
        raise CubeError(
            f"there is no raster among {', '.join(map(str, data.data_vars)) or 'nothing'}: a copy "
            "holds variables with rows and columns. Pass the store of a map or forecast."
        )
    require_storable(data.data_vars)
    template = _template(data, kind, format)
    with building(path):
        require_ours(path)
        with swap(path) as draft:
            kind.write(template, draft)
            with kind.arrays(draft) as arrays:
                _fill(data, {name: arrays[name] for name in rasters}, progress, what)
    return path


def _fill(data: xr.Dataset, arrays: Arrays, progress: Progress, what: str) -> None:
    """Copy pixels, square by square; all variables of a square are computed together."""
    axes = find_axes(data, ("y", "x"))
    shape = (data.sizes[axes["y"]], data.sizes[axes["x"]])
    tiles = list(TileGrid(shape, (CHUNK, CHUNK), halo=0))
    for done, tile in enumerate(tiles):
        progress.step(done, len(tiles), f"{what}: squares")
        part = dict(zip((axes["y"], axes["x"]), tile.core.slices, strict=True))
        square = data[list(arrays)].isel(part).compute()
        for name, array in arrays.items():
            where = tuple(part.get(str(dim), slice(None)) for dim in data[name].dims)
            array[where] = square[name].values
    progress.step(len(tiles), len(tiles), f"{what}: done")


def _template(data: xr.Dataset, kind: StoreFormat, format: str) -> xr.Dataset:
    """Return everything but pixels, with attributes and encodings of the format."""
    axes = find_axes(data, ("y", "x"))
    template = xr.Dataset(attrs=_attributes(data, kind, format))
    coords, located_by = {}, _axis_attributes(data, axes)
    for name, coord in data.coords.items():
        fresh = coord.variable.load().copy() if coord.ndim < 2 else coord.variable.copy()
        named = fresh.attrs.keys() & {"long_name", "standard_name"}
        given = {} if named or name in located_by else {"long_name": str(name)}
        fresh.attrs = located_by.get(str(name), {}) | given | fresh.attrs
        # how times are counted stays, and codecs do not
        fresh.encoding = {k: v for k, v in fresh.encoding.items() if k in ("units", "calendar")}
        fresh.encoding |= {"dtype": "int64"} if fresh.dtype.kind == "M" else {}
        # CF: a coordinate is complete, and has no value for what is missing
        fresh.encoding |= {"_FillValue": None} if fresh.dtype.kind == "f" else {}
        if "crs_wkt" in fresh.attrs or "spatial_ref" in fresh.attrs:
            fresh.attrs = {"long_name": "coordinate reference system", **fresh.attrs}
        coords[str(name)] = fresh
    template = template.assign_coords(coords)
    located = next((str(n) for n, c in coords.items() if "crs_wkt" in c.attrs), None)
    for name, variable in data.data_vars.items():
        chunks = tuple(
            min(CHUNK, size) if dim in axes.values() else size
            for dim, size in zip(variable.dims, variable.shape, strict=True)
        )
        if variable.ndim < 2:
            template[str(name)] = variable.variable.load()
            continue
        empty = da.zeros(variable.shape, chunks=chunks, dtype=variable.dtype)
        fresh = xr.Variable(variable.dims, empty, _described(str(name), variable))
        fresh.encoding = _encoding(fresh, chunks, kind)
        if located is not None:
            fresh.attrs.pop("grid_mapping", None)
            fresh.encoding["grid_mapping"] = located
            listed = [str(c) for c in coords if c not in template.dims and c != located]
            listed = [c for c in listed if set(coords[c].dims) <= set(fresh.dims)]
            # written as an attribute of each variable, so that any reader finds the CRS
            fresh.encoding["coordinates"] = " ".join([*listed, located])
        if kind.own_crs:  # GDAL before 3.10 reads no other
            fresh.attrs["_CRS"] = {"wkt": Grid.from_xarray(view_of(data).data).crs.to_wkt()}
        template[str(name)] = fresh
    return template


def _axis_attributes(data: xr.Dataset, axes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return what CF wants of the coordinates of rows, columns and time."""
    crs = Grid.from_xarray(view_of(data).data).crs
    found = {
        axes[attrs["axis"].lower()]: attrs for attrs in crs.cs_to_cf() if attrs["axis"] in "YX"
    }
    if "time" in data.coords and data["time"].dtype.kind in "MO":
        found["time"] = {"standard_name": "time", "axis": "T"}
    return found


def _attributes(data: xr.Dataset, kind: StoreFormat, format: str) -> dict[str, Any]:
    attrs = without_location(data.attrs)
    # of the store itself: its state, its seal, and the fingerprint by which it is a cube
    of_store = ("hmx_status", "hmx_audit", "hmx_fingerprint", "hmx_sources")
    attrs = {k: v for k, v in attrs.items() if k not in of_store and not k.startswith("proj:")}
    attrs |= {
        "Conventions": "CF-1.11",
        _MARK: format,
        "history": f"exported by hmx {code_version()}",
    }
    if kind.geozarr:
        grid = Grid.from_xarray(view_of(data).data)
        located = group_attributes(grid, data)
        if "proj:code" in located:  # one of the two
            located.pop("proj:wkt2")
        attrs |= located | {"zarr_conventions": list(_CONVENTIONS.values())}
    return attrs


def _described(name: str, variable: xr.DataArray) -> dict[str, Any]:
    """Return attributes in the types that CF wants: flags and ranges in that of the values."""
    named = variable.attrs.keys() & {"long_name", "standard_name"}
    attrs = {**variable.attrs} if named else {"long_name": name, **variable.attrs}
    for key in ("flag_values", "flag_masks", "valid_range", "valid_min", "valid_max"):
        if key in attrs:
            attrs[key] = np.asarray(attrs[key]).astype(variable.dtype)
    for key, value in attrs.items():
        if isinstance(value, bool):  # no type of NetCDF
            attrs[key] = int(value)
    return attrs


def _encoding(variable: xr.Variable, chunks: tuple[int, ...], kind: StoreFormat) -> dict[str, Any]:
    real = {"_FillValue": variable.dtype.type("nan")} if variable.dtype.kind == "f" else {}
    if kind.netcdf:
        return {**real, "chunksizes": chunks, "zlib": True, "complevel": 4, "shuffle": True}
    return {**real, "chunks": chunks}


def _write_netcdf(template: xr.Dataset, path: Path) -> None:
    from dask.delayed import Delayed

    made = template.to_netcdf(path, engine="netcdf4", format="NETCDF4", compute=False)
    # not computed: its zeros would be written for nothing
    assert isinstance(made, Delayed)


@contextmanager
def _netcdf_arrays(path: Path) -> Iterator[Arrays]:
    import netCDF4

    with netCDF4.Dataset(path, "a") as file:
        file.set_auto_maskandscale(False)
        yield file.variables


def _write_zarr(zarr_format: int) -> Callable[[xr.Dataset, Path], None]:
    def write(template: xr.Dataset, path: Path) -> None:
        template.to_zarr(
            path, mode="w-", compute=False, consolidated=zarr_format == 2, zarr_format=zarr_format
        )

    return write


@contextmanager
def _zarr_arrays(path: Path) -> Iterator[Arrays]:
    group = zarr.open_group(str(path), mode="r+")
    yield dict(group.arrays())


FORMATS = {
    "netcdf": StoreFormat(_write_netcdf, _netcdf_arrays, netcdf=True),
    "zarr": StoreFormat(_write_zarr(3), _zarr_arrays),  # a product like those of jobs
    "zarr2": StoreFormat(_write_zarr(2), _zarr_arrays, own_crs=True),
    "geozarr": StoreFormat(_write_zarr(3), _zarr_arrays, geozarr=True),
}


def require_ours(path: Path) -> None:
    """Raise :class:`OutputExists` unless the path is free or a copy that hmx exported."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if _MARK not in (attributes(path) if path.is_dir() else _netcdf_attributes(path)):
        raise OutputExists(
            f"{path} is not a file that hmx exported, so it is left alone. Choose another path."
        )


def _netcdf_attributes(path: Path) -> list[str]:
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return list(file.ncattrs())
    except OSError:
        return []
