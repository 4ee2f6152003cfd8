"""``hmx report``: a forecast or a map as one HTML file."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, here, out, worker_flags


@click.command(
    cls=Command,
    examples=(
        "hmx report catalogs/demo.yaml",
        "hmx report catalogs/demo.yaml --zones parks.gpkg --above 0.4 --output demo.html",
    ),
)
@catalog_command
@worker_flags
@click.option("--zones", metavar="FILE", help="Zones to add up: polygons, or a raster.")
@click.option(
    "--above", type=float, multiple=True, metavar="VALUE", help="Area of zones above this."
)
@click.option("--id", metavar="COLUMN", help="The column that names the zones.")
@click.option("--card", metavar="DIR", help="Folder of a scorecard.  [default: that of CATALOG]")
@click.option("--budget", type=float, metavar="MB", help="Size of the file.  [default: 25]")
@click.option("--output", metavar="PATH", help="File to write, such as report.html.")
@click.option("--overwrite", is_flag=True, help="Write it again, or replace another file.")
def report(
    call: CommandCall,
    zones: str | None,
    above: tuple[float, ...],
    id: str | None,
    card: str | None,
    budget: float | None,
    output: str | None,
    overwrite: bool,
) -> None:
    """Write what CATALOG forecasts or maps as one HTML file; make it first if need be.

    The file opens in any browser, without a network: maps with sliders for time, percentile and
    threshold, history and fan of the pixel that is clicked on, zones, the scorecard of hmx
    evaluate if there is one, and the provenance. Try
    hmx report catalogs/demo.yaml --output demo.html
    """
    from hmx.workflow import ensure_report  # loads xarray's and GDAL's machinery

    given = {
        "zonal__zones": here(zones, "--zones"),
        "zonal__above": above,
        "zonal__id": id,
        "report__budget": budget,
        "report__output": here(output),
    }
    catalog = call.load_any(**given)
    folder = here(card, "--card")
    made = ensure_report(catalog, call.progress, card=folder, overwrite=overwrite)
    call.then(export="GeoTIFFs, for QGIS and R")
    call.progress.note("open this file in a browser:")
    out(made)
