"""Visits: how often a fit may look at each pixel, which decides its steps per epoch.

A small raster is learnt by heart: its intervals get short and its means follow the accidents of one
map. What fits rasters of every size is a number of visits to each training pixel over the whole
fit, whatever the number of origins. It was chosen on a raster of 11,000 pixels; from
some 50,000 on the largest number of steps is reached anyway.
"""

from __future__ import annotations

import numpy as np

from hmx.forecast.options import TrainOptions
from hmx.forecast.train.data import Chips, Draw, Reader
from hmx.forecast.train.recipe import chip_of
from hmx.splits import TRAIN

_VISITS = 60  # to each training pixel, over all epochs
_FEWEST, MOST = 3, 13  # steps per epoch
_CHIPS = 16  # drawn to count the pixels that a chip scores


def steps_per_epoch(reader: Reader, draw: Draw, options: TrainOptions, *, valid: np.ndarray) -> int:
    """Return the steps of an epoch: those asked for, or those that give the usual visits.

    ``valid`` counts the pixels with data of each block, (block rows, block columns).
    """
    if options.steps is not None:
        return options.steps
    return bounded(wanted_steps(reader, draw, options, valid=valid))


def bounded(steps: float) -> int:
    """Round a number of steps to one that an epoch may have."""
    return int(np.clip(round(steps), _FEWEST, MOST))


def wanted_steps(reader: Reader, draw: Draw, options: TrainOptions, *, valid: np.ndarray) -> float:
    """Return the steps of an epoch that give the usual visits; it grows with the raster."""
    split = reader.split
    ours = split.table == TRAIN
    # a buffer takes pixels from training blocks, and with and without data alike
    whole = sum(len(window.y) * len(window.x) for window in split.windows(TRAIN))
    places = float(valid[ours].sum()) * split.areas().get(TRAIN, 0) / max(whole, 1)
    side = chip_of(options, reader.spec, reader.cube.grid.shape)
    chips = Chips(reader, draw, side, batch=1, steps=1, key=(options.seed, 0))
    drawn = [chips.chip(step, 0) for step in range(_CHIPS)]
    scored = options.batch * float(np.mean([(chip.weight[0] > 0).sum() for chip in drawn]))
    return _VISITS * places / max(scored, 1) / options.epochs
