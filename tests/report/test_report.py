"""Laws of the report, read in a headless browser without a network and compared with the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.cube.grid import Grid
from hmx.errors import BadArgument, OutputExists, SourceError
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.products.report import report
from hmx.products.reportfacts import Subject, headlines
from hmx.report.layers import Flags, Layers, Packed, Scale
from hmx.scores import Cell, Tally
from hmx.uncertainty.distribution import exceedance
from hmx.uncertainty.joint.dependence import LEVELS
from tests.conftest import ROOT
from tests.make.browser import ReportPage, browsing
from tests.make.cubes import make_cube
from tests.zones.test_history import halves

HALF = 0.5001e-4  # of the last digit that the page shows


def toy_card() -> Scorecard:
    truth, still, near = [[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.5]]
    cells = {"persistence": still, "trend": [[0.0, 0.2]], "model": near}
    tally = {(n, 1, s): Cell.of(truth, [[0.0, 0.0]], c) for n, c in cells.items() for s in ("all",)}
    return Scorecard({"from 2005": Tally(tally)}, {"target": "hm"}, names={1: "+5 years"})


@pytest.fixture(scope="module")
def forecast(cube: xr.Dataset, trained: hmx.Bundle) -> xr.Dataset:
    asked = {"level": [50, 80, 95], "quantiles": LEVELS, "exceed": [0.3]}
    return cube.hm.forecast(h=2, model=trained, **asked).compute()


@pytest.fixture(scope="module")
def written(
    cube: xr.Dataset, forecast: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return report(forecast, path, zones=halves(cube), card=toy_card(), draws=8, level=[95])


@pytest.fixture(scope="module")
def page(written: Path) -> Iterator[ReportPage]:
    with browsing() as browser:
        yield ReportPage(browser, written)


def north_up(values: xr.DataArray) -> np.ndarray:
    return values.sortby("y", ascending=False).sortby("x").transpose(..., "y", "x").values


def fan(text: str) -> tuple[float, float]:
    low, high = text.split("\u2013")
    return float(low), float(high)


def test_a_click_draws_the_quantiles_of_the_store(page: ReportPage, forecast: xr.Dataset) -> None:
    mean = north_up(forecast["hm"])
    rows, columns = np.nonzero(np.isfinite(mean[-1]))
    for at in np.random.default_rng(0).choice(len(rows), 6, replace=False):
        row, column = int(rows[at]), int(columns[at])
        page.click_pixel(row, column)
        assert page.pixel == (row, column)
        for step in range(2):
            time = str(forecast["time"].values[step])[:4]
            assert abs(float(page.cells(".value")[time]) - mean[step, row, column]) <= HALF
            for level in (50, 80, 95):
                shown = fan(page.cells(f".interval-{level}")[time])
                for end, name in zip(shown, ("lo", "hi"), strict=True):
                    value = north_up(forecast[f"hm_{name}_{level}"])[step, row, column]
                    assert abs(end - value) <= HALF


def test_a_click_lists_the_observed_history(page: ReportPage, cube: xr.Dataset) -> None:
    row, column = (int(n[0]) for n in np.nonzero(np.isfinite(north_up(cube["hm"])[-1])))
    page.click_pixel(row, column)
    shown = page.cells(".value")
    for time, plane in zip(cube["time"].values, north_up(cube["hm"]), strict=True):
        assert abs(float(shown[str(time)[:4]]) - plane[row, column]) <= HALF


def test_sliders_show_any_percentile_of_any_year(page: ReportPage, forecast: xr.Dataset) -> None:
    page.click_layer("percentile")
    quantiles = forecast["hm_quantile"]
    for step, level in ((0, 0.9), (1, 0.05), (1, 0.5)):
        page.slide("time", page.page.execute_script("return report.facts.observed") + step)
        page.slide("percentile", 100 * level)
        expected = north_up(quantiles.sel(quantile=level).isel(time=step))
        np.testing.assert_allclose(page.plane(), expected, rtol=0, atol=HALF)
    assert "Percentile 50" in page.page.find_element("id", "caption").text


def test_the_threshold_is_chosen_in_the_page(page: ReportPage, forecast: xr.Dataset) -> None:
    page.click_layer("exceed")
    page.slide("time", page.page.execute_script("return report.facts.observed") + 1)
    for threshold in (0.3, 0.05):
        page.slide("threshold-number", threshold)
        knots = north_up(forecast["hm_quantile"].isel(time=1))
        rounded = Scale(4, 0).decode(Scale(4, 0).encode(knots))
        expected = exceedance(rounded, LEVELS, threshold)
        found = page.plane()
        assert np.nanmax(np.abs(found - np.where(np.isnan(knots[0]), np.nan, expected))) < 1e-6
    page.slide("threshold-number", 0.3)
    stored = north_up(forecast["hm_exceedance"].isel(threshold=0, time=1))
    # the forecast's own probabilities bend between the 29 percentiles
    assert np.nanmean(np.abs(page.plane() - stored)) < 0.01


def test_change_and_width_are_those_of_the_store(
    page: ReportPage, cube: xr.Dataset, forecast: xr.Dataset
) -> None:
    page.click_layer("change")
    page.slide("time", page.page.execute_script("return report.facts.observed") + 1)
    expected = north_up(forecast["hm"])[1] - north_up(cube["hm"])[-1]
    np.testing.assert_allclose(page.plane(), expected, rtol=0, atol=2 * HALF)
    page.click_layer("width")
    page.slide("level", 80)
    width = north_up(forecast["hm_hi_80"] - forecast["hm_lo_80"])[1]
    np.testing.assert_allclose(page.plane(), width, rtol=0, atol=2 * HALF)


def test_keys_move_the_pixel_and_the_year_and_zoom(page: ReportPage) -> None:
    from selenium.webdriver import Keys

    page.click_pixel(40, 50)
    box = page.page.find_element("id", "map")
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.wait("return document.getElementById('pixel').dataset.shown === '41,52'")
    before = int(page.page.find_element("id", "time").get_attribute("value"))
    page.change(lambda: box.send_keys("["))
    assert int(page.page.find_element("id", "time").get_attribute("value")) == before - 1
    middle = page.page.execute_script("return map.middle(41 * report.columns + 52)")
    box.send_keys("+", "+")
    after = page.wait("return map.middle(41 * report.columns + 52)")
    assert after == pytest.approx(middle, abs=1)  # the chosen pixel stays where it is
    far = page.page.execute_script("return map.middle(41 * report.columns + 53)[0]")
    assert far - after[0] > 2
    box.send_keys("0")


def test_two_layers_and_years_are_swiped(page: ReportPage) -> None:
    page.click_layer("value")
    page.change(page.page.find_element("id", "compare").click)
    page.slide("layer-2", "width")
    page.slide("time-2", page.page.execute_script("return report.facts.observed"))
    texts = [page.page.find_element("id", f"{side}-side").text for side in ("left", "right")]
    assert "hm" in texts[0]
    assert texts[1].startswith("Width")
    script = (
        "const c = document.getElementById('canvas'), x = Math.round(arguments[0] * c.width);"
        "return Array.from(c.getContext('2d').getImageData(x, c.height / 2, 1, 1).data)"
    )
    move = "const e = document.getElementById('divider'); e.value = arguments[0];"
    move += "e.dispatchEvent(new Event('input'))"
    page.page.execute_script(move, 900)
    left = page.page.execute_script(script, 0.45)
    page.page.execute_script(move, 100)
    assert page.page.execute_script(script, 0.45) != left
    page.change(page.page.find_element("id", "compare").click)


def test_flags_are_hatched_over_the_map(page: ReportPage, forecast: xr.Dataset) -> None:
    facts = page.page.execute_script("return report.facts.flags")
    quality, known = north_up(forecast["quality"]), np.isfinite(north_up(forecast["hm"])[-1])
    for flag in facts:
        share = 100 * ((quality & flag["value"]) > 0)[known].mean()
        assert flag["share"] == (f"{share:.0f} %" if share >= 1 else "< 1 %")
        check = page.page.find_element("id", flag["id"])
        picture = "return document.getElementById('canvas').toDataURL()"
        before = page.page.execute_script(picture)
        check.click()
        page.wait(f"return {picture.removeprefix('return ')} !== {json.dumps(before)}")
        check.click()


def test_the_page_asks_for_nothing_and_paints_within_two_seconds(page: ReportPage) -> None:
    paint = page.page.execute_script(
        "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    assert paint < 2000
    assert page.page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.errors == []


def test_the_verdict_comes_first_then_skill_against_every_baseline(page: ReportPage) -> None:
    section = page.page.find_element("id", "scorecard")
    assert section.find_element("class name", "verdict").text == toy_card().verdict
    heads = [cell.text for cell in section.find_elements("css selector", "th")]
    assert {"persistence", "trend", "stratum"} <= {*heads}
    assert len(section.find_elements("css selector", "figure svg")) == 3


def test_zones_and_provenance_are_in_the_page(page: ReportPage, forecast: xr.Dataset) -> None:
    table = page.page.find_element("id", "zones").text
    assert all(name in table for name in ("left", "right", "all"))
    facts = json.loads(forecast.attrs["hmx_provenance"])
    assert facts["bundle"] in page.page.find_element("id", "provenance").text


def test_a_report_names_nothing_outside_itself(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    text = re.sub(r"(?s)<script>\s*// https://d3js.*?</script>", "", text)
    text = re.sub(r'xmlns(:\w+)?="[^"]+"|<metadata>.*?</metadata>', "", text, flags=re.S)
    assert not re.search(r"""(src|href)=["'](?!#)""", text)


def test_a_file_that_is_not_a_report_is_left_alone(forecast: xr.Dataset, tmp_path: Path) -> None:
    other = tmp_path / "thesis.html"
    other.write_text("<html>years of work</html>")
    with pytest.raises(OutputExists, match="not a report that hmx wrote"):
        report(forecast, other)
    assert other.read_text() == "<html>years of work</html>"


def test_what_is_no_result_or_was_edited_is_refused(
    cube: xr.Dataset, forecast: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BadArgument, match="not a forecast or a map"):
        report(xr.Dataset({"a": ("x", [1.0])}), tmp_path / "a.html")
    with pytest.raises(BadArgument, match="a DataArray has none"):
        report(forecast["hm"], tmp_path / "a.html")
    with pytest.raises(BadArgument, match="was edited"):
        report(forecast.assign(hm=forecast["hm"] + 0.1), tmp_path / "a.html")
    with pytest.raises(BadArgument, match="between 1 and 1000 MB"):
        report(forecast, tmp_path / "a.html", budget=0)
    with pytest.raises(BadArgument, match="belongs to zones"):
        report(forecast, tmp_path / "a.html", above=[0.1])
    with pytest.raises(SourceError, match="no scorecard"):
        report(forecast, tmp_path / "a.html", card=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_card_is_a_page_of_its_own(tmp_path: Path) -> None:
    card = toy_card()
    text = card.report(tmp_path / "card").read_text(encoding="utf-8")
    assert card.verdict.split(":")[0] in text
    assert "<script" not in text


def test_a_map_shows_its_distribution_and_where_it_applies(
    land: xr.Dataset, trained_mapper: hmx.MapBundle, tmp_path: Path
) -> None:
    soil = land.soc.map(model=trained_mapper, level=[80]).compute()
    path = report(soil, tmp_path / "soil.html")
    with browsing() as browser:
        page = ReportPage(browser, path)
        assert page.page.execute_script("return map.offered") == [
            "value", "width", "percentile", "exceed",
        ]  # fmt: skip
        mean = north_up(soil["soc"])
        row, column = (int(n[3]) for n in np.nonzero(np.isfinite(mean)))
        page.click_pixel(row, column)
        quantum = page.page.execute_script("return report.facts.quantum")
        (shown,) = page.cells(".interval-80").values()
        for end, name in zip(fan(shown), ("lo", "hi"), strict=True):
            value = north_up(soil[f"soc_{name}_80"])[row, column]
            assert abs(end - value) <= 0.5001 * quantum
        assert page.errors == []


def test_a_map_states_how_much_of_it_is_unlike_the_samples() -> None:
    plane = np.ones((4, 5), np.uint8)
    plane[0, :3] = 0  # 3 of 20 pixels, one of them without data
    mean = np.full((1, 4, 5), 7.0)
    mean[0, 0, 0] = np.nan
    flags = Flags("applicable", "area of applicability", plane, (("outside", 0, False),))
    layers = Layers(np.empty((0, 4, 5)), mean, np.empty((1, 0, 4, 5)), (), (flags,))
    grid = Grid.from_xarray(make_cube((4, 5)))
    named = "mean of the predictive distribution"
    subject = Subject("soc", "g/kg", grid, ("all years",), (0.0,), 0, estimate=named)
    lines = headlines(Packed(layers, layers.scale()), subject)
    assert lines[:2] == ["The average of the map is 7 g/kg.", f"Each pixel has the {named}."]
    assert lines[-1].startswith("11 % of the map is outside the area of applicability (hatched)")


def test_the_example_of_the_guide_runs(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "hmx" / "guide" / "report.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    training = 'ds.hm.train(static=["elevation"], epochs=2, out="build/report.model")'
    assert training in code
    code = code.replace(training, f"hmx.load({str(trained.path)!r})")
    code = code.replace("forecast(h=4)", "forecast(h=2, model=model)")
    cube.to_zarr(tmp_path / "build" / "demo.zarr", consolidated=False, zarr_format=3)
    (tmp_path / "parks.geojson").write_text(json.dumps(halves(cube)))
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("above=0.4", "draws=8, above=0.4"), "report.md", "exec"), {})
    assert "km2 above 0.4" in (tmp_path / "build" / "parks.html").read_text(encoding="utf-8")
    assert (tmp_path / "build" / "demo.html").stat().st_size > 300_000
