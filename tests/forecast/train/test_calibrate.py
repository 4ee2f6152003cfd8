"""Laws of what is learnt from the calibration blocks."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from hmx.forecast.train.calibrate import calibrate, fit_shift, forecast_knots
from hmx.forecast.train.data import HeldOutWindows, Reader
from hmx.networks.forecaster import Forecaster
from hmx.splits import CALIBRATION, TRAIN, VALIDATION
from hmx.uncertainty.calibration import PROBABILITIES, Calibration
from hmx.uncertainty.distribution import mean
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


class Shortening(torch.nn.Module):
    """Expects the growth of one step at every lead, with a spread of the same size."""

    def __init__(self, reader: Reader, growth: float):
        super().__init__()
        self.reader, self.growth = reader, growth

    def forward(self, seen: Any, *, h: int, crop: Any, origin: Any = None) -> torch.Tensor:
        normal, knots = NormalDist(), self.reader.spec.network.knots
        spread = torch.tensor([normal.inv_cdf(knot) * self.growth for knot in knots])
        start = seen.past[(slice(None), slice(-1, None), *crop)]
        one = start + self.growth + spread[:, None, None]  # (b, q, y, x)
        return one[:, None].expand(-1, h, -1, -1, -1)


def growing(*sizes: float) -> Reader:
    """Maps that grow everywhere by so much at each step."""
    ds = make_cube((64, 64), steps=len(sizes) + 1, holes=False)
    levels = 0.2 + np.cumsum([0.0, *sizes])
    ds["hm"].values[...] = levels[:, None, None] + np.zeros((64, 64))
    return reader_of(ds, h=2, chip=32, context=(), terrain=())


def totals(
    reader: Reader, network: torch.nn.Module, shift: tuple[float, ...], *, lead: int = 1
) -> float:
    """Expected over observed total change at a lead (counted from 0), of the training blocks."""
    windows = HeldOutWindows(reader, TRAIN, most=999, seed=0)
    expected = observed = 0.0
    for index in range(len(windows)):
        adjusted = Calibration(shift=shift)
        batch, ahead = forecast_knots([network], reader, windows[index], adjusted)
        knots = ahead[lead]
        weight, start = batch.weight[0, lead].numpy(), batch.seen.past[0, -1].numpy()
        expected += float(((mean(knots, reader.spec.network.knots) - start) * weight).sum())
        observed += float(((batch.truth[0, lead].numpy() - start) * weight).sum())
    return expected / observed


def test_totals_of_later_leads_add_up_as_far_as_origins_agree() -> None:
    """The network expects half of the growth over two steps."""
    reader = growing(0.02, 0.02, 0.02, 0.02, 0.02, 0.02)
    network = Shortening(reader, 0.02)
    shift = fit_shift([network], reader, Calibration(), seed=0)
    assert abs(shift[0]) < 0.1 * shift[1], "the first lead adds up nearly"
    before, after = (totals(reader, network, found) for found in ((), shift))
    assert before == pytest.approx(0.5, abs=0.03)
    assert after == pytest.approx(1, abs=0.1)
    half = fit_shift([network], reader, Calibration(), seed=0, trust=0.5)
    np.testing.assert_allclose(half, np.array(shift) / 2)
    assert fit_shift([network], reader, Calibration(), seed=0, trust=0.0) == ()


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_totals_of_the_first_lead_add_up_as_far_as_means_are_believed(trust: float) -> None:
    """The network misses some of the growth."""
    reader = growing(0.028, 0.028, 0.028, 0.028, 0.028)
    network = Shortening(reader, 0.02)
    shift = fit_shift([network], reader, Calibration(), seed=0, trust=trust)
    before, after = (totals(reader, network, found, lead=0) for found in ((), shift))
    assert before < 0.8
    assert after == pytest.approx(before + trust * (1 - before), abs=0.05)


def test_one_origin_moves_totals_half_of_the_way() -> None:
    many, one = (growing(*[0.02] * steps) for steps in (6, 3))
    shifts = [
        fit_shift([Shortening(reader, 0.02)], reader, Calibration(), seed=0)
        for reader in (many, one)
    ]
    assert 0 < shifts[1][1] < 0.6 * shifts[0][1]


def test_a_shift_that_is_known_already_is_not_added_to() -> None:
    reader = growing(0.02, 0.02, 0.02, 0.02)
    network = Shortening(reader, 0.02)
    once = fit_shift([network], reader, Calibration(), seed=0)
    again = fit_shift([network], reader, Calibration(shift=(0.0, 0.4)), seed=0)
    assert once == again


def test_all_windows_of_a_block_are_one_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = restless(surprises=(0.1,))
    blocks = {role: len(reader.split.windows(role)) for role in (CALIBRATION, VALIDATION)}
    assert min(blocks.values()) > 0
    for roles in ((CALIBRATION,), (CALIBRATION, VALIDATION)):
        seen: dict[str, Any] = {}
        monkeypatch.setattr(
            "hmx.forecast.train.calibrate.fit_ranks",
            lambda *_, seen=seen, **how: seen.update(how) or Calibration(),
        )
        calibrate([expecting(reader)], reader, seed=0, roles=roles)
        assert len(np.unique(seen["blocks"][0])) == sum(blocks[role] for role in roles)
        assert set(np.unique(seen["origins"][0])) == set(reader.origins)
