"""``hmx ingest``: rasters to a cube."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, out


@click.command(
    cls=Command,
    examples=(
        "hmx ingest catalogs/demo.yaml",
        "hmx ingest mine.yaml --set cube.sources.hm.nodata=255",
    ),
)
@catalog_command
@click.option("--overwrite", is_flag=True, help="Ingest again even if the cube is current.")
def ingest(call: CommandCall, overwrite: bool) -> None:
    """Read the rasters of CATALOG into its cube, a Zarr store.

    A year added to the sources is appended; nothing else is read again. The points of a
    catalog that maps are looked at first.
    """
    from hmx.workflow import ensure_inputs

    out(ensure_inputs(call.load_any(), call.progress, overwrite=overwrite))
