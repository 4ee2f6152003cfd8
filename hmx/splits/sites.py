"""Sites: where samples lie, and which samples share a site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from hmx.errors import BadArgument, NotEnoughData
from hmx.points.samples import Samples
from hmx.splits.blocks import deal_evenly
from hmx.splits.distances import Array, earth_centred, nearest

_DECIMALS = 7  # of degrees kept: 1 cm


@dataclass(frozen=True, eq=False)
class Sites:
    """Where samples lie, and which samples share a site."""

    site: np.ndarray  # site of each row (n,)
    lonlat: Array  # degrees, WGS 84 (n, 2)

    @classmethod
    def of(cls, samples: Samples) -> Sites:
        """Read the locations of samples, to the centimetre."""
        return cls(samples.site.astype("int64"), np.round(samples.lonlat, _DECIMALS))

    def __len__(self) -> int:
        return len(self.site)

    @cached_property
    def _sites(self) -> tuple[np.ndarray, np.ndarray]:
        _, first, back = np.unique(self.site, return_index=True, return_inverse=True)
        return first, back.ravel()

    @property
    def first(self) -> np.ndarray:
        """First row of each site, (m,)."""
        return self._sites[0]

    @property
    def back(self) -> np.ndarray:
        """Number of the site of each row, 0 ... m - 1, (n,)."""
        return self._sites[1]

    @property
    def site_lonlat(self) -> Array:
        """Longitude and latitude of each site: of its first row, (m, 2)."""
        return np.asarray(self.lonlat[self.first])

    def near(self, rows: np.ndarray, km: float) -> np.ndarray:
        """Flag rows whose site is nearer than a distance to some rows, those rows included."""
        close = nearest(self.lonlat, self.lonlat[rows]) < km * 1000
        return np.asarray(np.bincount(self.back, close)[self.back] > 0)

    def at(self, rows: np.ndarray) -> Sites:
        """Return the sites of some rows, by position or by mask."""
        return Sites(self.site[rows], self.lonlat[rows])

    def as_dict(self) -> dict[str, Any]:
        """Return the sites in JSON values."""
        lon, lat = self.lonlat.T.tolist()
        return {"site": self.site.tolist(), "lon": lon, "lat": lat}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Sites:
        """Read what :meth:`as_dict` has written."""
        lonlat = np.array([saved["lon"], saved["lat"]], "float64").T
        return cls(np.array(saved["site"], "int64"), lonlat)


def one_side(sites: Sites, numbers: np.ndarray, what: str) -> None:
    """Refuse numbers that differ within a site."""
    odd = numbers != numbers[sites.first][sites.back]
    if odd.any():
        raise BadArgument(
            f"site {sites.site[odd.argmax()]} has samples of more than one {what}: replicates of "
            f"a site stay together. Give all samples of a site one {what}."
        )


def balance(group: np.ndarray, k: int, seed: int, *, method: str) -> np.ndarray:
    """Deal groups into folds of about as many samples each."""
    if k < 2:
        raise BadArgument(f"k={k}: cross-validation has at least 2 folds. Pass k=5.")
    groups, back, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(groups) < k:
        raise NotEnoughData(
            f"samples are in {len(groups)} group{'s' * (len(groups) != 1)} ({method}), and k={k} "
            "folds need one each. Pass fewer folds, or smaller blocks."
        )
    return deal_evenly(sizes, k, np.random.default_rng(seed))[back.ravel()]


def linked(groups: np.ndarray, lonlat: Array, km: float | None) -> np.ndarray:
    """Join groups whose samples lie nearer to each other than a distance, (n,).

    Groups of the result are then at least that distance apart.
    """
    if km is None:
        return groups
    _, back = np.unique(groups, return_inverse=True)
    tree = scipy.spatial.cKDTree(earth_centred(lonlat))
    pairs = tree.query_pairs(km * 1000, output_type="ndarray")  # chords are shorter than ways
    ends = back.ravel()[pairs]
    size = int(back.max()) + 1 if len(back) else 0
    graph = scipy.sparse.coo_array((np.ones(len(ends)), ends.T), shape=(size, size))
    joined = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    if size and joined.max() == 0:
        raise NotEnoughData(
            f"validation_km={km:g} joins all samples: none is that far from all others. Pass a "
            "shorter distance."
        )
    return np.asarray(joined[back.ravel()])


def hold_out(groups: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Choose groups for validation."""
    if not share:
        return np.zeros(len(groups), bool)
    k = min(round(1 / share), len(np.unique(groups)))
    fold = balance(groups, max(2, k), seed, method="sites or blocks of training samples")
    return np.asarray(fold == 0)
