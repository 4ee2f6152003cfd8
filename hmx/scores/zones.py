"""Zones as sums: intervals of zone means beside what came, for four ways to add up pixels.

========= ===================================================================================
draws     quantiles over joint draws: neighbouring pixels err together as past forecasts did
pixels    pixels as if they were independent: a normal distribution, far too narrow for zones
bounds    the means of the pixels' lower and upper bounds: all pixels err together, too wide
effective a normal distribution with the squared error that zones of this size had in the past
========= ===================================================================================

The last is the cross-check by an effective number of pixels: the variance of a zone's mean is
``r(n) V + wR A^2``, with the variance V of independent pixels, the ratio r of past squared
errors and V, a line in the logarithms of both, the region's share wR, and A, the change of the
mean for a shift of all pixels by one standard deviation.

:class:`ZoneMeans` has the sums that means of zones are made of, and adds up over tiles.
:class:`ZoneTally` has the scores of finished zones, and adds up over tiles, origins and folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hmx.scores.sums import Array, Sums

DRAWS, PIXELS, BOUNDS, EFFECTIVE = METHODS = ("draws", "pixels", "bounds", "effective")
REGION = "region"  # the zone of all pixels
_LEAST = 1e-30  # of a variance: logarithms of 0 are not finite

Ends = Mapping[tuple[str, float], tuple[Array, Array]]  # by method and level, %: lower, upper


@dataclass(frozen=True)
class ZoneMeans:
    """Sums over the pixels of some zones, each pixel weighted by its area."""

    pixels: Array  # (z,)
    area: Array  # (z,)
    origin: Array  # of the last map, of what came and of the expected map (z,)
    truth: Array
    expected: Array
    # area^2 times the variance of each pixel; area times the change of its mean for a shift of
    # its distribution by one standard deviation (z,)
    variance: Array
    shift: Array
    ends: Array  # of the pixels' lower and upper bounds (2, level, z)
    draws: Array  # of the pixels of each draw (n, z)

    @classmethod
    def of(
        cls, zone: NDArray[np.intp], count: int, area: Array, values: Mapping[str, Array]
    ) -> Self:
        """Add up pixels (p,) by their zone, 0 to `count` - 1.

        `values` are the other fields, per pixel: (p,), and the bounds (2, level, p). There are no
        draws yet.
        """

        def total(weight: Array, layers: Array) -> Array:
            flat = layers.reshape(math.prod(layers.shape[:-1]), layers.shape[-1])
            sums = [np.bincount(zone, weight * layer, count) for layer in flat]
            return np.array(sums, "float64").reshape(*layers.shape[:-1], count)

        squared = {"variance": area**2}
        return cls(
            pixels=np.bincount(zone, minlength=count).astype("float64"),
            area=total(area, np.ones(len(area))),
            **{name: total(squared.get(name, area), layer) for name, layer in values.items()},
            draws=np.zeros((0, count)),
        )

    def __add__(self, other: ZoneMeans) -> ZoneMeans:
        """Join the same zones of two pieces."""
        names = [part.name for part in fields(self)]
        return ZoneMeans(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> ZoneMeans:
        """Return some of the zones."""
        names = [part.name for part in fields(self)]
        return ZoneMeans(**{name: getattr(self, name)[..., index] for name in names})

    def intervals(
        self, levels: Sequence[float], ratio: Array | None = None, region: float = 0.0
    ) -> Ends:
        """Compute intervals of the means, by method and level; without draws, none from draws.

        `ratio` is that of past squared errors and independent variance, (z,); ``None`` is unknown.
        """
        middle, found = self.expected / self.area, {}
        independent = self.variance / self.area**2
        spreads = {PIXELS: np.sqrt(independent)}
        if ratio is not None:
            common = region * (self.shift / self.area) ** 2
            spreads[EFFECTIVE] = np.sqrt(ratio * independent + common)
        for at, level in enumerate(levels):
            tail = (1 - level / 100) / 2
            if len(self.draws):
                low, high = np.quantile(self.draws / self.area, [tail, 1 - tail], axis=0)
                found[DRAWS, level] = (low, high)
            far = NormalDist().inv_cdf(1 - tail)
            for method, spread in spreads.items():
                found[method, level] = (middle - far * spread, middle + far * spread)
            found[BOUNDS, level] = tuple(self.ends[:, at] / self.area)
        return found

    def score(self, ends: Ends, tolerance: float) -> ZoneCell:
        """Score intervals of the means against what came."""
        truth = self.truth / self.area
        return ZoneCell(
            zones=len(truth),
            pixels=float(self.pixels.sum()),
            area=float(self.area.sum()),
            expected=float((self.expected - self.origin).sum()),
            observed=float((self.truth - self.origin).sum()),
            intervals={
                key: HeldZones.of(truth, low, high, level=key[1], tolerance=tolerance)
                for key, (low, high) in ends.items()
            },
        )


@dataclass(frozen=True, slots=True)
class HeldZones(Sums):
    """Sums over the zones of one size for one interval; each zone counts once.

    Examples
    --------
    >>> some = HeldZones.of([1.0, 2.1], [0.0, 0.0], [2.0, 2.0], level=80, tolerance=0.2)
    >>> some.share, some.tolerant, some.width, round(some.interval_score, 3)
    (0.5, 1.0, 2.0, 2.5)
    """

    zones: int = 0
    held: int = 0  # truth inside the closed interval
    near: int = 0  # truth inside, or off by no more than the tolerance
    wide: float = 0.0  # sums of width and interval score
    penalised: float = 0.0

    @classmethod
    def of(
        cls,
        truth: Array | Sequence[float],
        lower: Array | Sequence[float],
        upper: Array | Sequence[float],
        *,
        level: float,
        tolerance: float = 0.0,
    ) -> HeldZones:
        """Count truths inside, with a tolerance and without.

        Zones where nothing happens have a point mass on no change, while the mean of a forecast
        always expects a little: by less than the data resolve. So a tolerance of half a step of
        the data decides, and the plain share stands beside it. The interval score is that of
        Gneiting and Raftery (2007, eq. 43, doi:10.1198/016214506000001437).
        """
        y, low, high = (np.asarray(part, "float64") for part in (truth, lower, upper))
        outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
        width = high - low
        return cls(
            zones=y.size,
            held=int((outside <= 0).sum()),
            near=int((outside <= tolerance).sum()),
            wide=float(width.sum()),
            penalised=float((width + 2 / (1 - level / 100) * outside).sum()),
        )

    @property
    def share(self) -> float:
        """Share of truths inside, 0 to 1."""
        return self._mean(self.held)

    @property
    def tolerant(self) -> float:
        """Share of truths inside or off by no more than the tolerance, 0 to 1."""
        return self._mean(self.near)

    @property
    def width(self) -> float:
        """Mean width, in units of the target."""
        return self._mean(self.wide)

    @property
    def interval_score(self) -> float:
        """Mean interval score, in units of the target; smaller is better."""
        return self._mean(self.penalised)

    def _mean(self, total: float) -> float:
        return total / self.zones if self.zones else math.nan


@dataclass(frozen=True)
class ZoneCell(Sums):
    """The scores of the zones of one size at one lead."""

    zones: int = 0
    pixels: float = 0.0
    area: float = 0.0  # m2
    expected: float = 0.0  # sums of the change since the origin times the area
    observed: float = 0.0
    intervals: Mapping[tuple[str, float], HeldZones] = field(default_factory=dict)

    def __add__(self, other: ZoneCell) -> ZoneCell:
        """Join two states into the state of the union of their zones."""
        keys, none = dict.fromkeys([*self.intervals, *other.intervals]), HeldZones()
        return ZoneCell(
            self.zones + other.zones,
            self.pixels + other.pixels,
            self.area + other.area,
            self.expected + other.expected,
            self.observed + other.observed,
            {key: self.intervals.get(key, none) + other.intervals.get(key, none) for key in keys},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        names = ("zones", "pixels", "area", "expected", "observed")
        rows = [
            {"method": method, "level": level, **found.as_dict()}
            for (method, level), found in self.intervals.items()
        ]
        return {**{name: getattr(self, name) for name in names}, "intervals": rows}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> ZoneCell:
        """Restore the state from the values of :meth:`as_dict`."""
        rows = [dict(row) for row in facts["intervals"]]
        found = {
            (row.pop("method"), float(row.pop("level"))): HeldZones.from_dict(row) for row in rows
        }
        return cls(**{**facts, "intervals": found})

    def figures(self) -> dict[str, float]:
        """Return the finished figures by name.

        Without a method in its name a figure is that of the draws. The interval scores of the
        other methods are ratios: that of the draws over theirs, below 1 where draws are better.
        """
        found = {
            "zones": float(self.zones),
            "area_km2": self.area / self.zones / 1e6 if self.zones else math.nan,
            "expected_change": self.expected / self.area if self.area else math.nan,
            "observed_change": self.observed / self.area if self.area else math.nan,
        }
        for level in dict.fromkeys(level for _, level in self.intervals):
            ours = self.intervals.get((DRAWS, level), HeldZones())
            found[f"coverage_{level:g}"] = ours.tolerant
            found[f"plain_coverage_{level:g}"] = ours.share
            found[f"width_{level:g}"] = ours.width
            found[f"interval_score_{level:g}"] = score = ours.interval_score
            for method in METHODS[1:]:
                other = self.intervals.get((method, level), HeldZones())
                theirs = other.interval_score
                found[f"coverage_{level:g}_{method}"] = other.tolerant
                found[f"score_over_{method}_{level:g}"] = score / theirs if theirs else math.nan
        return found


@dataclass(frozen=True)
class ZoneTally:
    """The scores of zones, by size and lead: ``"30 px"``, 1."""

    cells: Mapping[tuple[str, int], ZoneCell] = field(default_factory=dict)

    def __add__(self, other: ZoneTally) -> ZoneTally:
        """Join two states into the state of the union of their zones."""
        keys, none = dict.fromkeys([*self.cells, *other.cells]), ZoneCell()
        return ZoneTally(
            {key: self.cells.get(key, none) + other.cells.get(key, none) for key in keys}
        )

    def __getitem__(self, key: tuple[str, int]) -> ZoneCell:
        """Return the cell of a size and lead; an empty one if not there."""
        return self.cells.get(key, ZoneCell())

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes, in the order of the cells."""
        return tuple(dict.fromkeys(size for size, _ in self.cells))

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        rows = [
            {"size": size, "lead": lead, **cell.as_dict()}
            for (size, lead), cell in self.cells.items()
        ]
        return {"cells": rows}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> ZoneTally:
        """Restore the state from the values of :meth:`as_dict`."""
        rows = [dict(row) for row in facts["cells"]]
        return cls(
            {(row.pop("size"), int(row.pop("lead"))): ZoneCell.from_dict(row) for row in rows}
        )


@dataclass(frozen=True, slots=True)
class PastErrors(Sums):
    """Sums over the zones of one size in forecasts of the past, for the effective check."""

    zones: int = 0
    pixels: float = 0.0
    squared: float = 0.0  # sum of the squared errors of zone means
    variance: float = 0.0  # sum of their variances, if pixels were independent

    @classmethod
    def of(cls, sums: ZoneMeans) -> PastErrors:
        """Compare the means of zones with what came."""
        sums = sums.take(sums.pixels > 0)
        error = (sums.truth - sums.expected) / sums.area
        return cls(
            zones=len(error),
            pixels=float(sums.pixels.sum()),
            squared=float((error**2).sum()),
            variance=float((sums.variance / sums.area**2).sum()),
        )


Past = Mapping[tuple[str, int], PastErrors]  # by size and lead


def ratio_of(past: Past, lead: int) -> Callable[[Array], Array] | None:
    """Return the ratio of past squared errors and independent variance by number of pixels.

    A line by parts in the logarithms of both, whose ends go on straight; ``None`` without past
    zones. One size alone gives its ratio to all.
    """
    known = sorted(
        (found.pixels / found.zones, found.squared / found.variance)
        for (_, at), found in past.items()
        if at == lead and found.zones and found.variance > 0
    )
    if not known:
        return None
    n, ratio = np.log(np.maximum(np.array(known).T, _LEAST))

    def at(pixels: Array) -> Array:
        wanted = np.log(np.maximum(pixels, 1.0))
        if len(n) == 1:
            return np.full(wanted.shape, math.exp(ratio[0]))
        part = np.clip(np.searchsorted(n, wanted) - 1, 0, len(n) - 2)
        slope = (ratio[part + 1] - ratio[part]) / (n[part + 1] - n[part])
        return np.asarray(np.exp(ratio[part] + slope * (wanted - n[part])))

    return at


def joined(parts: Sequence[Past]) -> Past:
    """Add up past errors over tiles and origins."""
    keys = dict.fromkeys(key for part in parts for key in part)
    return {
        key: reduce(PastErrors.__add__, (part[key] for part in parts if key in part))
        for key in keys
    }
