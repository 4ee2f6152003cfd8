"""ExportOptions: what is exported and how, for Python call, catalog and command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import xarray as xr
from pydantic import BeforeValidator

from hmx.cube.cube import Region
from hmx.settings import Options

Format = Literal["cog", "netcdf", "zarr2", "geozarr"]
ENDINGS: dict[str, str] = {
    "cog": "_cog",
    "netcdf": ".nc",
    "zarr2": "_v2.zarr",
    "geozarr": "_geo.zarr",
}


def _as_texts(value: Any) -> Any:
    """Accept one text, and years as numbers."""
    listed = [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
    if not isinstance(listed, list | tuple):
        return listed
    return [str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in listed]


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]


class ExportOptions(Options):
    """An export.

    Parameters
    ----------
    format : {"cog", "netcdf", "zarr2", "geozarr"}
        GeoTIFFs, one NetCDF file, or a copy as Zarr 2 or as Zarr 3 that declares GeoZarr.
    variable : tuple of str
        Which variables; all without. ``hm_change`` (from the last map) and ``hm_width_80`` (of an
        interval) are computed.
    year : tuple of str
        Which steps: years, or ISO dates; all without.
    stac : bool, optional
        Whether a STAC collection describes the GeoTIFFs. Default: if pystac is installed.
    """

    format: Format = "cog"
    variable: Texts = ()
    year: Texts = ()
    stac: bool | None = None


class Exporting(TypedDict, total=False):
    """The choice of layers, and more, as keywords."""

    variable: Sequence[str] | str
    year: Sequence[str | int] | str | int
    region: Region
    past: xr.Dataset | xr.DataArray | str | Path | None
    stac: bool | None
