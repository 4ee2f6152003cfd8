"""``hmx export``: a forecast or a map for other programs."""

from __future__ import annotations

from typing import Any

import click

from hmx.cli.shared import Command, CommandCall, box, catalog_command, here, out


@click.command(
    cls=Command,
    examples=(
        "hmx export catalogs/demo.yaml",
        "hmx export catalogs/demo.yaml --variable hm --variable hm_change --year 2040",
        "hmx export build/demo_forecast.zarr --format netcdf --output demo.nc",
    ),
)
@catalog_command
@click.option(
    "--format",
    type=click.Choice(["cog", "netcdf", "zarr2", "geozarr"]),
    help="GeoTIFFs, one NetCDF file, or a Zarr store.  [default: cog]",
)
@click.option("--variable", multiple=True, metavar="NAME", help="Variable to write; repeatable.")
@click.option("--year", multiple=True, metavar="YEAR|DATE", help="Step to write; repeatable.")
@click.option("--region", metavar="W,S,E,N", help="Part to write, in the product's CRS.")
@click.option(
    "--stac/--no-stac",
    default=None,
    help="A STAC collection beside the GeoTIFFs.  [default: if pystac is installed]",
)
@click.option(
    "--output",
    metavar="PATH",
    help="Folder of GeoTIFFs, or file or store.  [default: map.cog, or by the store]",
)
def export(call: CommandCall, output: str | None, region: str | None, **flags: Any) -> None:
    """Write the forecast or map of CATALOG as GeoTIFFs, NetCDF or Zarr.

    GeoTIFFs are Cloud Optimised: one file for each variable and time, with overviews and a
    style for QGIS. In place of a catalog, the path of a Zarr store works too.
    """
    from hmx.catalog import MapCatalog
    from hmx.exports.api import default_output, export
    from hmx.exports.options import ExportOptions
    from hmx.settings import own_fields, parse

    store, where, part = here(call.store), here(output), box(region)
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if store is None:
        catalog = call.load_any(**{f"export__{name}": value for name, value in given.items()})
        options = parse(ExportOptions, own_fields(catalog.export, ExportOptions))
        where, part = where or catalog.export.output, part or catalog.export.region
        store = catalog.map_path if isinstance(catalog, MapCatalog) else catalog.forecast_path
        if options.format == "cog" and isinstance(catalog, MapCatalog):
            where = where or catalog.map.cog
    else:
        options = parse(ExportOptions, given)
    where = where or default_output(store, options.format)
    files = export(
        store,
        where,
        format=options.format,
        progress=call.progress,
        variable=options.variable,
        year=options.year,
        region=part,
        stac=options.stac,
    )
    made = f"{len(files)} GeoTIFFs" if options.format == "cog" else options.format
    styles = "; QGIS uses the style beside each (hmx guide gis)" if options.format == "cog" else ""
    call.progress.note(f"export: {made}{styles}")
    out(where)
