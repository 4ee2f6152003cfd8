"""Trends: each pixel continues along its own line, straight or damped.

The slope is that of the least-squares line through the last steps; the line is then moved to
pass through the origin. With damping, the forecast is ``origin + slope * sum(phi**i for i in
1..lead)`` (Gardner and McKenzie, 1985, doi:10.1287/mnsc.31.10.1237), with one `phi` for all
pixels: a factor per pixel would be fitted to two or three changes.

Histories are (time, y, x), oldest first, and end at the origin; results are (lead, y, x) in
units of the history, NaN exactly where the origin is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmx.errors import BadArgument
from hmx.forecast.backtest.baselines.registry import (
    PERSISTENCE,
    Array,
    Baseline,
    BaselineSetup,
    Floats,
    Mask,
    baseline,
)
from hmx.scores import Prediction

Range = tuple[float, float]


@baseline("linear trend", large=True, rank=1)
class LinearTrend(Baseline):
    """A straight line for each pixel."""

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Continue along the line."""
        leads = self.past.leads
        mean = linear_trend(history, leads, valid_range=self.past.valid_range)
        return Prediction(mean, leads=leads)


@baseline("damped trend", large=True, rank=2)
class DampedTrend(Baseline):
    """A line for each pixel that flattens with lead, by one factor that is fitted."""

    def __init__(self, past: BaselineSetup):
        super().__init__(past)
        self.sums, self.phi = np.zeros(2), 0.0

    def learn(self, series: Floats, learnable: Mask) -> None:
        """Add the sums of a window."""
        self.sums += damping_sums(np.where(learnable, series, np.nan))

    def finish(self) -> bool:
        """Solve for the damping factor."""
        self.phi = solve_damping(self.sums)
        return True

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Continue along the damped line."""
        leads = self.past.leads
        mean = damped_trend(history, leads, phi=self.phi, valid_range=self.past.valid_range)
        return Prediction(mean, leads=leads)


def linear_trend(
    history: Floats, leads: Sequence[int], *, steps: int = 3, valid_range: Range | None = None
) -> Floats:
    """Extrapolate the line through the last `steps` known steps; with fewer than two, persist."""
    growth = np.asarray(require_ahead(leads), dtype=np.float64)
    return _extrapolate(history, growth, steps, valid_range)


def damped_trend(
    history: Floats,
    leads: Sequence[int],
    *,
    steps: int = 3,
    damping: Range = (0.0, 1.0),
    phi: float | None = None,
    valid_range: Range | None = None,
) -> Floats:
    """Extrapolate a damped line, by default with the factor that fits the history itself.

    By default a trend can only weaken; ``damping=(-1, 1)`` lets it reverse, as noise does.
    """
    if phi is None:
        phi = solve_damping(damping_sums(history, steps=steps), damping=damping)
    growth = np.array([sum(phi**i for i in range(1, lead + 1)) for lead in require_ahead(leads)])
    return _extrapolate(history, growth, steps, valid_range)


def damping_sums(history: Floats, *, steps: int = 3) -> Array:
    """Sum slope x next change, and slope squared, over all pixels and past steps, (2,).

    Each past step with a step before it is an origin. Sums of windows add.
    """
    history = as_floats(history)
    product = square = 0.0
    for now in range(1, len(history) - 1):
        slope = _slope(history[: now + 1], steps)
        change = history[now + 1].astype(np.float64) - history[now]
        known = np.isfinite(change)
        product += float((slope * change)[known].sum())
        square += float((slope**2)[known].sum())
    return np.array([product, square])


def solve_damping(sums: Array, *, damping: Range = (0.0, 1.0)) -> float:
    """Return the factor with the least squared error one step ahead, within bounds.

    Without any change in the past it is 0, which is persistence.
    """
    product, square = (float(part) for part in sums)
    return min(max(product / square, damping[0]), damping[1]) if square else 0.0


def _extrapolate(history: Floats, growth: Array, steps: int, valid_range: Range | None) -> Floats:
    """Add `growth` (lead,) times the slope to the origin."""
    history = as_floats(history)
    slope = _slope(history, steps)
    return from_origin(history[-1], growth[:, None, None] * slope, valid_range)


def _slope(history: Floats, steps: int) -> Array:
    """Fit a line per pixel to the last known steps; change per step (y, x)."""
    past = history[max(len(history) - steps, 0) :].astype(np.float64)
    known = np.isfinite(past)
    count = known.sum(axis=0)
    when = np.where(known, np.arange(len(past), dtype=np.float64)[:, None, None], 0.0)
    # times are centred on each pixel's known steps, so gaps do not bias the slope
    when = np.where(known, when - when.sum(axis=0) / np.maximum(count, 1), 0.0)
    spread = (when**2).sum(axis=0)
    rise = (when * np.where(known, past, 0.0)).sum(axis=0)
    return np.asarray(rise / np.where(count > 1, spread, 1.0))


def from_origin(origin: Floats, change: Array, valid_range: Range | None) -> Floats:
    """Add change (lead, y, x) to the origin, clip, and keep the origin's precision."""
    result = origin + change
    if valid_range is not None:
        result = np.clip(result, *valid_range)
    return result.astype(origin.dtype)


def as_floats(values: Floats) -> Floats:
    """Convert integers, which have no NaN, and leave floats as they are."""
    array = np.asarray(values)
    return array.astype(np.result_type(array, np.float32), copy=False)


def require_ahead(leads: Sequence[int]) -> tuple[int, ...]:
    """Refuse leads that are not ahead of the origin."""
    ahead = tuple(leads)
    if not ahead or min(ahead) < 1:
        raise BadArgument(
            f"leads={ahead}: leads count steps ahead of the origin, from 1. Try (1, 2)."
        )
    return ahead


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
