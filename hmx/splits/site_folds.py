"""Splits: which samples share a site, and which role they play, decided site by site.

:class:`SiteFolds` test on every sample once. :class:`SiteSplit` is one round of
them, or a split without a test, with samples kept for validation and calibration.
Samples of one site always share a role. Roles are ordered as those of blocks, test >
calibration > validation > train: a site nearer than the buffer to a sample of a higher
role is unused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy

from hmx.errors import BadArgument, NotEnoughData
from hmx.files.shown import Shown
from hmx.points.samples import Samples
from hmx.splits import CALIBRATION, ROLES, TEST, TRAIN, UNUSED, VALIDATION
from hmx.splits.blocks import MARKS, SavedSplit, deal_evenly
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


@dataclass(frozen=True, eq=False)
class SiteSplit(SavedSplit):
    """The role of each sample."""

    WORD: ClassVar[str] = "split of samples"

    sites: Sites  # of the samples
    # ``TRAIN``, ``VALIDATION``, ``CALIBRATION``, ``TEST`` or ``UNUSED`` of :mod:`hmx.splits` (n,)
    role: np.ndarray
    buffer_km: float = 0.0  # least distance between samples of two roles, km

    def __post_init__(self) -> None:
        one_side(self.sites, self.role, "role")
        for role in (TEST, CALIBRATION, VALIDATION) if self.buffer_km else ():
            close = self.sites.near(self.role == role, self.buffer_km)
            if (close & (self.role < role)).any():
                raise BadArgument(
                    f"samples of two roles are nearer than the buffer of {self.buffer_km:g} km: "
                    "those of the lower role are to be left out. Call SiteSplit.with_buffer."
                )

    @classmethod
    def with_buffer(cls, sites: Sites, role: np.ndarray, buffer_km: float = 0.0) -> SiteSplit:
        """Leave out sites within the buffer of a sample of a higher role."""
        kept = role.copy()
        for above in (TEST, CALIBRATION, VALIDATION) if buffer_km else ():
            kept[sites.near(kept == above, buffer_km) & (kept < above)] = UNUSED
        for number, name in ROLES.items():
            if (role == number).any() and not (kept == number).any():
                raise NotEnoughData(
                    f"a buffer of {buffer_km:g} km leaves no sample for {name}: sites that near "
                    f"to one of a higher role are unused. Pass a buffer below {buffer_km:g} km, "
                    "or fewer folds."
                )
        return cls(sites, kept, buffer_km)

    def rows(self, role: int) -> np.ndarray:
        """List the rows that have a role."""
        return np.flatnonzero(self.role == role)

    def count(self, role: int) -> int:
        """Count the sites that have a role."""
        return int((self.role[self.sites.first] == role).sum())

    def facts(self) -> dict[str, Any]:
        """Return all fields in JSON values; roles are a text of one letter each."""
        marks = "".join(MARKS[int(role)] for role in self.role)
        return {"role": marks, "buffer_km": self.buffer_km, **self.sites.as_dict()}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> SiteSplit:
        """Build from the values of :meth:`facts`."""
        numbers = {mark: role for role, mark in MARKS.items()}
        role = np.array([numbers[mark] for mark in facts["role"]], "uint8")
        return cls(Sites.from_dict(facts), role, float(facts["buffer_km"]))


@dataclass(frozen=True, eq=False, repr=False)
class SiteFolds(SavedSplit, Shown):
    """Samples in folds: each is tested on once, by a model that saw no sample near it."""

    WORD: ClassVar[str] = "folds of samples"

    sites: Sites  # of the samples
    fold: np.ndarray  # of each sample, 0 ... k - 1 (n,)
    # What was dealt: samples of a group (a site, a block, a region) share a fold, and share a
    # role in :meth:`split` (n,)
    group: np.ndarray
    method: str  # how they were dealt
    seed: int = 0  # of the deal
    buffer_km: float = 0.0  # sites nearer than this to a tested sample are not trained on, km
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the method, in JSON's types
    names: tuple[str, ...] = ()  # of the folds, where they have any

    def __post_init__(self) -> None:
        one_side(self.sites, self.fold, "fold")
        one_side(self.sites, self.group, "group")

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        sizes = np.bincount(self.fold)
        return {
            "folds": f"{len(self)} by {self.method}",
            "samples": f"{len(self.fold):,}, {sizes.min():,} to {sizes.max():,} in a fold",
            "groups": f"{len(np.unique(self.group)):,}",
            "buffer": f"{self.buffer_km:g} km",
        }

    def __len__(self) -> int:
        return int(self.fold.max()) + 1

    def rounds(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows to train and to test on, fold by fold.

        Rows of sites within the buffer are in neither.
        """
        for fold in range(len(self)):
            split = self.split(fold)
            yield split.rows(TRAIN), split.rows(TEST)

    def split(
        self, fold: int | None = None, shares: Mapping[int, float] | None = None
    ) -> SiteSplit:
        """Split the samples of a round, whole groups at a time."""
        role = np.full(len(self.sites), TRAIN, "uint8")
        if fold is not None:
            role[self.fold == fold] = TEST
        if shares:
            draw = np.random.default_rng([self.seed, len(self) if fold is None else fold])
            self._share_out(role, shares, draw)
        return SiteSplit.with_buffer(self.sites, role, self.buffer_km)

    def inner(self, rows: np.ndarray, k: int, *, seed: int | None = None) -> SiteFolds:
        """Deal some of the samples anew, in the same groups."""
        seed = self.seed if seed is None else seed
        group, sites = self.group[rows], self.sites.at(rows)
        fold = balance(group, k, seed, method=self.method)
        return replace(self, sites=sites, fold=fold, group=group, seed=seed, names=())

    def at(self, rows: np.ndarray) -> SiteFolds:
        """Return the folds of some of the samples; a fold without any is left out."""
        fold = np.unique(self.fold[rows], return_inverse=True)[1].ravel()
        sites, group = self.sites.at(rows), self.group[rows]
        return replace(self, sites=sites, fold=fold, group=group, names=())

    def test_distances(self) -> Array:
        """Measure how far each site is from the nearest it is predicted from."""
        first, lonlat = self.sites.first, self.sites.site_lonlat
        found = np.full(len(first), np.inf)
        for fold in range(len(self)):
            role = self.split(fold).role[first]
            found[role == TEST] = nearest(lonlat[role == TEST], lonlat[role == TRAIN])
        return found

    def facts(self) -> dict[str, Any]:
        """Return all fields in JSON values, with the location of each sample."""
        return {
            "method": self.method,
            "seed": self.seed,
            "buffer_km": self.buffer_km,
            "parameters": dict(self.parameters),
            "names": list(self.names),
            "fold": self.fold.tolist(),
            "group": self.group.tolist(),
            **self.sites.as_dict(),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> SiteFolds:
        """Build from the values of :meth:`facts`."""
        return cls(
            Sites.from_dict(facts),
            np.array(facts["fold"], "int64"),
            np.array(facts["group"], "int64"),
            str(facts["method"]),
            int(facts["seed"]),
            float(facts["buffer_km"]),
            dict(facts["parameters"]),
            tuple(facts["names"]),
        )

    def _share_out(
        self, role: np.ndarray, shares: Mapping[int, float], draw: np.random.Generator
    ) -> None:
        """Give groups of the training samples to other roles, in place; one stays."""
        first = self.sites.first[role[self.sites.first] == TRAIN]
        groups, sizes = np.unique(self.group[first], return_counts=True)
        order, wanted = draw.permutation(len(groups)), [r for r in shares if shares[r] > 0]
        if len(groups) <= len(wanted):
            raise NotEnoughData(
                f"{len(groups)} groups of samples ({self.method}) cannot fill {len(wanted) + 1} "
                "roles: each takes one. Pass smaller blocks, or shares of 0."
            )
        for later, number in zip(range(len(wanted))[::-1], wanted, strict=True):
            off = np.abs(sizes[order].cumsum() - shares[number] * len(first))
            take = 1 + int(off[: len(order) - 1 - later].argmin())
            role[np.isin(self.group, groups[order[:take]])] = number
            order = order[take:]
