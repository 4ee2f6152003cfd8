"""Result: names, coordinates and CRS around arrays."""

from __future__ import annotations

import xarray as xr

from hmx.cube.bands import Bands
from hmx.cube.cube import Cube
from hmx.windows import Window

# what a pixel had to do without, as bits of the variable `quality`
QUALITY = {
    "covariate_missing": 1, "history_incomplete": 2, "no_data": 4, "class_unknown": 8, "masked": 16,
}  # fmt: skip


NO_DATA = {"quality": QUALITY["no_data"], "applicable": 255}  # values of flags at such pixels

_OWN = {"quality", "dissimilarity", "applicable"}  # outputs that are not of the target


_LISTED = "lead forecast_reference_time spatial_ref"


def variable_of(output: str, target: str) -> str:
    """Name the variable of one of a window's outputs: ``hm``, ``hm_lo_80``, ``quality``."""
    if output in _OWN:
        return output
    return target if output == "mean" else f"{target}_{output}"


def georeference(
    result: xr.Dataset, cube: Cube | Bands, window: Window, *, listed: str = _LISTED
) -> xr.Dataset:
    """Write the CRS and transform so that a plain ``open_zarr`` finds them."""
    import rioxarray  # noqa: F401  (registers .rio)

    grid = cube.grid
    corner = grid.crop(window).transform
    result = result.rio.write_crs(grid.crs.to_wkt()).rio.write_transform(corner)
    for name, variable in result.data_vars.items():
        named = listed if "time" in variable.dims or "time" not in result.dims else "spatial_ref"
        result[name].encoding = {"coordinates": named, "grid_mapping": "spatial_ref"}
        result[name].attrs.pop("grid_mapping", None)
    return result


def bare(coord: xr.DataArray) -> xr.Variable:
    """Leave behind the encoding of the store a coordinate was read from."""
    return xr.Variable(coord.dims, coord.values, coord.attrs)
