"""Agreement: how far to believe the mean of a few past origins.

Pixels and blocks of one step share its weather: only other steps show what the next one may do
differently. With values ``a`` of n origins (a gain, a shift, a correction) and their mean ``m``,
the mean is believed to the share ``n^2 / (n^2 + 1 + sum((a - m)^2) / (.4 m)^2)``: the share of
the true value in the mean of n noisy ones (as in James & Stein 1961), if a typical value is .4 of
itself away from zero, and one imagined origin that is .4 off counts beside the real ones.
A single origin is believed by one half, two that agree by .8, three by .9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TYPICAL = 0.4  # relative distance of a value from zero, and of an imagined origin from the others


def trust_of(values: Sequence[float] | np.ndarray) -> float:
    """Return how far the mean of the values of past origins is believed, 0 to 1."""
    found = np.asarray(values, "float64")
    n, mean = len(found), float(found.mean()) if len(found) else 0.0
    if not mean:
        return 0.0
    spread = float(np.square(found - mean).sum()) / (_TYPICAL * mean) ** 2
    return n**2 / (n**2 + 1 + spread)
