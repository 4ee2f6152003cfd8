"""``hmx folds``: which blocks would be learned from, and which held out."""

from __future__ import annotations

from pathlib import Path

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, here, moment, out


@click.command(
    cls=Command,
    examples=("hmx folds catalogs/demo.yaml", "hmx folds catalogs/demo.yaml --output folds.png"),
)
@catalog_command
@click.option(
    "--block-m",
    type=click.FloatRange(0, 1e8, min_open=True),
    metavar="M",
    help="Side of a block, metres.",
)
@click.option("--buffer", type=click.IntRange(0, 65_536), metavar="PX",
              help="Unused pixels around held-out blocks; default: as in training.")  # fmt: skip
@click.option(
    "--folds",
    "k",
    type=click.IntRange(2, 1000),
    metavar="K",
    help="Folds of cross-validation instead.",
)
@click.option("--until", metavar="TIME", help="Look at no later step.")
@click.option("--output", metavar="PATH", help="PNG to draw; default: next to the model.")
def folds(
    call: CommandCall,
    block_m: float | None,
    buffer: int | None,
    k: int | None,
    until: str | None,
    output: str | None,
) -> None:
    """Show how CATALOG's cube splits into blocks, and draw it; ingest first if need be.

    Estimates how far the residuals of persistence correlate and the block that
    asks for, and counts the blocks and pixels of each role.
    """
    from hmx.files.paths import require_writable
    from hmx.products.fold_maps import draw_folds
    from hmx.workflow import plan_folds  # loads xarray's and GDAL's machinery

    catalog = call.load()
    path = _picture_path(catalog.model_path, output)
    # Before the plan, which may ingest for hours, and not when the picture is drawn.
    require_writable(str(path), "--output")
    plan = plan_folds(
        catalog, call.progress, block_m=block_m, buffer=buffer, folds=k, until=moment(until)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = draw_folds(plan.splits, plan.grid, valid=plan.valid, pixels=plan.pixels)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    if not call.quiet:
        out(f"{plan}\n")
    out(path)


def _picture_path(model: str, output: str | None) -> Path:
    """Return the path of the picture: --output, or next to the model."""
    from hmx.errors import BadArgument
    from hmx.files.paths import is_url

    given = here(output) or f"{model.rstrip('/').removesuffix('.model')}_folds.png"
    # Matplotlib takes the format from the suffix and cannot write to URLs.
    if is_url(given) or not given.lower().endswith(".png"):
        raise BadArgument(
            f"{given!r} is not a PNG file on this machine, and the map of folds is one. "
            "Pass --output folds.png."
        )
    return Path(given)
