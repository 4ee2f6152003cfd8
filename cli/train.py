"""``hmx train``: a cube to a model."""

from __future__ import annotations

from typing import Any

import click

from hmx.cli.shared import Command, catalog_command, load_catalog, talk


@click.command(cls=Command)
@catalog_command
@click.option("--overwrite", is_flag=True, help="Train again even if the model is current.")
def train(
    catalog: str,
    overrides: tuple[str, ...],
    device: str | None,
    quiet: bool,
    overwrite: bool,
    **_: Any,
) -> None:
    """Fit the model of CATALOG; ingest first if there is no cube.

    A run that was killed goes on from its last epoch.
    """
    from hmx.workflow import ensure_model  # loads xarray's and GDAL's machinery

    loaded = load_catalog(catalog, overrides, train__device=device)
    click.echo(ensure_model(loaded, talk(quiet=quiet), overwrite=overwrite).path)
