"""Target-weighted cross-validation: held-out predictions, weighted to be those of the map.

Samples and folds decide from how far a held-out sample is predicted, and in which landscape; a
map predicts its pixels from other distances and in other landscapes. Weights that give both the
distribution that they have over the pixels of the map turn held-out errors into an estimate of
those of the map (Brenning and Suesse 2026, arXiv:2603.29981). They are found by calibration, as
in sample surveys: the shares of classes of each descriptor are matched one after the other until
all agree (raking, Deming and Stephan 1940; Deville and Sarndal 1992).

Predictions of several ways of folding are pooled, because no weight replaces distances that
none of them has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.mapping.train.importance import Importance
from hmx.mapping.train.recipe import READ_LIMIT, Prepared
from hmx.points.samples import Samples
from hmx.scores import regression_scores
from hmx.splits.distances import lonlat_of, nearest
from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]

WEIGHTED = "all folds, weighted to the map"  # name of these scores among the ways of folding
_BANDS = 3  # that describe a landscape: each one more costs effective samples
_CLASSES = 10  # of each descriptor: tenths of the map
_FEWEST = 20  # predictions of a class, below which it joins its neighbour
_ROUNDS = 200  # of raking
_CLOSE = 1e-6  # largest difference of a share


@dataclass(frozen=True, eq=False)
class TaskWeights:
    """Weights of held-out predictions."""

    weights: Array  # (t,), sum 1
    effective: float  # samples of equal weight that would be worth as much (Kish 1965)
    beyond: float  # share of the map beyond the descriptors of all predictions

    @classmethod
    def of(
        cls, tasks: Mapping[str, Array], pixels: Mapping[str, Array], sample: NDArray[np.intp]
    ) -> TaskWeights:
        """Weigh predictions, of descriptors (t,), like pixels of the map, (p,).

        `sample` is the number of the sample of each prediction: that of one sample by several
        ways of folding is one observation.
        """
        classes = [_classes(tasks[name], pixels[name]) for name in tasks]
        weights = np.full(len(sample), 1 / len(sample))
        for _ in range(_ROUNDS):
            apart = 0.0
            for number, share in classes:
                has = np.bincount(number, weights, minlength=len(share))
                apart = max(apart, float(np.abs(has - share).max()))
                weights = weights * (share / np.where(has > 0, has, 1.0))[number]
            if apart < _CLOSE:
                break
        weights = np.array([float(f"{weight:.6g}") for weight in weights / weights.sum()])
        each = np.bincount(sample, weights) / weights.sum()
        outside = [(v < tasks[n].min()) | (v > tasks[n].max()) for n, v in pixels.items()]
        beyond = float(np.any(outside, axis=0).mean())
        return cls(weights, float(1 / (each**2).sum()), beyond)

    def scores(
        self,
        parts: Sequence[tuple[Array, Array]],
        turn: Callable[[Array], Array],
        *,
        together: bool,
    ) -> dict[str, float]:
        """Score truths (n,) and predictions (members, n) of all ways of folding, weighted.

        `turn` changes the units; members are scored one by one and averaged, or `together`.
        """
        truth = turn(np.concatenate([truth for truth, _ in parts]))
        members = np.concatenate([members for _, members in parts], axis=1)
        if together:
            members = members.mean(axis=0, keepdims=True)
        each = [regression_scores(truth, turn(one), self.weights) for one in members]
        mean = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        return mean | {"n_effective": self.effective, "beyond": self.beyond}

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "weights": self.weights.tolist(), "effective": self.effective, "beyond": self.beyond,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> TaskWeights:
        """Read what :meth:`as_dict` has written."""
        return cls(np.array(saved["weights"], "float64"), saved["effective"], saved["beyond"])


def weigh(
    prepared: Prepared, several: Sequence[SiteFolds], importance: Importance, *, seed: int
) -> TaskWeights:
    """Weigh the held-out predictions of all ways of folding like the pixels of the map.

    Descriptors are the distance to the nearest sample that was trained on, and the mean over time
    of the bands that matter most.
    """
    rows, columns = prepared.pixels(seed=seed)
    places, samples = lonlat_of(prepared.bands.grid, rows, columns), prepared.samples
    tested = [folds.test_distances()[folds.sites.back] for folds in several]
    tasks = {"distance": np.concatenate(tested)}
    pixels = {"distance": nearest(places, samples.lonlat)}
    height, width = prepared.bands.grid.shape
    if height * width <= READ_LIMIT:  # beyond, reading bands would take longer than the training
        names = _that_matter(prepared, importance)
        last = np.full(len(rows), len(prepared.bands.labels) - 1)
        value, number = np.zeros(len(rows)), np.arange(len(rows))
        drawn = Samples(rows, columns, value, number, last, places, places, number)
        own = prepared.plane_means(names)
        tasks |= {name: np.tile(own[name], len(several)) for name in names}
        pixels |= prepared.plane_means(names, drawn)
    known = np.all([np.isfinite(values) for values in pixels.values()], axis=0)
    tasks = {n: np.where(np.isfinite(v), v, np.nanmedian(v)) for n, v in tasks.items()}
    pixels = {name: values[known] for name, values in pixels.items()}
    return TaskWeights.of(tasks, pixels, np.tile(np.arange(len(samples)), len(several)))


def _that_matter(prepared: Prepared, importance: Importance) -> list[str]:
    """Return the bands of quantities whose loss costs most, at most 3."""
    spec = prepared.spec
    bands = [n for n in (*spec.dynamic, *spec.static) if n not in spec.categories]
    loss = importance.mean
    ranked = sorted(bands, key=lambda name: -loss.get(name, 0.0))
    return [name for name in ranked if loss.get(name, 0.0) > 0][:_BANDS]


def _classes(tasks: Array, pixels: Array) -> tuple[NDArray[np.intp], Array]:
    """Return the class of each prediction, and the share of the map in each class."""
    edges = list(np.unique(np.quantile(pixels, np.arange(1, _CLASSES) / _CLASSES)))
    while edges:
        count = np.bincount(np.searchsorted(edges, tasks, side="right"), minlength=len(edges) + 1)
        if count.min() >= min(_FEWEST, len(tasks)):
            break
        scarce = int(count.argmin())
        # the edge towards the fewer predictions of both neighbours
        left = count[scarce - 1] if scarce else np.inf
        right = count[scarce + 1] if scarce < len(edges) else np.inf
        del edges[scarce - 1 if left <= right else scarce]
    number = np.searchsorted(edges, tasks, side="right")
    share = np.bincount(np.searchsorted(edges, pixels, side="right"), minlength=len(edges) + 1)
    return number, share / len(pixels)
