"""Laws of the baseline of distances: it forecasts the frequencies that it has counted."""

from __future__ import annotations

import numpy as np

from hmx.forecast.backtest.baselines.edge import EDGE, DistanceToEdge
from hmx.forecast.backtest.baselines.registry import BaselineSetup

PAST = BaselineSetup(
    leads=(1, 2), learnable=(1, 2), history=1, layers=0, seed=0, span=1.0, valid_range=(0.0, 1.0)
)


def spreading(steps: int, *, side: int = 120, chance: float = 0.25) -> np.ndarray:
    """Modified land in the west, beside whose edge a pixel is modified with a chance."""
    state = np.zeros((side, side))
    state[:, : side // 4] = 0.5
    draw, maps = np.random.default_rng(0), []
    for _ in range(steps):
        maps.append(state)
        beside = np.roll(state, 1, axis=1) > EDGE
        beside[:, 0] = False
        state = np.where(beside & (state < EDGE) & (draw.random(state.shape) < chance), 0.3, state)
    return np.stack(maps)


def test_change_is_forecast_beside_the_edge_as_often_as_it_was() -> None:
    maps = spreading(6)
    fitted = DistanceToEdge(PAST)
    fitted.learn(maps[:5], np.ones(maps.shape[1:], bool))
    assert fitted.finish()
    ahead = fitted.predict(maps[4:5], None)
    beside = (fitted.bands(maps[4]) == 0) & (maps[4] < EDGE)
    expected = (maps[5] - maps[4])[beside].mean()
    np.testing.assert_allclose(ahead.mean[0][beside].mean(), expected, rtol=0.25)
    far = (slice(None), slice(90, None))
    assert (ahead.mean[0][far] == 0).all()
    assert ahead.knots is not None
    # 0.975 of the frequencies reach the change that a quarter of the pixels had; the median none
    np.testing.assert_allclose(ahead.knots[0, -1][beside], 0.3, atol=0.005)
    assert (ahead.knots[0, 3][beside] == maps[4][beside]).all()
    assert (np.diff(ahead.knots, axis=1) >= 0).all()


def test_bands_do_not_depend_on_the_window() -> None:
    state = np.where(np.random.default_rng(1).random((150, 150)) > 0.999, 0.4, 0.0)
    state[100:, :40] = np.nan
    whole = DistanceToEdge(PAST).bands(state)
    halo = DistanceToEdge.halo
    for row, column in ((40, 40), (60, 85)):
        part = state[row - halo : row + 20 + halo, column - halo : column + 20 + halo]
        crop = DistanceToEdge(PAST).bands(part)[halo:-halo, halo:-halo]
        np.testing.assert_array_equal(crop, whole[row : row + 20, column : column + 20])


def test_an_edge_that_was_never_seen_has_the_frequencies_of_all() -> None:
    maps = np.zeros((4, 60, 60))
    maps[2:, 5:8] = 0.05  # below the edge
    fitted = DistanceToEdge(PAST)
    fitted.learn(maps, np.ones(maps.shape[1:], bool))
    assert fitted.finish()
    origin = maps[-1:].copy()
    origin[:, 30:40, 30:40] = 0.8
    ahead = fitted.predict(origin, None)
    assert np.isfinite(ahead.mean).all()
    rose = ahead.mean[0] - origin[0]
    np.testing.assert_allclose(rose[35, 35], rose[10, 50])
