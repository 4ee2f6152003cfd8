"""Laws of what is learnt from the calibration blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmx.forecast.train.calibrate import calibrate
from hmx.forecast.train.data import Reader
from hmx.networks.forecaster import Forecaster
from hmx.uncertainty.calibration import PROBABILITIES
from tests.forecast.train.test_data import reader_of
from tests.make.cubes import make_cube

SHAPE, EDGE = (96, 96), 8  # columns that always change; all else is far from them


def restless(*, surprises: tuple[float, ...]) -> Reader:
    """Maps that change in a strip, and elsewhere only where a surprise is drawn.

    Surprises, the share of far pixels that jump by a fifth at each step, leave nothing
    behind: what jumps falls back at once, so the pixels around it look as they did.
    """
    ds = make_cube(SHAPE, steps=5, holes=False)
    draw = np.random.default_rng(0)
    series = np.full((5, *SHAPE), 0.3)
    series[:, :, :EDGE] += 0.02 * draw.standard_normal((5, SHAPE[0], EDGE))
    for step, share in enumerate(surprises, start=5 - len(surprises)):
        jumps = draw.random((SHAPE[0], SHAPE[1] - EDGE)) < share
        series[step, :, EDGE:] += 0.2 * jumps
    ds["hm"].values[...] = series
    return reader_of(ds, h=2, chip=48, calibration=0.4, validation=0.1, buffer=0, context=(1, 30))


def expecting(reader: Reader) -> Forecaster:
    """A network that thinks a jump of about a fifth possible everywhere, one in ten."""
    network = Forecaster.of(reader.spec, reader.scaler)
    ninth = network.knots.index(0.95)
    with torch.no_grad():
        network.head.bias[ninth] = 0.15 / reader.scaler.change[0] + 4
    return network.eval()


@pytest.mark.parametrize(("last", "far"), [(0.0, 0.0), (0.1, 1.0)])
def test_far_from_change_the_last_map_known_decides(last: float, far: float) -> None:
    """A network that expects jumps is kept only where the last map has them."""
    reader = restless(surprises=(last,))
    assert max(reader.origins) == 3
    assert calibrate([expecting(reader)], reader, seed=0).far == far


def test_without_a_distance_nothing_is_far() -> None:
    reader = reader_of(make_cube(SHAPE), h=1, chip=48, context=(), calibration=0.3)
    found = calibrate([Forecaster.of(reader.spec, reader.scaler).eval()], reader, seed=0)
    assert (found.far, found.nodes) == (1.0, (0.0,))


def test_ranks_are_those_of_damped_distributions() -> None:
    """Far from change, where nothing moved, they are drawn from a whole point mass."""
    reader = restless(surprises=(0.0,))
    found = calibrate([expecting(reader)], reader, seed=0)
    assert (found.far, found.counts[0][-1] > 200) == (0.0, True)
    assert np.abs(found.ranks[0][-1] - PROBABILITIES)[20:-20].max() < 0.01
