"""Agreement: how far to believe the mean of a few past origins.

Pixels and blocks of one step share its weather: only other steps show what the next one may do
differently. Values of n origins (a gain, a shift, a correction) with mean ``m`` are believed to the
share ``v n^2 / (n^2 + 1 / n + S)``. ``v`` is the share of origins whose value has the sign of the
mean: the others took back what it promised. ``S = sum((a - m)^2) / (.3 m^2)`` grows as they
disagree about its size (shrinkage as in James & Stein 1961), and the ``1 / n`` stands for the
disagreement that few origins cannot show. A single origin is believed by one half, two that
agree by .89, three by .96.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ENOUGH = 0.5  # trust in a network's own means from which they are as free as in training
_SCATTER = 0.3  # relative variance of the values of origins that halves the belief in a single one


def trust_of(values: Sequence[float] | np.ndarray) -> float:
    """Return how far the mean of the values of past origins is believed, 0 to 1."""
    found = np.asarray(values, "float64")
    n, mean = len(found), float(found.mean()) if len(found) else 0.0
    if not mean:
        return 0.0
    votes = float((found * np.sign(mean) > 0).mean())
    spread = float(np.square(found - mean).sum()) / (_SCATTER * mean**2)
    return votes * n**2 / (n**2 + 1 / n + spread)
