"""Persistence: nothing changes. The reference of all skills."""

from __future__ import annotations

from collections.abc import Sequence

from hmx.forecast.backtest.baselines.registry import PERSISTENCE, Baseline, Floats, baseline
from hmx.forecast.backtest.baselines.trends import Range, linear_trend
from hmx.scores import Prediction


@baseline(PERSISTENCE, large=True, rank=0)
class Persistence(Baseline):
    """The origin at every lead."""

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Repeat the origin."""
        leads = self.past.leads
        mean = persistence(history, leads, valid_range=self.past.valid_range)
        return Prediction(mean, leads=leads)


def persistence(
    history: Floats, leads: Sequence[int], *, valid_range: Range | None = None
) -> Floats:
    """Repeat the last step of a history (time, y, x) at every lead, (lead, y, x)."""
    # a line through one step has no slope
    return linear_trend(history, leads, steps=1, valid_range=valid_range)
