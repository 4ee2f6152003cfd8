"""``hmx plan``: what a forecast or a map will cost, before it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hmx.cli.shared import (
    Command,
    CommandCall,
    as_json,
    box,
    catalog_command,
    forecast_flags,
    out,
    worker_flags,
)  # fmt: skip

if TYPE_CHECKING:
    from hmx.engine.plan import Plan


@click.command(cls=Command)
@catalog_command
@forecast_flags
@worker_flags
@click.option("--json", "for_machines", is_flag=True, help="For machines: bytes, seconds, pixels.")
def plan(call: CommandCall, for_machines: bool, **wanted: Any) -> None:
    """Estimate what a forecast of CATALOG will cost: tiles, halo, bytes, memory, time.

    Ingests and trains first if need be, then runs one tile to time it. Nothing
    of the forecast is written. With points in CATALOG, of its map; --h and
    --exceed do not apply.
    """
    if call.maps:
        made = _of_map(call, **wanted)
    else:
        from hmx.workflow import plan_result  # loads xarray's and GDAL's machinery

        catalog, region = call.forecast(**wanted)
        made = plan_result(catalog, call.progress, region=region)
    out(as_json(made.as_dict(), indent=2) if for_machines else str(made))


def _of_map(call: CommandCall, **wanted: Any) -> Plan:
    from hmx.errors import BadArgument
    from hmx.workflow import plan_result

    # The flags are shared with forecasts; a map has neither steps nor thresholds.
    for name in ("h", "exceed"):
        if wanted[name] not in (None, ()):
            raise BadArgument(
                f"--{name} belongs to forecasts, and {call.catalog} has points, so it maps. "
                "Leave it out."
            )
    catalog = call.load_map(map__level=wanted["level"])
    return plan_result(catalog, call.progress, region=box(wanted["region"]))
