"""Sums: what draws of one tile add to each zone, in whole numbers.

Every pixel adds whole numbers of small units, so sums are the same bits in any order: for any
tiles, workers or order of finishing, and a group of zones is exactly the sum of its zones.
Numbers stay below 2^53, where float64 counts without rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from hmx.errors import BadArgument
from hmx.uncertainty.joint.draws import Draws
from hmx.zones.cover import Cover

_WHOLE = 2.0**51  # units of the whole raster at its largest value
ALL = -1  # number of the row of the whole raster


@dataclass(frozen=True)
class Measures:
    """What is added up of each draw."""

    above: tuple[float, ...] = ()  # thresholds: the area above each, native units
    # ascending edges of classes: the area that goes from each class at the origin to each
    # class at the lead. A value on an edge belongs to the class above it.
    classes: tuple[float, ...] = ()
    # changes since the origin: the area that rises, and that falls, by more than each
    moves: tuple[float, ...] = ()


@dataclass(frozen=True)
class Units:
    """What one count stands for."""

    area: float  # m2
    value: float  # native units times m2
    bound: float  # largest size of a value that the counts have room for

    @classmethod
    def of(cls, total: float, bound: float) -> Units:
        """Choose units for a raster of so many m2 and values of at most so much."""
        return cls(total / _WHOLE, total * bound / _WHOLE, bound)


@dataclass(frozen=True)
class TileValues:
    """What a tile of a forecast or map gives to its zones, north-up."""

    mean: np.ndarray  # (h, y, x), NaN without data
    origin: np.ndarray | None  # (y, x) the last map; None if there is none
    area: np.ndarray  # (rows,) m2 of a pixel of each row
    # (y, x) whether a pixel is unlike what the model was trained on; None if that is unknown
    unlike: np.ndarray | None = None


@dataclass(frozen=True)
class ZoneSums:
    """Counts of some zones, z rows; added up over tiles.

    ``zone`` (z,) ascends and ends with ``ALL``, the whole raster. Axes of the others: z zones,
    h leads, n draws, t thresholds, k classes, m moves.
    """

    zone: np.ndarray
    area: np.ndarray  # (z,) with data
    missing: np.ndarray  # (z,) without
    origin: np.ndarray  # (z,) values
    origin_above: np.ndarray  # (z, t)
    origin_class: np.ndarray  # (z, k)
    expected: np.ndarray  # (z, h) values
    value: np.ndarray  # (z, h, n) values
    above: np.ndarray  # (z, h, n, t)
    transition: np.ndarray  # (z, h, n, k, k)
    risen: np.ndarray  # (z, h, n, m)
    fallen: np.ndarray  # (z, h, n, m)
    unlike: np.ndarray  # (z,) with data, unlike what the model was trained on

    @classmethod
    def empty(cls, zones: np.ndarray, h: int, n: int, measures: Measures) -> ZoneSums:
        """Return counts of nothing."""
        z, t, m = len(zones), len(measures.above), len(measures.moves)
        k = len(measures.classes) + 1 if measures.classes else 0
        shapes = {
            "area": (z,), "missing": (z,), "origin": (z,), "origin_above": (z, t),
            "origin_class": (z, k), "expected": (z, h), "value": (z, h, n),
            "above": (z, h, n, t), "transition": (z, h, n, k, k),
            "risen": (z, h, n, m), "fallen": (z, h, n, m), "unlike": (z,),
        }  # fmt: skip
        return cls(zones, **{name: np.zeros(shape, "int64") for name, shape in shapes.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name, to store them."""
        return dict(vars(self))

    def add(self, other: ZoneSums) -> None:
        """Add the counts of a tile to these, which have a row for each zone in order."""
        at = np.where(other.zone == ALL, len(self.zone) - 1, other.zone)
        for name, array in other.arrays().items():
            if name != "zone":
                getattr(self, name)[at] += array  # a tile has each zone once


def tile_sums(
    tile: TileValues,
    cover: Cover,
    draws: Draws,
    numbers: range,
    *,
    measures: Measures,
    units: Units,
    threads: int = 1,
    on_draw: Callable[[], None] = lambda: None,
) -> ZoneSums:
    """Add up some draws of a tile, zone by zone; the last row is the whole tile."""
    known = np.isfinite(tile.mean[0])
    if tile.origin is not None:
        known &= np.isfinite(tile.origin)
    parts = _Parts.of(cover, known, tile.area / units.area)
    h = len(tile.mean)
    sums = ZoneSums.empty(np.append(parts.zones, ALL), h, len(numbers), measures)
    sums.area[:], sums.missing[:] = parts.counts(), parts.missing
    if tile.unlike is not None:
        sums.unlike[:] = parts.counts(parts.pick(tile.unlike))
    for lead, mean in enumerate(tile.mean):
        sums.expected[:, lead] = parts.values(parts.pick(mean), units)
    was = None if tile.origin is None else parts.pick(tile.origin)
    if was is not None:
        _add_origin(sums, parts, was, measures, units)

    def work(chunk: range) -> None:
        for number, lead, drawn in draws(chunk):
            at = (slice(None), lead - 1, number - numbers.start)
            _add_draw(sums, at, parts, parts.pick(drawn), was, measures, units)
            if lead == h:
                on_draw()

    if len(parts.pixel):
        _share_out(work, numbers, threads)
    return sums


def _share_out(work: Callable[[range], None], numbers: range, threads: int) -> None:
    """Call ``work`` with the draws of each thread; every draw has columns of its own in sums."""
    if threads == 1:
        work(numbers)
        return
    with ThreadPoolExecutor(threads) as pool:
        chunks = (numbers[start::threads] for start in range(threads))
        for done in [pool.submit(work, chunk) for chunk in chunks if chunk]:
            done.result()


def _add_origin(
    sums: ZoneSums, parts: _Parts, was: np.ndarray, measures: Measures, units: Units
) -> None:
    """Add up the last map."""
    sums.origin[:] = parts.values(was, units)
    for column, threshold in enumerate(measures.above):
        sums.origin_above[:, column] = parts.counts(was > np.float32(threshold))
    if measures.classes:
        label = _class_of(was, measures)
        sums.origin_class[:] = parts.table(label, len(measures.classes) + 1)


def _add_draw(
    sums: ZoneSums,
    at: tuple[slice, int, int],
    parts: _Parts,
    values: np.ndarray,
    was: np.ndarray | None,
    measures: Measures,
    units: Units,
) -> None:
    """Add up one draw at one lead."""
    sums.value[at] = parts.values(values, units)
    for column, threshold in enumerate(measures.above):
        sums.above[(*at, column)] = parts.counts(values > np.float32(threshold))
    if was is None:
        return
    if measures.classes:
        k = len(measures.classes) + 1
        label = _class_of(was, measures) * k + _class_of(values, measures)
        sums.transition[at] = parts.table(label, k * k).reshape(-1, k, k)
    if measures.moves:
        change = values - was
        for column, move in enumerate(measures.moves):
            sums.risen[(*at, column)] = parts.counts(change > np.float32(move))
            sums.fallen[(*at, column)] = parts.counts(change < -np.float32(move))


def _class_of(values: np.ndarray, measures: Measures) -> np.ndarray:
    """Return the number of each value's class, 0 below the first edge."""
    return np.asarray(np.digitize(values, np.array(measures.classes, values.dtype)))


@dataclass(frozen=True)
class _Parts:
    """The pixels of a tile as zones see them: each part of a pixel with its zone and counts.

    Parts are those of the zones, and then all whole pixels, for the last row.
    """

    zones: np.ndarray  # numbers of the zones in the tile
    row: np.ndarray  # (p,) row of each part in the sums
    pixel: np.ndarray  # (p,) flat index
    count: np.ndarray  # (p,) whole counts of area, as float64
    missing: np.ndarray  # (z,) counts of pixels without data

    @classmethod
    def of(cls, cover: Cover, known: np.ndarray, weights: np.ndarray) -> _Parts:
        """Weigh the parts of pixels; ``weights`` (rows,) are counts of a whole pixel."""
        zones, row = np.unique(cover.zone, return_inverse=True)
        whole = np.repeat(weights, known.shape[1])
        row = np.concatenate([row, np.full(known.size, len(zones))])
        pixel = np.concatenate([cover.pixel, np.arange(known.size)])
        share = np.concatenate([cover.share, np.ones(known.size)])
        count = np.rint(share * whole[pixel])
        data = known.reshape(-1)[pixel]
        missing = np.bincount(row[~data], count[~data], len(zones) + 1)
        return cls(zones, row[data], pixel[data], count[data], missing)

    def pick(self, array: np.ndarray) -> np.ndarray:
        """Return the value of each part's pixel."""
        return array.reshape(-1).take(self.pixel)

    def values(self, values: np.ndarray, units: Units) -> np.ndarray:
        """Count values times area."""
        largest = float(np.abs(values).max(initial=0.0))
        if largest > units.bound:
            raise BadArgument(
                f"the target has the value {largest:.6g}, and sums have room for values up to "
                f"{units.bound:.6g}. Give it a valid_range in the catalog or in ds['hm'].attrs."
            )
        counts = values * self.count
        counts *= units.area / units.value
        return np.bincount(self.row, np.rint(counts, out=counts), len(self.zones) + 1)

    def counts(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Count the area of all parts, or of chosen ones."""
        count = self.count if chosen is None else self.count * chosen
        return np.bincount(self.row, count, len(self.zones) + 1)

    def table(self, label: np.ndarray, labels: int) -> np.ndarray:
        """Count the area of each label, (z, labels)."""
        found = np.bincount(self.row * labels + label, self.count, (len(self.zones) + 1) * labels)
        return found.reshape(-1, labels)


@dataclass(frozen=True)
class ZoneTotals:
    """What tables are made of, in the user's units; z rows: zones, then groups, then the whole."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]  # "zone", "group" or "all"
    measures: Measures
    area: np.ndarray  # (z,) km2 with data
    missing: np.ndarray  # (z,) km2 without
    origin: np.ndarray  # (z,) value * km2
    origin_above: np.ndarray  # (z, t) km2
    origin_class: np.ndarray  # (z, k) km2
    expected: np.ndarray  # (z, h) value * km2, of the pixels' means
    value: np.ndarray  # (z, h, n) value * km2
    above: np.ndarray  # (z, h, n, t) km2
    transition: np.ndarray  # (z, h, n, k, k) km2, from class to class
    risen: np.ndarray  # (z, h, n, m) km2
    fallen: np.ndarray  # (z, h, n, m) km2
    # (z,) km2 with data, unlike what the model was trained on; None if that is not recorded
    unlike: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        sums: ZoneSums,
        units: Units,
        names: Iterable[str],
        measures: Measures,
        *,
        groups: Mapping[str, np.ndarray],
        origin: bool,
    ) -> ZoneTotals:
        """Convert counts, which have a row for each zone, in their order, and a last one.

        `groups` has the numbers of the zones of each group; without an `origin` its values are NaN.
        """
        zones = len(sums.zone) - 1
        rows = [np.array([zone]) for zone in range(zones)]
        rows += [np.asarray(members) for members in groups.values()] + [np.array([zones])]
        names = (*names, *groups, "all")
        kinds = ("zone",) * zones + ("group",) * len(groups) + ("all",)
        in_values = {"origin", "expected", "value"}
        found = {}
        for name, array in sums.arrays().items():
            if name != "zone":
                unit = units.value if name in in_values else units.area
                found[name] = np.stack([array[at].sum(axis=0) for at in rows]) * (unit / 1e6)
                if name.startswith("origin") and not origin:
                    found[name][...] = np.nan
        return cls(names, kinds, measures, **found)

    def at_leads(self, leads: np.ndarray) -> ZoneTotals:
        """Return the totals of some leads, counted from 0."""
        of_lead = ("expected", "value", "above", "transition", "risen", "fallen")
        return replace(self, **{name: getattr(self, name)[:, leads] for name in of_lead})
