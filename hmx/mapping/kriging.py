"""Kriging: the error of a map at a pixel, from errors of nearby samples that were held out.

Regression kriging adds to a prediction the kriged residual of the samples (Odeh et al. 1995,
doi:10.1016/0016-7061(95)00007-B; Hengl et al. 2007, doi:10.1016/j.cageo.2007.05.001). Residuals
are those of models that did not train on their sample: those of the training are too small.

It is simple kriging with mean 0: far from all samples it adds nothing. In its dual form (Chiles and
Delfiner 2012, Geostatistics, section 3.3) training solves the system of all sites once, and a pixel
is a sum over the sites within the range. The covariance is spherical. This covariance is valid in
three dimensions, so distances are chords through the earth, and it is 0 beyond its range, so the
system is sparse. Libraries of kriging search the samples nearest to each pixel: they solve many
systems, and their maps have contours where the nearest samples change. Here all pixels share one
system, so a map has no such contours and does not depend on its tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from hmx.errors import broken_part
from hmx.mapping.options import Krige
from hmx.splits.distances import earth_centred
from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]

_NEIGHBOURS = 250  # sites within the longest range, on average: nearer ones screen the others
_CLASSES = 15  # of distance, of equal width
_RANGES = 12  # that are tried, from one class to the longest
_NUGGET = 0.05  # smallest share of the variance: near sites with none make the system singular
_SURE = 1.645  # standard errors that a gain must exceed: better in 95 % of such sets of samples
_POINTS = 512  # predicted at a time: their distances to some hundred sites fit the L2 cache
_NUMBERS = ("nugget", "sill", "range_m")


@dataclass(frozen=True, eq=False)
class Kriging:
    """Sites with their kriging weights, and the variogram."""

    lonlat: Array  # of the sites, degrees, (m, 2)
    weights: Array  # inverse covariance matrix of the sites times their residuals, (m,)
    nugget: float  # variance that no neighbour shares, squared units of the residuals
    sill: float  # variance that neighbours share
    range_m: float  # distance from which they share none, m

    @classmethod
    def fit(cls, lonlat: Array, residual: Array, site: NDArray[Any]) -> Kriging:
        """Fit variogram and weights to the residuals of samples, (n,), averaged by site."""
        return cls.of_pairs(SitePairs.of(lonlat, site), residual)

    @classmethod
    def of_pairs(cls, pairs: SitePairs, residual: Array) -> Kriging:
        """Fit variogram and weights to the residuals of samples of known distances, (n,)."""
        mean = pairs.by_site(residual)
        nugget, sill, range_m = _variogram(mean, pairs)
        weights = np.zeros(len(mean))
        if sill:
            near = pairs.apart < range_m
            one, other = pairs.one[near], pairs.other[near]
            half = csr_array(
                (_spherical(pairs.apart[near] / range_m), (one, other)), shape=(len(mean),) * 2
            )
            covariance = half + half.T + eye_array(len(mean)) * ((nugget + sill) / sill)
            weights, _ = cg(covariance, mean, rtol=1e-10, atol=0.0)
        return cls(pairs.lonlat, weights, nugget, sill, range_m)

    def __call__(self, lonlat: Array) -> Array:
        """Krige the residual at places, degrees, (n, 2): (n,)."""
        found = np.zeros(len(lonlat))
        if not self.sill:
            return found
        places = earth_centred(lonlat)
        for rows in _compact(places):
            some = places[rows]
            middle = some.mean(axis=0)
            radius = float(np.linalg.norm(some - middle, axis=1).max())
            near = self._tree.query_ball_point(middle, self.range_m + radius, return_sorted=True)
            # two points at least: numpy adds a single column pairwise, in another order
            apart = cdist(self._places[near], np.resize(some, (max(len(rows), 2), 3)))
            # rows are added one after the other, and beyond the range 0: the same bits for any part
            terms = self.weights[near, None] * _spherical(apart / self.range_m)
            found[rows] = terms.sum(axis=0)[: len(rows)]
        return found

    def variogram(self, unit: float = 1.0) -> dict[str, float]:
        """Return the variogram in JSON values; a residual of 1 is so many `unit`."""
        parts = {"nugget": self.nugget * unit**2, "sill": self.sill * unit**2}
        return {**parts, "range_km": self.range_m / 1000}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        numbers = np.array([getattr(self, name) for name in _NUMBERS])
        return {"lonlat": self.lonlat, "weights": self.weights, "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Kriging:
        """Build from :meth:`arrays`; raise :class:`BundleError` if they are damaged."""
        try:
            lonlat, weights, numbers = (arrays[name] for name in ("lonlat", "weights", "numbers"))
            sound = all(a.dtype == np.float64 and np.isfinite(a).all() for a in arrays.values())
            sound = sound and lonlat.shape == (len(weights), 2) and weights.ndim == 1
            sound = sound and numbers.shape == (3,) and len(weights) > 0
            sound = sound and bool((numbers >= 0).all() and numbers[2] > 0)
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise broken_part("kriging")
        return cls(lonlat, weights, *(float(number) for number in numbers))

    @cached_property
    def _places(self) -> Array:
        return earth_centred(self.lonlat)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._places)


@dataclass(frozen=True)
class KrigingTrial:
    """What kriging changes on held-out samples, each corrected from residuals of other folds."""

    kriged: Array  # residual of each sample, (n,)
    share: float  # of it that improves the predictions most, 0 to 1
    gain: float  # of R2
    error: float  # standard error of the gain, over the groups that were held out together
    used: bool  # whether the correction is to be used

    @classmethod
    def of(cls, folds: SiteFolds, truth: Array, center: Array, wanted: Krige) -> KrigingTrial:
        """Try it on out-of-fold predictions, (n,), where it is not decided already.

        The folds keep their distance: residuals within it of a sample do not correct it.
        """
        found = np.zeros(len(truth))
        if wanted is False or len(folds) < 2:
            return cls(found, 0.0, 0.0, 0.0, used=False)
        residual, sites = truth - center, folds.sites
        pairs = SitePairs.of(sites.lonlat, sites.site)
        for train, test in folds.rounds():
            kriging = Kriging.of_pairs(pairs.at(train), residual[train])
            found[test] = kriging(sites.lonlat[test])
        # models of two folds have seen each other's samples, so their residuals are not as alike
        # as a variogram takes them to be: the slope of least squares corrects that
        size = float(found @ found)
        share = min(max(float(residual @ found) / size, 0.0), 1.0) if size else 0.0
        group = np.unique(folds.group, return_inverse=True)[1].ravel()
        total = float(((truth - truth.mean()) ** 2).sum()) or 1.0
        each = np.bincount(group, residual**2 - (residual - share * found) ** 2) / total
        # groups are drawn, not samples: those of a block err alike
        gain, error = float(each.sum()), float(each.std() * math.sqrt(len(each)))
        used = wanted is True or gain > _SURE * error
        return cls(found, share, gain, error, used)

    @property
    def correction(self) -> Array:
        """The change of each prediction, (n,); 0 if kriging is not to be used."""
        return self.kriged * (self.share if self.used else 0.0)

    def fit(self, folds: SiteFolds, residual: Array) -> Kriging:
        """Krige from the residuals of all samples, as far as the trial found it right."""
        found = Kriging.fit(folds.sites.lonlat, residual, folds.sites.site)
        return replace(found, weights=found.weights * self.share)

    def as_dict(self) -> dict[str, Any]:
        """Return the decision in JSON values."""
        figures = {name: round(getattr(self, name), 5) for name in ("share", "gain", "error")}
        return {"used": self.used, **figures}


@dataclass(frozen=True, eq=False)
class SitePairs:
    """Pairs of sites that are near each other, each once."""

    lonlat: Array  # of the sites, degrees, (m, 2)
    back: np.ndarray  # site of each sample, (n,)
    one: np.ndarray  # sites of each pair, (p,)
    other: np.ndarray
    apart: Array  # distance, m
    reach: float  # the longest that is looked at, m

    @classmethod
    def of(cls, lonlat: Array, site: NDArray[Any]) -> SitePairs:
        """Find the pairs: each site has some 250 neighbours, or those within half the extent."""
        _, first, back = np.unique(site, return_index=True, return_inverse=True)
        places = earth_centred(lonlat[first])
        tree, count = cKDTree(places), len(first)
        reach = float(np.linalg.norm(np.ptp(places, axis=0))) / 2 if count else 0.0
        if count > _NEIGHBOURS:
            far = tree.query(places[:: max(1, count // 500)], k=[_NEIGHBOURS + 1])[0]
            reach = min(reach, float(np.median(far)))
        pairs = tree.query_pairs(reach, output_type="ndarray")
        apart = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
        return cls(lonlat[first], back.ravel(), pairs[:, 0], pairs[:, 1], apart, max(reach, 1.0))

    def at(self, rows: np.ndarray) -> SitePairs:
        """Return the pairs of some of the samples, whole sites."""
        kept, back = np.unique(self.back[rows], return_inverse=True)
        number = np.full(len(self.lonlat), -1)
        number[kept] = np.arange(len(kept))
        both = (number[self.one] >= 0) & (number[self.other] >= 0)
        one, other = number[self.one[both]], number[self.other[both]]
        lonlat, apart = self.lonlat[kept], self.apart[both]
        return SitePairs(lonlat, back.ravel(), one, other, apart, self.reach)

    def by_site(self, values: Array) -> Array:
        """Average values of samples, (n,), by site, (m,)."""
        return np.asarray(np.bincount(self.back, values) / np.bincount(self.back))


def _variogram(values: Array, pairs: SitePairs) -> tuple[float, float, float]:
    """Fit nugget, sill and range to the half squared differences of pairs, by class of distance.

    By weighted least squares (Cressie 1985, doi:10.1007/BF01032109): for each range, nugget and
    sill of the best fit are 0 or more.
    """
    half = (values[pairs.one] - values[pairs.other]) ** 2 / 2
    variance, reach = float(values.var()), pairs.reach
    number = np.minimum((pairs.apart / reach * _CLASSES).astype(np.intp), _CLASSES - 1)
    count = np.bincount(number, minlength=_CLASSES)
    known = count > 0
    if known.sum() < 3 or not variance:
        return variance, 0.0, reach
    distance, semivariance = (
        np.bincount(number, sums, minlength=_CLASSES)[known] / count[known]
        for sums in (pairs.apart, half)
    )
    weight = np.sqrt(count[known]) / np.maximum(semivariance, 1e-3 * variance)
    best = math.inf, variance, 0.0, reach
    for range_m in np.geomspace(reach / _CLASSES, reach, _RANGES):
        rise = 1 - _spherical(distance / range_m)
        model = np.stack([np.ones_like(rise), rise], axis=1)
        (nugget, sill), off = nnls(model * weight[:, None], semivariance * weight)
        best = min(best, (float(off), float(nugget), float(sill), float(range_m)))
    nugget, sill, range_m = best[1:]
    return max(nugget, _NUGGET * (nugget + sill)), sill, range_m


def _spherical(ratio: Array) -> Array:
    """Compute the spherical correlation at distances over the range."""
    h = np.minimum(ratio, 1.0)
    return np.asarray(1 - h * (1.5 - 0.5 * h * h))


def _compact(places: Array) -> Iterator[np.ndarray]:
    """Yield rows of points that lie near each other, by halving along the widest axis."""
    parts = [np.arange(len(places))] if len(places) else []
    while parts:
        part = parts.pop()
        if len(part) <= _POINTS:
            yield part
            continue
        widest, half = np.ptp(places[part], axis=0).argmax(), len(part) // 2
        order = np.argpartition(places[part, widest], half)
        parts += [part[order[:half]], part[order[half:]]]
