"""Scoring: the tiles of a round, run on workers, added up in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from hmx.engine.pool.runner import FailedTask, Task, run_windows
from hmx.errors import JobFailed
from hmx.forecast.backtest import zonal
from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.held_out import PreparedRound
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round
from hmx.forecast.joint import dependence_of
from hmx.progress import Meter, Progress, counted
from hmx.scores import Tally
from hmx.scores.zones import Past, ZoneTally, joined
from hmx.splits import TEST
from hmx.windows import Index

if TYPE_CHECKING:
    from hmx.engine.pool.cluster import Pool


_SHOWN = 5  # failed tiles that a message lists


class Adds(Protocol):
    """Sums that join."""

    def __add__(self, other: Self, /) -> Self:
        """Join two states."""


S = TypeVar("S", bound=Adds)


class InOrder(Generic[S]):
    """Adds the sums of tiles in the order of the tiles, whatever order they arrive in.

    Sums of float64 depend on the order, and a scorecard must not depend on the workers. Few
    sums wait, as the runner keeps few calls in flight.
    """

    def __init__(self, tiles: list[Index], zero: S):
        self.total = zero
        self._tiles, self._next = tiles, 0
        self._waiting: dict[Index, S] = {}

    def add(self, index: Index, found: S) -> None:
        """Add the sums of one tile, and all that waited for it."""
        self._waiting[index] = found
        while self._next < len(self._tiles) and self._tiles[self._next] in self._waiting:
            self.total = self.total + self._waiting.pop(self._tiles[self._next])
            self._next += 1


def score_round(
    pool: Pool, case: BacktestSetup, work: TileScores, round_: Round, progress: Progress
) -> Tally:
    """Score one origin and fold; if tiles fail, scores of other rounds are kept."""
    tiles = list(tiles_to_score(case, work))
    progress.note(
        f"evaluate: scoring {round_.label}, {counted(len(tiles), 'tile')}, by {pool.where}"
    )
    return add_up(pool, work, tiles, Tally(), round_.label, progress)


def add_up(
    pool: Pool, work: Callable[..., S], tiles: list[Index], zero: S, label: str, progress: Progress
) -> S:
    """Run tiles on workers and add up what they return; refuse if any fails."""
    sums = InOrder(tiles, zero)
    tile_done = Meter(progress, len(tiles), f"evaluate {label}: ")

    def landed(index: Index, found: S) -> None:
        sums.add(index, found)
        tile_done()

    failures = run_windows(pool, work, (Task(tile) for tile in tiles), on_done=landed)
    if failures:
        raise JobFailed(_report(label, failures))
    return sums.total


def tiles_to_score(case: BacktestSetup, work: TileScores) -> Iterator[Index]:
    """List the tiles that may have held-out pixels with data."""
    shape, flips = case.cube.grid.shape, case.cube.outer.flips
    for tile in case.tiles:
        core = tile.core.flip(shape, flips)
        if case.inventory.may_hold(core) and (
            work.split is None or (work.split.roles(core) == TEST).any()
        ):
            yield tile.index


def _report(label: str, failures: list[FailedTask]) -> str:
    lines = [f"{len(failures)} tiles of the backtest {label} failed."]
    lines += [
        f"  tile {failure.index}: {type(failure.error).__name__}: {failure.error}"
        for failure in failures[:_SHOWN]
    ]
    lines.append("Repair their inputs, then run the same again: finished rounds are kept.")
    return "\n".join(lines)


def score_zones(
    pool: Pool, case: BacktestSetup, work: PreparedRound, progress: Progress
) -> ZoneTally:
    """Score the zones of one origin and fold; nothing if no draws are asked or possible."""
    draws = case.options.zone_draws
    if not draws or work.bundle.spec.network.point:  # one number has no distribution
        return ZoneTally()
    tiles = zone_tiles(case, work)
    label = work.round.label
    found = zonal.regular(
        [
            tile.index
            for tile in tiles.tiles
            if case.inventory.may_hold(tile.core)
            and (tiles.split is None or (tiles.split.roles(tile.core) == TEST).any())
        ]
    )
    progress.note(
        f"evaluate: scoring zones {label}, {counted(len(found), 'tile')}, {counted(draws, 'draw')}"
    )
    if note := dependence_of(work.bundle, case.cube)[1]:
        progress.note(f"evaluate: {note}")
    past: list[Past] = []
    first = int(work.bundle.spec.network.past_steps) - 1  # step with the whole history behind it
    for origin, leads in zonal.past_origins(tiles.origin, tiles.leads, first):
        # targets up to the origin were learnt from, so all pixels count and not the blocks left out
        earlier = replace(tiles, origin=origin, leads=leads, draws=0, split=None)
        found_past = add_up(
            pool, earlier, found, zonal.TileZones(), f"{label}, past errors", progress
        )
        past.append(found_past.past)
    tiles = replace(tiles, past=joined(past))
    return tiles.finish(add_up(pool, tiles, found, zonal.TileZones(), f"{label}, zones", progress))


def zone_tiles(case: BacktestSetup, work: PreparedRound) -> zonal.ZoneTiles:
    """Describe the zones of a round, for its workers."""
    judging, options = work.judging, case.options
    return zonal.ZoneTiles(
        source=judging.source,
        run=judging.run,
        request=judging.request,
        origin=judging.origin,
        leads=judging.leads,
        split=judging.split,
        tiles=zonal.tiles_of(case.cube.grid.shape),
        dependence=dependence_of(work.bundle, case.cube)[0],
        levels=options.level,
        tolerance=zonal.TOLERANCE * case.settings.data_range,
        draws=options.zone_draws,
        zones=case.marks,
    )
