"""``hmx ingest``: rasters to a cube."""

from __future__ import annotations

from typing import Any

import click

from hmx.cli.shared import Command, catalog_command, load_catalog, talk


@click.command(cls=Command)
@catalog_command
@click.option("--overwrite", is_flag=True, help="Ingest again even if the cube is current.")
def ingest(
    catalog: str, overrides: tuple[str, ...], quiet: bool, overwrite: bool, **_: Any
) -> None:
    """Read the rasters of CATALOG into its cube, a Zarr store.

    A year added to the sources is appended; nothing else is read again.
    """
    from hmx.workflow import ensure_cube  # loads xarray's and GDAL's machinery

    loaded = load_catalog(catalog, overrides)
    click.echo(ensure_cube(loaded, talk(quiet=quiet), overwrite=overwrite))
