"""Arrays: NetCDF and Zarr through xarray, and whatever else is opened as a Dataset.

A reader of a format that xarray (or any library that gives a Dataset) opens needs
:func:`part_of` alone: it finds the axes, the rules of the numbers and the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
import zarr

from hmx.cube.census import Census
from hmx.cube.declarations import has_default_fill
from hmx.cube.grid import Grid, find_axes
from hmx.cube.timeaxis import undecoded
from hmx.cube.values import Rules
from hmx.errors import CatalogError, CubeError, SourceError, missing_variable
from hmx.ingest.readers.rasters import reading
from hmx.ingest.sources import SourceOptions, reader
from hmx.windows import Window


@dataclass(frozen=True)
class ArrayPart:
    """A lazily opened variable, as it is stored; nothing is read yet."""

    name: str
    grid: Grid
    data: xr.DataArray  # (y, x) or (time, y, x), north-up
    rules: Rules
    notes: tuple[str, ...] = ()
    tiles = ()  # a mosaic of NetCDF files would need one time axis for all

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return int(self.data.sizes.get("time", 1))

    @property
    def time(self) -> xr.DataArray | None:
        """The file's own time axis, or ``None``."""
        return self.data["time"] if "time" in self.data.dims else None

    def at(self, indices: Sequence[int]) -> ArrayPart:
        """Select time steps by position."""
        return replace(self, data=self.data.isel(time=list(indices)))

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        with reading(self.name):
            raw = self.data.isel(y=window.y.slice, x=window.x.slice).values
        return self.rules.clean(raw.reshape(self.steps, *window.shape), census=census)


@reader(".nc", ".nc4", ".cdf", ".zarr")
def open_arrays(source: SourceOptions, files: Sequence[str], name: str) -> ArrayPart:
    """Open a NetCDF or Zarr file."""
    if len(files) > 1:
        raise CatalogError(
            f"{name} stands for {len(files)} files, and only rasters can be tiles of a mosaic. "
            "Name one NetCDF or Zarr file, or put {year} in the path."
        )
    return part_of(open_stored(files[0], name), source, name, file=files[0])


def part_of(
    data: xr.Dataset, source: SourceOptions, name: str, *, file: str | None = None
) -> ArrayPart:
    """Take the variable that a source means out of a Dataset that is opened but not decoded."""
    variable = _variable_of(source, data, name)
    try:
        oriented = _oriented(data[variable])
        stored, fill_notes = _without_default_fill(file, oriented)
        rules = replace(Rules.of(stored), name=f"{variable} of {name}")
        grid = Grid.from_xarray(oriented)
    except CubeError as error:
        raise type(error)(f"{name}: {error}") from None
    notes = (*fill_notes, *_scaling_notes(rules, source))
    return ArrayPart(name, grid, stored, rules.under(source, replaces=False), notes)


def open_stored(file: str, name: str) -> xr.Dataset:
    """Open a NetCDF or Zarr file: coordinates decoded, variables as they are stored."""
    how: dict[str, Any] = {}
    if file.startswith(("http://", "https://")) and not file.rstrip("/").lower().endswith(".zarr"):
        file += "#mode=bytes"  # without it the NetCDF library takes a URL for a service (OPeNDAP)
    if file.rstrip("/").lower().endswith(".zarr"):
        # a store without consolidated metadata is complete too
        how = {"engine": "zarr", "consolidated": False}
    with reading(name):
        listed = xr.open_dataset(file, chunks=None, decode_cf=False, **how)
    # variables stay packed, because `Rules` decides what their numbers mean
    raw = dict.fromkeys((n for n in listed.variables if n not in listed.dims), False)
    how |= {"mask_and_scale": raw, "decode_timedelta": raw}
    with reading(name), dated(name, file, how):
        return xr.open_dataset(file, chunks=None, decode_coords="all", **how)


@contextmanager
def dated(name: str, file: str, how: Mapping[str, Any]) -> Iterator[None]:
    """Raise an error that names the time axis where that is what xarray cannot decode."""
    try:
        yield
    except ValueError:
        raw = xr.open_dataset(file, chunks=None, decode_times=False, **how)
        for axis, coord in raw.coords.items():
            units = str(coord.attrs.get("units", ""))
            if coord.ndim and units.lower().startswith(("year", "month")) and " since " in units:
                raise SourceError(
                    f"{name} has its {axis} in {units!r}, which is not a unit that can be decoded "
                    "to dates. In Python: ds = xr.open_dataset(..., decode_times=False). "
                    f"{undecoded(str(axis), units)} Then ds.to_netcdf(...). Or save one file for "
                    "each step, and write its year into the path: {year} and years: [...]."
                ) from None
        raise


def _variable_of(source: SourceOptions, data: xr.Dataset, name: str) -> str:
    """Name the variable that a source means."""
    variable = source.variable or (str(next(iter(data))) if len(data.data_vars) == 1 else None)
    if variable is None:
        raise CatalogError(
            f"{name} has several variables ({', '.join(sorted(map(str, data.data_vars)))}). "
            "Say which in the catalog: variable: ..."
        )
    if variable not in data.data_vars:
        raise missing_variable(variable, data.data_vars, where=name)
    return variable


def _oriented(data: xr.DataArray) -> xr.DataArray:
    """Name and orient the axes as inside a cube, without reading pixels."""
    plane = find_axes(data, ("y", "x")).values()
    # such as a band or a height of a single level
    thin = [dim for dim in data.dims if data.sizes[dim] == 1 and dim not in plane]
    flat = data.squeeze(thin, drop=True)
    if flat.ndim not in (2, 3):
        raise CubeError(
            f"{data.name!r} has dimensions {tuple(data.dims)}, and a source has y, x and at most "
            "time. Save one level of it: ds.isel(...).to_netcdf(...)."
        )
    # coordinates alone, because expand_dims would read the pixels
    axes = flat.coords.to_dataset()
    names = find_axes(axes if flat.ndim == 3 else axes.expand_dims({"time": [0]}))
    flat = flat.rename({o: n for n, o in names.items() if o in flat.dims and o != n})
    flat = flat.transpose(..., "y", "x")
    south_up = flat.sizes["y"] > 1 and bool(flat["y"][0] < flat["y"][-1])
    east_up = flat.sizes["x"] > 1 and bool(flat["x"][0] > flat["x"][-1])
    flips = {dim: slice(None, None, -1) for dim, flip in (("y", south_up), ("x", east_up)) if flip}
    return flat.isel(flips)


def _without_default_fill(
    file: str | None, data: xr.DataArray
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Keep zeros as values where 0 is only the default fill value of Zarr format 2."""
    if file is None or not has_default_fill(data, data.attrs):
        return data, ()
    with reading(file):
        written = zarr.open_group(file, mode="r")[str(data.name)].attrs
    # xarray derives the attribute from fill_value; one that is written is meant
    if "_FillValue" in written:
        return data, ()
    kept = data.copy(deep=False)
    kept.attrs = {key: value for key, value in data.attrs.items() if key != "_FillValue"}
    return kept, (
        "fill_value 0 of Zarr format 2 is what it has by default, so zeros are kept as values, "
        "chunks that are not stored among them; if zeros are missing: nodata: 0 in the catalog",
    )


def _scaling_notes(rules: Rules, source: SourceOptions) -> tuple[str, ...]:
    """Describe how a packed variable becomes a value."""
    if (rules.scale, rules.offset) == (1.0, 0.0):
        return ()
    own = f"scale_factor {rules.scale:g} and add_offset {rules.offset:g} of the file are applied"
    if source.scale is None and source.offset is None:
        return (own,)
    return (f"{own} first, then scale and offset of the catalog",)
