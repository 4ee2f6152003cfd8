"""Laws of scorecards in reports: one of another forecast is never shown as this one's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.order import ForecastRun
from hmx.products.report import belonging
from hmx.provenance import recipe_of
from tests.report.test_report import toy_card


@pytest.fixture(scope="module")
def run(cube: xr.Dataset, trained: hmx.Bundle) -> ForecastRun:
    marked = cube.assign_attrs(hmx_fingerprint="0123456789abcdef")
    return ForecastRun.check(marked, trained, {"h": 2})


def card_of(run: ForecastRun, **facts: object) -> Scorecard:
    own = {"target": "hm", "cube": "0123456789abcdef", "recipe": recipe_of(run.bundle.training)}
    return replace(toy_card(), facts={**own, **facts})


def test_a_card_of_the_model_or_of_refits_belongs(run: ForecastRun) -> None:
    refits = belonging(card_of(run), run)
    assert not refits.foreign
    assert refits.text.endswith("fitted as that of this forecast, to earlier maps.")
    very = belonging(card_of(run, models=f"abc, {run.bundle.digest[:12]}", recipe="other"), run)
    assert (very.foreign, "the very model" in very.text) == (False, True)


def test_another_cube_and_other_settings_are_named(run: ForecastRun) -> None:
    assert "of another cube" in belonging(card_of(run, cube="fedcba9876543210"), run).text
    found = belonging(card_of(run, recipe="0" * 16), run)
    assert (found.foreign, "models with other settings" in found.text) == (True, True)
    old = belonging(replace(toy_card(), facts={"target": "hm"}), run)
    assert (old.foreign, "is not known" in old.text) == (False, True)


def test_a_card_of_another_variable_or_job_is_refused(run: ForecastRun) -> None:
    with pytest.raises(BadArgument, match=r"card= scores 'ndvi', and this forecast is of 'hm'"):
        belonging(card_of(run, target="ndvi"), run)


def test_settings_that_a_backtest_decides_are_no_others(run: ForecastRun) -> None:
    had = dict(run.bundle.training)
    refit = {**had, "fit": {**had["fit"], "until": "2005", "final": False, "fold": 1, "folds": 2}}
    assert recipe_of(refit) == recipe_of(had)
    assert recipe_of({**had, "fit": {**had["fit"], "epochs": 999}}) != recipe_of(had)


def test_a_report_has_the_sentence_first_if_the_card_is_of_another_forecast(
    run: ForecastRun, cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    fc = cube.hm.forecast(h=1, model=trained, level=[80])
    card = card_of(run, recipe="0" * 16)
    text = fc.hm.report(tmp_path / "a.html", card=card).read_text(encoding="utf-8")
    section = text[text.index('<section id="scorecard">') :]
    assert section.index("models with other settings") < section.index(card.verdict[:30])
