"""Sampled: every n-th pixel of a result, with its past and all its percentiles.

A store keeps a few ends of intervals. The model that made it gives the whole distribution again,
tile by tile, and its means are compared with those of the store. Only sampled pixels stay in
memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.read import cut
from hmx.engine.order import Request, Run
from hmx.engine.recall import Check, Recalled
from hmx.errors import BadArgument
from hmx.forecast.order import ForecastRun
from hmx.progress import Progress, duration
from hmx.report.layers import Flags, Layers, stride_for
from hmx.uncertainty.joint.dependence import LEVELS
from hmx.windows import Tile, Window

PAST = 60  # last maps of the past that are kept, at most
_FLAGGED = ("quality", "applicable")


def with_distribution(run: Run[Request]) -> tuple[Run[Request], tuple[float, ...]]:
    """Return the run with all percentiles, and their levels; none without a calibration."""
    try:
        return run.with_quantiles(LEVELS), LEVELS
    except BadArgument:
        plain: dict[str, Any] = {"level": (), "quantiles": ()}
        return replace(run, request=replace(run.request, **plain)), ()  # type: ignore[type-var]


def sample(found: Recalled, progress: Progress = Progress()) -> Layers:
    """Compute the layers of a result on its sampled pixels, north-up."""
    run, levels = with_distribution(found.run)
    leads = run.outputs()["mean"][0] if run.outputs()["mean"] else 1
    steps = past_steps(run)
    stride = stride_for(run.window.shape, leads * (len(levels) + 1) + len(steps))
    whole = _Whole(run, levels, leads, len(steps), stride)
    tiles, start = list(run.tiles.covering(run.window)), time.monotonic()
    progress.step(0, len(tiles), "report: computing percentiles")
    for done, tile in enumerate(tiles, start=1):
        whole.add(tile, steps, found.check)
        left = duration((len(tiles) - done) * (time.monotonic() - start) / done)
        progress.step(done, len(tiles), f"report: {left} left")
    return whole.layers(found.run)


def past_steps(run: Run[Request]) -> range:
    """Return the steps of the past that a report has: up to the origin."""
    if not isinstance(run, ForecastRun):
        return range(0)
    count = run.cube.data.sizes["time"]
    return range(max(0, count - PAST), count)


class _Whole:
    """Arrays of the sampled pixels of a window, filled tile by tile."""

    def __init__(
        self, run: Run[Request], levels: tuple[float, ...], leads: int, past: int, stride: int
    ):
        self.run, self.levels, self.stride = run, levels, stride
        shape = tuple(-(-size // stride) for size in run.window.shape)
        self.mean = np.full((leads, *shape), np.nan, np.float32)
        self.quantiles = np.full((leads, len(levels), *shape), np.nan, np.float32)
        self.history = np.full((past, *shape), np.nan, np.float32)
        kept = [name for name in _FLAGGED if name in run.outputs()]
        self.flags: dict[str, NDArray[np.uint8]] = {n: np.zeros(shape, np.uint8) for n in kept}

    def add(self, tile: Tile, steps: range, check: Check | None) -> None:
        """Compute a tile, compare it with the result, and keep its sampled pixels."""
        run = self.run
        inside = Window(tile.core.y.clip(run.window.y), tile.core.x.clip(run.window.x))
        found = run.runner.task(tile.core, tile.read, run.cube.grid)(
            *run.runner.read(tile.read, run.cube)
        )
        crop = inside.within(tile.core).slices
        if check is not None:
            check(inside, found["mean"][(..., *crop)])
        at, part = self._sampled(inside)
        rows, columns = (slice(c.start + p.start, c.stop, p.step)
                         for c, p in zip(crop, part, strict=True))  # fmt: skip
        self.mean[(..., *at)] = found["mean"][..., rows, columns]
        if self.levels:
            values = found["quantile"][..., rows, columns]  # of forecasts (q, lead, y, x)
            self.quantiles[(..., *at)] = np.swapaxes(values, 0, 1) if values.ndim == 4 else values
        for name, plane in self.flags.items():
            plane[at] = found[name][rows, columns]
        if steps:
            assert isinstance(run, ForecastRun)
            target = run.bundle.spec.target
            series = run.cube.stored(target).isel(time=slice(steps.start, steps.stop))
            raw = cut(series, inside, run.cube.grid.shape[1])[..., part[0], part[1]].values
            self.history[(..., *at)] = run.request.rules[target].clean(raw, "float32")

    def _sampled(self, inside: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return where a window's sampled pixels go, and where they are in it."""
        ends, n = inside.within(self.run.window), self.stride
        spans = (ends.y, ends.x)
        at = tuple(slice(-(-span.start // n), -(-span.stop // n)) for span in spans)
        part = tuple(slice(-span.start % n, span.stop - span.start, n) for span in spans)
        return (at[0], at[1]), (part[0], part[1])

    def layers(self, run: Run[Request]) -> Layers:
        """Return what was kept, with the meaning of each flag."""
        template = run.template()
        flags = tuple(
            Flags(
                name,
                str(template[name].attrs.get("long_name", name)),
                plane,
                _entries(template[name].attrs),
            )
            for name, plane in self.flags.items()
        )
        return Layers(self.history, self.mean, self.quantiles, self.levels, flags, self.stride)


def _entries(attrs: Mapping[Any, Any]) -> tuple[tuple[str, int, bool], ...]:
    """Read the flags of a variable; no data has a grey of its own, and inside needs none."""
    mask = "flag_masks" in attrs
    values = np.atleast_1d(attrs["flag_masks" if mask else "flag_values"])
    meanings = str(attrs["flag_meanings"]).split()
    known = zip(meanings, map(int, values), strict=True)
    return tuple((name, n, mask) for name, n in known if name not in ("no_data", "inside"))
