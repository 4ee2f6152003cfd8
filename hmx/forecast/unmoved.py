"""Unmoved medians: the share of pixels whose median forecast is the last map, in one sentence.

Where change is rarer than every second pixel the most likely future is none, so a map of medians
repeats the last one. That is right, and the probability of change is the layer to look at.
"""

from __future__ import annotations

import numpy as np

from hmx.errors import HmxError
from hmx.forecast.order import ForecastRun
from hmx.windows import Span, Window

_SIDE = 128  # of a window that is computed, px
_WINDOWS = 4  # of the raster, spread over it: a share needs no more
_MOST = 0.5  # the sentence is for rasters where most medians stay


def describe_unmoved(run: ForecastRun) -> str | None:
    """Return a sentence if the median is the last map on most pixels; ``None`` otherwise."""
    try:
        share, pixels = unmoved(run)
    except HmxError:  # a model without a distribution
        return None
    return sentence(share, pixels) if share > _MOST else None


def sentence(share: float, pixels: int) -> str:
    """State the share of unmoved medians, and what to look at instead."""
    return (
        f"the median equals the last map on {100 * share:.0f} % of pixels (of {pixels:,} that were "
        "looked at, over all steps); that is what this history supports. Look at P(> t), in the "
        "report, or as a layer with --exceed 0.1 (hmx guide judging)"
    )


def unmoved(run: ForecastRun) -> tuple[float, int]:
    """Compute medians in a few windows: the share that equals the last map, and pixels seen."""
    runner = run.with_quantiles((0.5,)).runner
    target = run.cube.target
    rules = run.cube.rules[target]
    same = seen = pixels = 0
    for part in _windows(run.window.shape):
        found = runner.run(part, run.cube)[f"{target}_quantile"]
        ahead = found.reshape(-1, *part.shape)  # one quantile: (h, y, x)
        core = runner.core(part)
        last = run.cube.data[target].isel(time=-1)
        origin = rules.clean(last.isel(y=core.y.slice, x=core.x.slice).values)
        axes = [axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in runner.flips]
        origin = np.flip(origin, tuple(axes))
        known = np.isfinite(ahead)
        same += int(((ahead == origin) & known).sum())
        seen += int(known.sum())
        pixels += int(known.any(axis=0).sum())
    return (same / seen if seen else 0.0), pixels


def _windows(shape: tuple[int, int]) -> list[Window]:
    """Choose windows in the middles of the quarters of a raster; the whole of a small one."""
    spans = []
    for size in shape:
        if size <= 2 * _SIDE:
            spans.append([Span(0, size)])
        else:
            starts = (size // 4 - _SIDE // 2, 3 * size // 4 - _SIDE // 2)
            spans.append([Span(start, start + _SIDE) for start in starts])
    return [Window(rows, columns) for rows in spans[0] for columns in spans[1]][:_WINDOWS]
