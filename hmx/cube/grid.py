"""Grid: CRS + affine transform + shape, no pixels; and which dims of an object are its axes.

One immutable value locates all pixels; two rasters may be combined only if their
grids are the same, and :meth:`Grid.difference` describes how they differ.
Grids here are north-up: row 0 is the northernmost, column 0 the westernmost.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from affine import Affine

from hmx.cube.coordinates import declared_transform, lost_mapping, read_axis, require_no_counts
from hmx.errors import CubeError, GridMismatch, MissingCRS
from hmx.windows import Window

# What identifies an axis: CF `axis`, CF `standard_name`s, then names seen in the field.
AXES = {
    "time": ("T", {"time", "forecast_period"}, ("time", "year", "date", "t", "month", "years")),
    "y": (
        "Y",
        {"projection_y_coordinate", "latitude", "grid_latitude"},
        ("y", "lat", "latitude", "northing", "northings", "row"),
    ),
    "x": (
        "X",
        {"projection_x_coordinate", "longitude", "grid_longitude"},
        ("x", "lon", "longitude", "long", "easting", "eastings", "col"),
    ),
}

_CRS_ATTRIBUTES = {"crs_wkt", "spatial_ref", "grid_mapping_name"}
# grids whose bounds differ by less are the same, because coordinates are often written with few
# decimals; the rounding of narrow types comes on top (`Grid.rounding`)
_TOLERANCE_PX = 0.01


def find_axes(
    data: xr.Dataset | xr.DataArray, wanted: Collection[str] = ("time", "y", "x")
) -> dict[str, str]:
    """Find which dims are time, y and x: CF attributes first, then names."""
    found = {name: _find_axis(data, name) for name in wanted}
    for name, dim in found.items():
        if dim is None:
            raise CubeError(
                f"no {name} dimension among {tuple(str(d) for d in data.dims)}. A cube has "
                f"dimensions time, y and x: rename yours, e.g. ds.rename({{'...': '{name}'}})."
            )
    return {name: str(dim) for name, dim in found.items()}


def _find_axis(data: xr.Dataset | xr.DataArray, name: str) -> str | None:
    letter, standard, names = AXES[name]
    dims = [str(dim) for dim in data.dims]
    attrs = {dim: data[dim].attrs if dim in data.coords else {} for dim in dims}
    by_axis = [dim for dim in dims if attrs[dim].get("axis") == letter]
    by_standard = [dim for dim in dims if attrs[dim].get("standard_name") in standard]
    # in the order of AXES, so that `time` is preferred to `t`
    by_name = sorted((d for d in dims if d.lower() in names), key=lambda d: names.index(d.lower()))
    return next(iter((*by_axis, *by_standard, *by_name)), None)


def runs_against(data: xr.Dataset, dim: str) -> bool:
    """Return True if an axis runs against north-up (``y``) or west to east (``x``)."""
    if dim not in data.coords or data.sizes[dim] < 2:
        return False
    first, second = (float(v) for v in data[dim].values[:2])
    return second > first if dim == "y" else second < first


def turned(data: xr.Dataset) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Turn rows ``y`` north-up and columns ``x`` west to east, lazily; return also what turned."""
    flips = tuple(dim for dim in ("y", "x") if runs_against(data, dim))
    return data.isel({dim: slice(None, None, -1) for dim in flips}), flips


def named(data: xr.Dataset, wanted: Collection[str] = ("time", "y", "x")) -> xr.Dataset:
    """Name dims ``time``, ``y`` and ``x``."""
    names = find_axes(data, wanted)
    return data.rename({outer: name for name, outer in names.items() if outer != name})


def north_up(data: xr.Dataset) -> xr.Dataset:
    """Name rows and columns ``y`` and ``x``, and turn them north-up; lazy."""
    return turned(named(data, ("y", "x")))[0]


def crs_as_coordinate(data: xr.Dataset) -> xr.Dataset:
    """Make the CRS variable a coordinate again after a plain ``to_zarr`` and ``open_zarr``."""
    scalars = {name: v.attrs.keys() for name, v in data.data_vars.items() if v.ndim == 0}
    return data.set_coords([n for n, keys in scalars.items() if keys & _CRS_ATTRIBUTES])


@dataclass(frozen=True)
class Grid:
    """Location of the pixels of a raster."""

    crs: pyproj.CRS
    transform: Affine  # maps (column, row) of a pixel *corner* to (x, y) in CRS units
    shape: tuple[int, int]  # rows and columns, px
    # how far the coordinates it was read from may be off by their type, CRS units
    rounding: float = field(default=0.0, compare=False, repr=False)

    @classmethod
    def from_xarray(cls, obj: xr.Dataset | xr.DataArray) -> Grid:
        """Read the grid of a cube with north-up ``y`` and ascending ``x``.

        Parameters
        ----------
        obj : Dataset or DataArray
            Has 1-D coordinates ``y`` and ``x`` (pixel centres, CRS units).

        Raises
        ------
        MissingCRS
            If no CRS can be found.
        CubeError
            If the coordinates are absent or not evenly spaced, count pixels, or
            contradict the declared transform.
        """
        shape = (obj.sizes["y"], obj.sizes["x"])
        crs, declared = read_crs(obj), declared_transform(obj)
        axes = {dim: read_axis(obj, dim, declared) for dim in ("y", "x")}
        require_no_counts(obj, crs, declared)
        y, x = axes["y"], axes["x"]
        at = Affine(x.step, 0.0, x.start, 0.0, y.step, y.start)
        grid = cls(crs, at, shape, rounding=max(x.rounding, y.rounding))
        require_degrees(grid, "the cube")
        return grid

    def __repr__(self) -> str:
        rows, columns = self.shape
        edges = ", ".join(f"{edge:.10g}" for edge in self.bounds)
        return f"Grid({rows} rows x {columns} columns, {crs_name(self.crs)}, bounds {edges})"

    @property
    def resolution(self) -> tuple[float, float]:
        """Width and height of a pixel, CRS units, both positive."""
        return abs(self.transform.a), abs(self.transform.e)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north edges, CRS units."""
        west, north = self.corner(0, 0)
        east, south = self.corner(*self.shape)
        return west, south, east, north

    def corner(self, row: float, column: float) -> tuple[float, float]:
        """Return x and y of the upper left corner of a pixel, CRS units."""
        t = self.transform
        return t.c + t.a * column, t.f + t.e * row

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """Return the fractional row and column of a point; inverts :meth:`corner`."""
        t = self.transform
        return (y - t.f) / t.e, (x - t.c) / t.a

    def crop(self, window: Window) -> Grid:
        """Return the grid of a window."""
        x, y = self.corner(window.y.start, window.x.start)
        moved = Affine(self.transform.a, 0.0, x, 0.0, self.transform.e, y)
        return Grid(self.crs, moved, window.shape)

    @property
    def wraps(self) -> bool:
        """Whether the last column is the western neighbour of the first."""
        width = self.shape[1] * self.resolution[0]
        return bool(self.crs.is_geographic) and abs(width - 360) < self.resolution[0] / 2

    @cached_property
    def x(self) -> np.ndarray:
        """Pixel centres along x, CRS units, shape (nx,)."""
        return np.asarray(self.transform.c + self.transform.a * (np.arange(self.shape[1]) + 0.5))

    @cached_property
    def y(self) -> np.ndarray:
        """Pixel centres along y, CRS units, shape (ny,)."""
        return np.asarray(self.transform.f + self.transform.e * (np.arange(self.shape[0]) + 0.5))

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Width and height of the central pixel on the ground, metres."""
        dx, dy = self.resolution
        if not self.crs.is_geographic:
            # metres in a unit of the CRS, such as 0.3048 for a foot
            unit = self.crs.axis_info[0].unit_conversion_factor if self.crs.axis_info else 1.0
            return dx * unit, dy * unit
        # a degree of longitude shrinks towards the poles, so this holds for the centre
        x, y = float(self.x[self.shape[1] // 2]), float(self.y[self.shape[0] // 2])
        geod = self.crs.get_geod()
        width = geod.inv(x - dx / 2, y, x + dx / 2, y)[2]
        return float(width), float(geod.inv(x, y - dy / 2, x, y + dy / 2)[2])

    def cell_areas(self) -> np.ndarray:
        """Compute the area of one pixel in each row, m2, shape (ny,).

        Geographic grids use the exact area of an ellipsoidal zone (Snyder 1987,
        eq. 3-12); projected ones their nominal pixel area.
        """
        if not self.crs.is_geographic:
            width, height = self.pixel_size_m
            return np.full(self.shape[0], width * height)
        edges = self.transform.f + self.transform.e * np.arange(self.shape[0] + 1)
        zone = np.abs(np.diff(_authalic(np.deg2rad(np.clip(edges, -90, 90)), self.crs.ellipsoid)))
        return zone * math.radians(self.resolution[0])

    def difference(self, other: Grid) -> str | None:
        """Describe how another grid differs from this one, or return ``None``.

        Parameters
        ----------
        other : Grid
            The grid to compare.
        """
        if not self.crs.equals(other.crs, ignore_axis_order=True):
            return f"CRS {crs_name(other.crs)} is not {crs_name(self.crs)}"
        if self.shape != other.shape:
            return f"shape {other.shape} (rows, columns) is not {self.shape}"
        # all four edges, because an error of the pixel size adds up along an axis
        off = np.abs(np.subtract(other.bounds, self.bounds))
        slack = _TOLERANCE_PX * np.array(self.resolution * 2) + self.rounding + other.rounding
        if (off > slack).any():
            return f"bounds {_short(other.bounds)} are not {_short(self.bounds)}"
        return None

    def require_same(self, other: Grid, name: str) -> None:
        """Raise :class:`GridMismatch` naming ``name`` if ``other`` differs."""
        if problem := self.difference(other):
            raise GridMismatch(
                f"{name} is on another grid: {problem}. Resample it, or let the catalog do it: "
                "align: average | bilinear | nearest."
            )


def read_crs(obj: xr.Dataset | xr.DataArray) -> pyproj.CRS:
    """Find the CRS of an xarray object."""
    import rioxarray  # noqa: F401  (registers .rio)

    crs = obj.rio.crs or obj.attrs.get("proj:code") or obj.attrs.get("proj:wkt2")
    if crs is None:
        if (lost := lost_mapping(obj)) is not None:
            raise MissingCRS(
                f"cube has no CRS: {lost!r}, which its variables name, is not among its "
                "coordinates, as after xr.open_zarr(path)['hm']. Open it with hmx.open_cube(path) "
                "or xr.open_zarr(path, decode_coords='all'), or write one: "
                "ds = ds.rio.write_crs('EPSG:32632')."
            )
        raise MissingCRS(
            "cube has no CRS, so distances and areas are unknown. "
            "Write one: ds = ds.rio.write_crs('EPSG:32632')."
        )
    return pyproj.CRS.from_user_input(crs)


def crs_name(crs: pyproj.CRS) -> str:
    """Return the authority code of a CRS, or its title if it has no code."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)


def require_degrees(grid: Grid, name: str) -> None:
    """Raise :class:`CubeError` if a geographic grid leaves the globe by more than a pixel."""
    if not grid.crs.is_geographic:
        return
    dx, dy = grid.resolution
    west, east = sorted(grid.bounds[::2])
    south, north = sorted(grid.bounds[1::2])
    # pixel centres on a pole put the edge of the grid half a pixel beyond it
    if south < -90 - dy or north > 90 + dy or west < -360 - dx or east > 540 + dx:
        raise CubeError(
            f"{name} is in {crs_name(grid.crs)}, whose units are degrees, and reaches from "
            f"{_short((west, south))} to {_short((east, north))}. Write the CRS that its "
            "coordinates are in: ds.rio.write_crs('EPSG:32632'), or gdal_edit.py -a_srs."
        )


def _authalic(latitude: np.ndarray, ellipsoid: Any) -> np.ndarray:
    """Area between the equator and a latitude, m2 per radian of longitude."""
    a, b = ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre
    e = math.sqrt(max(0.0, 1 - (b / a) ** 2))
    sine = np.sin(latitude)
    if e == 0:
        return np.asarray(a**2 * sine)
    log = np.log((1 - e * sine) / (1 + e * sine)) / (2 * e)
    q = (1 - e**2) * (sine / (1 - (e * sine) ** 2) - log)
    return np.asarray(a**2 * q / 2)


def _short(numbers: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{number:.10g}" for number in numbers) + ")"
