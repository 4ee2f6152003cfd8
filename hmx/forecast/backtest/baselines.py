"""The baselines that every forecast is compared with.

All share one call: ``forecaster(history, leads)``, where `history` is an array
(time, y, x), oldest step first, ending at the forecast origin, with NaN for
missing; and `leads` are positive steps ahead. The result is (lead, y, x), in
the units of the history, NaN exactly where the origin step is missing.

======================  =====================================================
:func:`persistence`     nothing changes
:func:`linear_trend`    each pixel goes on along its own line
:func:`damped_trend`    the same, but the line flattens by a fitted factor
:meth:`Ridge.predict`   change follows the state and change of neighbourhoods
======================  =====================================================

None of them sees a step after the origin. :func:`fit_ridge` learns from the
cube it is given: cut that cube at the last step a forecaster may know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.features.linear import RADII, NormalEquations, count_features, features

Floats = NDArray[np.floating[Any]]
Array = NDArray[np.float64]
Range = tuple[float, float]


def persistence(
    history: Floats, leads: Sequence[int], *, valid_range: Range | None = None
) -> Floats:
    """Repeat the origin at every lead.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Past steps, oldest first, ending at the origin; NaN is missing.
    leads : sequence of int, >= 1
        Steps ahead.
    valid_range : (float, float), units of the target, optional
        Clip the forecast to these bounds.

    Returns
    -------
    array (lead, y, x), units of the target
        NaN exactly where the origin is missing.
    """
    return linear_trend(history, leads, steps=1, valid_range=valid_range)


def linear_trend(
    history: Floats, leads: Sequence[int], *, steps: int = 3, valid_range: Range | None = None
) -> Floats:
    """Go on from the origin along each pixel's own line.

    The slope is that of the least-squares line through the last `steps` steps;
    the line is then moved to pass through the origin.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Past steps, oldest first, ending at the origin; NaN is missing.
    leads : sequence of int, >= 1
        Steps ahead.
    steps : int
        Steps the line is fitted to, at most; a pixel with fewer than two of
        them persists.
    valid_range : (float, float), units of the target, optional
        Clip the forecast to these bounds.

    Returns
    -------
    array (lead, y, x), units of the target
        NaN exactly where the origin is missing.
    """
    growth = np.asarray(_positive(leads), dtype=np.float64)
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
    """Go on from the origin along a line that flattens with lead.

    The forecast is ``origin + slope * sum(phi**i for i in 1..lead)`` (Gardner
    and McKenzie, 1985), with the slope of :func:`linear_trend` and one `phi`
    for all pixels, from :func:`fit_damping`.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Past steps, oldest first, ending at the origin; NaN is missing.
    leads : sequence of int, >= 1
        Steps ahead.
    steps : int
        Steps the slope is fitted to, at most.
    damping : (float, float)
        Bounds of `phi`. The default is a trend that can only weaken;
        ``(-1, 1)`` lets it turn back, as noisy series do.
    phi : float, optional
        Damping that was fitted elsewhere.
    valid_range : (float, float), units of the target, optional
        Clip the forecast to these bounds.

    Returns
    -------
    array (lead, y, x), units of the target
        NaN exactly where the origin is missing.
    """
    factor = fit_damping(history, steps=steps, damping=damping) if phi is None else phi
    growth = np.array([sum(factor**i for i in range(1, lead + 1)) for lead in _positive(leads)])
    return _extrapolate(history, growth, steps, valid_range)


def fit_damping(history: Floats, *, steps: int = 3, damping: Range = (0.0, 1.0)) -> float:
    """Fit the damping factor to the steps of a history, by least squares.

    Each past step with at least one step before it serves as an origin, and
    `phi` minimises the squared error one step ahead, over all pixels.

    Parameters
    ----------
    history : array (time, y, x), units of the target
        Past steps, oldest first; NaN is missing.
    steps : int
        Steps the slope is fitted to, at most.
    damping : (float, float)
        Bounds of the factor.

    Returns
    -------
    float
        Damping per step; 0 (persistence) if there are fewer than three steps
        or nothing changed before the last one.
    """
    return solve_damping(damping_sums(history, steps=steps), damping=damping)


def damping_sums(history: Floats, *, steps: int = 3) -> Array:
    """Sum slope x next change and slope squared, (2,), float64; windows add.

    Parameters
    ----------
    history, steps
        As in :func:`fit_damping`.
    """
    history = _floating(history)
    product = square = 0.0
    for now in range(1, len(history) - 1):
        slope = _slope(history[: now + 1], steps)
        change = history[now + 1].astype(np.float64) - history[now]
        known = np.isfinite(change)
        product += float((slope * change)[known].sum())
        square += float((slope**2)[known].sum())
    return np.array([product, square])


def solve_damping(sums: Array, *, damping: Range = (0.0, 1.0)) -> float:
    """Solve for the damping factor.

    Parameters
    ----------
    sums : array (2,)
        From :func:`damping_sums`, added.
    damping : (float, float)
        Bounds of the factor.

    Returns
    -------
    float
        0 (persistence) where nothing has changed.
    """
    product, square = (float(part) for part in sums)
    return min(max(product / square, damping[0]), damping[1]) if square else 0.0


@dataclass(frozen=True)
class Ridge:
    """Predict change from neighbourhood means, linearly, per lead.

    Made by :func:`fit_ridge`.

    Attributes
    ----------
    leads : tuple of int
        Leads it was fitted for.
    history : int
        Steps it looks at, the origin included.
    radii : tuple of int, px
        Half-widths of the square neighbourhoods.
    mean, scale : array (lead, feature)
        What the features are standardised with.
    coefficients : array (lead, 1 + feature), units of the target
        Intercept first.
    """

    leads: tuple[int, ...]
    history: int
    radii: tuple[int, ...]
    mean: Array
    scale: Array
    coefficients: Array

    def predict(
        self,
        history: Floats,
        leads: Sequence[int],
        *,
        static: Floats | None = None,
        valid_range: Range | None = None,
    ) -> Floats:
        """Forecast from the end of a history.

        Parameters
        ----------
        history : array (time, y, x), units of the target
            Past steps, oldest first, ending at the origin; NaN is missing.
        leads : sequence of int
            Some or all of the leads it was fitted for.
        static : array (layer, y, x), optional
            The layers it was fitted with, in that order.
        valid_range : (float, float), units of the target, optional
            Clip the forecast to these bounds.

        Returns
        -------
        array (lead, y, x), units of the target
            NaN exactly where the origin is missing; a missing feature counts
            as its mean.

        Raises
        ------
        BadArgument
            If the history is too short, a lead was not fitted, or the static
            layers are not as many as in the fit.
        """
        history, leads = _floating(history), _positive(leads)
        self._check(leads, len(history), 0 if static is None else len(static))
        x = features(history[-self.history :], static=static, radii=self.radii)
        change = np.stack([self._change(x, self.leads.index(lead)) for lead in leads])
        return _finish(history[-1], change, valid_range)

    def _change(self, x: Array, index: int) -> Array:
        """Apply one lead's model to features (feature, y, x)."""
        x = (x - self.mean[index][:, None, None]) / self.scale[index][:, None, None]
        weights = self.coefficients[index]
        return np.asarray(weights[0] + np.tensordot(weights[1:], np.nan_to_num(x), axes=1))

    def _check(self, leads: Sequence[int], steps: int, layers: int) -> None:
        if unknown := sorted(set(leads) - set(self.leads)):
            raise BadArgument(
                f"leads {unknown} were not fitted (fitted: {list(self.leads)}): ridge has one "
                f"model per lead. Fit again with leads={tuple(leads)}."
            )
        if steps < self.history:
            raise BadArgument(
                f"history has {steps} steps: this ridge looks at {self.history}. Pass at least "
                f"{self.history}, or fit with history={steps}."
            )
        fitted = self.mean.shape[1] - count_features(self.history, self.radii)
        if layers != fitted:
            raise BadArgument(
                f"static has {layers} layers: this ridge was fitted with {fitted}. Pass the same "
                "layers in the same order."
            )


def fit_ridge(
    cube: Floats,
    origins: Sequence[int],
    *,
    leads: Sequence[int],
    static: Floats | None = None,
    history: int = 3,
    radii: Sequence[int] = RADII,
    penalty: float = 1.0,
) -> Ridge:
    """Fit ridge regression on neighbourhood means, one model per lead.

    It learns the change from an origin to ``origin + lead`` on all pixels
    where both are known; see :func:`features` for what it learns from.

    Parameters
    ----------
    cube : array (time, y, x), units of the target
        Observed steps, oldest first; NaN is missing. Cut it at the last step
        the forecaster may know: every target inside it may be learned from.
    origins : sequence of int
        Positions on `time` to learn from. An origin whose target lies beyond
        the cube serves its other leads; no step after ``max(origins) +
        max(leads)`` is touched.
    leads : sequence of int, >= 1
        Steps ahead.
    static : array (layer, y, x), optional
        Layers without time, such as elevation.
    history : int, >= 1
        Steps looked at, the origin included.
    radii : sequence of int, px
        Half-widths of the square neighbourhoods.
    penalty : float, >= 0
        Ridge penalty on standardised features, in pixels.

    Returns
    -------
    Ridge
        The fitted forecaster.

    Raises
    ------
    BadArgument
        If an origin has fewer than `history` steps.
    NotEnoughData
        If a lead has no pixel to learn from.
    """
    cube, ahead = _floating(cube), _positive(leads)
    _check_origins(origins, history, len(cube))
    total = NormalEquations.zero(
        len(ahead), count_features(history, radii) + (0 if static is None else len(static))
    )
    for origin in origins:
        x = features(cube[origin - history + 1 : origin + 1], static=static, radii=radii)
        total += NormalEquations.of(x, _changes(cube, origin, ahead))
    return Ridge(ahead, history, tuple(radii), *total.solve(penalty))


def _extrapolate(history: Floats, growth: Array, steps: int, valid_range: Range | None) -> Floats:
    """Add `growth` (lead,) times the slope to the origin."""
    history = _floating(history)
    slope = _slope(history, steps)
    return _finish(history[-1], growth[:, None, None] * slope, valid_range)


def _slope(history: Floats, steps: int) -> Array:
    """Fit a line per pixel to the last known steps; change per step (y, x)."""
    past = history[max(len(history) - steps, 0) :].astype(np.float64)
    known = np.isfinite(past)
    count = known.sum(axis=0)
    when = np.where(known, np.arange(len(past), dtype=np.float64)[:, None, None], 0.0)
    when = np.where(known, when - when.sum(axis=0) / np.maximum(count, 1), 0.0)
    spread = (when**2).sum(axis=0)
    rise = (when * np.where(known, past, 0.0)).sum(axis=0)
    return np.asarray(rise / np.where(count > 1, spread, 1.0))


def _finish(origin: Floats, change: Array, valid_range: Range | None) -> Floats:
    """Add change (lead, y, x) to the origin, clip, and keep its precision."""
    result = origin + change
    if valid_range is not None:
        result = np.clip(result, *valid_range)
    return result.astype(origin.dtype)


def _changes(cube: Floats, origin: int, leads: Sequence[int]) -> Array:
    """Take target minus origin (lead, y, x); NaN for targets beyond the cube."""
    changes = np.full((len(leads), *cube.shape[1:]), np.nan)
    for index, lead in enumerate(leads):
        if origin + lead < len(cube):
            changes[index] = cube[origin + lead].astype(np.float64) - cube[origin]
    return changes


def _floating(values: Floats) -> Floats:
    """Promote integers, which have no NaN, and leave floats as they are."""
    array = np.asarray(values)
    return array.astype(np.result_type(array, np.float32), copy=False)


def _positive(leads: Sequence[int]) -> tuple[int, ...]:
    """Refuse leads that are not ahead of the origin."""
    ahead = tuple(leads)
    if not ahead or min(ahead) < 1:
        raise BadArgument(
            f"leads={ahead}: leads count steps ahead of the origin, from 1. Try (1, 2)."
        )
    return ahead


def _check_origins(origins: Sequence[int], history: int, steps: int) -> None:
    if not len(origins) or min(origins) < history - 1 or max(origins) >= steps:
        raise BadArgument(
            f"origins={tuple(origins)}: with history={history} on {steps} steps an origin lies "
            f"from {history - 1} to {steps - 1}. Name origins in that range."
        )
