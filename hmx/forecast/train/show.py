"""Show: forecasts of a trained network and the truth, as rows of a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hmx.cube.dates import time_label
from hmx.forecast.train.calibrate import forecast_knots
from hmx.forecast.train.data import Reader, batch_of
from hmx.networks.forecaster import Forecaster
from hmx.pictures.panel import PanelRow
from hmx.splits import CALIBRATION, TEST
from hmx.uncertainty.calibration import Calibration
from hmx.uncertainty.distribution import mean, quantile
from hmx.windows import Span, Window

UNSEEN = (TEST, CALIBRATION)  # roles of blocks that weights are not fitted to
LEVEL = 80  # percent, of the intervals shown
_SIDE = 512  # px: of a larger cube, the square with the largest change is shown


def panel_rows(
    networks: Sequence[Forecaster],
    reader: Reader,
    calibration: Calibration,
    changed: np.ndarray,
    judged: Mapping[str, Any],
) -> list[PanelRow]:
    """Forecast from the last origin at which the largest number of leads has a truth.

    ``reader`` has the split that the networks were trained on: pixels of its test and calibration
    blocks are unseen. ``changed`` counts the changed pixels of each block, (block rows, block
    columns); ``judged`` has the validation scores by lead, of the fit before the last, for
    networks that have seen all. If the calibration is empty, the intervals are the networks' own.
    """
    spec, origin = reader.spec, shown_origin(reader)
    window = shown_window(reader, changed)
    unseen = np.isin(reader.split.roles(window), UNSEEN)
    batch = batch_of([reader.sample(window, origin, -1)])  # -1: no role, so nothing is scored
    inputs, truth = reader.fields.cut(window, origin)
    knots = forecast_knots(networks, reader, batch, calibration)
    start = np.where(inputs.valid[-1] > 0, inputs.past[-1], np.nan)
    knots[..., np.isnan(start)] = np.nan
    distance = batch.distance[0].numpy() if spec.context.distance else None
    levels, tail = spec.network.knots, (1 - LEVEL / 100) / 2

    def end(values: np.ndarray, lead: int, probability: float) -> np.ndarray:
        if not calibration.leads:
            return quantile(values, levels, probability)
        found = calibration.quantile(values, levels, distance, lead=lead, probability=probability)
        return np.clip(found, *(spec.valid_range or (None, None)))

    times = reader.cube.data["time"]
    dates = reader.cube.cadence.extend(times.isel(time=slice(None, origin + 1)), spec.h)
    return [
        PanelRow(
            lead=lead,
            label=f"{time_label(dates[lead - 1]).removesuffix('-01-01')} (+{lead})",
            truth=truth[lead - 1],
            forecast=mean(values, levels),
            lower=end(values, lead, tail),
            upper=end(values, lead, 1 - tail),
            origin=start,
            valid=int((np.isfinite(truth[lead - 1] + start) & (unseen | ~unseen.any())).sum()),
            unseen=unseen if unseen.any() else None,
            note="" if unseen.any() else _judged(judged.get(str(lead), {})),
        )
        for lead, values in enumerate(knots, start=1)
    ]


def shown_origin(reader: Reader) -> int:
    """Choose the step that the panel forecasts from."""
    return max(reader.origins[0], reader.cube.data.sizes["time"] - 1 - reader.spec.h)


def origin_label(reader: Reader) -> str:
    """Name the step that the panel forecasts from."""
    return time_label(reader.cube.data["time"].values[shown_origin(reader)]).removesuffix("-01-01")


def panel_title(reader: Reader, window: Window) -> str:
    """Name what a panel shows, and whether the model has seen it."""
    head = f"{long_name(reader)}: the saved model, from {origin_label(reader)}"
    if np.isin(reader.split.roles(window), UNSEEN).any():
        return f"{head}, on blocks it has not seen"
    return f"{head}. It has seen these maps: a fit, not a test (hmx evaluate tests)"


def long_name(reader: Reader) -> str:
    """Return the long name of the target, or its name."""
    attrs = reader.cube.data[reader.spec.target].attrs
    return str(attrs.get("long_name") or reader.spec.target)


def _judged(figures: Mapping[str, float]) -> str:
    """Write the skill that an earlier fit had on blocks kept from it."""
    skill = figures.get("crps_skill", np.nan)
    return f"unseen, before\nthe last fit:\nCRPS skill {100 * skill:+.1f} %" * np.isfinite(skill)


def shown_window(reader: Reader, changed: np.ndarray) -> Window:
    """Choose the pixels of the panel: all of a small cube, or the square with most change.

    Blocks that the model has not seen come first.
    """
    shape, block = reader.cube.grid.shape, reader.split.block
    unseen = np.isin(reader.split.table, UNSEEN)
    changed = np.where(unseen, changed, -1) if unseen.any() else changed
    if reader.fields.whole:
        return Window.of(shape)
    at = np.unravel_index(int(changed.argmax()), changed.shape)
    spans = []
    for index, size in zip(at, shape, strict=True):
        start = min(max(0, int(index) * block + block // 2 - _SIDE // 2), max(0, size - _SIDE))
        spans.append(Span(start, min(size, start + _SIDE)))
    return Window(*spans)
