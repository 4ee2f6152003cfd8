"""Files: a table of zones as CSV, GeoPackage or Markdown, by the suffix of its path.

A :class:`ZonesProduct` is such a file with the record that it is current; a :class:`ZonePlan`
estimates what it will cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hmx.engine.inventory import Inventory
from hmx.errors import BadArgument, OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.lock import building
from hmx.files.paths import absolute, is_url
from hmx.independent import independent
from hmx.progress import counted, duration
from hmx.provenance import provenance
from hmx.windows import Tile
from hmx.zones import geopackage, qgis
from hmx.zones.frames import ROW, require_table, target_of, zone_frame
from hmx.zones.report import MARKER, markdown
from hmx.zones.run import ZonalRun

SUFFIXES = (".csv", ".gpkg", ".md")
_HEAD = ",".join(ROW).encode()  # how every CSV of ours begins
_DIGITS = 6  # that a number of a CSV has
_FEW, _MORE = 2, 6  # draws that are timed: the difference is the cost of a draw
_LOOKS = 5  # tiles that are tried for one with data


@independent
def save_zones(
    table: xr.Dataset,
    path: str | Path,
    *,
    zones: object = None,
    id: str | None = None,
    figure: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a table of zones as a file of its suffix.

    Parameters
    ----------
    table : Dataset
        Of ``fc.hm.zonal(...)``.
    path : str or Path
        ``.csv``: a row for each zone and time (a conservation table: for each figure), UTF-8.
        ``.gpkg``: the polygons of the zones with a column for each figure and time, and beside
        it a ``.qml``, the style for QGIS. ``.md``: tables for a report.
    zones : path, GeoDataFrame or GeoJSON, optional
        The polygons, for a GeoPackage: what the table was made with.
    id : str, optional
        Property that names the zones, as for the table.
    figure : str, optional
        Column that colours the zones in QGIS, such as ``"hm_change"`` (its last time) or
        ``"km2_above_0.4_2040"``; by default the change of the mean, or the area lost of the
        lowest class.
    overwrite : bool
        Replace a file that hmx did not write. Its own files are always replaced.

    Returns
    -------
    list of Path
        The files written: the table first.

    Raises
    ------
    BadArgument
        If the suffix is unknown, the zones of a GeoPackage have no polygons or are not those of
        the table, a figure is not in it, or a library is not installed.
    OutputExists
        If the path has a file that hmx did not write.
    """
    require_table(table)
    where = absolute(path)
    suffix = suffix_of(where)
    if suffix == ".gpkg":
        return _save_geopackage(
            table, where, zones=zones, id=id, figure=figure, overwrite=overwrite
        )
    text = csv_text(table) if suffix == ".csv" else markdown(table, target_of(table))
    files, name = Folder(os.path.dirname(where)), os.path.basename(where)
    with building(where):
        found = files.read(name) if not os.path.isdir(where) else b""
        start = _HEAD if suffix == ".csv" else MARKER.encode()
        if found is not None and not found.startswith(start):
            _refuse(where, overwrite)
        files.write(name, text.encode())
    return [Path(where)]


def suffix_of(path: str) -> str:
    """Return the suffix of a table's path; raise if such a file cannot be written here."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise BadArgument(
            f"{path} ends with {suffix or 'no suffix'}: a table of zones is written as "
            f"{', '.join(SUFFIXES)}. Choose one by the end of the path."
        )
    if suffix == ".gpkg":
        geopackage.require_writer()
    return suffix


def csv_text(table: xr.Dataset) -> str:
    """Write a table of zones as RFC 4180 has it, numbers without exponents."""
    frame = zone_frame(table)
    for name in frame.columns[frame.dtypes == "float64"]:
        frame[name] = [_number(value) for value in frame[name]]
    return str(frame.to_csv(index=False, lineterminator="\r\n"))


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table that :func:`save_zones` wrote as CSV; names of zones stay texts."""
    texts = ("zone", "kind", "time", "figure", "from_class", "to_class", "class", "units")
    # a zone may be called NA
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""])


def _number(value: float) -> str:
    if not np.isfinite(value):
        return ""
    if abs(value) >= 10.0**_DIGITS:
        return f"{value:.0f}"
    plain = np.format_float_positional(value, precision=_DIGITS, fractional=False, trim="-")
    return "0" if plain == "-0" else plain


def _save_geopackage(
    table: xr.Dataset,
    where: str,
    *,
    zones: object,
    id: str | None,
    figure: str | None,
    overwrite: bool,
) -> list[Path]:
    geopackage.require_writer()
    if zones is None:
        raise BadArgument(
            "a GeoPackage needs the polygons of the zones, and the table has only their names. "
            "Pass zones= as for the table, or write a .csv."
        )
    if is_url(where):
        raise BadArgument(
            f"{where} is a URL, and a GeoPackage is written on this machine. Choose a path here "
            "and copy the file."
        )
    column = geopackage.column_of(table, figure, target_of(table))
    about = " ".join(str(table.attrs[key]) for key in ("intervals", "limits") if key in table.attrs)
    path, beside = Path(where), Path(where).with_suffix(".qml")
    with building(where):
        if os.path.lexists(path) and not (path.is_file() and geopackage.is_ours(path)):
            _refuse(where, overwrite)
        if os.path.lexists(beside) and not (beside.is_file() and qgis.is_ours(beside)):
            _refuse(str(beside), overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        style = geopackage.write_geopackage(
            table, path, zones=zones, id=id, column=column, about=about
        )
        Folder(str(path.parent)).write(beside.name, style.encode())
    return [path, beside]


def _refuse(path: str, overwrite: bool) -> None:
    if os.path.isdir(path):
        raise OutputExists(f"{path} is a folder, and a table of zones is a file. Name a file.")
    if not overwrite:
        raise OutputExists(
            f"{path} is a file that hmx did not write, so it is left alone. Choose another path, "
            "or pass overwrite=True (--overwrite)."
        )


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
    """What zone totals will cost."""

    zones: int
    draws: int
    tiles: int  # those without any data are left out
    seconds_per_tile: float  # of the forecast or map of one whole tile, measured
    seconds_per_draw: float  # of one of its draws at all leads
    seconds: float  # estimate for all tiles by all workers

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
