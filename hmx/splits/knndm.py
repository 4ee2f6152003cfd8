"""kNNDM: folds as far from their training sites as the map is from the samples.

Cross-validation judges a map if a tested site is as far from the sites trained on as a
pixel of the map is from the samples: nearest-neighbour distance matching (Mila et al.
2022, doi:10.1111/2041-210X.13851), for k folds by Linnenbrink et al. (2024,
doi:10.5194/gmd-17-5897-2024). Sites are clustered into k, k + 1, ... clusters, which are
merged into k folds; kept is what comes nearest to the map, measured by W, the area
between the two distributions of distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from hmx.errors import BadArgument, NotEnoughData
from hmx.points.samples import Samples
from hmx.splits.distances import Array, earth_centred, metres, nearest
from hmx.splits.methods import FEWEST, checked, random_folds
from hmx.splits.registry import split_method
from hmx.splits.site_folds import SiteFolds
from hmx.splits.sites import Sites

_TRIED = 100  # numbers of clusters
_ALPHA = 0.05  # of the test whether samples are clustered
_LARGEST = 0.5  # share of the sites in one fold, at most
_KNOWN = 64  # sites around each, itself among them
_LINKED = 5_000  # sites that are clustered; memory grows with the square


@dataclass(frozen=True, eq=False)
class MappingDistances:
    """Distances to the nearest sample: of samples, of the map and of tested sites."""

    sample: Array  # of each site to the nearest other, m (m,)
    map: Array  # of each pixel drawn to the nearest site, m (p,)
    test: Array  # of each site to the nearest that it is predicted from, m (m,)

    @property
    def w(self) -> float:
        """Wasserstein distance between those of tested sites and of the map, m; 0 is best."""
        return _wasserstein(self.test, self.map)


def mapping_distances(folds: SiteFolds, domain: Array) -> MappingDistances:
    """Measure how far folds test a model from its samples, and how far the map is."""
    lonlat = folds.sites.site_lonlat
    return MappingDistances(nearest(lonlat), nearest(domain, lonlat), folds.test_distances())


@split_method(
    "knndm",
    question="how well the map as a whole is predicted",
    label=lambda folds: "kNNDM folds",
    groups_by_folds=True,
)
def knndm_folds(samples: Samples, domain: Array, *, k: int = 10, seed: int = 0) -> SiteFolds:
    """Deal sites into folds that match the map's distances to its samples.

    Where samples are no nearer to each other than the map is to them, folds are random.

    Shapes: ``domain`` (p, 2).
    """
    sites = Sites.of(samples)
    lonlat = sites.site_lonlat
    if k < 2:
        raise BadArgument(f"k={k}: cross-validation has at least 2 folds. Pass k=5.")
    target = nearest(domain, lonlat)
    clustered = scipy.stats.ks_2samp(nearest(lonlat), target, alternative="greater", method="asymp")
    if clustered.pvalue >= _ALPHA:
        folds = random_folds(samples, k=k, seed=seed)
        return _with_match(folds, folds.group, 0, _wasserstein(folds.test_distances(), target))
    at = earth_centred(lonlat)
    known = scipy.spatial.cKDTree(at).query(at, k=min(len(at), _KNOWN))[1]
    tried = [
        (
            _wasserstein(_test_distances(lonlat, fold, known), target),
            cluster.max() + 1,
            cluster,
            fold,
        )
        for cluster, fold in _candidates(at, k, np.random.default_rng(seed))
    ]
    if not tried:
        raise NotEnoughData(
            f"{len(lonlat)} sites cannot be clustered into k={k} folds of {FEWEST} sites or more, "
            f"none with over {_LARGEST:.0%} of them. Pass fewer folds."
        )
    w, clusters, cluster, fold = min(tried, key=lambda one: one[:2])
    dealt = SiteFolds(sites, fold[sites.back], cluster[sites.back], "knndm", seed)
    return checked(_with_match(dealt, dealt.group, int(clusters), w))


def _with_match(folds: SiteFolds, group: np.ndarray, clusters: int, w: float) -> SiteFolds:
    """Say by which clusters folds came about, and how well they match."""
    options = {"clusters": clusters, "w_m": round(w, 3)}
    return SiteFolds(folds.sites, folds.fold, group, "knndm", folds.seed, parameters=options)


def _wasserstein(one: Array, other: Array) -> float:
    return float(scipy.stats.wasserstein_distance(one, other))


def _test_distances(lonlat: Array, fold: np.ndarray, known: np.ndarray) -> Array:
    """Measure from each site to the nearest one of another fold, m.

    `known` are the numbers of the sites around each, (m, n), nearest first: where one of
    them is of another fold, nothing need be searched.
    """
    other = fold[known] != fold[:, None]
    at = np.take_along_axis(known, other.argmax(axis=1)[:, None], axis=1)[:, 0]
    found, deep = metres(lonlat, lonlat[at]), ~other.any(axis=1)
    for number in np.unique(fold[deep]):
        tested = deep & (fold == number)
        found[tested] = nearest(lonlat[tested], lonlat[fold != number])
    return found


def _candidates(
    at: Array, k: int, draw: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the cluster and fold of each site for numbers of clusters, few ones densely."""
    kept = np.arange(len(at))
    if len(at) > _LINKED:
        kept = np.sort(draw.choice(len(at), _LINKED, replace=False))
    joined = scipy.spatial.cKDTree(at[kept]).query(at)[
        1
    ]  # others go with the nearest that is clustered
    tree = scipy.cluster.hierarchy.linkage(at[kept], method="ward")
    along = _first_component(at)
    for number in np.unique(np.geomspace(k, max(k, len(kept) - 2), _TRIED).round().astype(int)):
        cluster = scipy.cluster.hierarchy.fcluster(tree, number, criterion="maxclust")[joined] - 1
        fold = _merge(cluster, along, k)
        sizes = np.bincount(fold, minlength=k)
        if sizes.min() >= FEWEST and sizes.max() <= _LARGEST * len(at):
            yield cluster, fold


def _first_component(at: Array) -> Array:
    """Project locations on the line along which they spread most, (n,)."""
    centred = at - at.mean(axis=0)
    line = np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.asarray(centred @ line)


def _merge(cluster: np.ndarray, along: Array, k: int) -> np.ndarray:
    """Merge clusters into k folds: large ones alone, the others dealt in turn along a line.

    Neighbours on the line are thus in different folds (Linnenbrink et al. 2024, 2.2).
    """
    sizes = np.bincount(cluster)
    order = np.argsort(np.bincount(cluster, along) / sizes, kind="stable")
    large = sizes[order] >= len(cluster) / k
    fold, alone = np.empty(len(sizes), "int64"), int(large.sum())
    fold[order[large]] = np.arange(alone)
    fold[order[~large]] = alone + np.arange((~large).sum()) % max(1, k - alone)
    return np.asarray(fold[cluster])
