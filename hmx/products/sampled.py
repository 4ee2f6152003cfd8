"""Sampled: every n-th pixel of a result, with its past and its percentiles, tile by tile.

A store keeps a few ends of intervals. The model that made it gives the whole distribution again,
and its means are compared with those of the store. A tile gives its sampled pixels alone, so
memory depends neither on the size of the raster nor on the number of workers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.grid import Grid
from hmx.cube.read import CubeView, cut
from hmx.cube.values import Rules
from hmx.engine.options import DaskSection
from hmx.engine.order import Openable, Request, Run, WindowRunner, opened
from hmx.engine.pool.runner import Task, run_windows
from hmx.engine.recall import Check, Recalled
from hmx.engine.result import NO_DATA
from hmx.errors import BadArgument, JobFailed
from hmx.forecast.order import ForecastRun
from hmx.progress import Meter, Progress
from hmx.provenance import fingerprint
from hmx.report.layers import Fine, Flags, Layers, Sampling
from hmx.uncertainty.joint.dependence import LEVELS
from hmx.windows import Index, Span, Tile, TileGrid, Window

PAST = 60  # last maps of the past that are kept, at most
_FLAGGED = ("quality", "applicable")
_FINE = "fine"
Parts = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SampleWork:
    """Computes tiles and keeps their sampled pixels; small, as it travels to each worker."""

    runner: WindowRunner[Request]
    tiles: TileGrid  # of the cube
    window: Window  # the part of the cube that the result covers
    sampling: Sampling
    past: Span  # steps of the past that are read
    target: str
    rules: Rules
    source: Openable | None = None  # the stored cube; None in this process
    run: str = ""  # fingerprint of the result

    def __call__(self, index: Index, threads: int | None = None) -> Parts:
        """Compute one tile of the stored cube."""
        assert self.source is not None
        work = replace(self, runner=self.runner.with_threads(threads))
        return work.parts(self.tiles[index], opened(self.source, self.run))

    def parts(self, tile: Tile, cube: CubeView, check: Check | None = None) -> Parts:
        """Compute a tile, compare it with the result, and return its sampled pixels by name."""
        inside = self.inside(tile)
        found = self.runner.task(tile.core, tile.read, cube.grid)(
            *self.runner.read(tile.read, cube)
        )
        crop = inside.within(tile.core).slices
        whole = {name: values[(..., *crop)] for name, values in found.items()}
        if check is not None:
            check(inside, whole["mean"])
        mean = whole["mean"] if whole["mean"].ndim == 3 else whole["mean"][None]
        kept = {"mean": mean, **{n: whole[n] for n in _FLAGGED if n in whole}}
        if self.sampling.levels:
            values = whole["quantile"]  # of forecasts (q, lead, y, x)
            kept["quantiles"] = np.swapaxes(values, 0, 1) if values.ndim == 4 else values[None]
        states = mean
        if len(self.past):
            series = cube.stored(self.target).isel(time=self.past.slice)
            raw = cut(series, inside, cube.grid.shape[1]).values
            kept["history"] = self.rules.clean(raw, "float32")
            states = np.concatenate([kept["history"], mean])
        n, fine = self.sampling.stride, self.sampling.fine
        parts = {name: _every(values, inside, self.window, n) for name, values in kept.items()}
        if fine:
            parts[_FINE] = _every(states[list(self.fine_times)], inside, self.window, fine)
        return parts

    def inside(self, tile: Tile) -> Window:
        """Return the part of a tile that the result covers."""
        return tile.core.clip(self.window)

    def needs(self, tile: Tile, grid: Grid) -> Window:
        """Return the part of the cube without which a tile has no data."""
        area = self.runner.area
        part = self.inside(tile).within(area).flip(area.shape, self.runner.flips)
        return self.runner.needs(part, grid)

    @property
    def fine_times(self) -> tuple[int, ...]:
        """Times of the finer level, among those of the page."""
        past, leads = len(self.past), self.leads
        if not self.sampling.ends:
            return tuple(range(past + leads))
        return (past - 1, past + leads - 1) if past else (leads - 1,)

    @property
    def leads(self) -> int:
        """Maps ahead; a map of samples is one."""
        return int(getattr(self.runner.request, "h", 1))


def _every(values: NDArray[Any], inside: Window, window: Window, step: int) -> NDArray[Any]:
    """Return the sampled pixels of a window: every n-th row and column of the result."""
    _, (rows, columns) = _spans(inside, window, step)
    return np.ascontiguousarray(values[..., rows, columns])


def _spans(
    inside: Window, window: Window, step: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a window's sampled pixels go, and where they are in it."""
    ends = inside.within(window)
    spans = (ends.y, ends.x)
    at = tuple(slice(-(-span.start // step), -(-span.stop // step)) for span in spans)
    part = tuple(slice(-span.start % step, span.stop - span.start, step) for span in spans)
    return (at[0], at[1]), (part[0], part[1])


def sample(
    found: Recalled, section: DaskSection | None = None, progress: Progress = Progress()
) -> tuple[Layers, Fine | None]:
    """Compute the layers of a result on its sampled pixels, north-up, and its finer level.

    A stored result is computed on the workers that a section names, if it names some.
    """
    work, run = plan_samples(found)
    tiles = list(run.tiles.covering(run.window))
    if found.check is None:  # nothing is compared, so nothing needs be computed without data
        inventory = run.inventory(found.source)
        tiles = [tile for tile in tiles if inventory.may_hold(work.needs(tile, run.cube.grid))]
    flags = [name for name in _FLAGGED if name in run.outputs()]
    whole, report = (
        _Whole(work, flags),
        Meter(progress, len(tiles), "report: ", start="computing percentiles"),
    )

    def add(index: Index, parts: Parts) -> None:
        whole.add(index, parts)
        report()

    if found.source is not None and found.check is None and _apart(section):
        work = replace(work, source=run.source(found.source), run=fingerprint(run.facts()))
        _on_workers(work, tiles, section or DaskSection(), run, add, progress)
    else:
        for tile in tiles:
            add(tile.index, work.parts(tile, run.cube, found.check))
    return whole.layers(found.run)


def plan_samples(found: Recalled) -> tuple[SampleWork, Run[Request]]:
    """Choose what is kept of a result, and return the run that computes it."""
    run, levels = with_distribution(found.run, LEVELS)
    leads = run.outputs()["mean"][0] if run.outputs()["mean"] else 1
    steps, target = past_steps(run), run.runner.spec.target
    sampling = Sampling.of(run.window.shape, leads, len(steps), levels)
    if sampling.levels != levels:
        run, _ = with_distribution(found.run, sampling.levels)
    rules = run.request.rules[target] if isinstance(run, ForecastRun) else Rules()
    past = Span(steps.start, steps.stop)
    return SampleWork(run.runner, run.tiles, run.window, sampling, past, target, rules), run


def with_distribution(
    run: Run[Request], levels: tuple[float, ...]
) -> tuple[Run[Request], tuple[float, ...]]:
    """Return the run with these percentiles, and their levels; none without a calibration."""
    try:
        return run.with_quantiles(levels), levels
    except BadArgument:
        plain: dict[str, Any] = {"level": (), "quantiles": ()}
        return replace(run, request=replace(run.request, **plain)), ()  # type: ignore[type-var]


def past_steps(run: Run[Request]) -> range:
    """Return the steps of the past that a report has: up to the origin."""
    if not isinstance(run, ForecastRun):
        return range(0)
    count = run.cube.data.sizes["time"]
    return range(max(0, count - PAST), count)


def _apart(section: DaskSection | None) -> bool:
    """Return True if a section names workers, or a Dask client of the user is at work."""
    if section is None and "distributed" in sys.modules:
        from hmx.engine.pool.cluster import active_client

        return active_client() is not None
    return section is not None and (section.workers, section.scheduler, section.cluster) != (
        None, None, None,
    )  # fmt: skip


def _on_workers(
    work: SampleWork,
    tiles: Sequence[Tile],
    section: DaskSection,
    run: Run[Request],
    add: Callable[[Index, Parts], None],
    progress: Progress,
) -> None:
    """Compute tiles on workers; what comes back is added and dropped."""
    from hmx.engine.pool.cluster import connect  # loads distributed

    with connect(section, tasks=len(tiles), device=run.options.device) as pool:
        progress.note(f"report: {len(tiles)} tiles, by {pool.described}")
        failures = run_windows(pool, work, (Task(tile.index) for tile in tiles), on_done=add)
    if failures:
        first = failures[0]
        raise JobFailed(
            f"the report is not written: {len(failures)} tiles failed. Tile {first.index}: "
            f"{type(first.error).__name__}: {first.error}. Repair its input, then run the same "
            "command again."
        )


class _Whole:
    """Arrays of the sampled pixels of a result, filled tile by tile."""

    def __init__(self, work: SampleWork, flags: Sequence[str]):
        self.work, sampling = work, work.sampling
        shape, fine = ([-(-size // n) if n else 0 for size in work.window.shape]
                       for n in (sampling.stride, sampling.fine))  # fmt: skip
        counts = {"mean": (work.leads,), "quantiles": (work.leads, len(sampling.levels))}
        counts |= {"history": (len(work.past),)}
        self.arrays: Parts = {
            name: np.full((*count, *shape), np.nan, np.float32) for name, count in counts.items()
        }
        self.arrays |= {name: np.full(shape, NO_DATA[name], np.uint8) for name in flags}
        if sampling.fine:
            self.arrays[_FINE] = np.full((len(work.fine_times), *fine), np.nan, np.float32)

    def add(self, index: Index, parts: Parts) -> None:
        """Enter the sampled pixels of a tile."""
        work, sampling = self.work, self.work.sampling
        inside = work.inside(work.tiles[index])
        for name, values in parts.items():
            step = sampling.fine if name == _FINE else sampling.stride
            at, _ = _spans(inside, work.window, step)
            self.arrays[name][(..., *at)] = values

    def layers(self, run: Run[Request]) -> tuple[Layers, Fine | None]:
        """Return what was kept, with the meaning of each flag."""
        template, work, arrays = run.template(), self.work, self.arrays
        flags = tuple(
            Flags(
                name,
                str(template[name].attrs.get("long_name", name)),
                arrays[name],
                _entries(template[name].attrs),
            )
            for name in _FLAGGED
            if name in arrays
        )
        sampling = work.sampling
        fine = Fine(arrays[_FINE], work.fine_times, sampling.fine) if sampling.fine else None
        return Layers(
            arrays["history"], arrays["mean"], arrays["quantiles"], sampling.levels, flags,
            sampling.stride,
        ), fine  # fmt: skip


def _entries(attrs: Mapping[Any, Any]) -> tuple[tuple[str, int, bool], ...]:
    """Read the flags of a variable; no data has a grey of its own, and inside needs none."""
    mask = "flag_masks" in attrs
    values = np.atleast_1d(attrs["flag_masks" if mask else "flag_values"])
    meanings = str(attrs["flag_meanings"]).split()
    known = zip(meanings, map(int, values), strict=True)
    return tuple((name, n, mask) for name, n in known if name not in ("no_data", "inside"))
