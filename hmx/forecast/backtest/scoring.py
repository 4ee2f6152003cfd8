"""Scoring: the rounds of a backtest; their tiles run on workers and are added up in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from hmx.engine.pool.runner import FailedTask, Task, run_windows
from hmx.errors import JobFailed
from hmx.forecast.backtest import zonal
from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round, UnseenTruth, when
from hmx.forecast.beyond import learnt_leads, listed
from hmx.forecast.bundle import Bundle
from hmx.forecast.joint import dependence_of
from hmx.progress import Meter, Progress, counted
from hmx.scores import Tally
from hmx.scores.zones import Past, ZoneTally, joined
from hmx.splits import TEST, Split
from hmx.windows import Index

if TYPE_CHECKING:
    from hmx.engine.pool.cluster import Pool

_SHOWN = 5  # failed tiles that a message lists


@dataclass(frozen=True)
class PreparedRound:
    """A round that is ready to be scored, and its scores if they exist."""

    round: Round  # origin and fold
    bundle: Bundle  # the model
    judging: TileScores  # scores a tile
    unseen_truth: UnseenTruth  # steps and blocks that the model has not seen
    key: str  # fingerprint of all that decides the scores
    done: RoundScores | None  # the scores of an earlier run


@dataclass(frozen=True)
class RoundScores:
    """The scores of a round."""

    tally: Tally  # of pixels
    zones: ZoneTally  # of zones; empty if none were scored

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {"tally": self.tally.as_dict(), "zones": self.zones.as_dict()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> RoundScores:
        """Restore the state from the values of :meth:`as_dict`; older files have no zones."""
        zones = facts.get("zones")
        return cls(
            Tally.from_dict(facts["tally"]),
            ZoneTally() if zones is None else ZoneTally.from_dict(zones),
        )


def held_out_from(bundle: Bundle, round_: Round) -> UnseenTruth:
    """Return the steps and blocks that a model fitted up to a round's origin has not seen."""
    saved = bundle.training.get("roles")
    split = Split.from_dict(saved) if saved else None
    if split is None or not (split.table == TEST).any():
        return UnseenTruth(round_.origin)
    if round_.fold is None:
        return UnseenTruth(round_.origin, unseen=split)
    return UnseenTruth(round_.origin, split=split)


def how(case: BacktestSetup, first: PreparedRound) -> str:
    """Describe what was scored, in words."""
    if not isinstance(case.model, Bundle):
        blocks = ", on blocks left out" if case.options.folds else ""
        return f"a model refitted at each origin, on targets after it{blocks}"
    if first.unseen_truth.split is not None:
        return "the test blocks of the model"
    return f"the model as it is, on targets after {when(case.cube, first.unseen_truth.after)}"


def later_of(ready: Sequence[PreparedRound]) -> str:
    """List the leads that a model was scored at and has not learnt, by origin, in words."""
    later = {
        work.round.label: [n for n in work.judging.leads if n > learnt_leads(work.bundle)]
        for work in ready
    }
    return ", ".join(f"{listed(leads)} {label}" for label, leads in later.items() if leads)


def truth_of(ready: Sequence[PreparedRound], names: Mapping[int, str]) -> str:
    """List the origins from which each lead has held-out truth, in words."""
    parts = []
    for lead, name in names.items():
        found = dict.fromkeys(w.round.when for w in ready if lead in w.judging.leads)
        parts.append(f"{name} " + (f"from {', '.join(found)}" if found else "nowhere"))
    return "; ".join(parts)


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
