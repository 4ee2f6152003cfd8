"""Axes: which dims of a user's object are time, y and x."""

from __future__ import annotations

from collections.abc import Collection

import xarray as xr

from hmx.errors import CubeError

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
