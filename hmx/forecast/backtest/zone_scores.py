"""Zone scores: the zones of a round, on the workers that scored its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.held_out import PreparedRound
from hmx.forecast.backtest.partition import regular, tiles_of
from hmx.forecast.backtest.scoring import add_up
from hmx.forecast.backtest.zonal import TOLERANCE, TileZones, ZoneTiles, past_origins
from hmx.forecast.joint import dependence_of
from hmx.progress import Progress, counted
from hmx.scores.zones import Past, ZoneTally, joined
from hmx.splits import TEST
from hmx.windows import Index

if TYPE_CHECKING:
    from hmx.engine.pool.cluster import Pool


def score_zones(
    pool: Pool, case: BacktestSetup, work: PreparedRound, progress: Progress
) -> ZoneTally:
    """Score the zones of one origin and fold; nothing if no draws are asked or possible."""
    draws = case.options.zone_draws
    if not draws or work.bundle.spec.network.point:  # one number has no distribution
        return ZoneTally()
    tiles = zone_tiles(case, work)
    label = work.round.label
    found = regular(list(_with_data(case, tiles)))
    progress.note(
        f"evaluate: scoring zones {label}, {counted(len(found), 'tile')}, {counted(draws, 'draw')}"
    )
    if note := dependence_of(work.bundle, case.cube)[1]:
        progress.note(f"evaluate: {note}")
    past: list[Past] = []
    for origin, leads in past_origins(tiles.origin, tiles.leads, _first(work)):
        # targets up to the origin were learnt from, so all pixels count and not the blocks left out
        earlier = replace(tiles, origin=origin, leads=leads, draws=0, split=None)
        found_past = add_up(pool, earlier, found, TileZones(), f"{label}, past errors", progress)
        past.append(found_past.past)
    tiles = replace(tiles, past=joined(past))
    return tiles.finish(add_up(pool, tiles, found, TileZones(), f"{label}, zones", progress))


def zone_tiles(case: BacktestSetup, work: PreparedRound) -> ZoneTiles:
    """Describe the zones of a round, for its workers."""
    judging, options = work.judging, case.options
    return ZoneTiles(
        source=judging.source,
        run=judging.run,
        request=judging.request,
        origin=judging.origin,
        leads=judging.leads,
        split=judging.split,
        tiles=tiles_of(case.cube.grid.shape),
        dependence=dependence_of(work.bundle, case.cube)[0],
        levels=options.level,
        tolerance=TOLERANCE * case.settings.data_range,
        draws=options.zone_draws,
        zones=case.marks,
    )


def _first(work: PreparedRound) -> int:
    """Return the first step from which a model has the history it looks at."""
    return int(work.bundle.spec.network.past_steps) - 1


def _with_data(case: BacktestSetup, work: ZoneTiles) -> Iterator[Index]:
    for tile in work.tiles:
        if case.inventory.may_hold(tile.core) and (
            work.split is None or (work.split.roles(tile.core) == TEST).any()
        ):
            yield tile.index
