"""Export: a product as files of other programs, in one of the formats."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from hmx.cube.cube import Cubelike
from hmx.exports.choice import chosen
from hmx.exports.cog import export_cog, local, product_of
from hmx.exports.options import ENDINGS, Exporting, ExportOptions, Format
from hmx.exports.stores import write_store
from hmx.independent import independent
from hmx.progress import Progress
from hmx.settings import parse


@independent
def export(
    obj: Cubelike | str | Path,
    output: str | Path,
    *,
    format: Format = "cog",
    progress: Progress = Progress(),
    **options: Unpack[Exporting],
) -> list[Path]:
    """Write a forecast, a map or a cube for other programs.

    Parameters
    ----------
    obj : Dataset, DataArray or path
        What to write, or the path of its store.
    output : str or Path
        A folder for ``cog``, a file for ``netcdf``, a store for ``zarr2`` and ``geozarr``; an
        earlier export is replaced when the new one is complete.
    format : {"cog", "netcdf", "zarr2", "geozarr"}
        GeoTIFFs with styles for QGIS; one NetCDF file (CF 1.11); a copy as Zarr 2, which GDAL
        before 3.12 and R read; a copy as Zarr 3 that declares its GeoZarr conventions.
    progress : Progress
        Where progress goes. Default: standard error from ``fc.hm``, else nowhere.
    **options
        ``variable`` and ``year`` (one or more; default: all), ``region`` (as in
        ``ds.hm.forecast``), ``past`` (the cube of a forecast, for ``hm_change``) and, of
        GeoTIFFs, ``stac``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, OutputExists, SourceError
        With what was given, the rule and what to type.

    Examples
    --------
    >>> fc.hm.export("fc.nc", format="netcdf", variable="hm", year=2040)  # doctest: +SKIP
    """
    if format == "cog":
        return export_cog(obj, output, progress=progress, **options)
    region, past = options.pop("region", None), options.pop("past", None)
    given = parse(ExportOptions, {**options, "format": format})
    data = chosen(product_of(obj), given, region=region, past=past)
    return [write_store(data, local(output), given.format, progress)]


def default_output(store: str, format: Format) -> str:
    """Name the export of a store, next to it, so that it is found where the product is."""
    return store.rstrip("/").removesuffix(".zarr") + ENDINGS[format]
