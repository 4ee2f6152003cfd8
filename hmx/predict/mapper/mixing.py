"""Mixing: networks and a forest as one estimate, with its spread.

One code for the map and for the folds that intervals are calibrated on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmx.distribution import mean, quantile
from hmx.forest import Forest
from hmx.map_spec import MapSpec

_SIGMA = 0.1587, 0.8413  # one standard deviation below and above the mean of a normal


@dataclass(frozen=True)
class Estimate:
    """What is thought of the target at some pixels.

    Parameters
    ----------
    center : ndarray of float64
        Mean, scaled transformed units.
    spread : ndarray of float64
        How far truths may lie from it, relative to other pixels.
    """

    center: np.ndarray
    spread: np.ndarray


def mixed(
    members: np.ndarray, spec: MapSpec, forest: Forest | None, features: np.ndarray
) -> Estimate:
    """Mix the networks of an ensemble, and the forest.

    Parameters
    ----------
    members : ndarray, (members, q, y, x)
        As the networks give them.
    spec : MapSpec
        Its ``blend`` is the weight of the forest, its network has the knots.
    forest : Forest, optional
        Knows where the target varies, so that its spread is taken if it is there.
    features : ndarray, (f, y, x)
        Values of the pixels, for the forest.
    """
    knots, distributions = spec.network.knots, members.astype("float64").mean(axis=0)
    center = mean(distributions, knots) if knots else distributions[0]
    if forest is not None:
        shape = features.shape[1:]
        grown, varies = forest.moments(features.reshape(len(features), -1).T)
        center = (1 - spec.blend) * center + spec.blend * grown.reshape(shape)
        return Estimate(center, varies.reshape(shape))
    if knots:
        low, high = (quantile(distributions, knots, p) for p in _SIGMA)
        return Estimate(center, (high - low) / 2)
    return Estimate(center, np.ones_like(center))
