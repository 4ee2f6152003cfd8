"""Forecasts of a model as scores take them: its mean, and its quantiles as users get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hmx.forecast.api import forecast
from hmx.forecast.bundle import Bundle
from hmx.scores import Prediction
from hmx.uncertainty.calibration import PROBABILITIES, Calibration
from tests.make.worlds import FINE


def predict(
    past: xr.Dataset, bundle: Bundle, leads: Sequence[int], *, target: str = "hm"
) -> Prediction:
    """Forecast a cube that ends at the origin.

    Parameters
    ----------
    past : Dataset
        Up to the origin.
    bundle : Bundle
        Trained and calibrated.
    leads : sequence of int
        Steps ahead.
    target : str
        Variable that is predicted.
    """
    fc = forecast(past, model=bundle, h=max(leads), quantiles=FINE)
    assert isinstance(fc, xr.Dataset)
    done = fc.compute(scheduler="synchronous")
    at = [lead - 1 for lead in leads]
    knots = done[f"{target}_quantile"].transpose("time", "quantile", "y", "x").values[at]
    settled = ascend(knots, past[target].transpose("time", "y", "x").values[-1])
    return Prediction(done[target].values[at], settled, FINE, tuple(leads))


def ascend(knots: NDArray[np.floating], origin: NDArray[np.floating]) -> NDArray[np.floating]:
    """Undo what rounding does to knots (lead, q, y, x): no change is exact, none descends."""
    same = np.isclose(knots, origin, rtol=1e-6, atol=1e-7)
    return np.asarray(np.maximum.accumulate(np.where(same, origin, knots), axis=1))


def uncalibrated(bundle: Bundle) -> Bundle:
    """Return the same model with ranks that are their probabilities."""
    leads, had = bundle.spec.h, bundle.calibration
    same = Calibration(
        ranks=(np.tile(PROBABILITIES, (len(had.nodes), 1)),) * leads,
        counts=(np.full(len(had.nodes), len(PROBABILITIES)),) * leads,
        nodes=had.nodes,
        stretch=bundle.scaler.change[:leads],
        far=had.far,
        shift=had.shift,
    )
    return replace(bundle, calibration=same, path=None)
