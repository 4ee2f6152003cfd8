"""Fitting of all baselines of an origin, in one pass over windows of its past.

Windows are drawn from all over the cube; targets reach up to the origin and, where blocks are
held out, are pixels of training blocks alone. The fit does not depend on the tiles that are
scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hmx.cube.cube import Cube
from hmx.cube.read import read
from hmx.errors import BadArgument
from hmx.features.linear import RADII, features
from hmx.forecast.backtest.baselines.registry import (
    HISTORY,
    Array,
    Baseline,
    BaselineSetup,
    Floats,
    Mask,
    lookup,
)  # fmt: skip
from hmx.scores import Prediction
from hmx.splits import TRAIN, Split
from hmx.windows import Span, TileGrid, Window

_SIDE = 256  # px of a window to learn from
# Bounds of the work, whatever the size of the cube: more windows change the fits by less than
# another seed does.
_MOST_WINDOWS = 400  # that are read
_MOST_PIXELS = 6_000_000  # with data, each counted once for every origin
_MOST_ORIGINS = 6  # latest ones: older change may follow other rules


@dataclass(frozen=True)
class Baselines:
    """Fitted baselines by name, in the order of tables."""

    fitted: Mapping[str, Baseline]

    @property
    def halo(self) -> int:
        """Distance over which a pixel's forecast looks at others, px."""
        return max((one.halo for one in self.fitted.values()), default=0)

    def predict(self, history: Floats, static: Floats | None = None) -> dict[str, Prediction]:
        """Forecast a window with all of them; history (time, y, x), static (layer, y, x)."""
        known, predictions = np.isfinite(history[-1]), {}
        for name, one in self.fitted.items():
            ahead = one.predict(history, static)
            wanted = (len(ahead.leads or ()), *known.shape)
            # A gap would remove the pixel from the scores of all forecasters.
            if ahead.mean.shape != wanted or not np.isfinite(ahead.mean[:, known]).all():
                raise BadArgument(
                    f"baseline {name!r} forecast an array {ahead.mean.shape} for {wanted}, or has "
                    "gaps: it returns one plane for each of its leads, finite wherever the "
                    "origin is. Fill gaps with the origin, and pass leads= to Prediction."
                )
            predictions[name] = ahead
        return predictions


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
    """Fit baselines to a cube whose last step is the origin.

    With a `split`, only targets of its training blocks are learnt from. `span` is the range of
    the target; `may_hold` returns False for a window that is known to be empty without a read.
    """
    steps = cube.data.sizes["time"]
    history = min(HISTORY, steps)
    past = BaselineSetup(
        leads=tuple(leads),
        learnable=tuple(lead for lead in leads if lead <= steps - history),
        history=history,
        layers=len(cube.static),
        seed=seed,
        span=span,
        valid_range=cube.rules[cube.target].valid_range,
    )
    everyone = [lookup(name)(past) for name in names]
    by_window = [one for one in everyone if type(one).learn is not Baseline.learn]
    by_change = [one for one in everyone if type(one).learn_changes is not Baseline.learn_changes]
    by_change = by_change if past.learnable else []
    windows = _windows(cube, everyone, split, seed, may_hold) if by_window or by_change else ()
    for series, static, learnable in windows:
        for one in by_window:
            one.learn(series, learnable)
        for x, changes in _changes(series, static, learnable, past) if by_change else ():
            for one in by_change:
                one.learn_changes(x, changes)
    return Baselines({one.name: one for one in everyone if one.finish()})


def _windows(
    cube: Cube,
    everyone: Sequence[Baseline],
    split: Split | None,
    seed: int,
    may_hold: Callable[[Window], bool],
) -> Iterator[tuple[Floats, Floats | None, Mask]]:
    """Draw windows with data: series (time, y, x), static layers, pixels to learn from (y, x)."""
    grid, steps, rules = cube.grid, cube.data.sizes["time"], cube.rules
    halo = max(max(RADII), *(one.halo for one in everyone))
    tiles = TileGrid(grid.shape, (_SIDE, _SIDE), halo=halo, wraps=grid.wraps)
    # [seed, 5]: a stream of its own, as the trees' sample draws from [seed, 7]
    order = np.random.default_rng([seed, 5]).permutation(tiles.counts[0] * tiles.counts[1])
    pixels = count = 0
    used = Cube(cube.data[[cube.target, *cube.static]], cube.target, (), cube.static, cube.outer)
    for number in order:
        tile = tiles[divmod(int(number), tiles.counts[1])]
        if not may_hold(tile.core):
            continue
        learnable = np.zeros(tile.read.shape, bool)  # the halo is read, not learnt from
        learnable[tile.crop.slices] = True if split is None else split.roles(tile.core) == TRAIN
        if not learnable.any():
            continue
        count += 1
        arrays = read(used, tile.read, Span(0, steps), rules)
        learnable &= np.isfinite(arrays[cube.target][-1])
        static = np.stack([arrays[name] for name in cube.static]) if cube.static else None
        yield arrays[cube.target], static, learnable
        pixels += int(learnable.sum()) * min(max(1, steps - HISTORY), _MOST_ORIGINS)
        if pixels > _MOST_PIXELS or count >= _MOST_WINDOWS:
            return


def _changes(
    series: Floats, static: Floats | None, learnable: Mask, past: BaselineSetup
) -> Iterator[tuple[Array, Array]]:
    """Yield features (f, y, x) and changes (lead, y, x) of the latest origins with a target."""
    last = len(series) - 1
    for origin in range(max(past.history - 1, last - _MOST_ORIGINS), last):
        x = features(series[origin - past.history + 1 : origin + 1], static=static)
        changes = np.full((len(past.learnable), *learnable.shape), np.nan)
        for index, lead in enumerate(past.learnable):
            if origin + lead <= last:
                change = series[origin + lead].astype(np.float64) - series[origin]
                changes[index] = np.where(learnable, change, np.nan)
        yield x, changes
