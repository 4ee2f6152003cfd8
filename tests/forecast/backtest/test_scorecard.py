"""Laws of the scorecard and its sentence."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from hmx.errors import BadArgument, MissingVariable
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.scores import Cell, Prediction, Scene, Tally, pooled

NAMES = {1: "+5 years", 2: "+10 years", 3: "+15 years"}
N = 400


def cell(rmse: float, crps: float, n: int = N) -> Cell:
    """A cell with errors of a known size and a known CRPS."""
    truth = np.full((1, n), rmse)
    point = Cell.of(truth, 0 * truth, 0 * truth)
    ranked = n * crps
    return Cell.from_dict(
        point.as_dict() | {"score": point.score.as_dict() | {"ranked": ranked}},
    )


def card(*folds: dict[str, list[tuple[float, float]]], **more: object) -> Scorecard:
    """A scorecard of folds: forecaster -> (RMSE, CRPS) at leads 1, 2, ...; persistence has 1."""
    tallies = {}
    for number, fold in enumerate(folds):
        ones = {"persistence": [(1.0, 1.0)] * max(map(len, fold.values()))}
        tallies[f"fold {number}"] = Tally(
            {
                (name, lead, "all"): cell(*errors)
                for name, leads in (ones | fold).items()
                for lead, errors in enumerate(leads, start=1)
            }
        )
    return Scorecard(tallies, names=NAMES, **more)  # type: ignore[arg-type]


def test_a_model_that_gains_everywhere_is_recommended_with_its_figures() -> None:
    found = card({"model": [(0.944, 0.79), (0.951, 0.82)]}).verdict
    assert found == (
        "Use the model: over 2 leads it beats persistence (skill at +5 years: RMSE +5.6 %, "
        "CRPS +21 %; at +10 years: RMSE +4.9 %, CRPS +18 %), on 400 held-out pixels."
    )


def test_a_model_that_gains_nowhere_is_loudly_refused() -> None:
    found = card({"model": [(1.02, 1.0), (1.1, 1.2)]}).verdict
    assert found.startswith(
        "USE PERSISTENCE, NOT THE MODEL: at none of 2 leads does it gain on persistence "
        "(skill at +5 years: RMSE -2.0 %, CRPS +0.0 %; "
    )


def test_leads_of_different_winners_are_named() -> None:
    found = card({"model": [(0.9, 0.9), (1.1, 1.1)]}).verdict
    assert found.startswith("Use the model at +5 years, but PERSISTENCE at +10 years (skill ")


def test_a_gain_in_rmse_does_not_hide_a_loss_in_crps() -> None:
    text = "Use at +5 years the model only for its central estimate, NOT ITS INTERVALS (skill"
    assert text in card({"model": [(0.9, 1.1)]}).verdict


def test_intervals_alone_are_no_reason_to_publish_the_map() -> None:
    """A point has no spread: whoever has an honest one gains on it in CRPS."""
    assert card({"model": [(1.1, 0.9)]}).verdict == (
        "USE PERSISTENCE, NOT THE MODEL, AS THE MAP: at no lead is its central estimate better; "
        "only its intervals are worth having, at +5 years (skill at +5 years: RMSE -10 %, "
        "CRPS +10 %), on 400 held-out pixels."
    )
    some = card({"model": [(1.0, 0.8), (1.0, 1.0), (1.02, 0.7)]}).verdict
    assert some.startswith("USE PERSISTENCE, NOT THE MODEL, AS THE MAP: ")
    assert "only its intervals are worth having, at +5 years and +15 years (skill" in some


def test_where_the_map_is_better_at_one_lead_only_the_others_say_so() -> None:
    found = card({"model": [(0.9, 0.9), (1.1, 0.9), (1.1, 1.1)]}).verdict
    assert found.startswith(
        "Use the model at +5 years, but at +10 years the model only for its intervals, but "
        "PERSISTENCE as central estimate, but PERSISTENCE at +15 years (skill"
    )


def test_half_a_percent_is_no_gain_unless_all_folds_agree() -> None:
    assert card({"model": [(0.996, 1.0)]}).verdict.startswith("USE PERSISTENCE")
    sure = card({"model": [(0.9961, 1.0)]}, {"model": [(0.996, 1.0)]})
    assert sure.verdict.startswith("Use the model: at the one lead scored")
    torn = card({"model": [(0.984, 1.0)]}, {"model": [(1.008, 1.0)]})
    assert torn.verdict.startswith("USE PERSISTENCE")
    assert "RMSE +0.4 ± 1.7 %" in torn.verdict


def test_a_baseline_that_beats_the_model_is_told() -> None:
    found = card({"model": [(0.9, 0.8)], "ridge": [(0.8, 0.85)], "trend": [(0.95, 0.95)]})
    assert found.verdict.endswith("pixels; but ridge beats the model (RMSE by 12.5 % at +5 years).")
    assert found.value("rmse_skill_vs_ridge", "model", 1) == pytest.approx(-0.125)
    assert "trend" not in found.verdict


def test_leads_without_truth_are_uncalibrated() -> None:
    found = card({"model": [(0.9, 0.8)]}, leads=(1, 2, 3))
    assert (found.scored, found.uncalibrated) == ((1,), (2, 3))
    assert "and so uncalibrated: +10 years and +15 years." in found.verdict
    assert [row["status"] for row in found.as_dict()["leads"]] == [
        "scored",
        *["uncalibrated: no held-out truth"] * 2,
    ]
    assert "+10 years  no held-out truth: uncalibrated" in str(found)


def test_without_any_truth_there_is_no_verdict() -> None:
    empty = Tally({("model", 1, "all"): Cell(), ("persistence", 1, "all"): Cell()})
    found = Scorecard({"from 2020": empty})
    assert found.verdict == "NO VERDICT: no lead has held-out truth."
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_folds_pool_by_their_sums_and_spread_by_their_figures() -> None:
    large = Tally(
        {
            ("persistence", 1, "all"): cell(1.0, 1.0, 300),
            ("model", 1, "all"): cell(0.5, 0.5, 300),
        }
    )
    small = Tally(
        {
            ("persistence", 1, "all"): cell(1.0, 1.0, 100),
            ("model", 1, "all"): cell(0.9, 0.9, 100),
        }
    )
    found = Scorecard({"a": large, "b": small})
    assert found.value("mae", "model", 1) == pytest.approx((300 * 0.5 + 100 * 0.9) / 400)
    assert found.value("mae_skill", "model", 1, split="sd") == pytest.approx(0.4 / math.sqrt(2))
    assert found.value("mae", "model", 1, split="b") == pytest.approx(0.9)
    assert found.whole == pooled({"a": large, "b": small})


def scenes(*, units: str = "index") -> Scorecard:
    """A scorecard of real tallies: two folds, strata, a model with a distribution."""
    rng = np.random.default_rng(0)
    tallies = {}
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for fold in range(2):
        origin = rng.random((20, 30))
        drift = np.where(origin > 0.5, 0.1, 0.0)
        truth = origin + np.stack([drift, 2 * drift]) + 0.05 * rng.normal(size=(2, 20, 30))
        spread = np.linspace(-0.08, 0.08, 5)[:, None, None]
        knots = np.stack([origin + k * drift + spread for k in (1, 2)])
        still = np.stack([origin] * 2)
        scene = Scene(truth, origin, (1, 2), strata={"far": drift == 0, "near": drift > 0})
        predictions = {
            "persistence": Prediction(still),
            "model": Prediction(knots[:, 2], knots, levels),
            "trend": Prediction(still + 0.05),
        }
        tallies[f"fold {fold}, from 2005"] = Tally.of(scene, predictions)
    facts = {"target": "hm", "units": units, "cadence": "5 years", "split": "0123abcd", "seed": 0}
    return Scorecard(tallies, facts, leads=(1, 2, 3), names=NAMES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scorecard, Path]:
    found, folder = scenes(), tmp_path_factory.mktemp("card")
    assert found.save(str(folder / "scores")) == str(folder / "scores" / "scorecard.json")
    return found, folder / "scores"


def test_what_is_saved_can_be_read_again(saved: tuple[Scorecard, Path]) -> None:
    found, folder = saved
    again = Scorecard.from_dict(json.loads((folder / "scorecard.json").read_text()))
    assert again == found
    assert (
        again.verdict
        == found.verdict
        == json.loads((folder / "scorecard.json").read_text())["verdict"]
    )


def test_the_csv_is_tidy_and_holds_every_figure(saved: tuple[Scorecard, Path]) -> None:
    found, folder = saved
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"forecaster", "lead", "stratum", "split", "metric", "value"}
    index = {tuple(row[k] for k in list(row)[:5]): row["value"] for row in rows}
    assert len(index) == len(rows)  # each figure once
    assert {row["split"] for row in rows} == {
        "all", "sd", "fold 0, from 2005", "fold 1, from 2005"
    }  # fmt: skip
    metrics = {row["metric"] for row in rows if row["forecaster"] == "model"}
    wanted = {"n", "weight", "mae", "rmse", "bias", "crps", "ssim", "precision", "recall", "f1"}
    wanted |= {"expected_change", "observed_change", "median_unmoved"}
    wanted |= {f"{m}_skill{vs}" for m in ("mae", "rmse", "crps") for vs in ("", "_vs_trend")}
    wanted |= {
        f"{kind}_{n}" for kind in ("coverage", "width", "interval_score") for n in (50, 80, 95)
    }
    assert metrics == wanted | {f"pit_{i:02d}" for i in range(20)}
    value = float(index["model", "2", "near", "all", "crps_skill"])
    assert value == found.value("crps_skill", "model", 2, stratum="near")
    assert index["model", "3", "all", "all", "rmse"] == ""


def test_every_plot_is_saved_as_a_png(saved: tuple[Scorecard, Path]) -> None:
    _, folder = saved
    assert {path.name for path in folder.iterdir()} == {
        "scorecard.json", "scores.csv", "skill.png", "reliability.png", "strata.png"
    }  # fmt: skip
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_text_shows_verdict_scores_calibration_strata_and_facts() -> None:
    found = scenes()
    text = str(found)
    assert text.startswith("Use the model: over 2 leads")
    assert "Scores, pooled over 2 folds and origins (errors in index)" in text
    assert "Scores, of one fold and origin\n" in str(card({"model": [(0.9, 0.8)]}))
    coverage = found.value("coverage_80", "model", 1)
    assert f"{100 * coverage:.1f} % (" in text
    assert all(name in text for name in ("persistence", "trend", "near", "far", "split: 0123abcd"))
    assert max(map(len, text.splitlines())) <= 140


def test_medians_that_are_the_last_map_are_a_sentence_where_they_are_most() -> None:
    origin = np.random.default_rng(3).random((20, 30))
    area = np.linspace(1, 2, 20)[:, None] * np.ones(30)
    moved = np.zeros((20, 30))
    for rows, seen in ((5, True), (15, False)):
        moved[:rows] = 0.1
        knots = (origin + moved * np.array([0, 1, 1])[:, None, None])[None]
        scene = Scene(origin[None], origin, (1,), weight=area)
        ahead = {
            "persistence": Prediction(origin[None]),
            "model": Prediction(knots[:, 1], knots, (0.1, 0.5, 0.9)),
        }
        found = Scorecard({"from 2005": Tally.of(scene, ahead)})
        share = area[rows:].sum() / area.sum()
        assert found.value("median_unmoved", "model", 1) == pytest.approx(share)
        text = f"The median equals the last map on {100 * share:.0f} % of the held-out area"
        assert (text in str(found)) == (text in " ".join(found.sentences)) == seen
        again = Scorecard.from_dict(json.loads(json.dumps(found.as_dict())))
        assert again.median_sentence == found.median_sentence


def test_a_forecaster_that_is_not_tallied_is_refused() -> None:
    tally = Tally({("ridge", 1, "all"): Cell(), ("model", 1, "all"): Cell()})
    with pytest.raises(MissingVariable, match=r"'persistence' is not in the tallies \(has: mod"):
        Scorecard({"a": tally})


def test_a_tally_is_not_called_like_a_pooled_row() -> None:
    tally = Tally({("persistence", 1, "all"): Cell(), ("model", 1, "all"): Cell()})
    with pytest.raises(BadArgument, match=r"a tally is called 'sd'.*Name each after its fold"):
        Scorecard({"sd": tally})
