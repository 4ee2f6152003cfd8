"""``hmx ingest``: rasters to a cube."""

from __future__ import annotations

import click

from hmx.cli.shared import Call, Command, catalog_command, out


@click.command(cls=Command)
@catalog_command
@click.option("--overwrite", is_flag=True, help="Ingest again even if the cube is current.")
def ingest(call: Call, overwrite: bool) -> None:
    """Read the rasters of CATALOG into its cube, a Zarr store.

    A year added to the sources is appended; nothing else is read again.
    """
    from hmx.workflow import ensure_cube  # loads xarray's and GDAL's machinery

    out(ensure_cube(call.load_any(), call.talk, overwrite=overwrite))
