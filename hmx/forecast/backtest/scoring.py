"""Scoring: the tiles of a round, run on workers, added up in one order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hmx.engine.pool.runner import FailedTask, Task, run_windows
from hmx.errors import JobFailed
from hmx.forecast.backtest.case import BacktestSetup
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round
from hmx.progress import Progress, counted, duration
from hmx.scores import Tally
from hmx.splits import TEST
from hmx.windows import Index

if TYPE_CHECKING:
    from hmx.engine.pool.cluster import Pool

_SHOWN = 5  # failed tiles that a message lists


class InOrder:
    """Adds what comes in any order in the order of its places, so sums do not differ.

    Parameters
    ----------
    places : list of tuple of int
        All that will come, in order. What comes early waits, and little does: the
        runner keeps few calls in flight.
    """

    def __init__(self, places: list[Index]):
        self.total = Tally()
        self._places, self._next = places, 0
        self._waiting: dict[Index, Tally] = {}

    def add(self, index: Index, tally: Tally) -> None:
        """Take the sums of one place."""
        self._waiting[index] = tally
        while self._next < len(self._places) and self._places[self._next] in self._waiting:
            self.total += self._waiting.pop(self._places[self._next])
            self._next += 1


def score_round(
    pool: Pool, case: BacktestSetup, work: TileScores, round_: Round, progress: Progress
) -> Tally:
    """Score one origin and fold.

    Parameters
    ----------
    pool : Pool
        Workers.
    case : BacktestSetup
        The cube and its tiles.
    work : TileScores
        What a worker does with a tile.
    round_ : Round
        For the user.
    progress : Progress
        For progress.

    Raises
    ------
    JobFailed
        If tiles failed; scores of other rounds are kept.
    """
    places = list(tiles_to_score(case, work))
    progress.note(
        f"evaluate: scoring {round_.label}, {counted(len(places), 'tile')}, by {pool.where}"
    )
    sums = InOrder(places)
    told = _meter(len(places), round_.label, progress)

    def landed(index: Index, tally: Tally) -> None:
        sums.add(index, tally)
        told()

    failures = run_windows(pool, work, (Task(place) for place in places), on_done=landed)
    if failures:
        raise JobFailed(_report(round_, failures))
    return sums.total


def tiles_to_score(case: BacktestSetup, work: TileScores) -> Iterator[Index]:
    """List the tiles that can hold held-out pixels with data.

    Parameters
    ----------
    case : BacktestSetup
        The cube and its tiles.
    work : TileScores
        Says what is held out.
    """
    shape, flips = case.cube.grid.shape, case.cube.outer.flips
    for tile in case.tiles:
        core = tile.core.flip(shape, flips)
        if case.inventory.may_hold(core) and (
            work.split is None or (work.split.roles(core) == TEST).any()
        ):
            yield tile.index


def _meter(total: int, label: str, progress: Progress) -> Callable[[], None]:
    start, done = time.monotonic(), 0

    def told() -> None:
        nonlocal done
        done += 1
        left = (total - done) * (time.monotonic() - start) / done
        progress.step(done, total, f"evaluate {label}: {duration(left)} left")

    return told


def _report(round_: Round, failures: list[FailedTask]) -> str:
    lines = [f"{len(failures)} tiles of the backtest {round_.label} failed."]
    lines += [
        f"  tile {failure.index}: {type(failure.error).__name__}: {failure.error}"
        for failure in failures[:_SHOWN]
    ]
    lines.append("Mend what they read, then run the same again: finished rounds are kept.")
    return "\n".join(lines)
