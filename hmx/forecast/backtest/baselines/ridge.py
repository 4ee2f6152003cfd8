"""Ridge: change follows the state and change of neighbourhoods, linearly, per lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmx.errors import BadArgument
from hmx.features.linear import RADII, NormalEquations, count_features, features
from hmx.forecast.backtest.baselines.registry import (
    Array,
    Baseline,
    BaselineSetup,
    Floats,
    baseline,
)
from hmx.forecast.backtest.baselines.trends import Range, as_floats, from_origin, require_ahead
from hmx.scores import Prediction

_PENALTY = 1.0  # on standardised features, in pixels: enough where features are collinear


@baseline("ridge", halo=max(RADII), rank=3)
class RidgeBaseline(Baseline):
    """Ridge regression on neighbourhood means, from sums over windows."""

    def __init__(self, past: BaselineSetup):
        super().__init__(past)
        width = count_features(past.history, RADII) + past.layers
        self.equations = NormalEquations.zero(len(past.learnable), width)

    def learn_changes(self, features: Array, changes: Array) -> None:
        """Add the sums of an origin of a window."""
        self.equations += NormalEquations.of(features, changes)

    def finish(self) -> bool:
        """Solve for the leads that had anything to learn from."""
        learnable, gram = self.past.learnable, self.equations.gram
        known = [index for index in range(len(learnable)) if gram[index, 0, 0]]
        if known:
            solved = NormalEquations(gram[known]).solve(_PENALTY)
            leads = tuple(learnable[index] for index in known)
            self.ridge = Ridge(leads, self.past.history, RADII, *solved)
        return bool(known)

    def predict(self, history: Floats, static: Floats | None) -> Prediction:
        """Forecast the leads that were fitted."""
        leads, limits = self.ridge.leads, self.past.valid_range
        mean = self.ridge.predict(history, leads, static=static, valid_range=limits)
        return Prediction(mean, leads=leads)


@dataclass(frozen=True)
class Ridge:
    """Fitted coefficients for each lead."""

    leads: tuple[int, ...]  # leads it was fitted for
    history: int  # steps it looks at, the origin included
    radii: tuple[int, ...]  # half-widths of the square neighbourhoods
    mean: Array  # to standardise the features (lead, feature)
    scale: Array
    coefficients: Array  # intercept first (lead, 1 + feature)

    def predict(
        self,
        history: Floats,
        leads: Sequence[int],
        *,
        static: Floats | None = None,
        valid_range: Range | None = None,
    ) -> Floats:
        """Forecast some of the fitted leads from a history (time, y, x), (lead, y, x).

        NaN exactly where the origin is missing; a missing feature counts as its mean.
        """
        history, leads = as_floats(history), require_ahead(leads)
        if unknown := sorted(set(leads) - set(self.leads)):
            raise BadArgument(
                f"leads {unknown} were not fitted (fitted: {list(self.leads)}): ridge has one "
                f"model per lead. Fit again with leads={tuple(leads)}."
            )
        if len(history) < self.history:
            raise BadArgument(
                f"history has {len(history)} steps: this ridge looks at {self.history}. Pass at "
                f"least {self.history}, or fit with history={len(history)}."
            )
        layers = 0 if static is None else len(static)
        fitted = self.mean.shape[1] - count_features(self.history, self.radii)
        if layers != fitted:
            raise BadArgument(
                f"static has {layers} layers: this ridge was fitted with {fitted}. Pass the same "
                "layers in the same order."
            )
        x = features(history[-self.history :], static=static, radii=self.radii)
        changes = []
        for lead in leads:
            index = self.leads.index(lead)
            z = (x - self.mean[index][:, None, None]) / self.scale[index][:, None, None]
            weights = self.coefficients[index]
            # a standardised feature of 0 is the mean
            changes.append(weights[0] + np.tensordot(weights[1:], np.nan_to_num(z), axes=1))
        return from_origin(history[-1], np.stack(changes), valid_range)
