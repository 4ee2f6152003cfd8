"""Joining: points and a cube -> samples, and a report of what did not become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyproj
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hmx.cube.bands import Bands
from hmx.errors import BadArgument, NotEnoughData
from hmx.points.extent import require_overlap
from hmx.points.samples import Samples, around, inside_counts, require_fits, squares
from hmx.points.table import Points
from hmx.points.values import steps_at


def join(
    points: Points,
    bands: Bands,
    *,
    window: int = 5,
    history: int | None = None,
    min_valid: float = 0.5,
    most: int | None = None,
) -> tuple[Samples, JoinReport]:
    """Find the pixel and the step of each point, and report the points that have none.

    ``window`` is the odd side of the window around a point, px; ``history`` the steps that a sample
    sees, the last of them that of its date. A sample is left out if less than ``min_valid`` of the
    numbers in the part of its window that lies in the cube (all bands, steps and pixels) is known,
    or if nothing is known of its centre pixel. Samples of one pixel, or of one name in the
    table's column of sites, share a site. Each row of the table is a sample or is counted in
    the report. ``most`` bounds the numbers that are read of the cube to look for data: samples
    beyond are taken to have some, and the report counts them.
    """
    require_fits(window, bands)
    history = bands.history(history)
    if points.measured:
        require_new(points.target, bands.variables)
        _require_dates(points, bands, history)
    # The order of filters decides under which reason a row is counted: the first that applies.
    filtered = _RowFilter(points.row, dict(points.left))
    xy = _projected(points, bands)
    pixel = _pixels(xy, bands)
    inside = np.asarray(((pixel >= 0) & (pixel < bands.grid.shape)).all(axis=1))
    require_overlap(points, bands, inside)
    filtered.keep(OUTSIDE, inside)
    step = _steps(points, bands, filtered)
    filtered.keep(NO_HISTORY, step + 1 >= history)
    # Duplicates before the read of the cube: each costs a window.
    if points.measured:  # two places to predict may be the same
        filtered.keep(DUPLICATE, ~_repeats(points, filtered.kept))
    kept = filtered.kept
    samples = _samples(points, kept, pixel, xy, step)
    # After all cheap filters, because this reads the cube.
    valid, unread = _valid(bands, samples, window, history, min_valid, most)
    filtered.keep(NO_DATA, _spread(valid, kept))
    samples = _with_sites(samples.at(valid), points, filtered.kept)
    report = _report(points, samples, filtered, bands)
    if unread:
        note = f"{unread:,} of the samples were not looked up in the cube and may lack data."
        report = replace(report, notes=(*report.notes, note))
    if points.measured and not len(samples):
        raise NotEnoughData(
            f"no sample is left. {report} Check points.crs, date and where, or lower min_valid."
        )
    return samples, report


def require_new(target: str, bands: Iterable[str]) -> None:
    """Refuse a target that is a band as well: a model would read the answer there."""
    # soc and SOC are one quantity
    same = [n for n in (name.partition("[")[0] for name in bands) if n.lower() == target.lower()]
    if same:
        named = "" if same[0] == target else f" ({same[0]!r})"
        raise BadArgument(
            f"target {target!r} is a band of the cube too{named}, so a model would read the "
            f"answer from it. Leave the band out, e.g. ds.drop_vars({same[0]!r}), or name another "
            "target."
        )


def _samples(
    points: Points, kept: np.ndarray, pixel: np.ndarray, xy: np.ndarray, step: np.ndarray
) -> Samples:
    to_degrees = pyproj.Transformer.from_crs(points.crs, "EPSG:4326", always_xy=True)
    lonlat = np.stack(to_degrees.transform(points.x, points.y), axis=1)
    return Samples(
        row=pixel[kept, 0],
        column=pixel[kept, 1],
        value=points.value[kept],
        # sites are numbered later, among the samples that have data
        site=np.zeros(int(kept.sum()), "int64"),
        step=step[kept],
        lonlat=lonlat[kept],
        xy=xy[kept],
        source=points.row[kept],
        depth=None if points.depth is None else points.depth[kept],
    )


@dataclass
class _RowFilter:
    """Rows that count so far, and the reason of each row that was left out."""

    row: np.ndarray
    left: dict[str, np.ndarray]
    kept: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.kept = np.ones(len(self.row), bool)

    def keep(self, reason: str, passed: np.ndarray) -> None:
        lost = self.kept & ~passed
        if lost.any():
            self.left[reason] = self.row[lost]
        self.kept = self.kept & passed


def _require_dates(points: Points, bands: Bands, history: int) -> None:
    have = len(bands.labels)
    if points.date is None and not bands.climatology and have > history:
        raise BadArgument(
            f"date missing: the cube has {have} time steps and a sample sees "
            f"{history}, up to that of its date. Name the column of dates or years, "
            f"date='year', or pass history={have}, which sees all steps."
        )


def _projected(points: Points, bands: Bands) -> np.ndarray:
    """Bring points into the CRS of the cube, (n, 2); longitudes to its side of the globe."""
    crs = bands.grid.crs
    to_cube = pyproj.Transformer.from_crs(points.crs, crs, always_xy=True)
    x, y = to_cube.transform(points.x, points.y)
    if crs.is_geographic:
        # a table in -180..180 and a cube in 0..360 (or the other way) are the same places
        west = bands.grid.bounds[0]
        x = np.where(np.isfinite(x), west + (x - west) % 360, x)
    return np.stack([x, y], axis=1)


def _pixels(xy: np.ndarray, bands: Bands) -> np.ndarray:
    """Find the pixel (row, column) of each point; -1 where there is none."""
    t = bands.grid.transform
    # fractional row and column, (n, 2); beyond 2**31 the cast to integers would wrap around
    index = np.stack([(xy[:, 1] - t.f) / t.e, (xy[:, 0] - t.c) / t.a], axis=1)
    inside = np.isfinite(index) & (np.abs(index) < 2**31)
    return np.floor(np.where(inside, index, -1)).astype("int64")


def words_of(reason: str) -> str:
    """Return why a row was left out, in words."""
    return _WORDS[reason]


def _steps(points: Points, bands: Bands, filtered: _RowFilter) -> np.ndarray:
    """Find the last step that each point sees; leave out points without one."""
    last = len(bands.labels) - 1
    step = np.full(len(points), last)
    if points.date is None or bands.climatology:
        return step
    dated = ~np.isnat(points.date)
    step[dated] = steps_at(points.date[dated], bands)
    filtered.keep(NO_DATE, dated)
    filtered.keep(TOO_LATE, step <= last)
    return step


def _repeats(points: Points, kept: np.ndarray) -> np.ndarray:
    """Flag rows that repeat an earlier kept row (same place, value, date and depth)."""
    columns = {"x": points.x, "y": points.y, "value": points.value}
    columns |= {} if points.date is None else {"date": points.date}
    if points.depth is not None:  # horizons of a profile share all else
        columns |= {"top": points.depth[:, 0], "bottom": points.depth[:, 1]}
    return _spread(pd.DataFrame(columns)[kept].duplicated().to_numpy(), kept, fill=False)


def _spread(found: np.ndarray, kept: np.ndarray, *, fill: bool = True) -> np.ndarray:
    """Expand values of the kept rows to all rows; the others get `fill`."""
    spread = np.full(len(kept), fill)
    spread[kept] = found
    return spread


def _with_sites(samples: Samples, points: Points, kept: np.ndarray) -> Samples:
    """Count the sites from 0, in the order in which they come.

    Samples of one pixel see the same window, so they are of one site whatever the table
    calls it; names join those of several pixels.
    """
    pixel = pd.factorize(pd.MultiIndex.from_arrays([samples.row, samples.column]))[0]
    site = np.asarray(pixel)
    if points.site is not None and len(samples):
        names = pd.factorize(points.site[kept])[0]
        named, pixels = names >= 0, pixel.max() + 1
        links = (np.ones(named.sum()), (pixel[named], pixels + names[named]))
        size = pixels + names.max() + 1
        joined = connected_components(coo_array(links, shape=(size, size)), directed=False)[1]
        site = joined[pixel]
    return replace(samples, site=np.asarray(pd.factorize(site)[0]))


def _valid(
    bands: Bands, samples: Samples, window: int, history: int, min_valid: float, most: int | None
) -> tuple[np.ndarray, int]:
    """Return True for each sample of whose window enough is known, and the number not read."""
    margin = window // 2
    # counts of known numbers are summed once per square of chunks: each chunk is read once
    numbers = len(bands.dynamic) * history + len(bands.static)  # of a pixel
    valid, read, unread = np.zeros(len(samples), bool), 0, 0
    for rows, core, steps in squares(bands, samples, history):
        read += len(core.y) * len(core.x) * (len(steps) * len(bands.dynamic) + len(bands.static))
        if most is not None and read > most:
            valid[rows], unread = True, unread + len(rows)
            continue
        arrays = bands.read(core.grow(margin), steps)
        shape = (len(steps), len(core.y) + 2 * margin, len(core.x) + 2 * margin)
        series, plane = np.zeros(shape, "int32"), np.zeros(shape[1:], "int32")
        for name, values in arrays.items():
            count = series if name in bands.dynamic else plane
            count += np.isfinite(values)
        y, x = samples.row[rows] - core.y.start, samples.column[rows] - core.x.start
        times = samples.step[rows, None] - np.arange(history) - steps.start  # (n, t)
        known = around(series, window)[times, y[:, None], x[:, None]].sum(axis=1)
        known = known + around(plane, window)[y, x]  # (n, w, w)
        inside = inside_counts(bands.grid, samples.at(rows), window)
        share = known.sum(axis=(1, 2)) / (numbers * inside)
        valid[rows] = (share >= min_valid) & (known[:, margin, margin] > 0)
    return valid, unread


def _report(points: Points, samples: Samples, filtered: _RowFilter, bands: Bands) -> JoinReport:
    _, per_site = np.unique(samples.site, return_counts=True)
    ids = points.names
    undated = points.date is not None and bands.climatology
    return JoinReport(
        table=points.name,
        target=points.target,
        units=points.units,
        rows=points.rows,
        samples=len(samples),
        sites=len(per_site),
        replicates=int(per_site[per_site > 1].sum()),
        left=filtered.left,
        id=ids.column,
        ids={}
        if ids.column is None
        else {why: ids.of(rows) for why, rows in filtered.left.items()},
        found=() if points.table is None else points.table.found,
        notes=(
            *points.notes,
            *_site_notes(points, samples, filtered.kept),
            *(["The cube has no calendar, so dates are not used."] if undated else ()),
        ),
    )


def _site_notes(points: Points, samples: Samples, kept: np.ndarray) -> list[str]:
    """Note the sites of the table that were joined because they share a pixel."""
    if points.site is None or not len(samples):
        return []
    names, distinct = pd.factorize(points.site[kept])
    named = names >= 0
    pairs = pd.DataFrame({"name": names[named], "site": samples.site[named]}).drop_duplicates()
    shared = pairs.groupby("site")["name"].transform("size") > 1
    if not shared.any():
        return []
    return [
        f"Column {points.site_column!r} names {len(distinct):,} sites, {int(shared.sum()):,} of "
        "which share a pixel with another: those are one site, or replicates would be trained and "
        "tested on."
    ]


# reasons why a row is left out: keys of JoinReport.left, stored with a model
OUTSIDE, NO_DATE, NO_HISTORY, TOO_LATE = "outside", "no date", "no history", "too late"
DUPLICATE, NO_DATA = "duplicate", "no data"
_WORDS = {
    "filtered": "not passing the filters (where)",
    "no place": "without coordinates",
    "null island": "at (0, 0), which is not a measured location",
    "no value": "without a value",
    "no depth": "without a depth whose top lies above its bottom, at 0 cm or more",
    "invalid": "outside the valid range",
    OUTSIDE: "outside the cube",
    NO_DATE: "without a date",
    NO_HISTORY: "before the cube holds their history",
    TOO_LATE: "after the last step of the cube",
    DUPLICATE: "duplicates (same place, date and value as a row before)",
    NO_DATA: "without data (centre unknown, or too little of the window known)",
}
_LISTED = 5  # names of rows in a sentence; all are in the data


@dataclass(frozen=True)
class JoinReport:
    """What became of the rows of a table."""

    table: str  # their names
    target: str
    units: str | None  # of the target
    rows: int  # of the table
    samples: int  # what they became: each row is a sample or was left out
    sites: int
    replicates: int  # samples that share their site with another
    left: dict[str, np.ndarray]  # rows of the table, from 0, that were left out, by reason
    id: str | None = None  # column that names rows
    # Names of the rows that were left out, by reason; empty without such a column
    ids: dict[str, list[object]] = field(default_factory=dict)
    # What was detected of the file: separator, decimal sign, encoding, layer
    found: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what else is worth knowing

    def __str__(self) -> str:
        units = f" ({self.units})" if self.units else ""
        found = f" ({', '.join(self.found)})" if self.found else ""
        sentences = [
            f"{self.rows:,} rows of {self.table}{found}: {self.samples:,} samples of "
            f"{self.target}{units} at {self.sites:,} sites."
        ]
        if self.replicates:
            sentences.append(f"{self.replicates:,} samples share a site with others (replicates).")
        lost = [f"{len(rows):,} {_WORDS[reason]}{self._named(reason)}"
                for reason, rows in self.left.items()]  # fmt: skip
        sentences.append(f"Left out: {'; '.join(lost)}." if lost else "No row was left out.")
        return " ".join([*sentences, *self.notes])

    def _named(self, reason: str) -> str:
        """List the names of rows; rows that a filter drops are left out on purpose."""
        names = self.ids.get(reason, [])
        if not names or reason == "filtered":
            return ""
        more = ", ..." if len(names) > _LISTED else ""
        return f" ({self.id} {', '.join(map(str, names[:_LISTED]))}{more})"

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types: counts, and the rows left out by reason."""
        plain = {name: value for name, value in vars(self).items() if name != "left"}
        plain |= {"found": list(self.found), "notes": list(self.notes)}
        return plain | {"left": {reason: rows.tolist() for reason, rows in self.left.items()}}
