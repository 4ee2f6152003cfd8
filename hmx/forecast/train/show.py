"""Show: what a trained network foretold where the truth is known, as rows of a panel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmx.cube.dates import time_label
from hmx.forecast.train.calibrate import forecast_knots
from hmx.forecast.train.data import Batch, Reader, batch_of
from hmx.networks.forecaster import Forecaster
from hmx.pictures.panel import PanelRow
from hmx.uncertainty.calibration import Calibration
from hmx.uncertainty.distribution import mean, quantile
from hmx.windows import Span, Window

LEVEL = 80  # percent, of the intervals shown
_SIDE = 512  # px: of a larger cube, the square with most change is shown


def panel_rows(
    networks: Sequence[Forecaster], reader: Reader, calibration: Calibration, changed: np.ndarray
) -> list[PanelRow]:
    """Forecast from the last origin at which most leads have a truth, one row per lead.

    Parameters
    ----------
    networks : sequence of Forecaster
        With their final weights.
    reader : Reader
        Of the cube they were trained on.
    calibration : Calibration
        Of the intervals; if empty, they are the networks' own.
    changed : ndarray
        Pixels that changed in each block, (block rows, block columns).
    """
    origin = shown_origin(reader)
    window = _view(reader, changed)
    batch = batch_of([reader.sample(window, origin, -1)])
    inputs, truth = reader.fields.cut(window, origin)
    knots = forecast_knots(networks, reader, batch, calibration)
    start = np.where(inputs.valid[-1] > 0, inputs.past[-1], np.nan)
    knots[..., np.isnan(start)] = np.nan
    return [
        _row(lead, values, truth[lead - 1], start, batch, reader, calibration)
        for lead, values in enumerate(knots, start=1)
    ]


def shown_origin(reader: Reader) -> int:
    """Choose the step that the panel forecasts from."""
    return max(reader.origins[0], reader.cube.data.sizes["time"] - 1 - reader.spec.h)


def origin_label(reader: Reader) -> str:
    """Name the step that the panel forecasts from."""
    return time_label(reader.cube.data["time"].values[shown_origin(reader)]).removesuffix("-01-01")


def _row(
    lead: int,
    values: np.ndarray,
    truth: np.ndarray,
    start: np.ndarray,
    batch: Batch,
    reader: Reader,
    calibration: Calibration,
) -> PanelRow:
    levels, tail = reader.spec.network.knots, (1 - LEVEL / 100) / 2
    distance = batch.distance[0].numpy() if reader.spec.context.distance else None

    def end(probability: float) -> np.ndarray:
        if not calibration.leads:
            return quantile(values, levels, probability)
        found = calibration.quantile(values, levels, distance, lead=lead, probability=probability)
        return np.clip(found, *(reader.spec.valid_range or (None, None)))

    return PanelRow(
        lead=lead,
        label=_label(reader, lead),
        truth=truth,
        forecast=mean(values, levels),
        lower=end(tail),
        upper=end(1 - tail),
        origin=start,
        valid=int(np.isfinite(truth + start).sum()),
    )


def _label(reader: Reader, lead: int) -> str:
    """Name a lead by its date and how far it is ahead."""
    time = reader.cube.data["time"]
    origin = shown_origin(reader)
    seen = time.isel(time=slice(None, origin + 1))
    when = time_label(reader.cube.cadence.extend(seen, lead)[-1])
    return f"{when.removesuffix('-01-01')} (+{lead})"


def _view(reader: Reader, changed: np.ndarray) -> Window:
    """Choose what is shown: all of a small cube, or the square where most has changed."""
    shape, block = reader.cube.grid.shape, reader.split.block
    if reader.fields.whole:
        return Window.of(shape)
    at = np.unravel_index(int(changed.argmax()), changed.shape)
    spans = []
    for index, size in zip(at, shape, strict=True):
        start = min(max(0, int(index) * block + block // 2 - _SIDE // 2), max(0, size - _SIDE))
        spans.append(Span(start, min(size, start + _SIDE)))
    return Window(*spans)
