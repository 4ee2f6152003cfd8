"""``hmx export``: a forecast or a map as GeoTIFFs."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, here, out


@click.command(
    cls=Command,
    examples=("hmx export catalogs/demo.yaml", "hmx export build/demo_forecast.zarr --output maps"),
)
@catalog_command
@click.option(
    "--output", metavar="DIR", help="Folder of the files.  [default: map.cog, or by the store]"
)
def export(call: CommandCall, output: str | None) -> None:
    """Write the forecast or map of CATALOG as Cloud Optimised GeoTIFFs.

    One file for each variable and time, with overviews, for QGIS and every other GIS. In
    place of a catalog, the path of a Zarr store works too.
    """
    from hmx.products.cog import export_cog

    store, folder = here(call.store), here(output)
    if store is None and call.maps:
        catalog = call.load_map()
        store, folder = catalog.map_path, folder or catalog.map.cog
    elif store is None:
        store = call.load().forecast_path
    # Next to the store, so that files for a GIS are found where the product is.
    folder = folder or store.rstrip("/").removesuffix(".zarr") + "_cog"
    files = export_cog(store, folder, progress=call.progress)
    call.progress.note(f"export: {len(files)} GeoTIFFs")
    out(folder)
