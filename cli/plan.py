"""``hmx plan``: what a forecast will cost, before it is run."""

from __future__ import annotations

import json

import click

from hmx.cli.shared import Call, Command, catalog_command, forecast_flags


@click.command(cls=Command)
@catalog_command
@forecast_flags
@click.option("--json", "as_json", is_flag=True, help="For machines: bytes, seconds, pixels.")
def plan(call: Call, as_json: bool, **wanted: object) -> None:
    """Say what a forecast of CATALOG will cost: tiles, halo, bytes, memory, time.

    Ingests and trains first if need be, then runs one tile to time it. Nothing
    of the forecast is written.
    """
    from hmx.workflow import plan_forecast  # loads xarray's and GDAL's machinery

    catalog, region = call.forecast(**wanted)
    made = plan_forecast(catalog, call.talk, region=region)
    click.echo(json.dumps(made.as_dict(), indent=2) if as_json else str(made))
