"""``hmx forecast``: a model to a georeferenced forecast."""

from __future__ import annotations

import click

from hmx.cli.shared import Call, Command, catalog_command
from hmx.errors import BadArgument


@click.command(cls=Command)
@catalog_command
@click.option("--h", type=int, metavar="N", help="Steps to forecast.")
@click.option("--level", type=float, multiple=True, metavar="%", help="Interval; repeatable.")
@click.option("--output", metavar="PATH", help="Zarr store to write.")
@click.option("--region", metavar="W,S,E,N", help="Part to forecast, in the cube's CRS.")
@click.option(
    "--resume/--overwrite",
    default=True,
    help="Keep a forecast that is there, or replace it.  [default: resume]",
)
def forecast(
    call: Call,
    h: int | None,
    level: tuple[float, ...],
    output: str | None,
    region: str | None,
    resume: bool,
) -> None:
    """Forecast the next steps of CATALOG; ingest and train first if need be."""
    from hmx.workflow import ensure_forecast  # loads xarray's and GDAL's machinery

    place = None if output is None else _here(output)
    loaded = call.load(forecast__h=h, forecast__level=level, forecast__output=place)
    box = _box(region)
    click.echo(ensure_forecast(loaded, call.talk, region=box, overwrite=not resume))


def _here(path: str) -> str:
    """Anchor a path typed on the command line to the working folder."""
    from pathlib import Path

    from hmx.catalog import is_url

    return path if is_url(path) else str(Path(path).absolute())


def _box(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise BadArgument(
            f"--region {text!r}: a box is west,south,east,north in the cube's CRS. "
            "Try --region 400000,5200000,450000,5250000."
        ) from None
    return west, south, east, north
