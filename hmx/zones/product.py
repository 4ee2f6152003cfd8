"""Product: a table of zones on disk, what it will cost, and the record that it is current."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.engine.inventory import Inventory
from hmx.errors import BadArgument, OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.paths import is_url
from hmx.independent import independent
from hmx.progress import counted, duration
from hmx.provenance import provenance
from hmx.windows import Tile
from hmx.zones.files import save_zones, suffix_of
from hmx.zones.run import ZonalRun

_FEW, _MORE = 2, 6  # draws that are timed: the difference is the cost of a draw
_LOOKS = 5  # tiles that are tried for one with data


@dataclass(frozen=True)
class ZonesProduct:
    """A table of zones.

    Beside it lies ``NAME.provenance.json``, which records how it was made and the hash of each
    file, and while it is made a folder ``NAME.work``.
    """

    path: str  # .csv, .gpkg or .md
    zones: str | Path  # the layer

    @property
    def work(self) -> str:
        """Folder of an unfinished table."""
        return f"{self.path}.work"

    @property
    def parts(self) -> str:
        """Folder of the counts of finished tiles."""
        return f"{self.work}/tiles"

    @property
    def record(self) -> Path:
        """File of the record."""
        return Path(f"{self.path}.provenance.json")

    def require_free(self, *, overwrite: bool) -> None:
        """Raise if the path holds something that hmx did not record, or cannot be written."""
        suffix_of(self.path)
        if is_url(self.path):
            raise BadArgument(
                f"{self.path} is a URL, and a table of zones is written on this machine. Choose a "
                "path here and copy the file."
            )
        if Path(self.path).exists() and not self._recorded() and not overwrite:
            raise OutputExists(
                f"{self.path} exists and has no record of hmx beside it. Choose another --output, "
                "or pass --overwrite to replace it."
            )

    def is_current(self, facts: Mapping[str, object]) -> bool:
        """Return True if the table was made in this way and its files are whole."""
        recorded = self._recorded()
        files = recorded.get("files", {})
        return recorded.get("made") == provenance(**facts) and all(
            _hash(Path(self.path).parent / name) == digest for name, digest in files.items()
        )

    def write(
        self, table: xr.Dataset, facts: Mapping[str, object], *, id: str | None, overwrite: bool
    ) -> None:
        """Write the table and its record, and remove what was unfinished."""
        known = bool(self._recorded())
        written = save_zones(
            table, self.path, zones=self.zones, id=id, overwrite=overwrite or known
        )
        files = {path.name: _hash(path) for path in written}
        text = as_json({"made": provenance(**facts), "files": files}, indent=2)
        Folder(str(self.record.parent)).write(self.record.name, text.encode())
        self.clean()

    def clean(self) -> None:
        """Remove what belongs to an unfinished table."""
        Folder(self.work).remove()

    def _recorded(self) -> dict[str, Any]:
        try:
            found = json.loads(self.record.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("files") else {}


def _hash(path: Path) -> str | None:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


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
