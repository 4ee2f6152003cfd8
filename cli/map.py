"""``hmx map``: samples and covariates to a map."""

from __future__ import annotations

import click

from hmx.cli import shared


# map_: map is a builtin.
@click.command(
    name="map",
    cls=shared.Command,
    examples=(
        "hmx map catalogs/demo_soc.yaml",
        "hmx map catalogs/demo_soc.yaml --time 2020 --cog maps",
    ),
)
@shared.catalog_command
@shared.worker_flags
@shared.level_flag
@shared.quantiles_flag
@click.option(
    "--estimate",
    type=click.Choice(["model", "median", "mean"]),
    help="Estimate of each pixel.  [default: model]",
)
@click.option("--depths", multiple=True, metavar="CM", help="Depth, e.g. 0-5; repeatable.")
@click.option("--mask", metavar="FILE", help="Polygons of land without soil.")
@click.option("--time", metavar="DATE", help="Date of the map: a year or an ISO date.")
@click.option("--region", metavar="W,S,E,N", help="Part to map, in the cube's CRS.")
@click.option("--output", metavar="PATH", help="Zarr store to write.")
@click.option("--cog", metavar="DIR", help="Write the map as GeoTIFFs here, too.")
@click.option(
    "--resume/--overwrite",
    default=True,
    help="Go on with what is there, or replace it.  [default: resume]",
)
def map_(
    call: shared.CommandCall,
    mask: str | None,
    time: str | None,
    region: str | None,
    output: str | None,
    cog: str | None,
    resume: bool,
    **wanted: object,
) -> None:
    """Map what the points of CATALOG sampled; ingest and train first if need be.

    A job that was stopped goes on where its ledger proves that work is done.
    """
    from hmx.workflow import ensure_result

    catalog = call.load_map(
        **{f"map__{name}": value for name, value in wanted.items()},
        map__mask=shared.here(mask, "--mask"),
        map__time=shared.moment(time),
        map__output=shared.here(output),
        map__cog=shared.here(cog, "--cog"),
    )
    made = ensure_result(catalog, call.progress, region=shared.box(region), overwrite=not resume)
    call.then(report="maps and intervals, to look at", evaluate="how good is it?")
    shared.out(made)
