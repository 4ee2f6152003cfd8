"""``hmx zonal``: totals of zones, with intervals that hold for sums."""

from __future__ import annotations

import click

from hmx.cli import shared


@click.command(
    cls=shared.Command, examples=("hmx zonal catalogs/demo.yaml --zones parks.gpkg --above 0.4",)
)
@shared.catalog_command
@shared.worker_flags
@click.option("--zones", metavar="FILE", help="Polygons, or a raster of whole numbers.")
@click.option(
    "--above", type=float, multiple=True, metavar="VALUE", help="Area above this; repeatable."
)
@shared.level_flag
@click.option("--by", metavar="COLUMN", help="Add up groups of zones, too.")
@click.option("--id", metavar="COLUMN", help="The column that names the zones.")
@click.option(
    "--table", type=click.Choice(["zones", "conservation"]), help="Which table.  [default: zones]"
)
@click.option("--draws", type=int, metavar="N", help="Joint draws.  [default: 200]")
@click.option("--seed", type=int, metavar="N", help="Of the draws.  [default: 0]")
@click.option("--h", type=int, metavar="N", help="Steps to forecast.")
@click.option("--region", metavar="W,S,E,N", help="Part to forecast, in the cube's CRS.")
@click.option("--output", metavar="PATH", help="Table to write: .csv, .gpkg or .md.")
@click.option("--resume/--overwrite", default=True, help="Go on with what is there, or replace it.")
def zonal(
    call: shared.CommandCall,
    region: str | None,
    resume: bool,
    h: int | None,
    zones: str | None,
    output: str | None,
    **wanted: object,
) -> None:
    """Add up what CATALOG forecasts, or maps, over zones; ingest and train first if need be.

    Each zone gets its mean, the areas above thresholds and their change, with intervals from joint
    draws: pixels near each other are wrong together, so they cannot be added one by one. Groups
    (--by) and the whole area follow. A run that was stopped goes on.
    """
    from hmx.errors import BadArgument
    from hmx.workflow import ensure_zones  # loads xarray's and GDAL's machinery

    given = {f"zonal__{name}": value for name, value in wanted.items()}
    given |= {"zonal__zones": shared.here(zones, "--zones"), "zonal__output": shared.here(output)}
    if call.maps:
        if h is not None:
            raise BadArgument(
                f"--h belongs to forecasts, and {call.catalog} has points, so it maps. Leave it "
                "out."
            )
        catalog = call.load_map(**given)
        path = ensure_zones(catalog, call.progress, region=shared.box(region), overwrite=not resume)
    else:
        loaded = call.load(forecast__h=h, **given)
        path = ensure_zones(loaded, call.progress, region=shared.box(region), overwrite=not resume)
    shared.out(path)
