"""Laws of large rasters: two levels of true pixels, bounded memory, workers that change nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.engine.recall import Recalled, recall
from hmx.forecast.order import ForecastRun
from hmx.products.report import report
from hmx.products.sampled import sample
from hmx.progress import Progress
from hmx.uncertainty.joint.dependence import LEVELS
from tests.make.browser import ReportPage, browsing
from tests.make.cubes import make_cube
from tests.report.test_report import HALF, north_up

NINE = (0.005, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 0.995)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for every third pixel of the toy cube with 9 percentiles, and every second state."""
    monkeypatch.setattr("hmx.forecast.order.best_tile", lambda *_, **__: 32)
    monkeypatch.setattr("hmx.report.layers.NUMBERS", 96 * 112 * 26 // 8)
    monkeypatch.setattr("hmx.report.layers.FINE_NUMBERS", 96 * 112 * 2 // 3)


@pytest.fixture(scope="module")
def forecast(cube: xr.Dataset, trained: hmx.Bundle) -> xr.Dataset:
    asked = {"level": [50, 80, 95], "quantiles": LEVELS}
    return cube.hm.forecast(h=2, model=trained, **asked).compute()


@pytest.mark.usefixtures("small_memory")
def test_sampled_pixels_are_those_of_the_store_whatever_the_tiles(
    forecast: xr.Dataset, cube: xr.Dataset
) -> None:
    layers, fine = sample(recall(forecast))
    n = layers.stride
    assert (n, layers.levels) == (3, NINE)  # no divisor of a tile
    np.testing.assert_array_equal(layers.history, north_up(cube["hm"])[:, ::n, ::n])
    quantiles = forecast["hm_quantile"].sel(quantile=list(NINE))
    for found, values in (
        (layers.mean, forecast["hm"]),
        (layers.quantiles.swapaxes(0, 1), quantiles),
    ):
        np.testing.assert_allclose(found, north_up(values)[..., ::n, ::n], atol=1e-6)
    quality = next(flag.plane for flag in layers.flags if flag.name == "quality")
    np.testing.assert_array_equal(quality, north_up(forecast["quality"])[::n, ::n])
    assert fine is not None
    assert (fine.stride, fine.times) == (2, (5, 7))  # the last map and the last lead
    ends = [north_up(cube["hm"])[-1], north_up(forecast["hm"])[-1]]
    np.testing.assert_allclose(fine.states, np.stack(ends)[:, ::2, ::2], atol=1e-6)


@pytest.mark.usefixtures("small_memory")
def test_workers_give_the_same_pixels_to_the_bit(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    from distributed import Client

    cube.to_zarr(tmp_path / "cube.zarr", consolidated=False, zarr_format=3)
    stored = hmx.open_cube(tmp_path / "cube.zarr", chunks=None)
    run = ForecastRun.check(stored, trained, {"h": 2})
    found = Recalled(run, source=str(tmp_path / "cube.zarr"))
    alone, fine = sample(found)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        notes: list[str] = []
        progress = Progress(notes.append)
        together, finer = sample(found, None, progress)
    assert any("tiles, by your Dask client" in note for note in notes)
    assert fine is not None
    assert finer is not None
    for name in ("history", "mean", "quantiles"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
    np.testing.assert_array_equal(finer.states, fine.states)


@pytest.mark.usefixtures("small_memory")
def test_memory_does_not_grow_with_the_raster(trained: hmx.Bundle, tmp_path: Path) -> None:
    def peak(run: Any, path: Path) -> int:
        tracemalloc.start()
        layers, fine = sample(Recalled(run, source=str(path)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert layers.stride > 3
        assert fine is not None
        return found

    peaks: list[int] = []
    # two windows are in memory at a time, and of few tiles they may not meet in each run
    for side, runs in ((144, 4), (288, 1)):
        path = tmp_path / f"{side}.zarr"
        make_cube((side, side), steps=6).chunk(y=64, x=64).to_zarr(
            path, consolidated=False, zarr_format=3
        )
        run = ForecastRun.check(hmx.open_cube(path, chunks=None), trained, {"h": 2})
        if not peaks:
            sample(Recalled(run, source=str(path)))  # what is loaded once is loaded
        peaks.append(max(peak(run, path) for _ in range(runs)))
    assert peaks[1] < 1.25 * peaks[0]  # of four times the pixels


@pytest.fixture
def page(
    forecast: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ReportPage]:
    monkeypatch.setattr("hmx.report.layers.KEPT", 0.12)
    monkeypatch.setattr("hmx.report.layers.TILE", 40)
    monkeypatch.setattr("hmx.products.reportfacts.TILE", 40)
    path = report(forecast, tmp_path / "large.html", budget=1)
    assert path.stat().st_size <= 1_000_000
    with browsing() as browser:
        yield ReportPage(browser, path)


def test_zooming_in_shows_the_finer_level_and_a_click_names_its_level(
    page: ReportPage, forecast: xr.Dataset, cube: xr.Dataset
) -> None:
    facts = page.page.execute_script("return report.facts")
    n, m = facts["stride"], facts["fine"]["stride"]
    assert 3 * m <= 2 * n
    assert f"one row and column of {n}" in page.page.find_element("id", "sampled").text
    origin, mean = north_up(cube["hm"])[-1], north_up(forecast["hm"])[-1]
    change = mean - origin
    page.click_layer("change")
    box = page.page.find_element("id", "map")
    known = np.argwhere(np.isfinite(change[::m, ::m]))
    (row, column), *others = (known[at] * m for at in (0, 30, len(known) // 2, -1))
    level = page.page.find_element("id", "shown-level")
    for _ in range(3):
        box.send_keys("+")
    page.wait("return map.detailed(app.state)")
    assert level.text == f"Shown here: {'every pixel' if m == 1 else f'one row and column of {m}'}."
    for r, c in ((row, column), *others):
        drawn = (
            f"Math.abs(map.reading(app.state, app.values(), [{r}.5, {c}.5]) - {change[r, c]:.9f})"
        )
        page.wait(f"return {drawn} <= {2 * HALF:.9f}")
    page.page.execute_script(f"app.choose([{row}.5, {column}.5])")
    page.wait(f"return document.getElementById('pixel').dataset.detail === '{row},{column}'")
    text = page.page.find_element("id", "detail").text
    assert f"{origin[row, column]:.4f} in 2015" in text
    assert f"{mean[row, column]:.4f} expected in 2025" in text
    coarse = page.pixel
    assert all(at % n == 0 for at in coarse)
    assert abs(float(page.cells(".value")["2025"]) - mean[coarse]) <= HALF
    page.click_layer("width")  # which the overview alone has
    assert level.text == f"Shown here: one row and column of {n} at each zoom."
    assert page.errors == []
