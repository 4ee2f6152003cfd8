"""Correlogram: how the errors of a map at two samples depend on the distance between them.

Each held-out sample has a standard score: the probability that its predictive distribution gives
to values below the truth, as a quantile of the standard normal distribution. Half the mean squared
difference of the scores of pairs is their semivariance, by class of distance (Matheron 1962,
Traite de geostatistique appliquee; Cressie 1993, Statistics for Spatial Data, section 2.4). It
needs no mean. Scores have variance 1, so the correlation is 1 less the semivariance.

The weights of the five fields of :mod:`hmx.uncertainty.joint.dependence` are fitted to it by
weighted least squares (Cressie 1985, doi:10.1007/BF01032109).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from hmx.splits.distances import earth_centred
from hmx.uncertainty.joint.dependence import PRIOR_WEIGHTS, RANGES, Dependence, LeadDependence

Array = NDArray[np.float64]

FEWEST = 30  # pairs of a class, below which it shows little (Journel & Huijbregts 1978, page 194)
FEWEST_DATES = 10  # sites sampled again, below which errors of two dates count as independent
MOST = 20_000  # samples: their 200 million pairs take 15 s, and show all that can be fitted
_CLASSES = 19  # of distance, each 1.4 times as wide as the one before
_NEAREST, _FARTHEST = 0.5, 378.0  # of all classes, units; the farthest is half the extent
_HOLD = 0.02  # weight of the prior, as in the fit of forecasts: it decides what data leave open
_FLOOR = 0.05  # variance that is added to each class, so that one class does not decide alone


@dataclass(frozen=True, eq=False)
class Correlogram:
    """Sums over pairs of samples, by class of distance."""

    # metres of one px of :data:`RANGES`: a pixel of the map, or more where the samples reach
    # far, because 108 pixels of 10 m would miss most of what soils share
    unit_m: float
    edges: Array  # (c + 1,) of the classes, metres
    pairs: Array  # (c,) pairs of samples in each class
    semivariance: Array  # (c,) of the scores; NaN without pairs
    near: float  # pairs that are nearer than all classes: they share a pixel
    count: int  # samples

    @classmethod
    def of(cls, lonlat: Array, scores: Array, pixel_m: float = 0.0) -> Correlogram:
        """Sum over all pairs of samples at `lonlat`, degrees, (n, 2); `scores` are (n,).

        Of more than 20,000 samples, 20,000 are drawn at random.
        """
        if len(scores) > MOST:
            some = np.sort(np.random.default_rng(0).choice(len(scores), MOST, replace=False))
            lonlat, scores = lonlat[some], scores[some]
        places = earth_centred(lonlat)  # chords: half of Europe is 1 % shorter than on the ground
        extent = float(np.linalg.norm(np.ptp(places, axis=0))) if len(places) else 0.0
        unit = max(pixel_m, extent / (2 * _FARTHEST), 1.0)
        edges = np.geomspace(_NEAREST * unit, _FARTHEST * unit, _CLASSES + 1)
        spread = float(np.std(scores)) if len(scores) else 0.0
        z = np.asarray(scores, np.float64) / (spread or 1.0)
        tree = cKDTree(places.reshape(-1, 3))

        def pairs(left: Array, right: Array) -> Array:
            # each pair counts twice, and each sample with itself
            total = tree.count_neighbors(tree, edges, weights=(left, right))
            return np.asarray((total - left @ right) / 2)

        one = np.ones(len(z))
        count = np.rint(pairs(one, one))
        half = np.diff(pairs(z**2, one) - pairs(z, z))  # half the sum of squared differences
        each = np.diff(count)
        found = np.where(each > 0, half / np.maximum(each, 1), np.nan)
        return cls(unit, edges, each, found, float(count[0]), len(z))

    @property
    def correlation(self) -> Array:
        """Empirical correlation of each class, (c,)."""
        return 1 - self.semivariance

    @cached_property
    def fields(self) -> Array:
        """Mean correlation of each field in each class, (c, 5), of pairs dense in the plane."""
        lag = self.edges**2 / 4
        sigma = (np.array(RANGES) * self.unit_m) ** 2
        fall = np.exp(-lag[:, None] / sigma)
        # the integral of exp(-d^2 / 4 s^2) d dd between two edges, over the integral of d dd
        return np.asarray(-np.diff(fall, axis=0) * sigma / np.diff(lag)[:, None])

    def fit(self, phi: float = 0.0) -> Dependence | None:
        """Fit the weights of the five fields and the nugget; None if no class has enough pairs.

        `phi` is the correlation of errors of two dates, of :func:`between_dates`.

        The semivariance of each class is first drawn to that of the prior, which is worth as many
        pairs as a class must have. Pairs share samples, so a class counts for at most n / 2 pairs.
        """
        if not (self.pairs >= FEWEST).any():
            return None
        known = self.pairs > 0
        fields, alone = self.fields[known], np.minimum(self.pairs[known], self.count / 2)
        prior = np.array(PRIOR_WEIGHTS)
        expected = 1 - fields @ prior
        found = (alone * self.semivariance[known] + FEWEST * expected) / (alone + FEWEST)
        # the relative variance of a mean of so many squares of normal numbers is 2 / n
        weight = 1 / np.sqrt(_FLOOR + 2 / (alone + FEWEST))
        start = np.log(prior / (1 - prior.sum()))

        def off(x: Array) -> Array:
            model = 1 - fields @ _softmax(x)
            return np.concatenate([weight * (found / model - 1), math.sqrt(_HOLD) * (x - start)])

        weights = _softmax(least_squares(off, start).x)
        region = 1 / self.effective(weights)
        lead = LeadDependence(tuple(np.round(weights, 6).tolist()), round(region, 6), origins=1)
        return Dependence((lead,), self.unit_m, phi)

    def effective(self, weights: tuple[float, ...] | Array) -> float:
        """Count the independent samples whose mean score would be as uncertain as this mean.

        The variance of a mean is the mean of all correlations (Cressie 1993, section 1.3).
        """
        shared = self.near + float(self.pairs @ (self.fields @ np.asarray(weights)))
        return self.count**2 / (self.count + 2 * shared)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "edges_m": np.round(self.edges, 1).tolist(),
            "pairs": self.pairs.astype(int).tolist(),
            "correlation": [None if np.isnan(r) else round(float(r), 4) for r in self.correlation],
            "samples": self.count,
        }


def between_dates(scores: Array, site: NDArray[Any], step: NDArray[Any]) -> tuple[float, int]:
    """Return the correlation of scores of a site at consecutive dates, and the number of pairs.

    Scores of one site and step are averaged first. With fewer than 10 pairs the correlation is 0:
    errors that are taken as independent give a difference of dates the wider interval. It is drawn
    to 0 for the same reason, which is worth 10 pairs. So is a negative one.
    """
    keys, back = np.unique(np.stack([site, step], axis=1), axis=0, return_inverse=True)
    each = np.bincount(back.ravel(), scores) / np.bincount(back.ravel())
    again = np.flatnonzero(keys[1:, 0] == keys[:-1, 0])
    one, other = each[again], each[again + 1]
    number = len(again)
    size = float((one**2 + other**2).sum()) / 2
    if number < FEWEST_DATES or not size:
        return 0.0, number
    share = float(one @ other) / size * number / (number + FEWEST_DATES)
    return round(min(max(share, 0.0), 0.99), 4), number


def pairs_within(lonlat: Array, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Count the pairs of samples between each distance and the next, metres; the first may be 0."""
    tree = cKDTree(earth_centred(lonlat))
    total = (tree.count_neighbors(tree, np.array(edges)) - len(lonlat)) // 2
    total[np.array(edges) <= 0] = 0  # samples of one location count in the first class
    return tuple(int(n) for n in np.diff(total))


def _softmax(x: Array) -> Array:
    """Turn logarithms of weights over the nugget into weights."""
    raw = np.exp(x - max(0.0, float(x.max())))
    return np.asarray(raw / (raw.sum() + math.exp(-max(0.0, float(x.max())))))
