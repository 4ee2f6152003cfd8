"""``hmx stock``: a map, or samples, of a concentration to carbon per area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hmx.cli.shared import Command, CommandCall, box, catalog_command, here, out, worker_flags


@click.command(
    cls=Command,
    examples=(
        "hmx stock catalogs/demo_soc.yaml --bulk-density 1.3 --coarse stones.tif --bottom 30",
        "hmx stock catalogs/demo_soc.yaml --of points --bulk-density density --bottom 30",
    ),
)
@catalog_command
@worker_flags
@click.option(
    "--of", type=click.Choice(["map", "points"]), help="What becomes a stock.  [default: map]"
)
@click.option("--bulk-density", metavar="VALUE", help="Of the fine earth, g/cm3.")
@click.option("--coarse", metavar="VALUE", help="Coarse fragments, % of the volume.  [default: 0]")
@click.option("--top", metavar="VALUE", help="Top of the layer, cm.")
@click.option("--bottom", metavar="VALUE", help="Bottom of the layer, cm.")
@click.option("--region", metavar="W,S,E,N", help="Part to map, in the cube's CRS.")
@click.option("--output", metavar="PATH", help="Zarr store to write; of points a CSV.")
@click.option("--overwrite", is_flag=True, help="Compute again even if the stock is current.")
def stock(
    call: CommandCall,
    of: str | None,
    region: str | None,
    output: str | None,
    overwrite: bool,
    **parts: str | None,
) -> None:
    """Turn the map of CATALOG, or its samples, into stocks of carbon, t/ha; map first if need be.

    A VALUE is a number, a source of the cube, a column of the points, or a raster. Intervals of
    the map become intervals of the stock; density, fragments and depth are taken as exact.
    """
    from hmx.workflow import ensure_stock  # loads xarray's and GDAL's machinery

    given = {f"stock__{name}": _part(name, value) for name, value in parts.items()}
    catalog = call.load_map(stock__of=of, stock__output=here(output), **given)
    out(ensure_stock(catalog, call.progress, region=box(region), overwrite=overwrite))


def _part(name: str, text: str | None) -> Any:
    """Read a number, the path of a raster, or a name."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    is_raster = "://" in text or Path(text).expanduser().is_file()
    return {"path": here(text, f"--{name.replace('_', '-')}")} if is_raster else text
