"""``hmx predict``: the map's values at points of a table."""

from __future__ import annotations

import click

from hmx.cli import shared


@click.command(
    cls=shared.Command,
    examples=("hmx predict catalogs/demo_soc.yaml --points farms.csv --crs EPSG:4326 --level 90",),
)
@shared.catalog_command
@shared.device_flag
@click.option("--points", metavar="FILE", help="Table of places: CSV, GeoPackage, Parquet ...")
@shared.level_flag
@shared.quantiles_flag
@click.option(
    "--estimate",
    type=click.Choice(["model", "median", "mean"]),
    help="Estimate of each row.  [default: model]",
)
@click.option("--time", metavar="DATE", help="One date for all rows: a year or an ISO date.")
@click.option("--x", metavar="COLUMN", help="Longitude or easting.")
@click.option("--y", metavar="COLUMN", help="Latitude or northing.")
@click.option("--crs", metavar="CRS", help="Of the coordinates, such as EPSG:4326.")
@click.option("--date", metavar="COLUMN", help="Date of each row.")
@click.option("--depths", multiple=True, metavar="CM", help="One depth for all rows, e.g. 0-5.")
@click.option("--top", metavar="COLUMN", help="Top of each row's depth, cm.")
@click.option("--bottom", metavar="COLUMN", help="Bottom of each row's depth, cm.")
@click.option("--id", metavar="COLUMN", help="The column that names the rows.")
@click.option("--output", metavar="PATH", help="CSV to write.")
def predict(
    call: shared.CommandCall,
    points: str | None,
    output: str | None,
    time: str | None,
    **wanted: object,
) -> None:
    """Predict what the points of CATALOG sampled at the points of another table.

    Each row gets the estimate, intervals, and whether its place is like the samples; its id stays.
    Ingests and trains first if need be.

    hmx predict soils.yaml --points new.csv --level 90
    """
    from hmx.workflow import ensure_predictions  # loads xarray's and GDAL's machinery

    given = {f"predict__{name}": value for name, value in wanted.items()}
    catalog = call.load_map(
        predict__points=shared.here(points, "--points"),
        predict__output=shared.here(output),
        predict__time=shared.moment(time),
        **given,
    )
    shared.out(ensure_predictions(catalog, call.progress))
