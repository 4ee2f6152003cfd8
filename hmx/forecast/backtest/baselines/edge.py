"""Distance to the edge: change is as frequent as it was at the same distance from modified land.

Land changes mostly next to land that is modified already, so the distance to that edge alone
predicts much of it; models of land change are compared with such simple rules (Pontius et al.,
2008, doi:10.1007/s00168-007-0138-2). In each band of distance, inside or outside of the edge,
and for each lead, all past changes make one distribution: its relative frequencies are the
forecast of every pixel in the band.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from hmx.forecast.backtest.baselines.boosting import LEVELS
from hmx.forecast.backtest.baselines.registry import (
    Array,
    Baseline,
    BaselineSetup,
    Floats,
    Mask,
    baseline,
)
from hmx.scores import Prediction

# of the range of the target: where modified land begins (human modification up to 0.1 is "low" in
# Kennedy et al., 2019, doi:10.1111/gcb.14549)
EDGE = 0.1
_REACH = 30  # px: farther pixels are one band
# upper ends of the bands outside the edge, px; the same inside
_BANDS = np.array([1, 1.5, 2, 3, 5, 8, 15, _REACH - 1e-9])
_STEPS = 200  # classes of change on each side of none
_FEWEST = 200  # changes below which a band has the frequencies of all


@baseline("distance to edge", halo=_REACH, large=True, rank=5)
class DistanceToEdge(Baseline):
    """Frequencies of past change by band of distance to the edge of modified land."""

    def __init__(self, past: BaselineSetup):
        super().__init__(past)
        shape = (len(past.learnable), 2 * (len(_BANDS) + 1))
        self.counts = np.zeros((*shape, 2 * _STEPS + 1))  # (lead, band, class of change)
        self.sums = np.zeros(shape)  # of changes

    def learn(self, series: Floats, learnable: Mask) -> None:
        """Count the changes of a window, from every origin to every lead that has a target."""
        for origin in range(len(series) - 1):
            band = self.bands(series[origin])
            for index, lead in enumerate(self.past.learnable):
                if origin + lead >= len(series):
                    continue
                change = series[origin + lead].astype(np.float64) - series[origin]
                known = learnable & np.isfinite(change)
                at, moved = band[known], change[known]
                place = np.rint(moved / self.past.span * _STEPS).clip(-_STEPS, _STEPS)
                # the smallest change is not none
                place = np.where((place == 0) & (moved != 0), np.sign(moved), place) + _STEPS
                np.add.at(self.counts[index], (at, place.astype(int)), 1)
                np.add.at(self.sums[index], at, moved)

    def finish(self) -> bool:
        """Give bands with few changes the frequencies of all bands."""
        seen = self.counts.sum(axis=(1, 2))
        if not self.past.learnable or not (seen > 0).all():
            return False
        few = self.counts.sum(axis=2) < _FEWEST
        for index in range(len(seen)):
            self.counts[index, few[index]] = self.counts[index].sum(axis=0)
            self.sums[index, few[index]] = self.sums[index].sum()
        return True

    def bands(self, state: Floats) -> np.ndarray:
        """Find the number of each pixel's band, (y, x): those outside the edge come first."""
        low = self.past.valid_range[0] if self.past.valid_range else 0.0
        inside = state > low + EDGE * self.past.span  # NaN is on neither side
        outside = np.isfinite(state) & ~inside
        return np.where(
            inside,
            len(_BANDS) + 1 + np.searchsorted(_BANDS, _distance(outside)),
            np.searchsorted(_BANDS, _distance(inside)),
        )

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Add the band's mean change, and the quantiles of its frequencies."""
        origin = history[-1].astype(np.float64)
        band, low_high = self.bands(origin), self.past.valid_range
        total = self.counts.sum(axis=2)
        means, knots = self.sums / total, self._quantiles(total)
        mean = np.where(np.isfinite(origin), origin + means[:, band], np.nan)
        ahead = origin + np.moveaxis(knots[:, band], -1, 1)
        if low_high is not None:
            mean, ahead = np.clip(mean, *low_high), np.clip(ahead, *low_high)
        return Prediction(mean, ahead, LEVELS, leads=self.past.learnable)

    def _quantiles(self, total: Array) -> Array:
        """Find the class of change at which frequencies reach each level, (lead, band, q)."""
        reached = np.cumsum(self.counts, axis=2) / total[..., None]
        found = [(reached >= level).argmax(axis=2) for level in LEVELS]
        return np.asarray((np.stack(found, axis=2) - _STEPS) / _STEPS * self.past.span)


def _distance(to: Mask) -> Floats:
    """Distance of each pixel to the nearest one of a mask, px; those beyond the reach are there."""
    if not to.any():
        return np.full(to.shape, float(_REACH))
    return np.asarray(np.minimum(distance_transform_edt(~to), _REACH))
