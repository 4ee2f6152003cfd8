"""``hmx verify``: check a stored cube, forecast or map."""

from __future__ import annotations

from typing import Any

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, here, out


@click.command(
    cls=Command,
    examples=("hmx verify catalogs/demo.yaml", "hmx verify catalogs/demo.yaml --sample 5"),
)
@catalog_command
@click.option(
    "--sample",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Windows to compute again.",
)
@click.option("--source", metavar="PATH", help="Cube to compare with, if it lies elsewhere.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Where they lie."
)
def verify(call: CommandCall, sample: int, seed: int, source: str | None) -> None:
    """Check the cube and the forecast or map of CATALOG, or a store in its place.

    Compares every file with what was written and names each that is lost or damaged, by
    variable and place. Of a forecast or map it also compares the ledger, computes windows
    that lie across the tiles again, reports the largest difference and writes the audit
    into the store's attributes. Exit code 1 if anything is not as it should be.
    """
    store, source = here(call.store), here(source, "--source")
    # A relative --source starts at the working folder, a path in the catalog at the catalog.
    if store is not None:
        stores = {"store": store}
    elif call.maps:
        mapped = call.load_map()
        stores = {"cube": mapped.cube.path, "map": mapped.map_path}
    else:
        loaded = call.load()
        stores = {"cube": loaded.cube.path, "forecast": loaded.forecast_path}
    from hmx.cube.integrity.examine import verify_all
    from hmx.engine.verify import verify as check  # loads torch

    settings: dict[str, Any] = {
        "sample": sample,
        "seed": seed,
        # Without a cube of the catalog, the path that the ledger names is used.
        "source": source or stores.get("cube"),
    }
    progress = call.progress
    out(verify_all(stores, lambda at: str(check(at, **settings, progress=progress)), progress))
