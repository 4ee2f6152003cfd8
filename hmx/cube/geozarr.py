"""GeoZarr: attributes from which any reader finds the location of a store.

xarray, rioxarray and GDAL read CF's ``spatial_ref``, which each array names as its
``grid_mapping``; the attributes here serve other readers, by the GeoZarr conventions
``proj:`` and ``spatial:`` on the group. They describe the store, not the data:
:func:`without_location` removes them from an opened cube, because they are wrong after a crop.

GDAL's own ``_CRS`` is no longer written. It is an object, for which NetCDF has no attribute,
so ``xr.open_zarr(product).to_netcdf(...)`` failed; and GDAL no longer needs it: 3.12 finds
the CRS by ``grid_mapping``, and 3.10 cannot read Zarr 3. Older stores have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from hmx.cube.axes import find_axes
from hmx.cube.coordinates import declared_transform
from hmx.cube.grid import Grid

# beginnings of the attributes that describe the store and not what is cut out of it
_STALE = ("spatial:", "_CRS")
_CODECS = {"compressor", "compressors", "filters", "serializer", "object_codec", "shards"}


def group_attributes(grid: Grid, data: xr.Dataset | None = None) -> dict[str, Any]:
    """Describe a grid by the GeoZarr ``proj:`` and ``spatial:`` conventions."""
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


def without_location(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those that would be wrong after a crop."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(_STALE)}


def portable(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an encoding without codecs, which other formats and versions lack."""
    return {key: value for key, value in encoding.items() if key not in _CODECS}
