"""The task of a backtest: read a tile, forecast it, compare it with the truth, add up.

Only a :class:`TileScores` is sent to a worker. There it reads a tile with the halo of all
forecasters, up to the origin and no further; forecasts with the engine of all forecasts;
calibrates; runs the baselines on the same window; reads the truth; and returns sums.
Distributions are compared lead by lead in pieces of a tile, so memory depends neither on the
raster nor on the number of levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.cube import Cube, StoredCube
from hmx.cube.grid import Grid
from hmx.cube.read import read
from hmx.forecast.backtest.baselines.registry import HISTORY, PERSISTENCE
from hmx.forecast.backtest.case import InProcessCube, SavedBaselines, opened
from hmx.forecast.backtest.skillmap import SkillMap
from hmx.forecast.backtest.strata import CAP, Zones, by_change, by_distance, cut
from hmx.forecast.beyond import keep_width, learnt_leads, outward
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.window import Engine, ForecastRequest, TileGeometry, engine, halo
from hmx.scores import Prediction, Scene, Settings, Tally, crps
from hmx.scores.structure import HALO
from hmx.splits import TEST, Split
from hmx.uncertainty.distribution import mean
from hmx.windows import Index, Span, TileGrid, Window, with_halo

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

MODEL = "model"
UNSEEN = "unseen blocks"
_PIECE = 256  # px: side of a piece that is compared at a time; its dense levels fit in a cache


@dataclass(frozen=True)
class TileScores:
    """One model, origin and fold, cut into tiles of the owner's grid."""

    source: StoredCube | InProcessCube  # the cube
    run: str  # names the round, so that a process opens each cube once
    request: ForecastRequest  # the bundle and how it computes
    origin: int  # step that forecasts start from; inputs end there
    leads: tuple[int, ...]  # steps ahead that have held-out truth
    split: Split | None  # only pixels of its test blocks are held out; ``None``: all are
    unseen: Split | None  # its test blocks are a stratum of their own
    fitted: SavedBaselines  # the other forecasters
    zones: Zones | None  # strata in addition to those that are always there
    settings: Settings  # what is measured
    tiles: TileGrid  # in pixels of the cube as its owner has it
    maps: SkillMap | None = None  # where errors go, pixel by pixel

    def __call__(self, index: Index, threads: int | None = None) -> Tally:
        """Score one tile."""
        cube, outside = opened(self.source, self.run), self.tiles[index].core
        site = self._site(cube, outside.flip(cube.grid.shape, cube.outer.flips))
        if site is None:
            return Tally()
        request = self.request
        run = engine(request.bundle, request.digest, request.precision, request.device)
        forecasts = self._forecast(cube, site, run, threads)
        shape = (self.request.h, *site.core.shape)
        names = () if self.maps is None else ("abs_error", "crps", "abs_error_persistence")
        tally, maps = Tally(), {name: np.full(shape, np.nan, "float32") for name in names}
        pieces = TileGrid(site.core.shape, (_PIECE, _PIECE), halo=0)
        for piece in pieces:
            for number, lead in enumerate(self.leads):
                scored, errors = self._compare(site, forecasts, run, piece.core, number)
                tally += scored
                for name, layer in errors.items():
                    maps[name][(lead - 1, *piece.core.slices)] = layer
        if self.maps is not None:
            self.maps.write(maps, outside, cube.outer.flips)
        return tally

    def _site(self, cube: Cube, core: Window) -> Site | None:
        """Read origin, truth and weights of a tile; None if it has no held-out truth."""
        grid = cube.grid
        window = with_halo(core, grid.shape, halo=HALO[self.settings.kind], wraps=grid.wraps)
        inner = core.within(window)
        scored = np.ones(window.shape, bool)
        if self.split is not None:
            scored = self.split.roles(window) == TEST
        if not scored[inner.slices].any():
            return None
        origin, truth = map(self._cast, truth_of(cube, window, self.origin, self.leads))
        scored &= np.isfinite(origin) & np.isfinite(truth).any(axis=0)
        if not scored[inner.slices].any():
            return None
        weight = grid.cell_areas()[window.y.slice, None] * scored
        return Site(window, core, origin, truth, weight)

    def _forecast(self, cube: Cube, site: Site, run: Engine, threads: int | None) -> Forecasts:
        """Forecast a tile with the model and the baselines, from its past alone."""
        grid, spec, baselines = cube.grid, run.bundle.spec, self.fitted.load()
        far = max(halo(spec, self.request.h), baselines.halo, CAP)
        around = with_halo(site.window, grid.shape, halo=far, wraps=grid.wraps)
        first = self.origin + 1 - max(spec.network.past_steps, min(HISTORY, self.origin + 1))
        found = read(cube, around, Span(first, self.origin + 1), cube.rules)
        arrays = {name: self._cast(array) for name, array in found.items()}
        history, inner = arrays[cube.target][-HISTORY:], site.window.within(around).slices
        static = [arrays[name] for name in cube.static]
        others = baselines.predict(history, np.stack(static) if static else None)
        strata = {name: mask[inner] for name, mask in by_distance(history).items()}
        if self.unseen is not None:
            strata[UNSEEN] = self.unseen.roles(site.window) == TEST
        if self.zones is not None:
            strata |= self.zones.masks(site.window)
        knots, distance = window_knots(
            run, arrays, site.window, around, grid, h=self.request.h, threads=threads
        )
        knots[..., ~np.isfinite(site.origin)] = np.nan
        return Forecasts(knots, distance, {n: _cut(p, inner) for n, p in others.items()}, strata)

    def _compare(
        self, site: Site, forecasts: Forecasts, run: Engine, piece: Window, number: int
    ) -> tuple[Tally, dict[str, Floats]]:
        """Score a piece of a tile at one lead; its error maps are empty if there is no store."""
        lead, span = self.leads[number], self.settings.data_range
        inner = site.core.within(site.window)
        at = Window(piece.y.shift(inner.y.start), piece.x.shift(inner.x.start))
        wide = with_halo(at, site.window.shape, halo=HALO[self.settings.kind], wraps=False)
        view = wide.slices
        truth, origin, weight = site.truth[(number, *view)], site.origin[view], site.weight[view]
        crop = at.within(wide)
        if not (weight[crop.slices] > 0).any():
            return Tally(), {}
        strata = cut(forecasts.strata, view, crop.slices) | by_change(truth, origin, span)
        scene = Scene(
            truth[None],
            origin,
            (lead,),
            crop=crop,
            corner=(site.core.y.start + piece.y.start, site.core.x.start + piece.x.start),
            weight=weight,
            strata=strata,
        )
        raw, own = forecasts.knots[(slice(lead), slice(None), *view)], run.bundle.spec.network.knots
        distance = None if forecasts.distance is None else forecasts.distance[view]
        centre, learnt = mean(raw[-1], own), learnt_leads(run.bundle)
        raw = outward(raw, learnt, own.index(0.5))
        knots, levels = calibrated_knots(
            run.bundle, raw[-1], origin, distance, lead=lead,
            levels=levels_of(self.settings.intervals), span=span,
            before=raw[learnt - 1] if lead > learnt else None,
        )  # fmt: skip
        ahead = {MODEL: Prediction(centre[None], knots[None], levels)}
        ahead |= {
            name: _at(p, lead, view) for name, p in forecasts.others.items() if lead in _leads(p)
        }
        tally = Tally.of(scene, ahead, settings=self.settings)
        if self.maps is None:
            return tally, {}
        return tally, _errors(scene, ahead, knots, levels)

    def _cast(self, array: Floats) -> Floats:
        kind = "float64" if self.request.precision == "float64" else "float32"
        return array.astype(kind, copy=False)


def truth_of(
    cube: Cube, window: Window, origin: int, leads: Sequence[int]
) -> tuple[Floats, Floats]:
    """Read the last map before a forecast, (y, x), and the truth of its leads, (lead, y, x)."""
    target = Cube(cube.data[[cube.target]], cube.target, (), (), cube.outer)
    times = Span(origin, origin + max(leads) + 1)
    series = read(target, window, times, cube.rules)[cube.target]
    return series[0], series[list(leads)]


def window_knots(
    run: Engine,
    arrays: Mapping[str, Floats],
    window: Window,
    around: Window,
    grid: Grid,
    *,
    h: int,
    threads: int | None,
) -> tuple[Floats, Floats | None]:
    """Forecast a window from the arrays read around it: settled knots (h, q, y, x), distance."""
    spec = run.bundle.spec
    steps = spec.network.past_steps
    recent = {n: a[-steps:] if a.ndim == 3 else a for n, a in arrays.items()}
    geometry = TileGeometry.of(window, around, grid, spec, h=h)
    inputs = assemble(
        recent, spec, run.bundle.scaler, inner=geometry.inner, pixel_size=geometry.pixel_size
    )
    knots = run.knots(inputs, h, geometry.core, threads=threads)
    return knots, None if inputs.distance is None else inputs.distance[geometry.core.slices]


@dataclass(frozen=True)
class Site:
    """A tile with the halo of SSIM: position, origin, truth, weights."""

    window: Window  # with the rim, and without, in pixels of the cube
    core: Window
    origin: Floats  # the last map known (y, x)
    truth: Floats  # what came (lead, y, x)
    weight: Floats  # area; 0 where nothing is held out (y, x)


@dataclass(frozen=True)
class Forecasts:
    """The forecasts of a tile with its halo."""

    knots: Floats  # of the model, settled (h, q, y, x)
    distance: Floats | None  # to past change, as in the model's context (y, x)
    others: Mapping[str, Prediction]  # the baselines
    strata: Mapping[str, Mask]  # those that are known beforehand (y, x)


def _cut(prediction: Prediction, crop: tuple[slice, slice]) -> Prediction:
    """Cut a prediction to a window."""
    knots = None if prediction.knots is None else prediction.knots[(..., *crop)]
    return Prediction(prediction.mean[(..., *crop)], knots, prediction.levels, prediction.leads)


def _leads(prediction: Prediction) -> tuple[int, ...]:
    """Leads of a baseline, which names them."""
    return prediction.leads or ()


def _at(prediction: Prediction, lead: int, crop: tuple[slice, slice]) -> Prediction:
    """Take one lead of a prediction, cut to a window."""
    index = slice(at := _leads(prediction).index(lead), at + 1)
    knots = None if prediction.knots is None else prediction.knots[index]
    one = Prediction(prediction.mean[index], knots, prediction.levels, (lead,))
    return _cut(one, crop)


def _errors(
    scene: Scene, ahead: Mapping[str, Prediction], knots: Floats, levels: tuple[float, ...]
) -> dict[str, Floats]:
    """Map the errors of the model and of persistence over the core, NaN where not scored."""
    crop = scene.core.slices
    truth = scene.truth[0][crop]
    assert scene.weight is not None
    scored = scene.weight[crop] > 0
    found = {
        "abs_error": np.abs(ahead[MODEL].mean[0][crop] - truth),
        "crps": crps(truth, knots[(slice(None), *crop)], levels),
        "abs_error_persistence": np.abs(ahead[PERSISTENCE].mean[0][crop] - truth),
    }
    return {
        name: np.where(scored, layer, np.nan).astype("float32") for name, layer in found.items()
    }


# Levels at which a distribution is scored: the CRPS of linear pieces is exact, and a hundredth
# is finer than any calibration; the tails need levels of their own.
_STEPS = np.arange(0.01, 0.995, 0.01)
_TAILS = (0.0025, 0.005, 0.995, 0.9975)
_ROUNDING = 1e-6  # of the range of values: a value this close to the origin is the origin


def levels_of(intervals: Sequence[float]) -> tuple[float, ...]:
    """List the probabilities at which a distribution is scored: ends of intervals included."""
    tails = [(1 - level / 100) / 2 for level in intervals]
    ends = [*tails, *(1 - tail for tail in tails)]
    inside = [p for p in (*_STEPS, *_TAILS, *ends) if 0 < p < 1]
    return tuple(float(p) for p in np.unique(np.round(inside, 6)))


def calibrated_knots(
    bundle: Bundle,
    knots: Floats,
    origin: Floats,
    distance: Floats | None,
    *,
    lead: int,
    levels: Sequence[float],
    span: float,
    before: Floats | None = None,
) -> tuple[Floats, tuple[float, ...]]:
    """Read a lead's calibrated distribution at dense levels: values (level, y, x), levels.

    `knots` (q, y, x) are the settled ones of the network; of an extrapolated lead, those after
    :func:`hmx.forecast.beyond.outward`, with `before`, the knots of the last learnt lead. Point
    masses on the origin are exact, also after strata are mixed in float32. Without a calibration
    the knots are returned.
    """
    found, spec = bundle.calibration, bundle.spec
    own = spec.network.knots
    if not found.leads:
        return np.maximum.accumulate(knots, axis=0), tuple(own)
    known = lead if before is None else learnt_leads(bundle)
    values = found.quantiles(knots, own, distance, lead=known, probabilities=levels)
    low, high = spec.valid_range or (None, None)
    if low is not None or high is not None:
        np.clip(values, low, high, out=values)
        if before is not None:
            keep_width(bundle, before, values[:, None], distance, levels)
    same = np.abs(values - origin) <= _ROUNDING * span
    return np.where(same, origin, values), tuple(levels)
