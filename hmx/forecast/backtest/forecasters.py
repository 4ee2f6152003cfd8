"""The forecasters that a backtest scores beside the model, fitted to an origin's past.

Each is fitted to windows drawn from all over the cube, to targets up to the origin
and, where blocks are held out, to pixels of training blocks alone. What is fitted is
the same whatever the tiles that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.cube.cube import Cube
from hmx.cube.read import read
from hmx.features.linear import RADII, NormalEquations, count_features, features
from hmx.forecast.backtest.baselines import (
    Ridge,
    damped_trend,
    damping_sums,
    linear_trend,
    persistence,
    solve_damping,
)
from hmx.forecast.backtest.boosting import Boosting, Sampler
from hmx.forecast.options import BASELINES
from hmx.scores import Prediction
from hmx.splits import TRAIN, Split
from hmx.windows import Span, Tile, TileGrid, Window

Floats = NDArray[np.floating[Any]]

PERSISTENCE, LINEAR, DAMPED, RIDGE, BOOSTING = NAMES = BASELINES
HISTORY = 3  # steps they look at, the origin included
_SMALL = 4_000_000  # px of a grid up to which all are the default
_SIDE = 256  # of a window that they are fitted to, px
_MOST_WINDOWS = 400  # that are looked at
_MOST_PIXELS = 6_000_000  # with data, each as often as it has an origin
_MOST_ORIGINS = 6  # latest ones


@dataclass(frozen=True)
class Baselines:
    """Fitted forecasters.

    Attributes
    ----------
    names : tuple of str
        Of :data:`NAMES`.
    leads : tuple of int
        Leads asked for.
    phi : float
        Damping of the trend.
    ridge : Ridge, optional
        Fitted for some or all of the leads.
    boosting : Boosting, optional
        Likewise.
    valid_range : (float, float), units of the target, optional
        Bounds of all forecasts.
    """

    names: tuple[str, ...]
    leads: tuple[int, ...]
    phi: float = 0.0
    ridge: Ridge | None = None
    boosting: Boosting | None = None
    valid_range: tuple[float, float] | None = None

    @property
    def halo(self) -> int:
        """True pixels that they look at around a pixel."""
        return max(RADII) if self.ridge or self.boosting else 0

    def predict(self, history: Floats, static: Floats | None = None) -> dict[str, Prediction]:
        """Forecast a window.

        Parameters
        ----------
        history : array (time, y, x), units of the target
            The last :data:`HISTORY` steps, or all there are, up to the origin.
        static : array (layer, y, x), optional
            Static covariates.

        Returns
        -------
        dict of str to Prediction
            By name; only the leads that each was fitted for.
        """
        limits, found = self.valid_range, {}
        for name in self.names:
            if name == PERSISTENCE:
                ahead = persistence(history, self.leads, valid_range=limits)
            elif name == LINEAR:
                ahead = linear_trend(history, self.leads, valid_range=limits)
            else:
                ahead = damped_trend(history, self.leads, phi=self.phi, valid_range=limits)
            found[name] = Prediction(ahead, leads=self.leads)
        if self.ridge is not None:
            leads = self.ridge.leads
            ahead = self.ridge.predict(history, leads, static=static, valid_range=limits)
            found[RIDGE] = Prediction(ahead, leads=leads)
        if self.boosting is not None:
            found[BOOSTING] = self._boosted(self.boosting, history, static)
        return found

    def _boosted(self, fitted: Boosting, history: Floats, static: Floats | None) -> Prediction:
        x = features(history, static=static)
        ahead = [fitted.predict(x, history[-1], lead) for lead in fitted.leads]
        low, high = self.valid_range or (-np.inf, np.inf)
        mean, knots = (np.clip(np.stack(part), low, high) for part in zip(*ahead, strict=True))
        kept = np.result_type(history, np.float32)
        return Prediction(mean.astype(kept), knots.astype(kept), fitted.levels, fitted.leads)


def choose(names: Sequence[str] | None, shape: tuple[int, int]) -> tuple[str, ...]:
    """Decide which forecasters are scored beside the model.

    Parameters
    ----------
    names : sequence of str, optional
        Of :data:`NAMES`; persistence is always there. Default: all, or without the
        last two on a grid of 4 Mpx and more, where fits and trees take long.
    shape : tuple of int
        Rows and columns of the cube, px.
    """
    if names is None:
        return NAMES if shape[0] * shape[1] < _SMALL else NAMES[:3]
    return tuple(name for name in NAMES if name in {PERSISTENCE, *names})


def fit_baselines(
    cube: Cube,
    names: Sequence[str],
    leads: Sequence[int],
    *,
    split: Split | None,
    seed: int,
    span: float,
    may_hold: Callable[[Window], bool] = lambda window: True,
) -> Baselines:
    """Fit forecasters to a cube that ends at the origin.

    Parameters
    ----------
    cube : Cube
        Its last step is the origin; no later one is known.
    names : sequence of str
        Of :data:`NAMES`.
    leads : sequence of int
        Steps ahead.
    split : Split, optional
        Only targets of its training blocks are learnt from.
    seed : int
        Of the draw of windows and pixels.
    span : float, units of the target
        Range of the target.
    may_hold : callable
        Tells whether a window can have data, without reading it.
    """
    steps = cube.data.sizes["time"]
    history = min(HISTORY, steps)
    ahead = tuple(lead for lead in leads if lead <= steps - history)
    wide = {RIDGE, BOOSTING} & {*names} if ahead else set()
    equations = NormalEquations.zero(len(ahead), count_features(history, RADII) + len(cube.static))
    sampler, sums = Sampler(ahead, seed=seed), np.zeros(2)
    windows = _windows(cube, split, seed, may_hold) if {*names} - {*NAMES[:2]} else ()
    for past, static, learnt in windows:
        sums += damping_sums(np.where(learnt, past, np.nan))
        for x, changes in _samples(past, static, learnt, history, ahead) if wide else ():
            if RIDGE in wide:
                equations += NormalEquations.of(x, changes)
            if BOOSTING in wide:
                sampler.see(x, changes)
    limits = cube.rules[cube.target].valid_range
    return Baselines(
        tuple(name for name in NAMES[:3] if name in names),
        tuple(leads),
        solve_damping(sums),
        _ridge(equations, ahead, history) if RIDGE in wide else None,
        sampler.fit(seed=seed, span=span) if BOOSTING in wide else None,
        limits,
    )


def _ridge(equations: NormalEquations, leads: Sequence[int], history: int) -> Ridge | None:
    """Solve for the leads that had anything to learn from."""
    known = [index for index in range(len(leads)) if equations.gram[index, 0, 0]]
    if not known:
        return None
    solved = NormalEquations(equations.gram[known]).solve(1.0)
    return Ridge(tuple(leads[index] for index in known), history, RADII, *solved)


def _windows(
    cube: Cube, split: Split | None, seed: int, may_hold: Callable[[Window], bool]
) -> Iterator[tuple[Floats, Floats | None, NDArray[np.bool_]]]:
    """Draw windows with data: series, static layers, and where may be learnt from."""
    grid, steps, rules = cube.grid, cube.data.sizes["time"], cube.rules
    tiles = TileGrid(grid.shape, (_SIDE, _SIDE), halo=max(RADII), wraps=grid.wraps)
    order = np.random.default_rng([seed, 5]).permutation(tiles.counts[0] * tiles.counts[1])
    pixels = looked = 0
    used = Cube(cube.data[[cube.target, *cube.static]], cube.target, (), cube.static, cube.outer)
    for number in order:
        tile = tiles[divmod(int(number), tiles.counts[1])]
        if not may_hold(tile.core) or not (learnt := _learnt(tile, split)).any():
            continue
        looked += 1
        arrays = read(used, tile.read, Span(0, steps), rules)
        learnt &= np.isfinite(arrays[cube.target][-1])
        static = np.stack([arrays[name] for name in cube.static]) if cube.static else None
        yield arrays[cube.target], static, learnt
        pixels += int(learnt.sum()) * min(max(1, steps - HISTORY), _MOST_ORIGINS)
        if pixels > _MOST_PIXELS or looked >= _MOST_WINDOWS:
            return


def _learnt(tile: Tile, split: Split | None) -> NDArray[np.bool_]:
    """Where a window's targets may be learnt from: its core, in training blocks."""
    learnt = np.zeros(tile.read.shape, bool)
    learnt[tile.crop.slices] = True if split is None else split.roles(tile.core) == TRAIN
    return learnt


def _samples(
    past: Floats,
    static: Floats | None,
    learnt: NDArray[np.bool_],
    history: int,
    leads: Sequence[int],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield features and changes of the latest origins whose targets are known."""
    last = len(past) - 1
    for origin in range(max(history - 1, last - _MOST_ORIGINS), last):
        x = features(past[origin - history + 1 : origin + 1], static=static)
        changes = np.full((len(leads), *learnt.shape), np.nan)
        for index, lead in enumerate(leads):
            if origin + lead <= last:
                change = past[origin + lead].astype(np.float64) - past[origin]
                changes[index] = np.where(learnt, change, np.nan)
        yield x, changes
