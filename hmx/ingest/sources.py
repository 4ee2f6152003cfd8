"""Read one source of a cube, window by window: GDAL rasters, mosaics, NetCDF, Zarr.

A :class:`Part` is one or more steps of a variable on one north-up grid. Opening
it reads headers only; :meth:`Part.read` reads the pixels of one window, so that
memory follows the window and not the raster. What numbers mean is decided in
:mod:`hmx.cube.values`: parts read them as stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import xarray as xr
import zarr

from hmx.cube.axes import find_axes
from hmx.cube.census import Census
from hmx.cube.declarations import has_default_fill
from hmx.cube.grid import Grid
from hmx.cube.timeaxis import undecoded
from hmx.cube.values import Rules
from hmx.errors import CatalogError, CubeError, SourceError, missing_variable
from hmx.ingest.mosaic import RasterTile, probe, reading, union, within
from hmx.ingest.options import Source
from hmx.windows import Window

_LAZY = (".nc", ".nc4", ".cdf", ".zarr")


class Part(Protocol):
    """Some steps of one variable on one north-up grid, read by window."""

    @property
    def name(self) -> str:
        """File, URL or glob, as messages call it."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie, north-up."""

    @property
    def steps(self) -> int:
        """Number of time steps."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it is read."""

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""


@dataclass(frozen=True)
class RasterHeader:
    """One step of anything GDAL opens, a raster or the tiles of a mosaic.

    Parameters
    ----------
    name : str
        File or glob, as messages call it.
    grid : Grid
        North-up grid that covers all tiles.
    tiles : tuple of RasterTile
        Later ones cover earlier ones where they overlap and hold data.
    """

    name: str
    grid: Grid
    tiles: tuple[RasterTile, ...]

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it is read."""
        return tuple(dict.fromkeys(note for tile in self.tiles for note in tile.notes))

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        if len(self.tiles) == 1:
            return self.tiles[0].read(window, census)[None]
        out = np.full(window.shape, np.nan, "float32")
        covered = np.zeros(window.shape, bool)
        for tile in self.tiles:
            place = within(self.grid, tile)
            part = Window(window.y.clip(place.y), window.x.clip(place.x))
            if not len(part.y) or not len(part.x):
                continue
            values, here = tile.read(part.within(place), census), part.within(window).slices
            out[here] = np.where(np.isfinite(values), values, out[here])
            covered[here] = True
        if census is not None:
            census.gap("no tile", int(np.count_nonzero(~covered)))
        return out[None]


@dataclass(frozen=True)
class Lazy:
    """A lazily opened variable of a NetCDF or Zarr file.

    Parameters
    ----------
    name : str
        File, as messages call it.
    grid : Grid
        North-up grid of the pixels.
    data : DataArray
        Dims (y, x) or (time, y, x), north-up; as stored, not read yet.
    rules : Rules
        What the stored numbers mean.
    notes : tuple of str
        What the user should know of how it is read.
    """

    name: str
    grid: Grid
    data: xr.DataArray
    rules: Rules
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return int(self.data.sizes.get("time", 1))

    @property
    def time(self) -> xr.DataArray | None:
        """The file's own time axis, if it has one."""
        return self.data["time"] if "time" in self.data.dims else None

    def at(self, indices: Sequence[int]) -> Lazy:
        """Select time steps by position."""
        return replace(self, data=self.data.isel(time=list(indices)))

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (steps, rows, columns)."""
        with reading(self.name):
            raw = self.data.isel(y=window.y.slice, x=window.x.slice).values
        return self.rules.clean(raw.reshape(self.steps, *window.shape), census=census)


def open_part(source: Source, files: Sequence[str], name: str) -> RasterHeader | Lazy:
    """Open the file or the tiles of one step, headers only.

    Parameters
    ----------
    source : Source
        Names the variable or band, and has its say on what numbers mean.
    files : sequence of str
        One file, or the tiles of a mosaic.
    name : str
        What messages call it.

    Raises
    ------
    SourceError
        If a file cannot be read.
    MissingCRS
        If a file has no CRS.
    CatalogError
        If the band or the variable is not named.
    GridMismatch
        If the tiles of a mosaic do not share one pixel lattice.
    """
    if files[0].rstrip("/").lower().endswith(_LAZY):
        return _open_lazy(source, files, name)
    tiles = tuple(probe(file, source) for file in files)
    return RasterHeader(name, union(tiles), tiles)


def _open_lazy(source: Source, files: Sequence[str], name: str) -> Lazy:
    if len(files) > 1:
        raise CatalogError(
            f"{name} stands for {len(files)} files, and only rasters can be tiles of a mosaic. "
            "Name one NetCDF or Zarr file, or put {year} in the path."
        )
    data = _open_stored(files[0], name)
    variable = _variable_of(source, data, name)
    try:
        placed = _placed(data[variable])
        stored, fill_notes = _without_default_fill(files[0], placed)
        rules = replace(Rules.of(stored), name=f"{variable} of {name}")
        grid = Grid.from_xarray(placed)
    except CubeError as error:
        raise type(error)(f"{name}: {error}") from None
    notes = (*fill_notes, *_scaling_notes(rules, source))
    return Lazy(name, grid, stored, rules.under(source, replaces=False), notes)


def _open_stored(file: str, name: str) -> xr.Dataset:
    """Open a NetCDF or Zarr file: coordinates decoded, variables as they are stored."""
    how: dict[str, Any] = {}
    if file.rstrip("/").lower().endswith(".zarr"):
        how = {"engine": "zarr", "consolidated": False}
    with reading(name):
        listed = xr.open_dataset(file, chunks=None, decode_cf=False, **how)
    raw = dict.fromkeys((n for n in listed.variables if n not in listed.dims), False)
    how |= {"mask_and_scale": raw, "decode_timedelta": raw}
    with reading(name), dated(name, file, how):
        return xr.open_dataset(file, chunks=None, decode_coords="all", **how)


@contextmanager
def dated(name: str, file: str, how: Mapping[str, Any]) -> Iterator[None]:
    """Say that it is the time axis, if that is what cannot be decoded in a whole file."""
    try:
        yield
    except ValueError:
        raw = xr.open_dataset(file, chunks=None, decode_times=False, **how)
        for axis, coord in raw.coords.items():
            units = str(coord.attrs.get("units", ""))
            if coord.ndim and units.lower().startswith(("year", "month")) and " since " in units:
                raise SourceError(
                    f"{name} has its {axis} in {units!r}, which is no unit that can be decoded to "
                    "dates. In Python: ds = xr.open_dataset(..., decode_times=False). "
                    f"{undecoded(str(axis), units)} Then ds.to_netcdf(...). Or save one file for "
                    "each step, and write its year into the path: {year} and years: [...]."
                ) from None
        raise


def _variable_of(source: Source, data: xr.Dataset, name: str) -> str:
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


def _placed(data: xr.DataArray) -> xr.DataArray:
    """Name and orient the axes as inside a cube, without reading pixels."""
    plane = find_axes(data, ("y", "x")).values()
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


def _without_default_fill(file: str, data: xr.DataArray) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Keep zeros where 0 is but the fill value that Zarr format 2 has by default."""
    if not has_default_fill(data, data.attrs):
        return data, ()
    with reading(file):
        written = zarr.open_group(file, mode="r")[str(data.name)].attrs
    if "_FillValue" in written:
        return data, ()
    kept = data.copy(deep=False)
    kept.attrs = {key: value for key, value in data.attrs.items() if key != "_FillValue"}
    return kept, (
        "fill_value 0 of Zarr format 2 is what it has by default, so zeros are kept as values, "
        "chunks that are not stored among them; if zeros are missing: nodata: 0 in the catalog",
    )


def _scaling_notes(rules: Rules, source: Source) -> tuple[str, ...]:
    """Say how a packed variable becomes a value."""
    if (rules.scale, rules.offset) == (1.0, 0.0):
        return ()
    own = f"scale_factor {rules.scale:g} and add_offset {rules.offset:g} of the file are applied"
    if source.scale is None and source.offset is None:
        return (own,)
    return (f"{own} first, then scale and offset of the catalog",)
