"""Freedom: how far the means of a network may leave those of its anchor.

A network that learned from few origins can gain much on blocks of these very origins that it has
not seen, and lose at the next step: blocks of one origin are no witnesses of another. Where the
origins disagree about whether the network's own means are better than the anchor's, the next step
is as likely to take the gain back. So the tilt toward the anchor
(:func:`hmx.networks.quantile.tilt`), which is limited to a factor of 2 in training, may be
stronger afterwards: the limit is raised to the power of ``(.5 / trust)^2``, with the trust in these
gains (:mod:`hmx.uncertainty.agreement`) of .5 at most, and to 32 at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.dates import time_label
from hmx.forecast.train.data import HeldOutWindows, Reader
from hmx.forecast.train.judge import ValidationScores
from hmx.hardware import in_threads
from hmx.networks.forecaster import Forecaster
from hmx.uncertainty.agreement import trust_of


@dataclass(frozen=True)
class Freedom:
    """The gains of a network's own means over its anchor's, by origin, and the trust in them."""

    gains: Mapping[str, float] = field(default_factory=dict)  # by the label of the origin

    @property
    def trust(self) -> float:
        """How far the gains are believed, 0 to 1; wholly if no block was held out."""
        values = [*self.gains.values()]
        if not values:
            return 1.0
        return trust_of(values) if float(np.mean(values)) > 0 else 0.0

    def facts(self) -> dict[str, Any]:
        """Return JSON values for a bundle."""
        return {"own_gains": dict(self.gains), "own_trust": self.trust}


def freedom_of(network: Forecaster, reader: Reader, windows: HeldOutWindows) -> Freedom:
    """Compare a network's own means with its anchor's on held-out windows.

    A gain is the difference of squared errors relative to those of persistence, on average over
    leads.
    """
    own = _squares(network, reader, windows)
    limit = network.most_tilt.clone()
    network.hold_means()
    anchored = _squares(network, reader, windows)
    network.most_tilt.copy_(limit)
    found, times = {}, reader.cube.data["time"].values
    for origin, (ours, persistence) in sorted(own.items()):
        known = persistence > 0
        if known.any():
            gains = (anchored[origin][0] - ours)[known] / persistence[known]
            found[time_label(times[origin])] = float(gains.mean())
    return Freedom(found)


def _squares(
    network: Forecaster, reader: Reader, windows: HeldOutWindows
) -> dict[int, NDArray[np.float64]]:
    """Sum up squared errors of the means and of persistence by origin, each (2, lead)."""
    sums: dict[int, NDArray[np.float64]] = {}
    judge = ValidationScores(reader)
    for some in windows.together():
        parts = in_threads(partial(judge.score, network), [batch for _, batch in some])
        for (index, _), part in zip(some, parts, strict=True):
            total = sums.setdefault(windows.pairs[index][1], np.zeros((2, reader.spec.h)))
            for lead, ours, persistence in part:
                total[:, lead] += ours.score.squared, persistence.score.squared
    return sums
