"""Split methods: samples into folds, in ways that answer different questions.

Which way is right depends on the question (Wadoux et al. 2021,
doi:10.1016/j.ecolmodel.2021.109692; Linnenbrink et al. 2024,
doi:10.5194/gmd-17-5897-2024): how well a model does between its samples, in land without
samples, in another region, or over the map that it is used for.
The same samples and seed give the same folds in every process.

Cross-validation judges a map if a tested site is as far from the sites trained on as a
pixel of the map is from the samples: nearest-neighbour distance matching (Mila et al.
2022, doi:10.1111/2041-210X.13851), for k folds by Linnenbrink et al. (2024,
doi:10.5194/gmd-17-5897-2024). Sites are clustered into k, k + 1, ... clusters, which are
merged into k folds; kept is what comes nearest to the map, measured by W, the area
between the two distributions of distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from hmx.errors import BadArgument, NotEnoughData
from hmx.points.samples import Samples
from hmx.splits import TEST, TRAIN
from hmx.splits.distances import Array, earth_centred, metres, nearest
from hmx.splits.options import SplitOptions
from hmx.splits.registry import method_of, split_method
from hmx.splits.site_folds import SiteFolds, Sites, balance

FEWEST = 5  # sites that a round trains and tests on: scores of fewer sites are noise
_REMEDIES = {  # what a caller passes where the options are not enough
    "region": "region=points[column].to_numpy()[samples.source]",
    "domain": "domain=hmx.splits.distances.domain(grid, valid)",
}
_DEGREE_KM = 40_007.863 / 360  # of a meridian of WGS 84, mean

_TRIED = 100  # numbers of clusters
_ALPHA = 0.05  # of the test whether samples are clustered
_LARGEST = 0.5  # share of the sites in one fold, at most
_KNOWN = 64  # sites around each, itself among them
_LINKED = 5_000  # sites that are clustered; memory grows with the square


def fold_samples(
    samples: Samples,
    options: SplitOptions,
    *,
    seed: int = 0,
    domain: np.ndarray | None = None,
    region: Sequence[object] | np.ndarray | None = None,
) -> SiteFolds:
    """Deal samples into folds by the method that options name.

    ``domain`` are locations to predict, degrees, (p, 2), for ``knndm``
    (:func:`hmx.splits.distances.domain`); ``region`` is the region of each sample, (n,).
    """
    method = method_of(options.method)
    given: dict[str, Any] = {
        "k": options.folds,
        "seed": seed,
        "side_km": options.block_km,
        "buffer_km": options.distance_km or 0.0,
        "distance_km": options.distance_km,
        "region": region,
        "domain": domain,
    }
    chosen = {name: given[name] for name in method.parameters}
    for name, remedy in _REMEDIES.items():
        if name in chosen and chosen[name] is None:
            raise BadArgument(
                f"method={method.name!r} without {name}: it decides the folds. Pass {remedy}."
            )
    return method.deal(samples, **chosen)


@split_method(
    "random",
    question="how well gaps between samples are filled",
    label=lambda folds: "random folds",
)
def random_folds(samples: Samples, *, k: int = 10, seed: int = 0) -> SiteFolds:
    """Deal sites into folds at random.

    Tests how a model does among its samples, which flatters it where samples are
    clustered and the map is not.
    """
    sites = Sites.of(samples)
    fold = balance(sites.back, k, seed, method="random")
    return checked(SiteFolds(sites, fold, sites.back, "random", seed))


def _block_label(folds: SiteFolds) -> str:
    apart = f", {folds.buffer_km:g} km apart" if folds.buffer_km else ""
    return f"blocks of {folds.parameters['side_km']:g} km{apart}"


@split_method("blocks", question="how well land without samples is predicted", label=_block_label)
def block_folds(
    samples: Samples, *, side_km: float, k: int = 10, seed: int = 0, buffer_km: float = 0.0
) -> SiteFolds:
    """Deal square blocks of land into folds of about as many samples.

    Blocks lie in rows along the parallels, from the equator, and are as wide as high on
    the ground at every latitude. They do not depend on the samples.
    """
    _positive("side_km", side_km, 20)
    _buffer(buffer_km)
    sites = Sites.of(samples)
    group = _blocks(sites.site_lonlat, side_km)[sites.back]
    fold = balance(group, k, seed, method=f"blocks of {side_km:g} km")
    options = {"side_km": float(side_km)}
    return checked(SiteFolds(sites, fold, group, "blocks", seed, float(buffer_km), options))


@split_method(
    "distance",
    question="how well locations that far from any sample are predicted",
    label=lambda folds: f"clumps {folds.buffer_km:g} km apart",
)
def distance_folds(samples: Samples, *, distance_km: float, k: int = 5, seed: int = 0) -> SiteFolds:
    """Deal clumps of sites into folds, and keep a distance around the tested ones.

    A clump is a site drawn at random with those that are within the distance of it and
    in no other clump: single sites of which most were left out in dense land if they
    were tested one by one.
    """
    _positive("distance_km", distance_km, 5)
    sites = Sites.of(samples)
    group = _clumps(sites.site_lonlat, distance_km * 1000, np.random.default_rng(seed))[sites.back]
    fold = balance(group, k, seed, method=f"clumps within {distance_km:g} km")
    return checked(SiteFolds(sites, fold, group, "distance", seed, float(distance_km)))


@split_method("regions", question="how well a region without samples is predicted")
def region_folds(
    samples: Samples,
    region: Sequence[object] | np.ndarray,
    *,
    buffer_km: float = 0.0,
    side_km: float = 20.0,
    seed: int = 0,
) -> SiteFolds:
    """Make a fold of each region, which a model is then tested on unseen.

    Shapes: ``region`` (n,).
    """
    _buffer(buffer_km)
    _positive("side_km", side_km, 20)
    names = _names(region, len(samples))
    sites = Sites.of(samples)
    known, fold = np.unique(names[sites.first], return_inverse=True)
    if len(known) < 2:
        raise BadArgument(
            f"all sites are in region {str(known[0])!r}: to leave one out takes two. Pass a column "
            "with several regions, or method='blocks'."
        )
    blocks = np.stack([fold.ravel(), _blocks(sites.site_lonlat, side_km)], axis=1)
    group = np.unique(blocks, axis=0, return_inverse=True)[1].ravel()
    return checked(
        SiteFolds(
            sites,
            fold.ravel()[sites.back],
            group[sites.back],
            "regions",
            seed,
            float(buffer_km),
            {"side_km": float(side_km)},
            tuple(known.tolist()),
        )
    )


def checked(folds: SiteFolds) -> SiteFolds:
    """Return folds whose rounds all have sites to train and to test on."""
    for fold in range(len(folds)):
        split = folds.split(fold)
        for role, what in ((TEST, "test"), (TRAIN, "train")):
            if (count := split.count(role)) < FEWEST:
                name = f" ({folds.names[fold]})" if folds.names else ""
                apart = f" outside its buffer of {folds.buffer_km:g} km" if folds.buffer_km else ""
                where = apart if role == TRAIN else ""
                raise NotEnoughData(
                    f"fold {fold + 1} of {len(folds)}{name} has {count} sites to {what} on{where}: "
                    f"a round needs {FEWEST} of both. {_remedy(folds, role)}"
                )
    return folds


def _remedy(folds: SiteFolds, role: int) -> str:
    if role == TRAIN and folds.buffer_km:
        return f"Pass a distance below {folds.buffer_km:g} km, or more folds."
    if folds.names:
        return "Merge small regions in that column."
    return "Pass fewer folds, smaller blocks, or more points."


def _blocks(lonlat: Array, side_km: float) -> np.ndarray:
    """Return the block number of each site: rows along parallels, columns as wide as high."""
    row = np.floor(lonlat[:, 1] * _DEGREE_KM / side_km)
    middle = np.clip((row + 0.5) * side_km / _DEGREE_KM, -90, 90)
    column = np.floor(lonlat[:, 0] * np.cos(np.deg2rad(middle)) * _DEGREE_KM / side_km)
    return np.unique(np.stack([row, column], axis=1), axis=0, return_inverse=True)[1].ravel()


def _clumps(lonlat: Array, radius: float, draw: np.random.Generator) -> np.ndarray:
    """Return the clump number of each site: a drawn site and the free sites within the radius."""
    at, clump = earth_centred(lonlat), np.full(len(lonlat), -1)
    tree = scipy.spatial.cKDTree(at)
    for number, site in enumerate(draw.permutation(len(lonlat))):
        if clump[site] < 0:
            near = np.array(tree.query_ball_point(at[site], radius))
            clump[near[clump[near] < 0]] = number
    return clump


def _names(region: Sequence[object] | np.ndarray, samples: int) -> np.ndarray:
    """Read the name of the region of each sample."""
    if len(region) != samples:
        raise BadArgument(
            f"{len(region)} regions for {samples} samples: each sample has one. "
            "Pass points['region'].to_numpy()[samples.source]."
        )
    if missing := int(np.sum([pd.isna(name) for name in region])):
        raise BadArgument(
            f"{missing} of {samples} samples have no region: each has one. "
            "Fill the column: points['region'] = points['region'].fillna('other')."
        )
    return np.array([str(name) for name in region])


def _positive(name: str, length: float, usual: float) -> None:
    if not 0 < length < math.inf:
        raise BadArgument(f"{name}={length}: a length is above 0 km. Pass {name}={usual}.")


def _buffer(km: float) -> None:
    if not 0 <= km < math.inf:
        raise BadArgument(f"buffer_km={km}: a buffer is 0 km or more. Pass buffer_km=0.")


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

    If samples are as far from each other as the map is from them, folds are random.

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
    """Record the clusters that folds were made from, and how well they match."""
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
    centred = at - at.mean(axis=0)
    # the line along which they spread most, and where each lies on it, (n,)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    for number in np.unique(np.geomspace(k, max(k, len(kept) - 2), _TRIED).round().astype(int)):
        cluster = scipy.cluster.hierarchy.fcluster(tree, number, criterion="maxclust")[joined] - 1
        fold = _merge(cluster, along, k)
        sizes = np.bincount(fold, minlength=k)
        if sizes.min() >= FEWEST and sizes.max() <= _LARGEST * len(at):
            yield cluster, fold


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
