"""A network's own means are used as far as past origins agree that they gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from hmx.cube.dates import time_label
from hmx.forecast.bundle import describe_means
from hmx.forecast.train import fitting
from hmx.forecast.train.data import HeldOutWindows
from hmx.forecast.train.freedom import Freedom, freedom_of
from hmx.networks.forecaster import Forecaster
from hmx.networks.quantile import MOST_TILT, mean, tilt
from hmx.splits import TRAIN
from tests.forecast.train.test_data import reader_of
from tests.make.cubes import make_cube


@pytest.mark.parametrize(
    ("gains", "least", "most"),
    [
        ((), 1, 1),  # nothing was held out
        ((0.2, 0.25, 0.22), 0.9, 1),
        ((0.225, -0.094, 0.062), 0, 0.25),  # one origin took back what others gave
        ((-0.1, -0.12), 0, 0),
        ((0.0,), 0, 0),
    ],
)
def test_origins_have_to_agree(gains: tuple[float, ...], least: float, most: float) -> None:
    freedom = Freedom({str(index): gain for index, gain in enumerate(gains)})
    assert least <= freedom.trust <= most


def test_less_trust_brings_means_closer_to_the_anchor() -> None:
    knots = (0.05, 0.5, 0.95)
    values = torch.tensor([0.5, 0.6, 0.9])[:, None, None]
    origin, target = torch.full((1, 1), 0.5), torch.full((1, 1), 0.51)
    network = Promising(3, own=0.0, anchor=0.0)
    off = []
    for trust in (1.0, 0.5, 0.2, 0.1, 0.0):
        Forecaster.free_means(network, trust)  # type: ignore[arg-type]
        tilted = tilt(values, origin, target, knots, network.most_tilt)
        off.append(float((mean(tilted, knots) - target).abs()))
    assert float(network.most_tilt) == 16
    assert off == sorted(off, reverse=True)
    assert off[0] > 0.04
    assert off[-1] < 1e-3


class Promising(torch.nn.Module):
    """Expects a growth of its own, and that of an anchor where its means are held."""

    def __init__(self, knots: int, *, own: float, anchor: float):
        super().__init__()
        self.most_tilt = torch.tensor([2.0])
        self.knots, self.own, self.by_anchor = knots, own, anchor

    def hold_means(self) -> None:
        self.most_tilt.fill_(1e4)

    def forward(self, seen: Any, *, h: int, crop: Any, origin: Any = None) -> torch.Tensor:
        growth = self.own if self.most_tilt < 10 else self.by_anchor
        ahead = seen.past[(slice(None), -1, None, None, *crop)] + growth
        return ahead.expand(-1, h, self.knots, -1, -1)


def test_gains_are_those_over_the_anchor_by_origin() -> None:
    ds = make_cube((64, 64), steps=6, holes=False)
    levels = 0.2 + np.cumsum([0.0, 0.02, 0.02, 0.02, 0.04, 0.04])
    ds["hm"].values[...] = levels[:, None, None] + np.zeros((64, 64))
    reader = reader_of(ds, h=1, chip=32, context=(), terrain=())
    network: Any = Promising(len(reader.spec.network.knots), own=0.03, anchor=0.02)
    windows = HeldOutWindows(reader, TRAIN, most=99, seed=0)
    found = freedom_of(network, reader, windows).gains
    labels = {time_label(ds["time"].values[origin]): origin for origin in reader.origins}
    for label, gain in found.items():
        step = levels[labels[label] + 1] - levels[labels[label]]
        wanted = ((step - 0.02) ** 2 - (step - 0.03) ** 2) / step**2
        assert gain == pytest.approx(wanted, abs=1e-3)
    assert min(found.values()) < 0 < max(found.values())
    assert float(network.most_tilt) == MOST_TILT  # as it was


def test_both_fits_have_the_freedom_of_the_first(
    cube: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def disagree(*given: Any) -> Freedom:
        asked.append(1)
        return Freedom({"2000": 0.2, "2005": -0.1})

    monkeypatch.setattr(fitting, "freedom_of", disagree)
    model = cube.hm.train(
        static=["elevation"], history=2, width=8, trunk=(1,), context=(1,), h=2, epochs=1,
        steps=2, chip=48, validation=0.2, calibration=0.2,
    )  # fmt: skip
    assert asked == [1]  # the fit on all blocks has none left to ask
    trust = model.training["anchor"]["own_trust"]
    assert 0 < trust < 0.5
    assert float(model.weights["most_tilt"][0]) == pytest.approx(
        min(MOST_TILT ** (0.5 / trust) ** 2, 16)
    )
    assert "what the network adds gained at 1 of 2" in str(describe_means(model))
