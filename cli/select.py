"""``hmx select``: which covariates a map needs."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, device_flag, here, out


@click.command(
    cls=Command,
    examples=(
        "hmx select catalogs/demo_soc.yaml",
        "hmx select catalogs/demo_soc.yaml --nested --most 4",
    ),
)
@catalog_command
@device_flag
@click.option(
    "--learner",
    type=click.Choice(["forest", "boosting", "linear", "network"]),
    help="What is fitted to each set; networks cost hundreds of times as much.  [default: forest]",
)
@click.option("--most", type=int, metavar="N", help="Choose at most so many covariates.")
@click.option("--nested", is_flag=True, help="Score the choice on folds that it has not seen.")
@click.option("--output", metavar="DIR", help="Folder of the selection.")
@click.option("--overwrite", is_flag=True, help="Score all sets again.")
def select(
    call: CommandCall,
    learner: str | None,
    most: int | None,
    nested: bool,
    output: str | None,
    overwrite: bool,
) -> None:
    """Select the covariates that the map of CATALOG needs; ingest if need be.

    Begins with the best pair of sources and adds one by one, as long as the error on the held-out
    folds of train.split falls. Prints every step, the importance of each covariate, and the
    lines of the catalog that keep the chosen ones: nothing changes until you type them. A second
    run goes on where the first was stopped.
    """
    from hmx.workflow import select_covariates  # loads xarray's and GDAL's machinery

    catalog = call.load_map(
        select__learner=learner,
        select__most=most,
        select__nested=nested or None,
        select__output=here(output),
    )
    path, found = select_covariates(catalog, call.progress, overwrite=overwrite)
    if not call.quiet:
        out(f"{found}\n")
    out(path)
