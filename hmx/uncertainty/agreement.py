"""Agreement: how far to believe the mean of a few origins, or of a few blocks.

Pixels of one step share its weather and pixels of one block its land: only other steps and other
blocks show what the next one may do differently. Values of n of them (a gain, a shift, a
correction) with mean ``m`` are believed to the share ``v n^2 / (n^2 + 1 / n + S)``. ``v`` is the
share of those whose value has the sign of the mean: the others took back what it promised.
``S = sum((a - m)^2) / (.3 m^2)`` grows as they disagree about its size (shrinkage as in James &
Stein 1961), and the ``1 / n`` stands for the disagreement that few cannot show. A single one is
believed by one half, two that agree by .89, three by .96. Where they weigh differently, n is the
number of equal ones with the same variance of the mean (Kish 1965, Survey Sampling).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SCATTER = 0.3  # relative variance among values that believes their mean of n by n / (n + 1)


def trust_of(
    values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> float:
    """Return how far the mean of the values, of any positive weights, is believed, 0 to 1."""
    found = np.asarray(values, "float64")
    if not len(found):
        return 0.0
    share = np.ones(len(found)) if weights is None else np.asarray(weights, "float64")
    share = share / share.sum()
    mean, n = float(share @ found), 1 / float(share @ share)
    if not mean:
        return 0.0
    votes = float(share @ (found * np.sign(mean) > 0))
    spread = n * float(share @ np.square(found - mean)) / (_SCATTER * mean**2)
    return votes * n**2 / (n**2 + 1 / n + spread)
