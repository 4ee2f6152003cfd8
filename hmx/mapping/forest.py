"""A random forest as plain arrays: the same trees in training and on the map, no pickle.

scikit-learn grows it (Breiman 2001, doi:10.1023/A:1010933404324) on the values of the
centre pixel; what is kept of each tree is where it splits and what its leaves say. The
trees are rebuilt as scikit-learn's own and give the same numbers, bit by bit.

A forest also says how sure it is: the spread of what lies in its leaves, over all trees
(law of total variance; the second moment of the quantile regression forest of
Meinshausen 2006). It knows where soils vary, and scales the intervals of
:mod:`hmx.uncertainty.conformal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree._tree import Tree

from hmx.errors import BadArgument, BundleError

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

TREES, LEAF, SHARE = 200, 3, 1 / 3  # trees; samples of a leaf; share of features a split sees
_LEAF = -1  # in place of a feature


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of a regression forest.

    Parameters
    ----------
    features : int
        That it is shown.
    roots : ndarray of int32, (trees + 1,)
        Where each tree begins among the nodes, and their number.
    feature : ndarray of int16, (nodes,)
        That a node splits by; -1 at a leaf.
    threshold : ndarray of float32, (nodes,)
        Rows up to it go to the next node; the largest float32 that sends float32
        features the same way as the float64 of scikit-learn. 0 at a leaf.
    right : ndarray of int32, (nodes,)
        Where the others go, counted from the root of the tree; 0 at a leaf.
    value : ndarray of float64, (leaves,)
        Mean of the target in each leaf, in the order of the nodes.
    variance : ndarray of float32, (leaves,)
        Of the target in each leaf.
    """

    features: int
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    value: np.ndarray
    variance: np.ndarray

    def __len__(self) -> int:
        """Count the trees."""
        return len(self.roots) - 1

    def predict(self, x: Floats) -> Array:
        """Predict the target.

        Parameters
        ----------
        x : ndarray, (n, features)
            Finite, in the order of training.

        Returns
        -------
        ndarray of float64, (n,)
            As scikit-learn's forest would.
        """
        return self.moments(x)[0]

    def moments(self, x: Floats) -> tuple[Array, Array]:
        """Predict the target, and how much it varies where features are alike.

        Parameters
        ----------
        x : ndarray, (n, features)
            Finite, in the order of training.

        Returns
        -------
        mean, spread : ndarray of float64, (n,)
            Mean and standard deviation of the target, units of the target.

        Raises
        ------
        BadArgument
            If the number of features is another.
        """
        if x.ndim != 2 or x.shape[1] != self.features:
            raise BadArgument(
                f"features {x.shape} do not fit this forest, which splits by {self.features}. "
                "Pass (n, features), the centre pixel's values in the order of training."
            )
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
        """Return all it is made of, by name."""
        named = {name: array for name, array in vars(self).items() if name in _ARRAYS}
        return {"features": np.array([self.features], np.int32), **named}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Forest:
        """Build one from :meth:`arrays`.

        Raises
        ------
        BundleError
            If the arrays are not those of trees.
        """
        try:
            found = cls(int(arrays["features"][0]), **{name: arrays[name] for name in _ARRAYS})
            sound = found._sound()
        except (KeyError, IndexError, TypeError, ValueError):
            sound = False
        if not sound:
            raise BundleError(
                "the forest of this model is damaged: its arrays are not those of trees. Copy the "
                "bundle anew, or train again."
            )
        return found

    def require_features(self, count: int) -> None:
        """Raise :class:`BundleError` unless it splits by so many features."""
        if self.features != count or not len(self):
            raise BundleError(
                f"the forest of this model has {len(self)} trees of {self.features} features, and "
                f"its bands make {count}. Copy the bundle anew, or train again."
            )

    def _sound(self) -> bool:
        """Check that every walk ends in a leaf, inside its tree: C code will walk it."""
        whole = all(getattr(self, name).dtype.kind in "iu" for name in (*_ARRAYS[:2], "right"))
        flat = all(getattr(self, name).ndim == 1 for name in _ARRAYS)
        numbers = (self.threshold, self.value, self.variance)
        if not (whole and flat and all(a.dtype.kind == "f" for a in numbers)):
            return False
        if not all(np.isfinite(array).all() for array in numbers) or not len(self.roots):
            return False
        nodes, sizes = len(self.feature), np.diff(self.roots).astype(np.int64)
        leaf = self.feature == _LEAF
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
        """For each tree, which leaf of all a node is."""
        return np.split(np.cumsum(self.feature == _LEAF) - 1, self.roots[1:-1])

    @cached_property
    def _trees(self) -> list[Any]:
        """The trees as scikit-learn's, which walk in C."""
        parts = (np.split(a, self.roots[1:-1]) for a in (self.feature, self.threshold, self.right))
        return [_grown(self.features, *tree) for tree in zip(*parts, strict=True)]


_ARRAYS = ("roots", "feature", "threshold", "right", "value", "variance")


def fit_forest(x: Floats, y: Floats, seed: int, *, trees: int = TREES) -> Forest:
    """Grow a random forest.

    Parameters
    ----------
    x : ndarray, (n, features)
        Finite: the centre pixel's values.
    y : ndarray, (n,)
        The target, in the units the forest is to predict.
    seed : int
        Of bootstraps and splits.
    trees : int
        How many.

    Returns
    -------
    Forest
        Fully grown to leaves of 3 samples, a third of the features at each split.
    """
    grown = RandomForestRegressor(
        trees, min_samples_leaf=LEAF, max_features=SHARE, random_state=seed, n_jobs=1
    ).fit(np.asarray(x, np.float32), y)
    return from_sklearn(grown)


def from_sklearn(grown: RandomForestRegressor) -> Forest:
    """Take the trees out of scikit-learn's forest.

    Parameters
    ----------
    grown : RandomForestRegressor
        Fitted on one target, of squared errors, without missing values.
    """
    trees = [estimator.tree_ for estimator in grown.estimators_]
    leaf = np.concatenate([tree.children_left for tree in trees]) == _LEAF

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(tree, name) for tree in trees])

    return Forest(
        features=grown.n_features_in_,
        roots=np.cumsum([0, *(tree.node_count for tree in trees)]).astype(np.int32),
        feature=np.where(leaf, _LEAF, joined("feature")).astype(np.int16),
        threshold=np.where(leaf, np.float32(0), _rounded_down(joined("threshold"))),
        right=np.where(leaf, 0, joined("children_right")).astype(np.int32),
        value=np.concatenate([tree.value[:, 0, 0] for tree in trees])[leaf],
        variance=np.maximum(joined("impurity")[leaf], 0).astype(np.float32),
    )


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Find the largest float32 that is not above: float32 x <= both or neither."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _grown(features: int, feature: np.ndarray, threshold: np.ndarray, right: np.ndarray) -> Any:
    """Build scikit-learn's tree; nodes are in depth-first order, so left is next."""
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
