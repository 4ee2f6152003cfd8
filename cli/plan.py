"""``hmx plan``: what a forecast or a map will cost, before it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hmx.cli import shared

if TYPE_CHECKING:
    from hmx.catalog import AnyCatalog, MapCatalog


@click.command(
    cls=shared.Command,
    examples=("hmx plan catalogs/demo.yaml", "hmx plan catalogs/demo.yaml --workers 8 --json"),
)
@shared.catalog_command
@shared.forecast_flags
@shared.worker_flags
@click.option("--json", "for_machines", is_flag=True, help="For machines: bytes, seconds, pixels.")
def plan(call: shared.CommandCall, for_machines: bool, **wanted: Any) -> None:
    """Estimate what a forecast of CATALOG will cost: tiles, halo, bytes, memory, time.

    Runs one tile to time it, and writes nothing. If the cube or the model is not there yet, also
    estimates ingest and training: files, samples used and left out, folds, networks, from
    headers and a few real steps. With zonal.zones in CATALOG, also of its zone totals.
    With points in CATALOG, of its map; --h and --exceed do not apply.
    """
    from hmx.workflow import plan_result, plan_zones  # loads xarray's and GDAL's machinery

    catalog: AnyCatalog
    if call.maps:
        catalog, region = _of_map(call, **wanted)
    else:
        catalog, region = call.forecast(**wanted)
    made = plan_result(catalog, call.progress, region=region)
    zones = plan_zones(catalog, made, call.progress, region=region)
    if for_machines:
        facts = made.as_dict() | ({} if zones is None else {"zones": zones.as_dict()})
        shared.out(shared.as_json(facts, indent=2))
    else:
        shared.out(str(made) if zones is None else f"{made}\n{zones}")


def _of_map(call: shared.CommandCall, **wanted: Any) -> tuple[MapCatalog, tuple[float, ...] | None]:
    from hmx.errors import BadArgument

    # The flags are shared with forecasts; a map has neither steps nor thresholds.
    for name in ("h", "exceed"):
        if wanted[name] not in (None, ()):
            raise BadArgument(
                f"--{name} belongs to forecasts, and {call.catalog} has points, so it maps. "
                "Leave it out."
            )
    return call.load_map(map__level=wanted["level"]), shared.box(wanted["region"])
