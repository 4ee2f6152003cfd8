"""Visits: how often a fit may look at each pixel, which decides its steps and epochs.

A small raster is learnt by heart: its intervals get short and its means follow the accidents of one
map. What fits rasters of every size is a number of visits to each training pixel over the whole
fit, whatever the number of origins. It was chosen on a raster of 11,000 pixels; on large ones the
validation blocks end a fit. Where past steps foresee one another, twice as many visits teach more
of what they have in common; elsewhere they teach accidents.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hmx.forecast.options import TrainOptions
from hmx.forecast.train.data import Chips, Draw, Reader
from hmx.forecast.train.recipe import chip_of
from hmx.splits import TRAIN

_VISITS = 60  # to each training pixel, over all epochs
_REGULAR = 2  # times as many where past steps foresee one another
_FEWEST, _MOST = 3, 13  # steps per epoch
_AT_LEAST = 60  # steps of a fit: fewer do not teach a network anything
_LARGE = 260  # steps of a fit, from which on the fit on all blocks continues from its weights
# Epochs of the fit on all blocks, at least. Validation blocks may end a first fit by accident,
# and half of its epochs are too few then: five of them cost amapa 2 and 4 points of CRPS skill.
_SHORTEST = 10
_CHIPS = 16  # drawn to count the pixels that a chip scores


class FitLength(NamedTuple):
    """The length of a fit."""

    steps: int  # of an epoch
    epochs: int  # at most
    large: bool = False  # a raster so large that a second fit does not learn it by heart


def fit_length(
    reader: Reader, draw: Draw, options: TrainOptions, *, valid: np.ndarray, regular: bool
) -> FitLength:
    """Return the length of a fit: steps that were asked for, or those that give the usual visits.

    ``valid`` counts the pixels with data of each block, (block rows, block columns); ``regular`` is
    that of :class:`hmx.forecast.train.recipe.TrainPlan`.
    """
    return length_of(wanted_steps(reader, draw, options, valid=valid, regular=regular), options)


def length_of(wanted: float, options: TrainOptions) -> FitLength:
    """Divide the steps of a fit into epochs; a small raster has fewer epochs than asked for."""
    large = wanted >= _LARGE
    if options.steps is not None:
        return FitLength(options.steps, options.epochs, large)
    steps = int(np.clip(round(wanted / options.epochs), _FEWEST, _MOST))
    epochs = round(max(wanted, _AT_LEAST) / steps)
    return FitLength(steps, min(max(1, epochs), options.epochs), large)


def last_epochs(first: int, *, most: int) -> int:
    """Return the epochs of the fit on all blocks that goes on from a first one."""
    return min(most, max(_SHORTEST, -(-first // 2)))


def wanted_steps(
    reader: Reader, draw: Draw, options: TrainOptions, *, valid: np.ndarray, regular: bool
) -> float:
    """Return the steps of a fit that give the usual visits; they grow with the raster."""
    split = reader.split
    ours = split.table == TRAIN
    # a buffer takes pixels from training blocks, and with and without data alike
    whole = sum(len(window.y) * len(window.x) for window in split.windows(TRAIN))
    places = float(valid[ours].sum()) * split.areas().get(TRAIN, 0) / max(whole, 1)
    side = chip_of(options, reader.spec, reader.cube.grid.shape)
    chips = Chips(reader, draw, side, batch=1, steps=1, key=(options.seed, 0))
    drawn = [chips.chip(step, 0) for step in range(_CHIPS)]
    scored = options.batch * float(np.mean([(chip.weight[0] > 0).sum() for chip in drawn]))
    visits = _VISITS * (_REGULAR if regular else 1)
    return visits * places / max(scored, 1)
