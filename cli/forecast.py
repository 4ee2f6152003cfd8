"""``hmx forecast``: a model to a georeferenced forecast."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, forecast_flags, out, worker_flags


@click.command(
    cls=Command,
    examples=(
        "hmx forecast catalogs/demo.yaml",
        "hmx forecast catalogs/demo.yaml --h 2 --level 90 --exceed 0.4 --output short.zarr",
    ),
)
@catalog_command
@forecast_flags
@worker_flags
@click.option("--output", metavar="PATH", help="Zarr store to write.")
@click.option(
    "--resume/--overwrite",
    default=True,
    help="Go on with what is there, or replace it.  [default: resume]",
)
def forecast(call: CommandCall, output: str | None, resume: bool, **wanted: object) -> None:
    """Forecast the next steps of CATALOG; ingest and train first if need be.

    A job that was stopped goes on where its ledger proves that work is done.
    """
    from hmx.workflow import ensure_result  # loads xarray's and GDAL's machinery

    catalog, region = call.forecast(output=output, **wanted)
    made = ensure_result(catalog, call.progress, region=region, overwrite=not resume)
    call.then(report="maps and fans, to look at", evaluate="is it better than the last map?")
    out(made)
