"""GeoZarr: say where a store lies so that any reader finds it.

xarray and rioxarray read CF's ``spatial_ref``; these attributes speak to the
others: the GeoZarr conventions ``proj:`` and ``spatial:`` on the group, and
GDAL's ``_CRS`` on each array. They belong to the store, not to the data:
:func:`without` takes them off what was opened, for a crop would make them lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from hmx.axes import find_axes
from hmx.coordinates import declared_transform
from hmx.grid import Grid

_STALE = ("spatial:", "_CRS")


def group_attributes(grid: Grid, data: xr.Dataset | None = None) -> dict[str, Any]:
    """Describe a grid by the GeoZarr ``proj:`` and ``spatial:`` conventions.

    Parameters
    ----------
    grid : Grid
        Of all variables in the group.
    data : Dataset, optional
        As it is stored, if its axes have other names than ``y`` and ``x`` or run
        another way; its GeoTransform agrees with them.
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


def array_attributes(grid: Grid) -> dict[str, Any]:
    """Describe a CRS as GDAL's Zarr driver writes and reads it.

    Parameters
    ----------
    grid : Grid
        Of the array.
    """
    crs: dict[str, Any] = {"wkt": grid.crs.to_wkt()}
    if (authority := grid.crs.to_authority()) and authority[0] == "EPSG":
        crs["url"] = f"http://www.opengis.net/def/crs/EPSG/0/{authority[1]}"
    return {"_CRS": crs}


def without(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those that a crop would make wrong.

    Parameters
    ----------
    attrs : mapping
        Of a group or an array.
    """
    return {key: value for key, value in attrs.items() if not str(key).startswith(_STALE)}
