"""``hmx info``: describe a catalog, cube, model or forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hmx.cli.shared import Command, CommandCall, as_json, catalog_command, here, out
from hmx.errors import HmxError


@click.command(
    cls=Command,
    examples=(
        "hmx info catalogs/demo.yaml",
        "hmx info build/demo_forecast.zarr",
        "hmx info build/demo.model --json",
    ),
)
@catalog_command
@click.option("--json", "for_machines", is_flag=True, help="For machines: names and texts.")
def info(call: CommandCall, for_machines: bool) -> None:
    """Show what CATALOG has made so far, or what a cube, model or forecast is.

    In place of a catalog, the path of a Zarr store or of a model works too.
    """
    from hmx.products.describe import as_table

    if (store := here(call.store)) is not None:
        lines = _lines(store, "product")
        out(as_json(lines) if for_machines else as_table(lines))
        return
    from hmx.bundles.hub import is_remote
    from hmx.files.durable import is_there

    name, made = _products(call)
    found: dict[str, dict[str, Any]] = {}
    code = 0
    for what, path in made.items():
        found[what] = {"path": path}
        try:
            found[what]["made"] = is_remote(path) or is_there(path)
            found[what] |= {"facts": _lines(path, what)} if found[what]["made"] else {}
        except HmxError as error:  # a damaged product does not hide the others
            found[what]["error"] = str(error)
            code = error.exit_code
    if call.maps:
        from hmx.workflow import describe_points

        mapped = call.load_map()
        found["points"] = {"path": mapped.points.path, "text": describe_points(mapped)}
    if for_machines:
        out(as_json({"catalog": name, **found}))
    else:
        out(f"catalog   {name}")
        for what, each in found.items():
            text = as_table(each["facts"]) if "facts" in each else "  not made yet"
            if short := each.get("error") or each.get("text"):
                text = f"  {short}"
            out(f"\n{what:<9} {each['path']}\n{text}")
    # The exit code comes last, after the undamaged products were printed.
    if code:
        raise click.exceptions.Exit(code)


def _products(call: CommandCall) -> tuple[str, dict[str, str]]:
    """Return the name of a catalog, and the paths of what it makes."""
    if call.maps:
        mapped = call.load_map()
        product = {"map": mapped.map_path}
        return mapped.name, {"cube": mapped.cube.path, "model": mapped.model_path, **product}
    loaded = call.load()
    product = {"forecast": loaded.forecast_path}
    return loaded.name, {"cube": loaded.cube.path, "model": loaded.model_path, **product}


def _lines(path: str, what: str) -> dict[str, str]:
    """Return the facts of a product by name."""
    from hmx.loading import load
    from hmx.products.describe import bundle_lines, store_lines

    # Folders of models and stores need no suffix: the description file decides.
    if what == "model" or (Path(path) / "bundle.json").is_file():
        return bundle_lines(load(path))
    return store_lines(path)
