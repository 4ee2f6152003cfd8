"""Show: forecasts of a trained network and the truth, as rows of a panel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hmx.cube.dates import time_label
from hmx.forecast.bundle import Bundle
from hmx.forecast.train.data import Reader
from hmx.forecast.window import Engine, ForecastRequest, distribution, halo
from hmx.pictures.panel import PanelRow
from hmx.splits import CALIBRATION, TEST
from hmx.uncertainty.distribution import Floats, mean, quantile
from hmx.windows import Span, Window, with_halo

UNSEEN = (TEST, CALIBRATION)  # roles of blocks that weights are not fitted to
LEVEL = 80  # percent, of the intervals shown
_SIDE = 512  # px: of a larger cube, the square with the largest change is shown


def panel_rows(bundle: Bundle, reader: Reader, changed: np.ndarray) -> list[PanelRow]:
    """Forecast from the last origin at which the largest number of leads has a truth.

    ``reader`` has the split that the weights were fitted on: pixels of its test and calibration
    blocks are unseen. ``changed`` counts the changed pixels of each block, (block rows, block
    columns).
    """
    spec, origin = bundle.spec, shown_origin(reader)
    grid, window = reader.cube.grid, shown_window(reader, changed)
    unseen = np.isin(reader.split.roles(window), UNSEEN)
    judged = bundle.training["validation"]["leads"]  # of the fit before the last
    around = with_halo(window, grid.shape, halo=halo(spec, spec.h), wraps=grid.wraps)
    inputs, core = reader.fields.cut(around, origin)[0], window.within(around)
    inner, truth = reader.fields.cut(window, origin)
    knots = Engine.of(bundle, device="cpu").knots(inputs, spec.h, core)
    distance = None if inputs.distance is None else inputs.distance[core.slices]
    center = mean(knots, spec.network.knots)
    lower, upper = _ends(bundle, knots, distance, center)
    start = np.where(inner.valid[-1] > 0, inner.past[-1], np.nan)
    center, lower, upper = (np.where(np.isfinite(start), m, np.nan) for m in (center, lower, upper))
    times = reader.cube.data["time"]
    dates = reader.cube.cadence.extend(times.isel(time=slice(None, origin + 1)), spec.h)
    scored = unseen if unseen.any() else np.ones_like(unseen)
    return [
        PanelRow(
            lead=lead,
            label=f"{time_label(dates[lead - 1]).removesuffix('-01-01')} (+{lead})",
            truth=truth[lead - 1],
            forecast=center[lead - 1],
            lower=lower[lead - 1],
            upper=upper[lead - 1],
            origin=start,
            valid=int((np.isfinite(truth[lead - 1] + start) & scored).sum()),
            unseen=unseen if unseen.any() else None,
            note="" if unseen.any() else _judged(judged.get(str(lead), {})),
        )
        for lead in range(1, spec.h + 1)
    ]


def _ends(
    bundle: Bundle, knots: Floats, distance: Floats | None, center: Floats
) -> tuple[Floats, Floats]:
    """Return the bounds of the interval; without a calibration, those of the network itself."""
    spec = bundle.spec
    if bundle.calibration.leads:
        request = ForecastRequest("", "", {}, spec.h, level=(LEVEL,))
        found = distribution(bundle, knots, distance, request)
        return found[f"lo_{LEVEL:g}"], found[f"hi_{LEVEL:g}"]
    if len(spec.network.knots) < 2:  # one number: no interval
        return center, center
    tail = (1 - LEVEL / 100) / 2
    low, high = (
        np.stack([quantile(values, spec.network.knots, p) for values in knots])
        for p in (tail, 1 - tail)
    )
    return low, high


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
    if not np.isfinite(skill):
        return ""
    return f"unseen, before\nthe last fit:\nCRPS skill {100 * skill:+.1f} %"


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
