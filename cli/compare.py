"""``hmx compare``: two forecasts, or a forecast and other maps, on the same truth."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, here, out


@click.command(
    cls=Command,
    examples=(
        "hmx compare build/a.zarr build/b.zarr --truth build/demo.zarr",
        "hmx compare build/a.zarr 'other/map_{year}.tif' --truth catalogs/demo.yaml",
    ),
)
@click.argument("a")
@click.argument("b")
@click.option("--truth", required=True, metavar="PATH", help="Cube or catalog with later maps.")
@click.option(
    "--variable", default="hm", show_default=True, metavar="NAME", help="What to compare."
)
@click.option("--block", type=click.IntRange(1), metavar="PX", help="Side of a block of land.")
@click.option("--level", type=float, default=95, show_default=True, help="Percent, of intervals.")
@click.option("--quiet", is_flag=True, help="Print nothing but the table.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def compare(a: str, b: str, truth: str, quiet: bool, debug: bool, **options: object) -> None:
    """Compare A with B on the same later maps: which one errs less, and how surely.

    A and B are forecasts (Zarr), NetCDF files, or GeoTIFFs whose path has {year}. The interval
    comes from blocks of land, the same for both.
    """
    from hmx.catalog import is_catalog, load_catalog
    from hmx.products.compare import as_text
    from hmx.products.compare import compare as compared

    paths = [here(path) for path in (a, b, truth)]
    if is_catalog(str(paths[2])):
        paths[2] = load_catalog(str(paths[2])).cube.path
    progress = CommandCall(truth, (), quiet=quiet, debug=debug).progress
    out(as_text(compared(*paths, progress=progress, **options)))  # type: ignore[arg-type]
