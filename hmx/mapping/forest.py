"""A random forest as plain arrays: the same trees in training and on the map, no pickle.

scikit-learn grows it (Breiman 2001, doi:10.1023/A:1010933404324) on the values of the
centre pixel; the arrays hold the splits of each tree and the statistics of its leaves. The
trees are rebuilt as scikit-learn's own and give the same numbers, bit by bit.

A forest also measures its uncertainty: the spread of the training values in its leaves, over
all trees (law of total variance; the second moment of the quantile regression forest of
Meinshausen 2006). It is large where soils vary, and scales the intervals of
:mod:`hmx.uncertainty.conformal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument, broken_part

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

TREES, LEAF, SHARE = 200, 3, 1 / 3  # trees; samples of a leaf; share of features per split
_LEAF = -1  # feature number of a leaf


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of a regression forest."""

    features: int  # number of features
    roots: np.ndarray  # int32, (trees + 1,): first node of each tree, then the number of nodes
    feature: np.ndarray  # int16, (nodes,): feature that a node splits by; -1 at a leaf
    # float32, (nodes,): rows up to it go to the next node. It is the largest float32 that sends
    # float32 features the same way as scikit-learn's float64 threshold; 0 at a leaf
    threshold: np.ndarray
    right: np.ndarray  # int32, (nodes,): right child, counted from the tree's root; 0 at a leaf
    value: np.ndarray  # float64, (leaves,): mean of the target, in the order of the nodes
    variance: np.ndarray  # float32, (leaves,): variance of the target

    def __len__(self) -> int:
        """Return the number of trees."""
        return len(self.roots) - 1

    def predict(self, x: Floats) -> Array:
        """Predict the target from features (n, features), as scikit-learn's forest would: (n,)."""
        return self.moments(x)[0]

    def moments(self, x: Floats) -> tuple[Array, Array]:
        """Predict mean and standard deviation of the target among similar pixels, (n,) each.

        The features are (n, features), finite, in the order of training; results are in units of
        the target. Raises :class:`BadArgument` if the number of features differs.
        """
        if x.ndim != 2 or x.shape[1] != self.features:
            raise BadArgument(
                f"features {x.shape} do not fit this forest, which splits by {self.features}. "
                "Pass (n, features), the centre pixel's values in the order of training."
            )
        # scikit-learn compares in float32; a float64 row would take other branches
        rows = np.ascontiguousarray(x, dtype=np.float32)
        total, second = np.zeros(len(rows)), np.zeros(len(rows))
        for tree, leaf_of in zip(self._trees, self._leaves, strict=True):
            leaf = leaf_of[tree.apply(rows)]
            value = self.value[leaf]
            total += value
            second += value**2 + self.variance[leaf]
        mean = total / len(self)
        return mean, np.sqrt(np.maximum(second / len(self) - mean**2, 0))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        named = {name: array for name, array in vars(self).items() if name in _ARRAYS}
        return {"features": np.array([self.features], np.int32), **named}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Forest:
        """Build a forest from :meth:`arrays`; raise :class:`BundleError` if they are damaged."""
        try:
            forest = cls(int(arrays["features"][0]), **{name: arrays[name] for name in _ARRAYS})
            sound = forest._sound()
        except (KeyError, IndexError, TypeError, ValueError):
            sound = False
        if not sound:
            raise broken_part("forest", "is damaged: its arrays are not those of trees")
        return forest

    def require_features(self, count: int) -> None:
        """Raise :class:`BundleError` unless the forest has `count` features."""
        if self.features != count or not len(self):
            have = f"{len(self)} trees of {self.features} features"
            raise broken_part("forest", f"has {have}, and its bands make {count}")

    def _sound(self) -> bool:
        """Check that every walk ends in a leaf of its own tree: C code walks without checks."""
        whole = all(getattr(self, name).dtype.kind in "iu" for name in (*_ARRAYS[:2], "right"))
        flat = all(getattr(self, name).ndim == 1 for name in _ARRAYS)
        numbers = (self.threshold, self.value, self.variance)
        if not (whole and flat and all(a.dtype.kind == "f" for a in numbers)):
            return False
        if not all(np.isfinite(array).all() for array in numbers) or not len(self.roots):
            return False
        nodes, sizes = len(self.feature), np.diff(self.roots).astype(np.int64)
        leaf = self.feature == _LEAF
        # children lie behind their node, so a walk always ends
        at = np.arange(nodes) - np.repeat(self.roots[:-1], sizes)
        ahead = (self.right > at + 1) & (self.right < np.repeat(sizes, sizes))
        return bool(
            self.roots[0] == 0 and self.roots[-1] == nodes and (sizes > 0).all()
            and len(self.threshold) == len(self.right) == nodes
            and len(self.value) == len(self.variance) == leaf.sum()
            and (leaf | ahead).all() and leaf[self.roots[1:] - 1].all()
            and ((self.feature >= _LEAF) & (self.feature < self.features)).all()
        )  # fmt: skip

    @cached_property
    def _leaves(self) -> list[np.ndarray]:
        """For each tree, the number of each node among all leaves."""
        return np.split(np.cumsum(self.feature == _LEAF) - 1, self.roots[1:-1])

    @cached_property
    def _trees(self) -> list[Any]:
        """The trees as scikit-learn's, which walk in C."""
        parts = (np.split(a, self.roots[1:-1]) for a in (self.feature, self.threshold, self.right))
        return [_grown(self.features, *tree) for tree in zip(*parts, strict=True)]


_ARRAYS = ("roots", "feature", "threshold", "right", "value", "variance")


def fit_forest(x: Floats, y: Floats, seed: int, *, trees: int = TREES, threads: int = 1) -> Forest:
    """Grow a random forest on features (n, features) and a target (n,), in the target's units.

    Trees grow to leaves of 3 samples, with a third of the features at each split; the seed decides
    bootstraps and splits, whatever the number of threads.
    """
    from sklearn.ensemble import RandomForestRegressor  # takes a second to load

    # each tree has its own seed, and `moments` adds them up in their order: threads change no bit
    grown = RandomForestRegressor(
        trees, min_samples_leaf=LEAF, max_features=SHARE, random_state=seed, n_jobs=threads
    ).fit(np.asarray(x, np.float32), y)
    return from_sklearn(grown)


def from_sklearn(grown: RandomForestRegressor) -> Forest:
    """Copy the trees of scikit-learn's forest: one target, squared errors, no missing values."""
    trees = [estimator.tree_ for estimator in grown.estimators_]
    leaf = np.concatenate([tree.children_left for tree in trees]) == _LEAF

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(tree, name) for tree in trees])

    # the largest float32 that is not above: a float32 x is <= both thresholds, or neither
    exact = joined("threshold")
    below = exact.astype(np.float32)
    below = np.where(below > exact, np.nextafter(below, np.float32(-np.inf)), below)
    return Forest(
        features=grown.n_features_in_,
        roots=np.cumsum([0, *(tree.node_count for tree in trees)]).astype(np.int32),
        feature=np.where(leaf, _LEAF, joined("feature")).astype(np.int16),
        threshold=np.where(leaf, np.float32(0), below),
        right=np.where(leaf, 0, joined("children_right")).astype(np.int32),
        value=np.concatenate([tree.value[:, 0, 0] for tree in trees])[leaf],
        variance=np.maximum(joined("impurity")[leaf], 0).astype(np.float32),
    )


def _grown(features: int, feature: np.ndarray, threshold: np.ndarray, right: np.ndarray) -> Any:
    """Build scikit-learn's tree; nodes are in depth-first order, so the left child is the next."""
    from sklearn.tree._tree import Tree

    tree = Tree(features, np.ones(1, np.intp), 1)
    nodes = np.zeros(len(feature), tree.__getstate__()["nodes"].dtype)
    leaf = feature == _LEAF
    nodes["left_child"] = np.where(leaf, _LEAF, np.arange(len(feature)) + 1)
    nodes["right_child"] = np.where(leaf, _LEAF, right)
    nodes["feature"], nodes["threshold"] = feature, threshold
    values = np.zeros((len(feature), 1, 1))
    tree.__setstate__(
        {"max_depth": len(nodes), "node_count": len(nodes), "nodes": nodes, "values": values}
    )
    return tree
