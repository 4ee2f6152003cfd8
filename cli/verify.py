"""``hmx verify``: vouch for a stored forecast or map."""

from __future__ import annotations

import click

from hmx.cli.shared import Call, Command, catalog_command, here, out


@click.command(cls=Command)
@catalog_command
@click.option(
    "--sample",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Windows to compute again.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Where they lie."
)
def verify(call: Call, sample: int, seed: int) -> None:
    """Check the forecast or map of CATALOG, or a store in its place, and vouch for it.

    Compares every chunk with the ledger, computes windows that lie across the
    tiles again, reports the largest difference and writes the audit into the
    store's attributes. Exit code 1 if anything is not as it should be.
    """
    from hmx.predict.verify import verify as check  # loads torch

    store = here(call.store)
    if store is None:
        store = call.load_map().map_path if call.maps else call.load().forecast_path
    talk = call.talk
    talk.say(f"verify: {check(store, sample=sample, seed=seed, progress=talk.progress())}")
    out(store)
