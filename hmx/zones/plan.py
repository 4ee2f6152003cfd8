"""Plan: what zone totals will cost, before they are computed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from hmx.engine.inventory import Inventory
from hmx.independent import independent
from hmx.progress import counted, duration
from hmx.windows import Tile
from hmx.zones.run import ZonalRun

_FEW, _MORE = 2, 6  # draws that are timed: the difference is the cost of a draw
_LOOKS = 5  # tiles that are tried for one with data


@dataclass(frozen=True)
class ZonePlan:
    """What zone totals will cost.

    Parameters
    ----------
    zones, draws, tiles : int
        How many; tiles without any data are left out.
    seconds_per_tile, seconds_per_draw : float
        Of one whole tile, measured: its forecast or map, and one of its draws at all leads.
    seconds : float
        Estimate for all tiles by all workers.
    """

    zones: int
    draws: int
    tiles: int
    seconds_per_tile: float
    seconds_per_draw: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"  zones    {counted(self.zones, 'zone')}, {self.draws} draws of "
            f"{counted(self.tiles, 'tile')}: about {duration(self.seconds)}; one tile takes "
            f"{self.seconds_per_tile:.2f} s, and {self.seconds_per_draw:.3f} s for each draw"
        )


@independent
def plan_zones(
    zonal: ZonalRun, inventory: Inventory, *, workers: int = 1, threads: int | None = None
) -> ZonePlan:
    """Time one tile with a few draws, and extrapolate."""
    tiles = [tile for tile in zonal.tiles if inventory.may_hold(tile.core)]
    few, more = _timed(zonal, tiles, threads)
    draw = max(0.0, (more - few) / (_MORE - _FEW))
    tile = max(0.0, few - _FEW * draw)
    total = len(tiles) * (tile + zonal.draws * draw) / max(1, min(workers, len(tiles)))
    return ZonePlan(len(zonal.layer), zonal.draws, len(tiles), tile, draw, total)


def _timed(zonal: ZonalRun, tiles: list[Tile], threads: int | None) -> tuple[float, float]:
    """Return the seconds of one tile with few and with more draws; the costliest of some."""
    best = (0.0, 0.0)
    step = max(1, len(tiles) // _LOOKS)
    for tile in tiles[step // 2 :: step][:_LOOKS]:
        seconds = []
        for count in (_FEW, _FEW, _MORE):  # the first one warms up
            start = time.perf_counter()
            replace(zonal.work, draws=count).sums(tile, zonal.run.cube, threads=threads)
            seconds.append(time.perf_counter() - start)
        best = max(best, (seconds[1], seconds[2]), key=lambda pair: pair[1])
        if best[1] > best[0] * 1.05:  # a tile of sea has no draws
            break
    return best
