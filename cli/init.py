"""``hmx init``: a folder of rasters to a catalog that runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hmx.cli.shared import Command, CommandCall, here, out


@click.command(
    cls=Command,
    examples=("hmx init rasters", "hmx init rasters --target hfp --output work/hfp.yaml"),
)
@click.argument("folder", type=click.Path())
@click.option("--output", metavar="CATALOG", help="Catalog to write.  [default: FOLDER.yaml here]")
@click.option("--target", metavar="NAME", help="Series to forecast, or column to map.")
@click.option("--overwrite", is_flag=True, help="Replace a catalog that exists.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the catalog.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def init(
    folder: str, output: str | None, target: str | None, overwrite: bool, quiet: bool, debug: bool
) -> None:
    """Look at a FOLDER of rasters, and write a catalog that runs.

    Finds series by the dates in names or bands, their ranges, nodata, grids and CRS, and a
    table of samples. Asks nothing: what was guessed stands in the catalog as comments, and what
    cannot be guessed as comments that name what to fill in.
    """
    from hmx.survey.api import survey

    call = CommandCall(folder, (), quiet=quiet, debug=debug)
    made = survey(folder, here(output), target=target, overwrite=overwrite, progress=call.progress)
    path = os.path.relpath(made.path)
    if made.job != "open":
        call.progress.note(f"next: hmx {made.job} {path}  (all guesses stand in it as comments)")
    out(Path(path) if not path.startswith("..") else made.path)
