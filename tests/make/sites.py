"""Samples anywhere, in one line."""

from __future__ import annotations

import numpy as np

from hmx.points.samples import Samples


def make_samples(lonlat: np.ndarray, site: np.ndarray | None = None) -> Samples:
    """Samples at some places, a site each unless said otherwise."""
    order = np.arange(len(lonlat))
    site = order if site is None else np.asarray(site)
    return Samples(order, order, order * 1.0, site, 0 * order, lonlat, lonlat, order)


def scattered(
    n: int = 300,
    *,
    seed: int = 0,
    side: float = 1.0,
    south: float = 41.0,
    west: float = 21.0,
    replicates: int = 1,
) -> Samples:
    """Samples at random in a square of some degrees, the replicates of a site 50 m apart."""
    rng = np.random.default_rng(seed)
    site = np.arange(n) // replicates
    places = np.array([west, south]) + side * rng.random((site.max() + 1, 2))
    return make_samples(places[site] + rng.normal(0, 4e-4, (n, 2)) * (replicates > 1), site)


def clustered(clusters: int = 20, each: int = 15, *, seed: int = 0) -> Samples:
    """Samples in clusters of some kilometres, in a square of one degree."""
    rng = np.random.default_rng(seed)
    middle = np.array([21.0, 41.0]) + rng.random((clusters, 1, 2))
    return make_samples((middle + rng.normal(0, 0.02, (clusters, each, 2))).reshape(-1, 2))
