"""``hmx info``: describe a catalog, cube, model or forecast."""

from __future__ import annotations

from pathlib import Path

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, here, out
from hmx.errors import HmxError


@click.command(
    cls=Command, examples=("hmx info catalogs/demo.yaml", "hmx info build/demo_forecast.zarr")
)
@catalog_command
def info(call: CommandCall) -> None:
    """Show what CATALOG has made so far, or what a cube, model or forecast is.

    In place of a catalog, the path of a Zarr store or of a model works too.
    """
    if (store := here(call.store)) is not None:
        out(_describe(store, "product"))
        return
    from hmx.bundles.hub import is_remote
    from hmx.files.durable import is_there

    mapped = None
    if call.maps:
        mapped = call.load_map()
        name, product = mapped.name, {"map": mapped.map_path}
        made = {"cube": mapped.cube.path, "model": mapped.model_path}
    else:
        loaded = call.load()
        name, product = loaded.name, {"forecast": loaded.forecast_path}
        made = {"cube": loaded.cube.path, "model": loaded.model_path}
    out(f"catalog   {name}")
    code = 0
    for what, path in (made | product).items():
        out(f"\n{what:<9} {path}")
        try:
            there = is_remote(path) or is_there(path)
            out(_describe(path, what) if there else "  not made yet")
        except HmxError as error:  # a damaged product does not hide the others
            out(f"  {error}")
            code = error.exit_code
    if mapped is not None:
        from hmx.workflow import describe_points

        out(f"\n{'points':<9} {mapped.points.path}")
        out(f"  {describe_points(mapped)}")
    # The exit code comes last, after the undamaged products were printed.
    if code:
        raise click.exceptions.Exit(code)


def _describe(path: str, what: str) -> str:
    from hmx.loading import load
    from hmx.products.describe import describe_bundle, describe_store

    # Folders of models and stores need no suffix: the description file decides.
    if what == "model" or (Path(path) / "bundle.json").is_file():
        return describe_bundle(load(path))
    return describe_store(path)
