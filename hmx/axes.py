"""Axes: which dims of a user's object are time, y and x."""

from __future__ import annotations

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


def find_axes(data: xr.Dataset | xr.DataArray) -> dict[str, str]:
    """Find which dims are time, y and x: CF attributes first, then names.

    Parameters
    ----------
    data : Dataset or DataArray
        The user's object.

    Returns
    -------
    dict
        ``{"time": ..., "y": ..., "x": ...}`` with the names in ``data``.
    """
    found = {name: _find_axis(data, name) for name in AXES}
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
    by_name = sorted((d for d in dims if d.lower() in names), key=lambda d: names.index(d.lower()))
    return next(iter((*by_axis, *by_standard, *by_name)), None)
