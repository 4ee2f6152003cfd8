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
    members : ndarray, (members, q, ...)
        As the networks give them, of pixels in any shape: (n,) or (y, x).
    spec : MapSpec
        Its ``blend`` is the weight of the forest, its network has the knots.
    forest : Forest, optional
        Knows where the target varies, so that its spread is taken if it is there.
    features : ndarray, (f, ...)
        Values of the pixels, for the forest.
    """
    knots, shape = spec.network.knots, members.shape[2:]
    values = members.mean(axis=0, dtype="float64").reshape(members.shape[1], 1, -1)
    center = mean(values, knots) if knots else values[0]
    spread = np.ones_like(center)
    if forest is not None:
        grown, spread = forest.moments(features.reshape(len(features), -1).T)
        center = (1 - spec.blend) * center + spec.blend * grown
    elif knots:
        low, high = (quantile(values, knots, p) for p in _SIGMA)
        spread = (high - low) / 2
    return Estimate(center.reshape(shape), spread.reshape(shape))
