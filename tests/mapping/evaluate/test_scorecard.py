"""Laws of the scorecard of a map."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from safetensors.numpy import save

from hmx.errors import BadArgument, MissingVariable, SourceError
from hmx.mapping.evaluate.rounds import Blend, Estimates, cross_validate
from hmx.mapping.evaluate.score import score_folds
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.train.importance import Importance
from hmx.pictures.mapping import draw_bands, draw_intervals, draw_residuals, draw_scatter
from hmx.scores import regression_scores
from tests.make.soils import make_soils, oracle

SOILS = make_soils()
TRUTH = SOILS.truth
OTHER = save({"0/truth": np.zeros(3)})


def card_of(noise: float = 0.1, other: float = 0.3, **options: object) -> MapScorecard:
    fits = {"network": oracle(TRUTH, noise=noise), "forest": oracle(TRUTH, noise=other)}
    fits["forest"] = lambda train, test, seed, f=fits["forest"]: f(train, test, seed + 77)
    played = cross_validate(fits, SOILS.blocks(), TRUTH, calibrate=["network"])
    return MapScorecard({"blocks": played}, scale="log1p(soc)", **options)


@pytest.fixture(scope="module")
def card() -> MapScorecard:
    """A whole evaluation: a network of three members, null rows, two ways of folding."""
    return score_folds(
        SOILS.raw,
        SOILS.values,
        SOILS.spec,
        [SOILS.blocks(), SOILS.random()],
        forecasters={"network": oracle(TRUTH, members=3, noise=0.4)},
        domain=SOILS.samples.lonlat + 0.01,
    )


def test_all_forecasters_are_scored_on_the_same_samples(card: MapScorecard) -> None:
    assert card.forecasters == (
        "network", "network ensemble", "forest", "boosting", "linear", "mean", "blend",
    )  # fmt: skip
    assert card.model == "blend"
    assert list(card.splits) == ["blocks of 20 km", "random folds"]
    for split in card.splits:
        assert {card.value("n", name, split=split) for name in card.forecasters} == {400}


def test_figures_are_those_of_the_held_out_predictions(card: MapScorecard) -> None:
    played = card.splits["blocks of 20 km"]
    for name in ("forest", "network ensemble", "blend"):
        found = regression_scores(TRUTH, card.center(name))
        assert card.value("r2", name) == found["r2"]
        assert card.value("rpiq", name) == found["rpiq"]
    mixed = (played.estimates["network"].center + played.estimates["forest"].center) / 2
    np.testing.assert_allclose(card.center("blend"), mixed)


def test_members_are_scored_one_by_one_and_their_mean_as_an_ensemble(card: MapScorecard) -> None:
    members = card.splits["blocks of 20 km"].estimates["network"].members
    single = [regression_scores(TRUTH, member)["r2"] for member in members]
    assert card.value("r2", "network") == pytest.approx(np.mean(single))
    assert card.value("r2_sd", "network") == pytest.approx(np.std(single, ddof=1))
    assert card.value("r2", "network ensemble") > card.value("r2", "network") + 0.05


def test_all_is_scored_in_native_units_too(card: MapScorecard) -> None:
    found = regression_scores(SOILS.values, np.expm1(card.center("forest")))
    for name in ("r2", "rmse", "bias"):
        assert card.value(name, "forest", scale="native") == pytest.approx(found[name])
    inside = [card.value("picp_90", scale=scale) for scale in ("log1p(soc)", "native")]
    assert inside[0] == pytest.approx(inside[1])  # a bound stays a bound


def test_intervals_are_told_by_fold_and_in_the_highest_tenths(card: MapScorecard) -> None:
    for name in ("blend", "network ensemble", "forest"):
        least, every, most = (
            card.value(f"picp_90{end}", name) for end in ("_least_fold", "", "_most_fold")
        )
        assert least < every < most
        assert every == pytest.approx(0.9, abs=0.05)
        assert 0 < card.value("picp_90", name, stratum="top") <= 1
        assert card.value("n", name, stratum="top") == 40
    assert math.isnan(card.value("picp_90", "linear"))


def test_bands_of_the_truth_hold_every_sample(card: MapScorecard) -> None:
    strata = [key[3] for key in card.table if key[1] == "forest" and key[3].startswith("truth")]
    names = list(dict.fromkeys(strata))
    assert names == [f"truth {s} %" for s in ("0-25", "25-50", "50-75", "75-90", "90-100")]
    assert sum(card.value("n", "forest", stratum=name) for name in names) == 400


def test_the_better_model_is_to_be_used() -> None:
    said = card_of(0.1, 0.3).verdict
    assert said.startswith("Use network: R2 0.9")
    assert "on blocks (R2 of log1p(soc), 400 held-out samples)" in said


def test_a_model_that_loses_is_told_loudly() -> None:
    assert card_of(0.3, 0.1).verdict.startswith("USE FOREST, NOT THE MODEL: network has R2")


def test_a_difference_that_is_not_sure_is_none() -> None:
    assert "which do not differ for sure" in card_of(0.3, 0.3).verdict


def test_a_model_that_explains_nothing_is_told_loudly() -> None:
    assert card_of(2.0, 2.0).verdict.startswith("USE THE MEAN, NOT THE MODEL: network explains")
    assert card_of(2.0, 0.1).verdict.startswith("USE FOREST, NOT THE MODEL: network has R2 -")


def test_the_verdict_names_the_best_of_all_forecasters() -> None:
    noises = {"network": 0.4, "forest": 0.5, "boosting": 0.3, "linear": 0.05, "mean": 3.0}
    fits = {name: oracle(TRUTH, noise=noise) for name, noise in noises.items()}
    for shift, (name, fit) in enumerate(fits.items()):
        fits[name] = lambda train, test, seed, fit=fit, shift=shift: fit(train, test, seed + shift)
    played = cross_validate(fits, SOILS.blocks(), TRUTH, calibrate=["network"])
    card = MapScorecard({"blocks": played}, scale="log1p(soc)")
    assert card.verdict.startswith("USE LINEAR REGRESSION, NOT THE MODEL: network has R2 0.")
    assert "of linear regression, the best of the others (95 % interval -" in card.verdict
    best = MapScorecard({"blocks": played}, scale="log1p(soc)", model="linear")
    assert best.verdict.startswith("Use linear: R2 0.9")
    assert "of gradient boosting, the best of the others" in best.verdict
    own = replace(played, estimates=dict(played.estimates))
    own.estimates["gaussian_process"] = own.estimates.pop("linear")
    words = MapScorecard({"blocks": own}, scale="log1p(soc)").verdict
    assert words.startswith("USE THE GAUSSIAN PROCESS, NOT THE MODEL: network has R2 0.")


def test_the_forest_alone_can_be_judged() -> None:
    found = score_folds(
        SOILS.raw,
        SOILS.values,
        SOILS.spec,
        [SOILS.blocks()],
        fit=MapTrainOptions(transform="none"),
    )
    assert found.model == found.reference == "forest"
    assert "NOT THE MODEL: forest has R2 0." in found.verdict
    assert found.scale == "soc"
    assert "native" not in {key[2] for key in found.table}


def test_the_text_tells_scores_question_bands_and_intervals(card: MapScorecard) -> None:
    text = str(card)
    for said in (
        "Scores of log1p(soc) on blocks of 20 km, 400 samples, each held out once",
        "Scores of log1p(soc) on random folds",
        "R2 of blend less this",
        "tell how well land without samples is predicted",
        "blend by band of the truth",
        "learnt from the other outer folds",
        "blend, 90 %",
    ):
        assert said in " ".join(text.split("\n")), said


def test_a_scorecard_is_saved_whole(card: MapScorecard, tmp_path: Path) -> None:
    path = Path(card.save(str(tmp_path / "card")))
    saved = json.loads(path.read_text())
    assert saved["verdict"] == card.verdict
    assert saved["splits"]["random folds"]["digest"] == SOILS.random().digest
    assert {row["other"] for row in saved["differences"]} >= {"forest", "mean"}
    with (path.parent / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    value = next(r["value"] for r in rows if r["forecaster"] == "blend" and r["metric"] == "r2")
    assert float(value) == card.value("r2")
    with (path.parent / "predictions.csv").open() as file:
        said = [row for row in csv.DictReader(file) if row["split"] == "blocks of 20 km"]
    np.testing.assert_array_equal([float(row["blend"]) for row in said], card.center("blend"))
    truth, blend = card.native(card.truth), card.native(card.center("blend"))
    native = {
        name: np.array([float(row[name]) for row in said]) for name in said[0] if "native" in name
    }
    np.testing.assert_array_equal(native["native_truth"], truth)
    np.testing.assert_array_equal(native["native_blend"], blend)
    np.testing.assert_array_equal(native["native_residual"], truth - blend)
    low, high = (card.native(end) for end in card.bounds("blend")[90])
    np.testing.assert_array_equal(native["native_lo_90"], low)
    np.testing.assert_array_equal(native["native_hi_90"], high)
    pictures = {p.name for p in path.parent.glob("*.png")}
    assert pictures == {"scatter.png", "residuals.png", "bands.png", "intervals.png"}


def test_a_card_is_read_back_whole(card: MapScorecard, tmp_path: Path) -> None:
    found = Importance({"nir": 0.01, "lst": 0.3}, {"nir": 0.001, "lst": 0.02}, 5)
    ids = tuple(f"P{number}" for number in range(len(card.truth)))
    card = replace(card, importance=found, ids=ids, facts={**card.facts, "units": "g/kg"})
    card.save(str(tmp_path / "card"))
    read = MapScorecard.load(str(tmp_path / "card"))
    assert str(read) == str(card)
    assert read.as_dict() == card.as_dict()
    assert read.rows() == card.rows()
    for split, played in card.splits.items():
        for name, guess in played.estimates.items():
            again = read.splits[split].estimates[name]
            np.testing.assert_array_equal(again.members, guess.members)
            np.testing.assert_array_equal(again.spread_or_zero, guess.spread_or_zero)
    assert card.splits[card.main].estimates["forest"].spread_or_zero.any()
    with (tmp_path / "card" / "predictions.csv").open() as file:
        assert next(csv.DictReader(file))["id"] == "P0"
    read.save(str(tmp_path / "again"))
    for name in ("scorecard.json", "scores.csv", "predictions.csv", "rounds.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "card" / name).read_bytes()


@pytest.fixture(scope="module")
def saved(card: MapScorecard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(card.save(str(tmp_path_factory.mktemp("saved")))).parent


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("scorecard.json", None, "no scorecard.json in it"),
        ("scorecard.json", b'{"hmx_scorecard": 1}', "hmx_map_scorecard"),
        ("scorecard.json", b'{"hmx_map_scorecard": 0}', "of another version of hmx"),
        ("rounds.safetensors", None, "no rounds.safetensors in it"),
        ("rounds.safetensors", b"shortened", "header"),
        ("rounds.safetensors", OTHER, "3 samples in the rounds, and 400 in their folds"),
    ],
)
def test_a_card_that_lacks_a_part_says_so(
    saved: Path, tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    assert MapScorecard.load(str(tmp_path)).verdict
    (tmp_path / name).unlink() if data is None else (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=rf"no scorecard of a map .*{said}.*Pass"):
        MapScorecard.load(str(tmp_path))


def test_importance_stands_beside_the_scores(card: MapScorecard) -> None:
    found = Importance({"nir": 0.01, "lst": 0.3}, {"nir": 0.001, "lst": 0.02}, 5)
    shown = MapScorecard(card.splits, importance=found)
    assert "lst  0.300 ± 0.020\nnir  0.010 ± 0.001" in str(shown)
    assert shown.as_dict()["importance"]["mean"]["lst"] == 0.3


def test_pictures_are_drawn_of_the_judged_model(card: MapScorecard) -> None:
    for draw in (draw_scatter, draw_residuals, draw_bands, draw_intervals):
        figure = draw(card)
        assert isinstance(figure, Figure)
        words = [text.get_text() for text in figure.findobj(match=lambda a: hasattr(a, "get_text"))]
        assert any("blend" in word for word in words), draw.__name__


def test_pictures_are_in_native_units(card: MapScorecard) -> None:
    named = replace(card, facts={**card.facts, "target": "soc", "units": "g/kg"})
    for draw in (draw_scatter, draw_residuals, draw_bands, draw_intervals):
        figure = draw(named)
        words = [text.get_text() for text in figure.findobj(match=lambda a: hasattr(a, "get_text"))]
        assert any("soc (g/kg)" in word for word in words), draw.__name__
        assert not any("measured log1p" in word for word in words), draw.__name__
    scatter = draw_scatter(named).axes[0]
    for at, label in zip(scatter.get_xticks(), scatter.get_xticklabels(), strict=True):
        assert np.expm1(at) == pytest.approx(float(label.get_text()), rel=1e-3, abs=1e-3)
    (drawn,) = [a for a in draw_residuals(named).axes[0].collections if a.get_array() is not None]
    residual = np.maximum(np.expm1(card.center("blend")), 0) - SOILS.values
    np.testing.assert_allclose(np.sort(drawn.get_array()), np.sort(residual), atol=1e-6)


def test_pictures_do_without_a_blend_or_a_spread() -> None:
    plain = card_of()
    for draw in (draw_scatter, draw_residuals, draw_bands, draw_intervals):
        assert draw(plain).axes


def test_names_that_are_not_there_and_no_folds_are_refused(card: MapScorecard) -> None:
    with pytest.raises(MissingVariable, match=r"'blnd' is not in the forecasters .*'blend'\?"):
        MapScorecard(card.splits, model="blnd")
    with pytest.raises(BadArgument, match="folds is empty: a score needs samples"):
        score_folds(SOILS.raw, SOILS.values, SOILS.spec, [])


def test_differences_compare_the_model_with_every_other(card: MapScorecard) -> None:
    others = {other for _, other in card.differences}
    assert others == {"network ensemble", "forest", "boosting", "linear", "mean"}
    found = card.differences["blocks of 20 km", "mean"]
    assert found.value == pytest.approx(card.value("r2") - card.value("r2", "mean"))
    assert found.sure


def test_a_blend_can_be_weighed() -> None:
    fits = {
        "network": oracle(TRUTH),
        "forest": lambda _, test, __: Estimates(np.zeros((1, len(test)))),
    }
    played = cross_validate(fits, SOILS.blocks(), TRUTH, blend=Blend(weight=0.0))
    np.testing.assert_array_equal(
        played.estimates["blend"].center, played.estimates["network"].center
    )
